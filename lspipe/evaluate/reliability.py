"""Probabilities of labelled pixels -> how far they mean what they say, and what would make them.

Of pixels with a probability of 0.7, seven of ten should be landslide. How far that is so is the
expected calibration error. A temperature T, one number of a network, divides the log-odds of its
probabilities: above 1 it makes them less sure; it changes no order, so no ranking and no picture.

All is computed from two histograms of codes, of pixels without and with landslide, so that no map
has to be kept.

Source: Guo et al. 2017 (temperature by the least negative log-likelihood; error in bins of equal
width).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from lspipe.evaluate.scorecard import Reliability, ReliabilityBin
from lspipe.schema import CODE_NODATA, CODE_SCALE, to_codes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

BINS = 10
"""Of equal width, 0 to 1."""

RECALL = 0.8
"""Of the sensitive threshold: so many of the landslide pixels are above it."""

COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures to look between. The best of pixels that any threshold separates is 0, that of
probabilities which mean nothing is without end: neither is a temperature."""

_HALF_A_STEP = 0.5 / CODE_SCALE
"""Codes 0 and 1e4 are probabilities up to half a step away, and no certainties."""


def histograms(
    probabilities: Iterable[NDArray[Any]], masks: Iterable[NDArray[np.uint8]]
) -> NDArray[np.int64]:
    """Count pixels by their code: (2, 10001), of no landslide and of landslide.

    Args:
        probabilities: (y, x) each, float 0..1 with NaN = not observed, or codes of a run.
        masks: (y, x) each, 1 = landslide, 0 = none, `IGNORED`.
    """
    counts = np.zeros((2, CODE_SCALE + 1), np.int64)
    for probability, mask in zip(probabilities, masks, strict=True):
        codes = to_codes(np.asarray(probability))
        for label in (0, 1):
            chosen = codes[(mask == label) & (codes != CODE_NODATA)]
            counts[label] += np.bincount(chosen, minlength=CODE_SCALE + 1)
    return counts


def above(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count pixels above each code: (2, 10001), of no landslide and of landslide."""
    higher: NDArray[np.int64] = counts.sum(1, keepdims=True) - counts.cumsum(1)
    return higher


def reliability(
    counts: NDArray[np.int64], *, is_of_one_view: bool = True, temperature: float = 1.0
) -> Reliability:
    """Compare probabilities with the shares of landslide, and find what they should be read by.

    Args:
        counts: of `histograms`, with a pixel or more.
        is_of_one_view: whether these are the network's own answers: a temperature acts on them, and
            not on means or maxima of views.
        temperature: that the answers have already.

    Examples:
        Pixels of probability 0.9 of which half are landslide, and as many of 0.1 of which none is:

        >>> counts = np.zeros((2, 10001), np.int64)
        >>> counts[:, 9000], counts[0, 1000] = 50, 100
        >>> found = reliability(counts)
        >>> round(found.error, 3), found.threshold_equal, found.threshold_sensitive
        (0.25, 0.5, 0.8999)
    """
    own = _probabilities()
    best = fit_temperature(counts) if is_of_one_view else None
    tempered = None if best is None else _error(_bins(expit(logit(own) / best), counts))
    plain = _bins(np.arange(CODE_SCALE + 1) / CODE_SCALE, counts)
    return Reliability(
        bins=plain,
        error=_error(plain),
        temperature=None if best is None else round(best * temperature, 4),
        error_tempered=tempered,
        threshold_equal=equal_threshold(counts),
        threshold_sensitive=sensitive_threshold(counts),
    )


def fit_temperature(counts: NDArray[np.int64]) -> float | None:
    """Return the temperature of the least negative log-likelihood; None where none is the best.

    Args:
        counts: of `histograms`.
    """
    if not counts.any(axis=1).all():
        return None
    odds, (without, landslide) = logit(_probabilities()), counts

    def loss(steepness: float) -> float:
        # -log of expit(x) is log(1 + exp(-x)).
        scaled = odds * np.exp(steepness)
        return float(landslide @ np.logaddexp(0, -scaled) + without @ np.logaddexp(0, scaled))

    ends = -np.log(HOTTEST), -np.log(COLDEST)
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-6})
    if min(abs(found.x - end) for end in ends) < 1e-3:
        return None
    return float(np.exp(-found.x))


def equal_threshold(counts: NDArray[np.int64]) -> float | None:
    """Return the threshold at which precision and recall are nearest; None without landslide.

    They are equal where as many pixels are above it as are landslide. Of equally near ones the one
    nearest to 0.5 is returned.

    Args:
        counts: of `histograms`.
    """
    claimed, there = above(counts).sum(0), int(counts[1].sum())
    codes = np.flatnonzero(claimed > 0)
    if not there or not len(codes):
        return None
    apart = np.abs(claimed[codes] - there)
    nearest = codes[apart == apart.min()]
    return int(nearest[np.abs(nearest - CODE_SCALE // 2).argmin()]) / CODE_SCALE


def sensitive_threshold(counts: NDArray[np.int64], recall: float = RECALL) -> float | None:
    """Return the highest threshold with a recall of 0.8 or more; None where none has it.

    Args:
        counts: of `histograms`.
        recall: share of the landslide pixels that are above the threshold.
    """
    found, there = above(counts)[1], int(counts[1].sum())
    # A hair less, as 0.8 is no binary fraction; above the last code there is nothing.
    codes = np.flatnonzero(found[:-1] >= recall * there - 1e-9)
    return int(codes[-1]) / CODE_SCALE if there and len(codes) else None


def _probabilities() -> NDArray[np.float64]:
    """Return the probability of each code, none of them certain."""
    probabilities = np.arange(CODE_SCALE + 1) / CODE_SCALE
    return np.clip(probabilities, _HALF_A_STEP, 1 - _HALF_A_STEP)


def _bins(
    probability: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[ReliabilityBin, ...]:
    """Return the bins that hold a pixel, of codes that stand for some probabilities."""
    number = np.minimum((probability * BINS).astype(int), BINS - 1)
    pixels = counts.sum(0)
    bins = []
    for one in range(BINS):
        here = number == one
        total = int(pixels[here].sum())
        if total:
            mean = float(probability[here] @ pixels[here]) / total
            share = int(counts[1][here].sum()) / total
            bins.append(
                ReliabilityBin(
                    low=one / BINS, high=(one + 1) / BINS, pixels=total,
                    probability=mean, landslide_share=share,
                )
            )  # fmt: skip
    return tuple(bins)


def _error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Return the expected calibration error: the mean of |probability - share|, over pixels."""
    off = sum(one.pixels * abs(one.probability - one.landslide_share) for one in bins)
    return off / max(1, sum(one.pixels for one in bins))
