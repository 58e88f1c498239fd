"""Rasters of heights near a tile -> one canvas: their pixels side by side, on one lattice.

The lattice is that of the finest raster on the tile. Rasters of the same lattice are put side by
side, so that nothing is resampled and there is no seam; of others, what is still open is filled
linearly.

Covers: 1-degree files, the date line, the sea that Copernicus leaves out, rasters finer than the
tile. Does not cover: the pixels of the tile (`heights.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import Transformer

from lspipe.cube.height_file import crs_of, read_pixels
from lspipe.schema import relative

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.height_file import HeightFile
    from lspipe.schema import Part

AROUND_PX = 610
"""Pixels around a tile on which files may lie that decide its pixels."""

_METRES_PER_DEGREE = 111_320.0

NOT_RELEASED = (43.0, 38.0, 51.0, 42.0)
"""West, south, east, north in degrees: Armenia and Azerbaijan, of which the public GLO-30 has gaps
that are no sea. Source: Copernicus DEM product handbook, version 4."""


def north_up(geobox: GeoBox) -> float:
    """Return the edge of a pixel of a tile's grid, metres."""
    return abs(float(geobox.transform.a))


@dataclass(frozen=True)
class Lattice:
    """The pixels of a canvas: an endless grid in the CRS of a file."""

    crs: str
    left: float
    top: float
    width: float
    height: float
    """Of a pixel, both positive."""
    middle: float | None
    """Longitude that others are near to, 180 degrees at most; None = no degrees."""

    def is_coarser_than(self, metres: float) -> bool:
        """Return whether its pixels are longer than this from north to south."""
        return self.height * _metres_of(self.crs) > 0.99 * metres

    def places(self, x: NDArray[Any], y: NDArray[Any]) -> tuple[Any, Any]:
        """Return row and column, 0 = the centre of the first pixel, of coordinates in its CRS."""
        if self.middle is not None:
            x = x + 360 * np.round((self.middle - x) / 360)
        return (self.top - y) / self.height - 0.5, (x - self.left) / self.width - 0.5

    def coordinates(self, rows: NDArray[Any], columns: NDArray[Any]) -> tuple[Any, Any]:
        """Return x and y of the centres of pixels."""
        x = self.left + (columns + 0.5) * self.width
        return x, self.top - (rows + 0.5) * self.height


def meeting(files: Sequence[HeightFile], geobox: GeoBox) -> list[HeightFile]:
    """Return the files that lie on a tile or its rim, moved by 360 degrees where that is nearer."""
    found = []
    for file in files:
        middle = _middle(file.crs, geobox)
        west, south, east, north = _box(geobox, file.crs, middle)
        for moved in _copies(file, middle):
            left, bottom, right, top = moved.bounds
            if left < east and right > west and bottom < north and top > south:
                found.append(moved)
    return found


def _copies(file: HeightFile, middle: float | None) -> Iterator[HeightFile]:
    if middle is None:
        yield file
        return
    a, b, left, d, e, top = file.transform
    for turn in (-360.0, 0.0, 360.0):
        yield replace(file, transform=(a, b, left + turn, d, e, top)) if turn else file


def _box(geobox: GeoBox, crs: str, middle: float | None) -> tuple[float, float, float, float]:
    """Return west, south, east, north of a tile with its rim, in another CRS."""
    rows, columns = geobox.shape
    steps = np.linspace(0, 1, 33)
    y, x = np.meshgrid(
        -AROUND_PX + steps * (rows + 2 * AROUND_PX),
        -AROUND_PX + steps * (columns + 2 * AROUND_PX),
        indexing="ij",
    )
    east, north = projected(geobox, y, x, crs)
    if middle is not None:
        east = east + 360 * np.round((middle - east) / 360)
    return float(east.min()), float(north.min()), float(east.max()), float(north.max())


def _middle(crs: str, geobox: GeoBox) -> float | None:
    """Return the longitude of the middle of a tile, where the CRS has degrees."""
    if not crs_of(crs).is_geographic:
        return None
    rows, columns = geobox.shape
    x, _ = projected(geobox, np.array([rows / 2]), np.array([columns / 2]), crs)
    return float(x[0])


