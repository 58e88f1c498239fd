"""A worker reads and writes beside the block that it computes, one at a time, and not far ahead."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster

from lspipe import clusters
from lspipe.clusters import ClusterSpec, ExecutionSpec
from lspipe.errors import LoadError
from lspipe.inference import windows
from lspipe.inference.reference import ModelReference
from lspipe.inference.settings import Setting
from lspipe.runs import stream, worker
from lspipe.runs.jobs import StepJob
from tests.crews import Everyone
from tests.forking import forking

SIDE = 5
BLOCK, WINDOW = 40, 32
EDGE = SIDE * BLOCK
SECONDS = 0.15
"""Of a read and of a computation."""

BANDS = ("B03", "B04")


@dataclass(frozen=True)
class Span:
    """When and where something was done."""

    index: tuple[int, int]
    start: float
    stop: float
    thread: int
    process: int = 0
    written: tuple[float, float] = (0.0, 0.0)
    """From when to when it was written."""
    writer: int = 0
    """In which process."""


# What workers do: at the top of the module, from where their processes import it.


@dataclass(frozen=True)
class SlowArchive:
    """Takes a while to read a part of all bands, and leaves a note of it."""

    folder: str

    def part(self, part: Any) -> xr.Dataset:
        rows, columns = (span.stop - span.start for span in part)
        pixels = da.from_delayed(
            dask.delayed(self._read)(part), (len(BANDS), rows, columns), np.int16
        )
        layers = {
            name: (("y", "x"), da.zeros((rows, columns), dtype=dtype, chunks=-1))
            for name, dtype in (("quality", "uint8"), ("scl", "uint8"), ("acquired", "uint16"))
        }
        return xr.Dataset(
            {"reflectance": (("band", "y", "x"), pixels), **layers}, coords={"band": list(BANDS)}
        )

    def _read(self, part: Any) -> Any:
        # The core begins a halo after the part, but at the upper and left edge.
        row, column = (-(-span.start // BLOCK) for span in part)
        start = time.time()
        time.sleep(SECONDS)
        note = Path(self.folder) / f"{row}-{column}-{threading.get_ident()}"
        note.write_text(f"{start} {time.time()}", encoding="ascii")
        return np.ones((len(BANDS), *(span.stop - span.start for span in part)), np.int16)


def slow_infer(read: Any, *, block: Any, folder: str, **_facts: Any) -> Span:
    start = time.time()
    halo = [part.stop - part.start for part in block.outer]
    assert read.pixels.shape == (len(BANDS), *halo)
    time.sleep(SECONDS)
    (Path(folder) / f"computed {block.index} {start}").touch()
    return Span(block.index, start, time.time(), threading.get_ident(), os.getpid())


def fails_at_first(read: Any, *, block: Any, folder: str, **facts: Any) -> Span:
    note = Path(folder) / f"tried {block.index}"
    if not note.exists():
        note.touch()
        raise LoadError("S2A_18GYS", "red", "HTTP 503")
    return slow_infer(read, block=block, folder=folder, **facts)


def slow_write(found: Span, *, folder: str, **_facts: Any) -> Span:
    del folder
    start = time.time()
    time.sleep(SECONDS / 3)
    return replace(found, written=(start, time.time()), writer=os.getpid())


def dies_at_first(found: Span, *, folder: str, **facts: Any) -> Span:
    note = Path(folder) / "died"
    if found.index == (1, 1) and not note.exists():
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return slow_write(found, folder=folder, **facts)


def run(client, folder, infer=slow_infer, write=slow_write, *, retries=0):
    """Run a step of SIDE x SIDE blocks as a run does; return the spans of blocks and reads."""
    job = StepJob(
        run=folder,
        tile="18GYS",
        step=0,
        tile_shape=(EDGE, EDGE),
        model=ModelReference("shipped:bare-ground", "", "", "cpu", "fp32", "eager"),
        setting=Setting(window=WINDOW, stride=16),
        tile_range=None,
        fill_masked=False,
        threads=1,
    )
    blocks = list(windows.blocks((EDGE, EDGE), BLOCK, WINDOW - 1))
    computed: list[Span] = []

    def build(turn, block, slot):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker, "infer", partial(infer, folder=str(folder)))
            patch.setattr(worker, "write", partial(write, folder=str(folder)))
            return worker.block_tasks(
                SlowArchive(str(folder)),
                job,
                [block],
                bands=BANDS,
                area=None,
                resources=slot,
                first=turn,
            )

    outcome = stream.compute(
        client,
        [
            stream.BlockTasks("18GYS", ((0, block.index),), partial(build, turn, block))
            for turn, block in enumerate(blocks)
        ],
        crew=Everyone(client),
        retries=retries,
        max_in_flight=None,
        report=lambda event: computed.append(event.result),
    )
    assert (outcome.done, outcome.failures) == (SIDE**2, [])
    return computed, [_read(note) for note in folder.glob("*-*-*")]


def _read(note):
    row, column, thread = map(int, note.name.split("-"))
    start, stop = map(float, note.read_text(encoding="ascii").split())
    return Span((row, column), start, stop, thread)


@pytest.fixture(scope="module")
def one_worker():
    with forking(), clusters.start(ClusterSpec(workers=1), ExecutionSpec()) as client:
        yield client


@pytest.fixture(scope="module")
def spans(one_worker, tmp_path_factory):
    return run(one_worker, tmp_path_factory.mktemp("spans"))


def test_blocks_of_one_worker_never_overlap(spans):
    computed, _ = spans
    in_time = sorted(computed, key=lambda span: span.start)
    assert all(first.stop <= second.start for first, second in pairwise(in_time))


def test_reads_go_on_while_a_block_is_computed(spans):
    computed, reads = spans
    assert len(reads) == SIDE**2  # each block once
    beside = [
        read
        for read in reads
        if any(block.start < read.stop and read.start < block.stop for block in computed)
    ]
    # All but the first, if the machine does nothing else; none where a worker reads or computes,
    # and few where dask reads the whole tile first.
    assert len(beside) >= (SIDE**2 - 1) // 2
    assert all(
        read.thread != block.thread
        for read in beside
        for block in computed
        if block.start < read.start and read.stop < block.stop
    )


def test_a_block_is_written_beside_the_next_one_and_where_it_was_computed(spans):
    computed, _ = spans
    assert all(block.writer == block.process for block in computed)
    beside = [
        one
        for one in computed
        if any(other.start < one.written[1] and one.written[0] < other.stop for other in computed)
    ]
    # None where a block is written in its slot.
    assert len(beside) >= SIDE


def test_a_block_whose_worker_dies_before_it_is_written_is_computed_again(tmp_path):
    with forking(), clusters.start(ClusterSpec(workers=1), ExecutionSpec()) as client:
        computed, _ = run(client, tmp_path, write=dies_at_first)
    assert (tmp_path / "died").exists()
    assert sorted(span.index for span in computed) == [
        (row, column) for row in range(SIDE) for column in range(SIDE)
    ]
    assert len(list(tmp_path.glob("computed (1, 1) *"))) == 2


def test_a_worker_reads_two_blocks_ahead_and_no_further(spans):
    computed, reads = spans
    assert {read.index for read in reads} == {block.index for block in computed}
    for read in reads:
        turn = read.index[0] * SIDE + read.index[1]
        finished = sum(block.written[1] <= read.start for block in computed)
        # One is computed, one is ready, one is being read or written.
        assert turn - finished < 3


def test_a_block_that_failed_is_tried_again_in_its_slot(one_worker, tmp_path):
    computed, _ = run(one_worker, tmp_path, fails_at_first, retries=2)
    in_time = sorted(computed, key=lambda span: span.start)
    assert all(first.stop <= second.start for first, second in pairwise(in_time))
    assert len(list(tmp_path.glob("tried *"))) == SIDE**2


@pytest.mark.usefixtures("forked_workers")
def test_a_cluster_without_slots_does_the_same_work(tmp_path):
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        clusters.start(
            ClusterSpec(kind="address", address=cluster.scheduler_address), ExecutionSpec()
        ) as client,
    ):
        computed, reads = run(client, tmp_path)
    assert len(computed) == len(reads) == SIDE**2
