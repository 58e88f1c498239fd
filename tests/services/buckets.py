"""An empty bucket `maps` of each kind of object store, and what a run left in it.

with bucket_of_kind("az") as url: ...  # az://maps is there, and the environment says where
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import urllib.request
from contextlib import ExitStack, contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from lspipe.machine import bucket, remote
from tests.services.google import google_store
from tests.services.servers import azure_store, object_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCOUNT = "devstoreaccount1"

KEY = base64.b64encode(b"of nobody, and of nothing at all").decode()

OF_ITS_TIME = {
    "run.json", "log.jsonl", ".lists.json", "report.html", "sheet.pdf", "inventory.gpkg",
    "inventory.shp.zip", "stac/collection.json",
}  # fmt: skip
"""What holds the time of day, durations, or the digest of such a file: no two runs agree on it."""


@contextmanager
def bucket_of_kind(kind: str, *, secret: str = "word") -> Iterator[str]:  # noqa: S107 of nothing
    """Start a server with an empty bucket, named in the environment until the block ends.

    Args:
        kind: "s3", "gs" or "az".
        secret: the password of S3, which moto does not ask for.

    Yields:
        Its URL.
    """
    with ExitStack() as opened:
        patch = opened.enter_context(pytest.MonkeyPatch.context())
        if kind == "az":
            url = opened.enter_context(azure_store(ACCOUNT, KEY))
            _ask(f"{url}/maps?restype=container", _signed("maps", "restype:container"))
            patch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
            patch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        else:
            s3 = opened.enter_context(object_store())
            _ask(f"{s3}/maps", {})
            patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
            patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
            patch.setenv("AWS_REGION", "us-east-1")
            url = s3 if kind == "s3" else opened.enter_context(google_store(s3))
        use(patch, url, kind)
        yield url
    bucket.bucket_of.cache_clear()


def use(patch: pytest.MonkeyPatch, url: str, kind: str = "s3") -> None:
    """Make this process, and those that it starts, ask another server."""
    names = {
        "s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST", "az": "AZURE_STORAGE_ENDPOINT",
    }  # fmt: skip
    patch.setenv(names[kind], url)
    bucket.bucket_of.cache_clear()


def _ask(url: str, headers: dict[str, str]) -> None:
    request = urllib.request.Request(url, data=b"", headers=headers, method="PUT")
    urllib.request.urlopen(request).close()


def _signed(container: str, *queries: str) -> dict[str, str]:
    """Return headers of a request that makes a container.

    Source: Microsoft, Azure Storage, Authorize with Shared Key.
    """
    known = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    kind = "application/octet-stream"
    lines = ["PUT", *[""] * 4, kind, *[""] * 6]
    lines += [f"{name}:{value}" for name, value in known.items()]
    text = "\n".join([*lines, f"/{ACCOUNT}/{ACCOUNT}/{container}", *queries])
    digest = hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")
    word = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    return {**known, "Content-Type": kind, "Authorization": word}


def contents(folder: Path | str) -> dict[str, bytes]:
    """The content of each file of a run."""
    run = remote.place(folder)
    files = [path for path in run.rglob("*") if remote.is_remote(path) or path.is_file()]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def results(folder: Path | str) -> dict[str, str]:
    """sha256 of every file that any two runs agree on."""
    return digests(contents(folder))


def digests(held: dict[str, bytes]) -> dict[str, str]:
    """sha256 of all contents that any two runs agree on."""
    return {
        name: hashlib.sha256(content).hexdigest()
        for name, content in held.items()
        if name not in OF_ITS_TIME
    }
