"""Blocks to do -> blocks done: submit, bound, retry, report by callback.

Each block is a graph. Only so many are in flight that each worker has a few: memory and the graph
of the scheduler do not grow with the area.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from distributed.scheduler import KilledWorker

from lspipe.clusters import admission
from lspipe.clusters.timing import Stopwatch
from lspipe.errors import BlockError, ClusterError, DeviceError, LspipeError
from lspipe.runs.crew import GONE
from lspipe.runs.events import BlockDone, BlockFailed, Failure, Note, TileEnded
from lspipe.runs.tries import Tries
from lspipe.runs.worker import READ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from distributed import Client, Future

    from lspipe.runs.events import Report

logger = logging.getLogger(__name__)

SECONDS_TO_FETCH = 5.0
"""How long fetching a result may take, a few hundred bytes, before the workers are looked after."""

TAIL = "tail-"
"""How the names of tasks begin that end a tile."""

LAST = -(10**9)
"""Priority of the end of a tile where it is done beside the slot, below that of any read: a GPU
that waits for pixels, while threads end tiles, loses more than a list that is made later
(benchmarks/simulate.py)."""

SECONDS_BETWEEN_LOOKS = 1.0
"""How often the workers are looked after while no block ends."""


class Workers(Protocol):
    """Who computes; `crew.Crew` is one."""

    @property
    def computing(self) -> tuple[str, ...]:
        """Addresses of the workers that compute."""

    @property
    def room(self) -> int:
        """How many blocks may be in flight (docs/performance.md, Blocks in flight)."""

    @property
    def slot(self) -> Mapping[str, int]:
        """What the task that computes a block asks of a worker."""

    @property
    def devices(self) -> Mapping[str, int]:
        """Names of what computes, and how many workers have each."""

    def gather(self) -> None:
        """Wait for the first."""

    def look(self) -> None:
        """Take in those that joined; raise where none is left."""

    def retire(self, address: str, reason: str) -> None:
        """Give one nothing more to do."""


@dataclass(frozen=True)
class BlockTasks:
    """The delayed tasks of some blocks of a tile; of a run, of one."""

    tile: str
    blocks: tuple[tuple[int, tuple[int, int]], ...]
    """Step and index of each."""
    build: Callable[[Mapping[str, int]], list[Any]]
    """Makes the delayed task of each block, which asks for a slot on its worker; called only when
    there is room, so graphs do not pile up. What follows these tasks is kept until the blocks are
    done, for others that need it: tasks of one name are done once."""


@dataclass(frozen=True)
class Endings:
    """What is done with a tile once its blocks are: one task each."""

    tiles: frozenset[str] = frozenset()
    """Those to end, also those that have no block to do."""
    end: Callable[[str], Callable[[], Any]] = lambda tile: lambda: tile
    """The task of a tile; what it returns is not used."""
    takes_slot: bool = True
    """Whether it is done in place of a block, so that a worker's memory is that of one of both."""


@dataclass
class Outcome:
    """Counts and failures of the submitted blocks."""

    done: int = 0
    failures: list[Failure] = field(default_factory=list)
    stopped: str = ""
    """Why no more blocks were tried; "" = all were."""
    is_over_budget: bool = False
    """Whether that is because the budget of the run is spent."""
    reading: float = 0.0
    """Seconds of all workers on reading, with the pictures of what was read."""
    devices: Mapping[str, int] = field(default_factory=dict)
    """Names of the GPUs or processors that computed, and how many workers had each."""

    def with_(self, later: Outcome) -> Outcome:
        """Return the outcome of these blocks and of later ones together."""
        return Outcome(
            done=self.done + later.done,
            failures=[*self.failures, *later.failures],
            stopped=later.stopped or self.stopped,
            is_over_budget=self.is_over_budget or later.is_over_budget,
            reading=self.reading + later.reading,
            devices={**self.devices, **later.devices},
        )


@dataclass(frozen=True)
class _Block:
    """One block in flight."""

    tile: str
    step: int
    index: tuple[int, int]
    kept: tuple[Future, ...] = field(default=(), compare=False, repr=False)
    """What others may need, too."""


