"""Windows of a run on the ground -> a region for each, so that no ground is in two regions.

A split by regions (`splits.blocks`) keeps a region whole. Windows that overlap see the same ground,
on one tile, on two tiles or on two dates; so they get one region. Where a column of the polygons
says the region (an event, a valley), windows of two regions that overlap are refused by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lspipe.errors import SamplesError, first_few
from lspipe.samples.marks import part_of
from lspipe.search.areas import footprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from lspipe.samples.chips import Placed
    from lspipe.samples.cut import Patch

OVERLAP = 0.01
"""Share of a window that two must share to overlap: the edges of neighbours are not quite the same
in degrees."""

NAMED = 3


def by_overlap(patches: Sequence[Patch], window: int) -> dict[str, str]:
    """Return a region for each window, the same for windows that overlap, even in steps.

    Args:
        patches: windows of a run.
        window: edge, pixels.
    """
    pairs = _overlapping(_outlines(patches, window))
    count = len(patches)
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    return {
        patch.name: f"ground-{label + 1}"
        for patch, label in zip(patches, labels.tolist(), strict=True)
    }


def by_column(
    placed: Placed, window: int, table: gpd.GeoDataFrame, column: str, source: str
) -> dict[str, str]:
    """Return the region of each window by a column of the polygons.

    A window without a polygon gets the region of the nearest window with one; where it overlaps a
    window of another region it is left out, and has none.

    Args:
        placed: windows of a run.
        window: edge, pixels.
        table: the polygons.
        column: with their regions.
        source: of the polygons, for messages.

    Raises:
        SamplesError: no such column, or empty cells; a window with polygons of two regions, or two
            that overlap; a region of which no landslide was observed.
    """
    values = _values(table, column, source)
    over = [patch for patch in placed.patches if patch.name in placed.over]
    found = {patch.name: _region_of(patch, window, values, column) for patch in over}
    _check_each_has_one(found, values, placed, f"{source}: {column}")
    others = [patch for patch in placed.patches if patch.name not in placed.over]
    outlines = _outlines([*over, *others], window)
    if others:
        tree = shapely.STRtree(shapely.centroid(outlines[: len(over)]))
        nearest = tree.nearest(shapely.centroid(outlines[len(over) :]))
        found |= {
            patch.name: found[over[number].name]
            for patch, number in zip(others, nearest.tolist(), strict=True)
        }
    return _without_shared(found, [*over, *others], outlines, len(over), column)


def _values(table: gpd.GeoDataFrame, column: str, source: str) -> list[str]:
    if column not in table.columns or column == table.geometry.name:
        columns = [str(name) for name in table.columns if name != table.geometry.name]
        raise SamplesError(f"{source}: no column {column!r}; it has {', '.join(columns) or 'none'}")
    is_empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
    if is_empty.any():
        raise SamplesError(
            f"{source}: {column} is empty in {int(is_empty.sum())} of {len(table)} rows "
            f"({first_few(list(table.index[is_empty]))}): expected a region in each"
        )
    return [str(value).strip() for value in table[column]]


def _region_of(patch: Patch, window: int, values: list[str], column: str) -> str:
    part = part_of(patch.corner, window)
    numbers = [
        number
        for number in patch.marks.within(part).tolist()
        if patch.marks.pixels(np.array([number]), part).any()
    ]
    regions = sorted({values[int(patch.marks.rows[number])] for number in numbers})
    if len(regions) > 1:
        raise SamplesError(
            f"{patch.name}: holds landslides of {' and '.join(regions)} ({column}), so it cannot "
            "be in one region: take a smaller window, or give both one region"
        )
    return regions[0]


def _check_each_has_one(
    found: Mapping[str, str], values: list[str], placed: Placed, where: str
) -> None:
    """Refuse a region without a landslide: as a fold, nothing could be found in it."""
    wanted = {values[row] for row in placed.inside}
    empty = sorted(wanted - set(found.values()))
    if empty:
        raise SamplesError(
            f"{where}: no landslide of {first_few(empty)} was observed, so a fold of "
            f"{'it' if len(empty) == 1 else 'these'} would hold none: leave the rows out, or give "
            "them the region of their neighbours"
        )


def _without_shared(
    found: dict[str, str], patches: list[Patch], outlines: NDArray[Any], over: int, column: str
) -> dict[str, str]:
    """Leave out windows elsewhere that overlap another region, and refuse those over polygons."""
    shared = []
    for one, other in _overlapping(outlines).tolist():
        names = patches[one].name, patches[other].name
        if any(name not in found for name in names) or found[names[0]] == found[names[1]]:
            continue
        if max(one, other) >= over:
            del found[names[int(other > one)]]
        else:
            shared.append(f"{names[0]} ({found[names[0]]}) and {names[1]} ({found[names[1]]})")
    if shared:
        raise SamplesError(
            f"{column}: {len(shared)} pairs of patches overlap on the ground and are of two "
            f"regions, so what is tested on would be trained on: {first_few(shared, NAMED)}; take "
            "a smaller window, or give both one region"
        )
    return found


def _outlines(patches: Sequence[Patch], window: int) -> NDArray[Any]:
    """Return the outlines of windows in degrees."""
    shapes = [footprint(patch.tile.geobox[part_of(patch.corner, window)]) for patch in patches]
    return np.array(shapes, dtype=object)


def _overlapping(outlines: NDArray[Any]) -> NDArray[np.int64]:
    """Return pairs of numbers of outlines that share ground, the smaller number first."""
    pairs = shapely.STRtree(outlines).query(outlines, predicate="intersects").T
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    one, other = outlines[pairs[:, 0]], outlines[pairs[:, 1]]
    shared = shapely.area(shapely.intersection(one, other))
    found: NDArray[np.int64] = pairs[
        shared > OVERLAP * np.minimum(*map(shapely.area, (one, other)))
    ]
    return found
