"""Area, tiles and what each did not observe -> which share of the area was observed.

Counted in pixels, each weighted by its size on the ground, tile by tile. Tiles overlap: a place
that several show is counted once, by the first of them, and a place that it missed and another
observed counts as observed.

A pixel is in the area where its centre is. What no tile covers is a polygon, `no_scene`.

See also: `overlaps.py` (where a pixel of one tile lies in another), `unobserved.py` (why).
Source: docs/numerics.md, Areas of polygons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import shapely
from pyproj import CRS, Proj, Transformer

from lspipe.change.outlines import WGS84, polygons_of
from lspipe.change.overlaps import inside
from lspipe.change.unobserved import joined
from lspipe.search.areas import footprint
from lspipe.search.grids import tile_grid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.schema import Part
    from lspipe.search.areas import Area

NO_SCENE = "no_scene"
"""Reason of the part of the area that no tile of the run covers."""

STRIP = 610
"""Rows that are counted at a time; never changes a count."""


@dataclass(frozen=True)
class Counted:
    """Pixels of a tile in the area that no earlier tile covers; square metres on the ground."""

    wanted_m2: float
    seen_m2: float
    """Of these, observed on every date by this tile."""

    @property
    def missed_m2(self) -> float:
        """What another tile may have observed."""
        return self.wanted_m2 - self.seen_m2


class Unseen(Protocol):
    """What a tile did not observe on some date."""

    def __call__(self, part: Part) -> NDArray[np.bool_]:
        """Return bool (y, x) of some rows and columns, True = not observed on every date."""


def counted(
    grid: GeoBox,
    unseen: Unseen,
    *,
    area: NDArray[np.bool_] | None = None,
    earlier: Sequence[GeoBox] = (),
) -> Counted:
    """Count what a tile observed of the area.

    Args:
        grid: of the tile.
        unseen: what it did not observe.
        area: bool (y, x), True = in the area; None = everywhere.
        earlier: grids of tiles that count the places that they cover themselves.

    Example:
        >>> from affine import Affine
        >>> from odc.geo.geobox import GeoBox
        >>> grid = GeoBox((2, 5), Affine(10, 0, 500_000, 0, -10, 4_400_000), "EPSG:32633")
        >>> cloud = np.array([[True, False, False, False, False]] * 2)
        >>> found = counted(grid, lambda part: cloud[part])
        >>> round(found.seen_m2 / found.wanted_m2, 6)
        0.8
    """
    wanted, seen = np.zeros((2, grid.shape[1]), np.int64)
    for rows in _strips(grid):
        own = _own(grid, rows, area, earlier)
        wanted += np.count_nonzero(own, axis=0)
        own &= ~unseen((rows, slice(0, grid.shape[1])))
        seen += np.count_nonzero(own, axis=0)
    size = _pixel_m2(grid)
    return Counted(float(wanted @ size), float(seen @ size))


def own_pixels(
    grid: GeoBox, *, area: NDArray[np.bool_] | None = None, earlier: Sequence[GeoBox] = ()
) -> NDArray[np.bool_]:
    """Return bool (y, x), the pixels of the area that `counted` counts for this tile.

    Args:
        grid: of the tile.
        area: as in `counted`.
        earlier: as in `counted`.
    """
    return np.concatenate([_own(grid, rows, area, earlier) for rows in _strips(grid)])


def pixels_m2(grid: GeoBox, mask: NDArray[np.bool_]) -> float:
    """Return the square metres on the ground of some pixels (y, x) of a tile."""
    return float(np.count_nonzero(mask, axis=0) @ _pixel_m2(grid))


def seen_by_others(
    grid: GeoBox,
    unseen: Unseen,
    others: Sequence[tuple[GeoBox, Unseen]],
    *,
    area: NDArray[np.bool_] | None = None,
    earlier: Sequence[GeoBox] = (),
) -> float:
    """Return the square metres that a tile counts and missed, and that another observed.

    Args:
        grid: of the tile.
        unseen: what it did not observe.
        others: grids of tiles that overlap it, and what they did not observe. They are read only
            where the tile itself missed something.
        area: as in `counted`.
        earlier: as in `counted`.
    """
    found = np.zeros(grid.shape[1], np.int64)
    for rows in _strips(grid):
        near = [(inside(grid, other, rows), theirs) for other, theirs in others]
        shared = [(where, theirs) for where, theirs in near if where is not None]
        if not shared:
            continue
        left = min(where.columns.start for where, _ in shared)
        right = max(where.columns.stop for where, _ in shared)
        missed = _own(grid, rows, area, earlier)[:, left:right]
        missed &= unseen((rows, slice(left, right)))
        was_missed = missed.copy()
        for where, theirs in shared:
            columns = slice(where.columns.start - left, where.columns.stop - left)
            asked = missed[:, columns] & where.is_inside
            if asked.any():
                row, column = where.row[asked], where.column[asked]
                part = tuple(slice(int(at.min()), int(at.max()) + 1) for at in (row, column))
                there = theirs((part[0], part[1]))
                missed[:, columns][asked] = there[row - part[0].start, column - part[1].start]
        found[left:right] += np.count_nonzero(was_missed & ~missed, axis=0)
    return float(found @ _pixel_m2(grid))


def observed_share(tiles: Iterable[Counted], by_others_m2: float, no_scene: Any) -> float:
    """Return the share of the area that was observed on every date by some tile, 0..1.

    Args:
        tiles: of `counted`, of every tile.
        by_others_m2: sum of `seen_by_others` of every tile.
        no_scene: part of the area outside every tile (lon, lat).
    """
    counts = list(tiles)
    seen = sum(tile.seen_m2 for tile in counts) + by_others_m2
    whole = sum(tile.wanted_m2 for tile in counts) + square_metres(no_scene)
    return min(seen / whole, 1.0) if whole else 0.0


def outside_of_tiles(area: Area, grids: Sequence[GeoBox]) -> shapely.MultiPolygon:
    """Return the part of the area outside every tile of the run (lon, lat); may be empty."""
    covered = shapely.union_all([footprint(grid) for grid in grids])
    return _polygons(shapely.difference(_wanted(area, covered), covered))


def _wanted(area: Area, covered: Any) -> Any:
    """Return the area; for an area given as tile names, the grids of the run or nominal ones."""
    if area.tiles is None:
        return area.geometry
    nominal = [footprint(tile_grid(name)) for name in area.tiles]
    absent = [outline for outline in nominal if not shapely.intersects(outline, covered)]
    return shapely.union_all([covered, *absent])


def with_no_scene(
    gaps: Sequence[gpd.GeoDataFrame], no_scene: Any, *, dates: tuple[str, ...]
) -> gpd.GeoDataFrame:
    """Join the gaps of all tiles in one table; add a row per date for what no tile covers."""
    # Geometry as plain objects: geopandas would warn about a table without a CRS.
    tables = [
        pd.DataFrame(table.drop(columns="geometry")).assign(
            geometry=table.geometry.to_numpy().astype(object)
        )
        for table in gaps
    ]
    size = square_metres(no_scene)
    # Less than a pixel (100 m2) is the bend of a tile's edge, not a place without a scene.
    if size >= 100:
        rows = {"date": list(dates), "reason": NO_SCENE, "area_m2": size}
        absent = pd.DataFrame(rows).assign(geometry=[no_scene] * len(dates))
        tables.append(absent.reindex(columns=tables[0].columns).astype(tables[0].dtypes.to_dict()))
    return joined(tables)


def square_metres(geometry: Any) -> float:
    """Return the geodesic area of polygons in longitude and latitude."""
    outlines = shapely.orient_polygons(_polygons(geometry))
    return abs(float(WGS84.geometry_area_perimeter(outlines)[0]))


def _polygons(geometry: Any) -> shapely.MultiPolygon:
    return shapely.MultiPolygon(polygons_of(shapely.make_valid(geometry)))


def _strips(grid: GeoBox) -> Iterable[slice]:
    height = grid.shape[0]
    return (slice(top, min(top + STRIP, height)) for top in range(0, height, STRIP))


def _own(
    grid: GeoBox, rows: slice, area: NDArray[np.bool_] | None, earlier: Sequence[GeoBox]
) -> NDArray[np.bool_]:
    """Return the pixels of some rows that are in the area, and that no earlier tile covers."""
    own = np.ones((rows.stop - rows.start, grid.shape[1]), bool) if area is None else area[rows]
    own = own.copy()
    for other in earlier:
        where = inside(grid, other, rows)
        if where is not None:
            own[:, where.columns] &= ~where.is_inside
    return own


def _pixel_m2(grid: GeoBox) -> NDArray[np.float64]:
    """Return the geodesic area of a pixel of each column, on the middle row.

    In UTM it changes along a column by 1e-6 of itself.
    """
    crs = CRS.from_user_input(grid.crs)
    columns = np.arange(grid.shape[1]) + 0.5
    x, y = grid.transform * (columns, np.full_like(columns, grid.shape[0] / 2))
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    scale = np.asarray(Proj(crs).get_factors(lon, lat).areal_scale)
    return np.asarray(abs(grid.resolution.x * grid.resolution.y) / scale)
