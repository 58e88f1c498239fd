"""One block in a worker: its pixels are read, then probability and evidence go to the store.

A block is two tasks: one reads all that it needs with its halo, from the files; the other computes
and writes it. Neighbours read each other's halo again. That costs less than handing edges around
between workers did (benchmarks/reading.py), and a block waits for no other. If workers declare a
slot for inference, the second task needs it: a worker then computes one block at a time, and its
other thread reads ahead.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import uuid4

import dask
import dask.array as da
import numpy as np

from lspipe.clusters.timing import this_worker
from lspipe.cube import evidence
from lspipe.cube.pairs import OTHER_QUALITY
from lspipe.errors import DeviceError, InferenceError, LspipeError
from lspipe.inference import familiarity
from lspipe.inference.deviation import Deviation
from lspipe.inference.ensemble import run_each
from lspipe.inference.observed import observed
from lspipe.inference.runtimes import use_threads
from lspipe.inference.runtimes.devices import is_broken
from lspipe.runs import store
from lspipe.schema import BEFORE, Quality, quantise, relative, split_channel
from lspipe.schema.maps import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from lspipe.inference.reference import ModelReference
    from lspipe.inference.settings import Setting
    from lspipe.inference.windows import Block
    from lspipe.models.statistics import Statistics
    from lspipe.schema import Part


BLOCK = "block-"
"""How the names of tasks begin that compute a block."""

READ = "read-"
"""How the names of tasks begin that read one."""


class TileMask(Protocol):
    """A bool for each pixel of a tile, packed or an array."""

    def __getitem__(self, part: Part, /) -> NDArray[np.bool_]:
        """Return rows and columns of it, bool (y, x)."""


@dataclass(frozen=True)
class StepJob:
    """What all blocks of one (tile, step) share."""

    run: Path
    tile: str
    step: int
    tile_shape: tuple[int, int]
    model: ModelReference
    setting: Setting
    tile_range: tuple[tuple[float, float], ...] | None
    fill_masked: bool
    threads: int
    """torch threads of one block, part of the fingerprint."""
    trained: Statistics | None = None
    """Statistics of the training data, to compare pixels with; None = no comparison."""
    sets_aside: bool = False
    """Whether the network is asked where only some of several masks hide the ground: not where a
    window is scaled by what is observed in it, as such a pixel must not count in the scale of its
    neighbours; and not of a pair, of which either date may be hidden."""
    is_baseline: bool = False
    """Whether this is the date before of a pair model: 0 where it was observed, and no network."""


@dataclass(frozen=True)
class BlockResult:
    """The result of a finished block."""

    tile: str
    step: int
    index: tuple[int, int]
    windows: int
    """Windows with a wanted pixel: observed, in the core and in the area."""
    windows_run: int
    """Windows of these that went through the network; a screen leaves some out."""
    failed_reads: int
    """Pixels of the core that a failed read left without data (`on_read_error: nodata`)."""
    seconds: float
    """Wall clock of computing and writing; reading is another task."""
    network: float = 0.0
    """Of these, cutting windows, the network, and averaging."""
    writing: float = 0.0
    """Of these, writing maps and evidence."""
    inputs: Mapping[str, Any] | None = None
    """Pixels compared with training (`familiarity.count`); None = not counted."""
    masks: Mapping[str, int] | None = None
    """Where several masks were asked for: pixels of the core and the area with data (`seen`), and
    those that one mask calls cloud or shadow and another does not (`disputed`); None = one mask."""
    worker: str = ""
    """Address of the worker that computed it; "" = none of a cluster did."""


class BlockPixels(NamedTuple):
    """What one block is computed from; a tuple, whose bytes dask counts."""

    pixels: NDArray[np.int16]
    """(band, y, x) over the block's outer extent: the bands of the model, then others that are
    shown."""
    quality: NDArray[np.uint8]
    """(y, x) over the same extent; for a pair (date, y, x), the step's own first."""
    scl: NDArray[np.uint8]
    """Scene classes (y, x) of the core."""
    acquired: NDArray[np.uint16]
    """Days since 1970-01-01 (y, x) of the core."""
    shown: Mapping[str, int]
    """Bands of the evidence, and where they are in `pixels`."""
    disputed: NDArray[np.uint8] | None = None
    """(y, x) over the outer extent, 1 where masks disagree; None = one mask."""


class Pixels(Protocol):
    """Where blocks are read from; `cube.step_cube.StepCube` is one."""

    def part(self, part: Part, /) -> xr.Dataset:
        """Return the lazy cube of rows and columns of a tile, as of `cube.pairs.open_dates`."""


