"""Pictures of two dates -> the shift between them, by phase correlation in windows.

The shift of a window is where the two pictures correlate best when only the phases of their
spectra are kept, so that neither brightness nor season counts, only where things are. The shift of
a tile is the median of its windows, and is none where too few of them see the same.

Source: Kuglin and Hines 1975 (phase correlation); Guizar-Sicairos, Thurman and Fienup 2008,
doi:10.1364/OL.33.000156 (fractions of a pixel by a DFT around the peak); docs/numerics.md,
Registration.

See also `moving.py`, which moves a map by such a shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from lspipe.schema import Part

EDGES = (512, 256, 128)
"""Edge of a window, pixels: the largest of which an area holds enough. 5 km of Sentinel-2."""

ENOUGH = 9
"""Windows that an area must hold for an edge to be taken: three by three, half overlapping."""

MOST = 8
"""Windows along an axis. More cost time, and the median of 64 is known well enough."""

LEAST = 5
"""Windows that must see the same shift."""

LEAST_SHARE = 0.5
"""Of the windows with a shift that must agree, and of a window that must be observed."""

AGREED_PX = 1.0
"""How far from the median a window may be and still agree, pixels."""

FARTHEST_PX = 16
"""Largest shift along an axis that is looked for, pixels."""

PROMINENCE = 7.0
"""How far a peak must stand above the mean of the correlation, in standard deviations. Among the
1089 shifts that are looked at, the highest of pure noise is below 5."""

DETAIL_PX = 17
"""Edge of the mean that is taken off each pixel: what is larger than this is haze and season."""

LEAST_TEXTURE = 0.5
"""Standard deviation of the detail of a picture with texture, in its own units. Of true colour,
1 is 0.0012 of reflectance, and rounding alone makes 0.3."""

STEPS = 20
"""Steps per pixel around the peak; a parabola through the best three finds the rest."""


@dataclass(frozen=True)
class Shift:
    """How far the later of two pictures lies from the earlier one."""

    dx_px: float
    """To the right (east), pixels: what is at column x on one date is at x + dx on the other."""
    dy_px: float
    """Down (south), pixels."""
    spread_px: float
    """Standard deviation of a window's shift along an axis, robust (1.4826 x MAD, the larger)."""
    windows: int
    """Windows that agree."""

    @property
    def length_px(self) -> float:
        """How far, pixels."""
        return float(np.hypot(self.dx_px, self.dy_px))

    def reversed(self) -> Shift:
        """Return the same, seen from the later picture."""
        # Adding zero, so that there is no negative one.
        return replace(self, dx_px=0.0 - self.dx_px, dy_px=0.0 - self.dy_px)


def places(area: Part) -> list[Part]:
    """Return windows that cover a part of a tile, at most `MOST` along each axis.

    They are spread evenly from edge to edge, and depend on nothing but the part. None where it is
    smaller than two of the smallest windows along an axis.

    Example:
        >>> found = places((slice(0, 10980), slice(0, 10980)))
        >>> len(found), found[0], found[-1]
        (64, (slice(0, 512, None), slice(0, 512, None)), \
(slice(10468, 10980, None), slice(10468, 10980, None)))
    """
    for edge in EDGES:
        rows, columns = (_spread(span, edge) for span in area)
        if len(rows) * len(columns) >= ENOUGH:
            return list(product(rows, columns))
    return []


