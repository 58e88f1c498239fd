"""Where blocks are computed: one contract, one file per kind of cluster.

A cluster file has `start(spec, execution)`, a context manager that yields a connected
`distributed.Client` and closes what it started. Workers that declare the resource `inference` get
blocks one at a time, and read the next ones in their other threads meanwhile; on a cluster where no
worker declares it, every thread of a worker takes whatever comes.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lspipe import machine
from lspipe.clusters import gpus, kinds
from lspipe.errors import UsageError
from lspipe.spec import Bounds, Count, Named, Pixels, Spec, plugin
from lspipe.spec.plugins import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lspipe.clusters.admission import Worker

KINDS = {
    "local": "lspipe.clusters.local:start",
    "cuda": "lspipe.clusters.cuda:start",
    "address": "lspipe.clusters.address:start",
    "slurm": "lspipe.clusters.slurm:start",
    "kubernetes": "lspipe.clusters.kubernetes:start",
    "gateway": "lspipe.clusters.gateway:start",
}

EXTRAS = {"slurm": "slurm", "kubernetes": "kubernetes", "gateway": "gateway"}
"""Set of packages (`pip install 'lspipe[NAME]'`) that a kind needs."""

USABLE_MEMORY = 0.9
"""Share of a worker's memory from which on it takes no new task until some is free."""

INFERENCE_SLOT = {"inference": 1}
"""Resource of which a worker has one, and which the computing of a block takes: one network call at
a time, so that memory, torch threads and a GPU are those of one block."""

MEMORY = Named(("auto",), "a size such as 4GiB", r"^(?=.*[1-9])\d+(\.\d+)? ?([kKMGTP]i?)?B?$")
"""What `memory_per_worker` may be; `dask.utils.parse_bytes` reads all of it."""

NAME = Named((), "a name without blanks", r"^[\w.,+-]+$")

WALLTIME = Named((), 'a time in quotes, such as "04:00:00"', r"^(\d+-)?\d+(:\d{2}){0,2}$")
"""As SLURM writes it: minutes, hours:minutes:seconds, days-hours and so on."""


@dataclass(frozen=True, kw_only=True)
class ClusterSpec(Spec):
    """Which cluster computes the blocks."""

    kind: Annotated[str, plugin(KINDS, "start")] = "local"
    """Kind of cluster: local, cuda (a worker for each GPU of this machine), address (a dask cluster
    that runs already), slurm, kubernetes or gateway (dask-gateway)."""
    address: str | None = None
    """Scheduler of a running cluster, such as tcp://127.0.0.1:8786, with kind address; the server's
    URL with kind gateway, where dask's own configuration does not name it."""
    workers: Count | Literal["auto"] = "auto"
    """Worker processes: jobs of slurm, pods of kubernetes; auto, on this machine only, is one per
    processor core, and one per GPU where GPUs compute."""
    memory_per_worker: Annotated[str, MEMORY] = "auto"
    """Memory of one worker, such as 4GiB; auto shares this machine's memory evenly."""
    cores: Count | None = None
    """Processor cores of a job or pod; two, unless given."""
    gpus: Annotated[int, Bounds(ge=0, le=1)] | None = None
    """GPUs of a job or pod, 0 or 1; none, unless given."""
    queue: Annotated[str, NAME] | None = None
    """Partition of SLURM. This key and the next three, left out, are those of dask-jobqueue's own
    configuration."""
    account: Annotated[str, NAME] | None = None
    """Account that SLURM charges."""
    walltime: Annotated[str, WALLTIME] | None = None
    """Longest time of a job of SLURM, such as "04:00:00", in quotes; workers leave before it ends,
    and new jobs take their places."""
    interface: Annotated[str, NAME] | None = None
    """Network interface between the nodes of SLURM, such as ib0."""
    image: str | None = None
    """Container image of scheduler and workers on Kubernetes, with lspipe."""
    namespace: Annotated[str, NAME] | None = None
    """Namespace of Kubernetes; that of this process or of the current context, unless given."""
    volumes: dict[str, str] = field(default_factory=dict)
    """Persistent volume claims of Kubernetes, and the folder where each pod sees one, such as
    {runs: /runs}; run directory and files are there."""
    options: dict[str, Any] = field(default_factory=dict)
    """More for the library that starts the cluster: arguments of dask-jobqueue's SLURMCluster,
    of dask-kubernetes's KubeCluster (and `pod` and `container`, which are added to each worker's),
    or options of the gateway. No secrets: a run keeps them."""

    def __post_init__(self) -> None:
        """Refuse keys that the kind does not use, or lacks."""
        super().__post_init__()
        kinds.check(self)


