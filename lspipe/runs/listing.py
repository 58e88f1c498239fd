"""Stored maps of a run -> change, the list of landslides, what was not observed, output files.

Reads only the run directory and the layers of flags, never the archive or the network: after an
edit of the sections `change` or `flags` of the workflow, the list is made again in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe import outputs
from lspipe.change.coverage import observed_share, outside_of_tiles, with_no_scene
from lspipe.change.flag_layers import read_layers, shares
from lspipe.change.flags import flag, flags_of
from lspipe.change.growth import without_old
from lspipe.change.joining import TileMap, join_tiles
from lspipe.change.ranking import rank
from lspipe.change.unobserved import joined
from lspipe.outputs import geoparquet
from lspipe.outputs.credit import notice
from lspipe.runs import blind, edits, registration, review, store, tail, untouched
from lspipe.runs.ended import end, is_ended
from lspipe.runs.opened import Run
from lspipe.runs.publish import publish
from lspipe.runs.record import run_json
from lspipe.runs.tail import Tailed
from lspipe.runs.tail_plan import tails_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from lspipe.change.flag_layers import ReadLayer
    from lspipe.runs.plan import Plan
    from lspipe.runs.tail_plan import Tail


CELLS = "radar_cells"
"""The list of cells in which radar saw change where optics was blind."""


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
    seen_by_radar: Mapping[str, Any]
    """What radar saw where optics was blind; of `blind.facts`."""


def write(run: Path, plan: Plan, formats: Iterable[str] | None = None) -> Listed:
    """Compare the dates, list the objects and write the lists.

    Decisions in the existing lists are read first, and written into the new lists.

    Args:
        run: a run directory whose blocks are all, or in part, done.
        plan: of the run.
        formats: outputs of the run, of which the lists are written; None = those of the workflow.

    Raises:
        WorkflowError: a layer of flags cannot be read.
    """
    # Before anything is written: a file may have gone since it was checked.
    layers = read_layers(plan.workflow.flags, plan.workflow.folder, plan.area.geometry)
    tails, fingerprint = tails_of(plan), plan.detection_fingerprint
    done = {name: store.done(run, name) for name in tails}
    begun = _begun(done)
    ended = {
        name: end(run, asked, fingerprint) if name in begun else _not_begun(asked)
        for name, asked in tails.items()
    }
    shifts = {name: one.shift for name, one in ended.items() if tails[name].is_registered}
    no_scene = outside_of_tiles(plan.area, [asked.grid.geobox for asked in tails.values()])
    inventory, missing = _joined(run, plan, tails, begun, layers=layers, no_scene=no_scene)
    taken = review.take_in(run)
    inventory, taken = review.shown(run, inventory, taken)
    lists = {"inventory": inventory, "unobserved": missing}
    lists |= _radar_cells(run, [tails[name] for name in begun])
    state = "finished" if _is_all_done(done, plan) else "partial"
    found = Run(run, run_json(plan, state=state), lists)
    written, notes = publish(found, lists_of(formats or plan.formats), taken=taken.found)
    with outputs.whole(run / "unobserved.parquet") as path:
        geoparquet.write_table(missing, path, told=notice(found))
    more = {"unobserved": run / "unobserved.parquet"} | _written_cells(found)
    counts = inventory["status"].value_counts()
    return Listed(
        run=found,
        outputs=written | more,
        statuses={str(name): int(count) for name, count in sorted(counts.items())},
        observed_share=_observed_share(run, tails, ended, no_scene, begun=begun),
        failed_reads=sum(one.failed_reads for one in ended.values()),
        reviews=taken.counts(),
        notes=(*taken.notes, *notes),
        registration=registration.facts(plan, shifts),
        seen_by_radar=blind.facts(
            {name: one.sight for name, one in ended.items()}, plan.workflow.radar.dense_share
        ),
    )


def _radar_cells(run: Path, tails: Sequence[Tail]) -> dict[str, gpd.GeoDataFrame]:
    """Return the cells of all tiles in which radar saw change; empty where the run reads none."""
    tables = [tail.radar_cells(run, one.grid.tile) for one in tails if one.radar is not None]
    return {CELLS: joined(tables)} if tables else {}


def _written_cells(run: Run) -> dict[str, Path]:
    """Write these cells; remove those of an earlier list where there are none now."""
    path = run.path / f"{CELLS}.parquet"
    if CELLS not in run.lists:
        path.unlink(missing_ok=True)
        return {}
    with outputs.whole(path) as partial:
        geoparquet.write_table(run.lists[CELLS], partial, told=notice(run))
    return {CELLS: path}


def lists_of(formats: Iterable[str]) -> list[str]:
    """Return the formats that write the list."""
    return [name for name in formats if outputs.file_of(name) in edits.LISTS]


def others_of(formats: Iterable[str]) -> list[str]:
    """Return the formats that write something else: maps, projects, reports."""
    return [name for name in formats if outputs.file_of(name) not in edits.LISTS]


def so_far(run: Path, plan: Plan) -> dict[str, gpd.GeoDataFrame]:
    """Join the lists of the tiles that are ended while others are computed; nothing is written.

    Returns:
        `inventory` and `unobserved`, and `radar_cells` where the run reads radar, as `write` makes
        them of a run of which only these tiles are done; empty where no tile is ended.
    """
    tails, fingerprint = tails_of(plan), plan.detection_fingerprint
    ended = [name for name, asked in tails.items() if is_ended(run, asked, fingerprint)]
    if not ended:
        return {}
    layers = read_layers(plan.workflow.flags, plan.workflow.folder, plan.area.geometry)
    no_scene = outside_of_tiles(plan.area, [asked.grid.geobox for asked in tails.values()])
    inventory, missing = _joined(run, plan, tails, ended, layers=layers, no_scene=no_scene)
    shown, _ = review.shown(run, inventory, review.Taken())
    cells = _radar_cells(run, [tails[name] for name in ended])
    return {"inventory": shown, "unobserved": missing, **cells}


def _joined(
    run: Path,
    plan: Plan,
    tails: Mapping[str, Tail],
    ended: Sequence[str],
    *,
    layers: Mapping[str, ReadLayer],
    no_scene: BaseGeometry,
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Join the objects and gaps of ended tiles; of the other tiles nothing was observed."""
    maps = [TileMap(name, tails[name].grid.geobox) for name in ended]
    tables = [tail.objects(run, name) for name in ended]
    inventory = join_tiles(tables, maps, min_area_m2=plan.workflow.change.min_area_m2)
    if plan.workflow.change.lists_only_new:
        inventory = without_old(inventory)
    gaps = [
        tail.gaps(run, name) if name in ended else untouched.gaps(asked)
        for name, asked in tails.items()
    ]
    missing = with_no_scene(gaps, no_scene, dates=tuple(plan.workflow.dates.ranges()))
    return _flagged(inventory, plan, layers), missing


