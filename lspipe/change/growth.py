"""New objects that touch what was there already: landslides that grew.

The new part stays an object of its own, with its own outline; the old one beside it is
`persistent`. One old landslide may have several new parts, and a new part may join several old
ones: each part that touches any of them is `grown`. Source: docs/numerics.md, Objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    import geopandas as gpd

LEAST_OLD = 0.2
"""A new part grew from what it touches if that is at least this share of both together; a large new
landslide beside a speck of old ground is new."""

_NEAR = 0.01
"""Share of a pixel within which outlines touch: the same corner, projected from two tiles, differs
by far less."""

_METRES_PER_DEGREE = 111_320


def mark_grown(table: gpd.GeoDataFrame, *, pixel: float = 10.0) -> gpd.GeoDataFrame:
    """Return a list in which new objects are grown that touch, by a corner too, persistent ones.

    These must be `LEAST_OLD` of both together. The id of a grown object says so too. The mirror of
    new and of grown is vanished.

    Args:
        table: with `id`, `status`, `n_px` and outlines along pixel edges, in metres or in degrees.
        pixel: edge of a pixel, metres.

    Examples:
        >>> import geopandas as gpd
        >>> from shapely import box
        >>> outlines = [box(0, 0, 20, 20), box(20, 20, 50, 50), box(80, 0, 99, 20)]
        >>> facts = {"id": ["A_persistent_0", "A_new_1", "A_new_2"], "n_px": [4, 9, 4]}
        >>> table = gpd.GeoDataFrame(facts, geometry=outlines, crs=32718)
        >>> table["status"] = ["persistent", "new", "new"]
        >>> mark_grown(table)[["id", "status"]].to_numpy().tolist()[1:]
        [['A_grown_1', 'grown'], ['A_new_2', 'new']]
    """
    status = table["status"].to_numpy(str)
    new, old = np.flatnonzero(status == "new"), np.flatnonzero(status == "persistent")
    outlines = table.geometry.to_numpy()
    metres = 1.0 if table.crs is None or table.crs.is_projected else _METRES_PER_DEGREE
    touching, touched = shapely.STRtree(outlines[old]).query(
        outlines[new], predicate="dwithin", distance=_NEAR * pixel / metres
    )
    n_px = table["n_px"].to_numpy()
    there = np.bincount(touching, n_px[old][touched], minlength=len(new))
    has_grown = (there > 0) & (there >= LEAST_OLD * (there + n_px[new]))
    return _renamed(table, new[has_grown], "new", "grown")


def as_new(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return a list whose grown objects are new again, as they are while tiles are joined."""
    grown = np.flatnonzero(table["status"].to_numpy(str) == "grown")
    return _renamed(table, grown, "grown", "new")


def without_old(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return a list without what is vanished or persistent.

    A run that looks for new objects alone knows only those beside new ones.
    """
    is_old = table["status"].isin(["vanished", "persistent"])
    return table[~is_old].reset_index(drop=True)


def _renamed(
    table: gpd.GeoDataFrame, rows: np.ndarray, status: str, another: str
) -> gpd.GeoDataFrame:
    if not len(rows):
        return table
    changed = table.copy()
    places = changed.index[rows]
    changed.loc[places, "status"] = another
    names = changed.loc[places, "id"].str.replace(f"_{status}_", f"_{another}_", n=1, regex=False)
    changed.loc[places, "id"] = names
    return changed.sort_values("id", ignore_index=True)