def compute(
    client: Client,
    batches: Iterable[BlockTasks],
    *,
    crew: Workers,
    retries: int,
    max_in_flight: int | None,
    report: Report,
    endings: Endings = Endings(),
    why_stop: Callable[[], str] = str,
) -> Outcome:
    """Run every block to its end, even if blocks fail, and end each tile when its blocks are.

    A block that fails is tried again, on another worker where there is one. A worker on which
    several blocks fail alike gets no more, and so does one whose device failed. Where all blocks
    fail alike, the others are not tried (`tries.py`). A block whose worker died is tried once more,
    alone, after all others.

    Args:
        client: of the cluster.
        batches: in the order in which they start.
        crew: who computes.
        retries: how often a failed block is tried again.
        max_in_flight: no further block is submitted while so many blocks are unfinished;
            None = what the crew has room for.
        report: called after each block: `BlockDone` or `BlockFailed`; and after each tile:
            `TileEnded`.
        endings: what is done with a tile afterwards. One that fails is told and left.
        why_stop: asked after each block; a reason ends the run, "" does not.

    Raises:
        ClusterError: the cluster went away, or no worker can compute.
        LspipeError: an error that all blocks would have (the model, the workflow).
    """
    waiting = deque(batches)
    if not waiting and not endings.tiles:
        return Outcome()
    crew.gather()
    with Stopwatch(client, begins=READ) as reading:
        running = _Stream(client, crew, Tries(retries), report, endings=endings, why_stop=why_stop)
        outcome = running.drain(waiting, max_in_flight)
        outcome.reading, outcome.devices = reading.seconds(), crew.devices
    return outcome


