"""Which workers of a cluster get tasks of a run: one that joins waits until it was looked at.

A scheduler hands out tasks as soon as a worker joins. A worker with another lspipe would then read
pixels or compute a block before anybody knows. So a plugin of the scheduler holds those that join,
and the client lets them in by name. Reading tasks are not tied to workers by restrictions instead:
dask does not bound how far restricted tasks run ahead of what is computed.

A worker that is kept out stays connected, and is as it was once the run ends.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed import KilledWorker, SchedulerPlugin, Status

from lspipe.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from distributed import Client, Scheduler

WENT_AWAY = (OSError, RuntimeError)
"""What a client raises that has lost its scheduler: no connection, or no more connections."""

DIED = KilledWorker
"""What a client raises for a task of which several workers died."""

_EXTENSION = "lspipe-gate"


@dataclass(frozen=True)
class Worker:
    """A worker that is connected."""

    name: str
    resources: Mapping[str, float]
    threads: int
    process: str
    """Its own name for itself: another process may come back at the same address."""


def present(client: Client) -> dict[str, Worker]:
    """Return the workers that are connected, by their addresses.

    `Client.scheduler_info` says what was so earlier where the scheduler does not answer.
    """
    found: dict[str, Worker] = client.run_on_scheduler(_present)
    return found


def _present(dask_scheduler: Scheduler) -> dict[str, Worker]:
    return {
        address: Worker(str(worker.name), dict(worker.resources), worker.nthreads, worker.server_id)
        for address, worker in dask_scheduler.workers.items()
    }


class Gate:
    """Keeps workers of one scheduler from tasks, for any number of runs at a time."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._kept_out: dict[str, set[str]] = {}
        self._next = scheduler.stream_handlers["worker-status-change"]
        scheduler.stream_handlers["worker-status-change"] = self._status_changed

    @classmethod
    def of(cls, scheduler: Scheduler) -> Gate:
        """Return the one gate of a scheduler."""
        if _EXTENSION not in scheduler.extensions:
            scheduler.extensions[_EXTENSION] = cls(scheduler)
        gate: Gate = scheduler.extensions[_EXTENSION]
        return gate

    def shut(self, worker: str, run: str) -> None:
        """Give a worker no further task."""
        if worker in self._scheduler.workers:
            self._kept_out.setdefault(worker, set()).add(run)
            self._tell(Status.paused, worker)

    def open(self, worker: str, run: str) -> None:
        """Give a worker tasks again, unless another run keeps it out."""
        runs = self._kept_out.get(worker, set())
        runs.discard(run)
        if not runs and self._kept_out.pop(worker, None) is not None:
            self._tell(Status.running, worker)

    def open_all(self, run: str) -> None:
        """Let in all that a run keeps out."""
        for worker in list(self._kept_out):
            self.open(worker, run)

    def forget(self, worker: str) -> None:
        """Drop a worker that left."""
        self._kept_out.pop(worker, None)

    def _tell(self, status: Status, worker: str) -> None:
        stimulus = f"lspipe-gate-{time.time()}"
        self._scheduler.handle_worker_status_change(status, worker, stimulus)

    def _status_changed(self, status: str, worker: str, stimulus_id: str) -> None:
        """Take what a worker says of itself; one that is kept out says that it runs as it joins."""
        if worker not in self._kept_out or Status[status] is not Status.running:
            self._next(status=status, worker=worker, stimulus_id=stimulus_id)


class Admission(SchedulerPlugin):  # type: ignore[misc]
    """Holds the workers that join while a run computes, and lets all go when its client leaves."""

    def __init__(self, name: str, client: str) -> None:
        self.name = name
        self._client = client

    async def start(self, scheduler: Scheduler) -> None:
        """Begin; those who are there stay as they are."""
        self._scheduler = scheduler
        self.gate = Gate.of(scheduler)

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Hold a worker that joins."""
        del scheduler
        self.gate.shut(worker, self.name)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Forget a worker that left."""
        del scheduler
        self.gate.forget(worker)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """End with the client, which may have been killed."""
        if client == self._client:
            _leave(self.name, scheduler)