def block_tasks(
    source: Pixels,
    job: StepJob,
    blocks: Sequence[Block],
    *,
    bands: Sequence[str],
    area: TileMask | None,
    resources: Mapping[str, float] | None = None,
    first: int = 0,
) -> list[Any]:
    """Build one delayed infer-and-write task for each block, and the read that it needs.

    Args:
        source: of the step; it is sent with each read.
        job: settings that the tasks share.
        blocks: the blocks to do.
        bands: of the cube, in the order of the model; of the date before of a pair model, those
            that the model reads of it.
        area: bool (y, x) of the whole tile, True inside the area; None = everywhere.
        resources: that a block needs on a worker, of `clusters.INFERENCE_SLOT`; reading needs
            none.
        first: number of blocks that go before these.

    Returns:
        Delayed tasks in the order of `blocks`; each returns a `BlockResult`.
    """
    own = tuple(at for at, band in enumerate(bands) if split_channel(band)[0] != BEFORE)
    # A scheduler runs a task of one name once for all clients: with two runs of one tile, a block
    # would be written by one of them and count as done in both.
    name = f"{job.tile}-{job.step}-{uuid4().hex}"
    tasks = []
    for turn, block in enumerate(blocks, start=first):
        # Blocks are read and computed in turn, whichever worker is free.
        with dask.annotate(priority=-turn):
            read = dask.delayed(partial(read_block, source, block, tuple(bands)), pure=False)(
                dask_key_name=(f"{READ}{name}", *block.index)
            )
        # Only this task needs the resources: any free thread may read.
        needs = {"resources": dict(resources)} if resources else {}
        with dask.annotate(priority=-turn, **needs):
            work = partial(
                infer_and_write,
                block=block,
                job=job,
                area=_packed(area, block),
                own=own if len(own) < len(bands) else None,
                count=len(bands),
            )
            task = dask.delayed(work, pure=False)(
                read, dask_key_name=(f"{BLOCK}{name}", *block.index)
            )
        tasks.append(task)
    return tasks


def read_block(source: Pixels, block: Block, bands: tuple[str, ...]) -> BlockPixels:
    """Read all that one block is computed from.

    Raises:
        LoadError: a read failed.
    """
    cube = source.part(block.outer)
    named = cube["band"].values.tolist()
    shown = [name for name in evidence.BANDS if name in named]
    names = [*bands, *(name for name in shown if name not in bands)]
    layers = {
        "pixels": cube["reflectance"].data,
        "quality": _quality(cube),
        "scl": cube["scl"].data[*_within(block)],
        "acquired": cube["acquired"].data[*_within(block)],
        **({"disputed": cube["disputed"].data} if "disputed" in cube else {}),
    }
    # In this thread: the pool of the worker is for blocks.
    (found,) = dask.compute(layers, scheduler="synchronous")
    if names != named:
        found["pixels"] = found["pixels"][[named.index(name) for name in names]]
    return BlockPixels(**found, shown={name: names.index(name) for name in shown})


def _quality(cube: xr.Dataset) -> da.Array:
    """Return the quality bits of a cube: (y, x), or of both dates (date, y, x), its own first."""
    own = cube["quality"].data
    return da.stack([own, cube[OTHER_QUALITY].data]) if OTHER_QUALITY in cube else own


def infer_and_write(
    read: BlockPixels,
    *,
    block: Block,
    job: StepJob,
    area: NDArray[np.uint8] | None,
    count: int | None = None,
    own: tuple[int, ...] | None = None,
) -> BlockResult:
    """Run one block and write it; the only task of a run that writes.

    Args:
        read: what it is computed from.
        block: its place in the tile.
        job: settings that all blocks of the step share.
        area: packed bits of the area over the outer extent; None = all inside.
        count: how many bands of what was read are the model's, the first; None = all.
        own: which bands of the model are of the date of the step; None = all.
    """
    began = time.perf_counter()
    # In every task: the number belongs to the thread that sets it, and a task may run in any thread
    # of the worker.
    use_threads(job.threads)
    counts: list[tuple[int, int]] = []
    deviation = Deviation() if job.setting.spread else None
    within, pixels, disputed = _within(block), read.pixels[:count], read.disputed
    extent = pixels.shape[-2:]
    inside = None if area is None else _unpacked(area, extent)
    dates = read.quality.reshape(-1, *extent)
    # Of `open_cube`: its pixels are left out, and those of others do not depend on that.
    left_out = (dates[0] & np.uint8(Quality.OUTSIDE)) != 0
    dates = dates & ~np.uint8(Quality.OUTSIDE)
    wanted = _without(inside, left_out)
    hidden = (dates != 0).any(axis=0)
    doubt = None if disputed is None else _doubt(disputed, dates[0], job)
    if job.is_baseline:
        probability = _nothing_found(pixels, hidden, wanted, block)
        counts.append((0, 0))
    else:
        mask = hidden if doubt is None else hidden & ~doubt
        probability = _found(
            pixels,
            mask,
            wanted,
            block=block,
            job=job,
            report=lambda *count: counts.append(count),
            deviation=deviation,
        )
    computed = time.perf_counter()
    doubted = {} if doubt is None else {"doubted": _set_aside(probability, doubt[within])}
    bits = dates[0][within].copy()
    # A channel may have no data where the scene class is valid: the quality bit records it. What
    # only the other date of a pair lacks is not observed either; the bits of that date say why.
    missing = np.isnan(probability) if own is None else ~observed(pixels[:, *within][list(own)])
    bits[missing & (bits == 0)] |= np.uint8(Quality.NODATA)
    bits[left_out[within]] = np.uint8(LEFT_OUT)
    if inside is not None:
        bits[~inside[within]] = np.uint8(Quality.OUTSIDE)
    # Before the block is written: every block that is done was counted too.
    inputs = _tally(pixels, hidden, wanted, block=block, job=job)
    ready = time.perf_counter()
    store.write_block(
        job.run,
        job.tile,
        job.step,
        block.index,
        block.core,
        detections={"probability": quantise(probability), "quality": bits},
        evidence={
            "scl": read.scl,
            "acquired": read.acquired,
            **doubted,
            **_spread(deviation, probability),
            **_pictures({name: read.pixels[at][within] for name, at in read.shown.items()}),
        },
    )
    written = time.perf_counter()
    needed, run = counts[-1]
    return BlockResult(
        tile=job.tile,
        step=job.step,
        index=block.index,
        windows=needed,
        windows_run=run,
        failed_reads=int(np.count_nonzero(bits & np.uint8(Quality.READ_ERROR))),
        seconds=written - began,
        network=computed - began,
        writing=written - ready,
        inputs=inputs,
        masks=None if disputed is None else _disputes(disputed[within], bits),
        worker=this_worker(),
    )