class _Stream:
    """The blocks in flight, and what became of those that ended."""

    def __init__(
        self,
        client: Client,
        crew: Workers,
        tries: Tries,
        report: Report,
        *,
        endings: Endings,
        why_stop: Callable[[], str],
    ) -> None:
        self._why_stop = why_stop
        self._client, self._crew, self._tries, self._report = client, crew, tries, report
        self._endings = endings
        self._left: Counter[str] = Counter()
        self._tails: dict[Future, str] = {}
        self._running: dict[Future, _Block] = {}
        self._suspects: deque[tuple[Future, _Block]] = deque()
        self._alone: set[_Block] = set()
        self._ended: SimpleQueue[Future] = SimpleQueue()
        self._resting: list[tuple[float, Future, admission.Fault]] = []
        self._outcome = Outcome()

    def drain(self, waiting: deque[BlockTasks], max_in_flight: int | None) -> Outcome:
        for tasks in waiting:
            self._left[tasks.tile] += len(tasks.blocks)
        try:
            for tile in sorted(self._endings.tiles - self._left.keys()):
                self._end(tile)
            while waiting or self._running or self._tails or self._suspects:
                if self._suspects and not waiting and not self._running:
                    self._try_alone(*self._suspects.popleft())
                limit = max_in_flight or max(1, self._crew.room)
                while waiting and len(self._running) < limit:
                    self._submit(waiting.popleft())
                self._settle_next()
                if (waiting or self._running) and (reason := self._why_stop()):
                    self._outcome.stopped, self._outcome.is_over_budget = reason, True
                if self._outcome.stopped:
                    self._report(Note(self._outcome.stopped))
                    break
        finally:
            suspects = [future for future, _ in self._suspects]
            self._client.cancel([*self._running, *self._tails, *suspects])
        return self._outcome

    def _submit(self, tasks: BlockTasks) -> None:
        # Not retried by dask, which does so on the same worker: see `_try_again`.
        futures = self._client.compute(tasks.build(self._crew.slot), optimize_graph=True)
        kept = tuple(futures[len(tasks.blocks) :])
        for (step, index), future in zip(tasks.blocks, futures, strict=False):
            logger.info("block %s of %s, date %d: submitted", index, tasks.tile, step + 1)
            self._running[future] = _Block(tasks.tile, step, index, kept)
            future.add_done_callback(self._ended.put)

    def _settle_next(self) -> None:
        """Wait for a block to end, and look after the workers meanwhile."""
        self._crew.look()
        try:
            future = self._ended.get(timeout=self._wake_up())
        except admission.WENT_AWAY as gone:
            raise ClusterError(GONE) from gone
        except Empty:
            admission.allow_anywhere(self._client)
        else:
            if not future.done():  # another block had its read tried again
                future.add_done_callback(self._ended.put)
            elif future in self._tails:
                self._settle_tail(future)
            else:
                self._settle(future)

    def _wake_up(self) -> float:
        """Try again the blocks that have rested; return how long to wait for another to end."""
        now = time.monotonic()
        rested = [entry for entry in self._resting if entry[0] <= now]
        self._resting = [entry for entry in self._resting if entry[0] > now]
        for _, future, fault in rested:
            if admission.fault_of(self._client, future.key) == fault:
                self._try_again(future, avoid=fault.workers)
            else:
                # Tried again meanwhile, with another block that needs the same read.
                self._ended.put(future)
        left = [when - now for when, _, _ in self._resting]
        return min([SECONDS_BETWEEN_LOOKS, *left])

    def _settle(self, future: Future) -> None:
        """Count one block; try it again or record its failure; raise any other error."""
        block = self._running[future]
        try:
            result = future.result(timeout=SECONDS_TO_FETCH)
        except Exception as error:
            if self._is_late(future, error):
                return
            if future.status != "error":
                raise ClusterError(GONE) from error
            if isinstance(error, LspipeError) and not isinstance(error, BlockError):
                raise
            try:
                self._failed(future, block, error)
            except admission.WENT_AWAY as gone:
                raise ClusterError(GONE) from gone
        else:
            del self._running[future]
            self._retire(self._tries.succeeded(block))
            self._outcome.done += 1
            self._report(BlockDone(result))
            self._count_off(block)

    def _is_late(self, future: Future, error: Exception) -> bool:
        """Wait on for a result whose worker died before it was fetched; it is computed again.

        Not in `result`, which would wait for ever where no worker is left.
        """
        if not isinstance(error, TimeoutError) or future.status == "error":
            return False
        if future.done():
            self._ended.put(future)
        else:
            future.add_done_callback(self._ended.put)
        return True

    def _failed(self, future: Future, block: _Block, error: Exception) -> None:
        """Try a block again, or record its failure."""
        fault = admission.fault_of(self._client, future.key)
        if fault is None:
            # With another block, which needs the same read; this client is about to hear of it.
            time.sleep(0.01)
            self._ended.put(future)
        elif isinstance(error, DeviceError) and self._retire(
            dict.fromkeys(fault.workers, str(error))
        ):
            # Not a try of this block: any other would have failed there too.
            self._try_again(future)
        elif isinstance(error, KilledWorker) and block not in self._alone:
            # Dask counts a death against all blocks that the worker had. One of them did it.
            self._suspects.append((future, self._running.pop(future)))
        elif not isinstance(error, KilledWorker) and self._tries.may_try_again(block, error, fault):
            # The client looks after other blocks meanwhile.
            when = time.monotonic() + self._tries.wait(error, fault)
            self._resting.append((when, future, fault))
        else:
            del self._running[future]
            self._give_up(block, error)

    def _try_again(self, future: Future, *, avoid: tuple[str, ...] = ()) -> None:
        # Before the scheduler hears of it: afterwards the next try may have ended already.
        self._client.futures[future.key].retry()
        admission.try_again(self._client, future.key, avoid=avoid)
        future.add_done_callback(self._ended.put)

    def _try_alone(self, future: Future, block: _Block) -> None:
        """Try a block whose worker died once more, with no other block beside it."""
        self._alone.add(block)
        self._running[future] = block
        if admission.fault_of(self._client, future.key) is None:
            # With an earlier suspect, which needs the same read; it may be done already.
            self._ended.put(future)
        else:
            self._try_again(future)

    def _give_up(self, block: _Block, error: Exception) -> None:
        failure = Failure(block.tile, block.step, block.index, reason_of(error))
        self._outcome.failures.append(failure)
        self._report(BlockFailed(failure))
        step, workers = (block.tile, block.step), len(self._crew.computing)
        self._outcome.stopped = self._tries.given_up(block, error, step=step, workers=workers)
        self._count_off(block)

    # --- tiles ------------------------------------------------------------------------------------

    def _count_off(self, block: _Block) -> None:
        """Take a block from those that its tile waits for."""
        self._left[block.tile] -= 1
        if not self._left[block.tile] and block.tile in self._endings.tiles:
            self._end(block.tile)

    def _end(self, tile: str) -> None:
        slot = self._crew.slot if self._endings.takes_slot else {}
        future = self._client.submit(
            self._endings.end(tile),
            key=f"{TAIL}{tile}-{uuid4().hex}",
            pure=False,
            # Those that only read may not see the run directory.
            workers=None if slot else list(self._crew.computing),
            resources=slot or None,
            priority=0 if self._endings.takes_slot else LAST,
        )
        self._tails[future] = tile
        future.add_done_callback(self._ended.put)

    def _settle_tail(self, future: Future) -> None:
        """Tell of a tile that is ended; the list will end one that failed in this process."""
        tile = self._tails[future]
        try:
            future.result(timeout=SECONDS_TO_FETCH)
        except Exception as error:
            if self._is_late(future, error):
                return
            if future.status != "error":
                raise ClusterError(GONE) from error
            del self._tails[future]
            reason = reason_of(error)
            self._report(Note(f"{tile}: not ended on the cluster, but here afterwards: {reason}"))
        else:
            del self._tails[future]
            self._report(TileEnded(tile))

    # --- workers ----------------------------------------------------------------------------------

    def _retire(self, bad: Mapping[str, str]) -> bool:
        """Give up workers for a reason each, but not the last one; return whether any was."""
        is_retired = False
        for address, reason in bad.items():
            if set(self._crew.computing) - {address}:
                self._crew.retire(address, reason)
                is_retired = True
        return is_retired


def reason_of(error: Exception) -> str:
    """Return why a block failed, for a person."""
    if isinstance(error, KilledWorker):
        return (
            "its worker died repeatedly, which is nearly always memory: "
            "use fewer workers or a smaller execution.block"
        )
    if isinstance(error, LspipeError):
        return str(error)
    return f"{type(error).__name__}: {error}"
