"""How busy would 64 GPUs be with 1000 tiles, and what would they wait for?

A simulation of lspipe's own rules, event by event, fed with the seconds that its stages take:

    a block is submitted by the client while fewer than so many per worker are in flight
    it is read, with its pictures, by any worker that has a thread
    its network runs in the slot of its worker, one block at a time; idle workers take blocks that
        wait elsewhere
    it is written by a thread of that worker, before anything else is begun there
    the end of a tile takes a thread after all that; on processors before reads, and the slot too
    the client submits, hears of blocks and asks for ends, one after the other

Not in it: workers that die, machines that differ, a disk or a network that is full, and that
threads of one machine share its memory.

    python benchmarks/simulate.py             # 64 GPUs, 1000 tiles, several settings: a minute
    python benchmarks/simulate.py --reading 3 --writing 1 --ending 80     # with other stages
    python benchmarks/simulate.py --check     # against real runs on 1 and 2 workers: minutes
    python benchmarks/simulate.py --run DIR   # the stages of a finished run, on 1 to 64 workers

Target: 64 GPUs are 95 % busy with 1000 tiles at the paper's setting, 60 s a tile and date, or it is
said why not; and what they are at 2 s.

Expected before it was run with writing outside of the slot: with one thread beside the slot 80 %,
as reading and writing 18 blocks and the end of a tile take that thread longer than a GPU takes for
a tile of two dates; with three of them 97 %. At 2 s a tile 15 and 30 %: a GPU that is so quick
needs twenty threads beside it. The check within 10 %.

Result, 2026-11-30, of a block 1.5 s to read and 0.7 s to write: at 60 s a tile 94 % with two
threads, of which one is beside the slot, 98 % with four, and 90 % were blocks still written in the
slot. At 2 s 18, 34 and 34 % with two, four and eight threads, at 5 s 40, 80 and 84 %. So the target
is met at the paper's setting, by what is assumed of a GPU; what is quicker waits for processors,
20 s of them for a tile and date, and 90 s for the end of a tile. With 3.1 and 0.8 s, before reading
became quicker: 92 and 98 %; 11, 21 and 34 %; 25, 49 and 84 %. The client is half busy at most. That
ends of tiles go last was found here: before, they took all threads of a worker together, and it was
92 %. The check, one worker on a busy machine: 4 % short of 251 s.
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCKS_PER_WORKER = 3
"""That of `lspipe.runs.stream`."""


@dataclass(frozen=True)
class Stages:
    """Seconds of each stage, and how the work is cut."""

    network: float
    """Of a block, in the slot."""
    writing: float
    """Of a block, beside the slot."""
    reading: float
    """Of a block, by one thread, with its pictures."""
    ending: float = 0.0
    """Of a tile."""
    client: float = 0.0
    """Of a block, in the one process that submits and schedules."""
    exchange: float = 0.0
    """Of a block whose pixels were read by a worker that does not compute it."""
    blocks: int = 9
    """Of a tile and date."""
    dates: int = 2
    does_end_in_slot: bool = False
    does_write_in_slot: bool = False
    """As it was until 2026-11-29."""


@dataclass(frozen=True)
class Fleet:
    """Who computes."""

    workers: int
    threads: int = 2
    readers: int = 0
    """Workers that only read, with as many threads each."""
    in_flight: int = BLOCKS_PER_WORKER
    """Blocks that are submitted and not written, for each worker that computes."""


@dataclass
class _Worker:
    threads: int
    computes: bool
    running: int = 0
    is_slot_free: bool = True
    writes: deque[int] = field(default_factory=deque)
    ends: deque[int] = field(default_factory=deque)
    blocks: deque[int] = field(default_factory=deque)
    reads: deque[int] = field(default_factory=deque)

    @property
    def load(self) -> float:
        waiting = len(self.writes) + len(self.ends) + len(self.blocks) + len(self.reads)
        return (self.running + waiting) / self.threads

    @property
    def has_thread(self) -> bool:
        return self.running < self.threads


@dataclass(frozen=True)
class Simulated:
    """What came of it."""

    seconds: float
    """Until the last block was written."""
    busy: float
    """Share of this time that the network ran, over all workers."""
    with_ends: float
    """Seconds until the last tile was ended."""
    threads: float
    """Share of the time that the threads were taken."""
    client: float
    """Share of the time that the client worked."""


class Simulation:
    """One run; see the top of this file. Blocks are numbered in the order of their turns."""

    def __init__(self, stages: Stages, fleet: Fleet, tiles: int) -> None:
        self._stages, self._fleet = stages, fleet
        self._workers = [_Worker(fleet.threads, True) for _ in range(fleet.workers)]
        self._computing = self._workers[:]
        self._workers += [_Worker(fleet.threads, False) for _ in range(fleet.readers)]
        self._now, self._number = 0.0, 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._of_tile = stages.dates * stages.blocks
        self._waiting = deque(range(tiles * self._of_tile))
        self._left = [self._of_tile] * tiles
        self._in_flight = 0
        self._client: deque[tuple[float, Callable[[], None]]] = deque()
        self._is_client_busy = False
        self._spent = {"threads": 0.0, "client": 0.0, "network": 0.0}
        self._last_block = 0.0

    def run(self) -> Simulated:
        self._submit()
        while self._events:
            self._now, _, act = heapq.heappop(self._events)
            act()
        seconds, threads = self._last_block, len(self._workers) * self._fleet.threads
        return Simulated(
            seconds=seconds,
            busy=self._spent["network"] / (seconds * self._fleet.workers),
            with_ends=self._now,
            threads=self._spent["threads"] / (self._now * threads),
            client=self._spent["client"] / self._now,
        )

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self._now + seconds, self._number, act))

    # --- the client -------------------------------------------------------------------------------

    def _ask_client(self, seconds: float, act: Callable[[], None]) -> None:
        self._client.append((seconds, act))
        self._serve()

    def _serve(self) -> None:
        if self._is_client_busy or not self._client:
            return
        seconds, act = self._client.popleft()
        self._is_client_busy = True
        self._spent["client"] += seconds

        def served() -> None:
            self._is_client_busy = False
            act()
            self._serve()

        self._after(seconds, served)

    def _submit(self) -> None:
        limit = self._fleet.in_flight * self._fleet.workers
        while self._waiting and self._in_flight < limit:
            self._in_flight += 1
            self._ask_client(self._stages.client, partial(self._built, self._waiting.popleft()))

    def _built(self, block: int) -> None:
        worker = min(self._workers, key=lambda each: each.load)
        worker.reads.append(block)
        self._go_on(worker)

    # --- workers ----------------------------------------------------------------------------------

    def _go_on(self, worker: _Worker) -> None:
        """Begin on what waits in a worker, in the order of priorities; else on that of others."""
        stages = self._stages
        while worker.has_thread:
            can_compute = worker.computes and worker.is_slot_free
            if worker.writes:
                self._take(worker, stages.writing, self._written, worker.writes.popleft())
            elif worker.ends and stages.does_end_in_slot and worker.is_slot_free:
                self._end(worker)
            elif can_compute and (worker.blocks or self._has_stolen(worker, "blocks")):
                self._compute(worker, worker.blocks.popleft())
            elif worker.reads or self._has_stolen(worker, "reads"):
                self._take(worker, stages.reading, self._read, worker.reads.popleft())
            elif worker.ends and not stages.does_end_in_slot:
                self._end(worker)
            else:
                return

    def _has_stolen(self, thief: _Worker, kind: str) -> bool:
        """Take what waits longest elsewhere, where all threads or the slot are taken."""
        victim = max(self._workers, key=lambda each: len(getattr(each, kind)))
        waiting = getattr(victim, kind)
        if not waiting or (victim.has_thread and (kind == "reads" or victim.is_slot_free)):
            return False
        getattr(thief, kind).append(waiting.popleft())
        return True

    def _take(
        self, worker: _Worker, seconds: float, act: Callable[[_Worker, int], None], which: int
    ) -> None:
        worker.running += 1
        self._spent["threads"] += seconds

        def ended() -> None:
            worker.running -= 1
            act(worker, which)
            self._go_on(worker)

        self._after(seconds, ended)

    def _read(self, reader: _Worker, block: int) -> None:
        if reader.computes:
            self._ready(reader, block)
            return
        worker = min(self._computing, key=lambda e: (len(e.blocks) + (not e.is_slot_free), e.load))
        self._after(self._stages.exchange, partial(self._ready, worker, block))

    def _ready(self, worker: _Worker, block: int) -> None:
        worker.blocks.append(block)
        self._go_on(worker)
        if worker.blocks and (idle := [e for e in self._computing if self._is_idle(e)]):
            self._go_on(idle[0])

    def _is_idle(self, worker: _Worker) -> bool:
        return worker.is_slot_free and worker.has_thread and not worker.blocks

    def _compute(self, worker: _Worker, block: int) -> None:
        seconds = self._stages.network
        self._spent["network"] += seconds
        if self._stages.does_write_in_slot:
            seconds += self._stages.writing
        worker.is_slot_free = False
        self._take(worker, seconds, self._computed, block)

    def _computed(self, worker: _Worker, block: int) -> None:
        worker.is_slot_free = True
        if self._stages.does_write_in_slot:
            self._written(worker, block)
        else:
            worker.writes.append(block)

    def _written(self, _: _Worker, block: int) -> None:
        self._last_block = self._now
        self._ask_client(0.0, partial(self._settled, block // self._of_tile))

    def _settled(self, tile: int) -> None:
        self._in_flight -= 1
        self._left[tile] -= 1
        if not self._left[tile] and self._stages.ending:
            worker = min(self._computing, key=lambda each: each.load)
            worker.ends.append(tile)
            self._go_on(worker)
        self._submit()

    def _end(self, worker: _Worker) -> None:
        if self._stages.does_end_in_slot:
            worker.is_slot_free = False
        self._take(worker, self._stages.ending, self._ended, worker.ends.popleft())

    def _ended(self, worker: _Worker, _: int) -> None:
        if self._stages.does_end_in_slot:
            worker.is_slot_free = True


# --- 64 GPUs --------------------------------------------------------------------------------------

READING, WRITING = 1.5, 0.7
CLIENT = 0.01
"""Seconds of a block in the client: all processor time of the process that submits and schedules,
of 200 blocks that did nothing, on a busy machine; the check below counts it again."""

H200 = Stages(
    network=60 / 9, writing=WRITING, reading=READING, ending=90.0, client=CLIENT, exchange=0.4
)
"""60 s of one H200 for a tile and date at the paper's setting: what is aimed at, not measured.
Reading a block, its pictures, and writing it: benchmarks/reading.py, benchmarks/stages.py. Ending a
tile takes 35 to 43 s of processor time for its list (benchmarks/listing.py) and 48 s for its
layers; and pixels of 0.4 GB go to another worker at 1 GB/s."""

SECONDS = (60.0, 20.0, 10.0, 5.0, 2.0)
"""Of a GPU for a tile and date: the paper's setting, then those of faster presets."""


