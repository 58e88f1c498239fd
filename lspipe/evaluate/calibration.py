"""What a person decided about a list -> how far its `confidence` can be trusted, and a better one.

A reliability table compares the confidence of decided landslides with the share of them that are
right. From `LEAST` decisions on, a logistic of the confidence's log-odds is fitted (Platt scaling),
two numbers: an isotonic fit follows the noise of a few hundred decisions. Its gain is measured on
decisions that it was not fitted to.

Source: Platt 1999 (fit, and targets that keep it finite); Niculescu-Mizil and Caruana 2005 (which
fit for how many cases); Brier 1950 (score: mean squared difference of probability and outcome).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from lspipe.change.decisions import answer_of
from lspipe.schema.sampled import wilson

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

LEAST = 50
"""Fewer decisions fit nothing."""

LEAST_OF_A_KIND = 5
"""Fewer right or fewer wrong ones fit nothing: one for each part of the cross-validation."""

FOLDS = 5

BINS = 10
"""Of equal width, 0 to 1."""

_END = 1e-4
"""Confidences are taken no nearer to 0 and 1 than the step of stored probabilities."""


@dataclass(frozen=True)
class Bin:
    """Decided landslides of similar confidence; from `low` up to `high`, which only 1 is in."""

    low: float
    high: float
    count: int
    right: int
    confidence: float
    """Mean."""
    interval: tuple[float, float]
    """95 % of the share that is right (Wilson)."""


@dataclass(frozen=True)
class Fit:
    """A confidence fitted to decisions: a logistic of the log-odds."""

    slope: float
    """Of the log-odds; 1 with an intercept of 0 changes nothing, negative = it ranks backwards."""
    intercept: float
    decisions: int
    """It rests on these."""

    def __call__(self, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the calibrated confidence, 0..1."""
        return np.asarray(expit(self.slope * _log_odds(confidence) + self.intercept))


@dataclass(frozen=True)
class Calibration:
    """How the confidence of a list compares with what a person decided."""

    right: int
    """Decided landslides that are."""
    wrong: int
    bins: tuple[Bin, ...]
    """Those with a decision."""
    brier: float | None
    """Brier score of the confidence; 0 is best, None = no decision."""
    brier_calibrated: float | None
    """That of a fitted confidence, on decisions left out of the fit; None = no fit."""
    fit: Fit | None
    """To all decisions; None = too few."""
    note: str
    """Why nothing was fitted, or what to be wary of; may be empty."""

    @property
    def decisions(self) -> int:
        """Landslides that were decided: true or false; "unsure" is left out."""
        return self.right + self.wrong

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the share that is right (Wilson)."""
        return wilson(self.right, self.decisions)


def calibrate(listed: gpd.GeoDataFrame) -> Calibration:
    """Compare the confidence of a list with a person's decisions.

    Args:
        listed: rows with `confidence` (0..1) and `reviewed` (true, false, "unsure" or null).

    Examples:
        >>> import pandas as pd
        >>> rows = {"confidence": [0.9, 0.95, 0.4], "reviewed": ["true", "false", None]}
        >>> found = calibrate(pd.DataFrame(rows))
        >>> found.right, found.wrong, round(found.brier, 5), found.fit
        (1, 1, 0.45625, None)
    """
    answers = np.array([answer_of(value) for value in listed["reviewed"]], dtype=object)
    confidence = listed["confidence"].to_numpy(float, na_value=np.nan)
    is_decided = np.isin(answers, ("true", "false")) & np.isfinite(confidence)
    confidence, is_right = confidence[is_decided], answers[is_decided] == "true"
    count, right = len(is_right), int(is_right.sum())
    fit = fit_confidence(confidence, is_right) if not _lack(right, count) else None
    tested = _cross_validated(confidence, is_right) if fit else None
    return Calibration(
        right=right,
        wrong=count - right,
        bins=_bins(confidence, is_right),
        brier=_brier(confidence, is_right) if count else None,
        brier_calibrated=tested,
        fit=fit,
        note=_lack(right, count) or _caution(fit, _brier(confidence, is_right), tested),
    )


def fit_confidence(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> Fit:
    """Fit a logistic of the log-odds, with Platt's targets.

    Args:
        confidence: (n,) 0..1.
        is_right: (n,).
    """
    # A second or two, and only where there are decisions.
    from sklearn.linear_model import LogisticRegression

    right, wrong = int(is_right.sum()), int((~is_right).sum())
    # Not 1 and 0: if all high ones are right, the slope would have no end.
    targets = np.where(is_right, (right + 1) / (right + 2), 1 / (wrong + 2))
    x = _log_odds(confidence)[:, None]
    # A target between 0 and 1 is a case of each kind, weighted by it. Not regularised.
    fitted = LogisticRegression(C=np.inf, tol=1e-9, max_iter=1000).fit(
        np.concatenate([x, x]),
        np.repeat([1, 0], len(x)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    return Fit(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]), len(x))


def _lack(right: int, count: int) -> str:
    """Return why a list has too few decisions to fit anything; "" if it has enough."""
    if count < LEAST:
        return f"{count} decisions: fewer than {LEAST} fit nothing"
    fewer = min(right, count - right)
    if fewer < LEAST_OF_A_KIND:
        kind = "right" if right <= count - right else "wrong"
        return (
            f"{count} decisions, {fewer} of them {kind}: fewer than {LEAST_OF_A_KIND} fit nothing"
        )
    return ""


def _caution(fit: Fit | None, before: float, after: float | None) -> str:
    if fit is not None and fit.slope <= 0:
        return "a higher confidence was not more often right here: do not rank by it"
    if after is not None and after >= before:
        return "the calibrated confidence is no better than the plain one"
    return ""


def _cross_validated(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Return the Brier score of confidences whose own decisions were left out of the fit."""
    fold = np.empty(len(is_right), int)
    rng = np.random.default_rng(0)
    # Right and wrong ones in every part.
    for kind in (True, False):
        places = np.flatnonzero(is_right == kind)
        fold[rng.permutation(places)] = np.arange(len(places)) % FOLDS
    calibrated = np.empty(len(is_right))
    for number in range(FOLDS):
        test = fold == number
        calibrated[test] = fit_confidence(confidence[~test], is_right[~test])(confidence[test])
    return _brier(calibrated, is_right)


def _bins(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = []
    for one in np.unique(number).tolist():
        here = number == one
        count, right = int(here.sum()), int(is_right[here].sum())
        interval = wilson(right, count) or (0.0, 1.0)
        mean = float(confidence[here].mean())
        bins.append(Bin(one / BINS, (one + 1) / BINS, count, right, mean, interval))
    return tuple(bins)


def _brier(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    return float(np.mean((confidence - is_right) ** 2)) if len(is_right) else 0.0


def _log_odds(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logit(np.clip(confidence, _END, 1 - _END)))
