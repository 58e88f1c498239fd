"""Metrics: by hand, against their definitions, and of whole tiles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from lspipe.evaluate.metrics import (
    Confusion,
    averaged,
    confusion,
    f1_of,
    iou_of,
    match_objects,
    micro,
)

COUNTS = st.integers(0, 10**6)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_scores_are_their_definitions(tp, fp, fn, tn):
    table = Confusion(tp, fp, fn, tn)
    if tp:
        assert table.f1 == pytest.approx(
            2 * table.precision * table.recall / (table.precision + table.recall)
        )
        assert table.f1 == pytest.approx(f1_of(table.precision, table.recall))
        assert table.iou == pytest.approx(iou_of(table.f1))
        assert table.iou == pytest.approx(1 / (1 / table.precision + 1 / table.recall - 1))
    assert -1 <= table.mcc <= 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_mcc_is_the_correlation_of_the_two_maps(pixels):
    predicted, truth = np.array(pixels).T
    table = confusion(predicted, truth)
    if predicted.std() and truth.std():
        assert table.mcc == pytest.approx(np.corrcoef(predicted, truth)[0, 1], abs=1e-9)
    else:
        assert table.mcc == 0


def test_mcc_of_a_whole_tile_does_not_overflow():
    counts = np.array([10**6, 10**6, 10**6, 10980**2 - 3 * 10**6])
    table = Confusion(*counts)
    assert table.mcc == pytest.approx(0.4915, abs=1e-3)


def test_what_is_not_defined_is_nan_and_not_zero():
    nothing = Confusion(0, 0, 0, 9)
    assert all(map(math.isnan, (nothing.precision, nothing.recall, nothing.f1, nothing.iou)))
    assert nothing.accuracy == 1
    missed = Confusion(0, 0, 4, 5)
    assert math.isnan(missed.precision)
    assert (missed.recall, missed.f1) == (0, 0)


def test_pixels_that_do_not_count_do_not_count():
    predicted = np.array([[True, True, False, False]])
    truth = np.array([[True, False, True, False]])
    assert confusion(predicted, truth) == Confusion(1, 1, 1, 1)
    counted = np.array([[True, False, True, True]])
    assert confusion(predicted, truth, counted=counted) == Confusion(1, 0, 1, 1)


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((2, 3), bool)])
def test_masks_that_are_not_bool_or_of_another_shape_are_refused(bad):
    with pytest.raises(ValueError, match=r"predicted is .* expected bool \(2, 2\)"):
        confusion(bad, np.zeros((2, 2), bool))


def test_micro_and_averaged_scores_differ_where_batches_do():
    batches = [Confusion(90, 10, 0, 0), Confusion(0, 0, 10, 90), Confusion(1, 1, 0, 98)]
    pooled, mean = micro(batches), averaged(batches)
    assert pooled.recall == pytest.approx(91 / 101)
    # The second batch claims nothing, so it has no precision.
    assert mean.precision == pytest.approx((0.9 + 0.5) / 2)
    assert mean.recall == pytest.approx((1 + 0 + 1) / 3)
    assert mean.f1 != pytest.approx(
        2 * mean.precision * mean.recall / (mean.precision + mean.recall)
    )
    assert all(map(math.isnan, (averaged([]).f1, micro([]).f1)))


def squares(*corners, size=20, edge=4):
    image = np.zeros((size, size), bool)
    for row, column in corners:
        image[row : row + edge, column : column + edge] = True
    return image


def test_objects_are_right_by_overlap_or_by_lying_inside():
    truth = squares((0, 0), (10, 10))
    exact = match_objects(truth, truth)
    assert (exact.right, exact.wrong, exact.found, exact.missed) == (2, 0, 2, 0)
    assert (exact.precision, exact.recall, exact.jaccard, exact.jaccard_mean) == (1, 1, 1, 1)
    # One pixel inside a large true object: an IoU of 1/16, and all of it is true.
    small = np.zeros_like(truth)
    small[1, 1] = True
    inside = match_objects(small, truth)
    assert (inside.right, inside.found, inside.missed) == (1, 1, 1)
    assert inside.jaccard == pytest.approx(1 / 16)
    # A corner only: an IoU of 1/31.
    touching = match_objects(squares((3, 3)), truth)
    assert (touching.right, touching.wrong, touching.found) == (0, 1, 0)
    assert math.isnan(touching.jaccard)
    assert touching.precision == 0


def test_one_object_over_two_finds_both_and_is_counted_once():
    truth = squares((0, 0), (0, 8))
    bridge = np.zeros_like(truth)
    bridge[:4, :12] = True
    scores = match_objects(bridge, truth)
    assert (scores.right, scores.wrong, scores.found, scores.missed) == (1, 0, 2, 0)
    assert scores.jaccard == pytest.approx(32 / 48)


def test_one_object_found_in_two_pieces_is_found_whole():
    truth = np.zeros((10, 10), bool)
    truth[2:4, 1:9] = True
    pieces = truth.copy()
    pieces[:, 5] = False
    scores = match_objects(pieces, truth)
    assert (scores.right, scores.wrong, scores.found, scores.missed) == (2, 0, 1, 0)
    assert scores.jaccard == pytest.approx(14 / 16)
    assert scores.jaccard_mean == pytest.approx((8 / 16 + 6 / 16) / 2)


def test_objects_of_masks_that_are_not_bool_are_refused():
    with pytest.raises(ValueError, match=r"predicted is uint8 \(4, 4\): expected bool"):
        match_objects(np.eye(4, dtype=np.uint8), np.eye(4, dtype=bool))


def test_connectivity_decides_what_one_object_is():
    diagonal = np.eye(4, dtype=bool)
    assert match_objects(diagonal, diagonal).right == 1
    assert match_objects(diagonal, diagonal, connectivity=4).right == 4
    with pytest.raises(ValueError, match="connectivity 6: expected 4 or 8"):
        match_objects(diagonal, diagonal, connectivity=6)


@given(st.integers(0, 2**32 - 1))
def test_every_object_is_right_or_wrong_and_every_true_one_found_or_missed(seed):
    random = np.random.default_rng(seed)
    predicted, truth = random.random((2, 16, 16)) > 0.7
    scores = match_objects(predicted, truth)
    eight = np.ones((3, 3))
    assert scores.right + scores.wrong == ndimage.label(predicted, eight)[1]
    assert scores.found + scores.missed == ndimage.label(truth, eight)[1]
    if scores.right:
        assert 0 < scores.jaccard <= 1