def _begun(done: Mapping[str, NDArray[np.bool_]]) -> list[str]:
    """Return the tiles of which a block is done; one at least, from which tables get columns."""
    return [name for name, cells in done.items() if cells.any()] or [next(iter(done))]


def _is_all_done(done: Mapping[str, NDArray[np.bool_]], plan: Plan) -> bool:
    wanted = {tile.tile.name: len(tile.steps) * len(tile.blocks) for tile in plan.tiles}
    return all(np.count_nonzero(cells) == wanted[name] for name, cells in done.items())


def _not_begun(asked: Tail) -> Tailed:
    return Tailed(shift=None, counted=untouched.counted(asked), failed_reads=0)


def _observed_share(
    run: Path,
    tails: Mapping[str, Tail],
    ended: Mapping[str, Tailed],
    no_scene: BaseGeometry,
    *,
    begun: Sequence[str],
) -> float:
    """Return the share of the area that was observed on every date by some tile."""
    compared = {
        name: tails[name] for name in begun if not registration.is_too_far(ended[name].shift)
    }
    by_others = sum(
        tail.seen_elsewhere(run, asked, compared)
        for name, asked in tails.items()
        if ended[name].counted.missed_m2 > 0 and not compared.keys().isdisjoint(asked.later)
    )
    return observed_share([one.counted for one in ended.values()], by_others, no_scene)


def _flagged(
    inventory: gpd.GeoDataFrame, plan: Plan, layers: Mapping[str, ReadLayer]
) -> gpd.GeoDataFrame:
    """Add the flags of the workflow, and the order in which to look at the objects."""
    spec = plan.workflow.flags
    flagged = flag(inventory, spec, shares(inventory, layers))
    return rank(flagged, flags_of(flagged, spec))
