"""A finished run and an inventory of known landslides -> scores by pixels, objects or points.

Only the run directory and the inventory are read, and nothing is written (`score_files.py` does).
Of a two-date run the new and grown landslides are scored, of a one-date run the detected ones.

The known landslides should be those of the event, or of the time between the dates: one that was
there before counts as missed in a two-date run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import shapely
from pyproj import CRS

from lspipe.change.outlines import measures
from lspipe.errors import UsageError
from lspipe.evaluate.calibration import calibrate
from lspipe.evaluate.ground import LEAST_COUNTED, LINE_BUFFER_M, counted_share, ground_of
from lspipe.evaluate.objects import (
    Rule,
    class_names,
    match,
    score_matches,
    size_class,
)
from lspipe.evaluate.pixels import pixel_scores
from lspipe.evaluate.points import RADIUS_M, point_scores
from lspipe.evaluate.report import LeftOut, ObjectReport, RunScores, SizeScores
from lspipe.evaluate.scored_table import decided_table, scored_table
from lspipe.evaluate.shapes import POLYGONS, Shapes, numbered, read_shapes
from lspipe.evaluate.truth import CLAIMED, outlines, read_truth
from lspipe.runs.opened import open_run
from lspipe.search.areas import footprint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.evaluate.ground import Ground
    from lspipe.runs.opened import Run

_MEASURES = (
    "area_m2", "perimeter_m", "length_m", "width_m", "area_perimeter_ratio_m", "length_width_ratio",
)  # fmt: skip


def score_run(
    run: Path | str,
    truth: Path | str | None = None,
    *,
    layer: str | None = None,
    points: bool | None = None,
    without: Sequence[Path | str] = (),
    line_buffer_m: float = LINE_BUFFER_M,
    radius_m: float = RADIUS_M,
    rule: Rule | None = None,
) -> RunScores:
    """Compare a finished run with an inventory of known landslides.

    Args:
        run: the run directory, with its list.
        truth: polygons or points in any format of `shapes.read_shapes`; None = only compare the
            confidence of the list with what a person decided about it.
        layer: of the file, where it has several.
        points: True = score by points: those of a file that mixes them with others, or a point
            inside each polygon; None = by what the file holds.
        without: files of polygons or lines (roads, towns) on which nothing is scored.
        line_buffer_m: ground on each side of a line that is left out, metres.
        radius_m: a point is hit by a listed landslide within this distance, metres.
        rule: when a listed polygon is right; None = the default one.

    Raises:
        UsageError: a file that cannot be used, or that lies elsewhere; names it, and what to do.
        StoreError: no run directory, or it has no list yet.

    Examples:
        >>> from lspipe.evaluate.run_scores import score_run
        >>> scores = score_run("runs/demo", "runs/demo-archive/truth.geojson")  # doctest: +SKIP
        >>> scores.objects.scores.recall  # doctest: +SKIP
        1.0
        >>> scores.table.query("match == 'fp'").explore()  # doctest: +SKIP
    """
    rule = rule or Rule()
    opened = open_run(run)
    inventory = opened.inventory
    known = None if truth is None else read_truth(truth, layer=layer, points=points)
    grounds = ground_of(
        opened, without=[read_shapes(path) for path in without], line_buffer_m=line_buffer_m
    )
    status = "new" if opened.is_two_date else "detected"
    # What grew is new too; a run of one date has detected ones only.
    wanted = [one for one in CLAIMED if (one == "detected") != opened.is_two_date]
    listed = inventory[inventory["status"].isin(wanted)].reset_index(drop=True)
    ours = _Side.of(listed, grounds)
    scores = RunScores(
        run=opened.path,
        name=opened.name,
        state=opened.state,
        truth=None if known is None else known.source,
        scored=status,
        km2=sum(ground.km2 for ground in grounds),
        listed=len(listed),
        listed_left_out=ours.left_out,
        known=0 if known is None else len(known.geometry),
        repaired=0 if known is None else known.repaired,
        without=tuple(
            LeftOut(str(path), sum(ground.left_out_km2[number] for ground in grounds))
            for number, path in enumerate(without)
        ),
        calibration=calibrate(listed),
    )
    if known is None:
        return replace(scores, table=decided_table(listed, scores.calibration))
    if known.kinds[0] == POLYGONS:
        theirs = _Side.of(_known_table(known), grounds)
        _check_place(known, opened, grounds, is_any=bool((theirs.shares > 0).any()))
        return _by_polygons(scores, ours, theirs, grounds, rule)
    found = point_scores(grounds, listed, known.geometry, counted=ours.counted, radius_m=radius_m)
    _check_place(known, opened, grounds, is_any=found.counted > 0)
    return replace(
        scores,
        known_left_out=found.points - found.counted,
        points=found,
        table=decided_table(listed, scores.calibration),
    )


# --- by polygons --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    """Listed or known landslides, and where they lie."""

    table: gpd.GeoDataFrame
    shares: NDArray[np.float64]
    """Share of each on ground that counts."""
    tiles: NDArray[np.int64]
    """Number of its tile; -1 = none."""

    @classmethod
    def of(cls, table: gpd.GeoDataFrame, grounds: Sequence[Ground]) -> _Side:
        return cls(table, *counted_share(table, grounds))

    @property
    def counted(self) -> NDArray[np.bool_]:
        return self.shares >= LEAST_COUNTED

    @property
    def left_out(self) -> int:
        return int((~self.counted).sum())


def _known_table(known: Shapes) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        {"feature": known.geometry.index}, geometry=known.geometry.to_numpy(), crs=4326
    )


def _by_polygons(
    scores: RunScores, ours: _Side, theirs: _Side, grounds: Sequence[Ground], rule: Rule
) -> RunScores:
    """Add what needs known polygons."""
    listed, known = outlines(ours.table), outlines(theirs.table)
    matches = match(listed, known, rule)
    measured = _measured(theirs, grounds)
    sizes = _by_size(
        _counts_by_size(ours.table, matches.right, ours.counted),
        _counts_by_size(measured, matches.found, theirs.counted),
    )
    whole = score_matches(
        matches, listed, known, counted=ours.counted, counted_known=theirs.counted
    )
    rows = ours.table.assign(match=np.where(matches.right, "tp", "fp"), iou=matches.iou)
    missed = measured.assign(match="fn")[~matches.found & theirs.counted]
    return replace(
        scores,
        known_left_out=theirs.left_out,
        pixels=pixel_scores(grounds, ours.table, theirs.table),
        objects=ObjectReport(str(rule), whole, sizes),
        table=scored_table([rows[ours.counted], missed], scores.calibration),
    )


def _counts_by_size(
    table: gpd.GeoDataFrame, is_good: NDArray[np.bool_], counted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many objects of each size class are good, and how many are not."""
    classes = size_class(table["area_m2"].to_numpy(float))
    number = len(class_names())
    good, bad = (
        np.bincount(classes[counted & is_so], minlength=number) for is_so in (is_good, ~is_good)
    )
    return good, bad


