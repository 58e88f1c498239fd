"""Counts -> the spread of a score: what another draw of the same ground could have given.

Source: percentile intervals of the bootstrap, Efron and Tibshirani 1993, chapter 13; the interval
of a share, Wilson 1927, recommended for small counts by Brown, Cai and DasGupta 2001.
"""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import TYPE_CHECKING

import numpy as np

from lspipe.evaluate.metrics import Confusion
from lspipe.evaluate.scorecard import Intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

DRAWS = 1000
"""Draws of the bootstrap."""

PERCENTILES = (2.5, 97.5)
"""Ends of an interval that holds 95 % of the draws."""

_NUMBERS = 4_000_000
"""Numbers of a bootstrap that are held at a time, 32 MB."""

_Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def intervals(
    counts: Sequence[Confusion], *, empty: int = 0, draws: int = DRAWS, seed: int = 0
) -> Intervals:
    """Return the spread of the scores of all pixels over other patches of the same kind.

    Whole patches are drawn again with replacement, as the pixels of one patch are not independent.
    Draws without a score (nothing predicted, nothing there) are left out.

    Args:
        counts: of each patch.
        empty: number of further patches, in which nothing was predicted and nothing was there.
        draws: number of draws.
        seed: of NumPy's generator.

    Returns:
        95 % percentile intervals; None for a single patch, which has no spread.
    """
    number = len(counts) + empty
    if number < 2 or not counts:
        return Intervals()
    rng = np.random.default_rng(seed)
    chances = np.full(len(counts), 1 / number)
    if empty:
        chances = np.append(chances, empty / number)
    rows = np.array([astuple(one) for one in counts], np.int64)
    # A few draws at a time: a region has a hundred thousand patches.
    most = max(1, _NUMBERS // len(counts))
    drawn = [
        rng.multinomial(number, chances, size=min(most, draws - first))[:, : len(counts)] @ rows
        for first in range(0, draws, most)
    ]
    scores = [Confusion(*row).scores() for row in np.concatenate(drawn).tolist()]
    ends: dict[str, tuple[float, float]] = {}
    for name in ("precision", "recall", "f1", "iou"):
        values = np.array([getattr(one, name) for one in scores])
        values = values[np.isfinite(values)]
        if values.size:
            low, high = np.percentile(values, PERCENTILES).tolist()
            ends[name] = (low, high)
    return Intervals(**ends)


def wilson(count: int, of: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a share by Wilson's score; None of nothing.

    Args:
        count: how many have the property.
        of: how many there are.

    Examples:
        >>> low, high = wilson(14, 15)
        >>> round(low, 3), round(high, 3)
        (0.702, 0.988)
    """
    if of == 0:
        return None
    share, z2 = count / of, _Z * _Z / of
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(share * (1 - share) * z2 + z2 * z2 / 4) / (1 + z2)
    # At no and at all, rounding would leave an end a hair beyond 0 or 1.
    return max(0.0, middle - half), min(1.0, middle + half)
