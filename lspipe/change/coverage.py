"""Area, tiles and gaps -> which share of the area was observed, and where no scene lies.

Computed on polygons, in longitude and latitude with geodesic areas, because tiles overlap and their
grids differ: what one tile missed and its neighbour saw was observed.
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
    """What was seen of the area of interest."""

    observed_share: float
    """Share of the area observed on every date by some tile, 0..1."""
    no_scene: Any
    """Part of the area outside every tile of the run (lon, lat); may be empty."""


def coverage(area: Area, grids: Sequence[GeoBox], gaps: Sequence[gpd.GeoDataFrame]) -> Coverage:
    """Compute what was seen.

    Args:
        area: where to look.
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
    whole = _square_metres(wanted)
    share = _square_metres(shapely.intersection(seen, wanted)) / whole if whole else 0.0
    return Coverage(min(share, 1.0), _polygons(shapely.difference(wanted, covered)))


def _wanted(area: Area, covered: Any) -> Any:
    """Return the area; of tiles asked for by name, the grids there are and nominal ones else."""
    if area.tiles is None:
        return area.geometry
    nominal = [footprint(tile_grid(name)) for name in area.tiles]
    absent = [outline for outline in nominal if not shapely.intersects(outline, covered)]
    return shapely.union_all([covered, *absent])


def with_no_scene(
    gaps: Sequence[gpd.GeoDataFrame], cover: Coverage, *, dates: tuple[str, ...]
) -> gpd.GeoDataFrame:
    """Put the gaps of all tiles into one table, and what no tile covers, a row per date."""
    # Geometry as plain objects: geopandas would warn of a table that brings no CRS.
    tables = [
        pd.DataFrame(table.drop(columns="geometry")).assign(
            geometry=table.geometry.to_numpy().astype(object)
        )
        for table in gaps
    ]
    size = _square_metres(cover.no_scene)
    # Below a pixel it is the bend of a tile's edge, not a place without a scene.
    if size >= 100:
        rows = {"date": list(dates), "reason": NO_SCENE, "area_m2": size}
        absent = pd.DataFrame(rows).assign(geometry=[cover.no_scene] * len(dates))
        tables.append(absent.reindex(columns=tables[0].columns).astype(tables[0].dtypes.to_dict()))
    filled = [table for table in tables if len(table)] or tables[:1]
    return gpd.GeoDataFrame(pd.concat(filled, ignore_index=True), geometry="geometry", crs=4326)


def _polygons(geometry: Any) -> shapely.MultiPolygon:
    return shapely.MultiPolygon(polygons_of(shapely.make_valid(geometry)))


def _square_metres(geometry: Any) -> float:
    outlines = shapely.orient_polygons(_polygons(geometry))
    return abs(float(WGS84.geometry_area_perimeter(outlines)[0]))
