"""Area, tiles and gaps -> which share of the area was observed, and where no scene lies.

Computed on polygons, in longitude and latitude with geodesic areas, because tiles overlap and their
grids differ: a place that one tile missed and its neighbour observed counts as observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pandas as pd
import shapely

from lspipe.change.outlines import WGS84, polygons_of
from lspipe.search.areas import footprint
from lspipe.search.grids import tile_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from odc.geo.geobox import GeoBox

    from lspipe.search.areas import Area

NO_SCENE = "no_scene"
"""Reason of the part of the area that no tile of the run covers."""


@dataclass(frozen=True)
class Coverage:
    """How much of the area of interest was observed."""

    observed_share: float
    """Share of the area observed on every date by some tile, 0..1."""
    no_scene: Any
    """Part of the area outside every tile of the run (lon, lat); may be empty."""


def coverage(area: Area, grids: Sequence[GeoBox], gaps: Sequence[gpd.GeoDataFrame]) -> Coverage:
    """Compute which share of the area was observed on every date.

    Args:
        area: of interest.
        grids: of the tiles of the run.
        gaps: per tile, what was not observed on some date (`unobserved`), EPSG:4326.
    """
    footprints = [footprint(grid) for grid in grids]
    covered = shapely.union_all(footprints)
    wanted = _wanted(area, covered)
    seen = shapely.union_all(
        [
            shapely.difference(outline, shapely.union_all(table.geometry.to_numpy()))
            for outline, table in zip(footprints, gaps, strict=True)
        ]
    )
    whole = square_metres(wanted)
    share = square_metres(shapely.intersection(seen, wanted)) / whole if whole else 0.0
    return Coverage(min(share, 1.0), _polygons(shapely.difference(wanted, covered)))


def _wanted(area: Area, covered: Any) -> Any:
    """Return the area; for an area given as tile names, the grids of the run or nominal ones."""
    if area.tiles is None:
        return area.geometry
    nominal = [footprint(tile_grid(name)) for name in area.tiles]
    absent = [outline for outline in nominal if not shapely.intersects(outline, covered)]
    return shapely.union_all([covered, *absent])


def with_no_scene(
    gaps: Sequence[gpd.GeoDataFrame], cover: Coverage, *, dates: tuple[str, ...]
) -> gpd.GeoDataFrame:
    """Join the gaps of all tiles in one table; add a row per date for what no tile covers."""
    # Geometry as plain objects: geopandas would warn about a table without a CRS.
    tables = [
        pd.DataFrame(table.drop(columns="geometry")).assign(
            geometry=table.geometry.to_numpy().astype(object)
        )
        for table in gaps
    ]
    size = square_metres(cover.no_scene)
    # Less than a pixel (100 m2) is the bend of a tile's edge, not a place without a scene.
    if size >= 100:
        rows = {"date": list(dates), "reason": NO_SCENE, "area_m2": size}
        absent = pd.DataFrame(rows).assign(geometry=[cover.no_scene] * len(dates))
        tables.append(absent.reindex(columns=tables[0].columns).astype(tables[0].dtypes.to_dict()))
    filled = [table for table in tables if len(table)] or tables[:1]
    return gpd.GeoDataFrame(pd.concat(filled, ignore_index=True), geometry="geometry", crs=4326)


def _polygons(geometry: Any) -> shapely.MultiPolygon:
    return shapely.MultiPolygon(polygons_of(shapely.make_valid(geometry)))


def square_metres(geometry: Any) -> float:
    """Return the geodesic area of polygons in longitude and latitude."""
    outlines = shapely.orient_polygons(_polygons(geometry))
    return abs(float(WGS84.geometry_area_perimeter(outlines)[0]))
