"""Weighted sums of neighbours along the lines of an array, as products of small matrices.

Each line of a strip is a row of a matrix of weights times the lines of the strip and its rims. That
is twice as many products as there are weights, at the speed of BLAS: a fifth of the time of
`scipy.ndimage`, which sums each pixel by itself, in float64.

See also: `surface.py` (Gaussians), `spline.py` (what makes a spline pass through its pixels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STRIP = 18
"""Lines of a strip: so few that most weights are above zero, and that no BLAS splits a product of
a cell among threads, on whose number the bits would then depend."""


def band(weights: Sequence[float]) -> NDArray[np.float32]:
    """Return the matrix of an odd number of weights: float32 (line, line with its rims)."""
    found = np.zeros((STRIP, STRIP + len(weights) - 1), np.float32)
    for number, line in enumerate(found):
        line[number : number + len(weights)] = weights
    return found


def summed(values: NDArray[np.float32], weights: NDArray[np.float32], axis: int) -> NDArray[Any]:
    """Return the weighted sum of each pixel and its neighbours along an axis.

    Args:
        values: float32 (y, x), all known.
        weights: of `band`.
        axis: 0, down the columns, or 1, along the rows.

    Returns:
        float32 (y, x), smaller by a rim, half of the number of weights, at both ends of the axis.

    Example:
        >>> summed(np.float32([[1, 2, 4, 8]]), band([1, 0, -1]), axis=1)
        array([[-3., -6.]], dtype=float32)
    """
    rims = weights.shape[1] - STRIP
    shape = [length - rims * (number == axis) for number, length in enumerate(values.shape)]
    found = np.empty(shape, np.float32)
    turned = np.ascontiguousarray(weights.T)
    for first in range(0, shape[axis], STRIP):
        count = min(STRIP, shape[axis] - first)
        into, read = slice(first, first + count), slice(first, first + count + rims)
        if axis == 0:
            np.matmul(weights[:count, : count + rims], values[read], out=found[into])
        else:
            np.matmul(values[:, read], turned[: count + rims, :count], out=found[:, into])
    return found
