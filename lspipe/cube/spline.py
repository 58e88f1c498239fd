"""A cubic spline through the pixels of a lattice, read along the columns of another grid.

    rows       each row of the lattice is read where the columns of the grid cross it
    columns    each column of the grid is read at its pixels, which lie between these crossings

Both are splines along a line, so a place takes four and four numbers instead of sixteen: half of
the time. Where both grids run along the same axes it is the spline on a surface (a tensor product);
where they are turned by a few degrees it is off by what that turns within two pixels, on the noise
of a DEM some hundredths of it.

The weights of a spline are sums of its pixels, whose factors fall by 0.27 from pixel to pixel
(Unser): they are cut off after ten, of some hundred metres not a tenth of a millimetre.

Source: Catmull and Smith 1980, doi:10.1145/965105.807505 (two passes); Unser 1999,
doi:10.1109/79.799930 (splines).

See also: `heights.py` (where the places lie).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lspipe.cube import banded

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIP = 64
"""Rows that are read at a time: what they need stays in a processor's cache."""

RIM = 10
"""Pixels to either side that a weight of a spline depends on: those beyond count for less than a
millionth."""

_POWERS = (3**0.5 - 2) ** np.abs(np.arange(-RIM, RIM + 1))
_INVERSE = banded.band(_POWERS / _POWERS.sum())
"""Makes the weights with which a spline passes through pixels."""


def sampled(
    pixels: NDArray[np.float32],
    crossings: NDArray[np.float64],
    places: NDArray[np.float64],
    columns: slice = slice(None),
) -> NDArray[np.float32]:
    """Return the spline through pixels of a lattice at the pixels of a grid.

    Args:
        pixels: of the lattice, all known, (row, column).
        crossings: where each column of the grid crosses each row of the lattice, as a column of
            this: (row, x). Between the second and the last but one.
        places: where the pixels of the grid lie, as a row of the lattice: (y, x). The same.
        columns: of the grid, those of `places`. The bits of a pixel depend on `crossings`, as a
            product of matrices does on their shape, and not on which columns are asked for.

    Returns:
        float32 (y, x).

    Example:
        >>> y, x = np.mgrid[:30, :40].astype(np.float32)
        >>> crossings = 15.5 + 0.1 * y[:, :1]  # one column, turned to the right
        >>> round(float(sampled(3 * x - y, crossings, np.array([[14.5]]))[0, 0]), 4)
        36.35
    """
    # Counted from one of them: of thousands of metres float32 keeps no millimetre.
    first = pixels[len(pixels) // 2, pixels.shape[1] // 2]
    crossed = _along(pixels - first, crossings, axis=1)
    found = _along(crossed, places, axis=0, columns=columns)
    found += first
    return found


def _weighted(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the weights of the splines along the lines of an axis; of a rim, its pixels."""
    weights = values.copy()
    inner = slice(RIM, -RIM)
    weights[inner if axis == 0 else (slice(None), inner)] = banded.summed(values, _INVERSE, axis)
    return weights


def _along(
    values: NDArray[np.float32],
    places: NDArray[np.float64],
    *,
    axis: int,
    columns: slice = slice(None),
) -> NDArray[np.float32]:
    """Return splines along the lines of an axis, each read at the places of its own line."""
    weights = _weighted(values, axis)[:, columns].reshape(-1)
    values = values[:, columns]
    rows, width = values.shape
    step = 1 if axis == 1 else width
    # From each pixel the cubic up to the next one, by powers of the way to it.
    rise = weights[step:] - weights[:-step]
    bend = rise[step:] - rise[:-step]
    cube = bend[step:] - bend[:-step]
    cube *= np.float32(1 / 6)
    square = bend[:-step]
    square *= np.float32(1 / 2)
    linear = rise[step:-step] - square
    constant = values.reshape(-1)[step:]
    lines = ((np.arange(rows) * width)[:, None] if axis == 1 else np.arange(width)[None]) - step
    firsts = np.broadcast_to(lines.astype(np.float64), places.shape)
    found = np.empty(places.shape, np.float32)
    # Strip by strip in the same memory: with memory of their own they take half as long again.
    shape = (STRIP, places.shape[1])
    pixels, indices = np.empty(shape), np.empty(shape, np.intp)
    ways, parts = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for top in range(0, len(places), STRIP):
        place, strip = places[top : top + STRIP], found[top : top + STRIP]
        inside = slice(len(strip))
        pixel, index, way, part = pixels[inside], indices[inside], ways[inside], parts[inside]
        np.floor(place, out=pixel)
        np.subtract(place, pixel, out=way, casting="same_kind")
        pixel *= step
        np.add(pixel, firsts[top : top + STRIP], out=index, casting="unsafe")
        # All lie within; to check each, NumPy would need memory again.
        np.take(cube, index, out=strip, mode="wrap")
        for power in (square, linear, constant):
            strip *= way
            strip += np.take(power, index, out=part, mode="wrap")
    return found
