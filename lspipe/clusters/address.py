"""A dask cluster that runs already, by the address of its scheduler.

Its workers must have lspipe installed and see the run directory under the same path. With two
threads and one slot for inference, each reads the next block while it computes one:

    export MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_ARENA_MAX=1
    dask worker tcp://HOST:8786 --nthreads 2 --resources inference=1

The first line keeps freed memory in the worker: eager PyTorch is then 1.6 times as fast (see
`settings.ALLOCATOR`).
Where only some declare the slot (those with a GPU, say), blocks are computed there and the others
help to read. The cluster is left running afterwards.
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
        UsageError: no scheduler answers there.
    """
    del execution  # such a cluster was configured when it was started
    from distributed import Client

    address = str(spec.address)
    try:
        _shake_hands(address)
        client = Client(address, timeout=SECONDS_TO_ANSWER)
    # ValueError: an address of another scheme, or none at all.
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(
            f"cluster.address: found {spec.address}, where no dask scheduler answers "
            f"within {SECONDS_TO_ANSWER} s; expected such as tcp://127.0.0.1:8786"
        ) from error
    with client:
        yield client


def _shake_hands(address: str) -> None:
    """Connect to a scheduler and leave again.

    `Client` alone waits for ever where something else listens, such as the dashboard.

    Raises:
        OSError, TimeoutError, ValueError: no scheduler answers there.
    """
    from distributed.comm import connect
    from distributed.security import Security
    from distributed.utils import LoopRunner

    async def knock() -> None:
        secrets = Security().get_connection_args("client")
        (await connect(address, timeout=SECONDS_TO_ANSWER, **secrets)).abort()

    # A loop of its own, in its own thread: a notebook runs one already.
    LoopRunner().run_sync(knock, callback_timeout=SECONDS_TO_ANSWER + 1)
