"""A plan -> what is asked of each tile after its last block.

A `Tail` is small and travels: with the run directory it is all that `tail.py` needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shapely import STRtree

from lspipe.change.inventory import Provenance
from lspipe.search.areas import footprint, near_grid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from odc.geo.geobox import GeoBox

    from lspipe.change.spec import ChangeSpec
    from lspipe.cube.radar import Radar
    from lspipe.cube.terrain import Terrain
    from lspipe.runs.plan import Plan, TilePlan
    from lspipe.runs.store import Grid
    from lspipe.search.areas import Area, PackedMask
    from lspipe.search.on_grid import AreaOnGrid


@dataclass(frozen=True)
class RadarAsked:
    """What is asked of radar on one tile."""

    passes: Radar | None
    """Those that saw the tile before and after; None = none did."""
    change_db: float
    """What counts as change where optics was blind; this and the next of the section `radar:`."""
    flat_deg: float
    dense_share: float

    def facts(self) -> dict[str, Any]:
        """Return plain JSON that decides what is said of the tile."""
        rules = {name: getattr(self, name) for name in ("change_db", "flat_deg", "dense_share")}
        return rules | {"passes": None if self.passes is None else self.passes.facts()}


@dataclass(frozen=True, kw_only=True)
class Tail:
    """What is asked of one tile."""

    grid: Grid
    rules: ChangeSpec
    """With its threshold."""
    dates: tuple[str, ...]
    """Roles of the workflow: "before" and "after", or "after" alone."""
    is_swapped: bool
    """Whether `before` is the later date."""
    who: Provenance
    acquired: Mapping[str, datetime]
    """Time of the first step of each date that has a scene here."""
    area: AreaOnGrid | PackedMask | None
    """Pixels that the area of interest touches; None = all."""
    near: Area | None
    """The area around this tile; None = all of the tile is inside."""
    earlier: tuple[GeoBox, ...]
    """Grids of earlier tiles of the run that overlap this one."""
    later: tuple[str, ...]
    """Names of later tiles that do."""
    has_doubted: bool = False
    """Whether several masks were asked for, so that what only some hide was set aside."""
    is_pair: bool = False
    """Whether the map of the date after was made of both dates already."""
    terrain: Terrain | None = None
    """The heights of the run; None = it knows none."""
    radar: RadarAsked | None = None
    """What is asked of radar; None = the run reads none."""

    @property
    def is_registered(self) -> bool:
        """Whether it is measured how far the dates lie apart."""
        return len(self.dates) == 2 and self.rules.register != "none"


def tails_of(plan: Plan) -> dict[str, Tail]:
    """Return what is asked of every tile of a plan, by name."""
    grids = [tile.grid.geobox for tile in plan.tiles]
    outlines = [footprint(grid) for grid in grids]
    pairs = STRtree(outlines).query(outlines, predicate="intersects").T.tolist()
    earlier: list[list[GeoBox]] = [[] for _ in grids]
    later: list[list[str]] = [[] for _ in grids]
    for one, two in sorted(pairs):
        if two < one:
            earlier[one].append(grids[two])
            later[two].append(plan.tiles[one].grid.tile)
    return {
        tile.grid.tile: _tail(plan, tile, tuple(before), tuple(after))
        for tile, before, after in zip(plan.tiles, earlier, later, strict=True)
    }


def _tail(plan: Plan, tile: TilePlan, earlier: tuple[GeoBox, ...], later: tuple[str, ...]) -> Tail:
    dates = plan.workflow.dates
    return Tail(
        grid=tile.grid,
        rules=replace(plan.workflow.change, threshold=plan.threshold),
        dates=tuple(dates.ranges()),
        is_swapped=dates.is_swapped,
        who=_provenance(plan, tile),
        acquired={step.role: step.time for step in reversed(tile.steps)},
        area=tile.area,
        near=None if tile.area is None else near_grid(plan.area, tile.grid.geobox),
        earlier=earlier,
        later=later,
        has_doubted=len(plan.workflow.cube.mask.names) > 1,
        is_pair=plan.model.is_pair,
        terrain=tile.terrain,
        radar=_radar(plan, tile),
    )


def _radar(plan: Plan, tile: TilePlan) -> RadarAsked | None:
    spec = plan.workflow.radar
    if spec.collection is None:
        return None
    return RadarAsked(tile.radar, spec.change_db, spec.flat_deg, spec.dense_share)


def _provenance(plan: Plan, tile: TilePlan) -> Provenance:
    by_role = {
        role: [step for step in tile.steps if step.role == role] for role in ("before", "after")
    }
    times = {role: [step.time for step in steps] for role, steps in by_role.items()}
    seen = {
        role: [acquisition.time for step in steps for acquisition in step.acquisitions]
        for role, steps in by_role.items()
    }
    is_swapped = plan.workflow.dates.is_swapped
    items = {
        role: tuple(item.id for step in steps for item in step.items)
        for role, steps in by_role.items()
    }
    return Provenance(
        tile=tile.tile.name,
        date_before=max(times["before"]) if times["before"] else None,
        date_after=min(times["after"]) if times["after"] else None,
        # Composites: a pixel may have been clear only in the first scene before and the last after.
        event_after=min(seen["before"]) if seen["before"] and not is_swapped else None,
        event_by=max(seen["after"]) if seen["after"] else None,
        model_id=plan.model.id,
        model_sha256=plan.reference.sha256,
        items_before=items["before"],
        items_after=items["after"],
    )
