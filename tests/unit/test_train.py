"""A loop that learns the same thing every time."""

import numpy as np
import pytest
import torch
from torch import nn

from lspipe.train import TrainSpec, fit


def bright_spots(count=24, window=16):
    """Windows whose bright pixels are the landslides."""
    rng = np.random.default_rng(3)
    windows = rng.normal(0, 0.3, (count, 2, window, window)).astype(np.float32)
    labels = (windows[:, 0] > 0.25).astype(np.uint8)
    return windows, labels


def small_network():
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.Sigmoid())


def test_fit_learns_what_can_be_learnt():
    network = small_network()
    losses = fit(network, *bright_spots(), TrainSpec(epochs=40, batch_size=8, learning_rate=0.05))
    windows, labels = bright_spots()
    with torch.inference_mode():
        right = (network(torch.from_numpy(windows))[:, 0] > 0.5).numpy() == labels
    assert len(losses) == 40
    assert losses[-1] < 0.5 * losses[0]
    assert right.mean() > 0.95


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    def weights(seed):
        network = small_network()
        fit(network, *bright_spots(), TrainSpec(epochs=2, batch_size=8, seed=seed))
        return torch.cat([part.flatten() for part in network.state_dict().values()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_fit_tells_every_epoch_and_leaves_the_network_in_eval_mode():
    told = []
    network = small_network()
    losses = fit(
        network, *bright_spots(), TrainSpec(epochs=3), on_epoch=lambda *news: told.append(news)
    )
    assert told == list(enumerate(losses, start=1))
    assert not network.training


@pytest.mark.parametrize(
    ("windows", "labels", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.float32), np.zeros((2, 8, 9), np.uint8), r"\(2, 8, 9\)"),
        (np.zeros((0, 3, 8, 8), np.float32), np.zeros((0, 8, 8), np.uint8), "no windows"),
        (np.zeros((1, 3, 8, 8), np.float32), np.full((1, 8, 8), 2, np.uint8), r"labels hold \[2\]"),
        (np.full((1, 2, 8, 8), np.nan, np.float32), np.zeros((1, 8, 8), np.uint8), "loss is nan"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(windows, labels, message):
    with pytest.raises(ValueError, match=message):
        fit(small_network(), windows, labels, TrainSpec(epochs=1))


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0}, {"loss": "mse"}]
)
def test_a_spec_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        TrainSpec(**wrong)