class Door:
    """The client's side of `Admission`: lets workers in, and keeps them out.

    Example:
        >>> with Door(client) as door:  # doctest: +SKIP
        ...     door.keep_out(["tcp://10.0.0.7:41234"])
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._name = f"lspipe-{uuid4().hex}"

    def __enter__(self) -> Door:
        try:
            self._client.register_plugin(Admission(self._name, self._client.id))
        except (ImportError, AttributeError) as error:
            raise ClusterError(
                f"the scheduler has no lspipe, or another one ({error}); install the same lspipe "
                "where `dask scheduler` is started"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        # A scheduler that went away keeps nobody out.
        with suppress(*WENT_AWAY):
            self._client.run_on_scheduler(_leave, name=self._name)

    def let_in(self, workers: Iterable[str]) -> None:
        """Let workers have tasks."""
        self._client.run_on_scheduler(_let_in, name=self._name, workers=list(workers))

    def keep_out(self, workers: Iterable[str]) -> None:
        """Let workers have no further tasks; what they compute now, they end."""
        self._client.run_on_scheduler(_keep_out, name=self._name, workers=list(workers))


def _let_in(name: str, workers: Sequence[str], dask_scheduler: Scheduler) -> None:
    for worker in workers:
        Gate.of(dask_scheduler).open(worker, name)


def _keep_out(name: str, workers: Sequence[str], dask_scheduler: Scheduler) -> None:
    for worker in workers:
        Gate.of(dask_scheduler).shut(worker, name)


def _leave(name: str, dask_scheduler: Scheduler) -> None:
    Gate.of(dask_scheduler).open_all(name)
    with suppress(ValueError):
        dask_scheduler.remove_plugin(name)


# --- where a task failed, and where it is tried again ---------------------------------------------


@dataclass(frozen=True)
class Fault:
    """Why a task has an error: it failed, or one that it needs did."""

    key: Any
    """The task that failed."""
    run: int
    """Number of this try; those of all tasks of a scheduler differ."""
    workers: tuple[str, ...]
    """Where it failed."""


def fault_of(client: Client, key: Any) -> Fault | None:
    """Return why a task has an error; None if it has none, or is tried again already."""
    found: Fault | None = client.run_on_scheduler(_fault_of, key=key)
    return found


def _fault_of(key: Any, dask_scheduler: Scheduler) -> Fault | None:
    task = dask_scheduler.tasks.get(key)
    blamed = task and task.exception_blame
    if not task or not blamed or task.state != "erred":
        return None
    return Fault(blamed.key, blamed.run_id or 0, tuple(sorted(blamed.erred_on or ())))


def try_again(client: Client, key: Any, *, avoid: Sequence[str] = ()) -> None:
    """Run a task that has an error again, with those that it needs.

    `Client.retry` cannot: it fails where the task that failed is one the client has not asked for.

    Args:
        client: of the cluster.
        key: of the task.
        avoid: workers on which the task that failed is not to run, where others can.
    """
    client.run_on_scheduler(_try_again, key=key, avoid=list(avoid))


def _try_again(key: Any, avoid: Sequence[str], dask_scheduler: Scheduler) -> None:
    task = dask_scheduler.tasks.get(key)
    if not task or task.state != "erred" or not task.exception_blame:
        return
    blamed = task.exception_blame
    needed = (blamed.resource_restrictions or {}).items()
    fit = {
        worker.address
        for worker in dask_scheduler.running
        # A task may need a worker that has a resource, and nothing of it.
        if all(name in worker.resources and worker.resources[name] >= n for name, n in needed)
    }
    others = fit - set(avoid)
    blamed.worker_restrictions = others if others and others != fit else None
    dask_scheduler.stimulus_retry(keys=[key])


def allow_anywhere(client: Client) -> None:
    """Let tasks run anywhere that wait for workers which have left.

    `try_again` names the workers for a task, and all of them may leave before it runs.
    """
    client.run_on_scheduler(_allow_anywhere)


def _allow_anywhere(dask_scheduler: Scheduler) -> None:
    here = {worker.address for worker in dask_scheduler.running}
    for task in list(dask_scheduler.unrunnable):
        if task.worker_restrictions and not task.worker_restrictions & here:
            task.worker_restrictions = None
            dask_scheduler.transitions({task.key: "waiting"}, f"lspipe-anywhere-{time.time()}")
