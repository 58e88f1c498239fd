"""Stored maps of a run -> change, the list of landslides, what was not observed, output files.

Reads only the run directory and the layers of flags, never the archive or the network: after an
edit of the sections `change` or `flags` of the workflow, the list is made again in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from odc.geo.xr import xr_coords

from lspipe import outputs
from lspipe.change.compare import compare
from lspipe.change.coverage import coverage, with_no_scene
from lspipe.change.flag_layers import read_layers, shares
from lspipe.change.flags import flag, flags_of
from lspipe.change.inventory import Provenance, delineate
from lspipe.change.joining import TileMap, join_tiles
from lspipe.change.ranking import rank
from lspipe.change.unobserved import unobserved
from lspipe.cube.composite import lower_median
from lspipe.outputs import geoparquet
from lspipe.outputs.credit import credit
from lspipe.runs import edits, registration, review, store
from lspipe.runs.opened import Run
from lspipe.runs.publish import publish
from lspipe.runs.record import run_json
from lspipe.runs.seen import Seen
from lspipe.runs.store import DETECTIONS, NOT_PROCESSED
from lspipe.schema import CODE_NODATA, Quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray

    from lspipe.change.flag_layers import ReadLayer
    from lspipe.runs.plan import Plan, TilePlan


@dataclass(frozen=True)
class Listed:
    """The files that were written, and counts."""

    run: Run
    """With its lists in memory."""
    outputs: dict[str, Path]
    statuses: Mapping[str, int]
    observed_share: float
    """Share of the area observed on every date by some tile, 0..1."""
    failed_reads: int
    """Pixels, on all dates, that could not be read, or held what Sentinel-2 cannot hold."""
    reviews: Mapping[str, int]
    """Counts of a person's decisions; see `review.Taken`."""
    notes: tuple[str, ...]
    """Notes for the person about their edits."""
    registration: Mapping[str, Any]
    """How far the dates of each tile lie apart; of `registration.facts`."""


def write(run: Path, plan: Plan) -> Listed:
    """Compare the dates, list the objects and write the outputs.

    Decisions in the existing lists are read first, and written into the new lists.

    Args:
        run: a run directory whose blocks are all, or in part, done.
        plan: of the run.

    Raises:
        WorkflowError: a layer of flags cannot be read.
    """
    # Before anything is written: a file may have gone since it was checked.
    layers = read_layers(plan.workflow.flags, plan.workflow.folder, plan.area.geometry)
    shifts = registration.measure(run, plan)
    tables, gaps, failed_reads = [], [], 0
    for tile in plan.tiles:
        codes = _codes(run, plan, tile)
        shift = shifts.get(tile.tile.name)
        fitting = registration.on_one_ground(plan, codes, shift)
        tables.append(_objects(run, plan, tile, fitting))
        quality = store.read(run, DETECTIONS, tile.tile.name, "quality")
        failed_reads += _failed_reads(quality)
        missed = _gaps(tile, quality, codes)
        gaps.append(registration.with_not_compared(missed, tile, codes, shift))
    maps = [TileMap(tile.tile.name, tile.tile.geobox) for tile in plan.tiles]
    inventory = join_tiles(tables, maps, min_area_m2=plan.workflow.change.min_area_m2)
    inventory = _flagged(inventory, plan, layers)
    cover = coverage(plan.area, [tile.tile.geobox for tile in plan.tiles], gaps)
    missing = with_no_scene(gaps, cover, dates=tuple(plan.workflow.dates.ranges()))
    taken = review.take_in(run)
    inventory, taken = review.shown(run, inventory, taken)
    lists = {"inventory": inventory, "unobserved": missing}
    found = Run(run, run_json(plan, state="running"), lists)
    written, notes = publish(found, lists_of(plan), taken=taken.found)
    with outputs.whole(run / "unobserved.parquet") as path:
        geoparquet.write_table(missing, path, told=credit(found))
    counts = inventory["status"].value_counts()
    return Listed(
        run=found,
        outputs=written | {"unobserved": run / "unobserved.parquet"},
        statuses={str(name): int(count) for name, count in sorted(counts.items())},
        observed_share=cover.observed_share,
        failed_reads=failed_reads,
        reviews=taken.counts(),
        notes=(*taken.notes, *notes),
        registration=registration.facts(plan, shifts),
    )


def lists_of(plan: Plan) -> list[str]:
    """Return the formats of a plan that write the list; always GeoParquet, which others read."""
    return [name for name in _formats(plan) if outputs.file_of(name) in edits.LISTS]


def others_of(plan: Plan) -> list[str]:
    """Return the formats of a plan that write something else: maps, projects, reports."""
    return [name for name in _formats(plan) if outputs.file_of(name) not in edits.LISTS]


def _formats(plan: Plan) -> Iterable[str]:
    return dict.fromkeys(("geoparquet", *plan.workflow.output.write))


