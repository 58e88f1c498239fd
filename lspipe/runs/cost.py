"""Plan -> what it costs: windows, forward passes, bytes, memory, time; and what to be wary of."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe import catalogs, clusters
from lspipe.inference import windows
from lspipe.runs import worker
from lspipe.errors import UsageError
from lspipe.inference.block import needed_windows, run_block
from lspipe.inference.runtimes import use_threads
from lspipe.runs.plan import BLOCK_SIZES, BYTES_PER_PIXEL, THREADS, outer_pixels
from lspipe.inference.presets import AGREEMENT, AGREEMENT_SOURCE, compare_presets, is_measured_reference
from lspipe.models.slips import other_level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lspipe.clusters import ClusterSpec
    from lspipe.cube import Step
    from lspipe.inference.runtimes import Runtime
    from lspipe.runs.plan import Plan, TilePlan
    from lspipe.inference.presets import Choice
    from lspipe.inference.settings import Setting
    from lspipe.inference.windows import Block

VIEWS = {"d4": 8, "none": 1}
"""Forward passes per window."""


@dataclass(frozen=True)
class PresetCost:
    """What a preset would cost in place of what the workflow asks for."""

    name: str
    is_used: bool
    """Whether this is what the workflow asks for."""
    window: int
    stride: int
    overlap: float
    """Share of a window that the next one covers again, 0..1."""
    tta: str
    blend: str
    windows: int
    forward_passes: int
    seconds: float
    """Of computing, on the workflow's workers, each as fast as this machine."""
    agreement: tuple[float, ...] | None
    """With `paper`, as `presets.AGREEMENT_SOURCE` says; None = not measured."""


@dataclass(frozen=True)
class Estimate:
    """What a plan would cost."""

    scenes: int
    tiles: int
    blocks: int
    windows: int
    forward_passes: int
    """With a screen, at most so many: where it leaves windows out, the pixels decide."""
    bytes_to_read: int
    """Uncompressed pixels of the blocks and their halos; files on disk are about half."""
    peak_bytes_per_worker: int
    memory_per_worker: int | None
    """What a worker has, bytes; None = whoever started it knows."""
    workers: int
    """Worker processes; 1 where whoever started them knows."""
    seconds_per_pass: float
    """Measured on this machine, in batches as planned, with the planned threads."""
    seconds: float
    """Of computing on all workers, each as fast as this machine; reading is not in it."""
    presets: tuple[PresetCost, ...]
    agreement_source: str
    """How the agreement of presets was measured."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def estimate(plan: Plan) -> Estimate:
    """Count what a plan would do; times two batches of the model."""
    cluster = _cluster(plan)
    workers = clusters.worker_count(cluster)
    count, passes = work(plan, plan.setting)
    scenes = {scene.id for tile in plan.tiles for step in tile.steps for scene in step.items}
    pass_seconds = _time_a_pass(plan)
    choices = compare_presets(plan.workflow.inference, plan.model.inference_defaults())
    return Estimate(
        scenes=len(scenes),
        tiles=len(plan.tiles),
        blocks=sum(len(tile.blocks) * len(tile.steps) for tile in plan.tiles),
        windows=count,
        forward_passes=passes,
        bytes_to_read=sum(_bytes_to_read(tile) for tile in plan.tiles),
        peak_bytes_per_worker=max(peak_bytes(tile, plan) for tile in plan.tiles),
        memory_per_worker=clusters.worker_memory(cluster),
        workers=workers,
        seconds_per_pass=pass_seconds,
        seconds=passes * pass_seconds / workers,
        presets=tuple(_preset_cost(plan, choice, pass_seconds / workers) for choice in choices),
        agreement_source=_agreement_source(choices),
    )


def _cluster(plan: Plan) -> ClusterSpec:
    return clusters.sized(plan.workflow.cluster, device=plan.reference.device)


def _agreement_source(choices: list[Choice]) -> str:
    paper = next(choice.setting for choice in choices if choice.name == "paper")
    is_same = is_measured_reference(paper)
    return AGREEMENT_SOURCE + ("" if is_same else "; a hint only: this model's paper did otherwise")


def _preset_cost(plan: Plan, choice: Choice, seconds: float) -> PresetCost:
    """Count what a preset would do; `seconds` is the time of a forward pass."""
    setting = choice.setting
    count, passes = work(plan, setting)
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


def work(plan: Plan, setting: Setting) -> tuple[int, int]:
    """Count windows and forward passes of a plan, were it done at a setting."""
    count = _windows(plan, setting)
    passes = count * VIEWS[setting.tta]
    if setting.screen is not None:
        passes += _windows(plan, setting.first_pass, reach=setting.reach) * VIEWS[setting.tta]
    return count, passes


def _windows(plan: Plan, setting: Setting, *, reach: int = 0) -> int:
    return sum(
        windows_in(tile, block, setting, reach=reach) * len(tile.steps)
        for tile in plan.tiles
        for block in tile.blocks
    )


def windows_in(tile: TilePlan, block: Block, setting: Setting, *, reach: int = 0) -> int:
    """Count the windows of a block that hold a pixel inside the area, in its core or near it."""
    shape = tuple(tile.tile.geobox.shape)
    part = windows.grown(block.core, reach, shape)
    inside = None if tile.area is None else tile.area[part]
    if inside is None or inside.all():
        rows, columns = (
            len(windows.windows_of(span, length, setting.window, setting.stride))
            for span, length in zip(part, shape, strict=True)
        )
        return rows * columns
    return len(needed_windows(inside, part, shape, setting))


def _bytes_to_read(tile: TilePlan) -> int:
    """Blocks with halos, uint16 per band and uint8 for the scene classes, once per scene."""
    pixels = sum(outer_pixels(block) for block in tile.blocks)
    full = int(np.prod(tile.tile.geobox.shape))
    scenes = sum(len(step.items) for step in tile.steps)
    return min(pixels, full) * (2 * len(tile.bands) + 1) * scenes


# --- memory -------------------------------------------------------------------------------------

BYTES_PER_WORKER = 600_000_000
"""Python, torch, GDAL's cache and one open model in a worker, bytes (measured: 480 MB idle)."""

