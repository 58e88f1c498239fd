"""Heights on a grid -> slope and curvature of the ground, from windows of 3 x 3 pixels.

    a b c     row 1 is north
    d e f
    g h i

The result is one pixel smaller on each side: no height is made up beyond an edge. NaN is a height
that is not known, and so is what is derived from it.

See also: `heights.py` (where heights come from), `terrain.py` (channels of a tile).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from lspipe.cube import banded

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMOOTHING_M = 30.0
"""Standard deviation of the Gaussian in front of curvature, metres: second derivatives amplify the
noise of a DEM. A paraboloid keeps its curvature. Source: Handwerger et al. 2022, whose scripts
smooth with 30 m."""

HILLSIDE_M = 45.0
"""The same in front of the mask of gentle ground. Of a slope of 10 degrees that is 60 m long it
leaves 5; of the noise of SRTM on a plain, hardly anything that is as steep (docs/terrain.md)."""

REACH_M = 90.0
"""Where both end, metres: what lies farther away has no weight."""

STRIP = 64
"""Rows that are worked out at a time: what they need stays in a processor's cache."""

Curvature = Literal["total", "profile", "plan"]


def slope(heights: NDArray[np.float32], pixel_m: float) -> NDArray[np.float32]:
    """Return how steep the ground is.

    Args:
        heights: metres, (y, x), NaN = not known.
        pixel_m: edge of a pixel, metres.

    Returns:
        Degrees, 0 to 90, float32 (y - 2, x - 2), NaN where a height of the nine is not known.

    Source: Horn 1981, as `gdaldem slope`.

    >>> heights = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32)
    >>> round(float(slope(heights, 10)[0, 0]), 4)
    17.5484
    """
    found = np.empty((heights.shape[0] - 2, heights.shape[1] - 2), np.float32)
    for top in range(0, len(found), STRIP):
        _slope(heights[top : top + STRIP + 2], pixel_m, found[top : top + STRIP])
    return found


def _slope(z: NDArray[np.float32], pixel_m: float, found: NDArray[np.float32]) -> None:
    # Differences first: of heights of some 1000 m, float32 sums are off by a tenth of a millimetre.
    across = z[:, 2:] - z[:, :-2]
    pairs = across[:-1] + across[1:]
    east = np.add(pairs[:-1], pairs[1:], out=found)
    down = z[2:] - z[:-2]
    pairs = down[:, :-1] + down[:, 1:]
    south = pairs[:, :-1] + pairs[:, 1:]
    east *= east
    south *= south
    east += south
    if np.isnan(z.min()):
        # Of the nine, only the pixel itself is not in the formula.
        east += z[1:-1, 1:-1] * np.float32(0)
    np.sqrt(east, out=east)
    east *= np.float32(1 / (8 * pixel_m))
    np.arctan(east, out=east)
    east *= np.float32(180 / np.pi)


def curvature(
    heights: NDArray[np.floating], pixel_m: float, kind: Curvature = "total"
) -> NDArray[np.float32]:
    """Return how the ground is bent, by the signs and the scale of Esri.

    Args:
        heights: metres, (y, x), NaN = not known. In float32 count them from one nearby: their
            rounding is what differences of differences show.
        pixel_m: edge of a pixel, metres.
        kind: `total`, positive where the ground is convex; `profile`, along the steepest slope,
            positive where it is concave; `plan`, across it, positive where it is convex. Total is
            plan minus profile. On flat ground profile and plan are 0.

    Returns:
        Hundredths of 1/m, float32 (y - 2, x - 2), NaN where a height of the nine is not known.

    Source: Zevenbergen and Thorne 1987; Esri, "How Curvature works".

    >>> y, x = 10.0 * np.mgrid[1:-2:-1, -1:2]
    >>> bowl = 0.001 * (x**2 + y**2) + 0.3 * x
    >>> [round(float(curvature(bowl, 10, kind)[0, 0]), 6) for kind in ("total", "profile", "plan")]
    [-0.4, 0.2, -0.2]
    """
    found = np.empty((heights.shape[0] - 2, heights.shape[1] - 2), np.float32)
    for top in range(0, len(found), STRIP):
        strip = found[top : top + STRIP]
        strip[:] = _curvature(heights[top : top + len(strip) + 2], pixel_m, kind)
    return found


def _curvature(z: NDArray[Any], pixel_m: float, kind: Curvature) -> NDArray[Any]:
    d, e = _bent(z)
    if kind == "total":
        d += e
        d *= -100 / pixel_m**2
        return d
    f, g, h = _tilted(z, pixel_m)
    steepness = g * g + h * h
    is_flat = steepness == 0
    if kind == "profile":
        bent = 100 / pixel_m**2 * (d * g * g + e * h * h) + 200 * f * g * h
    else:
        bent = 200 * f * g * h - 100 / pixel_m**2 * (d * h * h + e * g * g)
    return np.asarray(np.where(is_flat, 0, bent / np.where(is_flat, 1, steepness)))


# Coefficients of the surface through nine heights; x is east, y is north.


def _bent(z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return D and E times twice the area of a pixel: second differences along x and along y."""
    # Differences of differences, as heights lose digits in a sum.
    across, down = z[1:-1, 1:] - z[1:-1, :-1], z[1:, 1:-1] - z[:-1, 1:-1]
    along_x, along_y = across[:, 1:] - across[:, :-1], down[1:] - down[:-1]
    if np.isnan(z.min()):
        # The corners are not in these formulas, and an unknown one makes all unknown.
        along_x += 0 * (z[:-2, :-2] + z[:-2, 2:] + z[2:, :-2] + z[2:, 2:])
        along_y += 0 * along_x
    return along_x, along_y


def _tilted(z: NDArray[Any], length: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return F, the mixed derivative, and G and H, the first ones along x and along y."""
    north, south, west, east = z[:-2, 1:-1], z[2:, 1:-1], z[1:-1, :-2], z[1:-1, 2:]
    return (
        (-z[:-2, :-2] + z[:-2, 2:] + z[2:, :-2] - z[2:, 2:]) / (4 * length**2),
        (-west + east) / (2 * length),
        (north - south) / (2 * length),
    )


def smoothed(
    heights: NDArray[np.float32], pixel_m: float, sigma_m: float = SMOOTHING_M
) -> NDArray[np.float32]:
    """Return heights without what is smaller than a Gaussian, smaller by `reach` on each side.

    Args:
        heights: metres, (y, x), NaN = not known, and so is then all within the reach.
        pixel_m: edge of a pixel, metres.
        sigma_m: standard deviation of the Gaussian, metres.

    Returns:
        Metres above the lowest height.
    """
    rim = reach(pixel_m)
    above = heights - np.fmin.reduce(heights, axis=None)
    holes = np.isnan(above)
    above[holes] = 0
    weights = _gaussian(rim, sigma_m / pixel_m)
    found = banded.summed(banded.summed(above, weights, axis=0), weights, axis=1)
    if holes.any():
        is_near = ndimage.maximum_filter(holes, 2 * rim + 1, mode="constant", cval=0)
        found[is_near[rim:-rim, rim:-rim]] = np.nan
    return found


@lru_cache(maxsize=8)
def _gaussian(rim: int, sigma_px: float) -> NDArray[np.float32]:
    weights = np.exp(-0.5 * (np.arange(-rim, rim + 1) / sigma_px) ** 2)
    return banded.band(weights / weights.sum())


def reach(pixel_m: float) -> int:
    """Return how far a Gaussian reaches, pixels."""
    return int(REACH_M / pixel_m + 0.5)
