"""Settings of dask that every cluster of lspipe has: memory, failures, what is read ahead.

Where lspipe starts processes itself, they are settings of dask; elsewhere `as_variables` makes
variables of them, which dask reads too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lspipe import machine
from lspipe.clusters import INFERENCE_SLOT, USABLE_MEMORY, worker_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.clusters import ClusterSpec, ExecutionSpec

THREADS = 2
"""Threads of a worker: one computes a block, the other reads the next and writes the one before."""

MOST_THREADS = 4
"""Threads of a worker whose GPU computes, if it has so many cores: one feeds the GPU, three read,
write and end tiles, each of which is held in memory (benchmarks/simulate.py)."""

ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_ARENA_MAX": "1",
}
"""How a worker's C library (glibc) keeps freed memory: up to 1 GiB, but for pieces above 32 MiB,
the largest it accepts. Dask has workers give every 64 KiB back, so that each layer of a network
fetches its memory anew: eager PyTorch took 1.6 times as long (benchmarks/allocator.py)."""

WORKER = {
    # What a worker holds is the pixels of the next blocks: written to disk and read again, as
    # dask would from 60 % on, they would cost more than they free.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": USABLE_MEMORY,
    # Dask looks a hundred times a second where each thread is, for a page that says "read, network,
    # write"; fifty times whether its loop still turns; twice how busy the machine is. While nothing
    # else happens this is most of the time that its processes take.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "200ms",
    "distributed.admin.system-monitor.interval": "2s",
}
"""Settings of a worker."""


def threads(spec: ClusterSpec) -> int:
    """Return the threads of a worker: two; where a GPU computes, one for each core, up to four.

    Where the network takes a processor, more threads would only share it.

    Example:
        >>> from lspipe.clusters import ClusterSpec
        >>> threads(ClusterSpec())
        2
        >>> asked = {"kind": "slurm", "workers": 1, "memory_per_worker": "16GiB", "gpus": 1}
        >>> threads(ClusterSpec(**asked)), threads(ClusterSpec(**asked, cores=8))
        (2, 4)
    """
    if spec.kind == "cuda":
        own = machine.cores() // worker_count(spec)
    elif spec.gpus:
        own = spec.cores or THREADS
    else:
        return THREADS
    return min(max(own, THREADS), MOST_THREADS)


def scheduler(execution: ExecutionSpec) -> dict[str, Any]:
    """Return settings of a scheduler, which it reads when it starts."""
    return {
        # A task that kills its worker is tried as often as one that fails.
        "distributed.scheduler.allowed-failures": execution.retries,
        # Where dask holds reads back, it hands them to a worker that has fewer tasks than threads,
        # and not to one with as many, as its own 1.1, rounded up, would.
        "distributed.scheduler.worker-saturation": 1.0,
        # A worker that holds the interpreter for long is busy, not dead.
        "distributed.scheduler.worker-ttl": "15 minutes",
    }


def environment() -> dict[str, str]:
    """Return variables of a worker process, to be set before Python starts."""
    return {
        **ALLOCATOR,
        # rasterio silences this warning, meaningless here, but not for two threads at once.
        "PYTHONWARNINGS": _also_ignored("Dataset has no geotransform"),
    }


def as_variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings of dask as variables, as processes on other machines read them.

    Examples:
        >>> as_variables({"distributed.worker.memory.spill": False})
        {'DASK_DISTRIBUTED__WORKER__MEMORY__SPILL': 'False'}
    """
    return {
        f"DASK_{key.replace('.', '__').replace('-', '_').upper()}": str(value)
        for key, value in settings.items()
    }


def worker_options(spec: ClusterSpec) -> list[str]:
    """Return options of `dask worker`: its threads, of which one at a time computes a block.

    Its own page stays on loopback: unlike what workers say to each other, it is not encrypted.
    """
    ((slot, count),) = INFERENCE_SLOT.items()
    return [
        *("--nthreads", str(threads(spec))),
        *("--resources", f"{slot}={count}"),
        *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
    ]


def _also_ignored(message: str) -> str:
    """Return PYTHONWARNINGS as the person set it, without errors and warnings that begin so.

    A warning of a library that ends a worker would end the run.
    """
    asked = os.environ.get("PYTHONWARNINGS", "").split(",")
    kept = [option for option in asked if option and not option.startswith("error")]
    return ",".join([*kept, f"ignore:{message}"])
