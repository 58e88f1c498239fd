"""Where blocks are computed: one contract, one file per kind of cluster.

A cluster file has `start(spec, execution)`, a context manager that yields a connected
`distributed.Client` and closes what it started. Workers that declare the resource `inference` get
blocks one at a time, and read the next ones in their other threads meanwhile; on a cluster where no
worker declares it, every thread of a worker takes whatever comes.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lspipe import machine
from lspipe.spec import Bounds, Count, Named, Pixels, Spec, plugin
from lspipe.spec.plugins import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lspipe.clusters.admission import Worker

KINDS = {"local": "lspipe.clusters.local:start", "address": "lspipe.clusters.address:start"}

HERE = ("local",)
"""Kinds whose workers are processes of this machine, of the same packages."""

JOINED = ("address",)
"""Kinds whose workers somebody else started."""

WHERE_TO_LOOK = {
    "local": "look at the memory of this machine",
    "address": "look at the machines on which `dask worker` was started",
}
"""Where a person sees why no worker comes."""

USABLE_MEMORY = 0.9
"""Share of a worker's memory from which on it takes no new task until some is free."""

INFERENCE_SLOT = {"inference": 1}
"""Resource of which a worker has one, and which the computing of a block takes: one network call at
a time, so that memory, torch threads and a GPU are those of one block."""

MEMORY = Named(("auto",), "a size such as 4GiB", r"^(?=.*[1-9])\d+(\.\d+)? ?([kKMGTP]i?)?B?$")
"""What `memory_per_worker` may be; `dask.utils.parse_bytes` reads all of it."""


@dataclass(frozen=True, kw_only=True)
class ClusterSpec(Spec):
    """Which cluster computes the blocks."""

    kind: Annotated[str, plugin(KINDS, "start")] = "local"
    """Kind of cluster: local, or address (a dask cluster that runs already)."""
    address: str | None = None
    """Scheduler of a running cluster, such as tcp://127.0.0.1:8786; with kind address."""
    workers: Count | Literal["auto"] = "auto"
    """Worker processes; auto is one per processor core, and one where a GPU computes."""
    memory_per_worker: Annotated[str, MEMORY] = "auto"
    """Memory of one worker, such as 4GiB; auto shares the machine's memory evenly."""


@dataclass(frozen=True, kw_only=True)
class ExecutionSpec(Spec):
    """How the work is cut and repeated; it never changes a pixel."""

    block: Pixels | Literal["auto"] = "auto"
    """Edge of a block, pixels; auto takes 3660 on a whole tile and less on a small area."""
    retries: Annotated[int, Bounds(ge=0)] = 3
    """How often a failed read or block is tried again."""
    max_in_flight: Count | Literal["auto"] = "auto"
    """While so many blocks are not finished, no other tile is begun; auto is three per worker."""
    strict: bool = False
    """Whether a worker that differs (another lspipe, model or run directory) ends the run; by
    default it is left out, and the others go on."""
    patience: Count = 600
    """Seconds that a run waits while no worker can compute; more for a busy queue of a cluster."""


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Any]:
    """Start the cluster of a workflow and yield a connected `distributed.Client`."""
    factory = resolve(spec.kind, KINDS, kind="cluster")
    with factory(spec, execution) as client:
        yield client


def sized(spec: ClusterSpec, *, device: str) -> ClusterSpec:
    """Decide how many workers a local cluster has: one per core, or one where a GPU computes.

    Each worker keeps a network and a block on the GPU, with a batch that was tried on it alone.

    Args:
        spec: of the workflow.
        device: where networks run, "cpu" or "cuda".
    """
    if spec.kind != "local" or spec.workers != "auto":
        return spec
    return replace(spec, workers=1 if device.startswith("cuda") else machine.cores())


def worker_count(spec: ClusterSpec) -> int:
    """Return how many workers compute; 1 for an external cluster whose size is unknown."""
    if spec.workers != "auto":
        return spec.workers
    return machine.cores() if spec.kind == "local" else 1


def worker_memory(spec: ClusterSpec) -> int | None:
    """Return the memory of one worker, bytes; None for an external cluster whose memory is unknown.

    `auto` shares the memory of this machine among the workers.
    """
    if spec.memory_per_worker != "auto":
        from dask.utils import parse_bytes

        return int(parse_bytes(spec.memory_per_worker))
    return machine.memory() // worker_count(spec) if spec.kind == "local" else None


def has_slot(worker: Worker) -> bool:
    """Return whether a worker declares the slot for inference."""
    return set(INFERENCE_SLOT) <= set(worker.resources)


def declares_slot(spec: ClusterSpec) -> bool:
    """Return whether lspipe starts the workers: these declare the slot as soon as they come."""
    return spec.kind in KINDS and spec.kind not in JOINED


def is_here(spec: ClusterSpec) -> bool:
    """Return whether the workers are processes that this one starts on its own machine."""
    return spec.kind in HERE


def where_to_look(spec: ClusterSpec) -> str:
    """Return in words where a person sees why no worker comes."""
    return WHERE_TO_LOOK.get(spec.kind, "look at what starts its workers")
