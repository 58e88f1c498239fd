"""Windows that are shown as another sensor or place would show them stay windows of that ground."""

import numpy as np
import pytest
import torch

from lspipe.schema import IGNORED
from lspipe.train import TrainSpec, batches, looks


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ground(count=8, edge=32, seed=1):
    return torch.rand(count, 3, edge, edge, generator=generator(seed)) * 0.8 + 0.1


def seeds_where(happens):
    """The first seeds for which it happens, and does not."""
    found = {}
    for seed in range(50):
        found.setdefault(bool(happens(seed)), seed)
    return found[True], found[False]


def test_a_blur_keeps_the_mean_and_takes_the_contrast():
    windows = ground()
    soft = looks.blurred(windows, 1.0)
    assert soft.shape == windows.shape
    assert torch.allclose(soft.mean((2, 3)), windows.mean((2, 3)), atol=0.02)
    # White noise keeps 1 / (4 pi s^2) of its variance under a Gaussian of s pixels.
    kept = soft[..., 4:-4, 4:-4].var((2, 3)) / windows[..., 4:-4, 4:-4].var((2, 3))
    assert kept.mean() == pytest.approx(1 / (4 * np.pi), rel=0.25)


def test_a_blur_of_a_point_is_a_gaussian():
    windows = torch.zeros(1, 1, 21, 21)
    windows[0, 0, 10, 10] = 1
    soft = looks.blurred(windows, 1.0)[0, 0]
    assert soft.sum() == pytest.approx(1)
    assert soft[10, 11] / soft[10, 10] == pytest.approx(np.exp(-0.5), rel=1e-5)
    assert soft[11, 11] / soft[10, 10] == pytest.approx(np.exp(-1), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_the_batches_is_softened(share):
    windows = ground()
    changed = [
        not torch.equal(looks.softened(windows, share, generator(seed)), windows)
        for seed in range(20)
    ]
    assert all(changed) if share else not any(changed)


def test_softening_is_a_blur_or_half_of_the_resolution():
    windows = ground(edge=33)
    shown = [looks.softened(windows, 1.0, generator(seed)) for seed in range(30)]
    spread = torch.stack([one.var((2, 3)).mean() for one in shown])
    assert all(one.shape == windows.shape for one in shown)
    assert (spread < 0.8 * windows.var((2, 3)).mean()).all()


def test_ground_and_labels_are_zoomed_alike():
    labels = torch.zeros(8, 32, 32, dtype=torch.uint8)
    labels[:, 10:20, 8:26] = 1
    labels[:, 25:] = IGNORED
    windows = (labels == 1).float()[:, None].repeat(1, 3, 1, 1)
    changed = 0
    for seed in range(12):
        shown, marked = looks.zoomed(windows, labels, 0.3, generator(seed))
        assert set(marked.unique().tolist()) <= {0, 1, IGNORED}
        assert marked.dtype == torch.uint8
        # All but the edges, where a bilinear pixel is of both.
        agrees = (shown[:, 0] > 0.5) == (marked == 1)
        assert agrees.float().mean() > 0.98
        changed += not torch.equal(marked, labels)
    assert 2 <= changed <= 10


def test_a_zoom_shows_more_or_less_ground_within_its_limit():
    labels = torch.zeros(64, 64, 64, dtype=torch.uint8)
    labels[:, 24:40, 24:40] = 1
    windows = labels.float()[:, None]
    seed, _ = seeds_where(
        lambda one: not torch.equal(looks.zoomed(windows, labels, 0.3, generator(one))[1], labels)
    )
    _, marked = looks.zoomed(windows, labels, 0.3, generator(seed))
    edges = marked.sum((1, 2)).double().sqrt() / 16
    assert edges.min() > 1 / 1.3 - 0.1
    assert edges.max() < 1 / 0.7 + 0.1
    assert edges.max() - edges.min() > 0.3


def test_gamma_bends_brightness_and_keeps_dark_bright_and_no_data():
    windows = ground()
    windows[:, :, 0, 0] = 0
    windows[:, :, 0, 1] = -0.01
    shown = looks.coloured(windows, 0.0, 0.25, generator())
    assert torch.allclose(shown.amax((1, 2, 3)), windows.amax((1, 2, 3)), rtol=1e-5)
    assert torch.equal(shown[:, :, 0, :2], windows[:, :, 0, :2])
    # One exponent for a window; near the highest value it cannot be told.
    highest = windows.amax((1, 2, 3), keepdim=True)
    inside = (windows > 0) & (windows < 0.9 * highest)
    exponents = torch.log(shown / highest) / torch.log(windows / highest)
    for one, kept in zip(exponents, inside, strict=True):
        assert torch.allclose(one[kept], one[kept][0], rtol=1e-3)
        assert np.exp(-0.25) - 1e-3 <= float(one[kept][0]) <= np.exp(0.25) + 1e-3


def test_a_gain_is_of_a_channel():
    windows = ground()
    ratio = looks.coloured(windows, 0.15, 0.0, generator()) / windows
    assert torch.allclose(ratio.amax((2, 3)), ratio.amin((2, 3)), rtol=1e-5)
    assert ratio.min() >= 0.85
    assert ratio.max() <= 1.15
    assert ratio.amax((2, 3)).std() > 0.03


def test_noise_is_of_its_deviation_and_never_below_zero():
    windows = ground(edge=64)
    windows[:, :, :4] = 0
    noisy, quiet = seeds_where(
        lambda one: not torch.equal(looks.noisy(windows, 0.01, generator(one)), windows)
    )
    shown = looks.noisy(windows, 0.01, generator(noisy))
    assert (shown - windows)[:, :, 4:].std() == pytest.approx(0.01, rel=0.05)
    assert torch.equal(shown[:, :, :4], windows[:, :, :4])
    assert shown.min() >= 0
    assert torch.equal(looks.noisy(windows, 0.01, generator(quiet)), windows)


def test_batches_that_are_shown_otherwise_are_the_same_again():
    pairs = ground().numpy(), np.zeros((8, 32, 32), np.uint8)
    spec = TrainSpec(
        batch_size=4, augmentation="d4", haze=0.5, zoom=0.3, soft=0.5, gain=0.1, gamma=0.2,
        noise=0.01, seed=3,
    )  # fmt: skip
    once, again = (list(batches.training(pairs, spec)) for _ in range(2))
    for (one, _), (other, _) in zip(once, again, strict=True):
        assert torch.equal(one, other)
        assert torch.isfinite(one).all()


@pytest.mark.parametrize("name", ["haze", "zoom", "soft", "gain", "gamma", "noise"])
def test_each_look_is_seen_when_it_is_asked_for(name):
    pairs = ground().numpy(), np.zeros((8, 32, 32), np.uint8)
    asked = {"noise": 0.05}.get(name, 0.9)
    spec = TrainSpec(batch_size=1, augmentation="none", **{name: asked})
    plain = TrainSpec(batch_size=1, augmentation="none")
    assert looks.is_drawn(spec)
    assert not looks.is_drawn(plain)
    shown, before = ([batch[0] for batch in batches.training(pairs, one)] for one in (spec, plain))
    # In random order, the same for both but for the seed that a look draws.
    means = sorted(float(one.mean()) for one in before)
    assert sorted(float(one.mean()) for one in shown) != means
