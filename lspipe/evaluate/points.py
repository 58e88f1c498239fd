"""Listed landslides and known ones of which only a point is known -> how many were hit.

A point is hit if a listed landslide lies within a radius of it. What lies near many points by
chance says little, so the share of the ground that lies within the radius of a listed landslide is
given beside: points thrown at random would be hit as often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import shapely

from lspipe.errors import UsageError
from lspipe.samples.marks import Marks
from lspipe.schema.sampled import wilson
from lspipe.search.areas import footprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lspipe.evaluate.ground import Ground

RADIUS_M = 50.0
"""Five pixels: a point marks a crown or a middle, and is no better placed. A default of lspipe."""


@dataclass(frozen=True)
class PointScores:
    """How many known points were hit."""

    radius_m: float
    points: int
    """In the file."""
    counted: int
    """On ground that counts."""
    hit: int
    """Of these, with a listed landslide within the radius."""
    by_chance: float | None
    """Share of the ground within the radius of a listed landslide, 0..1; None without ground."""
    listed: int
    """Listed landslides that count."""
    near: int
    """Of these, with a known point within the radius, counted or not."""
    listed_per_km2: float | None
    """Listed landslides per square kilometre of ground that counts."""

    @property
    def hit_rate(self) -> float | None:
        """Share of the counted points that were hit."""
        return self.hit / self.counted if self.counted else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the hit rate (Wilson)."""
        return wilson(self.hit, self.counted)


def point_scores(
    grounds: Sequence[Ground],
    listed: gpd.GeoDataFrame,
    points: gpd.GeoSeries,
    *,
    counted: NDArray[np.bool_],
    radius_m: float = RADIUS_M,
) -> PointScores:
    """Compare listed landslides with points.

    Args:
        grounds: of `ground_of`.
        listed: polygons of any CRS.
        points: EPSG:4326.
        counted: (listed,) which listed ones count; one that does not may still hit a point.
        radius_m: metres in the UTM zone of each tile; 0 = the point lies in the outline.

    Raises:
        UsageError: a radius that is negative or no number.
    """
    if not 0 <= radius_m < np.inf:
        raise UsageError(f"radius_m {radius_m:g}: expected a distance in metres, 0 or more")
    on_ground, hit = np.zeros((2, len(points)), bool)
    near, within = np.zeros(len(listed), bool), 0
    for ground in grounds:
        rows, outlines = _near(listed.geometry, ground, radius_m)
        numbers, places = _near(points, ground, radius_m)
        one, other = shapely.STRtree(outlines).query(places, predicate="dwithin", distance=radius_m)
        here = ground.at(shapely.get_x(places), shapely.get_y(places))
        on_ground[numbers[here]] = True
        hit[numbers[one]] = True
        near[rows[other]] = True
        within += _pixels_within(ground, outlines, radius_m)
    pixels = sum(ground.pixels for ground in grounds)
    km2 = sum(ground.km2 for ground in grounds)
    return PointScores(
        radius_m=radius_m,
        points=len(points),
        counted=int(on_ground.sum()),
        hit=int((hit & on_ground).sum()),
        by_chance=within / pixels if pixels else None,
        listed=int(counted.sum()),
        near=int((near & counted).sum()),
        listed_per_km2=float(counted.sum() / km2) if km2 else None,
    )


def _near(
    shapes: gpd.GeoSeries, ground: Ground, radius_m: float
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the places in a series, and the shapes in the CRS of a tile, of what is near it."""
    # Degrees of longitude shrink towards the poles; no tile of Sentinel-2 lies beyond 84 degrees.
    reach = radius_m / 111_000 / np.cos(np.radians(84))
    degrees = shapes.to_crs(4326)
    is_near = shapely.intersects(degrees.to_numpy(), footprint(ground.geobox).buffer(reach))
    numbers = np.flatnonzero(is_near)
    return numbers, degrees.iloc[numbers].to_crs(ground.geobox.crs.epsg).to_numpy()


def _pixels_within(ground: Ground, outlines: NDArray[Any], radius_m: float) -> int:
    """Count the pixels that count within the radius of an outline."""
    wide = shapely.union_all(shapely.buffer(outlines, radius_m))
    table = gpd.GeoDataFrame(geometry=[wide], crs=ground.geobox.crs.epsg)
    marks = Marks.of(table, np.ones(1, np.uint8), ground.geobox)
    count = 0
    for box in marks.boxes:
        part = slice(box.top, box.bottom), slice(box.left, box.right)
        count += int(np.count_nonzero(marks.pixels(np.array([0]), part) & ground.mask[part]))
    return count
