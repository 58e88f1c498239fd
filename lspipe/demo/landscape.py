"""A seed to a simulated mountain valley: relief, land cover on two dates, old and new landslides.

Covers: what lies on the ground, on one grid of 10 m pixels. Does not cover: light, clouds, sensor
noise (`scene`) and files (`archive`). The valley runs north to south. Everything here is invented;
it is plausible to the eye, and no evidence of how well a model works on real scenes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from lspipe.demo.slides import Slide, plant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PIXEL_M = 10.0
"""Edge of one pixel, metres."""


class Cover(IntEnum):
    """What a pixel is made of; the order is that of `scene.SPECTRA`."""

    FOREST = 0
    MEADOW = 1
    HEATH = 2
    ROCK = 3
    SNOW = 4
    WATER = 5
    GRAVEL = 6
    ROAD = 7
    CROP = 8
    STUBBLE = 9
    SOIL = 10
    LOGGED = 11


@dataclass(frozen=True)
class Landscape:
    """One valley on two dates; arrays are (y, x), index 0 of a pair is before, 1 is after."""

    elevation: NDArray[np.float32]
    """Metres."""
    covers: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    """`Cover` codes, under the landslides."""
    texture: NDArray[np.float32]
    """Fine texture of the ground and of tree crowns, the same on both dates; mean 0, sd 1."""
    old: tuple[Slide, ...]
    """Landslides that both dates show."""
    new: tuple[Slide, ...]
    """Landslides that only the second date shows."""

    def slides(self, date: int) -> tuple[Slide, ...]:
        """Landslides that a date shows (0 before, 1 after)."""
        return self.old + self.new if date else self.old


def simulate(
    shape: tuple[int, int],
    *,
    seed: int,
    new: int = 14,
    old: int = 8,
    anchors: Sequence[tuple[int, int]] = (),
) -> Landscape:
    """Simulate one valley.

    Args:
        shape: rows and columns of 10 m pixels; at least 300 x 300 for the relief to have room.
        seed: the same seed gives the same valley.
        new: number of new landslides to plant; a few less where no free slope is left.
        old: number of landslides already there on both dates.
        anchors: (first row, last row) per landslide, for the first new ones: it lies within these
            rows and reaches across the middle one.
    """
    streams = iter(np.random.default_rng(seed).spawn(5))
    river = _river(shape, next(streams))
    elevation = _relief(shape, river, next(streams))
    covers = _covers(elevation, river, next(streams))
    # Slides start on steep vegetated ground and stop where the valley floor begins.
    vegetated = np.isin(covers[0], (Cover.FOREST, Cover.HEATH))
    slides = plant(
        elevation, vegetated, count=new + old, anchors=anchors, rng=next(streams), pixel_m=PIXEL_M
    )
    first_old = max(len(slides) - old, 0)
    texture = noise(shape, next(streams), scale_px=3, smoothness=1.2)
    return Landscape(elevation, covers, texture, old=slides[first_old:], new=slides[:first_old])


def noise(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    scale_px: float,
    smoothness: float = 1.6,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.float32]:
    """Make a fractal random field of mean 0 and standard deviation 1.

    Args:
        shape: rows and columns.
        rng: source of the randomness.
        scale_px: size of the largest features, pixels.
        smoothness: exponent of the amplitude spectrum (1 + (scale k)^2)^(-smoothness / 2).
        stretch: how much longer features are along (y, x).

    Source: spectral synthesis with a von Karman spectrum, whose small scales are self-similar.
    """
    ky = np.fft.fftfreq(shape[0])[:, None] * stretch[0]
    kx = np.fft.rfftfreq(shape[1])[None, :] * stretch[1]
    amplitude = (1 + (scale_px * 2 * np.pi) ** 2 * (ky**2 + kx**2)) ** (-smoothness / 2)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * amplitude, s=shape)
    field -= field.mean()
    field = (field / field.std()).astype(np.float32)
    return np.asarray(field)


def ramp(values: NDArray[Any], start: Any, stop: Any) -> NDArray[np.float32]:
    """Rise smoothly from 0 at `start` to 1 at `stop`, numbers or arrays (a smoothstep)."""
    t = np.clip((values - start) / (stop - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


# Land use of a field in one summer, and how common it is.
_CROPS = {Cover.CROP: 0.35, Cover.MEADOW: 0.25, Cover.STUBBLE: 0.2, Cover.SOIL: 0.2}


@dataclass(frozen=True)
class _River:
    distance: NDArray[np.float32]
    """From the middle of the river, metres."""
    side: NDArray[np.float32]
    """Columns east (positive) or west of the river, pixels."""


def _river(shape: tuple[int, int], rng: np.random.Generator) -> _River:
    rows, columns = shape
    y = np.arange(rows) / 1000
    phase = rng.uniform(0, 2 * np.pi, 3)
    bends = (
        0.07 * np.sin(2 * np.pi * 0.9 * y + phase[0])
        + 0.035 * np.sin(2 * np.pi * 2.3 * y + phase[1])
        + 0.012 * np.sin(2 * np.pi * 6.1 * y + phase[2])
    )
    column = columns * (0.47 + bends)
    side = np.arange(columns)[None, :] - column[:, None]
    # The sign of `side` changes across the river, whatever its bend.
    bed = np.abs(side) <= 1 + np.abs(np.gradient(column))[:, None]
    distance = ndimage.distance_transform_edt(~bed) * PIXEL_M
    return _River(distance.astype(np.float32), side.astype(np.float32))


def _relief(shape: tuple[int, int], river: _River, rng: np.random.Generator) -> NDArray[np.float32]:
    """Elevation, metres: a trough valley whose flanks are cut by gullies, falling to the south."""
    # Gullies run across the valley, so features are longer along x.
    ribs = 1 - np.abs(noise(shape, rng, scale_px=75, smoothness=2.4, stretch=(1, 3)))
    peaks = 1 - np.abs(noise(shape, rng, scale_px=110, smoothness=2.6))
    rough = noise(shape, rng, scale_px=40, smoothness=2.2)
    floor_m = rng.uniform(350, 550) + 260 * noise(shape, rng, scale_px=160, smoothness=3)
    flank = ramp(river.distance, floor_m, floor_m + 2600)
    hills = ramp(river.distance, floor_m, floor_m + 900)
    fall = 0.006 * PIXEL_M * (shape[0] - np.arange(shape[0]))[:, None]
    elevation = 260 + fall + 0.01 * river.distance
    elevation += 900 * flank + hills * (240 * ribs + 170 * peaks * (0.4 + flank) + 40 * rough)
    return np.asarray(ndimage.gaussian_filter(elevation, 1.2), np.float32)


def slope_degrees(elevation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Slope of the relief in degrees, by central differences."""
    dy, dx = np.gradient(elevation, PIXEL_M)
    return np.asarray(np.degrees(np.arctan(np.hypot(dx, dy))), np.float32)


