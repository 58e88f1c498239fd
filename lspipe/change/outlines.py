"""Pixels of an object -> its outline, and an outline -> its measures.

Outlines follow the pixel edges, unsimplified: areas are exact, and perimeters of oblique edges are
up to sqrt(2) longer than a smooth line would be. Lengths are in the grid's CRS; areas are divided
by its areal scale, which makes them geodesic to within 1e-4.

See also: `components.py` (which pixels belong together), `inventory.py` (the table).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import rasterio.features
import shapely
from affine import Affine
from pyproj import CRS, Geod, Proj, Transformer

from lspipe.change.components import label
from lspipe.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from lspipe.change.components import Components

ROWS = 1024
"""Rows in which objects begin that are traced at a time: 45 MB of labels on a Sentinel-2 tile,
more only for an object that is taller."""

WGS84 = Geod(ellps="WGS84")

LARGEST_DISTORTION = 0.02
"""Largest accepted error of areas: UTM is within 0.5 % in its zone; Web Mercator is off by 2 % at
8 degrees latitude, and by 100 % at 45."""


def polygons_of(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    """Return the polygons of a geometry: an overlay may leave points and lines beside them."""
    parts = shapely.get_parts(shapely.get_parts([geometry]))
    return [part for part in parts if isinstance(part, shapely.Polygon)]


def outline(mask: NDArray[np.bool_], transform: Affine) -> shapely.Polygon | shapely.MultiPolygon:
    """Return the outline of the True pixels, as `outlines` does.

    Args:
        mask: (y, x) bool, at least one True.
        transform: pixel (column, row) corners to coordinates.
    """
    pixels = label(mask)
    whole = replace(pixels, owner=np.zeros_like(pixels.owner), first=pixels.first[:1])
    found: shapely.Polygon = outlines(whole, transform)[0]
    return found


def outlines(objects: Components, transform: Affine) -> NDArray[np.object_]:
    """Return the valid polygon of each object, with holes, along the pixel edges.

    Parts that touch only at a corner become parts of a MultiPolygon; a ring that touches itself at
    a corner is split, so the result is valid and its area is exactly that of the pixels.

    Args:
        objects: of a raster.
        transform: pixel (column, row) corners to coordinates.
    """
    boxes = objects.boxes()
    top, left, bottom, right = boxes.T
    a, e = transform.a, transform.e
    west, north = a * left + transform.c, e * top + transform.f
    # True of most small objects: they need no tracing.
    is_full = objects.n_px == (bottom - top) * (right - left)
    found: NDArray[np.object_] = np.asarray(
        shapely.box(west, e * (bottom - top) + north, a * (right - left) + west, north)
    )
    owner, pieces = _traced(objects.select(~is_full), boxes[~is_full])
    owner = np.flatnonzero(~is_full)[owner]

    def place(corners: NDArray[np.float64], of: NDArray[np.int64]) -> NDArray[np.float64]:
        # From the corner of each object, so that it has the same coordinates wherever it is traced.
        x, y = a * (corners[:, 0] - left[of]) + west[of], e * (corners[:, 1] - top[of]) + north[of]
        return np.stack([x, y], axis=1)

    corners, piece = shapely.get_coordinates(pieces, return_index=True)
    pieces = shapely.set_coordinates(pieces, place(corners, owner[piece]))
    is_plain = shapely.is_valid(pieces) & (np.bincount(owner, minlength=len(boxes))[owner] == 1)
    found[owner[is_plain]] = shapely.orient_polygons(pieces[is_plain])
    rest = np.flatnonzero(~is_plain)
    rest = rest[np.argsort(owner[rest], kind="stable")]
    for same in np.split(rest, np.flatnonzero(np.diff(owner[rest])) + 1):
        if len(same):
            found[owner[same[0]]] = _polygonal(pieces[same].tolist())
    return found


def _traced(
    objects: Components, boxes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return the 4-connected pieces of objects, in pixels, and the index of the object of each.

    4-connected: an 8-connected polygon of GDAL may cross itself at a diagonal contact.
    """
    owners, pieces = [np.zeros(0, np.int64)], [np.zeros(0, np.object_)]
    top, bottom = boxes[:, 0], boxes[:, 2]
    # By the row in which objects begin, so that none is cut and no raster of the whole is needed.
    for start in range(0, objects.shape[0], ROWS):
        begins_here = (top >= start) & (top < start + ROWS)
        if begins_here.any():
            here = objects.select(begins_here)
            labels = here.painted(slice(start, int(bottom[begins_here].max())))
            value, outline = _shapes(labels, Affine.translation(0, start))
            owners.append(np.flatnonzero(begins_here)[value - 1])
            pieces.append(outline)
    return np.concatenate(owners), np.concatenate(pieces)