def _doubt(
    disputed: NDArray[np.uint8], quality: NDArray[np.uint8], job: StepJob
) -> NDArray[np.bool_]:
    """Return where only some masks see a cloud or a shadow, and nothing else hides the ground.

    What the network says there is set aside, for candidates.
    """
    if not job.sets_aside:
        return np.zeros(quality.shape, bool)
    hiding = np.uint8(Quality.CLOUD | Quality.SHADOW)
    is_doubted: NDArray[np.bool_] = (disputed != 0) & (quality != 0) & ((quality & ~hiding) == 0)
    return is_doubted


def _set_aside(probability: NDArray[np.float32], doubt: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Return the codes of the doubted pixels, and make them not observed in the map, in place."""
    codes = quantise(np.where(doubt, probability, np.float32(np.nan)))
    probability[doubt] = np.nan
    return codes


def _spread(
    deviation: Deviation | None, probability: NDArray[np.float32]
) -> dict[str, NDArray[np.uint16]]:
    """Return how far the views lie apart, as codes, where there is a probability; if asked for."""
    if deviation is None:
        return {}
    found = deviation.result(probability.shape)
    found[np.isnan(probability)] = np.nan
    return {"spread": quantise(found)}


def _disputes(disputed: NDArray[np.uint8], quality: NDArray[np.uint8]) -> dict[str, int]:
    """Count the pixels of the area that have data, and those that masks disagree about."""
    is_seen = (quality & np.uint8(Quality.NODATA | Quality.OUTSIDE)) == 0
    return {
        "seen": int(np.count_nonzero(is_seen)),
        "disputed": int(np.count_nonzero(is_seen & (disputed != 0))),
    }


def _found(
    pixels: NDArray[np.int16],
    mask: NDArray[np.bool_],
    inside: NDArray[np.bool_] | None,
    *,
    block: Block,
    job: StepJob,
    report: Callable[[int, int], None],
    deviation: Deviation | None = None,
) -> NDArray[np.float32]:
    """Run the networks on a block; raise what the record of a failed block says.

    Raises:
        DeviceError: the device failed, so that any block would fail there.
        InferenceError: a network failed.
    """
    try:
        return run_each(
            pixels,
            runtimes=job.model.open_each(),
            origin=(block.outer[0].start, block.outer[1].start),
            tile_shape=job.tile_shape,
            core=block.core,
            setting=job.setting,
            mask=mask,
            area=inside,
            tile_range=job.tile_range,
            fill_masked=job.fill_masked,
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
    pixels: NDArray[np.int16],
    mask: NDArray[np.bool_],
    inside: NDArray[np.bool_] | None,
    block: Block,
) -> NDArray[np.float32]:
    """Return 0 where the core of a block was observed inside the area, NaN elsewhere."""
    seen = observed(pixels, mask)
    seen = (seen if inside is None else seen & inside)[_within(block)]
    return np.where(seen, np.float32(0), np.float32(np.nan))


def _within(block: Block) -> Part:
    """Return the core of a block as a part of its outer extent."""
    return relative(block.core, (block.outer[0].start, block.outer[1].start))


def _tally(
    pixels: NDArray[np.int16],
    mask: NDArray[np.bool_],
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
        observed=observed(pixels, mask),
        area=inside,
        tile_range=job.tile_range,
    )
    return familiarity.count(values, job.trained)


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


def _pictures(bands: Mapping[str, NDArray[np.int16]]) -> dict[str, NDArray[Any]]:
    layers: dict[str, NDArray[Any]] = {}
    if {"B04", "B03", "B02"} <= set(bands):
        layers["true_colour"] = evidence.true_colour(bands)
    if {"B04", "B08"} <= set(bands):
        layers["ndvi"] = evidence.ndvi(bands["B04"], bands["B08"])
    return layers