@dataclass(frozen=True, kw_only=True)
class ExecutionSpec(Spec):
    """How the work is cut and repeated; it never changes a pixel."""

    block: Pixels | Literal["auto"] = "auto"
    """Edge of a block, pixels; auto takes 3660 on a whole tile and less on a small area."""
    retries: Annotated[int, Bounds(ge=0)] = 3
    """How often a failed read or block is tried again."""
    max_in_flight: Count | Literal["auto"] = "auto"
    """While so many blocks are not finished, no other is begun; auto is three per worker, and up to
    five where a GPU computes."""
    strict: bool = False
    """Whether a worker that differs (another lspipe, model or run directory) ends the run; by
    default it is left out, and the others go on."""
    patience: Count = 600
    """Seconds that a run waits while no worker can compute; more for a busy queue of a cluster."""


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Any]:
    """Start the cluster of a workflow and yield a connected `distributed.Client`."""
    factory = resolve(spec.kind, KINDS, kind="cluster", extra=EXTRAS.get(spec.kind, ""))
    with factory(spec, execution) as client:
        yield client


@contextmanager
def starting(execution: ExecutionSpec) -> Iterator[Callable[[ClusterSpec], Any]]:
    """Yield what starts a cluster when it is first called, and returns its client each time."""
    with ExitStack() as stack:
        clients: list[Any] = []

        def client(spec: ClusterSpec) -> Any:
            if not clients:
                clients.append(stack.enter_context(start(spec, execution)))
            return clients[0]

        yield client


def sized(spec: ClusterSpec, *, device: str) -> ClusterSpec:
    """Decide how many workers a cluster of this machine has: one per core, or one per GPU.

    Each worker keeps a network and a block on its GPU, with a batch that was tried on it alone.

    Args:
        spec: of the workflow.
        device: where networks run, "cpu" or "cuda".

    Returns:
        The cluster; local becomes cuda where GPUs compute.

    Raises:
        UsageError: kind cuda, and networks run on the CPU.
    """
    if spec.kind not in kinds.HERE:
        return spec
    if not device.startswith("cuda"):
        if spec.kind == "cuda":
            raise UsageError(
                "cluster.kind: found cuda, and networks run on the CPU here; use local, or "
                "inference.device: cuda, which says why no GPU is seen"
            )
        return spec if spec.workers != "auto" else replace(spec, workers=machine.cores())
    own = gpus.visible()
    workers = spec.workers if spec.workers != "auto" else len(own) or 1
    return replace(spec, kind="cuda" if own else spec.kind, workers=workers)


def workers_per_gpu(spec: ClusterSpec) -> int:
    """Return how many workers of this machine would share a GPU; 1 on other clusters."""
    if spec.kind not in kinds.HERE:
        return 1
    return math.ceil(worker_count(spec) / (len(gpus.visible()) or 1))


def worker_count(spec: ClusterSpec) -> int:
    """Return how many workers compute; 1 for an external cluster whose size is unknown."""
    if spec.workers != "auto":
        return spec.workers
    if spec.kind == "cuda":
        return len(gpus.visible()) or 1
    return machine.cores() if spec.kind == "local" else 1


def worker_memory(spec: ClusterSpec) -> int | None:
    """Return the memory of one worker, bytes; None for an external cluster whose memory is unknown.

    `auto` shares the memory of this machine among the workers.
    """
    if spec.memory_per_worker != "auto":
        from dask.utils import parse_bytes

        return int(parse_bytes(spec.memory_per_worker))
    return machine.memory() // worker_count(spec) if spec.kind in kinds.HERE else None


def declares_slot(spec: ClusterSpec) -> bool:
    """Return whether every worker of such a cluster declares `INFERENCE_SLOT`.

    True where lspipe writes the command of the workers. At an address or a gateway, others do, and
    a kind of one's own may do either.
    """
    return spec.kind in (*kinds.HERE, "slurm", "kubernetes")


def has_slot(worker: Worker) -> bool:
    """Return whether a worker declares the slot for inference."""
    return set(INFERENCE_SLOT) <= set(worker.resources)


def is_here(spec: ClusterSpec) -> bool:
    """Return whether the workers are processes that this one starts on its own machine.

    A kind of one's own says so by an attribute `is_here` of its function.
    """
    if spec.kind in KINDS:
        return spec.kind in kinds.HERE
    return bool(getattr(resolve(spec.kind, KINDS, kind="cluster"), "is_here", False))


def where_to_look(spec: ClusterSpec) -> str:
    """Return in words where a person sees why no worker comes."""
    return kinds.WHERE_TO_LOOK.get(spec.kind, "look at what starts its workers")
