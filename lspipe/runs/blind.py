"""The stored backscatter of a tile -> where radar saw change of what optics missed.

Writes `radar_density` and `hidden_share` of the evidence, by cells of 500 m, and what else the list
of what was not observed says of radar. Nothing here makes a row of the list of landslides.

See also: `change/blind.py`, which counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.change.blind import Median, beyond, cell_px, count, dense, differences
from lspipe.change.coverage import pixels_m2
from lspipe.runs import store
from lspipe.runs.backscatter import orbits_of
from lspipe.schema import CHANNELS, CUBE_NODATA, DATES
from lspipe.schema.columns import UNOBSERVED_BY_RADAR
from lspipe.schema.maps import GENTLE_NAME, NOT_NEEDED_NAME, NOT_PROCESSED_NAME, REASON_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray

    from lspipe.runs.store import Grid
    from lspipe.runs.tail_plan import RadarAsked

STEP_DB = CHANNELS["VV"].step

_NOT_LOOKED_FOR = (NOT_PROCESSED_NAME, GENTLE_NAME, NOT_NEEDED_NAME)

IS_HIDDEN = np.array([False, *(name not in _NOT_LOOKED_FOR for name in REASON_NAMES)])
"""By numbers of `schema.maps.reasons`: whether optics missed a pixel that was looked for."""


@dataclass(frozen=True)
class Sight:
    """What radar saw of one tile where optics was blind, in numbers."""

    hidden_m2: float
    """Ground of the area that optics missed on a date, and that no earlier tile shows."""
    seen_m2: float
    """Of this, seen by radar on both dates, and steep enough."""
    cells: int
    """Cells with more changed ground than `radar.dense_share`."""
    median_db: Mapping[str, float] = field(default_factory=dict)
    """Median change of backscatter of the tile, by orbit."""


@dataclass(frozen=True)
class Looked:
    """What radar saw of a tile, (y, x) each."""

    counts: NDArray[np.bool_]
    """Seen on both dates from some orbit, on ground that is steep enough, or not known to be."""
    changed: NDArray[np.bool_]
    """Of these, changed by more than the limit."""
    median_db: Mapping[str, float]
    """Median change, by orbit."""
    dense_share: float
    """Of `radar:`."""


def look(run: Path, grid: Grid, asked: RadarAsked, *, has_terrain: bool) -> Looked:
    """Read what radar saw of a tile.

    Args:
        run: a run directory in which backscatter and slope of the tile are written.
        grid: of the tile.
        asked: what counts.
        has_terrain: whether the run knows the slope.
    """
    counts, changed = np.zeros((2, *grid.geobox.shape), np.bool_)
    orbits = tuple(orbits_of(asked.passes))
    if not orbits:
        return Looked(counts, changed, {}, asked.dense_share)
    flat_deg = asked.flat_deg if has_terrain else 0
    medians = [Median() for _ in orbits]
    for _, seen in _strips(run, grid, orbits, flat_deg):
        for median, values in zip(medians, seen, strict=True):
            median.add(values)
    found = [median.result() for median in medians]
    limit = round(asked.change_db / STEP_DB)
    for rows, seen in _strips(run, grid, orbits, flat_deg):
        counts[rows], changed[rows] = beyond(seen, found, limit)
    known = {orbit: value for orbit, value in zip(orbits, found, strict=True) if value is not None}
    median_db = {orbit: round(value * STEP_DB, 3) for orbit, value in known.items()}
    return Looked(counts, changed, median_db, asked.dense_share)


def _strips(
    run: Path, grid: Grid, orbits: tuple[str, ...], flat_deg: float
) -> Iterator[tuple[slice, list[NDArray[np.int32]]]]:
    """Yield rows of a tile, and the differences of each orbit there where it is steep enough."""
    height = grid.geobox.shape[0]
    for top in range(0, height, grid.chunk):
        rows = slice(top, min(top + grid.chunk, height))
        is_flat = _is_flat(_layer(run, grid, "slope", rows), flat_deg) if flat_deg else None
        seen = []
        for orbit in orbits:
            before, after = (_layer(run, grid, store.vv(date, orbit), rows) for date in DATES)
            if is_flat is not None:
                before[is_flat] = CUBE_NODATA
            seen.append(differences(before, after))
        yield rows, seen


def _is_flat(slope: NDArray[np.int16], flat_deg: float) -> NDArray[np.bool_]:
    """Return where the ground is known to be gentle."""
    limit = round(flat_deg / CHANNELS["slope"].step)
    is_flat: NDArray[np.bool_] = (slope != CUBE_NODATA) & (slope < limit)
    return is_flat


def _layer(run: Path, grid: Grid, name: str, rows: slice) -> NDArray[Any]:
    return store.read(run, store.EVIDENCE, grid.tile, name, rows)


def beside_gaps(
    gaps: gpd.GeoDataFrame, why: NDArray[np.uint8], looked: Looked | None
) -> gpd.GeoDataFrame:
    """Add what radar saw of each gap of one date.

    Args:
        gaps: a row for each reason.
        why: numbers (y, x) of the reasons that were outlined, 0 = none.
        looked: of the tile; None leaves the table as it is.
    """
    if looked is None:
        return gaps
    every, seen, changed = np.zeros((3, len(REASON_NAMES) + 1), np.int64)
    for top in range(0, len(why), STRIP):
        rows = slice(top, top + STRIP)
        number, counts = why[rows], looked.counts[rows]
        every += np.bincount(number.ravel(), minlength=len(every))
        seen += np.bincount(number[counts], minlength=len(every))
        changed += np.bincount(number[looked.changed[rows] & counts], minlength=len(every))
    at = [REASON_NAMES.index(reason) + 1 for reason in gaps["reason"]]
    return with_radar(gaps, _shares(seen[at], every[at]), _shares(changed[at], seen[at]))


STRIP = 610
"""Rows that are counted at a time; never changes a count."""


def with_radar(gaps: gpd.GeoDataFrame, seen: Any = np.nan, changed: Any = np.nan) -> Any:
    """Return gaps with the columns of radar, before the outline."""
    columns = dict(zip(UNOBSERVED_BY_RADAR, (seen, changed), strict=True))
    found = gaps.assign(**{name: np.asarray(value, float) for name, value in columns.items()})
    rest = [name for name in gaps.columns if name != "geometry"]
    return found[[*rest, *columns, "geometry"]]


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(whole > 0, np.round(part / np.maximum(whole, 1), 4), np.nan)


def write(
    run: Path, grid: Grid, looked: Looked, *, hidden: NDArray[np.bool_], own: NDArray[np.bool_]
) -> tuple[Sight, gpd.GeoDataFrame]:
    """Write the density of changed ground where optics was blind.

    Args:
        run: a run directory.
        grid: of the tile.
        looked: of `look`.
        hidden: bool (y, x), missed by optics on a date.
        own: bool (y, x), pixels of the area that no earlier tile covers.

    Returns:
        What is said of it, and the densest cells.
    """
    geobox = grid.geobox
    cells = count(geobox, own=own, hidden=hidden, counts=looked.counts, changed=looked.changed)
    layers = {"radar_density": cells.density, "hidden_share": cells.hidden_share}
    store.write_cells(run, grid, cell_px(geobox), layers)
    listed = dense(cells, looked.dense_share, geobox=geobox, tile=grid.tile)
    missed = own & hidden
    hidden_m2 = pixels_m2(geobox, missed)
    missed &= looked.counts
    return Sight(hidden_m2, pixels_m2(geobox, missed), len(listed), looked.median_db), listed


def facts(sights: Mapping[str, Sight | None], dense_share: float) -> dict[str, Any]:
    """Return what radar saw in a run where optics was blind; empty where it reads none.

    Args:
        sights: of each tile that was ended.
        dense_share: of `radar:`.
    """
    known = {tile: sight for tile, sight in sights.items() if sight is not None}
    if not known:
        return {}
    hidden, seen = (
        sum(getattr(sight, name) for sight in known.values()) / 1e6
        for name in ("hidden_m2", "seen_m2")
    )
    cells = sum(sight.cells for sight in known.values())
    return {
        "hidden_km2": round(hidden, 3),
        "seen_km2": round(seen, 3),
        "cells": cells,
        "median_db": {tile: dict(sight.median_db) for tile, sight in known.items()},
        "told": f"saw {seen:,.2f} of the {hidden:,.2f} km2 that optics missed on a date; cells of "
        f"500 m in which more than {dense_share:.0%} changed: {cells}",
    }