def _covers(
    elevation: NDArray[np.float32], river: _River, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    shape = elevation.shape
    slope = slope_degrees(ndimage.gaussian_filter(elevation, 2))
    patchy, edge = (noise(shape, rng, scale_px=size, smoothness=1.8) for size in (30, 14))
    cover = np.full(shape, Cover.FOREST, np.uint8)
    cover[patchy + 0.25 * edge > 1.25] = Cover.MEADOW
    tree_line = 1150 + 70 * patchy + 25 * edge
    cover[elevation > tree_line] = Cover.HEATH
    cover[(elevation > tree_line + 160 + 40 * edge) | (slope > 47 + 3 * edge)] = Cover.ROCK
    flat = (slope < 9) & (river.distance < 1100)
    cover[flat] = Cover.MEADOW
    fields = _fields(shape, rng)
    farmed = flat & (river.distance > 160 + 60 * patchy) & (patchy < 0.9)
    # No farmer ploughs a ledge of 50 m.
    farmed = ndimage.binary_opening(farmed, np.ones((9, 9), bool))
    dates = []
    for date, lowest_snow in enumerate(rng.uniform(1480, 1600, 2)):
        now = cover.copy()
        crops = rng.choice(list(_CROPS), 4096, p=list(_CROPS.values()))
        now[farmed] = crops[fields[farmed]]
        now[elevation > lowest_snow + 60 * edge + 3 * np.maximum(slope - 25, 0)] = Cover.SNOW
        if date:
            now[_logged(cover, fields, slope, rng)] = Cover.LOGGED
        _draw_lines(now, elevation, river, edge, high_water=rng.uniform(0, 8))
        dates.append(now)
    return dates[0], dates[1]


def _fields(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Number of the field each pixel would belong to, 0..4095: bricks of a turned grid."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    turn = rng.uniform(0.1, 0.6)
    u = (x * np.cos(turn) + y * np.sin(turn)) / rng.uniform(11, 16)
    v = (y * np.cos(turn) - x * np.sin(turn)) / rng.uniform(18, 26)
    row = np.floor(u).astype(np.int64)
    brick = np.floor(v + 0.37 * row).astype(np.int64)
    return np.asarray((row * 7919 + brick * 104729) % 4096)


def _logged(
    cover: NDArray[np.uint8],
    fields: NDArray[np.int64],
    slope: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Forest felled between the dates, in a few rectangles: a change that is no landslide."""
    gentle = (cover == Cover.FOREST) & (slope < 24)
    plots = np.flatnonzero(np.bincount(fields[gentle], minlength=4096) > 150)
    return np.asarray(gentle & np.isin(fields, rng.permutation(plots)[:4]))


def _draw_lines(
    cover: NDArray[np.uint8],
    elevation: NDArray[np.float32],
    river: _River,
    edge: NDArray[np.float32],
    *,
    high_water: float,
) -> None:
    """Draw gravel banks, water and two roads into a cover, in place."""
    cover[river.distance < 62 + 16 * edge] = Cover.GRAVEL
    cover[river.distance < 24 + high_water + 7 * edge] = Cover.WATER
    smooth = ndimage.gaussian_filter(elevation, 5)
    dy, dx = np.gradient(smooth)
    contour = float(np.quantile(smooth, 0.45))
    # A forest road keeps its height: pixels within half a pixel of one contour of the east flank.
    near = np.abs(smooth - contour) < 0.55 * np.maximum(np.hypot(dx, dy), 0.05)
    cover[near & (river.side > 0) & (cover == Cover.FOREST)] = Cover.ROAD
    valley_road = np.abs(ndimage.gaussian_filter(river.side, (25, 0)) + 21) < 0.8
    cover[valley_road & (cover != Cover.WATER)] = Cover.ROAD