COPIES_OF_THE_BLOCK = 5
"""How often the block that is computed holds its pixels: in pieces, joined with their halo, and as
what is shown of it."""

COPIES_AHEAD = 4
"""How often the next block, which is read meanwhile, holds its own: raw, corrected, stacked, and
edges for its neighbours.

Only the sum of both was measured: 9 stays above the 1.86 GB per worker of blocks of 3660 px and 5
bands, two workers of one thread, a whole tile (it projects 2.4 GB with all terms)."""

ACTIVATIONS = 20
"""How often a network holds the floats of a batch, at its widest layers (U-Net 64..1024 of 10
bands: 64 channels in and out of a convolution are 13 times the input)."""

BYTES_PER_GPU_CONTEXT = 2_000_000_000
"""CUDA's libraries in a process that uses a GPU, bytes of the machine (guessed, not measured)."""


def peak_bytes(tile: TilePlan, plan: Plan) -> int:
    """Project the peak of a worker on a tile: its own, the block, the next one, the network."""
    return _peak(tile.largest_block, tile, plan)


def _peak(pixels: int, tile: TilePlan, plan: Plan) -> int:
    """Project the peak of a worker whose largest haloed block has so many pixels, bytes."""
    held = pixels * 2 * len(tile.bands) * (COPIES_OF_THE_BLOCK + COPIES_AHEAD)
    if plan.reference.device.startswith("cuda"):
        # Its activations lie in the memory of the GPU, where the batch was tried.
        network = BYTES_PER_GPU_CONTEXT
    else:
        batch = plan.setting.batch_size * len(plan.model.bands) * plan.setting.window**2 * 4
        network = batch * ACTIVATIONS
    return held + pixels * BYTES_PER_PIXEL + network + BYTES_PER_WORKER


def fitting_block(plan: Plan, memory: int) -> int | None:
    """Return the largest of `BLOCK_SIZES` whose peak is within `memory` bytes; None if none is."""
    halo = plan.setting.halo
    for size in BLOCK_SIZES:
        if size >= halo and all(_peak_at(size, tile, plan) <= memory for tile in plan.tiles):
            return size
    return None


def _peak_at(size: int, tile: TilePlan, plan: Plan) -> int:
    """Project the peak of a worker were a tile cut into blocks of another size."""
    cut = windows.blocks(tile.tile.geobox.shape, size, plan.setting.halo)
    return _peak(max(map(outer_pixels, cut)), tile, plan)


def check_memory(plan: Plan, *, is_laid_out: bool) -> None:
    """Refuse a plan whose blocks a worker cannot hold.

    Args:
        plan: what would be done.
        is_laid_out: whether a store exists, whose blocks cannot be cut anew.

    Raises:
        UsageError: the projected peak is above a worker's memory; says which block would fit.
    """
    memory = clusters.worker_memory(_cluster(plan))
    peak = max(peak_bytes(tile, plan) for tile in plan.tiles)
    if memory is None or peak <= memory * clusters.USABLE_MEMORY:
        return
    edge = max(tile.grid.block for tile in plan.tiles)
    fits = fitting_block(plan, int(memory * clusters.USABLE_MEMORY))
    enough = _gigabytes(math.ceil(peak / clusters.USABLE_MEMORY))
    more = f"give a worker {enough} (cluster.memory_per_worker, or fewer cluster.workers)"
    if fits is None:
        advice = f"no block size fits; {more}"
    elif is_laid_out:
        advice = f"this run is laid out, so {more}, or start over with --fresh and blocks of {fits}"
    else:
        advice = f"set execution.block to {fits}, or {more}"
    raise UsageError(
        f"a block of {edge} px needs {_gigabytes(peak)} in a worker, which has "
        f"{_gigabytes(memory, up=False)} and uses {clusters.USABLE_MEMORY:.0%} of it: {advice}"
    )


