"""One block in a worker: haloed pixels -> probability -> the store, and the lazy list of them.

`block_tasks` turns the lazy cube of one step into one delayed task per block. Halos are exchanged
between dask chunks (`dask.array.overlap.overlap`), because reading them from the files instead
costs eight times the bytes; the tasks stay separate from the array graph, because worker resources
put on a fused `map_overlap` are lost (dask/dask#7036).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dask
import dask.array as da
import numpy as np

from lspipe import evidence, models, store
from lspipe.errors import InferenceError, LspipeError
from lspipe.inference import needed_windows, run_block
from lspipe.models.runtimes import use_threads
from lspipe.schema import Quality, quantise

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from lspipe.presets import Setting
    from lspipe.windows import Block


@dataclass(frozen=True)
class ModelReference:
    """What a worker needs to load the model itself: a path and hashes, never a module."""

    item: str
    sha256: str
    """Of the weights (of the item if it has none)."""
    item_sha256: str
    """Of the item: its scaling decides pixels too."""
    device: str
    precision: str
    runtime: str


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
    """torch threads of the worker, part of the fingerprint."""


@dataclass(frozen=True)
class BlockResult:
    """What a finished block says about itself."""

    tile: str
    step: int
    index: tuple[int, int]
    windows: int
    """Windows that were run."""
    failed_reads: int
    """Pixels of the core that a failed read left without data (`on_read_error: nodata`)."""
    seconds: float


def block_tasks(
    cube: xr.Dataset,
    job: StepJob,
    blocks: Sequence[Block],
    *,
    bands: Sequence[str],
    area: NDArray[np.bool_] | None,
) -> list[Any]:
    """Build one delayed infer-and-write task for each block.

    Args:
        cube: of `cube.open_cube`, chunked as the blocks; its first bands are the model's.
        job: what the tasks share.
        blocks: the blocks to do.
        bands: the model's bands, in its order.
        area: bool (y, x) of the whole tile, True inside the area; None = everywhere.

    Returns:
        Delayed tasks in the order of `blocks`; each returns a `BlockResult`.
    """
    halo = job.setting.window - 1
    shown = [name for name in evidence.BANDS if name in cube["band"].values]
    layers = {
        "pixels": _overlapped(cube["reflectance"].sel(band=list(bands)).data, halo),
        "quality": _overlapped(cube["quality"].data, halo),
        "scl": cube["scl"].data,
        "acquired": cube["acquired"].data,
    }
    if shown:
        layers["seen"] = cube["reflectance"].sel(band=shown).data.rechunk({0: -1})
    # Not optimised: fusing puts the reads of a chunk into each of the blocks that need its edge,
    # 2 reads instead of 1 if the layers are optimised together, 18 if one by one (6 x 6 blocks).
    chunks = {name: layer.to_delayed(optimize_graph=False) for name, layer in layers.items()}
    return [
        dask.delayed(infer_and_write, pure=False)(
            **{name: _chunk(delayed, block.index) for name, delayed in chunks.items()},
            block=block,
            job=job,
            shown=tuple(shown),
            area=_packed(area, block),
            dask_key_name=_key(job, block),
        )
        for block in blocks
    ]


def _key(job: StepJob, block: Block) -> str:
    """Name a task so that a person finds its block, and no other run on the scheduler has it.

    A scheduler does a task of one name once, whoever asks: of two runs of one tile, a block would
    be written by one and be taken for done by both.
    """
    row, column = block.index
    return f"block-{job.tile}-{job.step}-{row}-{column}-{uuid4().hex}"


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
    *,
    pixels: NDArray[np.int16],
    quality: NDArray[np.uint8],
    scl: NDArray[np.uint8],
    acquired: NDArray[np.uint16],
    seen: NDArray[np.int16] | None = None,
    block: Block,
    job: StepJob,
    shown: tuple[str, ...],
    area: NDArray[np.uint8] | None,
) -> BlockResult:
    """Run one block and write it; the only task of a run with an effect.

    Args:
        pixels: int16 (band, y, x) over the block's outer extent.
        quality: uint8 (y, x) over the same extent.
        scl: scene classes (y, x) of the core.
        acquired: days since 1970-01-01 (y, x) of the core.
        seen: int16 (band, y, x) of the core, bands as `shown`; None = no evidence bands.
        block: where the block lies.
        job: what all blocks of the step share.
        shown: names of the bands of `seen`.
        area: packed bits of the area over the outer extent; None = all inside.
    """
    began = time.perf_counter()
    use_threads(job.threads)
    inside = None if area is None else _unpacked(area, quality.shape)
    try:
        probability = run_block(
            pixels,
            origin=(block.outer[0].start, block.outer[1].start),
            tile_shape=job.tile_shape,
            core=block.core,
            runtime=load(job.model),
            setting=job.setting,
            mask=quality != 0,
            area=inside,
            tile_range=job.tile_range,
            fill_masked=job.fill_masked,
        )
    except LspipeError:
        raise
    except RuntimeError as error:
        # Which block it is, the run's own record of the failure says.
        raise InferenceError(str(error)) from error
    within = _within(block)
    bits = quality[within].copy()
    # A channel can be missing where the scene class is not; the map says so either way.
    bits[np.isnan(probability) & (bits == 0)] |= np.uint8(Quality.NODATA)
    if inside is not None:
        bits[~inside[within]] = np.uint8(Quality.OUTSIDE)
    store.write_block(
        job.run,
        job.tile,
        job.step,
        block.index,
        block.core,
        detections={"probability": quantise(probability), "quality": bits},
        evidence={"scl": scl, "acquired": acquired, **_pictures(seen, shown)},
    )
    return BlockResult(
        tile=job.tile,
        step=job.step,
        index=block.index,
        windows=_windows(bits, block, job),
        failed_reads=int(np.count_nonzero(bits & np.uint8(Quality.READ_ERROR))),
        seconds=time.perf_counter() - began,
    )


def _windows(bits: NDArray[np.uint8], block: Block, job: StepJob) -> int:
    """Count the windows that hold an observed pixel of the core: those that were run."""
    return len(needed_windows(bits == 0, block.core, job.tile_shape, job.setting))


def load(reference: ModelReference) -> Any:
    """Load the model, once per worker process."""
    return models.load(
        reference.item,
        reference.sha256,
        device=reference.device,
        precision=reference.precision,
        runtime=reference.runtime,
        item_sha256=reference.item_sha256,
    )


def _packed(area: NDArray[np.bool_] | None, block: Block) -> NDArray[np.uint8] | None:
    """Pack the area of a block to travel with its task; None where all of it is inside."""
    if area is None or area[block.outer].all():
        return None
    return np.packbits(area[block.outer])


def _unpacked(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)


def _within(block: Block) -> tuple[slice, slice]:
    """Return the core's place within the outer extent."""
    rows, columns = (
        slice(core.start - outer.start, core.stop - outer.start)
        for core, outer in zip(block.core, block.outer, strict=True)
    )
    return rows, columns


def _pictures(seen: NDArray[np.int16] | None, shown: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    bands = {} if seen is None else dict(zip(shown, seen, strict=True))
    layers: dict[str, NDArray[Any]] = {}
    if {"B04", "B03", "B02"} <= set(bands):
        layers["true_colour"] = evidence.true_colour(bands)
    if {"B04", "B08"} <= set(bands):
        layers["ndvi"] = evidence.ndvi(bands["B04"], bands["B08"])
    return layers
