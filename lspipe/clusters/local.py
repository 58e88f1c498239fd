"""Worker processes on this machine, on loopback: one block at a time, the next read meanwhile."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import dask

from lspipe.clusters import INFERENCE_SLOT, USABLE_MEMORY, worker_count, worker_memory
from lspipe.machine import kept_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client, LocalCluster

    from lspipe.clusters import ClusterSpec, ExecutionSpec

logger = logging.getLogger(__name__)

THREADS = 2
"""Threads of a worker: one computes a block, the other reads and cuts pixels of the next ones."""


ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_ARENA_MAX": "1",
}
"""How a worker's C library (glibc) keeps freed memory: up to 1 GiB, but for pieces above 32 MiB,
the largest it accepts. Dask has workers give every 64 KiB back, so that each layer of a network
fetches its memory anew: eager PyTorch took 1.6 times as long (benchmarks/allocator.py)."""


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Client]:
    """Yield a client of a `distributed.LocalCluster`; closes both afterwards."""
    from distributed import Client, LocalCluster

    environment = {
        **ALLOCATOR,
        # rasterio silences this warning, meaningless here, but not for two threads at once.
        "PYTHONWARNINGS": _also_ignored("Dataset has no geotransform"),
    }
    settings = {
        # A task that kills its worker is tried as often as one that fails; read at scheduler start.
        "distributed.scheduler.allowed-failures": execution.retries,
        # Reads are handed out to a worker that has fewer tasks than threads, and a block that waits
        # for its turn is such a task: one block computes, and one is ready or being read. Dask's
        # own 1.1, rounded up, would let a worker hold the pixels of one block more.
        "distributed.scheduler.worker-saturation": 1.0,
        **{f"distributed.nanny.pre-spawn-environ.{key}": v for key, v in environment.items()},
        # What a worker holds is the pixels of the next blocks: written to disk and read again, as
        # dask would from 60 % on, they would cost more than they free.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": USABLE_MEMORY,
        # A worker that holds the interpreter for long is busy, not dead.
        "distributed.scheduler.worker-ttl": "15 minutes",
    }
    with (
        dask.config.set(settings),
        _set(environment),
        _interrupts_held_back() as let_interrupts_through,
    ):
        cluster = LocalCluster(
            n_workers=worker_count(spec),
            threads_per_worker=THREADS,
            resources=INFERENCE_SLOT,
            # Not dask's own "auto", a share by threads: two of them, on as many cores, take it all.
            memory_limit=worker_memory(spec),
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            # Failures reach the person through lspipe, named; not as tracebacks of every worker.
            silence_logs=logging.CRITICAL,
        )
        started: list[Client | LocalCluster] = [cluster]
        try:
            client = Client(cluster)
            started.insert(0, client)
            let_interrupts_through()
            yield client
        finally:
            _close(started)


def _close(started: list[Client | LocalCluster]) -> None:
    """Close a client and its cluster.

    What takes too long to end, on a machine that is busy, is left to the end of this process: the
    blocks are computed, and their list must not be lost.
    """
    for part in started:
        try:
            part.close()
        except TimeoutError:
            logger.warning("%s did not end in time; it ends with this process", part)


@contextmanager
def _interrupts_held_back() -> Iterator[Callable[[], None]]:
    """Start child processes that a Ctrl-C does not reach; this process gets it afterwards.

    A terminal sends the signal to the whole group. Workers would die in the middle of a block, each
    with a traceback, while this process is about to stop them in order. A blocked signal stays
    blocked in threads and processes started meanwhile, so workers that replace others are covered.
    """
    # Python's resource tracker unblocks the signal when it starts, so it has to run already.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield lambda: _restore(before)
    finally:
        _restore(before)


@contextmanager
def _set(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of this process for a while: dask heeds them before its settings.

    It leaves its own behind, too, in a process that had a cluster before.
    """
    with kept_environment(variables):
        os.environ.update(variables)
        yield


def _restore(mask: set[Any]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _also_ignored(message: str) -> str:
    """Return PYTHONWARNINGS as the person set it, without warnings that begin so."""
    return ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), f"ignore:{message}"]))
