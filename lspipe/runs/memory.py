"""A plan -> the projected peak of a worker's memory, and the block that fits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lspipe import clusters
from lspipe.clusters import settings
from lspipe.cube.composite import bytes_of_acquisition
from lspipe.errors import UsageError
from lspipe.inference import windows
from lspipe.preprocess.masks import sources
from lspipe.runs.model import cube_of
from lspipe.runs.plan import BLOCK_SIZES, BYTES_PER_PIXEL, outer_pixels

if TYPE_CHECKING:
    from lspipe.clusters import ClusterSpec
    from lspipe.preprocess.masks import MaskSource
    from lspipe.runs.plan import Plan, TilePlan


def cluster_of(plan: Plan) -> ClusterSpec:
    """Return the workflow's cluster, its workers and memory sized for the plan's device."""
    return clusters.sized(plan.workflow.cluster, device=plan.reference.device)


BYTES_PER_WORKER = 600_000_000
"""Python, torch, GDAL's cache and one open model in a worker, bytes (measured: 480 MB idle)."""

COPIES_OF_THE_BLOCK = 2
"""Copies of the pixels of the block that is computed: read, and as evidence."""

COPIES_AHEAD = 5
"""Copies of the pixels of the next blocks: one that is ready, and one that is read meanwhile, raw,
corrected, and in the cache of GDAL.

Only the sum of both was measured, in a quarter of a tile with blocks of 3660 px, 10 bands and a
worker of one thread beside the one that reads: 2.60 GB. With 7 copies and all other terms the
projection is 3.2 GB. Over a network, where what was fetched of all bands is held too, and with two
threads that both read: 2.82 GB."""

COPIES_OF_A_READER = 4
"""Copies of the pixels of a block for each further thread that reads: those of the first, without
the block that is ready."""

COPIES_LOCKED = 3
"""Copies that torch adds on a GPU, of blocks in page-locked memory: it rounds up to a power of two,
and keeps what it had (guessed, not measured)."""

COPIES_FOR_A_MASK = 3
"""Copies of the bands of a source of masks, for one block: stacked, joined with what its windows
reach, and as floats (of 10 m; of coarser pixels less)."""

COPIES_OF_WEIGHTS = 2
"""Copies of the weights of each further network of an ensemble: as they are loaded, and as a
runtime holds them (counted, not measured)."""

BYTES_OF_A_SUM = 8 + 4
"""Of an ensemble, per pixel: the float64 sum, and the answer that is added (counted, not
measured)."""

BYTES_OF_A_SPREAD = 4 * 8
"""Per pixel, where the spread of views is asked for: two float64 sums, a view, and its square
(counted, not measured)."""

ACTIVATIONS = 20
"""Copies of the floats of a batch in the widest layers of a network (U-Net 64..1024 of 10 bands:
64 channels in and out of a convolution are 13 times the input)."""

BYTES_PER_GRAPH = 400_000_000
"""What a runtime that captures a network adds: its libraries and another copy of the weights, bytes
(DeepLabv3+ with a ResNet-50, 107 MB of weights: OpenVINO 370 MB, compiled 380 MB)."""

BYTES_PER_GPU_CONTEXT = 2_000_000_000
"""Main memory of the CUDA libraries in a process, bytes (guessed, not measured)."""


def peak_bytes(tile: TilePlan, plan: Plan) -> int:
    """Project the peak of a worker on a tile: process, block, next block and network, bytes."""
    return _peak(tile.largest_block, tile, plan)


def _peak(pixels: int, tile: TilePlan, plan: Plan) -> int:
    """Project the peak of a worker whose largest block, with its halo, has so many pixels."""
    layers = max(sum(count for _, count in tile.bands_read(step)) for step in tile.steps)
    layers += len(tile.layers) + len(tile.backscatter)
    more = COPIES_OF_A_READER * (_readers(plan) - 1)
    copies = COPIES_OF_THE_BLOCK + COPIES_AHEAD + more
    if plan.reference.device.startswith("cuda"):
        copies += COPIES_LOCKED
    held = pixels * 2 * layers * copies
    held += _held_by_masks(pixels, tile, plan) + _held_by_medians(pixels, tile, plan)
    if plan.reference.device.startswith("cuda"):
        # Activations are in the memory of the GPU, where the batch size was tried.
        network = BYTES_PER_GPU_CONTEXT
    else:
        batch = plan.setting.batch_size * len(plan.model.bands) * plan.setting.window**2 * 4
        network = batch * ACTIVATIONS
        network += 0 if plan.reference.runtime == "eager" else BYTES_PER_GRAPH
    held += pixels * BYTES_OF_A_SPREAD if plan.setting.spread else 0
    held += _held_by_others(pixels, plan)
    return held + pixels * BYTES_PER_PIXEL + network + BYTES_PER_WORKER


