"""Steep vegetated slopes to simulated landslides: a path downhill, a width along it, a pixel share.

Shallow slides and debris flows: they start on 24..46 degrees, run down the steepest descent with
some inertia, widen at the toe, and stop on gentle ground. See also: `landscape`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lspipe.schema import Part

GAP_PX = 7
"""Least distance between two landslides, pixels, so that each stays one object of its own."""

INERTIA = 0.6
"""Share of the last direction kept in a step downhill; makes paths smooth."""


@dataclass(frozen=True)
class Slide:
    """One landslide on the landscape's grid."""

    window: Part
    """Rows and columns of the landscape that `share` covers."""
    share: NDArray[np.float32]
    """Share of each pixel that is scar, 0..1."""
    brightness: float
    """Reflectance of its debris over that of the mean landslide."""

    @property
    def pixels(self) -> NDArray[np.bool_]:
        """Pixels that are mostly scar."""
        return self.share > 0.5


@dataclass(frozen=True)
class Sketch:
    """A landslide before it is burnt into pixels."""

    window: Part
    """Rows and columns of the landscape that it can cover."""
    path: NDArray[np.float64]
    """(n, 2) rows and columns downhill, one pixel apart."""
    radius: NDArray[np.float64]
    """(n,) half its width along the path, pixels."""
    fray: NDArray[np.float64]
    """(y, x) of the window, standard normal: what frays the edge."""
    brightness: float
    """As of `Slide`."""


def plant(
    elevation: NDArray[np.float32],
    allowed: NDArray[np.bool_],
    *,
    count: int,
    anchors: Sequence[tuple[int, int]],
    rng: np.random.Generator,
    pixel_m: float,
) -> tuple[Slide, ...]:
    """Plant landslides that keep clear of each other and of the edge.

    Args:
        elevation: (y, x) metres.
        allowed: (y, x) True where a landslide may start and run.
        count: how many to plant; fewer are returned when 4000 tries find no room for more.
        anchors: (first row, last row) per landslide, for the first ones: it lies within these rows
            and reaches across the middle one.
        rng: source of the randomness.
        pixel_m: edge of a pixel, metres.
    """
    smooth = ndimage.gaussian_filter(elevation, 2.5).astype(np.float64)
    free = allowed.copy()
    free[:12] = free[-12:] = False
    free[:, :12] = free[:, -12:] = False
    slides: list[Slide] = []
    wanted = list(anchors)
    for sketch in _candidates(smooth, free, rng, pixel_m, tries=4000):
        if len(slides) == count:
            break
        # Most tries lie elsewhere, and to burn one costs more than to look where it lies.
        if wanted and not _may_cross(sketch, *wanted[0]):
            continue
        slide = _burn(sketch)
        if wanted and not _crosses(slide, *wanted[0]):
            continue
        if (slide.pixels & ~free[slide.window]).any():
            continue
        wanted = wanted[1:]
        slides.append(slide)
        _occupy(free, slide)
    return tuple(slides)


def _candidates(
    smooth: NDArray[np.float64],
    free: NDArray[np.bool_],
    rng: np.random.Generator,
    pixel_m: float,
    *,
    tries: int,
) -> Iterator[Sketch]:
    gradient: tuple[NDArray[np.float64], ...] = tuple(np.gradient(smooth, pixel_m))
    dy, dx = gradient
    slope = np.degrees(np.arctan(np.hypot(dy, dx)))
    starts = np.argwhere(free & (slope > 24) & (slope < 46))
    for start in starts[rng.integers(0, max(len(starts), 1), tries if len(starts) else 0)]:
        # Lognormal sizes: most of 200-500 m.
        length_px = float(np.clip(rng.lognormal(3.5, 0.4), 11, 75))
        path = _descend(dy, dx, slope, start, length_px)
        if len(path) < 9:
            continue
        width_px = float(np.clip(0.18 * len(path) * rng.lognormal(0, 0.2), 3.2, 12))
        yield _sketch(path, width_px, smooth.shape, rng)


