"""Two grids that overlap -> which pixels of one lie in the other, and where.

A pixel lies in the other grid where its centre does. Grids of one UTM zone share their pixels; in
another zone the centre falls into some pixel of it.

See also: `coverage.py`, which counts places that several tiles show once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from pyproj import Transformer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

KNOT_PX = 64
"""Pixels from one projected place to the next, linear between them: over 640 m a zone bends away
from its neighbour by less than a millimetre."""


@dataclass(frozen=True)
class Inside:
    """Some rows of a grid, and the columns of them that may lie in another grid."""

    columns: slice
    is_inside: NDArray[np.bool_]
    """(y, x) of these rows and columns."""
    row: NDArray[np.int64]
    """(y, x) row in the other grid; means nothing outside of it."""
    column: NDArray[np.int64]


def inside(grid: GeoBox, other: GeoBox, rows: slice) -> Inside | None:
    """Find the pixels of some rows of a grid whose centres lie in another grid.

    Args:
        grid: of a tile.
        other: of another tile that is near enough for a projection of one into the other.
        rows: of `grid`, with begin and end.

    Returns:
        None where there are none.

    Example:
        >>> from odc.geo.geobox import GeoBox
        >>> left = GeoBox((2, 4), Affine(10, 0, 500_000, 0, -10, 4_400_000), "EPSG:32633")
        >>> right = GeoBox((2, 4), Affine(10, 0, 500_030, 0, -10, 4_400_000), "EPSG:32633")
        >>> found = inside(left, right, slice(0, 1))
        >>> found.columns, found.is_inside.tolist(), found.column.tolist()
        (slice(3, 4, None), [[True]], [[0]])
    """
    knots = [_knots(span) for span in (rows, slice(0, grid.shape[1]))]
    at_knots = _places(grid, other, *knots)
    columns = _near(at_knots, other, knots[1])
    if columns is None:
        return None
    row, column = (
        np.floor(_between(each, knots, rows, columns)).astype(np.int64) for each in at_knots
    )
    is_inside = (row >= 0) & (row < other.shape[0]) & (column >= 0) & (column < other.shape[1])
    used = np.flatnonzero(is_inside.any(axis=0))
    if not len(used):
        return None
    first, stop = int(used[0]), int(used[-1]) + 1
    cut = (slice(None), slice(first, stop))
    place = slice(columns.start + first, columns.start + stop)
    return Inside(place, is_inside[cut], row[cut], column[cut])


def _near(
    at_knots: tuple[NDArray[np.float64], NDArray[np.float64]],
    other: GeoBox,
    knots: NDArray[np.int64],
) -> slice | None:
    """Return the columns that may reach into another grid: most of a tile lies in no other."""
    is_near = np.all(
        [
            (place > -KNOT_PX) & (place < length + KNOT_PX)
            for place, length in zip(at_knots, other.shape, strict=True)
        ],
        axis=0,
    )
    hit = np.flatnonzero(is_near.any(axis=0))
    if not len(hit):
        return None
    first, last = max(hit[0] - 1, 0), min(hit[-1] + 1, len(knots) - 1)
    return slice(int(knots[first]), int(knots[last]) + 1)


def _knots(span: slice) -> NDArray[np.int64]:
    """Return pixels every `KNOT_PX` along an axis, the first and the last among them."""
    length = span.stop - span.start
    return np.array([*range(0, length - 1, KNOT_PX), length - 1], np.int64) + int(span.start)


def _places(
    grid: GeoBox, other: GeoBox, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return row and column in another grid of the centres of some pixels, (rows, columns) each."""
    column, row = np.meshgrid(columns + 0.5, rows + 0.5)
    x, y = _affine(grid) * (column, row)
    if grid.crs != other.crs:
        # By its code: axis order and datum are then those of the areas of interest.
        move = Transformer.from_crs(grid.crs.epsg, other.crs.epsg, always_xy=True)
        x, y = move.transform(x, y)
    there: Any = ~_affine(other) * (x, y)
    return there[1], there[0]


def _affine(grid: GeoBox) -> Affine:
    return Affine(*tuple(grid.transform)[:6])


def _between(
    values: NDArray[np.float64], knots: list[NDArray[np.int64]], rows: slice, columns: slice
) -> NDArray[np.float64]:
    """Return values of all pixels of a part, linear between those at the knots."""
    for axis, span in ((0, rows), (1, columns)):
        place = np.arange(span.start, span.stop)
        left = np.clip(np.searchsorted(knots[axis], place, "right") - 1, 0, len(knots[axis]) - 1)
        right = np.minimum(left + 1, len(knots[axis]) - 1)
        step = np.maximum(knots[axis][right] - knots[axis][left], 1)
        weight = np.expand_dims((place - knots[axis][left]) / step, 1 - axis)
        low, high = (np.take(values, index, axis) for index in (left, right))
        values = low + weight * (high - low)
    return values
