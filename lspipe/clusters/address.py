"""A dask cluster that runs already, by the address of its scheduler.

Its workers must have lspipe installed and see the run directory under the same path. It is left
running afterwards.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lspipe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from lspipe.clusters import ClusterSpec, ExecutionSpec

SECONDS_TO_ANSWER = 30


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Client]:
    """Yield a client of a running cluster.

    Raises:
        UsageError: no address, or nothing answers there.
    """
    del execution  # such a cluster was configured by whoever started it
    from distributed import Client

    if not spec.address:
        raise UsageError("cluster.address: missing; expected such as tcp://127.0.0.1:8786")
    try:
        client = Client(spec.address, timeout=SECONDS_TO_ANSWER)
    except (OSError, TimeoutError) as error:
        raise UsageError(
            f"cluster.address: found {spec.address}, where no dask scheduler answers "
            f"within {SECONDS_TO_ANSWER} s"
        ) from error
    with client:
        yield client