def _spread(span: slice, edge: int) -> list[slice]:
    """Return windows along an axis, overlapping by half at most."""
    room = span.stop - span.start - edge
    count = min(MOST, 2 * room // edge + 1)
    starts = np.rint(np.linspace(span.start, span.start + room, max(count, 0))).astype(int)
    return [slice(int(start), int(start) + edge) for start in starts]


def estimate(windows: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> Shift | None:
    """Estimate the shift between two dates.

    Args:
        windows: of each the picture before and after, float (y, x) in the units of
            `true_colour` (1..255), NaN = not observed.

    Returns:
        The median over the windows that agree, rounded to 0.01 pixel; None where fewer than
        `LEAST` agree, or fewer than half of those that have a shift.
    """
    found = np.array([it for pair in windows if (it := window_shift(*pair)) is not None])
    if len(found) < LEAST:
        return None
    distance = np.hypot(*(found - np.median(found, axis=0)).T)
    agreed = found[distance <= AGREED_PX]
    if len(agreed) < max(LEAST, LEAST_SHARE * len(found)):
        return None
    middle = np.median(agreed, axis=0)
    spread = 1.4826 * np.median(np.abs(agreed - middle), axis=0).max()
    # Rounded, so that what is recorded is what a map is moved by. Without a negative zero.
    dy, dx = (round(float(value), 2) + 0.0 for value in middle)
    return Shift(dx, dy, round(float(spread), 2), len(agreed))


def window_shift(
    before: NDArray[np.float32], after: NDArray[np.float32]
) -> tuple[float, float] | None:
    """Return rows and columns by which a picture must move to lie on the later one.

    Exchanging the pictures changes the sign and nothing else.

    Args:
        before: float (y, x), units as in `estimate`, NaN = not observed.
        after: likewise, the same shape.

    Returns:
        Down and right, pixels; None where too little was observed on a date, a picture has no
        texture, or no shift stands out.

    Example:
        >>> ground = np.random.default_rng(0).uniform(1, 255, (128, 128)).astype(np.float32)
        >>> moved = np.roll(ground, (2, -3), axis=(0, 1))
        >>> down, right = window_shift(ground, moved)
        >>> round(down, 2), round(right, 2)
        (2.0, -3.0)
    """
    first, second = _spectrum(before), _spectrum(after)
    if first is None or second is None:
        return None
    cross = np.conj(first) * second
    cross *= _low_pass(cross.shape) / np.maximum(np.abs(cross), np.finfo(np.float32).tiny)
    coarse = _peak(fft.ifft2(cross).real)
    return None if coarse is None else _refined(cross, coarse)


def _spectrum(picture: NDArray[np.float32]) -> NDArray[np.complex64] | None:
    """Return the spectrum of the detail of a picture; None where there is none."""
    seen = ~np.isnan(picture)
    fade = _fade(seen)
    if fade.mean() < LEAST_SHARE:
        return None
    share = ndimage.uniform_filter(seen.astype(np.float32), DETAIL_PX)
    level = ndimage.uniform_filter(np.where(seen, picture, 0).astype(np.float32), DETAIL_PX)
    detail = np.where(seen, picture - level / np.maximum(share, 1e-6), 0).astype(np.float32)
    if detail[seen].std() < LEAST_TEXTURE:
        return None
    return np.asarray(fft.fft2(detail * fade * _hann(picture.shape)), np.complex64)


def _fade(seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return weights that fade to zero, smoothly, towards what was not observed.

    An edge that stays in place, such as that of the area, would count as a shift of zero, and so
    would a kink of the weights.
    """
    weights = ndimage.minimum_filter(seen.astype(np.float32), DETAIL_PX)
    for _ in range(2):
        weights = ndimage.uniform_filter(weights, DETAIL_PX // 2 + 1)
    return np.asarray(weights, np.float32)


def _hann(shape: tuple[int, ...]) -> NDArray[np.float32]:
    rows, columns = (np.hanning(length + 2)[1:-1] for length in shape)
    return np.outer(rows, columns).astype(np.float32)


def _low_pass(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return weights of frequencies: near half a cycle a pixel there is only noise."""
    rows, columns = (np.exp(-((fft.fftfreq(length) / 0.25) ** 2)) for length in shape)
    return np.outer(rows, columns).astype(np.float32)


def _peak(surface: NDArray[np.float32]) -> tuple[int, int] | None:
    """Return the highest of the shifts that are looked for; None where it does not stand out."""
    reach = np.arange(-FARTHEST_PX, FARTHEST_PX + 1)
    near = surface[np.ix_(reach, reach)]
    row, column = np.unravel_index(near.argmax(), near.shape)
    if near[row, column] < surface.mean() + PROMINENCE * surface.std():
        return None
    return int(reach[row]), int(reach[column])


def _refined(cross: NDArray[np.complex64], coarse: tuple[int, int]) -> tuple[float, float]:
    """Return the peak to a fraction of a pixel: a DFT on a fine grid around it, then a parabola."""
    fine = np.arange(-STEPS, STEPS + 1) / STEPS
    down, right = (
        np.exp(2j * np.pi * np.outer(start + fine, fft.fftfreq(length)))
        for start, length in zip(coarse, cross.shape, strict=True)
    )
    near = (down @ cross @ right.T).real
    row, column = np.unravel_index(near[1:-1, 1:-1].argmax(), (2 * STEPS - 1,) * 2)
    row, column = int(row) + 1, int(column) + 1
    return (
        float(coarse[0] + fine[row] + _vertex(near[row - 1 : row + 2, column]) / STEPS),
        float(coarse[1] + fine[column] + _vertex(near[row, column - 1 : column + 2]) / STEPS),
    )


def _vertex(values: NDArray[np.float64]) -> float:
    """Return where a parabola through three values has its vertex, in steps from the middle one."""
    left, middle, right = values
    bend = left - 2 * middle + right
    return 0.0 if bend == 0 else float(0.5 * (left - right) / bend)
