"""Does reading hide behind computing?

    python benchmarks/io_overlap.py            about four minutes
    python benchmarks/io_overlap.py --quick    a minute, and no meaning

One worker as a run starts it, on a simulated tile of COGs that a server on the loopback hands out,
each request late by a few milliseconds as over a network. The model is a residual U-Net that is
large enough to compute outside of Python, as those of the papers do. Timed in turns are

    read        the tasks of a run, but each block is thrown away; one thread, as beside a block
    compute     the blocks of the run on made-up pixels; one thread
    in turns    the run on a worker of one thread: it reads or it computes
    overlapped  the run on a worker as it is: one thread computes, the other reads ahead
                and writes

The delay is chosen so that `read` takes about as long as `compute`, where overlapping is hardest.
Reported: overlapped / max(read, compute), target <= 1.10, of the same round. Of that, what is read
before the first block can compute, and what is computed after the last read, can hide behind
nothing; it is the less, the more blocks there are. Blocks are submitted one by one, as a run does.

Expected of three tasks a block (read, network, write): 1.10 to 1.15
where reading takes as long as computing, as the thread that reads now writes too, which is
about a tenth of `compute`; 1.05 where reading takes 0.6 of it. Before, when writing was in the
slot and reading had become one task a block: 1.15 and 1.10.

Result, 2026-11-30, with these three tasks, one round on 2 quiet cores of an AMD EPYC: computing
48.8 s, reading 15.4 s (all bands of a block are asked for at once, so requests 104 ms late do not
make it as slow as computing), in turns 61.5 s, overlapped 55.1 s: 1.13, short of 1.10.
With a delay that is found by trying (460 ms), `--side 3 --rounds 1`, and nearly all of the machine:
computing 18.8 s, reading 18.2 s, in turns 37.2 s, overlapped 23.0 s: 1.22, where the order of reads
of so few blocks allows 1.05. What is over it is writing, and that two threads share what feeds the
cores.
Later on that day, as reading takes half as much of a processor: `--side 3 --rounds 2` 1.14 and 1.08
(order 1.05), and the usual 50 blocks 1.04 (order 1.02): read 53.2 s, computing 58.8 s, overlapped
61.0 s, in turns 105.4 s. In that round computing alone was slower than before it (50.2 s), so 1.04
to 1.14 is what was found, about the target. The slot is never idle: a block takes 9 % longer in it
than alone, a third of that as caches are shared, the rest waiting for Python's lock. A second
thread that reads changes nothing (1.23 where one gave 1.14).

Every round reads other URLs of the same files, as GDAL keeps what it read.

Before, 2026-11-21, when halos were exchanged between workers (a block is read by itself since
2026-11-29), 2 cores of an AMD EPYC: 50 blocks, reading slowed down until it took nearly as long as
computing: computing 62.0 s, reading 55.8 s, in turns 138 s, overlapped 93.5 s: 1.51 (the other
round was disturbed by other work). With `--side 3 --rounds 1`, reading 11.9 of 19.0 s: 1.19, where
the order of reads allows 1.20.

Two causes. One: what is read was not spread evenly over the blocks. Those of a tile's first row
needed two rows of chunks for their halos, those of the last row none, and only what the next two
blocks need was read ahead, to bound memory. That allowed: for reading as slow as computing 1.44,
1.24 and 1.12 with 9, 25 and 81 blocks a tile; for reading at 0.7 of it 1.24, 1.12 and 1.06. Reading
five blocks ahead would give 1.18 instead of 1.24 for the pixels of three more blocks, which was
judged too dear. Two: while the other thread reads, computing takes a fifth longer, as the two cores
share what feeds them (two workers are 1.58 times as fast as one, `scale.py`). Tried: the
interpreter's switch interval, 0.5 ms instead of 5: no change.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import dask
import numpy as np
import rasterio
import torch
import yaml
from affine import Affine
from harness import Timing, describe, machine, write_result

import lspipe
import lspipe.models
from lspipe import clusters
from lspipe.clusters import ClusterSpec, ExecutionSpec, settings
from lspipe.models.pack import pack
from lspipe.runs import store, stream, worker
from lspipe.runs.crew import Crew
from lspipe.runs.events import ignore
from lspipe.runs.jobs import BlockPixels, BlockResult, StepJob
from lspipe.runs.plan import THREADS, cube_of_step
from lspipe.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from distributed import Client

    from lspipe.inference.windows import Block
    from lspipe.runs.events import Report
    from lspipe.runs.plan import Plan

TARGET = 1.10

TILE, EPSG, LEFT, TOP = "18GYS", 32718, 699960.0, 5200000.0
BANDS = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B11": 20, "B12": 20}
"""Bands of the model and their pixel size in metres."""

DAYS = ("2017-01-15", "2018-01-15")
COLLECTION = "simulated"

TRIES, NEAR = 3, 0.1
"""How often a delay is tried, and how near reading has to come to computing."""

PROBE_MS = 100.0
"""The first delay that is tried."""

KEYS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B11": "swir16", "B12": "swir22"}


@dataclass(frozen=True)
class Case:
    """How much there is to do."""

    block: int = 640
    """Edge of a block, pixels; also of an internal tile of the files, so a read is one request."""
    side: int = 5
    """Blocks along each side of the tile."""
    stride: int = 48
    """Between windows of 64 px."""
    rounds: int = 2
    readers: int = settings.THREADS - 1
    """Threads that read beside the one that computes, in `overlapped`."""

    @property
    def edge(self) -> int:
        return self.block * self.side

    @property
    def blocks(self) -> int:
        return self.side**2 * len(DAYS)


QUICK = Case(side=3, rounds=1)


# --- the archive --------------------------------------------------------------------------------


def write_files(folder: Path, case: Case) -> None:
    """Write one band per file: noise, which compresses as little as real scenes do."""
    generator = np.random.default_rng(0)
    for band, metres in BANDS.items():
        edge = case.edge * 10 // metres
        with rasterio.open(
            folder / f"{band}.tif",
            "w",
            driver="COG",
            height=edge,
            width=edge,
            count=1,
            dtype="uint16",
            crs=f"EPSG:{EPSG}",
            transform=Affine(metres, 0, LEFT, 0, -metres, TOP),
            nodata=0,
            blocksize=case.block,
            compress="deflate",
            overviews="none",
        ) as file:
            file.write(generator.integers(200, 4000, (edge, edge), np.uint16), 1)


def item(day: str, address: str, edge: int) -> dict[str, Any]:
    """Return a STAC item of all bands below an address.

    Args:
        day: when it was acquired, YYYY-MM-DD.
        address: URL of the folder of the files.
        edge: of the tile, pixels of 10 m.
    """
    west, south, east, north = -72.6, -44.6, -71.0, -43.2  # rough: the files have the last word
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": f"S2A_{TILE}_{day.replace('-', '')}_0_L2A",
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "datetime": f"{day}T14:37:51Z",
            "platform": "sentinel-2a",
            "proj:epsg": EPSG,
            "grid:code": f"MGRS-{TILE}",
            "s2:processing_baseline": "02.06",
        },
        "links": [],
        "assets": {
            KEYS[band]: {
                "href": f"{address}/{band}.tif",
                "proj:shape": [edge * 10 // metres] * 2,
                "proj:transform": [metres, 0, LEFT, 0, -metres, TOP],
            }
            for band, metres in BANDS.items()
        },
    }


class _Handler(BaseHTTPRequestHandler):
    """GET /DELAY/ANYTHING/BAND.tif: the range that is asked for, DELAY milliseconds late."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or header and body wait for each other's acknowledgement
    folder: Path

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        delay, *_, name = self.path.lstrip("/").split("/")
        path = self.folder / name
        if not path.is_file():
            self.send_error(404)
            return
        time.sleep(float(delay) / 1000)
        size = path.stat().st_size
        span = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        first, last = int(span[0] or 0), min(int(span[2] or size), size - 1)
        self.send_response(206 if span[0] else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        if span[0]:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if with_body:
            with path.open("rb") as file:
                file.seek(first)
                self.wfile.write(file.read(last + 1 - first))

    def log_message(self, *_: object) -> None:
        pass


def _serve(folder: Path) -> None:
    _Handler.folder = folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address of a server of a folder, in a process of its own."""
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def pack_network(folder: Path) -> None:
    """Write a network with random weights, large enough to compute and not to wait for Python.

    A tiny one, as that of the demo, holds the interpreter most of the time, which the thread that
    reads then lacks.
    """
    torch.manual_seed(0)
    arguments = {"filters": 16}
    fields = {
        "id": "network", "architecture": "ghorb-resunet", "arguments": arguments,
        "bands": tuple(BANDS), "window": 64, "description": "random weights", "not_for": "anything",
    }  # fmt: skip
    pack(lspipe.models.build("ghorb-resunet", len(BANDS), **arguments), folder, item_fields=fields)


# --- what is timed ------------------------------------------------------------------------------


def only_read(_read: BlockPixels, **_facts: Any) -> None:
    """Take the place of `worker.infer`: the block was read, and that is all."""


def not_written(_found: None, *, block: Any, job: StepJob) -> BlockResult:
    """Take the place of `worker.write`."""
    return BlockResult(job.tile, job.step, block.index, 0, 0, 0, 0.0)


def only_compute(*, block: Any, job: StepJob) -> BlockResult:
    """Compute and write a block of pixels that nobody read."""
    outer, core = (
        tuple(span.stop - span.start for span in part) for part in (block.outer, block.core)
    )
    made_up = BlockPixels(
        pixels=np.full((len(BANDS), *outer), 1500, np.int16),
        quality=np.zeros(outer, np.uint8),
        has_data=np.ones(outer, bool),
        evidence={
            "scl": np.full(core, 4, np.uint8),
            "acquired": np.full(core, 17000, np.uint16),
            "true_colour": np.full((3, *core), 128, np.uint8),
            "ndvi": np.zeros(core, np.int16),
        },
    )
    return worker.write(
        worker.infer(made_up, block=block, job=job, area=None), block=block, job=job
    )


def planned(place: Path, case: Case, addresses: dict[str, str]) -> Plan:
    """Plan a run of two dates.

    Args:
        place: a folder that is not there yet.
        case: how large.
        addresses: URL or path of the folder of the files, for each date.
    """
    (place / "items").mkdir(parents=True)
    for day, address in addresses.items():
        content = item(day, address, case.edge)
        (place / "items" / f"{content['id']}.json").write_text(json.dumps(content))
    if not (models := place.parent / "models").exists():
        pack_network(models)
    (place / "workflow.yaml").write_text(yaml.safe_dump(_workflow(case)))
    return lspipe.plan(Workflow.from_file(place / "workflow.yaml"))


def run_tasks(plan: Plan, job: StepJob, slot: Mapping[str, int], block: Block, turn: int) -> Any:
    """Build the tasks of a block as a run does."""
    (tile,) = plan.tiles
    return worker.block_tasks(
        cube_of_step(tile, tile.steps[job.step], plan.workflow),
        job,
        [block],
        bands=plan.model.bands,
        area=tile.area,
        resources=slot,
        first=turn,
    )


def read_tasks(*asked: Any) -> Any:
    """Build the tasks of a block as a run does, which are thrown away once it is read."""
    with patch.multiple(worker, infer=only_read, write=not_written):
        return run_tasks(*asked)


def compute_tasks(
    plan: Plan, job: StepJob, slot: Mapping[str, int], block: Block, turn: int
) -> Any:
    """Build a task for a block, which reads nothing."""
    del plan, slot, turn
    return [dask.delayed(only_compute, pure=False)(block=block, job=job)]


def timed_run(client: Client, plan: Plan, run: Path, tasks: Callable[..., list[Any]]) -> Timing:
    """Do all steps of a plan as a run does, and take the time of that alone.

    Args:
        client: of the cluster.
        plan: of one tile.
        run: folder for the stores; what is there goes.
        tasks: builds the tasks of a block.
    """
    return timed_outcome(client, plan, run, tasks)[0]


def timed_outcome(
    client: Client,
    plan: Plan,
    run: Path,
    tasks: Callable[..., list[Any]],
    *,
    report: Report = ignore,
) -> tuple[Timing, stream.Outcome]:
    """Do what `timed_run` does; return what became of the blocks too, and report each."""
    (tile,) = plan.tiles
    batches = [
        stream.BlockTasks(
            TILE, ((step, block.index),), partial(_built, tasks, plan, run, step=step, block=block)
        )
        for step in range(len(tile.steps))
        for block in tile.blocks
    ]
    return timed_places(client, plan, run, batches, report=report)


def timed_places(
    client: Client,
    plan: Plan,
    run: Path,
    batches: Sequence[stream.BlockTasks],
    *,
    report: Report = ignore,
) -> tuple[Timing, stream.Outcome]:
    """Do some tasks of a plan of one tile in a new store, and take the time of that alone."""
    (tile,) = plan.tiles
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    store.create(run, [tile.grid], fingerprint=plan.detection_fingerprint)
    crew = Crew(
        client,
        cluster=ClusterSpec(),
        execution=ExecutionSpec(),
        model=plan.reference,
        run=run,
        report=ignore,
    )
    with crew:
        cpu, wall = processor_time(client), time.perf_counter()
        outcome = stream.compute(
            client, batches, crew=crew, retries=0, max_in_flight=None, report=report
        )
        timing = Timing(time.perf_counter() - wall, processor_time(client) - cpu)
    assert outcome.done == sum(len(one.blocks) for one in batches), outcome.failures[:1]
    return timing, outcome


def _built(
    tasks: Callable[..., Any],
    plan: Plan,
    run: Path,
    slot: Mapping[str, int],
    *,
    step: int,
    block: Block,
) -> Any:
    turn = step * len(plan.tiles[0].blocks) + plan.tiles[0].blocks.index(block)
    return tasks(plan, _job(plan, run, step), slot, block, turn)


def processor_time(client: Client) -> float:
    """Processor time of the workers so far, all threads, seconds."""
    return sum(client.run(time.process_time).values())


def _job(plan: Plan, run: Path, step: int) -> StepJob:
    (tile,) = plan.tiles
    return StepJob(
        run=run,
        tile=TILE,
        step=step,
        tile_shape=tuple(tile.tile.geobox.shape),
        model=plan.reference,
        setting=plan.setting,
        tile_range=None,
        fill_masked=False,
        threads=THREADS,
    )


def _workflow(case: Case) -> dict[str, Any]:
    return {
        "name": "io-overlap",
        "aoi": {"tiles": [TILE]},
        "dates": {
            name: {"start": day, "end": day}
            for name, day in zip(("before", "after"), DAYS, strict=True)
        },
        "search": {"catalog": "items", "collection": COLLECTION},
        "cube": {"composite": "latest", "mask": {"scl": [], "dilate_px": 0}},
        "model": {"item": "../models/network.json"},
        "inference": {"window": 64, "stride": case.stride, "tta": "none"},
        "execution": {"block": case.block, "retries": 0},
        "output": {"path": "run", "write": ["geoparquet"]},
    }


@dataclass
class Bench:
    """Two clusters, an archive, and a place for stores."""

    case: Case
    folder: Path
    address: str
    one_thread: Client
    as_it_is: Client

    def __post_init__(self) -> None:
        self._numbers = count()

    def read(self, delay: float) -> Timing:
        return self._run(self.one_thread, delay, read_tasks)

    def compute(self) -> Timing:
        return self._run(self.one_thread, 0, compute_tasks)

    def in_turns(self, delay: float) -> Timing:
        return self._run(self.one_thread, delay, run_tasks)

    def overlapped(self, delay: float) -> Timing:
        return self._run(self.as_it_is, delay, run_tasks)

    def _run(self, client: Client, delay: float, tasks: Callable[..., Any]) -> Timing:
        """Plan on addresses that no worker has seen, and run."""
        number = next(self._numbers)
        addresses = {day: f"{self.address}/{delay:.3f}/{number}-{day}" for day in DAYS}
        plan = planned(self.folder / f"plan-{number}", self.case, addresses)
        return timed_run(client, plan, self.folder / "run", tasks)


def delay_for(bench: Bench) -> float:
    """Return the delay of a request, milliseconds, at which reading takes as long as computing."""
    compute, quick, delay = bench.compute().wall, bench.read(0).wall, PROBE_MS
    print(f"computing {compute:.1f} s, reading {quick:.1f} s without delay", flush=True)
    # Of many requests in flight, not each is waited for: the delay is found by trying.
    for _ in range(TRIES):
        slow = bench.read(delay).wall
        print(f"  reading {slow:.1f} s where each request is {delay:.0f} ms late", flush=True)
        if abs(slow - compute) < NEAR * compute:
            break
        delay *= min(10.0, max(0.1, (compute - quick) / max(slow - quick, 0.1)))
    return delay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--rounds", type=int, help="how often each variant takes its turn")
    parser.add_argument("--side", type=int, help="blocks along each side of the tile")
    parser.add_argument("--stride", type=int, help="between windows of 64 px")
    parser.add_argument("--readers", type=int, help="threads of a worker that read")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = vars(parser.parse_args())
    if (folder := asked.pop("serve")) is not None:
        _serve(folder)
    is_quick = asked.pop("quick")
    case = QUICK if is_quick else Case()
    case = replace(case, **{name: value for name, value in asked.items() if value is not None})
    with ExitStack() as stack:
        bench = _bench(case, stack)
        bench.compute()  # the model is loaded, the processor awake
        bench.overlapped(0)
        delay = delay_for(bench)
        rounds = [_round(bench, delay, number) for number in range(case.rounds)]
    _report(case, delay, rounds)
    # A smoke run leaves no result behind.
    if not is_quick:
        print(f"result in {write_result('io_overlap', _facts(case, delay, rounds))}")


def _bench(case: Case, stack: ExitStack) -> Bench:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lspipe-io-overlap-")))
    archive = folder / "archive"
    archive.mkdir()
    write_files(archive, case)
    address = stack.enter_context(served(archive))
    spec, execution = ClusterSpec(kind="local", workers=1), ExecutionSpec(retries=0)
    with patch.object(settings, "THREADS", 1 + case.readers):
        as_it_is = stack.enter_context(clusters.start(spec, execution))
    with patch.object(settings, "THREADS", 1):
        one_thread = stack.enter_context(clusters.start(spec, execution))
    return Bench(case, folder, address, one_thread, as_it_is)


def _round(bench: Bench, delay: float, number: int) -> dict[str, Timing]:
    """Let each variant take its turn; every second round in reverse order."""
    variants: dict[str, Callable[[], Timing]] = {
        "read": partial(bench.read, delay),
        "compute": bench.compute,
        "overlapped": partial(bench.overlapped, delay),
        "in turns": partial(bench.in_turns, delay),
    }
    timings = {}
    for name in list(variants)[:: -1 if number % 2 else 1]:
        timings[name] = variants[name]()
        print(
            f"  round {number + 1}: {name}: {timings[name].wall:.2f} s wall, "
            f"{timings[name].cpu:.2f} s processor"
        )
    return timings


def ratio_of(timings: dict[str, Timing]) -> float:
    """Return the run over the larger of reading and computing, of one round."""
    return timings["overlapped"].wall / max(timings["read"].wall, timings["compute"].wall)


def allowed(blocks: int, read: float, compute: float, *, ahead: int = 2) -> float:
    """Ratio that the order of reads alone allows, were reading and computing free of each other.

    Nothing hides the read of the first block and the computing of the last one, and what is read
    ahead is bounded: so reading waits here, and computing there.

    Args:
        blocks: of all dates.
        read: all of it, seconds.
        compute: all of it, seconds.
        ahead: blocks behind the one that is computed that may be read.
    """
    per_read, per_block = read / blocks, compute / blocks
    has_read = 0.0
    ends: list[float] = []
    for number in range(blocks):
        may_begin = ends[number - 1 - ahead] if number > ahead else 0.0
        has_read = max(has_read, may_begin) + per_read
        ends.append(max(has_read, ends[-1] if ends else 0.0) + per_block)
    return ends[-1] / max(read, compute)


def _facts(case: Case, delay: float, rounds: list[dict[str, Timing]]) -> dict[str, Any]:
    return {
        "blocks": case.blocks,
        "block_px": case.block,
        "readers": case.readers,
        "delay_ms": round(delay, 3),
        "ratio": round(statistics.median(map(ratio_of, rounds)), 3),
        "target": TARGET,
        "rounds": [
            {
                name: {"wall": round(timing.wall, 3), "cpu": round(timing.cpu, 3)}
                for name, timing in timings.items()
            }
            for timings in rounds
        ],
    }


def _report(case: Case, delay: float, rounds: list[dict[str, Timing]]) -> None:
    ratios = [ratio_of(timings) for timings in rounds]
    saved = [timings["in turns"].wall / timings["overlapped"].wall for timings in rounds]
    print(describe(machine()))
    print(f"{case.blocks} blocks of {case.block} px, requests {delay:.1f} ms late, one worker")
    print(
        f"overlapped / max(read, compute)  {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f}-{max(ratios):.2f})  target <= {TARGET:.2f}"
    )
    best = [allowed(case.blocks, one["read"].wall, one["compute"].wall) for one in rounds]
    print(f"what the order of reads allows   {statistics.median(best):.2f}")
    print(f"in turns / overlapped            {statistics.median(saved):.2f}")


if __name__ == "__main__":
    main()
