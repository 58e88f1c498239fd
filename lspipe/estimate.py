"""Plan -> what it costs: windows, forward passes, bytes, memory, time; and what to be wary of."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe import catalogs, worker
from lspipe.inference import needed_windows, run_block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lspipe.cube import Step
    from lspipe.plan import Plan, TilePlan
    from lspipe.presets import Setting
    from lspipe.windows import Block

VIEWS = {"d4": 8, "none": 1}
"""Forward passes per window."""

BYTES_PER_WORKER = 600_000_000
"""Python, torch, GDAL's cache and one open model in a worker, bytes (measured: 480 MB idle)."""

COPIES = 9
"""How often a worker holds a block's pixels: raw, corrected, stacked, haloed, shown, and part of
the next block (measured: 1.86 GB at blocks of 3660 px and 5 bands, two workers, a whole tile)."""


@dataclass(frozen=True)
class Estimate:
    """What a plan would cost."""

    scenes: int
    tiles: int
    blocks: int
    windows: int
    forward_passes: int
    bytes_to_read: int
    """Uncompressed pixels of the blocks and their halos; files on disk are about half."""
    peak_bytes_per_worker: int
    seconds_per_pass: float
    """Measured on this machine, one window, one thread."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def estimate(plan: Plan) -> Estimate:
    """Count what a plan would do; times one batch of the model."""
    count = sum(
        windows_in(tile, block, plan.setting) * len(tile.steps)
        for tile in plan.tiles
        for block in tile.blocks
    )
    scenes = {scene.id for tile in plan.tiles for step in tile.steps for scene in step.items}
    return Estimate(
        scenes=len(scenes),
        tiles=len(plan.tiles),
        blocks=sum(len(tile.blocks) * len(tile.steps) for tile in plan.tiles),
        windows=count,
        forward_passes=count * VIEWS[plan.setting.tta],
        bytes_to_read=sum(_bytes_to_read(tile) for tile in plan.tiles),
        peak_bytes_per_worker=max(peak_bytes(tile, plan) for tile in plan.tiles),
        seconds_per_pass=_time_a_pass(plan),
    )


def windows_in(tile: TilePlan, block: Block, setting: Setting) -> int:
    """Count the windows of a block that hold a pixel of its core inside the area."""
    shape = tuple(tile.tile.geobox.shape)
    whole = tuple(core.stop - core.start for core in block.core)
    inside = np.ones(whole, bool) if tile.area is None else tile.area[block.core]
    return len(needed_windows(inside, block.core, shape, setting))


def _outer_pixels(block: Block) -> int:
    rows, columns = block.outer
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _bytes_to_read(tile: TilePlan) -> int:
    """Blocks with halos, uint16 per band and uint8 for the scene classes, once per scene."""
    pixels = sum(_outer_pixels(block) for block in tile.blocks)
    full = int(np.prod(tile.tile.geobox.shape))
    scenes = sum(len(step.items) for step in tile.steps)
    return min(pixels, full) * (2 * len(tile.bands) + 1) * scenes


def peak_bytes(tile: TilePlan, plan: Plan) -> int:
    """Project the peak of a worker: the haloed block, its neighbours' edges, sums and maxima."""
    block = max(map(_outer_pixels, tile.blocks), default=0)
    pixels = block * 2 * len(tile.bands)
    held = COPIES * pixels
    sums = block * (4 + 4 + 4 + 4)  # int32 sum, running maximum, result and mask of one view
    batch = plan.setting.batch_size * len(plan.model.bands) * plan.setting.window**2 * 4 * 20
    return held + sums + batch + BYTES_PER_WORKER


def _time_a_pass(plan: Plan) -> float:
    """Time one window on this machine, after one batch to warm up, seconds per forward pass."""
    runtime = worker.load(plan.reference)
    setting = replace(plan.setting, tta="none", stride=plan.setting.window)
    shape = (setting.window, setting.window * setting.batch_size)
    pixels = np.full((len(plan.model.bands), *shape), 1000, np.int16)
    for _ in range(2):
        began = time.perf_counter()
        run_block(
            pixels,
            origin=(0, 0),
            tile_shape=shape,
            core=(slice(0, shape[0]), slice(0, shape[1])),
            runtime=runtime,
            setting=setting,
            tile_range=[(0.0, 1.0)] * len(plan.model.bands),
        )
        elapsed = time.perf_counter() - began
    return elapsed / setting.batch_size


# --- what to be wary of -------------------------------------------------------------------------

SEASON_DAYS = 45
"""Dates further apart in the year differ in leaves, sun and snow (SCIENCE 8.2)."""


def warnings(plan: Plan) -> list[str]:
    """Say what makes the two dates of a tile hard to compare."""
    swapped = "the before range is later than the after range: new and vanished change places"
    notes = [swapped] if plan.workflow.dates.is_swapped else []
    return notes + [text for tile in plan.tiles for text in _tile_warnings(tile)]


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
