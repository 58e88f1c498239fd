"""Counts -> the spread of a score: what another draw of the same ground could have given.

See also: `schema/sampled.py` (the interval of a share).

Source: percentile intervals of the bootstrap, Efron and Tibshirani 1993, chapter 13.
"""

from __future__ import annotations

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
