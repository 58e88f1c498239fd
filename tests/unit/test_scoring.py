"""Scores of labelled patches: what is asked, what is counted, and how sure it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from lspipe.errors import ModelError, SamplesError, UsageError
from lspipe.evaluate.metrics import Confusion, confusion, micro
from lspipe.evaluate.scoring import (
    check_units,
    choose_threshold,
    measure,
    predict,
    score,
)
from lspipe.evaluate.spread import intervals
from lspipe.inference import dihedral
from lspipe.models import Scaling, read_item
from lspipe.models.recipes import recipe_of
from lspipe.samples import Samples
from lspipe.schema import CODE_NODATA, quantise

SIZE = 16


def samples_of(pairs):
    return Samples("made up", recipe_of("ghorb4"), tuple(pairs), pairs.__getitem__)


@pytest.fixture
def pairs():
    """Five patches; the truth is where the first channel is high, more or less."""
    rng = np.random.default_rng(0)
    made = {}
    for name in "abcde":
        image = rng.uniform(size=(4, SIZE, SIZE)).astype(np.float32)
        noisy = image[0] + rng.normal(0, 0.2, (SIZE, SIZE))
        made[name] = (image, (noisy > 0.7).astype(np.uint8))
    return made


def first_channel(windows):
    return windows[:, :1]


class Crooked(torch.nn.Module):
    """Sees its neighbours and where in the window it is: any cut or turn would show."""

    def forward(self, windows):
        ramp = torch.linspace(0, 1, windows.shape[-1])
        mixed = windows.mean((1, 2, 3), keepdim=True) + windows[:, :1].roll(1, -1) * ramp
        return torch.sigmoid(4 * mixed - 3)


# --- what is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_each_patch_is_one_window_whatever_lies_beside_it(pairs, batch_size):
    network = Crooked().eval()
    found = predict(network, samples_of(pairs), tta="none", batch_size=batch_size)
    for codes, (image, _) in zip(found.codes, pairs.values(), strict=True):
        alone = network(torch.from_numpy(image)[None])[0, 0].numpy()
        np.testing.assert_allclose(codes, quantise(alone), atol=1)
    assert found.window == SIZE


def test_eight_views_are_the_largest_of_the_eight(pairs):
    network = Crooked().eval()
    seen = []
    found = predict(network, samples_of(pairs), tta="d4", batch_size=2, on_patches=seen.append)
    image, _ = pairs["d"]
    views = [
        dihedral.invert(k, network(dihedral.apply(k, torch.from_numpy(image))[None])[0, 0].numpy())
        for k in dihedral.ELEMENTS
    ]
    np.testing.assert_allclose(found.codes[3], quantise(np.max(views, axis=0)), atol=1)
    assert seen == [2, 4, 5]


def test_patches_of_several_sizes_are_scored_and_oblong_ones_refused(pairs):
    image, mask = pairs["b"]
    pairs["b"] = (image[:, :8, :8], mask[:8, :8])
    found = predict(first_channel, samples_of(pairs), tta="none")
    assert [codes.shape for codes in found.codes][:3] == [(16, 16), (8, 8), (16, 16)]
    pairs["b"] = (image[:, :8], mask[:8])
    with pytest.raises(SamplesError, match="patches of 8 x 16 px: expected square ones"):
        predict(first_channel, samples_of(pairs), tta="none")
    # Windows that are laid over them do not mind.
    assert predict(first_channel, samples_of(pairs), window=4).codes[1].shape == (8, 16)


def test_no_patches_are_no_score():
    with pytest.raises(SamplesError, match="made up: no patches"):
        predict(first_channel, samples_of({}))


def test_a_model_of_other_units_is_refused(pairs):
    samples = samples_of(pairs)
    item = read_item("shipped:bare-ground")
    with pytest.raises(ModelError, match="lspipe:recipe: found none: made up is in the channels"):
        check_units(item, samples)
    fits = replace(item, recipe="ghorb4", bands=samples.recipe.channels)
    check_units(fits, samples)
    twice = Scaling(kind="affine", scale=(2.0,) * 4, offset=(0.0,) * 4)
    with pytest.raises(ModelError, match="lspipe:scaling: is not that of recipe ghorb4"):
        check_units(replace(fits, scaling=twice), samples)


# --- what is counted ----------------------------------------------------------------------------


def test_scores_are_those_of_the_pixels(pairs):
    found = score(first_channel, samples_of(pairs), tta="none", threshold=0.6)
    images, masks = (np.stack(part) for part in zip(*pairs.values(), strict=True))
    expected = micro([confusion(images[:, 0] > 0.6, masks == 1)])
    assert found.micro.f1 == pytest.approx(expected.f1, abs=2e-3)
    assert found.micro.mcc == pytest.approx(expected.mcc, abs=2e-3)
    assert (found.patches, found.pixels) == (5, 5 * SIZE * SIZE)
    assert found.landslide_share == pytest.approx(masks.mean())
    assert (found.threshold, found.threshold_from) == (0.6, "given")
    # One batch of 16 holds all five, so its mean is the score of all pixels.
    assert found.batch_mean == found.micro


def test_batches_of_16_are_averaged(pairs):
    many = {f"{name}{n}": pair for n in range(4) for name, pair in pairs.items()}
    found = score(first_channel, samples_of(many), tta="none")
    names = list(many)
    parts = [
        score(first_channel, samples_of({n: many[n] for n in part}), tta="none").micro.precision
        for part in (names[:16], names[16:])
    ]
    assert found.batch_mean.precision == pytest.approx(sum(parts) / 2)
    assert found.batch_mean.precision != found.micro.precision


def test_what_was_not_seen_or_not_judged_does_not_count(pairs):
    image, mask = pairs["a"]
    image, mask = image.copy(), mask.copy()
    image[2, :4] = np.nan
    mask[4:6] = 255
    pairs["a"] = (image, mask)
    found = predict(first_channel, samples_of(pairs), tta="none")
    assert (found.codes[0][:4] == CODE_NODATA).all()
    assert measure(found).pixels == (5 * SIZE - 6) * SIZE
    nothing = (np.full_like(image, np.nan), mask)
    with pytest.raises(SamplesError, match="no pixel is both observed and labelled"):
        score(first_channel, samples_of({"a": nothing}))


def test_objects_are_counted_per_patch():
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[2:6, 2:6] = 1
    mask[10:13, 10:13] = 1
    image = np.zeros((4, SIZE, SIZE), np.float32)
    image[0, 2:6, 2:5] = 1
    image[0, 14:, :3] = 1
    found = score(first_channel, samples_of({"a": (image, mask), "b": (image, mask)}))
    objects = found.objects
    assert (objects.right, objects.wrong, objects.found, objects.missed) == (2, 2, 2, 2)


def test_a_score_that_does_not_exist_is_none(pairs):
    found = score(lambda windows: windows[:, :1] * 0, samples_of(pairs))
    assert found.micro.precision is None
    assert found.micro.recall == 0
    assert found.intervals.precision is None


# --- thresholds ---------------------------------------------------------------------------------


def test_the_chosen_threshold_is_the_best_of_all(pairs):
    maps = [image[0] for image, _ in pairs.values()]
    masks = [mask for _, mask in pairs.values()]
    chosen = choose_threshold(maps, masks)
    codes = [quantise(one) for one in maps]

    def f1(threshold):
        limit = round(threshold * 1e4)
        return micro(confusion(c > limit, m == 1) for c, m in zip(codes, masks, strict=True)).f1

    assert f1(chosen) == max(f1(number / 100) for number in range(1, 100))
    found = score(first_channel, samples_of(pairs), tta="none", choose=True)
    assert (found.threshold, found.threshold_from) == (chosen, "chosen on these patches")


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_taken():
    probability, mask = np.array([[0.9, 0.3]]), np.array([[1, 0]])
    assert choose_threshold([probability], [mask]) == 0.5
    assert choose_threshold([probability - 0.25], [mask]) == 0.5
    assert choose_threshold([probability / 2], [mask]) == 0.44


def test_a_threshold_is_not_chosen_without_landslides_nor_besides_one(pairs):
    with pytest.raises(SamplesError, match="no landslide pixel"):
        choose_threshold([np.zeros((2, 2))], [np.zeros((2, 2), np.uint8)])
    with pytest.raises(UsageError, match=r"threshold 0\.4 together with choose"):
        score(first_channel, samples_of(pairs), threshold=0.4, choose=True)


# --- how sure -----------------------------------------------------------------------------------


def test_the_interval_of_a_recall_is_that_of_the_binomial():
    # One landslide pixel per patch, found in every second: recall is a share of coin tosses.
    patches = [Confusion(1, 0, 0), Confusion(0, 0, 1)] * 100
    low, high = intervals(patches, draws=20_000).recall
    assert low == pytest.approx(stats.binom.ppf(0.025, 200, 0.5) / 200, abs=0.006)
    assert high == pytest.approx(stats.binom.ppf(0.975, 200, 0.5) / 200, abs=0.006)


def test_patches_that_are_all_alike_leave_no_doubt_and_one_says_nothing():
    same = intervals([Confusion(3, 1, 2)] * 7)
    assert same.precision == (0.75, 0.75)
    assert intervals([Confusion(3, 1, 2)]).precision is None
    mixed = [Confusion(n, n * n % 7, 3 * n % 11) for n in range(20)]
    assert intervals(mixed) == intervals(mixed)
    assert intervals(mixed) != intervals(mixed, seed=1)
