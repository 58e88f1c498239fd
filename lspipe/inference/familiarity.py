"""Pixels of a block, as the network sees them -> how they compare with the training data.

A network returns a probability for any input. Here its pixels are compared with the statistics of
its training: per channel, how many lie outside the range of training, and how far their mean is
from the mean of training. Nothing here decides a pixel of the map.

A sample is counted. It is defined on the tile and not on the block, so that blocks of any size add
up to the same numbers. Where each pixel is scaled by itself, it is every eighth row and column.
Where a window is scaled by its own values, it is every fourth row and column of windows of the
lattice that begin two windows apart, as many pixels in all; a window is counted by the block in
which it begins.

Does not cover: what a run does about it (`guard.py`), which mistake was made (`slips.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.inference import windows
from lspipe.inference.inputs import WINDOW_KINDS, model_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from lspipe.inference.settings import Setting
    from lspipe.models.item import Scaling
    from lspipe.models.statistics import Statistics

STEP = 8
"""Every so many rows and columns a pixel is counted; 1.9 million of a whole tile."""

MARGIN = 0.25
"""How far beyond the 1st and 99th percentile of training a pixel still counts as inside, share of
the distance between both. Of 1197 patches of Landslide4Sense, in the statistics of all of them, 99
have less than 1.5 % of their pixels outside of that, for one that has more."""

FARTHEST = 99.0
"""Distances are cut here: those of a channel that never varied in training have no measure."""


@dataclass(frozen=True)
class Tally:
    """Counts of observed pixels, which add up over blocks."""

    pixels: int
    outside: tuple[int, ...]
    """Per channel, how many lie outside of training and its margin."""
    total: tuple[float, ...]
    """Per channel, sum of the values, model units, each cut to training and its margin: a bank of
    snow counts, but no more than its pixels do."""

    @classmethod
    def of(cls, values: NDArray[np.float32], trained: Statistics) -> Tally:
        """Count values (channel, pixel), model units."""
        low, high = (edge[:, None] for edge in reach(trained))
        return cls(
            pixels=values.shape[1],
            outside=tuple(((values < low) | (values > high)).sum(axis=1).tolist()),
            total=tuple(values.clip(low, high).sum(axis=1, dtype=np.float64).tolist()),
        )

    @classmethod
    def joined(cls, tallies: Iterable[Mapping[str, Any]]) -> Tally | None:
        """Add up tallies given as `as_json`; None where there is none."""
        some = list(tallies)
        if not some:
            return None
        outside, total = (
            tuple(map(sum, zip(*(tally[name] for tally in some), strict=True)))
            for name in ("outside", "total")
        )
        return cls(sum(tally["pixels"] for tally in some), outside, total)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Channel:
    """How the pixels of one channel lie to training."""

    name: str
    outside: float
    """Share of pixels outside of training and its margin, 0..1."""
    distance: float
    """Of the mean (of values cut to that range) from the mean of training, in its standard
    deviations; above 0 = higher."""

    def __str__(self) -> str:
        side = "above" if self.distance > 0 else "below"
        return (
            f"{self.name} {self.outside:.0%} of pixels outside of what the model was trained on "
            f"(mean {abs(self.distance):.1f} standard deviations {side})"
        )


def reach(trained: Statistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value that count as inside, (C,) each: the percentiles and a margin."""
    low, high = np.array(trained.p01), np.array(trained.p99)
    # Of a channel that never varied, the last digits still do.
    rounding = 1e-5 * np.maximum(np.abs(low), np.abs(high))
    margin = np.maximum(MARGIN * (high - low), rounding)
    return low - margin, high + margin


def channels(tally: Tally, trained: Statistics, bands: Sequence[str]) -> list[Channel]:
    """Compare each channel with training; nothing where no pixel was observed."""
    if not tally.pixels:
        return []
    away = np.array(tally.total) / tally.pixels - np.array(trained.mean)
    distances = away / np.maximum(trained.std, np.finfo(np.float64).tiny)
    return [
        Channel(band, outside / tally.pixels, float(np.clip(distance, -FARTHEST, FARTHEST)))
        for band, outside, distance in zip(bands, tally.outside, distances, strict=True)
    ]


def sample(
    pixels: NDArray[Any],
    *,
    origin: tuple[int, int],
    tile_shape: tuple[int, int],
    core: tuple[slice, slice],
    setting: Setting,
    scaling: Scaling,
    observed: NDArray[np.bool_],
    area: NDArray[np.bool_] | None = None,
    tile_range: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Take the pixels of a block that are counted, in model units.

    Args:
        pixels: (band, y, x) as in `run_block`.
        origin: row and column of pixels[:, 0, 0] in the tile.
        tile_shape: rows and columns of the tile.
        core: rows and columns of the tile that this block counts.
        setting: whose windows are scaled, where the scaling looks at windows.
        scaling: pixels to model units.
        observed: bool (y, x) like `pixels`.
        area: bool (y, x) like `pixels`, True = counted; None = everywhere.
        tile_range: as in `run_block`.

    Returns:
        float32 (band, n): observed pixels inside the area, n may be 0.
    """
    wanted = observed if area is None else observed & area
    if scaling.kind not in WINDOW_KINDS:
        rows, columns = (
            slice(-(-span.start // STEP) * STEP - first, span.stop - first, STEP)
            for span, first in zip(core, origin, strict=True)
        )
        values = pixels[:, rows, columns][:, wanted[rows, columns]]
        return model_units(values[None, :, :, None], scaling, tile_range=tile_range)[0, :, :, 0]
    every = slice(None, None, STEP)
    thinned = (every, every)
    taken = [np.empty((len(pixels), 0), np.float32)]
    for part in _windows(pixels.shape[1:], origin, tile_shape, core, setting):
        if wanted[part][thinned].any():
            scaled = model_units(
                pixels[:, *part][None], scaling, observed=observed[part][None, None]
            )[0]
            taken.append(scaled[:, *thinned][:, wanted[part][thinned]])
    return np.concatenate(taken, axis=1)


def _windows(
    shape: tuple[int, ...],
    origin: tuple[int, int],
    tile_shape: tuple[int, int],
    core: tuple[slice, slice],
    setting: Setting,
) -> Iterator[tuple[slice, slice]]:
    """Yield the counted windows that begin in the core and lie in the pixels, rows before columns.

    In an axis that is shorter than a window, what was padded is not observed, and is left out.
    """
    # Side by side, so that an area however small lies in one.
    apart = setting.window // setting.stride
    axes = []
    for span, first, size, length in zip(core, origin, shape, tile_shape, strict=True):
        every = windows.origins(length, setting.window, setting.stride)
        # The last one ends the axis, and is not where the step would have it.
        starts = np.union1d(every[::apart], every[-1:])
        ends = np.minimum(starts + setting.window, length)
        is_here = (starts >= span.start) & (starts < span.stop) & (ends <= first + size)
        axes.append(
            [
                slice(start - first, end - first)
                for start, end in zip(starts[is_here], ends[is_here], strict=True)
            ]
        )
    yield from product(*axes)
