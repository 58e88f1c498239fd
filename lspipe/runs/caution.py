"""A plan -> what to be wary of, in sentences: seasons, orbits, baselines, levels, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe import catalogs, clusters
from lspipe.models.recipes import other_level
from lspipe.runs.memory import cluster_of
from lspipe.runs.model import meaning_of_swapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lspipe.cube.choice import Step
    from lspipe.runs.plan import Plan, TilePlan

SEASON_DAYS = 45
"""Dates further apart in the year differ in leaves, sun and snow (docs/method.md, Dates)."""


def warnings(plan: Plan) -> list[str]:
    """Return what may go wrong, and what makes the two dates of a tile hard to compare."""
    swapped = f"the before range is later than the after range: {meaning_of_swapped(plan.model)}"
    notes = [*plan.notes, *([swapped] if plan.workflow.dates.is_swapped else [])]
    notes += _setting_warnings(plan)
    notes += _level_warnings(plan)
    return notes + [text for tile in plan.tiles for text in _tile_warnings(tile)]


def _setting_warnings(plan: Plan) -> Iterator[str]:
    setting, cluster = plan.setting, cluster_of(plan)
    if setting.screen is not None and setting.first_pass.stride < 2 * setting.stride:
        yield (
            f"screen: its first pass has a stride of {setting.first_pass.stride} px, the setting "
            f"one of {setting.stride}; it can save little"
        )
    shared = clusters.workers_per_gpu(cluster)
    if plan.reference.device.startswith("cuda") and shared > 1:
        yield (
            f"{shared} workers share a GPU on which the batch size was tried for one: it may run "
            f"out of memory; set cluster.workers to {clusters.worker_count(cluster) // shared}"
        )


def _level_warnings(plan: Plan) -> Iterator[str]:
    """Name the scenes of another level than that which the model's recipe is of."""
    scenes = {
        (tile.tile.name, scene.id): scene
        for tile in plan.tiles
        for step in tile.steps
        for scene in step.items
    }
    others: dict[str, list[str]] = {}
    for scene in scenes.values():
        if text := other_level(plan.model, catalogs.level(scene) or "none"):
            others.setdefault(text, []).append(scene.id)
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
        digits = str(item.properties.get("sat:relative_orbit")).removesuffix(".0")
        if digits.isdecimal():
            yield int(digits)
