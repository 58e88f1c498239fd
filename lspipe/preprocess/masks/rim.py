"""Quality bits -> the same with the rim around clouds and cloud shadows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lspipe.schema import Quality

if TYPE_CHECKING:
    from numpy.typing import NDArray


def dilate(quality: NDArray[np.uint8], px: int) -> NDArray[np.uint8]:
    """Mark the rim of clouds and cloud shadows.

    Args:
        quality: uint8 bits, (..., y, x); nothing lies beyond its edges.
        px: reach, pixels in both axes and diagonally (Chebyshev); 0 changes nothing.

    Returns:
        A copy with `DILATED` set on pixels within reach that are no cloud or shadow themselves.
    """
    # np.uint8: a bare IntFlag would widen a whole tile to int64.
    core = (quality & np.uint8(Quality.CLOUD | Quality.SHADOW)) != 0
    reached = spread(core, px)
    marked: NDArray[np.uint8] = quality.copy()
    marked[reached & ~core] |= np.uint8(Quality.DILATED)
    return marked


def spread(mask: NDArray[np.bool_], px: int) -> NDArray[np.bool_]:
    """Return True within `px` pixels (rows, columns and diagonals: Chebyshev) of a True pixel.

    Args:
        mask: bool (..., y, x).
        px: reach, pixels; for few, shifting is ten times faster than a moving maximum.

    Example:
        >>> spread(np.array([[True, False, False, False]]), 2)
        array([[ True,  True,  True, False]])
    """
    for axis in (-1, -2):
        source = np.moveaxis(mask, axis, 0)
        mask = mask.copy()
        target = np.moveaxis(mask, axis, 0)
        for step in range(1, px + 1):
            target[step:] |= source[:-step]
            target[:-step] |= source[step:]
    return mask
