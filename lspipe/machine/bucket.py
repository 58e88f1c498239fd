"""A bucket of an object store (s3://, gs://, az://), opened by obstore, and words for its errors.

Endpoint and credentials come from the environment, as obstore reads it, and are never kept.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lspipe.errors import MissingExtra, RemoteError, without_queries

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL", "STORAGE_EMULATOR_HOST"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Variables that name another server than Amazon's, Google's or Microsoft's, by scheme; the first
that is set counts."""

_ACCOUNT = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
"""As obstore calls it, and as GDAL and the `az` command do."""

_KEY = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY")

SECONDS_TO_ANSWER = 120
"""Of one request; an object of a run is a chunk of some MB, or a part of a larger file."""


@lru_cache
def bucket_of(root: str, prefix: str = "", *, is_patient: bool = True) -> Any:
    """Return the obstore of a bucket; its retries are those of all that lspipe asks it.

    Args:
        root: "s3://bucket".
        prefix: of all its keys.
        is_patient: whether a server that fails is asked again for three minutes, or hardly.
    """
    obstore = library()
    kinds = {
        "s3": obstore.store.S3Store, "gs": obstore.store.GCSStore, "az": obstore.store.AzureStore,
    }  # fmt: skip
    scheme, _, bucket = root.partition("://")
    retry = {
        "max_retries": 10 if is_patient else 2,
        "retry_timeout": timedelta(seconds=180 if is_patient else 20),
    }
    options: dict[str, Any] = {"timeout": f"{SECONDS_TO_ANSWER}s"}
    # Who names a server by http:// has said that it is to be asked so.
    if (endpoint(scheme) or "").startswith("http://"):
        options["allow_http"] = True
    return kinds[scheme](
        bucket,
        prefix=prefix or None,
        client_options=options,
        retry_config=retry,
        **_more(scheme),
    )


def endpoint(scheme: str) -> str | None:
    """Return the server that the environment names for a scheme; None = that of the provider."""
    found = _first(*ENDPOINTS[scheme])
    # Google's own programs take "localhost:4443" too.
    is_bare = scheme == "gs" and found is not None and "://" not in found
    return f"http://{found}" if is_bare else found


def _more(scheme: str) -> dict[str, Any]:
    """Return what obstore does not read from the environment itself."""
    server = endpoint(scheme)
    found: dict[str, Any] = {}
    if server is not None:
        found["base_url" if scheme == "gs" else "endpoint"] = server.rstrip("/")
    if scheme == "gs" and server is not None and is_emulated():
        # Whatever it is: without one obstore asks Google for a token, even to leave it out.
        found["bearer_token"] = "none"  # noqa: S105
    if scheme == "az" and _first(*_ACCOUNT) is not None:
        found["account_name"] = _first(*_ACCOUNT)
    return found


def is_emulated() -> bool:
    """Return whether the server of gs:// stands for Google's in a test, and knows no accounts."""
    return _first("GOOGLE_BASE_URL") is None and _first("STORAGE_EMULATOR_HOST") is not None


def gdal_settings() -> dict[str, str]:
    """Return what makes GDAL read addresses as obstore does: its names of the same facts."""
    return {**_s3_of_gdal(), **_google_of_gdal(), **_azure_of_gdal()}


def _s3_of_gdal() -> dict[str, str]:
    scheme, _, host = (endpoint("s3") or "").partition("://")
    if not host:
        return {}
    return {
        "AWS_S3_ENDPOINT": host.rstrip("/"),
        "AWS_HTTPS": "NO" if scheme == "http" else "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def _google_of_gdal() -> dict[str, str]:
    server = endpoint("gs")
    found = {} if server is None else {"CPL_GS_ENDPOINT": f"{server.rstrip('/')}/"}
    if is_emulated() or (_first("GOOGLE_SKIP_SIGNATURE") or "").lower() in {"1", "true"}:
        found["GS_NO_SIGN_REQUEST"] = "YES"
    return found


def _azure_of_gdal() -> dict[str, str]:
    server = endpoint("az")
    found = {
        "AZURE_STORAGE_ACCOUNT": _first(*_ACCOUNT),
        "AZURE_STORAGE_ACCESS_KEY": _first(*_KEY),
        "CPL_AZURE_ENDPOINT": server and server.rstrip("/"),
    }
    return {name: value for name, value in found.items() if value}


def _first(*names: str) -> str | None:
    """Return the value of the first variable that is set."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def library() -> Any:
    """Return obstore, with what lspipe uses of it.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise MissingExtra(
            "an address in an object store needs obstore, here and on all workers: "
            "pip install 'lspipe[objectstore]'"
        ) from error
    return obstore


@contextmanager
def told(path: object, done: str) -> Iterator[Any]:
    """Yield obstore; say in lspipe's words what fails.

    Args:
        path: what is asked for.
        done: what cannot be done with it then: "read", "written".
    """
    obstore = library()
    try:
        yield obstore
    except FileNotFoundError as error:
        if done == "written":  # the bucket is gone
            raise failed(path, done, error) from None
        raise FileNotFoundError(f"{path}: no such object") from error
    except obstore.exceptions.BaseError as error:
        raise failed(path, done, error) from None


def failed(path: object, done: str, error: BaseException) -> RemoteError:
    """Return what to say of a request that failed, without what may be secret."""
    reason = without_queries(" ".join(str(error).split("\n\nDebug source", 1)[0].split()))
    return RemoteError(
        f"{path}: cannot be {done} ({reason[:300]}); look at the network, and at the endpoint and "
        "credentials in the environment, then give the same command again: what is stored is kept"
    )