def scenarios() -> dict[str, tuple[Stages, Fleet]]:
    """Return what is asked, by name: the setting, then who reads, writes and ends tiles."""
    asked = {"64 GPUs, written in the slot": (replace(H200, does_write_in_slot=True), Fleet(64))}
    for seconds in SECONDS:
        stages = replace(H200, network=seconds / 9)
        for threads in (2, 4, 8):
            name = f"{seconds:2.0f} s a tile, {threads} threads a GPU"
            asked[name] = stages, Fleet(64, threads, in_flight=threads + 1)
    return asked


def tell(name: str, found: Simulated) -> None:
    """Print a line of the table."""
    shares = {"threads": found.threads, "client": found.client}
    print(
        f"{name:34} {found.seconds / 3600:6.2f} h   busy {found.busy:4.0%}   "
        + "   ".join(f"{key} {share:4.0%}" for key, share in shares.items())
        + f"   ends {(found.with_ends - found.seconds) / 60:5.1f} min later"
    )


# --- against real runs ----------------------------------------------------------------------------


def check(rounds: int) -> list[dict[str, float]]:
    """Run a tile of 16 blocks and two dates on 1 and 2 workers, and simulate the same."""
    from io_overlap import DAYS, Case, planned, run_tasks, timed_outcome, write_files

    from lspipe import clusters
    from lspipe.clusters import ClusterSpec, ExecutionSpec

    case, rows = Case(side=4), []
    with tempfile.TemporaryDirectory(prefix="lspipe-simulate-") as name:
        folder = Path(name)
        (folder / "archive").mkdir()
        write_files(folder / "archive", case)
        plan = planned(folder / "plan", case, dict.fromkeys(DAYS, str(folder / "archive")))
        for workers in (1, 2) * rounds:
            spec, execution = ClusterSpec(kind="local", workers=workers), ExecutionSpec(retries=0)
            with clusters.start(spec, execution) as client:
                client.run(plan.reference.open)
                told: list[Any] = []
                began = time.process_time()
                timing, outcome = timed_outcome(
                    client, plan, folder / "run", run_tasks, report=told.append
                )
                # The scheduler is a part of this process.
                own = time.process_time() - began
            blocks = [event.result for event in told if event.kind == "block"]
            stages = Stages(
                network=statistics.mean(block.network for block in blocks),
                writing=statistics.mean(block.writing for block in blocks),
                reading=outcome.reading / len(blocks),
                client=own / len(blocks),
                blocks=case.side**2,
            )
            found = Simulation(stages, Fleet(workers), 1).run()
            row = {
                "workers": workers,
                "real": timing.wall,
                "simulated": found.seconds,
                "error": found.seconds / timing.wall - 1,
                "busy": found.busy,
                **{
                    key: getattr(stages, key) for key in ("network", "writing", "reading", "client")
                },
            }
            rows.append({key: round(value, 3) for key, value in row.items()})
            print(f"  {rows[-1]}", flush=True)
    return rows


