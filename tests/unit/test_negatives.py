"""Pairs in which nothing new happened, made from pairs in which something may have."""

import numpy as np
import pytest

from lspipe.models.item import Scaling
from lspipe.models.recipes import recipe_of
from lspipe.schema import IGNORED
from lspipe.train import TrainSpec
from lspipe.train.negatives import with_negatives

CHANNELS = ("before:B04", "after:B04", "slope", "B08", "before:B08")
IDENTITY = Scaling()


def pairs_of(count):
    """Windows whose every value tells window and channel, and labels with all three kinds."""
    windows = np.arange(count * 5, dtype=np.float32).reshape(count, 5, 1, 1)
    windows = np.broadcast_to(windows, (count, 5, 4, 4)).copy()
    labels = np.zeros((count, 4, 4), np.uint8)
    labels[:, 0], labels[:, 1] = 1, IGNORED
    return windows, labels


def test_dates_are_exchanged_and_nothing_is_a_landslide_then():
    windows, labels = pairs_of(8)
    spec = TrainSpec(exchanged=1, unchanged=0)
    shown, marked = with_negatives((windows, labels), CHANNELS, IDENTITY, spec)
    np.testing.assert_array_equal(shown[:8], windows)
    np.testing.assert_array_equal(marked[:8], labels)
    # B08 is of the date after; slope is of none.
    np.testing.assert_array_equal(shown[8:], windows[:, [1, 0, 2, 4, 3]])
    assert (marked[8:, 1] == IGNORED).all()
    assert not marked[8:, [0, 2, 3]].any()


def test_one_date_twice_is_a_pair_without_a_change():
    windows, labels = pairs_of(8)
    spec = TrainSpec(exchanged=0, unchanged=1)
    shown, marked = with_negatives((windows, labels), CHANNELS, IDENTITY, spec)
    np.testing.assert_array_equal(shown[8:12], windows[::2][:, [0, 0, 2, 4, 4]])
    np.testing.assert_array_equal(shown[12:], windows[1::2][:, [1, 1, 2, 3, 3]])
    assert not (marked[8:] == 1).any()


def test_by_default_a_quarter_of_the_windows_is_added_in_each_way_and_the_seed_draws_them():
    pairs = pairs_of(8)
    shown, marked = with_negatives(pairs, CHANNELS, IDENTITY, TrainSpec())
    assert len(shown) == len(marked) == 12
    again, _ = with_negatives(pairs, CHANNELS, IDENTITY, TrainSpec())
    np.testing.assert_array_equal(again, shown)
    other, _ = with_negatives(pairs, CHANNELS, IDENTITY, TrainSpec(seed=1))
    assert (other != shown).any()


@pytest.mark.parametrize(
    ("channels", "scaling"),
    [
        (("B04", "B08", "slope"), IDENTITY),
        (("before:B04", "after:B08", "slope"), IDENTITY),
        (("before:B04", "B04"), Scaling(kind="affine", scale=(1, 2), offset=(0, 0))),
        (("before:B04", "B04"), Scaling(kind="affine", scale=(1, 1), offset=(0, 1))),
    ],
)
def test_windows_whose_dates_cannot_be_exchanged_stay_as_they_are(channels, scaling):
    pairs = pairs_of(4)
    assert with_negatives(pairs, channels, scaling, TrainSpec()) is pairs


def test_any_recipe_of_bands_has_one_of_two_dates():
    single, pair = recipe_of("ghorb4"), recipe_of("ghorb4:pair")
    assert pair.channels == tuple(
        f"{date}:{band}" for date in ("before", "after") for band in single.channels
    )
    assert pair.level == single.level
    once, twice = recipe_of("l4s14").scaling, recipe_of("l4s14:pair").scaling
    assert twice.scale == (*once.scale[:12], *once.scale[:12], *once.scale[12:])
    assert recipe_of("l4s14:pair").channels[-2:] == ("slope", "dem")
    assert recipe_of("vega3:bgr,pair").channels[0] == "before:B02"
