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
from lspipe.errors import ClusterError, UsageError
from lspipe.machine import check_folder, kept_environment

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

_KEPT = ("comm.timeouts", "dashboard", "worker.multiprocessing-method")
"""Settings of a person that count: how slow this machine is, and how it makes processes."""


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Client]:
    """Yield a client of a `distributed.LocalCluster`; closes both afterwards.

    Raises:
        ClusterError: the workers do not start.
        UsageError: dask cannot write its temporary files.
    """
    from distributed import Client, LocalCluster

    environment = {
        **ALLOCATOR,
        # rasterio silences this warning, meaningless here, but not for two threads at once.
        "PYTHONWARNINGS": _also_ignored("Dataset has no geotransform"),
    }
    _check_temporary_folder()
    settings = {
        "distributed": _plain_settings(),
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
        cluster = _started(
            LocalCluster,
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


def _plain_settings() -> dict[str, Any]:
    """Return dask's own settings of `distributed`, with few of those of the person.

    Somebody's settings for other clusters (a preload, encryption, a life time of workers) would
    stop the workers of this machine, or end them while they compute.
    """
    plain: dict[str, Any] = dask.config.merge(*dask.config.defaults)["distributed"]
    for key in _KEPT:
        dask.config.set({key: dask.config.get(f"distributed.{key}")}, config=plain)
    return plain


def ignored_settings() -> list[str]:
    """Return dask's settings of the person that workers of this machine are started without."""
    import distributed  # noqa: F401  # its defaults are known once it is imported

    plain = _flat(dask.config.merge(*dask.config.defaults)["distributed"])
    asked = _flat(dask.config.get("distributed"))
    return [
        f"dask: distributed.{key} = {value!r}"
        for key, value in sorted(asked.items())
        if not key.startswith(_KEPT) and plain.get(key) != value
    ]


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{above}{key}".replace("_", "-")
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return flat


def _check_temporary_folder() -> None:
    folder = dask.config.get("temporary-directory", None)
    if folder is None:
        return
    try:
        check_folder(folder)
    except UsageError as error:
        raise UsageError(
            "dask's setting temporary-directory (DASK_TEMPORARY_DIRECTORY, or a file in "
            f"~/.config/dask): {error}"
        ) from error


def _started(cluster: Callable[..., LocalCluster], **settings: Any) -> LocalCluster:
    """Start a cluster.

    Raises:
        ClusterError: it does not start; says why.
    """
    try:
        return cluster(**settings)
    except RuntimeError as error:  # what distributed raises, whatever the cause
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ClusterError(
            f"the worker processes of this machine do not start: {type(cause).__name__}: {cause}; "
            "check free memory, the folder of temporary files, and cluster.workers"
        ) from error


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
    """Return PYTHONWARNINGS as the person set it, without errors and warnings that begin so.

    A warning of a library that ends a worker would end the run.
    """
    asked = os.environ.get("PYTHONWARNINGS", "").split(",")
    kept = [option for option in asked if option and not option.startswith("error")]
    return ",".join([*kept, f"ignore:{message}"])
