"""Outlines matched with outlines, and the spread of a share."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats
from shapely import box

from lspipe.evaluate.metrics import Confusion, match_objects
from lspipe.evaluate.objects import Rule, match, score_matches
from lspipe.evaluate.spread import intervals
from lspipe.schema.sampled import wilson
from tests.properties import examples

MASKS = st.builds(
    lambda seed, share: np.random.default_rng(seed).random((12, 12)) < share,
    st.integers(0, 10_000),
    st.sampled_from([0.1, 0.2, 0.35]),
)


def outlines(mask):
    """Outline of each 8-connected object, pixels of 10 m."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    found = np.empty(count, dtype=object)
    for number in range(count):
        here = (labels == number + 1).astype(np.uint8)
        parts = rasterio.features.shapes(here, mask=here > 0, connectivity=4)
        whole = shapely.union_all([shapely.geometry.shape(part) for part, _ in parts])
        found[number] = shapely.transform(whole, lambda corners: 10 * corners)
    return found


def scores_of(listed, known, rule=None):
    matches = match(listed, known, rule)
    counted, counted_known = np.ones(len(listed), bool), np.ones(len(known), bool)
    return score_matches(matches, listed, known, counted=counted, counted_known=counted_known)


@examples(40)
@given(MASKS, MASKS, st.sampled_from([0.1, 0.34, 0.7]), st.sampled_from([0.3, 0.51, 1.0]))
def test_outlines_of_pixels_are_matched_as_the_pixels_are(predicted, truth, iou, share):
    expected = match_objects(predicted, truth, iou=iou, share=share)
    found = scores_of(outlines(predicted), outlines(truth), Rule(iou, share))
    assert (found.right, found.wrong) == (expected.right, expected.wrong)
    assert (found.found, found.missed) == (expected.found, expected.missed)
    np.testing.assert_allclose(found.jaccard, expected.jaccard)
    np.testing.assert_allclose(found.jaccard_mean, expected.jaccard_mean)


@examples(30)
@given(MASKS, MASKS, st.permutations(range(80)))
def test_the_order_of_a_list_changes_nothing(predicted, truth, order):
    listed, known = outlines(predicted), outlines(truth)
    mixed = [number for number in order if number < len(listed)]
    there, shuffled = match(listed, known), match(listed[mixed], known)
    assert there.right[mixed].tolist() == shuffled.right.tolist()
    assert there.found.tolist() == shuffled.found.tolist()


KNOWN = np.array([box(0, 0, 100, 100), box(500, 0, 600, 100)])


@pytest.mark.parametrize(("listed", "right", "found"), [
    ([box(0, 0, 100, 100)], [True], 1),
    # A hair less, and a hair more, than an IoU of 0.1: 18.1818 of 100 m are common.
    ([box(81.9, 0, 181.9, 100)], [False], 0),
    ([box(81.7, 0, 181.7, 100)], [True], 1),
    # Small, and half inside.
    ([box(95, 0, 105, 10)], [True], 1),
    ([box(95.1, 0, 105.1, 10)], [False], 0),
    # One outline around both, and two in one.
    ([box(0, 0, 600, 100)], [True], 2),
    ([box(0, 0, 50, 100), box(60, 0, 100, 100)], [True, True], 1),
    # A right one that touches the other by a sliver does not find it.
    ([box(0, 0, 500.4, 15)], [False], 0),
    ([box(0, 0, 500.4, 100)], [True], 1),
    ([box(0, 0, 500.6, 100)], [True], 2),
    # An edge in common is nothing in common.
    ([box(100, 0, 200, 100)], [False], 0),
    ([], [], 0),
])  # fmt: skip
def test_the_rule_at_its_limits(listed, right, found):
    matches = match(np.array(listed, dtype=object), KNOWN)
    assert matches.right.tolist() == right
    assert matches.found.sum() == found


def test_known_ones_that_overlap_are_ground_only_once():
    twice = np.array([box(0, 0, 100, 100), box(0, 0, 100, 100)])
    matches = match(np.array([box(0, 0, 100, 50)]), twice)
    assert matches.iou.tolist() == [0.5]
    assert matches.found.all()


def test_what_does_not_count_may_still_make_another_one_right():
    listed = np.array([box(0, 0, 100, 100), box(500, 0, 600, 100)])
    scores = score_matches(
        match(listed, KNOWN), listed, KNOWN,
        counted=np.array([True, False]), counted_known=np.array([False, True]),
    )  # fmt: skip
    assert (scores.right, scores.wrong, scores.found, scores.missed) == (1, 0, 1, 0)


@pytest.mark.parametrize(("count", "of"), [(0, 7), (7, 7), (1, 3), (14, 15), (300, 1000)])
def test_wilson_agrees_with_scipy(count, of):
    expected = stats.binomtest(count, of).proportion_ci(method="wilson")
    assert wilson(count, of) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_has_no_interval():
    assert wilson(0, 0) is None


def test_empty_blocks_widen_an_interval_as_if_they_were_given():
    filled = [Confusion(3, 1, 0, 10), Confusion(1, 4, 2, 9)] * 5
    empty = [Confusion(0, 0, 0, 16)] * 30
    one = intervals(filled, empty=30, draws=20_000)
    other = intervals([*filled, *empty], draws=20_000)
    assert one.f1 == pytest.approx(other.f1, abs=0.01)
    assert intervals([], empty=5).f1 is None
    assert intervals([Confusion(1, 0, 0)]).f1 is None
    assert intervals([Confusion(1, 0, 0)], empty=1).f1 == (1, 1)


def test_the_draws_do_not_depend_on_how_many_are_held(monkeypatch):
    counts = [Confusion(n, 2, n % 3, 5) for n in range(20)]
    whole = intervals(counts, empty=3)
    monkeypatch.setattr("lspipe.evaluate.spread._NUMBERS", 100)
    assert intervals(counts, empty=3) == whole
