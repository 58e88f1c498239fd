"""Outlines in degrees -> small whole numbers on a plane, for the map of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd

STEP = 1e-6
"""Degrees: 0.1 m, a hundredth of a pixel."""

Bounds = tuple[float, float, float, float]
"""West, south, east, north, degrees. East is beyond 180 where the date line lies between."""


@dataclass(frozen=True)
class Plane:
    """Where the map of a report lies. Longitudes are continuous there, also at the date line."""

    lon: float
    """Of its origin, degrees."""
    lat: float

    @classmethod
    def of(cls, boxes: Sequence[Bounds], listed: gpd.GeoDataFrame) -> Plane:
        """Return the plane around pictures, or, where there is none, around the objects."""
        if boxes:
            west, south, east, north = boxes[0]
        elif len(listed):
            west, south, east, north = listed.geometry.iloc[0].bounds
        else:
            west, south, east, north = 0, 0, 0, 0
        return cls(round((west + east) / 2, 6), round((south + north) / 2, 6))

    def bounds(self, bounds: Bounds) -> Bounds:
        """Move a box by whole turns to where it lies on this plane."""
        turn = 360 * round((self.lon - bounds[0]) / 360)
        return bounds[0] + turn, bounds[1], bounds[2] + turn, bounds[3]

    def outlines(self, listed: gpd.GeoDataFrame) -> list[Any]:
        """Return for each object its polygons: lists of rings, the outer one first.

        A ring is `[x, y, dx, dy, dx, dy, ...]` in steps of `STEP` from the origin, without its last
        point, which is the first one.

        >>> import geopandas as gpd
        >>> box = gpd.GeoDataFrame(geometry=[shapely.box(10, 50, 10.00001, 50.00002)])
        >>> Plane(10, 50).outlines(box)
        [[[[10, 0, 0, 20, -10, 0, 0, -20]]]]
        """
        return [self.outline(shape) for shape in listed.geometry]

    def outline(self, shape: shapely.Geometry) -> list[Any]:
        """Return the polygons of one shape; see `outlines`."""
        return [
            [self._ring(ring.coords) for ring in (part.exterior, *part.interiors)]
            for part in _polygons(shape)
        ]

    def _ring(self, coordinates: Any) -> list[int]:
        points = shapely.get_coordinates(shapely.LineString(coordinates))[:-1]
        # As a whole: a part that the date line has cut has corners on it.
        lon = points[:, 0] + 360 * np.round((self.lon - points[:, 0].mean()) / 360)
        steps = np.rint(np.column_stack([lon - self.lon, points[:, 1] - self.lat]) / STEP)
        moved = np.diff(steps, axis=0, prepend=0).astype(int)
        return [int(value) for value in moved.ravel()]


def _polygons(shape: shapely.Geometry) -> list[Any]:
    return [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