def _by_size(listed: tuple[Any, Any], known: tuple[Any, Any]) -> tuple[SizeScores, ...]:
    rows = np.stack([*listed, *known], axis=1).tolist()
    return tuple(SizeScores(name, *row) for name, row in zip(class_names(), rows, strict=True))


def _measured(known: _Side, grounds: Sequence[Ground]) -> gpd.GeoDataFrame:
    """Add the measures of each known landslide, in the UTM zone of its tile; null on none."""
    measured = np.full((len(known.table), len(_MEASURES)), np.nan)
    for number, ground in enumerate(grounds):
        here = np.flatnonzero(known.tiles == number)
        if len(here):
            crs = CRS.from_user_input(ground.geobox.crs)
            moved = known.table.geometry.iloc[here].to_crs(crs).to_numpy()
            measured[here] = measures(moved, crs)[list(_MEASURES)].to_numpy()
    return known.table.assign(**dict(zip(_MEASURES, measured.T, strict=True)))


def _check_place(known: Shapes, run: Run, grounds: Sequence[Ground], *, is_any: bool) -> None:
    """Refuse an inventory of which nothing lies on ground that counts."""
    if is_any:
        return
    ours = shapely.union_all([footprint(ground.geobox) for ground in grounds]).bounds
    if not sum(ground.pixels for ground in grounds):
        raise UsageError(
            f"{run.path}: no pixel counts: nothing was observed on every date outside of the "
            "layers that are left out, so nothing can be scored"
        )
    raise UsageError(
        f"{known.source}: found {numbered(len(known.geometry), known.kinds[0])} within "
        f"{_degrees(known.geometry.total_bounds)}; none lies on ground that {run.path} observed on "
        f"every date, in tiles {', '.join(run.tiles)} within {_degrees(ours)}; is it the "
        "inventory of another place, or its CRS wrong?"
    )


def _degrees(bounds: Sequence[float]) -> str:
    west, south, east, north = bounds
    return f"W {west:.3f} S {south:.3f} E {east:.3f} N {north:.3f}"
