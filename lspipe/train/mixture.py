"""A model and a lesson -> the share of the new weights that is best where nothing was learnt.

A network that is trained on a few decisions may get worse on all other ground. So it is tried out:

    1.  the windows are dealt into two halves; the network is trained further on one of them
    2.  it is asked about the other half: with the old weights, with the new ones, and with means of
        both. What lies in a window of the first half too does not count
    3.  the same, with the halves exchanged; the share of the new weights with the highest F1 of all
        pixels that count is the best. It must gain more than `SURE` standard errors of its gain,
        as it comes from few windows: else the old weights stay

Source: a mean of old and new weights, Wortsman et al. 2022 (doi 10.1109/CVPR52688.2022.00780);
standard error by leaving out each window once, the jackknife, Efron 1982
(doi 10.1137/1.9781611970319).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from lspipe.errors import SamplesError
from lspipe.inference.temperature import tempered
from lspipe.samples.decisions import UNMARKED
from lspipe.schema import IGNORED
from lspipe.train.further import answers, begin, further, taught

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lspipe.models import ModelItem
    from lspipe.samples.cut import Place
    from lspipe.train import Epoch, TrainSpec
    from lspipe.train.further import Steady
    from lspipe.train.spec import Decided

    Weights = Mapping[str, torch.Tensor]

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the new weights, that are tried."""

SURE = 3.0
"""A gain of so many standard errors is believed. Gains of 1.7 and 2.6 errors cost two places 0.025
and 0.030 of F1 (benchmarks/adapt.py); to unlearn a steady false alarm gained 8 (test_learning)."""


@dataclass(frozen=True)
class Trial:
    """What the shares of the new weights are worth in windows that were held out."""

    f1: Mapping[float, float]
    """F1 of pixels by share, 0..1."""
    error: Mapping[float, float]
    """Standard error of the gain in F1 over a share of 0, by share."""

    @classmethod
    def of(cls, counts: Mapping[float, NDArray[np.int64]]) -> Trial:
        """Score counts of pixels, (window, 3), by share: found, claimed in vain, missed."""
        scores = {share: _f1(one.sum(0)) for share, one in counts.items()}
        # Of the rest, when each window is left out once.
        rest = {share: _f1(one.sum(0) - one) for share, one in counts.items()}
        windows = len(counts[0])
        spread = {share: np.var(rest[share] - rest[0]) * (windows - 1) for share in counts}
        return cls(
            {share: float(score) for share, score in scores.items()},
            {share: float(np.sqrt(one)) for share, one in spread.items()},
        )

    @property
    def best(self) -> float:
        """The share with the highest F1 of those whose gain is believed; else 0."""
        gain = {share: f1 - self.f1[0] for share, f1 in self.f1.items()}
        worth = [share for share in sorted(gain) if gain[share] > SURE * self.error[share]]
        return max(worth, key=lambda share: gain[share], default=0)


def try_out(
    item: ModelItem,
    pairs: Decided,
    spec: TrainSpec,
    *,
    limit: float,
    places: Sequence[Place] | None = None,
) -> Trial:
    """Train on each half of some windows, and score the other half.

    Args:
        item: the model.
        pairs: at least two windows (N, C, w, w) of `filled`, and labels (N, w, w) of `decisions`.
        spec: of each training.
        limit: landslide where the probability is above it.
        places: where each window lies; None = nowhere do two of them overlap.

    Raises:
        SamplesError: a single window.
        ModelError: the loss is not a number any more.
    """
    windows, labels = pairs
    if len(windows) < 2:
        raise SamplesError(
            "the decided objects lie in one window: expected two or more, so that one can be held "
            "out to choose the share of the new weights; decide about objects elsewhere too, or "
            "give the share"
        )
    network = begin(item)
    old = weights_of(network)
    own = answers(network, windows)
    lesson, truth = taught(labels, own), judged(labels)
    counts = {share: np.zeros((len(windows), 3), np.int64) for share in SHARES}
    for held in halves(labels):
        network.load_state_dict(old)
        further(network, item, (windows[~held], lesson[~held]), spec)
        new = weights_of(network)
        there = truth[held] if places is None else apart(truth, held, places)
        for share in SHARES:
            mix(network, old, new, share)
            found = tempered_by(item, answers(network, windows[held])) > limit
            counts[share][held] = _counted(found, there)
    return Trial.of(counts)


