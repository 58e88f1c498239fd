"""How long workers spend on tasks of one kind; and which worker a task runs on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed import SchedulerPlugin, get_worker

from lspipe.clusters.admission import WENT_AWAY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distributed import Client, Scheduler


class _Seconds(SchedulerPlugin):  # type: ignore[misc]
    """Adds up the seconds of tasks as they end; those of other runs of the cluster count too."""

    def __init__(self, name: str, begins: str) -> None:
        self.name = name
        self._begins = begins
        self.total = 0.0

    def transition(
        self,
        key: Any,
        start: str,
        finish: str,
        *_: Any,
        startstops: Iterable[dict[str, Any]] | None = None,
        **__: Any,
    ) -> None:
        """Take the change of state of one task."""
        if (start, finish) != ("processing", "memory") or not startstops:
            return
        if not str(key[0] if isinstance(key, tuple) else key).startswith(self._begins):
            return
        self.total += sum(
            each["stop"] - each["start"] for each in startstops if each["action"] == "compute"
        )


class Stopwatch:
    """Seconds of all workers on tasks whose names begin in a certain way.

    Example:
        >>> with Stopwatch(client, begins="read-") as reading:  # doctest: +SKIP
        ...     total = reading.seconds()
    """

    def __init__(self, client: Client, *, begins: str) -> None:
        self._client, self._name = client, f"lspipe-seconds-{uuid4().hex}"
        self._begins = begins

    def __enter__(self) -> Stopwatch:
        self._client.register_plugin(_Seconds(self._name, self._begins))
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(*WENT_AWAY):
            self._client.unregister_scheduler_plugin(self._name)

    def seconds(self) -> float:
        """Return them, up to now."""
        total: float = self._client.run_on_scheduler(_total, name=self._name)
        return total


def _total(name: str, dask_scheduler: Scheduler) -> float:
    found: _Seconds = dask_scheduler.plugins[name]
    return found.total


def this_worker() -> str:
    """Return the address of the worker that runs this task; "" outside of a task."""
    try:
        return str(get_worker().address)
    except ValueError:
        return ""
