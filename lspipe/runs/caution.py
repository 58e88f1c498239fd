"""A plan -> what to be wary of, in sentences.

Seasons, orbits, baselines, low sun, snow, levels, settings, and archives that cost money or time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe import catalogs, clusters
from lspipe.models.recipes import other_level
from lspipe.runs.memory import cluster_of
from lspipe.runs.model import meaning_of_swapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pystac

    from lspipe.cube.choice import Step
    from lspipe.runs.plan import Plan, TilePlan

SEASON_DAYS = 45
"""Dates further apart in the year differ in leaves, sun and snow (docs/method.md, Dates)."""

LOW_SUN = 30.0
"""Degrees above the horizon: on slopes steeper than that, turned away from it, the ground has no
direct light (docs/method.md, Dates)."""

SUN_APART = 15.0
"""Degrees between the sun of two dates from which shadows of slopes differ visibly: the shadow of
100 m of relief is 173 m long at 30 degrees and 100 m at 45."""

SNOWY = 0.2
"""Share of a scene that is snow, from which snow is named."""

FILES_OF_PIXELS = 0.5
"""Bytes in files per byte of pixels (docs/performance.md, Bytes to read)."""

DOLLARS_PER_GB = 0.09
"""What Amazon takes for data that leave its network; in the region of the bucket it is nothing."""


def warnings(plan: Plan) -> list[str]:
    """Return what may go wrong, and what makes the two dates of a tile hard to compare."""
    swapped = f"the before range is later than the after range: {meaning_of_swapped(plan.model)}"
    notes = [*plan.notes, *([swapped] if plan.workflow.dates.is_swapped else [])]
    notes += _setting_warnings(plan)
    notes += _level_warnings(plan)
    notes += _archive_warnings(plan)
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


def _archive_warnings(plan: Plan) -> Iterator[str]:
    """Name the archives whose reader pays, or whose files are slow to read."""
    payers: dict[str, float] = {}
    slow = dict[str, int]()
    for tile in plan.tiles:
        scenes = [scene for step in tile.steps for scene in step.items]
        for scene in scenes:
            catalog, hrefs = catalogs.catalog_of(scene), _hrefs(tile, scene)
            if any(href.lower().endswith(".jp2") for href in hrefs):
                slow[catalog.name] = slow.get(catalog.name, 0) + 1
            bucket = next((b for b in catalog.payers if any(h.startswith(b) for h in hrefs)), None)
            if bucket is not None:
                share = tile.bytes_to_read / len(scenes)
                payers[bucket] = payers.get(bucket, 0.0) + share * FILES_OF_PIXELS / 1e9
    for bucket, gigabytes in payers.items():
        yield (
            f"{bucket} is paid by its reader: about {gigabytes:.1f} GB, "
            f"{gigabytes * DOLLARS_PER_GB:.2f} USD outside of its region; it needs an account at "
            "Amazon, and AWS_REQUEST_PAYER=requester in the environment of every worker"
        )
    for name, count in slow.items():
        keys = ", and need its keys (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        yield (
            f"{name}: {count} of the scenes are JPEG 2000, which takes more time to read than "
            f"cloud-optimised GeoTIFF{keys if name == 'cdse' else ''}"
        )


def _hrefs(tile: TilePlan, scene: pystac.Item) -> list[str]:
    keys = catalogs.band_assets(scene)
    wanted = (*tile.bands, *tile.mask_bands, "SCL")
    return [scene.assets[keys[band]].href for band in wanted if band in keys]


def _tile_warnings(tile: TilePlan) -> Iterator[str]:
    yield from _light_warnings(tile)
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


def _light_warnings(tile: TilePlan) -> Iterator[str]:
    """Name low sun, snow, and dates whose sun stood at another height."""
    name = tile.tile.name
    suns: dict[str, float] = {}
    for step in tile.steps:
        known = [sun for item in step.items if (sun := catalogs.sun_elevation(item)) is not None]
        if known:
            suns[step.role] = min([*known, suns.get(step.role, 90.0)])
        snow = max((catalogs.snow_share(item) or 0.0 for item in step.items), default=0.0)
        if snow >= SNOWY:
            yield (
                f"{name} {step.role}: {snow:.0%} of the scene of {step.time:%Y-%m-%d} is snow, "
                "which hides the ground or looks like bare ground where it melts"
            )
    for role, sun in suns.items():
        if sun < LOW_SUN:
            yield (
                f"{name} {role}: the sun is {sun:.0f} degrees high; steep slopes turned away from "
                "it lie in shadow, and may look changed"
            )
    if len(suns) > 1 and abs(suns["before"] - suns["after"]) > SUN_APART:
        yield (
            f"{name}: the sun is {suns['before']:.0f} and {suns['after']:.0f} degrees high on the "
            "two dates; shadows of slopes differ"
        )


def _days_apart(a: Step, b: Step) -> int:
    days = abs(a.time.timetuple().tm_yday - b.time.timetuple().tm_yday)
    return min(days, 365 - days)


def _orbits(step: Step) -> Iterator[int]:
    for item in step.items:
        digits = str(item.properties.get("sat:relative_orbit")).removesuffix(".0")
        if digits.isdecimal():
            yield int(digits)
