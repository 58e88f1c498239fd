"""The decisions of a plan as plain JSON, for the fingerprints and for `run.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lspipe.change.flag_layers import digests
from lspipe.change.flag_spec import FlagsSpec
from lspipe.cube.radar import Radar
from lspipe.cube.surface import HILLSIDE_M
from lspipe.errors import without_query
from lspipe.preprocess.masks import sources
from lspipe.runs.model import cube_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.cube.choice import Step
    from lspipe.cube.terrain import Terrain
    from lspipe.inference.reference import ModelReference
    from lspipe.inference.settings import Setting
    from lspipe.models import ModelItem
    from lspipe.runs.plan.nouns import TilePlan
    from lspipe.search.areas import Area
    from lspipe.workflow import Workflow

THREADS = 1
"""torch threads per worker: workers fill the cores, and idle threads would keep them busy
(docs/performance.md, Workers and threads)."""


def detection_inputs(
    workflow: Workflow,
    area: Area,
    plans: tuple[TilePlan, ...],
    *,
    item: ModelItem,
    setting: Setting,
    reference: ModelReference,
    numerics: int,
    terrain: Terrain | None = None,
) -> dict[str, Any]:
    """Return everything that decides a stored probability, as plain JSON."""
    content = {
        "numerics": numerics,
        "area": area.facts(),
        "dates": asdict(workflow.dates),
        "search": _search_inputs(workflow),
        **_cube_inputs(workflow),
        "model": item.facts(),
        "inference": {
            **setting.facts(),
            "device": reference.device,
            "precision": reference.precision,
            "runtime": reference.runtime,
            "threads": THREADS,
        },
        "tiles": {plan.tile.name: _tile_inputs(plan) for plan in plans},
        **_terrain_inputs(workflow, item, terrain),
        **_radar_inputs(item, plans),
        **_needed_inputs(workflow, item),
    }
    # Through JSON, so that it has the same form as the content of run.json.
    return dict(json.loads(json.dumps(content, default=str)))


def _terrain_inputs(workflow: Workflow, item: ModelItem, terrain: Terrain | None) -> dict[str, Any]:
    """Return what the terrain decides of a probability; nothing where it is only shown."""
    limit = workflow.terrain.min_slope_deg
    channels = item.channels_from("terrain")
    if terrain is None or (limit is None and not channels):
        return {}
    facts = {**terrain.facts(), "channels": list(channels), "min_slope_deg": limit}
    if limit is not None:
        facts["hillside_m"] = HILLSIDE_M  # earlier runs compared the slope of each pixel
    return {"terrain": facts}


def _radar_inputs(item: ModelItem, plans: tuple[TilePlan, ...]) -> dict[str, Any]:
    """Return what backscatter decides of a probability; nothing where it is only shown."""
    channels = item.channels_from("radar")
    if not channels:
        return {}
    tiles = {
        plan.tile.name: None if plan.radar is None else plan.radar.passes[0].facts()
        for plan in plans
    }
    return {"radar": {"channels": list(channels), "tiles": tiles}}


def _needed_inputs(workflow: Workflow, item: ModelItem) -> dict[str, Any]:
    """Return what decides where the date before is computed; nothing where it is everywhere."""
    rules = workflow.change
    if not rules.lists_only_new:
        return {}
    limit = item.threshold if rules.threshold is None else rules.threshold
    tolerance = rules.attrs()["tolerance_px"]
    decides = {"threshold": limit, "tolerance_px": tolerance, "register": rules.register}
    return {"change": {"list": rules.list, **decides}}


def change_inputs(
    workflow: Workflow,
    threshold: float,
    terrain: Terrain | None = None,
    radar: Mapping[str, Radar | None] | None = None,
) -> dict[str, Any]:
    """Return everything that decides the list, beside the stored probabilities, as plain JSON.

    Args:
        workflow: of the run.
        threshold: of the model, or the workflow.
        terrain: the heights of the run.
        radar: by tile; None = the run reads none.

    Raises:
        WorkflowError: the file of a layer of flags is not there.
    """
    # Keys of later versions count only where they are not the default: earlier runs are equal then.
    change = asdict(workflow.change) | {"threshold": threshold}
    if change["register"] == "auto":
        del change["register"]
    if not workflow.change.lists_only_new:
        del change["list"]
    inputs: dict[str, Any] = {"change": change}
    flags = workflow.flags
    if terrain is None:
        flags = replace(flags, gentle_slope=FlagsSpec().gentle_slope)  # there is no such column
    else:
        inputs["terrain"] = terrain.facts()
    if radar is not None:
        inputs["radar"] = {name: one and one.facts() for name, one in radar.items()}
        spec = asdict(workflow.radar)
        inputs["radar_limits"] = {
            name: spec[name] for name in ("change_db", "flat_deg", "dense_share")
        }
    if flags == FlagsSpec():
        return inputs
    found = asdict(flags)
    if terrain is None:
        del found["gentle_slope"]
    return inputs | {"flags": found, "flag_layers": digests(flags, workflow.folder)}


def _search_inputs(workflow: Workflow) -> dict[str, Any]:
    search = asdict(workflow.search) | {"catalog": without_query(workflow.search.catalog)}
    del search["page_size"]  # how a server is asked; it decides no scene
    search["exclude"] = sorted(search["exclude"])
    if not search["exclude"]:
        del search["exclude"]  # so that runs from before there was such a key are equal
    return search


def _cube_inputs(workflow: Workflow) -> dict[str, Any]:
    """Return the section `cube`, and the version and hash of each source of masks."""
    cube, mask = asdict(workflow.cube), workflow.cube.mask
    if mask.source == "scl":
        del cube["mask"]["source"]  # so that runs from before there was such a key are equal
        return {"cube": cube}
    found = sources(cube_of(workflow).mask)
    return {"cube": cube, "masks": [{"name": one.name, **one.facts()} for one in found]}


def _tile_inputs(plan: TilePlan) -> dict[str, Any]:
    return {
        "grid": [
            f"EPSG:{plan.tile.geobox.crs.epsg}",
            list(plan.tile.geobox.shape),
            list(plan.tile.geobox.transform)[:6],
        ],
        "steps": [_step_record(step) for step in plan.steps],
        "radiometry": {
            f"{scene}/{asset}": [decision.scale, decision.offset]
            for (scene, asset), decision in sorted(plan.radiometry.items())
        },
    }


def _step_record(step: Step) -> dict[str, Any]:
    return {
        "role": step.role,
        "time": step.time.isoformat(),
        "acquisitions": [
            [item.id for item in acquisition.items] for acquisition in step.acquisitions
        ],
    }


def record(plan: TilePlan) -> dict[str, Any]:
    """Return the decisions for a tile, for `run.json`; `make(decided=...)` reads them again."""
    return {
        "steps": [_step_record(step) for step in plan.steps],
        "candidates": list(plan.candidates),
        "radiometry": [
            {"item": scene, "asset": asset, **asdict(decision)}
            for (scene, asset), decision in sorted(plan.radiometry.items())
        ],
        "tile_ranges": plan.tile_ranges,
        "blocks": len(plan.blocks),
        # Not there where none is read, as in runs from before there was radar.
        **({"radar": _radar_record(plan)} if plan.radar_asked else {}),
    }


def _radar_record(plan: TilePlan) -> dict[str, Any]:
    """Return the passes of a tile; none is a decision too, which resuming keeps."""
    nothing = Radar(name="", passes=(), notes=plan.radar_notes, asked=plan.radar_asked)
    return (plan.radar or nothing).as_json()
