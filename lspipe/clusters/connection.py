"""A cluster of one of dask's libraries -> its client; both are closed in order."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)


@contextmanager
def connected(cluster: Any, make_client: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield a client of a cluster; closes the client, then the cluster.

    What takes too long to end, on a machine that is busy, is left to the end of this process: the
    blocks are computed, and their list must not be lost.
    """
    started = [cluster]
    try:
        client = make_client(cluster)
        started.insert(0, client)
        yield client
    finally:
        for part in started:
            try:
                part.close()
            except TimeoutError:
                logger.warning("%s did not end in time; it ends with this process", part)


def cause_of(error: BaseException) -> str:
    """Return what came first in a chain of errors, with its type."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
