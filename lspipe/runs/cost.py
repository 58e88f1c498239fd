"""Plan -> what it costs: windows, forward passes, bytes to read, time."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lspipe import clusters
from lspipe.cube.masking import windows_side
from lspipe.inference import windows
from lspipe.inference.block import run_block
from lspipe.inference.presets import (
    AGREEMENT,
    AGREEMENT_SOURCE,
    compare_presets,
    is_measured_reference,
)
from lspipe.inference.reference import ModelReference
from lspipe.inference.runtimes import use_threads
from lspipe.outputs import layers
from lspipe.runs.memory import cluster_of, masks_of, peak_bytes
from lspipe.runs.plan import THREADS
from lspipe.schema import grown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lspipe.inference.presets import Choice
    from lspipe.inference.runtimes import Runtime
    from lspipe.inference.settings import Setting
    from lspipe.inference.windows import Block
    from lspipe.preprocess.masks import MaskSource
    from lspipe.runs.plan import Plan, TilePlan
    from lspipe.search.on_grid import RoughMask

VIEWS = {"d4": 8, "none": 1}
"""Forward passes per window."""


@dataclass(frozen=True)
class PresetCost:
    """The cost of a workflow with a preset in place of its own settings."""

    name: str
    is_used: bool
    """Whether the workflow asks for this."""
    window: int
    stride: int
    overlap: float
    """Share of a window that the next one covers again, 0..1."""
    tta: str
    blend: str
    windows: int
    forward_passes: int
    seconds: float
    """Time to compute on the workers of the workflow, each as fast as this machine."""
    agreement: tuple[float, ...] | None
    """Agreement with `paper`, as in `presets.AGREEMENT_SOURCE`; None = not measured."""


@dataclass(frozen=True)
class Estimate:
    """The cost of a plan."""

    scenes: int
    tiles: int
    blocks: int
    windows: int
    forward_passes: int
    """Of all networks of an ensemble. With a screen an upper limit: the pixels decide which windows
    it leaves out."""
    bytes_to_read: int
    """Uncompressed pixels of the blocks and their halos; files on disk are about half."""
    peak_bytes_per_worker: int
    memory_per_worker: int | None
    """Memory of a worker, bytes; None = unknown, in an external cluster."""
    workers: int
    """Worker processes; 1 for an external cluster whose size is unknown."""
    seconds_per_pass: float
    """Measured on this machine, in batches as planned, with the planned threads; of an ensemble the
    mean of its networks."""
    seconds: float
    """Time to compute on all workers, each as fast as this machine; without reading."""
    presets: tuple[PresetCost, ...]
    seconds_to_write: float
    """Time to write the layers on one core; 0 where the workflow wants none."""
    bytes_to_write: int
    """Of the layers; 0 likewise."""
    agreement_source: str
    """How the agreement of presets was measured."""
    mask_windows: int = 0
    """Windows of the sources of masks that have them, on all scenes; about, by the pixels."""
    seconds_to_mask: float = 0.0
    """Time for these on all workers, by one window measured on this machine."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def estimate(plan: Plan) -> Estimate:
    """Count the work of a plan; this measures the time of two batches of the model."""
    cluster = cluster_of(plan)
    workers = clusters.worker_count(cluster)
    choices = compare_presets(plan.workflow.inference, plan.model.inference_defaults())
    (count, passes), *others = work(plan, plan.setting, *(choice.setting for choice in choices))
    scenes = {scene.id for tile in plan.tiles for step in tile.steps for scene in step.items}
    pass_seconds = timed_pass(plan)
    pixels = _layer_pixels(plan)
    mask_windows, mask_seconds = _masking(plan)
    return Estimate(
        scenes=len(scenes),
        tiles=len(plan.tiles),
        blocks=sum(len(tile.blocks) * len(tile.steps) for tile in plan.tiles),
        windows=count,
        forward_passes=passes,
        bytes_to_read=sum(tile.bytes_to_read for tile in plan.tiles),
        peak_bytes_per_worker=max(peak_bytes(tile, plan) for tile in plan.tiles),
        memory_per_worker=clusters.worker_memory(cluster),
        workers=workers,
        seconds_per_pass=pass_seconds,
        seconds=passes * pass_seconds / workers,
        presets=tuple(
            _preset_cost(choice, counted, pass_seconds / workers)
            for choice, counted in zip(choices, others, strict=True)
        ),
        seconds_to_write=pixels / 1e6 * layers.SECONDS_PER_MEGAPIXEL,
        bytes_to_write=int(pixels * layers.BYTES_PER_PIXEL),
        agreement_source=_agreement_source(choices),
        mask_windows=mask_windows,
        seconds_to_mask=mask_seconds / workers,
    )


def _agreement_source(choices: list[Choice]) -> str:
    paper = next(choice.setting for choice in choices if choice.name == "paper")
    is_same = is_measured_reference(paper)
    return AGREEMENT_SOURCE + ("" if is_same else "; a hint only: this model's paper did otherwise")


def _preset_cost(choice: Choice, counted: tuple[int, int], seconds: float) -> PresetCost:
    """Return what a preset costs: windows and passes, each of which takes so many seconds."""
    setting, (count, passes) = choice.setting, counted
    return PresetCost(
        name=choice.name,
        is_used=choice.is_used,
        window=setting.window,
        stride=setting.stride,
        overlap=1 - setting.stride / setting.window,
        tta=setting.tta,
        blend=setting.blend,
        windows=count,
        forward_passes=passes,
        seconds=passes * seconds,
        agreement=AGREEMENT.get(choice.name),
    )


# --- windows and bytes --------------------------------------------------------------------------