def _failed_reads(quality: NDArray[np.uint8]) -> int:
    """Count pixels of failed reads in the store, which is complete even after a kill."""
    has_failed = (quality & np.uint8(Quality.READ_ERROR)) != 0
    return int(np.count_nonzero(has_failed & (quality != NOT_PROCESSED)))


def _codes(run: Path, plan: Plan, tile: TilePlan) -> dict[str, NDArray[np.uint16]]:
    """Read one map of codes per date; a date without a scene on this tile is not observed."""
    maps = {
        role: np.full(tile.tile.geobox.shape, CODE_NODATA, np.uint16)
        for role in plan.workflow.dates.ranges()
    }
    steps = {role: np.flatnonzero(np.array(tile.grid.roles) == role) for role in maps}
    # A row of chunks at a time, so that `composite: each` never holds all acquisitions of a tile.
    for top in range(0, tile.tile.geobox.shape[0], tile.grid.chunk):
        rows = slice(top, top + tile.grid.chunk)
        for role, merged in maps.items():
            if steps[role].size:
                first, last = steps[role].min(), steps[role].max()
                part = (slice(first, last + 1), rows)
                layers = store.read(run, DETECTIONS, tile.tile.name, "probability", part)
                merged[rows] = merge_acquisitions(layers[steps[role] - first])
    return maps


def merge_acquisitions(layers: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Merge the acquisitions of one date (`composite: each`) into one map.

    Args:
        layers: codes (time, y, x), 65535 = not observed.

    Returns:
        Per pixel the lower median of the observed codes, which is always a stored value; 65535
        where no acquisition observed the pixel.
    """
    # Most dates have a single acquisition, which needs no sorting.
    return layers[0] if len(layers) == 1 else lower_median(layers, layers != CODE_NODATA)


def _objects(
    run: Path, plan: Plan, tile: TilePlan, codes: dict[str, NDArray[np.uint16]]
) -> gpd.GeoDataFrame:
    """Return the objects of one tile, and write its change arrays."""
    who, seen = _provenance(plan, tile), Seen(run, tile)
    maps = {role: _on_grid(tile, values) for role, values in codes.items()}
    # Also if the whole tile is inside: the tables of all tiles need the same flags.
    area = _area(tile)
    if area is None:
        area = np.ones(tile.tile.geobox.shape, bool)
    if "before" not in maps:
        return delineate(
            maps["after"], threshold=plan.threshold, provenance=who, area=area, layers=seen
        )
    spec = plan.workflow.change
    change = compare(
        maps["before"],
        maps["after"],
        threshold=plan.threshold,
        before_below=spec.before_below,
        tolerance_px=spec.tolerance_px,
        min_gain=spec.min_gain,
        method=spec.method,
    )
    store.create_change(run, tile.grid)
    store.write_change(run, tile.tile.name, change["state"].values, change["gain"].values)
    # The gain is written: half a gigabyte of a tile that no object is made of.
    change = change.drop_vars("gain")
    return delineate(change, provenance=who, area=area, layers=seen)


def _flagged(
    inventory: gpd.GeoDataFrame, plan: Plan, layers: Mapping[str, ReadLayer]
) -> gpd.GeoDataFrame:
    """Add the flags of the workflow, and the order in which to look at the objects."""
    spec = plan.workflow.flags
    flagged = flag(inventory, spec, shares(inventory, layers))
    return rank(flagged, flags_of(flagged, spec))


def _area(tile: TilePlan) -> NDArray[np.bool_] | None:
    """Return the unpacked area of a tile; None = everywhere."""
    return None if tile.area is None else tile.area[:, :]


def _on_grid(tile: TilePlan, values: NDArray[Any]) -> xr.DataArray:
    return xr.DataArray(values, dims=("y", "x"), coords=xr_coords(tile.tile.geobox))


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


def _gaps(
    tile: TilePlan, quality: NDArray[np.uint8], codes: dict[str, NDArray[np.uint16]]
) -> gpd.GeoDataFrame:
    """Return polygons of what was not observed, per date and reason; quality is (time, y, x)."""
    roles = np.array(tile.grid.roles)
    layers = {}
    for role, values in codes.items():
        # With several acquisitions: the reason of the first, unless any of them saw the pixel.
        has_scene = (roles == role).any()
        bits = quality[roles == role][0] if has_scene else np.full_like(quality[0], Quality.NODATA)
        bits[values != CODE_NODATA] = 0
        layers[role] = bits
    return unobserved(
        layers,
        geobox=tile.tile.geobox,
        tile=tile.tile.name,
        area=_area(tile),
        acquired=_acquired(tile),
        not_processed=NOT_PROCESSED,
    )


def _acquired(tile: TilePlan) -> dict[str, Any]:
    """Return the time of the first step of each date."""
    return {step.role: step.time for step in reversed(tile.steps)}
