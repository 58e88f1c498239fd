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

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Variables that name a server of S3 other than Amazon's, the first that is set counts."""

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
    if scheme == "s3" and (s3_endpoint() or "").startswith("http://"):
        options["allow_http"] = True
    more = {} if scheme != "s3" or s3_endpoint() is None else {"endpoint": s3_endpoint()}
    return kinds[scheme](
        bucket, prefix=prefix or None, client_options=options, retry_config=retry, **more
    )


def s3_endpoint() -> str | None:
    """Return the server that the environment names for S3; None = Amazon's."""
    return next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)


def gdal_settings() -> dict[str, str]:
    """Return what makes GDAL read s3:// from the server that the environment names for obstore."""
    scheme, _, host = (s3_endpoint() or "").partition("://")
    if not host:
        return {}
    return {
        "AWS_S3_ENDPOINT": host.rstrip("/"),
        "AWS_HTTPS": "NO" if scheme == "http" else "YES",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


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