def _held_by_others(pixels: int, plan: Plan) -> int:
    """Project what an ensemble holds besides: weights of the other networks, and the sum."""
    others = plan.model.networks[1:]
    if not others:
        return 0
    files = sum(item.weights.stat().st_size for item in others if item.weights is not None)
    return COPIES_OF_WEIGHTS * files + BYTES_OF_A_SUM * pixels


def _held_by_masks(pixels: int, tile: TilePlan, plan: Plan) -> int:
    """Project what the sources of masks hold: bands only for them, and their own of a block."""
    seen = sum(len(one.bands) for one in masks_of(plan) if one.bands != ("SCL",))
    return pixels * 2 * (len(tile.mask_bands) * COPIES_AHEAD + seen * COPIES_FOR_A_MASK)


def _held_by_medians(pixels: int, tile: TilePlan, plan: Plan) -> int:
    """Project what is held of all acquisitions but one, where each pixel is their median."""
    read = (each for step in tile.steps for each in tile.bands_read(step))
    more = max((len(step.acquisitions) - 1) * bytes_of_acquisition(bands) for step, bands in read)
    return pixels * more * _readers(plan)


def _readers(plan: Plan) -> int:
    """Return how many threads of a worker read blocks."""
    return settings.threads(cluster_of(plan)) - settings.THREADS + 1


def masks_of(plan: Plan) -> tuple[MaskSource, ...]:
    """Return the sources of masks of a plan."""
    return sources(cube_of(plan.workflow).mask)


def fitting_block(plan: Plan, memory: int) -> int | None:
    """Return the largest of `BLOCK_SIZES` whose peak is within `memory` bytes; None if none is."""
    halo = plan.setting.halo
    for size in BLOCK_SIZES:
        if size >= halo and all(_peak_at(size, tile, plan) <= memory for tile in plan.tiles):
            return size
    return None


def _peak_at(size: int, tile: TilePlan, plan: Plan) -> int:
    """Project the peak of a worker with a tile cut into blocks of another size."""
    cut = windows.blocks(tile.tile.geobox.shape, size, plan.setting.halo)
    return _peak(max(map(outer_pixels, cut)), tile, plan)


def fits(plan: Plan) -> bool:
    """Return whether a worker can hold the blocks of a plan; True where its memory is unknown."""
    memory = clusters.worker_memory(cluster_of(plan))
    return memory is None or _most(plan) <= memory * clusters.USABLE_MEMORY


def _most(plan: Plan) -> int:
    """Project the peak of a worker on any tile of a plan, bytes."""
    return max(peak_bytes(tile, plan) for tile in plan.tiles)


def check_memory(plan: Plan, *, is_laid_out: bool) -> None:
    """Refuse a plan whose blocks a worker cannot hold.

    Args:
        plan: of the run.
        is_laid_out: whether a store exists; its block size is fixed.

    Raises:
        UsageError: the projected peak is above a worker's memory; names the block that would fit.
    """
    memory, peak = clusters.worker_memory(cluster_of(plan)), _most(plan)
    if memory is None or peak <= memory * clusters.USABLE_MEMORY:
        return
    edge = max(tile.grid.block for tile in plan.tiles)
    size = fitting_block(plan, int(memory * clusters.USABLE_MEMORY))
    enough = _gigabytes(math.ceil(peak / clusters.USABLE_MEMORY))
    more = f"give a worker {enough} (cluster.memory_per_worker, or fewer cluster.workers)"
    if size is None:
        advice = f"no block size fits; {more}"
    elif is_laid_out:
        advice = (
            f"the block size of this run is fixed: {more}, or start over with fresh=True and "
            f"blocks of {size}"
        )
    else:
        advice = f"set execution.block to {size}, or {more}"
    raise UsageError(
        f"a block of {edge} px needs {_gigabytes(peak)} in a worker, which has "
        f"{_gigabytes(memory, up=False)} and uses {clusters.USABLE_MEMORY:.0%} of it: {advice}"
    )


def _gigabytes(count: int, *, up: bool = True) -> str:
    """Return bytes as dask reads them; round needed memory up, available memory down."""
    hundredths = -(-count // 10**7) if up else count // 10**7
    return f"{hundredths / 100:.2f}GB"
