"""Scene classes -> quality bits, and the rim around clouds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from lspipe.schema import SCL_CLASSES, Quality
from lspipe.spec import Bounds, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SclClass = Literal[
    "nodata", "saturated", "dark", "shadow", "vegetation", "bare", "water", "unclassified",
    "cloud_medium", "cloud_high", "cirrus", "snow",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MaskSpec(Spec):
    """Which pixels count as not observed."""

    scl: tuple[SclClass, ...] = (
        "nodata", "saturated", "shadow", "cloud_medium", "cloud_high", "cirrus", "snow",
    )  # fmt: skip
    """Scene classes of Sen2Cor that are masked."""
    # 3: Sen2Cor's shadows end 2 to 6 pixels early (docs/method.md, Masks); wider hides small scars.
    # 100, 1 km: wider than any rim of a cloud.
    dilate_px: Annotated[int, Bounds(ge=0, le=100, noun="a whole number of pixels")] = 3
    """Rim around cloud and cloud shadow that is masked too, pixels of 10 m."""
    apply: Literal["output", "input"] = "output"
    """`output`: the network sees what is under the mask; `input`: it sees the fill value."""


_BIT_OF_CLASS = {
    "nodata": Quality.NODATA,
    "shadow": Quality.SHADOW,
    "cloud_medium": Quality.CLOUD,
    "cloud_high": Quality.CLOUD,
    "cirrus": Quality.CLOUD,
    "snow": Quality.SNOW,
}


def quality_of(scl: NDArray[Any], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Turn scene classes into quality bits.

    Args:
        scl: unsigned integers 0..11 (uint8 or uint16), any shape.
        classes: names of the classes that are masked, see `schema.SCL_CLASSES`.

    Returns:
        uint8 bits of `schema.Quality`, 0 = clear. A value that is no scene class is `OTHER`.

    Raises:
        ValueError: a name is no scene class.
    """
    bits = np.zeros(256, np.uint8)
    bits[len(SCL_CLASSES) :] = Quality.OTHER
    for name in classes:
        if name not in SCL_CLASSES:
            raise ValueError(f"found {name!r}, expected names among {', '.join(SCL_CLASSES)}")
        bits[SCL_CLASSES[name]] = _BIT_OF_CLASS.get(name, Quality.OTHER)
    found: NDArray[np.uint8] = bits[np.minimum(scl, 255)]
    return found


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
