"""Does cost grow linearly with area, and do the graph and the scheduler stay flat?

    python benchmarks/scale.py            about four minutes
    python benchmarks/scale.py --quick    a minute, and no meaning

(a) One simulated tile of local COGs, two dates, on 1, 2 and 4 workers as a run starts them, in
turns: wall time, processor time of all workers, and the speed-up over one worker. More workers than
cores cannot help; the processor time says what being many costs.

(b) 1, 10, 100 and 1000 simulated tiles of 9 blocks through `stream.compute`, each block a tiny read
and a tiny task that asks for the slot: the most tasks that the scheduler knew at once, how much
memory the process of the scheduler gained, and the time per tile. Each in a fresh process. Target:
tasks and memory do not grow with the number of tiles, the time per tile neither.

Result, 2026-11-29, 2 cores of an Intel Xeon: (a) 1, 2 and 4 workers take 45.4, 27.4 and 30.7 s:
1.63 and 1.49 times as fast as one, with 51.0, 52.1 and 59.4 s of processor time. (b) 1, 10, 100 and
1000 tiles: at most 18, 28, 28 and 28 tasks at once; 58, 47, 42 and 45 ms per tile; 22, 23, 29 and
44 MB gained by the process: tasks and time are flat, memory grows by 15 kB a tile.
With 36 tasks for a block, not two, it was 1.62 and 1.36.

What grows, looked at on 2026-11-30 (AMD EPYC, 600 tiles, memory every 100): dask's own history of
the last 100 computations until it is full, after 200 tiles, and then what Python has not collected
yet. Collected every 100 tiles, it is 3 kB a tile; no container of scheduler or client grows.

Why (a) is not 1.8: on two cores one worker is not alone. It keeps 1.1 cores busy with its network
and its reads, and the client and the scheduler share the rest; two workers take 1.9 of 2.0 cores.
So the processors are the limit, not the order of tasks: even with no core idle, 52.1 s of work on
two cores are 26.1 s, 1.74 times as fast. 1.8 needs a third core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # the crews of the tests

import dask
from harness import describe, machine, peak_memory, write_result
from io_overlap import DAYS, Case, planned, run_tasks, timed_run, write_files

from lspipe import clusters
from lspipe.clusters import ClusterSpec, ExecutionSpec
from lspipe.runs import stream
from lspipe.runs.jobs import BlockResult
from tests.crews import Everyone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distributed import Client
    from harness import Timing

    from lspipe.runs.plan import Plan

WORKERS = (1, 2, 4)
TILES = (1, 10, 100, 1000)
SIDE = 3
"""Blocks along each side of a simulated tile: a Sentinel-2 tile in blocks of 3660 px."""

EXECUTION = ExecutionSpec(retries=0)


# --- (a) workers --------------------------------------------------------------------------------


def time_workers(case: Case, folder: Path) -> dict[int, list[Timing]]:
    """Time one job on every number of workers, `case.rounds` times in turns."""
    archive = folder / "archive"
    archive.mkdir()
    write_files(archive, case)
    plan = planned(folder / "plan", case, dict.fromkeys(DAYS, str(archive)))
    timings: dict[int, list[Timing]] = {workers: [] for workers in WORKERS}
    for number in range(case.rounds):
        for workers in WORKERS[:: -1 if number % 2 else 1]:
            timing = _time_one(plan, workers, folder / "run")
            timings[workers].append(timing)
            print(
                f"  round {number + 1}: {workers} workers: {timing.wall:.2f} s wall, "
                f"{timing.cpu:.2f} s processor"
            )
    return timings


def _time_one(plan: Plan, workers: int, run: Path) -> Timing:
    with clusters.start(ClusterSpec(kind="local", workers=workers), EXECUTION) as client:
        client.run(plan.reference.open)  # importing torch is not what is asked
        return timed_run(client, plan, run, run_tasks)


# --- (b) tiles ----------------------------------------------------------------------------------


def tiny_read(number: int) -> int:
    return number


def tiny_block(number: int, tile: str) -> BlockResult:
    return BlockResult(tile, 0, divmod(number, SIDE), 0, 0, 0, 0.0)


def stream_tiles(tiles: int) -> Callable[[], dict[str, float]]:
    """Return the work of streaming many tiles; the scheduler is a part of this process."""

    def work() -> dict[str, float]:
        with clusters.start(ClusterSpec(kind="local", workers=2), EXECUTION) as client:
            # Workers import what a task is made of before the clock runs.
            client.gather(client.map(tiny_read, range(100), pure=False))
            client.run(tiny_block, 0, "nothing")
            known: list[int] = []
            began = time.perf_counter()
            outcome = stream.compute(
                client,
                _batches(tiles),
                crew=Everyone(client),
                retries=0,
                max_in_flight=None,
                report=lambda *_, **__: known.append(_known_tasks(client)),
            )
            seconds = time.perf_counter() - began
        assert outcome.done == tiles * SIDE**2, outcome.failures[:1]
        return {"tasks": max(known), "seconds": seconds}

    return work


def _known_tasks(client: Client) -> int:
    return len(client.cluster.scheduler.tasks)


def _batches(tiles: int) -> Iterator[stream.BlockTasks]:
    blocks = tuple((0, divmod(number, SIDE)) for number in range(SIDE**2))
    for tile in range(tiles):
        yield stream.BlockTasks(f"tile-{tile}", blocks, partial(_tasks, f"tile-{tile}"))


def _tasks(tile: str, slot: Mapping[str, int]) -> list[Any]:
    reads = [dask.delayed(tiny_read, pure=False)(number) for number in range(SIDE**2)]
    with dask.annotate(resources=dict(slot)):
        return [dask.delayed(tiny_block, pure=False)(read, tile) for read in reads]


def measure_tiles(counts: tuple[int, ...]) -> list[dict[str, float]]:
    """Stream every number of tiles in a process of its own."""
    rows = []
    for tiles in counts:
        facts = peak_memory("scale:stream_tiles", tiles=tiles)
        row = {
            "tiles": tiles,
            "tasks": facts["result"]["tasks"],
            "megabytes": round(facts["above"] / 1e6, 1),
            "ms_per_tile": round(1000 * facts["result"]["seconds"] / tiles, 1),
        }
        print(f"  {row}")
        rows.append(row)
    return rows


# --- both ---------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--rounds", type=int, default=2, help="how often (a) is timed")
    asked = parser.parse_args()
    case = Case(side=2, rounds=1) if asked.quick else Case(side=5, rounds=asked.rounds)
    with tempfile.TemporaryDirectory(prefix="lspipe-scale-") as folder:
        timings = time_workers(case, Path(folder))
    rows = measure_tiles(TILES[:2] if asked.quick else TILES)
    _report(case, timings, rows)
    facts = {
        "blocks": case.blocks,
        "workers": {
            str(workers): [{"wall": round(t.wall, 3), "cpu": round(t.cpu, 3)} for t in taken]
            for workers, taken in timings.items()
        },
        "tiles": rows,
    }
    # A smoke run leaves no result behind.
    if not asked.quick:
        print(f"result in {write_result('scale', facts)}")


def _report(case: Case, timings: dict[int, list[Timing]], rows: list[dict[str, float]]) -> None:
    print(describe(machine()))
    print(f"(a) {case.blocks} blocks of {case.block} px, local files")
    print("workers   best wall s   processor s   speed-up")
    for workers, taken in timings.items():
        pairs = zip(timings[WORKERS[0]], taken, strict=True)
        ratio = statistics.median(one.wall / many.wall for one, many in pairs)
        best = min(taken, key=lambda timing: timing.wall)
        print(f"{workers:7} {best.wall:13.2f} {best.cpu:13.2f} {ratio:10.2f}")
    print(f"(b) tiles of {SIDE**2} blocks; the target is that no column grows")
    print("  tiles   most tasks   memory MB   ms per tile")
    for row in rows:
        print(
            f"{row['tiles']:7} {row['tasks']:12} {row['megabytes']:11.1f} "
            f"{row['ms_per_tile']:13.1f}"
        )


if __name__ == "__main__":
    main()
