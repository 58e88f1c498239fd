"""A landscape, a date and a look direction to what Sentinel-1 would see of it in VV.

That is gamma0, linear power. Terrain is corrected, so that what is left is what covers the ground,
speckle, and how bare debris is tilted. Slopes so steep that they fold over, or lie in shadow, hold
nothing. See also: `radar`
(dates, grids, files), `scene` (the same for Sentinel-2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from lspipe.demo.landscape import PIXEL_M, Cover

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lspipe.demo.landscape import Landscape

GAMMA0_DB = {
    Cover.FOREST: -8.0,
    Cover.MEADOW: -11.0,
    Cover.HEATH: -10.0,
    Cover.ROCK: -10.0,
    Cover.SNOW: -10.5,  # dry: C-band sees the rock below
    Cover.WATER: -19.0,
    Cover.GRAVEL: -11.5,
    Cover.ROAD: -14.0,
    Cover.CROP: -10.5,
    Cover.STUBBLE: -12.0,
    Cover.SOIL: -12.0,
    Cover.LOGGED: -9.5,
}
"""Of C-band VV by cover, decibels; usual values rounded by hand, illustrative, not measured."""

DEBRIS_DB = -13.5
DEBRIS_TILT_DB = 2.5
"""Bare debris that lies level, and what a slope of 30 degrees towards the radar adds (or away from
it takes). So a landslide in a forest darkens, and by far more where it faces away."""

OLD_SHARE = 0.4
"""How much of an old landslide still looks like debris: shrubs cover the rest."""

INCIDENCE_DEGREES = 39.0
"""Of the middle of the swath of IW."""

LOOKS = 4.4
"""Equivalent number of looks of IW at 10 m: speckle is gamma distributed with this shape."""


@dataclass(frozen=True)
class Look:
    """From where a satellite looks."""

    state: str
    """"ascending" or "descending"."""
    relative_orbit: int
    azimuth: float
    """Degrees from north, clockwise, from the satellite to the ground."""


def mean_power(landscape: Landscape, date: int, look: Look) -> NDArray[np.float32]:
    """Gamma0 of VV without speckle, linear power, (y, x); NaN where layover or shadow is.

    Args:
        landscape: what lies on the ground.
        date: 0 before, 1 after.
        look: from where it is seen.
    """
    tilt = _tilt(landscape.elevation, look)
    power = _power(np.array([GAMMA0_DB[cover] for cover in Cover]))[landscape.covers[date]]
    debris = _power(DEBRIS_DB + DEBRIS_TILT_DB * np.clip(tilt / 30, -1, 1))
    for slide in landscape.slides(date):
        share = slide.share * (OLD_SHARE if slide in landscape.old else 1)
        power[slide.window] += share * (debris[slide.window] - power[slide.window])
    # Patches of stronger and weaker ground, 0.5 dB.
    power *= _power(0.5 * ndimage.gaussian_filter(landscape.texture, 1))
    # 0.8 px: what IW resolves is about 20 m.
    power = ndimage.gaussian_filter(power, 0.8)
    power[_is_folded(tilt)] = np.nan
    return np.asarray(power, np.float32)


def speckled(power: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """One acquisition of a mean power: other speckle each time."""
    return np.asarray(power * rng.gamma(LOOKS, 1 / LOOKS, power.shape), np.float32)


def _power(decibels: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(10 ** (decibels / 10), np.float32)


def _tilt(elevation: NDArray[np.float32], look: Look) -> NDArray[np.float32]:
    """Slope along the look direction, degrees; positive where it faces the radar."""
    south, east = np.gradient(ndimage.gaussian_filter(elevation, 1.5), PIXEL_M)
    angle = np.radians(look.azimuth)
    # Ground that rises away from the radar faces it.
    rise = east * np.sin(angle) - south * np.cos(angle)
    return np.asarray(np.degrees(np.arctan(rise)), np.float32)


def _is_folded(tilt: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where layover or shadow is, without single pixels."""
    is_so = (tilt > INCIDENCE_DEGREES) | (tilt < INCIDENCE_DEGREES - 90)
    return np.asarray(ndimage.binary_opening(is_so, np.ones((2, 2), bool)))
