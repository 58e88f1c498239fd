"""A run -> the ground on which it is scored: observed on every date, each place once.

A pixel counts where it was observed on every date of the run, which it never is outside of the area
of interest, unless it lies in a layer that is left out. Tiles overlap by 10 km and more: a place
counts in the first tile, by name, that observed it on every date. Within a UTM zone the grids of
tiles agree, so each place counts exactly once; across zones a seam may count a pixel twice, or not.

Covers: pixels that count, and which share of an object does. Does not cover: scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import odc.geo.xr  # noqa: F401  # adds .odc
import shapely
from pyproj import CRS, Transformer

from lspipe.change.outlines import geodesic_areas
from lspipe.errors import UsageError
from lspipe.evaluate.shapes import LINES, POINTS, POLYGONS
from lspipe.runs import store
from lspipe.samples.marks import Marks
from lspipe.schema import CODE_NODATA
from lspipe.schema.maps import NOT_NEEDED
from lspipe.search.areas import PackedMask, footprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.evaluate.shapes import Shapes
    from lspipe.runs.opened import Run
    from lspipe.schema import Part

LINE_BUFFER_M = 30.0
"""Ground on each side of a line that is left out with it: the widest roads, and two pixels."""

LEAST_COUNTED = 0.5
"""An object counts if at least this share of its pixels does."""

_STRIP = 1220
"""Rows that are read at a time: two chunks of a Sentinel-2 tile."""


@dataclass(frozen=True)
class Ground:
    """The pixels of one tile that count."""

    tile: str
    geobox: GeoBox
    mask: PackedMask
    """(y, x), True = counts."""
    pixels: int
    """How many count."""
    km2: float
    """Their geodesic area, to 1e-3."""
    left_out_km2: tuple[float, ...]
    """Area of each layer that was left out, as far as the layers before it left it in."""

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether the pixels under places count; x and y in the CRS of the tile.

        Places outside of the grid do not count.
        """
        column, row = ~self.geobox.transform * (x, y)
        found = np.zeros(np.shape(x), bool)
        height, width = self.geobox.shape
        with np.errstate(invalid="ignore"):  # places without a value in this zone
            is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        if is_inside.any():
            rows, columns = row[is_inside].astype(int), column[is_inside].astype(int)
            top, left = rows.min(), columns.min()
            part = self.mask[slice(top, rows.max() + 1), slice(left, columns.max() + 1)]
            found[is_inside] = part[rows - top, columns - left]
        return found


def ground_of(
    run: Run, *, without: Sequence[Shapes] = (), line_buffer_m: float = LINE_BUFFER_M
) -> tuple[Ground, ...]:
    """Find the ground on which a run is scored.

    Args:
        run: opened; blocks that are not done are not observed.
        without: layers that are left out: polygons, and lines with ground on each side. A pixel
            lies in them if its centre does.
        line_buffer_m: of ground on each side of a line, metres.

    Returns:
        One for each tile of the run, in the order of their names; 15 MB for a Sentinel-2 tile.

    Raises:
        UsageError: a layer with points, or a buffer that is no positive number.
        StoreError: nothing of a tile was computed yet.
    """
    if not 0 < line_buffer_m < np.inf:
        raise UsageError(f"line_buffer_m {line_buffer_m:g}: expected a distance in metres, above 0")
    for shapes in without:
        if POINTS in shapes.kinds:
            raise UsageError(
                f"{shapes.source}: found points, expected polygons or lines of what is left out"
            )
    grounds: list[Ground] = []
    for tile in run.tiles:
        geobox = run[tile]["probability"].odc.geobox
        mask = _observed(run, tile, geobox.shape)
        for other in grounds:
            _take_out(mask, geobox, other)
        counts = [int(np.count_nonzero(mask))]
        for shapes in without:
            _leave_out(mask, geobox, shapes, line_buffer_m)
            counts.append(int(np.count_nonzero(mask)))
        km2 = np.array(counts) * (_pixel_m2(geobox) / 1e6)
        left_out = tuple((km2[:-1] - km2[1:]).tolist())
        grounds.append(
            Ground(tile, geobox, PackedMask.of(mask), counts[-1], float(km2[-1]), left_out)
        )
    return tuple(grounds)


