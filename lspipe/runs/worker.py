"""One block in a worker: its pixels are read, the network runs, its maps and evidence are written.

A block is three tasks. One reads all that it needs with its halo, from the files, and makes its
pictures; the next computes its probability; the last writes. The ground, which both dates of a
block have in common, may be read by a task of its own. Neighbours read each other's halo
again. That costs less than handing edges around between workers did (benchmarks/reading.py), and a
block waits for no other. If workers declare a slot for inference, only the second task takes it: a
worker then computes one block at a time, and its other threads read and write meanwhile.

A block is written where it was computed, before anything else is begun there: what is written is
free. It is written again from the start, network and all, where the worker died in between.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import dask
import numpy as np

from lspipe.clusters.timing import this_worker
from lspipe.cube import evidence
from lspipe.cube.pairs import OTHER_QUALITY
from lspipe.errors import DeviceError, InferenceError, LspipeError
from lspipe.inference import familiarity
from lspipe.inference.deviation import Deviation
from lspipe.inference.ensemble import run_each
from lspipe.inference.inputs import page_locked
from lspipe.inference.observed import observed
from lspipe.inference.runtimes import use_threads
from lspipe.inference.runtimes.devices import is_broken
from lspipe.runs.jobs import BlockPixels, Inferred
from lspipe.runs.writing import write
from lspipe.schema import BEFORE, Quality, relative, split_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from lspipe.cube.step_cube import Ground, StepCube
    from lspipe.inference.windows import Block
    from lspipe.runs.jobs import StepJob
    from lspipe.schema import Part

READ, INFER, WRITE = "read-", "infer-", "write-"
"""How the names of the tasks of a block begin."""

SOON = 1
"""Priority of writing a block. Reads and networks have 0, -1, -2 ... in the order of their blocks:
what is computed is written, and so out of memory, before anything else is begun."""


class TileMask(Protocol):
    """A bool for each pixel of a tile, packed or an array."""

    def __getitem__(self, part: Part, /) -> NDArray[np.bool_]:
        """Return rows and columns of it, bool (y, x)."""


class Pixels(Protocol):
    """Where blocks are read from; `cube.step_cube.StepCube` is one."""

    def part(self, part: Part, ground: Any = ..., /) -> xr.Dataset:
        """Return the cube of rows and columns of a tile, as of `cube.pairs.open_dates`."""


def block_tasks(
    source: Pixels,
    job: StepJob,
    blocks: Sequence[Block],
    *,
    bands: Sequence[str],
    area: TileMask | None,
    needed: TileMask | None = None,
    is_more: bool = False,
    resources: Mapping[str, float] | None = None,
    first: int = 0,
    ground: Any = None,
) -> list[Any]:
    """Build the delayed tasks of each block: read, infer, write.

    Args:
        source: of the step; it is sent with each read.
        job: settings that the tasks share.
        blocks: the blocks to do.
        bands: of the cube, in the order of the model; of the date before of a pair model, those
            that the model reads of it.
        area: bool (y, x) of the whole tile, True inside the area; None = everywhere.
        needed: bool (y, x) of the whole tile, where the map must be known; None = everywhere.
        is_more: the blocks are done, and what is needed is added to what is known of them.
        resources: that the network of a block needs on a worker, of `clusters.INFERENCE_SLOT`. A
            block is written on a worker that has them, and takes none; reading needs none.
        first: number of blocks that go before these.
        ground: of `ground_task`, where there is one block; None = each read reads it.

    Returns:
        The delayed writes in the order of `blocks`; each returns a `BlockResult`.
    """
    after = tuple(at for at, band in enumerate(bands) if split_channel(band)[0] != BEFORE)
    own = after if len(after) < len(bands) else None
    # A scheduler runs a task of one name once for all clients: with two runs of one tile, a block
    # would be written by one of them and count as done in both.
    name = f"{job.tile}-{job.step}-{uuid4().hex}"
    # Those that only read may not see the run directory.
    slot, beside = _asking(resources), _asking(dict.fromkeys(resources or (), 0))
    tasks = []
    for turn, block in enumerate(blocks, start=first):
        # Blocks are read and computed in turn, whichever worker is free.
        with dask.annotate(priority=-turn):
            reading = partial(read_block, source, block, tuple(bands), own)
            read = _task(READ, name, block, reading, *(() if ground is None else (ground,)))
        with dask.annotate(priority=-turn, **slot):
            work = partial(
                infer,
                block=block,
                job=job,
                area=_packed(area, block),
                needed=_packed(needed, block),
                is_more=is_more,
            )
            found = _task(INFER, name, block, work, read)
        with dask.annotate(priority=SOON, **beside):
            tasks.append(_task(WRITE, name, block, partial(write, block=block, job=job), found))
    return tasks


def ground_task(source: StepCube, block: Block, name: str, turn: int) -> Any:
    """Build the delayed task that reads the ground of a block, for reads of several dates.

    Args:
        source: of one of the steps.
        block: the block.
        name: the same for all dates of a run: tasks of one name are done once.
        turn: number of blocks that go before this.
    """
    with dask.annotate(priority=-turn):
        return _task(READ, f"ground-{name}", block, partial(source.ground, block.outer))


def _asking(resources: Mapping[str, float] | None) -> dict[str, Any]:
    return {"resources": dict(resources)} if resources else {}


def _task(kind: str, name: str, block: Block, work: Callable[..., Any], *needs: Any) -> Any:
    return dask.delayed(work, pure=False)(*needs, dask_key_name=(f"{kind}{name}", *block.index))


# --- read -----------------------------------------------------------------------------------------


def read_block(
    source: Pixels,
    block: Block,
    bands: tuple[str, ...],
    own: tuple[int, ...] | None = None,
    ground: Ground | None = None,
) -> BlockPixels:
    """Read all that one block is computed from, and make the pictures of its core.

    Args:
        source: of the step.
        block: its place in the tile.
        bands: of the model, in its order.
        own: which of them are of the date of the step; None = all.
        ground: of the block, if it was read by itself.

    Raises:
        LoadError: a read failed.
    """
    found, named = _arrays(source, block, ground)
    pixels, within = found.pop("pixels"), _within(block)
    shown = {name: pixels[named.index(name)][within] for name in evidence.BANDS if name in named}
    pictures = _pictures(shown)
    if list(bands) != named:
        pixels = pixels[[named.index(name) for name in bands]]
    return BlockPixels(
        page_locked(pixels),
        found["quality"],
        has_data=observed(pixels),
        evidence={"scl": found["scl"], "acquired": found["acquired"], **pictures},
        lacking=None if own is None else ~observed(pixels[:, *within][list(own)]),
        disputed=found.get("disputed"),
    )


def _arrays(
    source: Pixels, block: Block, ground: Ground | None
) -> tuple[dict[str, Any], list[str]]:
    """Read the arrays of a block, and the names of its channels.

    Only what is returned stays in memory: the cube would keep channels that the model lacks.
    """
    # In this thread, where a source is lazy: the pool of the worker is for blocks.
    opened = source.part(block.outer) if ground is None else source.part(block.outer, ground)
    cube, within = opened.load(scheduler="synchronous"), _within(block)
    layers = {
        "pixels": cube["reflectance"].data,
        "quality": _quality(cube),
        "scl": cube["scl"].data[*within],
        "acquired": cube["acquired"].data[*within],
        **({"disputed": cube["disputed"].data} if "disputed" in cube else {}),
    }
    return layers, cube["band"].values.tolist()


def _quality(cube: xr.Dataset) -> Any:
    """Return the quality bits of a cube: (y, x), or of both dates (date, y, x), its own first."""
    own = cube["quality"].data
    return np.stack([own, cube[OTHER_QUALITY].data]) if OTHER_QUALITY in cube else own


def _pictures(bands: Mapping[str, NDArray[np.int16]]) -> dict[str, NDArray[Any]]:
    layers: dict[str, NDArray[Any]] = {}
    if {"B04", "B03", "B02"} <= set(bands):
        layers["true_colour"] = evidence.true_colour(bands)
    if {"B04", "B08"} <= set(bands):
        layers["ndvi"] = evidence.ndvi(bands["B04"], bands["B08"])
    return layers


# --- infer ----------------------------------------------------------------------------------------


def infer(
    read: BlockPixels,
    *,
    block: Block,
    job: StepJob,
    area: NDArray[np.uint8] | None,
    needed: NDArray[np.uint8] | None = None,
    is_more: bool = False,
) -> Inferred:
    """Run the networks on a block; the only task that takes the slot.

    Args:
        read: what it is computed from.
        block: its place in the tile.
        job: settings that all blocks of the step share.
        area: packed bits of the area over the outer extent; None = all inside.
        needed: packed bits likewise, of the pixels that are needed; None = all.
        is_more: what is not needed now is left as it is stored.

    Raises:
        DeviceError: the device failed, so that any block would fail there.
        InferenceError: a network failed.
    """
    began = time.perf_counter()
    # In every task: the number belongs to the thread that sets it, and a task may run in any thread
    # of the worker.
    use_threads(job.threads)
    counts: list[tuple[int, int]] = [(0, 0)]
    deviation = Deviation() if job.setting.spread else None
    within, extent = _within(block), read.pixels.shape[-2:]
    dates = read.quality.reshape(-1, *extent)
    doubt = None if read.disputed is None else _doubt(read.disputed, dates[0], job)
    inside = None if area is None else _unpacked(area, extent)
    # Of `open_cube`: its pixels are left out, and those of others do not depend on that.
    wanted = _without(inside, (dates[0] & np.uint8(Quality.OUTSIDE)) != 0)
    spared = None if needed is None else ~_unpacked(needed, extent)
    hidden = ((dates & ~np.uint8(Quality.OUTSIDE)) != 0).any(axis=0)
    seen = read.has_data & ~hidden
    if job.is_baseline:
        probability = _nothing_found(seen, wanted, block)
    else:
        probability = _found(
            read,
            hidden if doubt is None else hidden & ~doubt,
            wanted if spared is None else _without(wanted, spared),
            block=block,
            job=job,
            report=lambda *count: counts.append(count),
            deviation=deviation,
        )
    return Inferred(
        probability,
        None if deviation is None else deviation.result(probability.shape),
        dates[0][within],
        read.evidence,
        inside=None if inside is None else inside[within],
        lacking=~read.has_data[within] if spared is not None else read.lacking,
        disputed=None if read.disputed is None else read.disputed[within],
        doubt=None if doubt is None else doubt[within],
        spared=None if spared is None else spared[within],
        is_more=is_more,
        windows=counts[-1],
        # Before the block is written: every block that is done was counted too, and counted once.
        inputs=None if is_more else _tally(read.pixels, seen, wanted, block=block, job=job),
        seconds=time.perf_counter() - began,
        worker=this_worker(),
    )


def _found(
    read: BlockPixels,
    mask: NDArray[np.bool_],
    inside: NDArray[np.bool_] | None,
    *,
    block: Block,
    job: StepJob,
    report: Callable[[int, int], None],
    deviation: Deviation | None,
) -> NDArray[np.float32]:
    """Run the networks on a block; raise what the record of a failed block says.

    Raises:
        DeviceError: the device failed, so that any block would fail there.
        InferenceError: a network failed.
    """
    try:
        return run_each(
            read.pixels,
            runtimes=job.model.open_each(),
            origin=(block.outer[0].start, block.outer[1].start),
            tile_shape=job.tile_shape,
            core=block.core,
            setting=job.setting,
            mask=mask,
            area=inside,
            tile_range=job.tile_range,
            fill_masked=job.fill_masked,
            has_data=read.has_data,
            report=report,
            deviation=deviation,
        )
    except (LspipeError, RuntimeError) as error:
        # The record of the failure names the block.
        if is_broken(error):
            raise DeviceError(str(error)) from error
        if isinstance(error, LspipeError):
            raise
        raise InferenceError(str(error)) from error


def _nothing_found(
    seen: NDArray[np.bool_], inside: NDArray[np.bool_] | None, block: Block
) -> NDArray[np.float32]:
    """Return 0 where the core of a block was observed inside the area, NaN elsewhere."""
    seen = (seen if inside is None else seen & inside)[_within(block)]
    return np.where(seen, np.float32(0), np.float32(np.nan))


def _tally(
    pixels: NDArray[np.int16],
    seen: NDArray[np.bool_],
    inside: NDArray[np.bool_] | None,
    *,
    block: Block,
    job: StepJob,
) -> dict[str, Any] | None:
    """Compare the pixels of a block with the training data; None if the run does not."""
    if job.trained is None or job.is_baseline:
        return None
    # Of an ensemble the first, whose statistics these are.
    network = job.model.open_each()[0]
    values = familiarity.sample(
        pixels,
        origin=(block.outer[0].start, block.outer[1].start),
        tile_shape=job.tile_shape,
        core=block.core,
        setting=job.setting,
        scaling=network.scaling,
        bands=network.bands,
        observed=seen,
        area=inside,
        tile_range=job.tile_range,
    )
    return familiarity.count(values, job.trained)


# --- of a block -----------------------------------------------------------------------------------


def _within(block: Block) -> Part:
    """Return the core of a block as a part of its outer extent."""
    return relative(block.core, (block.outer[0].start, block.outer[1].start))


def _doubt(
    disputed: NDArray[np.uint8], quality: NDArray[np.uint8], job: StepJob
) -> NDArray[np.bool_]:
    """Return where only some masks see a cloud or a shadow, and nothing else hides the ground.

    What the network says there is set aside, for candidates.
    """
    if not job.sets_aside:
        return np.zeros(quality.shape, bool)
    hiding = np.uint8(Quality.CLOUD | Quality.SHADOW)
    seen = quality & ~np.uint8(Quality.OUTSIDE)
    is_doubted: NDArray[np.bool_] = (disputed != 0) & (seen != 0) & ((seen & ~hiding) == 0)
    return is_doubted


def _without(
    inside: NDArray[np.bool_] | None, left_out: NDArray[np.bool_]
) -> NDArray[np.bool_] | None:
    """Return the pixels that are wanted; None = all."""
    if not left_out.any():
        return inside
    return ~left_out if inside is None else inside & ~left_out


def _packed(area: TileMask | None, block: Block) -> NDArray[np.uint8] | None:
    """Pack the area of a block, to send it with the task; None if all of it is inside."""
    if area is None:
        return None
    inside = area[block.outer]
    return None if inside.all() else np.packbits(inside)


def _unpacked(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)
