"""Stored maps of a run -> change, the list of landslides, what was not observed, output files.

Reads only the run directory and the layers of flags, never the archive or the network: after an
edit of the sections `change` or `flags` of the workflow, the list is made again in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lspipe import outputs
from lspipe.change.coverage import observed_share, outside_of_tiles, with_no_scene
from lspipe.change.flag_layers import read_layers, shares
from lspipe.change.flags import flag, flags_of
from lspipe.change.joining import TileMap, join_tiles
from lspipe.change.ranking import rank
from lspipe.outputs import geoparquet
from lspipe.outputs.credit import credit
from lspipe.runs import edits, registration, review, store, tail, untouched
from lspipe.runs.ended import end
from lspipe.runs.opened import Run
from lspipe.runs.publish import publish
from lspipe.runs.record import run_json
from lspipe.runs.tail import Tailed
from lspipe.runs.tail_plan import tails_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import geopandas as gpd

    from lspipe.change.flag_layers import ReadLayer
    from lspipe.runs.plan import Plan
    from lspipe.runs.tail_plan import Tail


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
    tails = tails_of(plan)
    fingerprint = plan.detection_fingerprint
    begun = _begun(run, tails)
    ended = {
        name: end(run, asked, fingerprint) if name in begun else _not_begun(asked)
        for name, asked in tails.items()
    }
    shifts = {name: one.shift for name, one in ended.items() if tails[name].is_registered}
    maps = [TileMap(name, tails[name].grid.geobox) for name in begun]
    tables = [tail.objects(run, name) for name in begun]
    inventory = join_tiles(tables, maps, min_area_m2=plan.workflow.change.min_area_m2)
    inventory = _flagged(inventory, plan, layers)
    no_scene = outside_of_tiles(plan.area, [asked.grid.geobox for asked in tails.values()])
    gaps = [
        tail.gaps(run, name) if name in begun else untouched.gaps(run, asked)
        for name, asked in tails.items()
    ]
    missing = with_no_scene(gaps, no_scene, dates=tuple(plan.workflow.dates.ranges()))
    taken = review.take_in(run)
    inventory, taken = review.shown(run, inventory, taken)
    lists = {"inventory": inventory, "unobserved": missing}
    found = Run(run, run_json(plan, state="running"), lists)
    written, notes = publish(found, lists_of(formats or plan.formats), taken=taken.found)
    with outputs.whole(run / "unobserved.parquet") as path:
        geoparquet.write_table(missing, path, told=credit(found))
    counts = inventory["status"].value_counts()
    return Listed(
        run=found,
        outputs=written | {"unobserved": run / "unobserved.parquet"},
        statuses={str(name): int(count) for name, count in sorted(counts.items())},
        observed_share=_observed_share(run, tails, ended, no_scene, begun=begun),
        failed_reads=sum(one.failed_reads for one in ended.values()),
        reviews=taken.counts(),
        notes=(*taken.notes, *notes),
        registration=registration.facts(plan, shifts),
    )


def lists_of(formats: Iterable[str]) -> list[str]:
    """Return the formats that write the list."""
    return [name for name in formats if outputs.file_of(name) in edits.LISTS]


def others_of(formats: Iterable[str]) -> list[str]:
    """Return the formats that write something else: maps, projects, reports."""
    return [name for name in formats if outputs.file_of(name) not in edits.LISTS]


def _begun(run: Path, tails: Mapping[str, Tail]) -> list[str]:
    """Return the tiles of which a block is done; one at least, from which tables get columns."""
    return [name for name in tails if store.done(run, name).any()] or [next(iter(tails))]


def _not_begun(asked: Tail) -> Tailed:
    return Tailed(shift=None, counted=untouched.counted(asked), failed_reads=0)


def _observed_share(
    run: Path,
    tails: Mapping[str, Tail],
    ended: Mapping[str, Tailed],
    no_scene: Any,
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
