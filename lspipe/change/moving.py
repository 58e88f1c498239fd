"""A map of codes, and how far its date lies from another -> the map on the ground of the other.

Moved in fixed strips of rows, so that memory is bounded; every pixel is computed from its own four
neighbours in whole numbers, so neither the strips nor the machine change a code.

Source: docs/numerics.md, Registration.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from lspipe.schema import CODE_NODATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lspipe.change.registration import Shift

STRIP = 256
"""Rows that are moved at once: about 50 MB of a whole tile."""

PARTS = 100
"""A shift is taken to this part of a pixel, as `registration.estimate` rounds it."""


def moved(codes: NDArray[np.uint16], shift: Shift) -> NDArray[np.uint16]:
    """Move a map onto the ground of the date that its shift is measured from.

    Pixel (y, x) of the result is what the map shows at (y + dy, x + dx): the pixel itself where the
    shift is whole, else the bilinear mean of four, rounded half up. It is not observed where any
    pixel that it comes from is not observed, or lies outside of the map.

    Args:
        codes: (y, x) codes, 65535 = not observed.
        shift: how far this map lies from the other one, at most 100 pixels.

    Returns:
        uint16, the shape of `codes`.

    Example:
        >>> from lspipe.change.registration import Shift
        >>> codes = np.array([[0, 0, 9000, 0]], np.uint16)
        >>> moved(codes, Shift(dx_px=1, dy_px=0, spread_px=0, windows=9))
        array([[    0,  9000,     0, 65535]], dtype=uint16)
        >>> moved(codes, Shift(dx_px=0.5, dy_px=0, spread_px=0, windows=9))
        array([[    0,  4500,  4500, 65535]], dtype=uint16)
    """
    found = np.empty_like(codes)
    down, right = (divmod(round(each * PARTS), PARTS) for each in (shift.dy_px, shift.dx_px))
    for top in range(0, len(codes), STRIP):
        height = min(STRIP, len(codes) - top)
        # One row and column more, for the neighbours below and to the right.
        source = _cut(codes, (top + down[0], right[0]), (height + 1, codes.shape[1] + 1))
        found[top : top + height] = _mean_of_four(source, down[1], right[1])
    return found


def _cut(
    codes: NDArray[np.uint16], corner: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.uint16]:
    """Return a part of a map that may reach beyond it, where nothing was observed."""
    found = np.full(shape, CODE_NODATA, np.uint16)
    inside = [
        slice(max(first, 0), max(min(first + size, length), 0))
        for first, size, length in zip(corner, shape, codes.shape, strict=True)
    ]
    target = [
        slice(span.start - first, max(span.stop, span.start) - first)
        for span, first in zip(inside, corner, strict=True)
    ]
    found[tuple(target)] = codes[tuple(inside)]
    return found


def _mean_of_four(source: NDArray[np.uint16], down: int, right: int) -> NDArray[np.uint16]:
    """Return the weighted mean of each pixel and its neighbours below and to the right.

    Args:
        source: codes (y + 1, x + 1).
        down: weight of what is below, of `PARTS`.
        right: weight of what is to the right, of `PARTS`.
    """
    height, width = source.shape[0] - 1, source.shape[1] - 1
    total = np.zeros((height, width), np.uint32)
    is_missing = np.zeros((height, width), bool)
    for row, column in product((0, 1), repeat=2):
        weight = (down if row else PARTS - down) * (right if column else PARTS - right)
        # A pixel without a weight decides nothing, not even whether the others were observed.
        if weight:
            part = source[row : row + height, column : column + width]
            total += part * np.uint32(weight)
            is_missing |= part == CODE_NODATA
    mean = (total + PARTS**2 // 2) // PARTS**2
    return np.where(is_missing, CODE_NODATA, mean).astype(np.uint16)
