"""A lesson is what was decided, and it is tried out where nothing was learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lspipe.models import read_item
from lspipe.samples.decisions import UNMARKED
from lspipe.schema import IGNORED
from lspipe.train import TrainSpec, batches, looks, mixture
from lspipe.train.further import begin, taught
from lspipe.train.losses import LOSSES, loss_of
from lspipe.train.mixture import Trial, apart, halves, judged, mix, try_out, weights_of

SIDE = 8


def windows_of(*labels: int) -> np.ndarray:
    """Labels of windows with a decided square each; nothing else is decided."""
    found = np.full((len(labels), SIDE, SIDE), UNMARKED, np.uint8)
    for number, label in enumerate(labels):
        found[number, 2:5, 2:5] = label
    return found


# --- the lesson ---------------------------------------------------------------------------------


def test_what_nobody_decided_about_stays_as_the_model_said() -> None:
    own = np.full((1, SIDE, SIDE), 0.3, np.float32)
    labels = windows_of(0)
    labels[0, 0] = IGNORED
    lesson = taught(labels, own)
    assert lesson.dtype == np.float32
    assert (lesson[0, 2:5, 2:5] == 0).all()
    assert (lesson == np.float32(0.3)).sum() == SIDE * SIDE - 9


def test_a_probability_between_is_lowest_in_loss_where_the_network_says_it() -> None:
    wanted = torch.full((1, 2, 2), 0.3)
    said = torch.linspace(0.05, 0.95, 19)
    losses = [float(loss_of("bce", torch.full((1, 2, 2), float(one)), wanted)) for one in said]
    assert float(said[int(np.argmin(losses))]) == pytest.approx(0.3)
    wanted[0, 0] = IGNORED
    for name in LOSSES:
        assert torch.isfinite(loss_of(name, torch.full((1, 2, 2), 0.5), wanted))


def test_labels_that_are_probabilities_are_turned_and_not_rounded() -> None:
    windows, labels = torch.zeros(2, 3, SIDE, SIDE), torch.full((2, SIDE, SIDE), 0.3)
    _, turned = batches.rotated(windows, labels, 30.0)
    assert turned.dtype == torch.float32
    assert sorted({round(float(one), 4) for one in turned.unique()}) == [0.3, IGNORED]
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        _, shown = looks.zoomed(windows, labels, 0.3, generator)
        assert (shown == labels).all()


# --- the trial ----------------------------------------------------------------------------------


def test_each_half_has_false_alarms_and_landslides() -> None:
    labels = windows_of(1, 0, 1, 0, 1)
    first, second = halves(labels)
    assert (first ^ second).all()
    for half in (first, second):
        assert {0, 1} <= set(np.unique(labels[half]).tolist())


def test_a_claim_where_nobody_marked_anything_is_wrong() -> None:
    labels = windows_of(1)
    labels[0, 0, 0] = IGNORED  # listed, and not decided
    truth = judged(labels)
    assert truth[0, 0, 0] == IGNORED
    assert (truth[0, 2:5, 2:5] == 1).all()
    assert (truth == 0).sum() == SIDE * SIDE - 10


def test_what_another_window_shows_too_does_not_count() -> None:
    truth = np.ones((4, SIDE, SIDE), np.uint8)
    held = np.array([True, False, False, True])
    places = [("a", 0, 0), ("a", 2, -3), ("b", 0, 0), ("a", 5, 20)]
    found = apart(truth, held, places)
    expected = np.ones((SIDE, SIDE), np.uint8)
    expected[2:, :5] = IGNORED
    assert (found[0] == expected).all()
    assert (found[1] == 1).all()
    assert (truth == 1).all()


def test_the_smallest_of_equal_shares_is_the_best() -> None:
    error = dict.fromkeys((0.0, 0.5, 1.0), 0.0)
    assert Trial({0.0: 0.5, 0.5: 0.5, 1.0: 0.4}, error).best == 0
    assert Trial({0.0: 0.4, 0.5: 0.6, 1.0: 0.6}, error).best == 0.5


def test_a_gain_within_its_error_is_none() -> None:
    f1 = {0.0: 0.4, 0.5: 0.5, 1.0: 0.6}
    assert Trial(f1, {0.0: 0.0, 0.5: 0.03, 1.0: 0.15}).best == 0.5
    assert Trial(f1, {0.0: 0.0, 0.5: 0.04, 1.0: 0.15}).best == 0


def test_the_error_of_a_gain_is_that_of_the_windows_it_comes_from() -> None:
    old = np.array([[10, 10, 0]] * 6)
    everywhere, once = old.copy(), old.copy()
    everywhere[:, 1] = 7
    once[0, 1] = 0
    trial = Trial.of({0: old, 0.5: once, 1: everywhere})
    assert trial.f1[0] == pytest.approx(2 / 3)
    assert trial.error[0] == 0
    assert trial.error[1] < 1e-9
    # All of the gain is of one window of six; it cannot be told from chance.
    gain = trial.f1[0.5] - trial.f1[0]
    assert trial.error[0.5] == pytest.approx(gain, rel=0.05)
    assert trial.best == 1


def test_a_mixture_has_its_share_of_the_new_weights() -> None:
    network = begin(read_item("shipped:demo"))
    old = weights_of(network)
    new = {name: value + 1 if value.is_floating_point() else value for name, value in old.items()}
    for share in mixture.SHARES:
        mix(network, old, new, share)
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                assert torch.allclose(value, old[name] + share, atol=1e-5)
    mix(network, old, new, 0)
    assert all(torch.equal(value, old[name]) for name, value in network.state_dict().items())


def test_new_weights_are_scored_where_they_were_not_learnt(monkeypatch) -> None:
    item = read_item("shipped:demo")
    events = []

    def learn(network, _item, pairs, _spec):
        """Change the last weight; note the windows."""
        events.append(("learnt", numbers_of(pairs[0])))
        list(network.state_dict().values())[-1].fill_(-99)

    def ask(network, windows):
        """Find landslides everywhere with the old weights, and none with new ones."""
        events.append(("asked", numbers_of(windows)))
        is_old = list(network.state_dict().values())[-1] > -10
        return np.full((len(windows), 16, 16), float(is_old), np.float32)

    monkeypatch.setattr(mixture, "further", learn)
    monkeypatch.setattr(mixture, "answers", ask)
    windows = np.zeros((4, len(item.bands), 16, 16), np.float32)
    windows[:, 0, 0, 0] = range(4)
    labels = np.full((4, 16, 16), IGNORED, np.uint8)
    labels[:, :4] = 0
    labels[:, 4:8] = 1
    trial = try_out(item, (windows, labels), TrainSpec(), limit=0.5)
    assert trial.f1[0] == pytest.approx(2 / 3)
    assert trial.f1[1] == 0
    assert trial.best == 0
    halves_shown = [{0, 2}, {1, 3}]
    for learnt, asked in (halves_shown, halves_shown[::-1]):
        start = events.index(("learnt", learnt))
        assert events[start + 1 :][: len(mixture.SHARES)] == [("asked", asked)] * 5


def numbers_of(windows: np.ndarray) -> set[int]:
    """Numbers that the windows were given."""
    return {int(number) for number in windows[:, 0, 0, 0]}