def of_run(run: Path) -> Stages:
    """Return the stages of a finished run, by what its run.json and its log hold."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    blocks = [event for event in map(json.loads, lines) if event["event"] == "block"]
    tile = next(iter(record["tiles"].values()))
    return Stages(
        network=statistics.mean(block["network"] for block in blocks),
        writing=statistics.mean(block["writing"] for block in blocks),
        reading=record["work"]["reading_seconds"] / len(blocks),
        ending=record["timings"].get("listing", 0.0) / len(record["tiles"]),
        blocks=tile["blocks"],
        dates=len(tile["steps"]),
        does_end_in_slot=True,
    )


def main() -> None:
    """Simulate, or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="against real runs")
    parser.add_argument("--rounds", type=int, default=2, help="of the check")
    parser.add_argument("--run", type=Path, help="a finished run directory")
    parser.add_argument("--tiles", type=int, default=1000)
    for stage in ("reading", "writing", "ending", "client"):
        parser.add_argument(f"--{stage}", type=float, help="seconds of this stage")
    asked = parser.parse_args()
    if asked.check:
        from harness import describe, machine, write_result

        rows = check(asked.rounds)
        print(describe(machine()))
        write_result("simulate", {"check": rows})
    elif asked.run:
        for workers in (1, 2, 4, 16, 64):
            stages = of_run(asked.run)
            tell(f"{workers} workers", Simulation(stages, Fleet(workers), asked.tiles).run())
    else:
        given = {
            stage: getattr(asked, stage) for stage in ("reading", "writing", "ending", "client")
        }
        given = {stage: seconds for stage, seconds in given.items() if seconds is not None}
        for name, (stages, fleet) in scenarios().items():
            tell(name, Simulation(replace(stages, **given), fleet, asked.tiles).run())


if __name__ == "__main__":
    main()