def work(plan: Plan, *settings: Setting) -> list[tuple[int, int]]:
    """Count windows and forward passes of a plan with each of some settings.

    Each network of an ensemble makes passes of its own.

    Where a wide area covers a tile in part, windows are counted on a rough mask
    (`on_grid.RoughMask`): about one percent too many.
    """
    counts: Counter[_Pass] = Counter()
    passes = {_Pass.of(each) for each in settings} | {
        _Pass.of(each.first_pass, each.reach) for each in settings if each.screen is not None
    }
    # Tile by tile, so that the mask of one is held at a time.
    for tile in plan.tiles:
        mask = None if tile.area is None else tile.area.known().rough()
        for one in passes:
            per_date = sum(windows_in(tile, block, one, mask) for block in tile.blocks)
            counts[one] += per_date * len(tile.judged)
    networks = len(plan.model.networks)
    summed = (_summed(setting, counts) for setting in settings)
    return [(count, passes * networks) for count, passes in summed]


def _summed(setting: Setting, counts: Mapping[_Pass, int]) -> tuple[int, int]:
    """Return windows and forward passes of a setting; those of a screen are passes only."""
    count = counts[_Pass.of(setting)]
    is_screened = setting.screen is not None
    first = counts[_Pass.of(setting.first_pass, setting.reach)] if is_screened else 0
    return count, (count + first) * VIEWS[setting.tta]


class _Pass(NamedTuple):
    """What decides how many windows a block has."""

    window: int
    stride: int
    reach: int
    """Pixels around the core whose windows count too."""

    @classmethod
    def of(cls, setting: Setting, reach: int = 0) -> _Pass:
        return cls(setting.window, setting.stride, reach)


def windows_in(tile: TilePlan, block: Block, one: _Pass, mask: RoughMask | None) -> int:
    """Count the windows of a block with a pixel inside the area, in the core or within reach."""
    shape = tuple(tile.tile.geobox.shape)
    part = grown(block.core, one.reach, shape)
    starts = [
        windows.windows_of(span, length, one.window, one.stride)
        for span, length in zip(part, shape, strict=True)
    ]
    if mask is None:
        return len(starts[0]) * len(starts[1])
    rows, columns = (
        (np.maximum(first, span.start), np.minimum(first + one.window, span.stop))
        for first, span in zip(starts, part, strict=True)
    )
    return int(np.count_nonzero(mask.touched(rows, columns)))


def _masking(plan: Plan) -> tuple[int, float]:
    """Return how many windows masks need, and the seconds of one thread for all of them."""
    count, seconds = 0, 0.0
    for source in masks_of(plan):
        if source.window is None:
            continue
        answered = windows_side(source) ** 2
        each = sum(
            math.ceil(tile.pixels_to_read / answered) * len(step.acquisitions)
            for tile in plan.tiles
            for step in tile.steps
        )
        count, seconds = count + each, seconds + each * _timed_window(source)
    return count, seconds


def _timed_window(source: MaskSource) -> float:
    """Measure one window of a source, after one that opens it."""
    edge = source.window or 0
    pixels = np.full((len(source.bands), edge, edge), 0.1, np.float32)
    source.bits(pixels, source.levels[-1])
    began = time.perf_counter()
    source.bits(pixels, source.levels[-1])
    return time.perf_counter() - began


def _layer_pixels(plan: Plan) -> int:
    """Count the pixels of the layers of each date: of a tile the part that holds all its blocks."""
    if "cog" not in plan.workflow.output.write:
        return 0
    return sum(
        len(tile.steps)
        * _extent([block.core[0] for block in tile.blocks])
        * _extent([block.core[1] for block in tile.blocks])
        for tile in plan.tiles
        if tile.blocks
    )


def _extent(spans: Sequence[slice]) -> int:
    return int(max(span.stop for span in spans) - min(span.start for span in spans))


# --- time ---------------------------------------------------------------------------------------

GPU_BATCHES = 16
"""Batches that are timed on a GPU."""


def timed_pass(plan: Plan) -> float:
    """Measure a forward pass as in a worker of the plan, after one batch to warm up."""
    earlier = use_threads(THREADS)
    try:
        reference = plan.reference
        if not clusters.is_here(plan.workflow.cluster):
            # Of this machine, which may have no GPU where the workers have one.
            reference = ModelReference.of(
                plan.model, device="auto", precision="auto", runtime="auto"
            )
        channels, seconds = len(plan.model.bands), []
        for runtime in reference.open_each():
            seconds_per_pass(runtime, plan.setting, channels)
            seconds.append(seconds_per_pass(runtime, plan.setting, channels))
        return fmean(seconds)
    finally:
        use_threads(earlier)


def seconds_per_pass(runtime: Runtime, setting: Setting, channels: int) -> float:
    """Measure the seconds per forward pass on this machine.

    The time includes all that `run_block` does around the network. A CPU is measured with one batch
    of windows that do not overlap; a GPU with several batches of windows that do, as copying a
    block to the GPU takes longer than a batch.
    """
    size, count = setting.window, setting.batch_size
    rows, stride = (GPU_BATCHES, max(1, size // 16)) if runtime.device.type == "cuda" else (1, size)
    setting = replace(setting, tta="none", stride=stride, screen=None)
    shape = (size + stride * (rows - 1), size + stride * (count - 1))
    pixels = np.full((channels, *shape), 1000, np.int16)
    began = time.perf_counter()
    run_block(
        pixels,
        origin=(0, 0),
        tile_shape=shape,
        core=(slice(0, shape[0]), slice(0, shape[1])),
        runtime=runtime,
        setting=setting,
        tile_range=[(0.0, 1.0)] * channels,
    )
    return (time.perf_counter() - began) / (rows * count)
