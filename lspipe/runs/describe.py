"""A plan, or how far a run is -> plain facts, for people and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lspipe.cube import dem
from lspipe.runs.memory import masks_of
from lspipe.runs.plan import THREADS
from lspipe.runs.plan import radar as radar_of_plan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lspipe.cube.terrain import Terrain
    from lspipe.preprocess.masks import MaskSource
    from lspipe.runs.plan import Plan, TilePlan
    from lspipe.search.acquisitions import Acquisition


def computed_with(plan: Plan) -> dict[str, Any]:
    """Return device, precision, runtime, batch size and threads, as a line and as fields.

    Also why the runtime was chosen; "" where it was asked for.
    """
    reference, size = plan.reference, plan.setting.batch_size
    return {
        "runs_as": runs_as(reference.device, reference.precision, reference.runtime, size),
        "device": reference.device,
        "precision": reference.precision,
        "runtime": reference.runtime,
        "runtime_why": plan.runtime_why,
        "batch_size": size,
        "threads": THREADS,
    }


def runs_as(device: str, precision: str, runtime: str, batch_size: int | None) -> str:
    """Return a line with device, precision and runtime; batch size None = the plan finds it."""
    batches = "batches as large as fit" if batch_size is None else f"batches of {batch_size}"
    threads = "1 thread" if THREADS == 1 else f"{THREADS} threads"
    return f"{device} {precision} {runtime}, {batches}, {threads}"


def describe_plan(
    plan: Plan, *, run: Path, left: str, counts: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """Return facts of a plan as plain values.

    Args:
        plan: of a workflow.
        run: its run directory.
        left: the work left to do there, in words.
        counts: per tile the blocks that are done, and those that failed last time; see
            `Prepared.counts`.
    """
    return {
        "name": plan.workflow.name,
        "run": str(run),
        "left": left,
        "model": f"{_how_many(plan)}{plan.model.title} ({', '.join(plan.model.bands)})",
        "area": {"asked": plan.area.source, "km2": round(plan.area.km2, 3)},
        "excluded": list(plan.workflow.search.exclude),
        "terrain": None if plan.terrain is None else _describe_terrain(plan, plan.terrain),
        "dates": _describe_dates(plan),
        "lists_only_new": plan.workflow.change.lists_only_new,
        "inference": _describe_inference(plan),
        "computed_with": computed_with(plan),
        "masks": [_describe_mask(one) for one in masks_of(plan)],
        "fingerprints": {
            "detection": plan.detection_fingerprint,
            "change": plan.change_fingerprint,
        },
        "tiles": [_describe_tile(tile, *counts[tile.tile.name]) for tile in plan.tiles],
    }


def _how_many(plan: Plan) -> str:
    """Return that several models are averaged; "" for one."""
    return f"the mean of {len(plan.model.members)}: " if plan.model.members else ""


def _describe_mask(source: MaskSource) -> dict[str, Any]:
    """Return a source of masks: its name, the bands that it reads, and what decides its answers."""
    return {"name": source.name, "bands": list(source.bands), **source.facts()}


def _describe_terrain(plan: Plan, terrain: Terrain) -> dict[str, Any]:
    """Return where heights come from, and what they cost and decide."""
    return dem.said(terrain) | {
        "bytes_to_read": dem.bytes_on(terrain, [tile.tile.geobox for tile in plan.tiles]),
        "channels": list(plan.tiles[0].layers),
        "min_slope_deg": plan.workflow.terrain.min_slope_deg,
    }


def _describe_dates(plan: Plan) -> dict[str, Any]:
    """Return the days of each date, also of those that an event stands for."""
    dates = plan.workflow.dates
    return {
        "event": None if dates.event is None else dates.event.isoformat(),
        **{
            role: [days.start.isoformat(), days.end.isoformat()]
            for role, days in dates.ranges().items()
        },
    }


def _describe_inference(plan: Plan) -> dict[str, Any]:
    setting = plan.setting
    return {
        "preset": plan.workflow.inference.preset,
        "window": setting.window,
        "stride": setting.stride,
        "overlap": round(1 - setting.stride / setting.window, 4),
        "tta": setting.tta,
        "tta_merge": setting.tta_merge,
        "tta_order": setting.tta_order,
        "blend": setting.blend,
        "screen": setting.screen,
        "sources": dict(plan.sources),
    }


def _describe_tile(tile: TilePlan, done: int, redo: int) -> dict[str, Any]:
    blocks = len(tile.blocks) * len(tile.steps)
    return {
        "tile": tile.tile.name,
        "crs": f"EPSG:{tile.tile.geobox.crs.epsg}",
        "pixels": list(tile.tile.geobox.shape),
        "block": tile.grid.block,
        "blocks": blocks,
        "new": blocks - done - redo,
        "done": done,
        "redo": redo,
        "steps": [
            {
                "role": step.role,
                "time": step.time.isoformat(),
                "items": [item.id for item in step.items],
                "scenes": [_describe_scene(tile, step.role, one) for one in step.acquisitions],
            }
            for step in tile.steps
        ],
        "radar": radar_of_plan.said(tile),
        "candidates": [dict(candidate) for candidate in tile.candidates],
    }


def _describe_scene(tile: TilePlan, role: str, scene: Acquisition) -> dict[str, Any]:
    """Return a chosen acquisition with its cloud: over the area if that was read, else as told."""
    names = [item.id for item in scene.items]
    shares = [
        candidate["masked_share"]
        for candidate in tile.candidates
        if candidate["role"] == role and candidate["items"] == names
    ]
    told = [item.properties.get("eo:cloud_cover") for item in scene.items]
    return {
        "time": scene.time.isoformat(),
        "items": names,
        "masked_share": shares[0] if shares else None,
        "cloud_cover": told[0] if len(told) == 1 and isinstance(told[0], int | float) else None,
    }
