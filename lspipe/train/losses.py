"""The losses of the papers, over the pixels of a batch that are not ignored.

All take probabilities (a network ends in its sigmoid), as in a run.
Symbols: y truth, p probability, TP = sum y p, FN = sum y (1 - p), FP = sum (1 - y) p.

Source: papers 000 (Eq. 1), 002 (Eq. 1 to 4), 003 (Eq. 6), 004; docs/method.md, Losses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lspipe.schema import IGNORED

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

EPSILON = 1e-7
"""Keeps logarithms finite where a float32 sigmoid is exactly 0 or 1."""

POSITIVE_WEIGHT = 5.0
"""Weight of a landslide pixel in `wce`. Source: paper 002, Eq. 2."""

LossName = Literal[
    "bce", "wce", "dice", "bce-dice", "wce-dice", "focal-tversky",
    "focal-tversky-each", "bce5", "bce5-dice",
]  # fmt: skip


def loss_of(name: LossName, probability: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a batch.

    Args:
        name: which loss.
        probability: (N, w, w) float, 0..1.
        labels: (N, w, w) 0, 1 or `IGNORED`; a float between is a probability to come near to.

    Returns:
        A scalar.
    """
    counts = (labels != IGNORED).to(probability.dtype)
    truth = labels.to(probability.dtype) * counts
    return LOSSES[name](probability, truth, counts)


def binary_cross_entropy(probability: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Mean of -(y log p + (1 - y) log(1 - p)).

    Source: papers 002 (Eq. 1) and 003 (Eq. 6, whose minus sign is missing, and whose weight map is
    never specified).
    """
    return weighted_cross_entropy(probability, truth, counts, positive_weight=1)


def weighted_cross_entropy(
    probability: Tensor,
    truth: Tensor,
    counts: Tensor,
    *,
    positive_weight: float = POSITIVE_WEIGHT,
) -> Tensor:
    """Mean of -(w y log p + (1 - y) log(1 - p)).

    Source: paper 002, Eq. 2. Its code weighs both terms: `bce5`.
    """
    safe = probability.clamp(EPSILON, 1 - EPSILON)
    entropy = -(positive_weight * truth * safe.log() + (1 - truth) * (1 - safe).log())
    return (entropy * counts).sum() / counts.sum().clamp(min=1)


def dice(probability: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """1 - 2 sum(y p) / (sum y + sum p) over the batch, smoothed by 1e-6.

    Source: papers 002 (Eq. 3; the smoothing is that of its code) and 004.
    """
    common = (truth * probability * counts).sum()
    total = ((truth + probability) * counts).sum()
    return 1 - (2 * common + 1e-6) / (total + 1e-6)


def bce_dice(probability: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Half `bce`, half `dice`; in no paper."""
    entropy = binary_cross_entropy(probability, truth, counts)
    return 0.5 * entropy + 0.5 * dice(probability, truth, counts)


def wce_dice(probability: Tensor, truth: Tensor, counts: Tensor, *, share: float = 0.5) -> Tensor:
    """(1 - share) `wce` + share `dice`.

    Source: paper 002, Eq. 4. The share is not printed; 0.5 is that of its configuration, and fits
    all rows of its Tables 6 and 7.
    """
    entropy = weighted_cross_entropy(probability, truth, counts)
    return (1 - share) * entropy + share * dice(probability, truth, counts)


def five_times_entropy(probability: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Five times `bce`: the code of paper 002 has this instead of `wce` of its Eq. 2.

    Landslides weigh no more than other ground. Only to repeat the training of that paper.

    Source: github.com/ryali93/lanslide4sat_pl (scripts/train.py).
    """
    return POSITIVE_WEIGHT * binary_cross_entropy(probability, truth, counts)


def five_times_entropy_and_dice(probability: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Half `bce5`, half `dice`: the code of paper 002 has this instead of its Eq. 4, `wce-dice`."""
    entropy = five_times_entropy(probability, truth, counts)
    return 0.5 * entropy + 0.5 * dice(probability, truth, counts)


def focal_tversky(
    probability: Tensor,
    truth: Tensor,
    counts: Tensor,
    *,
    missed: float = 0.7,
    false: float = 0.3,
    exponent: float = 0.75,
) -> Tensor:
    """(1 - TP / (TP + 0.7 FN + 0.3 FP))^0.75 over the batch; missed pixels weigh more.

    A batch without landslides has a loss of 1 and no gradient, as in the paper.

    Source: paper 000, Eq. 1. Other libraries swap the names of the two weights.
    """
    return _tversky(
        probability, truth, counts, (0, 1, 2), missed=missed, false=false, exponent=exponent
    )


def focal_tversky_each(probability: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Mean of the `focal-tversky` of each window of a batch, without ignored windows.

    The paper does not state whether it is taken per batch or per window. A window without
    landslides has a loss of 1 and no gradient for any prediction: only windows with landslides
    reduce false alarms.

    Source: paper 000, Eq. 1; docs/method.md, Losses.
    """
    losses = _tversky(probability, truth, counts, (1, 2))
    counted = counts.amax((1, 2))
    return (losses * counted).sum() / counted.sum().clamp(min=1)


def _tversky(
    probability: Tensor,
    truth: Tensor,
    counts: Tensor,
    axes: tuple[int, ...],
    *,
    missed: float = 0.7,
    false: float = 0.3,
    exponent: float = 0.75,
) -> Tensor:
    positive = (truth * probability * counts).sum(axes)
    negative_missed = (truth * (1 - probability) * counts).sum(axes)
    false_positive = ((1 - truth) * probability * counts).sum(axes)
    whole = positive + missed * negative_missed + false * false_positive
    # EPSILON: for a perfect prediction (0) the slope of the power is infinite.
    return (1 - positive / (whole + 1e-12)).clamp(min=EPSILON) ** exponent


LOSSES: dict[LossName, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "bce": binary_cross_entropy,
    "wce": weighted_cross_entropy,
    "dice": dice,
    "bce-dice": bce_dice,
    "wce-dice": wce_dice,
    "focal-tversky": focal_tversky,
    "focal-tversky-each": focal_tversky_each,
    "bce5": five_times_entropy,
    "bce5-dice": five_times_entropy_and_dice,
}
