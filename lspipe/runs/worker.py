"""One block in a worker: haloed pixels -> probability -> the store, and the lazy list of them.

`block_tasks` turns the lazy cube of one step into one delayed task per block. Halos are exchanged
between dask chunks (`dask.array.overlap.overlap`), because reading them from the files costs eight
times the bytes. The tasks are separate from the array graph, because dask loses the resources of a
fused `map_overlap` (dask/dask#7036). If workers declare a slot for inference, the tasks need it: a
worker then computes one block at a time, and its other thread reads ahead.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import dask
import dask.array as da
import numpy as np

from lspipe.clusters.timing import this_worker
from lspipe.cube import evidence
from lspipe.errors import DeviceError, InferenceError, LspipeError
from lspipe.inference import familiarity
from lspipe.inference.block import run_block
from lspipe.inference.observed import observed
from lspipe.inference.runtimes import use_threads
from lspipe.inference.runtimes.devices import is_broken
from lspipe.runs import store
from lspipe.schema import Quality, quantise, relative

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from lspipe.inference.reference import ModelReference
    from lspipe.inference.settings import Setting
    from lspipe.inference.windows import Block
    from lspipe.models.item import Scaling
    from lspipe.models.statistics import Statistics
    from lspipe.schema import Part


BLOCK = "block-"
"""How the names of tasks begin that compute a block."""


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
    worker: str = ""
    """Address of the worker that computed it; "" = none of a cluster did."""


def in_turn(first: int, columns: int) -> AbstractContextManager[None]:
    """Make the tasks of a cube and its blocks, created in this context, run row by row.

    By default dask orders reads all over a tile: with 5 x 5 blocks, only one block was computed
    before the whole tile was read and held in memory (2026-11). Row by row, a block is computed as
    soon as the row of blocks below it is read (two rows if clouds are dilated, which is another
    overlap), and only these rows are held.

    Args:
        first: number of blocks of the steps before, which run first.
        columns: blocks in a row of the tile.
    """
    turns: AbstractContextManager[None] = dask.annotate(
        priority=partial(_priority, first=first, columns=columns)
    )
    return turns


def _priority(key: Any, *, first: int, columns: int) -> int:
    """Return the priority of a task, by the row and column of its chunk or block in its key."""
    if not isinstance(key, tuple) or len(key) < 3:
        return -first
    row, column = key[-2:]
    if not isinstance(row, int | float) or not isinstance(column, int | float):
        return -first
    # dask numbers the pieces of a chunk that it cuts for halos by fractions.
    return -(first + round(row) * columns + round(column))


def block_tasks(
    cube: xr.Dataset,
    job: StepJob,
    blocks: Sequence[Block],
    *,
    bands: Sequence[str],
    area: TileMask | None,
    resources: Mapping[str, float] | None = None,
) -> list[Any]:
    """Build one delayed infer-and-write task for each block.

    Args:
        cube: of `cube.open_cube`, one chunk per block; its first bands are those of the model.
        job: settings that the tasks share.
        blocks: the blocks to do.
        bands: the model's bands, in its order.
        area: bool (y, x) of the whole tile, True inside the area; None = everywhere.
        resources: that a block needs on a worker, of `clusters.INFERENCE_SLOT`; reading needs
            none.

    Returns:
        Delayed tasks in the order of `blocks`; each returns a `BlockResult`.
    """
    halo = job.setting.halo
    shown = [name for name in evidence.BANDS if name in cube["band"].values]
    # In the order of the arguments of `infer_and_write`.
    layers = [
        _overlapped(cube["reflectance"].sel(band=list(bands)).data, halo),
        _overlapped(cube["quality"].data, halo),
        cube["scl"].data,
        cube["acquired"].data,
    ]
    if shown:
        layers.append(cube["reflectance"].sel(band=shown).data.rechunk({0: -1}))
    # Not optimised: fusing copies the reads of a chunk into each block that needs its edge: 2 reads
    # instead of 1 if the layers are optimised together, 18 if one by one (6 x 6 blocks).
    chunks = [layer.to_delayed(optimize_graph=False) for layer in layers]
    # A scheduler runs a task of one name once for all clients: with two runs of one tile, a block
    # would be written by one of them and count as done in both.
    name = f"{BLOCK}{job.tile}-{job.step}-{uuid4().hex}"
    # Only these tasks need the resources: any free thread may read the layers above.
    with dask.annotate(**({"resources": dict(resources)} if resources else {})):
        return [
            dask.delayed(infer_and_write, pure=False)(
                # By position: dask culls and merges keyword arguments again for every block, and
                # puts the resources on everything that it merges.
                *(_chunk(delayed, block.index) for delayed in chunks),
                block=block,
                job=job,
                shown=tuple(shown),
                area=_packed(area, block),
                dask_key_name=(name, *block.index),
            )
            for block in blocks
        ]


def _chunk(delayed: NDArray[Any], index: tuple[int, int]) -> Any:
    """Return the delayed chunk of a block; a band axis has one chunk."""
    return delayed[(0, *index)] if delayed.ndim == 3 else delayed[index]


def _overlapped(array: da.Array, halo: int) -> da.Array:
    """Give every chunk its halo; an axis of one chunk needs none."""
    spatial = array.ndim - 2
    if spatial:
        array = array.rechunk({0: -1})
    depth = {
        axis: (halo if axis >= spatial and len(array.chunks[axis]) > 1 else 0)
        for axis in range(array.ndim)
    }
    return da.overlap.overlap(array, depth, boundary="none", allow_rechunk=False)


def infer_and_write(
    pixels: NDArray[np.int16],
    quality: NDArray[np.uint8],
    scl: NDArray[np.uint8],
    acquired: NDArray[np.uint16],
    seen: NDArray[np.int16] | None = None,
    *,
    block: Block,
    job: StepJob,
    shown: tuple[str, ...],
    area: NDArray[np.uint8] | None,
) -> BlockResult:
    """Run one block and write it; the only task of a run that writes.

    Args:
        pixels: int16 (band, y, x) over the block's outer extent.
        quality: uint8 (y, x) over the same extent.
        scl: scene classes (y, x) of the core.
        acquired: days since 1970-01-01 (y, x) of the core.
        seen: int16 (band, y, x) of the core, bands as `shown`; None = no evidence bands.
        block: its place in the tile.
        job: settings that all blocks of the step share.
        shown: names of the bands of `seen`.
        area: packed bits of the area over the outer extent; None = all inside.
    """
    began = time.perf_counter()
    # In every task: the number belongs to the thread that sets it, and a task may run in any thread
    # of the worker.
    use_threads(job.threads)
    counts: list[tuple[int, int]] = []
    inside = None if area is None else _unpacked(area, quality.shape)
    try:
        runtime = job.model.open()
        probability = run_block(
            pixels,
            origin=(block.outer[0].start, block.outer[1].start),
            tile_shape=job.tile_shape,
            core=block.core,
            runtime=runtime,
            setting=job.setting,
            mask=quality != 0,
            area=inside,
            tile_range=job.tile_range,
            fill_masked=job.fill_masked,
            report=lambda *count: counts.append(count),
        )
    except (LspipeError, RuntimeError) as error:
        # The record of the failure names the block.
        if is_broken(error):
            raise DeviceError(str(error)) from error
        if isinstance(error, LspipeError):
            raise
        raise InferenceError(str(error)) from error
    computed = time.perf_counter()
    within = relative(block.core, (block.outer[0].start, block.outer[1].start))
    bits = quality[within].copy()
    # A channel may have no data where the scene class is valid: the quality bit records it.
    bits[np.isnan(probability) & (bits == 0)] |= np.uint8(Quality.NODATA)
    if inside is not None:
        bits[~inside[within]] = np.uint8(Quality.OUTSIDE)
    # Before the block is written: every block that is done was counted too.
    inputs = _tally(pixels, quality, inside, block=block, job=job, scaling=runtime.scaling)
    ready = time.perf_counter()
    store.write_block(
        job.run,
        job.tile,
        job.step,
        block.index,
        block.core,
        detections={"probability": quantise(probability), "quality": bits},
        evidence={"scl": scl, "acquired": acquired, **_pictures(seen, shown)},
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
        worker=this_worker(),
    )


def _tally(
    pixels: NDArray[np.int16],
    quality: NDArray[np.uint8],
    inside: NDArray[np.bool_] | None,
    *,
    block: Block,
    job: StepJob,
    scaling: Scaling,
) -> dict[str, Any] | None:
    """Compare the pixels of a block with the training data; None if the run does not."""
    if job.trained is None:
        return None
    values = familiarity.sample(
        pixels,
        origin=(block.outer[0].start, block.outer[1].start),
        tile_shape=job.tile_shape,
        core=block.core,
        setting=job.setting,
        scaling=scaling,
        observed=observed(pixels, quality != 0),
        area=inside,
        tile_range=job.tile_range,
    )
    return familiarity.count(values, job.trained)


def _packed(area: TileMask | None, block: Block) -> NDArray[np.uint8] | None:
    """Pack the area of a block, to send it with the task; None if all of it is inside."""
    if area is None:
        return None
    inside = area[block.outer]
    return None if inside.all() else np.packbits(inside)


def _unpacked(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)


def _pictures(seen: NDArray[np.int16] | None, shown: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    bands = {} if seen is None else dict(zip(shown, seen, strict=True))
    layers: dict[str, NDArray[Any]] = {}
    if {"B04", "B03", "B02"} <= set(bands):
        layers["true_colour"] = evidence.true_colour(bands)
    if {"B04", "B08"} <= set(bands):
        layers["ndvi"] = evidence.ndvi(bands["B04"], bands["B08"])
    return layers