def _gigabytes(count: int, *, up: bool = True) -> str:
    """Return bytes as dask reads them; needs rounded up, and what is there down."""
    hundredths = -(-count // 10**7) if up else count // 10**7
    return f"{hundredths / 100:.2f}GB"


# --- time ---------------------------------------------------------------------------------------

GPU_BATCHES = 16
"""Batches that are timed on a GPU."""


def _time_a_pass(plan: Plan) -> float:
    """Time a forward pass as a worker of the plan would do it, after one batch to warm up."""
    earlier = use_threads(THREADS)
    try:
        runtime = plan.reference.open()
        seconds_per_pass(runtime, plan.setting, len(plan.model.bands))
        return seconds_per_pass(runtime, plan.setting, len(plan.model.bands))
    finally:
        use_threads(earlier)


def seconds_per_pass(runtime: Runtime, setting: Setting, channels: int) -> float:
    """Time one batch on this machine: seconds per forward pass.

    With all that `run_block` does around the network. On a CPU for one batch of windows that do not
    overlap; on a GPU, where bringing a block there takes longer than a batch, for several of
    windows that do.
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


# --- what to be wary of -------------------------------------------------------------------------

SEASON_DAYS = 45
"""Dates further apart in the year differ in leaves, sun and snow (SCIENCE 8.2)."""


def warnings(plan: Plan) -> list[str]:
    """Say what may go wrong, and what makes the two dates of a tile hard to compare."""
    swapped = "the before range is later than the after range: new and vanished change places"
    notes = [swapped] if plan.workflow.dates.is_swapped else []
    notes += _setting_warnings(plan)
    notes += _level_warnings(plan)
    return notes + [text for tile in plan.tiles for text in _tile_warnings(tile)]


def _setting_warnings(plan: Plan) -> Iterator[str]:
    setting, cluster = plan.setting, _cluster(plan)
    if setting.screen is not None and setting.first_pass.stride < 2 * setting.stride:
        yield (
            f"screen: its first pass has a stride of {setting.first_pass.stride} px, the setting "
            f"one of {setting.stride}; it can save little"
        )
    on_gpu = plan.reference.device.startswith("cuda")
    if on_gpu and cluster.kind == "local" and clusters.worker_count(cluster) > 1:
        yield (
            f"{clusters.worker_count(cluster)} workers share a GPU on which the batch size was "
            "tried for one: it may run out of memory; set cluster.workers to 1"
        )


def _level_warnings(plan: Plan) -> Iterator[str]:
    """Name the scenes of another level than that which the model's recipe is of."""
    scenes = {scene.id: scene for tile in plan.tiles for step in tile.steps for scene in step.items}
    others: dict[str, list[str]] = {}
    for name, scene in scenes.items():
        if text := other_level(plan.model, catalogs.level(scene) or "none"):
            others.setdefault(text, []).append(name)
    for text, names in others.items():
        yield f"{text} ({len(names)} of {len(scenes)} scenes, such as {names[0]})"


def _tile_warnings(tile: TilePlan) -> Iterator[str]:
    before = [step for step in tile.steps if step.role == "before"]
    after = [step for step in tile.steps if step.role == "after"]
    if not before or not after:
        return
    name = tile.tile.name
    apart = max(_days_apart(a, b) for a in before for b in after)
    if apart > SEASON_DAYS:
        yield (
            f"{name}: the dates are {apart} days apart in the year; expect changes of leaves, "
            "shadow and snow beside landslides"
        )
    orbits = {orbit for step in (*before, *after) for orbit in _orbits(step)}
    if len(orbits) > 1:
        yield (
            f"{name}: relative orbits {', '.join(map(str, sorted(orbits)))} differ; steep slopes "
            "shift by up to a pixel"
        )
    families = {
        version >= (4, 0)
        for step in (*before, *after)
        for item in step.items
        if (version := catalogs.baseline(item))
    }
    if len(families) > 1:
        yield (
            f"{name}: processing baselines before and after 04.00 are mixed; the offset is "
            "corrected per item, registration may differ by a pixel"
        )


def _days_apart(a: Step, b: Step) -> int:
    days = abs(a.time.timetuple().tm_yday - b.time.timetuple().tm_yday)
    return min(days, 365 - days)


def _orbits(step: Step) -> Iterator[int]:
    for item in step.items:
        orbit = item.properties.get("sat:relative_orbit")
        if orbit is not None:
            yield int(orbit)