def projected(
    geobox: GeoBox, rows: NDArray[Any], columns: NDArray[Any], crs: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return coordinates in a CRS of places of a grid, 0 = the edge of the first pixel."""
    to = geobox.transform
    x, y = to.c + columns * to.a, to.f + rows * to.e
    # By its short name, which the grid keeps: to write its WKT takes longer than the places.
    east, north = _transformer(str(geobox.crs), crs).transform(x, y)
    return np.asarray(east), np.asarray(north)


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(crs_of(source), crs_of(target), always_xy=True)


# --- pixels -------------------------------------------------------------------------------------


def lattice_of(files: Sequence[HeightFile], geobox: GeoBox) -> Lattice:
    """Return the lattice of the finest file, its pixels joined where they are finer than a tile."""
    finest = min(files, key=lambda file: (abs(file.transform[0]), file.item))
    width, _, left, _, height, top = finest.transform
    factor = _factor(finest, north_up(geobox))
    middle = _middle(finest.crs, geobox)
    return Lattice(finest.crs, left, top, width * factor, -height * factor, middle)


def _factor(file: HeightFile, pixel_m: float) -> int:
    """Return how many pixels of a file along one side are joined, so that none is passed over."""
    return max(1, int(pixel_m / (abs(file.transform[4]) * _metres_of(file.crs)) + 0.01))


def _metres_of(crs: str) -> float:
    """Return the metres of a unit of a CRS, from north to south."""
    found = crs_of(crs)
    if found.is_geographic:
        return _METRES_PER_DEGREE
    return float(found.axis_info[0].unit_conversion_factor)


def canvas_of(
    files: Sequence[HeightFile], lattice: Lattice, window: Part, pixel_m: float
) -> NDArray[np.float32]:
    """Return the pixels of all files on a window of the lattice; the first that knows counts."""
    rows, columns = window
    canvas = np.full((rows.stop - rows.start, columns.stop - columns.start), np.nan, np.float32)
    fits = [_offset(file, lattice, _factor(file, pixel_m)) for file in files]
    # Pixels of another lattice are resampled: they come last.
    for file, offset in sorted(zip(files, fits, strict=True), key=lambda pair: pair[1] is None):
        factor = _factor(file, pixel_m)
        if offset is None:
            _fill_resampled(canvas, file, lattice, window, factor)
        else:
            _paste(canvas, file, offset, window, factor)
    return canvas


def _offset(file: HeightFile, lattice: Lattice, factor: int) -> tuple[int, int] | None:
    """Return row and column of a file's first pixel on a lattice; None if it is on another."""
    width, _, left, _, height, top = file.transform
    is_same = np.allclose(
        (width * factor, -height * factor), (lattice.width, lattice.height), rtol=1e-7, atol=0
    )
    if file.crs != lattice.crs or not is_same:
        return None
    row, column = (lattice.top - top) / lattice.height, (left - lattice.left) / lattice.width
    is_on = abs(row - round(row)) < 0.01 and abs(column - round(column)) < 0.01
    return (round(row), round(column)) if is_on else None


def _paste(
    canvas: NDArray[np.float32],
    file: HeightFile,
    offset: tuple[int, int],
    window: Part,
    factor: int,
) -> None:
    """Put the pixels of a file where nothing is known yet."""
    spans = [
        slice(max(span.start, first), min(span.stop, first + length // factor))
        for span, first, length in zip(window, offset, file.shape, strict=True)
    ]
    if any(span.stop <= span.start for span in spans):
        return
    inside = tuple(
        slice(span.start - first, span.stop - first)
        for span, first in zip(spans, offset, strict=True)
    )
    place = canvas[relative((spans[0], spans[1]), (window[0].start, window[1].start))]
    found = read_pixels(file, (inside[0], inside[1]), factor)
    is_open = np.isnan(place)
    place[is_open] = found[is_open]


def _fill_resampled(
    canvas: NDArray[np.float32],
    file: HeightFile,
    lattice: Lattice,
    window: Part,
    factor: int,
) -> None:
    """Fill what is not known from a file on another lattice, linearly: at seams of two lattices."""
    rows, columns = np.nonzero(np.isnan(canvas))
    if not rows.size:
        return
    x, y = lattice.coordinates(rows + window[0].start, columns + window[1].start)
    if file.crs != lattice.crs:
        x, y = _transformer(lattice.crs, file.crs).transform(x, y)
    width, _, left, _, height, top = file.transform
    # On the file's own axes, whatever the window: the same digits for any part of a tile.
    row, column = (y - top) / (height * factor) - 0.5, (x - left) / (width * factor) - 0.5
    shape = file.shape[0] // factor, file.shape[1] // factor
    is_on = (row >= -0.5) & (row <= shape[0] - 0.5) & (column >= -0.5) & (column <= shape[1] - 0.5)
    if not is_on.any():
        return
    row, column = (
        np.clip(axis[is_on], 0, length - 1)
        for axis, length in zip((row, column), shape, strict=True)
    )
    first = int(row.min()), int(column.min())
    part = (
        slice(first[0], min(int(row.max()) + 2, shape[0])),
        slice(first[1], min(int(column.max()) + 2, shape[1])),
    )
    found = _linear(read_pixels(file, part, factor), row, column, first)
    canvas[rows[is_on], columns[is_on]] = found


def _linear(
    pixels: NDArray[np.float32], row: NDArray[Any], column: NDArray[Any], first: tuple[int, int]
) -> NDArray[np.float32]:
    """Return values between the centres of pixels, the first of which is at `first`."""
    down, right = np.floor(row).astype(int), np.floor(column).astype(int)
    v, u = row - down, column - right
    i, j = down - first[0], right - first[1]
    i2, j2 = np.minimum(i + 1, pixels.shape[0] - 1), np.minimum(j + 1, pixels.shape[1] - 1)
    upper = pixels[i, j] * (1 - u) + pixels[i, j2] * u
    lower = pixels[i2, j] * (1 - u) + pixels[i2, j2] * u
    return np.asarray(upper * (1 - v) + lower * v, np.float32)


def fill_sea(
    canvas: NDArray[np.float32], files: Sequence[HeightFile], lattice: Lattice, window: Part
) -> None:
    """Set what lies on no file to 0 m; a void inside of a file stays one."""
    rows, columns = (np.arange(span.start, span.stop) for span in window)
    x, y = lattice.coordinates(rows, columns)
    is_covered = np.zeros(canvas.shape, bool)
    for file in files:
        left, bottom, right, top = file.bounds
        is_covered |= ((y > bottom) & (y < top))[:, None] & ((x > left) & (x < right))[None]
    west, south, east, north = NOT_RELEASED
    longitude = (x + 180) % 360 - 180
    is_gap = ((y > south) & (y < north))[:, None] & ((longitude > west) & (longitude < east))[None]
    canvas[~is_covered & ~is_gap] = 0