def counted_share(
    table: gpd.GeoDataFrame, grounds: Sequence[Ground]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return which share of each polygon counts, and the tile with most of it.

    Args:
        table: polygons of any CRS.
        grounds: of `ground_of`.

    Returns:
        (n,) share of its pixels that count, 0..1, over all tiles; a polygon without the centre of a
        pixel is the pixels that it touches. (n,) number in `grounds`, -1 = on no tile.
    """
    shares = np.zeros((len(grounds), len(table)))
    is_there = np.zeros(shares.shape, bool)
    for place, ground in enumerate(grounds):
        marks = Marks.of(table, np.ones(len(table), np.uint8), ground.geobox)
        for number, row in enumerate(marks.rows.tolist()):
            part = _part_around(marks.geometries[number], ground.geobox)
            pixels = marks.pixels(np.array([number]), part)
            inside, here = _inside(part, ground.geobox.shape)
            counted = int((pixels[inside] & ground.mask[here]).sum())
            shares[place, row] = counted / (int(pixels.sum()) or 1)
            is_there[place, row] = True
    if not len(grounds):
        return np.zeros(len(table)), np.full(len(table), -1)
    # Ahead of the tiles on which nothing of it counts, those on which it lies at all.
    most = np.argmax(shares + 1e-9 * is_there, axis=0)
    return np.minimum(shares.sum(axis=0), 1.0), np.where(is_there.any(axis=0), most, -1)


def counted_pixels(table: gpd.GeoDataFrame, grounds: Sequence[Ground]) -> NDArray[np.float64]:
    """Return how much of each polygon counts, km2.

    Args:
        table: polygons of any CRS, which may overlap.
        grounds: of `ground_of`.
    """
    found = np.zeros(len(table))
    for ground in grounds:
        marks = Marks.of(table, np.ones(len(table), np.uint8), ground.geobox)
        each = ground.km2 / (ground.pixels or 1)
        for number, row in enumerate(marks.rows.tolist()):
            _, (rows, columns) = _inside(
                _part_around(marks.geometries[number], ground.geobox), ground.geobox.shape
            )
            # By strips: a unit may be as large as a tile.
            for strip in _strips(rows.stop - rows.start):
                part = slice(rows.start + strip.start, rows.start + strip.stop), columns
                pixels = marks.pixels(np.array([number]), part)
                found[row] += each * int(((pixels == 1) & ground.mask[part]).sum())
    return found


def steps_by_role(tile: Mapping[str, Any], *, is_two_date: bool) -> dict[str, NDArray[np.int64]]:
    """Return the steps of each date of a tile, from its entry in `run.json`."""
    roles = np.array([step["role"] for step in tile["steps"]])
    dates = ("before", "after") if is_two_date else ("after",)
    return {date: np.flatnonzero(roles == date) for date in dates}


# --- observed ------------------------------------------------------------------------------------


def _observed(run: Run, tile: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels that some acquisition of every date observed, bool (y, x).

    None of a tile whose dates lie too far apart to be compared.
    """
    if tile in run.record.get("not_compared", {}):
        return np.zeros(shape, bool)
    dates = steps_by_role(run.record["tiles"][tile], is_two_date=run.is_two_date)
    mask = np.zeros(shape, bool)
    for rows in _strips(shape[0]):
        part = (slice(None), rows)
        codes, quality = (
            store.read(run.path, store.DETECTIONS, tile, name, part)
            for name in ("probability", "quality")
        )
        # What was not needed of a date was seen: it would have been computed for a new object.
        is_seen = (codes != CODE_NODATA) | (quality == np.uint8(NOT_NEEDED))
        mask[rows] = np.all([is_seen[steps].any(axis=0) for steps in dates.values()], axis=0)
    return mask


def _strips(length: int) -> Iterator[slice]:
    for first in range(0, length, _STRIP):
        yield slice(first, min(first + _STRIP, length))


def _pixel_m2(geobox: GeoBox) -> float:
    """Return the geodesic area of a pixel, the mean of the grid."""
    outline = np.array([shapely.box(*geobox.extent.boundingbox)], dtype=object)
    whole = float(geodesic_areas(outline, CRS.from_user_input(geobox.crs))[0][0])
    rows, columns = geobox.shape
    return whole / int(rows * columns)


# --- what counts elsewhere, and what is left out -------------------------------------------------


def _take_out(mask: NDArray[np.bool_], geobox: GeoBox, other: Ground) -> None:
    """Take out the pixels whose centres lie on pixels of another tile that count."""
    if not shapely.intersects(footprint(geobox), footprint(other.geobox)):
        return
    epsg, other_epsg = geobox.crs.epsg, other.geobox.crs.epsg
    there = Transformer.from_crs(epsg, other_epsg, always_xy=True)
    back = Transformer.from_crs(other_epsg, epsg, always_xy=True)
    bounds = back.transform_bounds(*other.geobox.extent.boundingbox)
    _, (rows, columns) = _inside(_part_of(bounds, geobox), geobox.shape)
    for strip in _strips(rows.stop - rows.start):
        part = slice(rows.start + strip.start, rows.start + strip.stop), columns
        x, y = _centres(geobox, part)
        if epsg != other_epsg:
            x, y = there.transform(x, y)
        mask[part] &= ~other.at(x, y)


def _leave_out(
    mask: NDArray[np.bool_], geobox: GeoBox, shapes: Shapes, line_buffer_m: float
) -> None:
    """Take out the pixels in polygons, and beside lines."""
    for table in (
        gpd.GeoDataFrame(geometry=shapes.of(POLYGONS)),
        _buffered(shapes.of(LINES), geobox, line_buffer_m),
    ):
        marks = Marks.of(table, np.ones(len(table), np.uint8), geobox)
        if len(marks):
            for rows in _strips(geobox.shape[0]):
                part = rows, slice(0, geobox.shape[1])
                mask[part] &= ~marks.pixels(marks.within(part), part)


def _buffered(lines: gpd.GeoSeries, geobox: GeoBox, metres: float) -> gpd.GeoDataFrame:
    """Return lines near a tile as polygons in its CRS."""
    # Only what is near: far from its zone a transverse Mercator has no value.
    near = lines[shapely.intersects(lines.to_numpy(), footprint(geobox).buffer(0.01))]
    return gpd.GeoDataFrame(geometry=near.to_crs(geobox.crs.epsg).buffer(metres))


# --- places and pixels ---------------------------------------------------------------------------


def _centres(geobox: GeoBox, part: Part) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of the pixel centres of a part, (y, x) each."""
    rows, columns = part
    column, row = np.meshgrid(
        np.arange(columns.start, columns.stop) + 0.5, np.arange(rows.start, rows.stop) + 0.5
    )
    x, y = geobox.transform * (column, row)
    return x, y


def _part_around(geometry: Any, geobox: GeoBox) -> Part:
    """Return the rows and columns that a shape touches, beyond the grid too."""
    return _part_of(geometry.bounds, geobox)


def _part_of(bounds: tuple[float, float, float, float], geobox: GeoBox) -> Part:
    west, south, east, north = bounds
    left, top = ~geobox.transform * (west, north)
    right, bottom = ~geobox.transform * (east, south)
    rows, columns = (
        slice(int(np.floor(low)), max(int(np.ceil(high)), int(np.floor(low)) + 1))
        for low, high in ((top, bottom), (left, right))
    )
    return rows, columns


def _inside(part: Part, shape: tuple[int, int]) -> tuple[Part, Part]:
    """Return what of a part lies on the grid: as a part of it, and of the grid."""
    here = tuple(
        slice(min(max(span.start, 0), length), min(max(span.stop, 0), length))
        for span, length in zip(part, shape, strict=True)
    )
    inside = tuple(
        slice(one.start - span.start, one.stop - span.start)
        for one, span in zip(here, part, strict=True)
    )
    return (inside[0], inside[1]), (here[0], here[1])
