"""Listed and known landslides on the grids of a run -> scores by pixels.

A pixel belongs to a landslide that holds its centre. A known landslide without the centre of a
pixel is too small to locate: the pixels that it touches are left out, right or wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lspipe.evaluate.metrics import Confusion, confusion
from lspipe.evaluate.scorecard import Intervals, Row
from lspipe.evaluate.spread import intervals
from lspipe.samples.marks import Marks
from lspipe.schema import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import geopandas as gpd

    from lspipe.evaluate.ground import Ground
    from lspipe.schema import Part

BLOCK = 128
"""Edge of the blocks that are drawn again for intervals, pixels: that of labelled patches."""


@dataclass(frozen=True)
class PixelScores:
    """Scores of all pixels that count."""

    counts: Confusion
    scores: Row
    intervals: Intervals
    """95 %, of blocks drawn again; None = a single block."""
    blocks: int
    """Blocks of `BLOCK` x `BLOCK` pixels with a pixel that counts."""


def pixel_scores(
    grounds: Sequence[Ground], listed: gpd.GeoDataFrame, known: gpd.GeoDataFrame
) -> PixelScores:
    """Compare listed and known landslides by pixels.

    Args:
        grounds: of `ground_of`.
        listed: polygons of any CRS.
        known: likewise.
    """
    counts = [
        one for ground in grounds for one in _block_counts(ground, listed, known) if one.total
    ]
    total = sum(counts, Confusion(0, 0, 0))
    filled = [one for one in counts if one.true_negative < one.total]
    return PixelScores(
        counts=total,
        scores=Row.of(total.scores()),
        intervals=intervals(filled, empty=len(counts) - len(filled)),
        blocks=len(counts),
    )


def _block_counts(
    ground: Ground, listed: gpd.GeoDataFrame, known: gpd.GeoDataFrame
) -> Iterator[Confusion]:
    claims, truth = (
        Marks.of(table, np.ones(len(table), np.uint8), ground.geobox) for table in (listed, known)
    )
    for part in _blocks(ground.geobox.shape):
        counted = ground.mask[part]
        if counted.any():
            labels = truth.burn(part)
            yield confusion(
                claims.pixels(claims.within(part), part),
                labels == 1,
                counted=counted & (labels != IGNORED),
            )


def _blocks(shape: tuple[int, int]) -> Iterator[Part]:
    for top in range(0, shape[0], BLOCK):
        for left in range(0, shape[1], BLOCK):
            yield (
                slice(top, min(top + BLOCK, shape[0])),
                slice(left, min(left + BLOCK, shape[1])),
            )
