"""Pixels of a block, as the network sees them -> how they compare with the training data.

A network returns a probability for any input. Here its pixels are compared with the statistics of
its training: per channel, how many lie outside the range of training, and how far their mean is
from the mean of training. Nothing here decides a pixel of the map.

Every eighth row and column of the tile is counted, so that blocks of any size add up to the same
numbers. Where a window is scaled by its own values, these are every eighth row and column of
windows of the lattice that lie side by side; a window is counted by the block in which it begins.

Does not cover: what a run does about it (`guard.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.inference import windows
from lspipe.inference.inputs import WINDOW_KINDS, model_units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from lspipe.inference.settings import Setting
    from lspipe.models.item import Scaling
    from lspipe.models.statistics import Statistics
    from lspipe.schema import Part

STEP = 8
"""Every so many rows and columns a pixel is counted; 1.9 million of a whole tile."""

MARGIN = 0.25
"""How far beyond the 1st and 99th percentile of training a pixel still counts as inside, share of
the distance between both. 99 of 100 patches of Landslide4Sense (1197) then have less than 1.5 % of
their pixels outside of the range of all of them."""

FARTHEST = 99.0
"""Distances are cut here: those of a channel that never varied in training have no measure."""


@dataclass(frozen=True)
class Channel:
    """How the pixels of one channel compare with the training data."""

    name: str
    outside: float
    """Share of pixels outside of the range of training, 0..1."""
    distance: float
    """Of the mean (of values cut to that range) from the mean of training, in standard deviations
    of training; above 0 = higher."""

    def __str__(self) -> str:
        side = "above" if self.distance > 0 else "below"
        return (
            f"{self.name} {self.outside:.0%} of pixels outside of what the model was trained on "
            f"(mean {abs(self.distance):.1f} standard deviations {side})"
        )


def reach(trained: Statistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the range of training, (C,) each: the 1st and 99th percentile with a margin."""
    low, high = np.array(trained.p01), np.array(trained.p99)
    # Of a channel that never varied, the last digits still do.
    rounding = 1e-5 * np.maximum(np.abs(low), np.abs(high))
    margin = np.maximum(MARGIN * (high - low), rounding)
    return low - margin, high + margin


def count(values: NDArray[np.float32], trained: Statistics) -> dict[str, Any]:
    """Count observed pixels as plain values, which add up over blocks.

    Args:
        values: (channel, pixel), model units.
        trained: what the model was trained on.

    Returns:
        `pixels`; per channel `outside`, how many lie outside of the range of training, and `total`,
        the sum of the values, each cut to that range: a little snow does not move the mean.
    """
    low, high = (edge[:, None] for edge in reach(trained))
    return {
        "pixels": values.shape[1],
        "outside": ((values < low) | (values > high)).sum(axis=1).tolist(),
        "total": values.clip(low, high).sum(axis=1, dtype=np.float64).tolist(),
    }


def channels(
    counts: Sequence[Mapping[str, Any]], trained: Statistics, bands: Sequence[str]
) -> list[Channel]:
    """Compare what was counted (`count`) with training; nothing where no pixel was observed."""
    pixels = sum(each["pixels"] for each in counts)
    if not pixels:
        return []
    outside, total = (
        np.sum([each[name] for each in counts], axis=0) / pixels for name in ("outside", "total")
    )
    distances = (total - trained.mean) / np.maximum(trained.std, np.finfo(np.float64).tiny)
    return [
        Channel(band, float(share), float(np.clip(distance, -FARTHEST, FARTHEST)))
        for band, share, distance in zip(bands, outside, distances, strict=True)
    ]


def sample(
    pixels: NDArray[Any],
    *,
    origin: tuple[int, int],
    tile_shape: tuple[int, int],
    core: Part,
    setting: Setting,
    scaling: Scaling,
    observed: NDArray[np.bool_],
    area: NDArray[np.bool_] | None = None,
    tile_range: ArrayLike | None = None,
    bands: Sequence[str] | None = None,
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
        bands: channels, for their steps; None = reflectance.

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
        flat = values[None, :, :, None]
        return model_units(flat, scaling, tile_range=tile_range, bands=bands)[0, :, :, 0]
    every = slice(None, None, STEP)
    thinned = (every, every)
    taken = [np.empty((len(pixels), 0), np.float32)]
    for part in _windows(pixels.shape[1:], origin, tile_shape, core, setting):
        if wanted[part][thinned].any():
            scaled = model_units(
                pixels[:, *part][None], scaling, observed=observed[part][None, None], bands=bands
            )[0]
            taken.append(scaled[:, *thinned][:, wanted[part][thinned]])
    return np.concatenate(taken, axis=1)


def _windows(
    shape: tuple[int, ...],
    origin: tuple[int, int],
    tile_shape: tuple[int, int],
    core: Part,
    setting: Setting,
) -> Iterator[Part]:
    """Yield the counted windows that begin in the core and lie in the pixels, rows before columns.

    In an axis that is shorter than a window, what was padded is not observed, and is left out.
    """
    # Side by side, so that an area however small lies in one.
    apart = setting.window // setting.stride * setting.stride
    axes = []
    for span, first, size, length in zip(core, origin, shape, tile_shape, strict=True):
        starts = np.array(windows.origins(length, setting.window, apart))
        ends = np.minimum(starts + setting.window, length)
        is_here = (starts >= span.start) & (starts < span.stop) & (ends <= first + size)
        axes.append(
            [
                slice(start - first, end - first)
                for start, end in zip(starts[is_here], ends[is_here], strict=True)
            ]
        )
    yield from product(*axes)
