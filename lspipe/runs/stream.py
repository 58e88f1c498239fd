"""Blocks to do -> blocks done: submit, bound, retry, report by callback.

One (tile, step) is one graph, so that chunks are read once. Only so many steps are in flight that
each worker has a few blocks: memory and the graph of the scheduler do not grow with the area.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed import as_completed
from distributed.scheduler import KilledWorker

from lspipe.errors import BlockError, ClusterError, LspipeError
from lspipe.runs.events import BlockDone, BlockFailed, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from distributed import Client, Future

    from lspipe.runs.events import Report

logger = logging.getLogger(__name__)

BLOCKS_PER_WORKER = 3
"""Blocks in flight per worker: one computing, one ready, one being read
(docs/performance.md, Blocks in flight)."""

GONE = "the cluster went away; the same command resumes the run"


@dataclass(frozen=True)
class StepTasks:
    """The delayed tasks of one (tile, step), and the block of each."""

    tile: str
    step: int
    indices: tuple[tuple[int, int], ...]
    build: Callable[[], list[Any]]
    """Makes the delayed tasks; called only when there is room, so graphs do not pile up."""


@dataclass
class Outcome:
    """Counts and failures of the submitted blocks."""

    done: int = 0
    failures: list[Failure] = field(default_factory=list)


def compute(
    client: Client,
    steps: Iterable[StepTasks],
    *,
    retries: int,
    max_in_flight: int | None,
    report: Report,
) -> Outcome:
    """Run every step to its end, even if blocks fail.

    Args:
        client: of the cluster.
        steps: in the order in which they start.
        retries: how often dask repeats a failed task.
        max_in_flight: no further step is submitted while so many blocks are unfinished;
            None = `BLOCKS_PER_WORKER` per worker.
        report: called after each block: `BlockDone` or `BlockFailed`.

    Raises:
        ClusterError: the cluster went away.
        LspipeError: an error that all blocks would have (the model, the workflow).
    """
    waiting = deque(steps)
    outcome = Outcome()
    running: dict[Future, tuple[StepTasks, tuple[int, int]]] = {}
    # The loop of this client: else dask takes that of the default client.
    finished = as_completed([], loop=client.loop, raise_errors=False)
    try:
        while waiting or running:
            limit = max_in_flight or BLOCKS_PER_WORKER * _workers(client)
            while waiting and len(running) < limit:
                tasks = waiting.popleft()
                for index, future in _submit(client, tasks, retries):
                    running[future] = (tasks, index)
                    finished.add(future)
            if not running:
                continue
            future = next(finished)
            tasks, index = running.pop(future)
            _settle(future, tasks, index, outcome, report)
    finally:
        client.cancel(list(running))
    return outcome


def _workers(client: Client) -> int:
    try:
        return max(1, len(client.nthreads()))
    except OSError as error:
        raise ClusterError(GONE) from error


def _submit(
    client: Client, tasks: StepTasks, retries: int
) -> Iterator[tuple[tuple[int, int], Future]]:
    logger.info("%s step %d: %d blocks", tasks.tile, tasks.step, len(tasks.indices))
    futures = client.compute(tasks.build(), retries=retries, optimize_graph=True)
    return zip(tasks.indices, futures, strict=True)


def _settle(
    future: Future,
    tasks: StepTasks,
    index: tuple[int, int],
    outcome: Outcome,
    report: Report,
) -> None:
    """Count one future; record the failure of a block, raise any other error."""
    try:
        # If the worker with the result died meanwhile, this computes the block again and waits.
        result = future.result()
    except Exception as error:
        if future.status != "error":
            raise ClusterError(GONE) from error
        if isinstance(error, LspipeError) and not isinstance(error, BlockError):
            raise
        failure = Failure(tasks.tile, tasks.step, index, _reason(error))
        outcome.failures.append(failure)
        report(BlockFailed(failure))
    else:
        outcome.done += 1
        report(BlockDone(result))


def _reason(error: Exception) -> str:
    if isinstance(error, KilledWorker):
        return (
            "its worker died repeatedly, which is nearly always memory: "
            "use fewer workers or a smaller execution.block"
        )
    if isinstance(error, LspipeError):
        return str(error)
    return f"{type(error).__name__}: {error}"