def _descend(
    dy: NDArray[np.float64],
    dx: NDArray[np.float64],
    slope: NDArray[np.float64],
    start: NDArray[np.int64],
    length_px: float,
) -> NDArray[np.float64]:
    """Follow the steepest descent by steps of one pixel; (n, 2) rows and columns."""
    position, direction = start.astype(np.float64), np.zeros(2)
    path = [position]
    for _ in range(int(length_px)):
        row, column = np.rint(position).astype(int)
        if not (3 < row < slope.shape[0] - 4 and 3 < column < slope.shape[1] - 4):
            break
        if slope[row, column] < 7:
            break
        downhill = -np.array([dy[row, column], dx[row, column]])
        downhill /= np.linalg.norm(downhill)
        direction = INERTIA * direction + (1 - INERTIA) * downhill
        direction /= np.linalg.norm(direction)
        position = position + direction
        path.append(position)
    return np.array(path)


def _sketch(
    path: NDArray[np.float64], width_px: float, shape: tuple[int, ...], rng: np.random.Generator
) -> Sketch:
    """Give a path a width that swells at the source and at the toe, and all that is random."""
    along = np.linspace(0, 1, len(path))
    profile = 0.75 + 0.25 * np.cos(2 * np.pi * along) + 0.25 * along
    profile *= np.sqrt(np.clip(6 * along + 0.35, 0, 1))
    radius = width_px / 2 * profile
    margin = int(np.ceil(radius.max())) + 3
    low = np.maximum(np.floor(path.min(axis=0)).astype(int) - margin, 0)
    high = np.minimum(np.ceil(path.max(axis=0)).astype(int) + margin + 1, shape)
    window = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
    fray = rng.standard_normal((int(high[0] - low[0]), int(high[1] - low[1])))
    return Sketch(window, path, radius, fray, brightness=float(rng.uniform(0.8, 1.25)))


def _burn(sketch: Sketch) -> Slide:
    """Burn a sketch into pixels, with a frayed edge."""
    y, x = np.mgrid[sketch.window]
    outside = np.full(y.shape, np.inf)
    for (row, column), reach in zip(sketch.path, sketch.radius, strict=True):
        np.minimum(outside, np.hypot(y - row, x - column) - reach, out=outside)
    frayed = outside + 0.8 * ndimage.gaussian_filter(sketch.fray, 1.2) * 2
    share = np.clip(0.5 - frayed, 0, 1).astype(np.float32)
    # Fraying can cut crumbs off; a landslide is one piece.
    labels, pieces = ndimage.label(share > 0.5, structure=np.ones((3, 3)))
    if pieces > 1:
        largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
        share[(labels != largest) & (labels > 0)] = 0
    return Slide(sketch.window, share, sketch.brightness)


def _may_cross(sketch: Sketch, first: int, last: int) -> bool:
    """Whether `_crosses` can hold for what is burnt of it: nothing is burnt outside the window."""
    rows, middle = sketch.window[0], (first + last) // 2
    return bool(rows.start <= middle - 2 and middle + 2 < rows.stop)


def _crosses(slide: Slide, first: int, last: int) -> bool:
    rows = slide.window[0].start + np.flatnonzero(slide.pixels.any(axis=1))
    middle = (first + last) // 2
    return bool(first <= rows[0] <= middle - 2 and middle + 2 <= rows[-1] <= last)


def _occupy(free: NDArray[np.bool_], slide: Slide) -> None:
    rows, columns = slide.window
    around = (
        slice(max(rows.start - GAP_PX, 0), rows.stop + GAP_PX),
        slice(max(columns.start - GAP_PX, 0), columns.stop + GAP_PX),
    )
    taken = np.zeros(free.shape, bool)
    taken[slide.window] = slide.pixels
    near = ndimage.distance_transform_edt(~taken[around]) <= GAP_PX
    free[around] &= ~near