def learn(
    item: ModelItem,
    pairs: Decided,
    spec: TrainSpec,
    share: float,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Steady, tuple[Epoch, ...]]:
    """Train on all windows, and return the network with a share of its new weights.

    Args:
        item: the model.
        pairs: windows (N, C, w, w) of `filled`, and labels (N, w, w) of `decisions`.
        spec: of the training.
        share: 0 = nothing is trained.
        on_epoch: called after each epoch.

    Raises:
        ModelError: the loss is not a number any more.
    """
    windows, labels = pairs
    network = begin(item)
    if not share:
        return network, ()
    old, lesson = weights_of(network), taught(labels, answers(network, windows))
    epochs = further(network, item, (windows, lesson), spec, on_epoch=on_epoch)
    mix(network, old, weights_of(network), share)
    return network, epochs


def halves(labels: NDArray[np.uint8]) -> Iterator[NDArray[np.bool_]]:
    """Yield which windows are held out, twice: each half has its part of false alarms and others.

    Args:
        labels: (N, w, w) of decisions.
    """
    has_none, has_some = ((labels == label).any((1, 2)) for label in (0, 1))
    is_first = np.zeros(len(labels), bool)
    is_first[np.lexsort((has_some, has_none))[::2]] = True
    yield is_first
    yield ~is_first


def judged(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return labels to score with: what neither the run nor the person marked is no landslide."""
    return np.where(labels == UNMARKED, np.uint8(0), labels)


def apart(
    truth: NDArray[np.uint8], held: NDArray[np.bool_], places: Sequence[Place]
) -> NDArray[np.uint8]:
    """Return the labels of the windows that are held out, but for what another window shows too.

    Args:
        truth: (N, w, w).
        held: which windows are held out, (N,).
        places: of all windows.
    """
    window = truth.shape[1]
    found = truth[held]
    for labels, number in zip(found, np.flatnonzero(held).tolist(), strict=True):
        tile, row, column = places[number]
        for other in np.flatnonzero(~held).tolist():
            there, top, left = places[other]
            if there == tile and max(abs(top - row), abs(left - column)) < window:
                rows, columns = (
                    slice(max(step, 0), window + min(step, 0))
                    for step in (top - row, left - column)
                )
                labels[rows, columns] = IGNORED
    return found


def tempered_by(item: ModelItem, own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a network's answers with the temperature of its model, as in a run."""
    answer: NDArray[np.float32] = tempered(torch.from_numpy(own), item.temperature).numpy()
    return answer


def _counted(found: NDArray[np.bool_], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each window, (window, 3): found, claimed in vain, missed."""
    there, none = truth == 1, truth == 0
    parts = found & there, found & none, ~found & there
    return np.stack([part.sum((1, 2)) for part in parts], axis=1)


def _f1(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the F1 of counts (..., 3); 0 where nothing was there."""
    twice, wrong = 2 * counts[..., 0], counts[..., 1] + counts[..., 2]
    return np.divide(twice, twice + wrong, out=np.zeros(twice.shape), where=twice + wrong > 0)


def weights_of(network: Steady) -> dict[str, torch.Tensor]:
    """Return a copy of the weights."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def mix(network: Steady, old: Weights, new: Weights, share: float) -> None:
    """Give a network the mean of old and new weights, with this share of the new ones."""
    network.load_state_dict(
        {
            name: value.lerp(new[name], share) if value.is_floating_point() else value
            for name, value in old.items()
        }
    )