def _shapes(
    values: NDArray[Any], transform: Affine
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return the value and the polygon of each 4-connected piece of what is not zero."""
    found: list[int] = []
    rings, piece_of_ring = [np.zeros((0, 2))], []
    for geometry, value in rasterio.features.shapes(
        values, mask=values > 0, connectivity=4, transform=transform
    ):
        # An array for each ring: lists of all corners would take ten times the memory.
        rings += [np.array(ring) for ring in geometry["coordinates"]]
        piece_of_ring += [len(found)] * len(geometry["coordinates"])
        found.append(int(value))
    ring_of_corner = np.repeat(np.arange(len(rings) - 1), [len(ring) for ring in rings[1:]])
    lines = shapely.linearrings(np.concatenate(rings), indices=ring_of_corner)
    polygons = np.asarray(shapely.polygons(np.asarray(lines), indices=piece_of_ring), np.object_)
    return np.array(found, np.int64), polygons


def outlines_by_value(
    values: NDArray[np.uint8], transform: Affine
) -> dict[int, shapely.MultiPolygon]:
    """Return one valid MultiPolygon for each non-zero value of a raster.

    Args:
        values: (y, x) uint8, 0 = nothing.
        transform: pixel (column, row) corners to coordinates.
    """
    value, pieces = _shapes(values, transform)
    is_valid = shapely.is_valid(pieces)
    found: dict[int, shapely.MultiPolygon] = {}
    for one in np.unique(value).tolist():
        same = value == one
        if is_valid[same].all():
            found[one] = shapely.multipolygons(shapely.orient_polygons(pieces[same]))
        else:
            whole = _polygonal(pieces[same].tolist())
            found[one] = shapely.MultiPolygon(shapely.get_parts([whole]).tolist())
    return found


def measures(geometries: NDArray[Any], crs: CRS) -> pd.DataFrame:
    """Measure polygons in a projected CRS.

    Args:
        geometries: (n,) shapely polygons in `crs`.
        crs: projected, in metres, and true to area (UTM).

    Returns:
        A row per polygon: `area_m2` (geodesic), `perimeter_m` (pixel outline, holes included),
        `length_m` >= `width_m` (sides of the minimum-area rectangle), `area_perimeter_ratio_m`,
        `length_width_ratio`, `lon` and `lat` of the centroid (degrees, WGS 84).

    Raises:
        UsageError: the CRS is geographic, not in metres, or not true to area there.

    Source: Morales et al. 2022, section 2.6.
    """
    area, lon, lat = geodesic_areas(geometries, crs)
    perimeter = shapely.length(geometries)
    length, width = _rectangles(shapely.convex_hull(geometries)).T
    return pd.DataFrame(
        {
            "area_m2": area,
            "perimeter_m": perimeter,
            "length_m": length,
            "width_m": width,
            "area_perimeter_ratio_m": area / perimeter,
            "length_width_ratio": length / width,
            "lon": lon,
            "lat": lat,
        }
    )


def geodesic_areas(
    geometries: NDArray[Any], crs: CRS
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the area of polygons on the ellipsoid (m2), and lon and lat of their centroids.

    Raises:
        UsageError: the CRS is geographic, not in metres, or not true to area there.
    """
    _check_metric(crs)
    if not len(geometries):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    centroids = shapely.centroid(geometries)
    to_degrees = Transformer.from_crs(crs, 4326, always_xy=True)
    lon, lat = to_degrees.transform(shapely.get_x(centroids), shapely.get_y(centroids))
    # Square metres of the map per square metre of the ellipsoid: k^2 in UTM.
    scale = np.asarray(Proj(crs).get_factors(lon, lat).areal_scale)
    worst = float(np.abs(scale - 1).max())
    if worst > LARGEST_DISTORTION:
        raise UsageError(
            f"CRS {crs.name}: areas are off by {worst:.0%} here; expected UTM or another CRS true "
            "to area; use .rio.reproject(map.rio.estimate_utm_crs())"
        )
    return shapely.area(geometries) / scale, lon, lat


def minimum_rectangle(geometry: shapely.Geometry) -> tuple[float, float]:
    """Return length and width (length >= width) of the smallest-area rectangle around a geometry.

    The rectangle may be turned; one of its sides lies along a side of the convex hull.

    Source: Freeman & Shapira 1975. QGIS 3.10 and GEOS before 3.12 give larger rectangles (QGIS
    issue 33532), so it is computed here, whatever GEOS is installed.
    """
    ((length, width),) = _rectangles(np.array([shapely.convex_hull(geometry)])).tolist()
    return length, width


def _rectangles(hulls: NDArray[Any]) -> NDArray[np.float64]:
    """Return (n, 2) length and width of the smallest-area rectangle around each convex hull."""
    found = np.empty((len(hulls), 2))
    corners = shapely.get_num_coordinates(hulls)
    # Hulls of so many corners at once: one by one takes six times as long.
    for count in np.unique(corners).tolist():
        same = np.flatnonzero(corners == count)
        # In parts, so that many hulls of many corners need no memory of their square.
        for part in np.array_split(same, -(-len(same) * count**2 // 2**22)):
            points = shapely.get_coordinates(hulls[part]).reshape(-1, count, 2)
            found[part] = _sides(points)
    return found


def _sides(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 2) length and width for the corners (n, corners, 2) of closed convex hulls."""
    # Near the origin, so that coordinates of 5 000 000 m cost no digits.
    points = points - points[:, :1]
    edges = np.diff(points, axis=1)
    unit = edges / np.hypot(edges[..., 0], edges[..., 1])[..., None]
    across = np.stack([-unit[..., 1], unit[..., 0]], axis=1)
    spans = [np.ptp(points @ side, axis=1) for side in (np.swapaxes(unit, 1, 2), across)]
    best = np.argmin(spans[0] * spans[1], axis=1)[:, None]
    sides = np.concatenate([np.take_along_axis(span, best, axis=1) for span in spans], axis=1)
    return np.stack([sides.max(axis=1), sides.min(axis=1)], axis=1)


def _polygonal(pieces: list[BaseGeometry]) -> shapely.Polygon | shapely.MultiPolygon:
    valid: list[shapely.Polygon] = []
    for piece in pieces:
        valid += polygons_of(piece if piece.is_valid else shapely.make_valid(piece))
    result = valid[0] if len(valid) == 1 else shapely.MultiPolygon(valid)
    return shapely.orient_polygons(result)


def _check_metric(crs: CRS) -> None:
    units = {axis.unit_name for axis in crs.axis_info}
    if not crs.is_projected or units != {"metre"}:
        raise UsageError(
            f"CRS {crs.name} is in {' and '.join(sorted(units))}: expected a projected CRS in "
            "metres; use .rio.reproject(map.rio.estimate_utm_crs())"
        )
