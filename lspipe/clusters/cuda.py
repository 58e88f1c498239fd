"""Worker processes on this machine, each with a GPU of its own.

`local` becomes this where GPUs compute. A worker sees no other GPU than its own, so that all of
lspipe computes on "the GPU"; dask-cuda adds memory pools and links between GPUs, which blocks
do not need.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distributed import LocalCluster

from lspipe.clusters import gpus, local
from lspipe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from lspipe.clusters import ClusterSpec, ExecutionSpec


@contextmanager
def start(spec: ClusterSpec, execution: ExecutionSpec) -> Iterator[Client]:
    """Yield a client of a local cluster, its workers bound to the GPUs in turn.

    Raises:
        ClusterError: the workers do not start.
        UsageError: no GPU is visible, or dask cannot write its temporary files.
    """
    if not gpus.visible():
        raise UsageError(
            "cluster.kind: found cuda, and this machine shows no GPU; check the driver and "
            f"{gpus.VARIABLE}, or use local"
        )
    with local.running(spec, execution, OneGpuEach) as client:
        yield client


class OneGpuEach(LocalCluster):  # type: ignore[misc]  # distributed ships no types
    """A local cluster whose worker number n has GPU number n, again and again."""

    def __init__(self, *, n_workers: int, **options: Any) -> None:
        super().__init__(n_workers=0, **options)
        self.gpus = gpus.visible()
        try:
            for _ in range(n_workers):
                self.worker_spec.update(self.new_worker_spec())
            self.sync(self._correct_state)
        except BaseException:
            self.close()
            raise

    def new_worker_spec(self) -> dict[int, dict[str, Any]]:
        """Return name and options of the next worker."""
        ((number, spec),) = super().new_worker_spec().items()
        own = {gpus.VARIABLE: self.gpus[number % len(self.gpus)]}
        options = {**spec["options"], "env": {**(spec["options"].get("env") or {}), **own}}
        return {number: {**spec, "options": options}}
