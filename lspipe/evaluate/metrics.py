"""A map compared with the truth: the metrics of the papers, by pixels and by objects.

Source: papers 000 (section 2.6), 001 (section IV), 002 (chapter 5), 003, 004.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

MATCH_IOU = 0.1
"""A predicted object is right if its intersection over union with the truth is at least this ..."""

MATCH_SHARE = 0.5
"""... or at least this share of its area lies in the truth. A default of lspipe
(docs/method.md, Scores)."""


@dataclass(frozen=True)
class Confusion:
    """Counts of pixels (or objects), and what follows from them.

    A ratio whose denominator is 0 is NaN: nothing was predicted, or nothing was there.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int = 0

    def __post_init__(self) -> None:
        # NumPy's integers would overflow in `mcc`.
        for field in fields(self):
            object.__setattr__(self, field.name, int(getattr(self, field.name)))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )

    @property
    def total(self) -> int:
        """All that was counted."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), the Dice coefficient."""
        twice = 2 * self.true_positive
        return _ratio(twice, twice + self.false_positive + self.false_negative)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN), the Jaccard index."""
        found = self.true_positive
        return _ratio(found, found + self.false_positive + self.false_negative)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / all."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def mcc(self) -> float:
        """Matthews' correlation, -1..1; 0 where a margin is empty.

        The counts are Python's integers: the product of the four margins of a Sentinel-2 tile
        overflows 64 bits.
        """
        tp, fp = self.true_positive, self.false_positive
        fn, tn = self.false_negative, self.true_negative
        margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        return (tp * tn - fp * fn) / math.sqrt(margins) if margins else 0.0

    def scores(self) -> Scores:
        """Return all scores as plain numbers."""
        return Scores(self.precision, self.recall, self.f1, self.iou, self.mcc)


@dataclass(frozen=True)
class Scores:
    """The row of a table of the papers, 0..1 (MCC -1..1)."""

    precision: float
    recall: float
    f1: float
    iou: float
    mcc: float


def f1_of(precision: float, recall: float) -> float:
    """Return the F1 of a precision and a recall, in their unit: 2 P R / (P + R)."""
    return _ratio(2 * precision * recall, precision + recall)


def iou_of(f1: float) -> float:
    """Return the intersection over union of an F1 (0..1): F1 / (2 - F1)."""
    return f1 / (2 - f1)


def confusion(
    predicted: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    *,
    counted: NDArray[np.bool_] | None = None,
) -> Confusion:
    """Count pixels.

    Args:
        predicted: bool, any shape.
        truth: bool, the same shape.
        counted: bool, the same shape, False = leave this pixel out (not observed).

    Raises:
        ValueError: not bool, or not of one shape.
    """
    _check_masks(predicted=predicted, truth=truth, counted=truth if counted is None else counted)
    if counted is not None:
        predicted, truth = predicted[counted], truth[counted]
    found = int(np.count_nonzero(predicted & truth))
    claimed, there = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
    return Confusion(found, claimed - found, there - found, truth.size - claimed - there + found)


def micro(confusions: Iterable[Confusion]) -> Scores:
    """Return the scores of the summed counts: every pixel weighs the same."""
    return sum(confusions, Confusion(0, 0, 0)).scores()


def averaged(confusions: Iterable[Confusion]) -> Scores:
    """Return the mean of the scores of batches, as paper 002 did; F1 is not that of mean P and R.

    A batch without a score (nothing predicted, nothing there) does not count in its mean.
    """
    scores = [list(asdict(one.scores()).values()) for one in confusions]
    rows = np.array(scores, float).reshape(-1, len(fields(Scores)))
    counts = np.isfinite(rows).sum(0)
    means = np.where(counts > 0, np.nansum(rows, 0) / np.maximum(counts, 1), np.nan)
    return Scores(*means.tolist())


@dataclass(frozen=True)
class ObjectScores:
    """Objects of a map compared with those of the truth; the rule is that of `match_objects`."""

    right: int
    """Predicted objects that match the truth."""
    wrong: int
    """Predicted objects that do not."""
    found: int
    """True objects that a right object touches."""
    missed: int
    jaccard: float
    """IoU of all right objects with all found ones; NaN without any."""
    jaccard_mean: float
    """Mean over right objects of the IoU of each with the true ones that it touches."""

    @property
    def precision(self) -> float:
        """Share of the predicted objects that are right. Paper 000 calls it accuracy."""
        return _ratio(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Share of the true objects that were found."""
        return _ratio(self.found, self.found + self.missed)


def match_objects(
    predicted: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    *,
    iou: float = MATCH_IOU,
    share: float = MATCH_SHARE,
    connectivity: int = 8,
) -> ObjectScores:
    """Compare connected objects of a map with those of the truth.

    A predicted object is right if its IoU with the true objects that it touches, taken together, is
    at least `iou`, or if at least `share` of its pixels are true. In the papers an expert decides.

    Args:
        predicted: bool (y, x).
        truth: bool (y, x).
        iou: 0..1.
        share: 0..1.
        connectivity: 4 or 8 neighbours.

    Raises:
        ValueError: another connectivity, or arrays that are not two-dimensional bool of one shape.
    """
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity {connectivity}: expected 4 or 8")
    _check_masks(predicted=predicted, truth=truth)
    if truth.ndim != 2:
        raise ValueError(f"truth has shape {truth.shape}: expected (y, x)")
    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    claims, claimed = ndimage.label(predicted, structure)
    objects, there = ndimage.label(truth, structure)
    pairs = _overlaps(claims, objects)
    sizes, true_sizes = np.bincount(claims.ravel()), np.bincount(objects.ravel())
    # Per predicted object: pixels that are true, and pixels of the true objects that it touches.
    inside = np.bincount(pairs.claim, pairs.pixels, minlength=claimed + 1)
    touched = np.bincount(pairs.claim, true_sizes[pairs.object], minlength=claimed + 1)
    union = sizes + touched - inside
    is_right = (inside > 0) & ((inside >= iou * union) | (inside >= share * sizes))
    is_found = np.zeros(there + 1, bool)
    is_found[pairs.object[is_right[pairs.claim]]] = True
    right, found = is_right[claims], is_found[objects]
    count = int(is_right.sum())
    return ObjectScores(
        right=count,
        wrong=claimed - count,
        found=int(is_found.sum()),
        missed=there - int(is_found.sum()),
        jaccard=_ratio(int((right & found).sum()), int((right | found).sum())),
        jaccard_mean=_ratio(float((inside[is_right] / union[is_right]).sum()), count),
    )


class _Overlaps(NamedTuple):
    """Pairs of a predicted and a true object, and how many pixels they share; int64 (N,) each."""

    claim: NDArray[np.int64]
    object: NDArray[np.int64]
    pixels: NDArray[np.int64]


def _overlaps(claims: NDArray[Any], objects: NDArray[Any]) -> _Overlaps:
    both = (claims > 0) & (objects > 0)
    pairs, pixels = np.unique(np.stack([claims[both], objects[both]]), axis=1, return_counts=True)
    return _Overlaps(pairs[0].astype(np.int64), pairs[1].astype(np.int64), pixels)


def _check_masks(**masks: NDArray[np.bool_]) -> None:
    """Refuse arrays that are not bool, or not of the shape of the truth."""
    expected = masks["truth"].shape
    for name, mask in masks.items():
        if mask.dtype != bool or mask.shape != expected:
            raise ValueError(
                f"{name} is {mask.dtype} {mask.shape}: expected bool {expected}, as the truth"
            )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
