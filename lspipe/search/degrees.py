"""A table in any CRS -> longitude and latitude, its polygons cut where they cross the date line.

GeoJSON (RFC 7946, section 3.1.9) asks for the cut; a polygon that is not cut becomes a belt around
the globe in every program that draws it, and an invalid one where it is united with others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from lspipe.search.areas import split_at_date_line

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

HALF_GLOBE = 180
"""Degrees; no object and no tile is wider, so what is wider crosses the date line."""

_MILLIMETRE = 1e-8
"""Degrees of longitude."""


def in_degrees(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Project a table to EPSG:4326 and cut its polygons at the date line.

    Args:
        table: polygons in any CRS; null and empty geometries stay.

    Returns:
        A copy; what crosses the date line is a MultiPolygon of parts within -180..180.

    Examples:
        >>> import geopandas as gpd, shapely
        >>> from lspipe.search.degrees import in_degrees
        >>> across = shapely.box(177_800, 8_129_000, 181_000, 8_130_000)  # UTM zone 1 south
        >>> table = gpd.GeoDataFrame(geometry=[across], crs="EPSG:32701")
        >>> [part.bounds[0] > 0 for part in in_degrees(table).geometry[0].geoms]
        [False, True]
    """
    moved = table.to_crs(4326)
    shapes = moved.geometry.to_numpy()
    west, _, east, _ = shapely.bounds(shapes).T
    near = np.flatnonzero((east - west > HALF_GLOBE) | (west < -180) | (east > 180))
    if not len(near):
        return moved
    cut = shapes.copy()
    for index in near:
        cut[index] = split_at_date_line(shapely.transform(shapes[index], _on_the_line))
    return moved.set_geometry(cut, crs=4326)


def _on_the_line(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put what is less than a millimetre from 180 degrees on it: rounding would leave slivers."""
    longitude = corners[:, 0]
    is_near = np.abs(np.abs(longitude) - 180) < _MILLIMETRE
    return np.column_stack(
        (np.where(is_near, np.copysign(180, longitude), longitude), corners[:, 1])
    )
