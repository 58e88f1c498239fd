"""Which pixels make which object: against a plain flood fill of the definitions."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lspipe.change import objects
from lspipe.change.compare import change_codes
from lspipe.change.components import label
from lspipe.change.objects import (
    Kind,
    kinds_of_change,
    kinds_of_detection,
    summarise,
)
from lspipe.change.spec import ChangeSpec
from lspipe.preprocess.masks import spread
from lspipe.schema import CODE_NODATA, State
from tests.properties import examples

# Mostly far from the thresholds, so that objects have some size.
CODES = st.sampled_from([0, 0, 0, 4000, 9000, 9000, 5000, 5001, CODE_NODATA])
# Every pixel is drawn: left to itself, hypothesis fills most of an array with one value.
PAIRS = hnp.arrays(np.uint16, (2, 9, 8), elements=CODES, fill=st.nothing())


def neighbours(pixel: tuple[int, int], shape: tuple[int, ...], reach: int = 1):
    for row in range(max(pixel[0] - reach, 0), min(pixel[0] + reach + 1, shape[0])):
        for column in range(max(pixel[1] - reach, 0), min(pixel[1] + reach + 1, shape[1])):
            yield row, column


def flood(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """The 8-connected components, one pixel after the other."""
    left = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    regions = []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            pixel = edge.pop()
            region.add(pixel)
            found = left.intersection(neighbours(pixel, mask.shape))
            left -= found
            edge += found
        regions.append(region)
    return regions


def expected_kinds(before: np.ndarray, after: np.ndarray, tolerance: int) -> np.ndarray:
    """The definitions, word by word, at threshold 0.5 and before_below 0.3."""
    state = change_codes(before, after, ChangeSpec())
    there = {"before": (before > 5000) & (before != CODE_NODATA)}
    there["after"] = (after > 5000) & (after != CODE_NODATA)
    kinds = np.where(there["before"] | there["after"], Kind.PERSISTENT, Kind.NONE)
    kinds[(kinds > 0) & (state == State.UNDETERMINED)] = Kind.UNDETERMINED
    for kind, states, other in (
        (Kind.NEW, (State.GAIN, State.WEAK_GAIN), "before"),
        (Kind.VANISHED, (State.LOSS, State.WEAK_LOSS), "after"),
    ):
        for region in flood(np.isin(state, states)):
            if any(
                state[pixel] == states[0]
                and not any(
                    there[other][near] for near in neighbours(pixel, state.shape, tolerance)
                )
                for pixel in region
            ):
                for pixel in region:
                    kinds[pixel] = kind
    return kinds


def kinds(before, after, tolerance=1, **settings_) -> np.ndarray:
    state = change_codes(before, after, ChangeSpec())
    return kinds_of_change(
        before, after, state, threshold=5000, tolerance_px=tolerance, **settings_
    )


@examples(200)
@given(PAIRS, st.integers(0, 2), st.integers(1, 10))
def test_pixels_belong_to_the_objects_of_the_definition(pair, tolerance, block) -> None:
    expected = expected_kinds(pair[0], pair[1], tolerance)
    found = kinds(pair[0], pair[1], tolerance, block=block)
    np.testing.assert_array_equal(found, expected)


@given(PAIRS, st.integers(0, 2))
def test_swapping_the_dates_swaps_new_and_vanished_only(pair, tolerance) -> None:
    forward, backward = (kinds(*dates, tolerance) for dates in (pair, pair[::-1]))
    swapped = np.array([Kind.NONE, Kind.VANISHED, Kind.PERSISTENT, Kind.NEW, Kind.UNDETERMINED])
    np.testing.assert_array_equal(backward, swapped[forward])


@given(PAIRS)
def test_every_pixel_above_the_threshold_is_in_an_object(pair) -> None:
    above = ((pair > 5000) & (pair != CODE_NODATA)).any(axis=0)
    np.testing.assert_array_equal(kinds(*pair) > 0, above)


def test_a_shift_by_the_tolerance_is_no_new_object() -> None:
    before = np.zeros((9, 9), np.uint16)
    before[3:6, 3:6] = 9000
    for shift, status in ((1, Kind.PERSISTENT), (2, Kind.NEW)):
        after = np.roll(before, (shift, shift), axis=(0, 1))
        found = kinds(before, after)
        assert found[5 + shift, 5 + shift] == status
        assert (Kind.VANISHED in found) == (status == Kind.NEW)


def test_a_rim_joined_to_a_seed_belongs_to_the_new_object() -> None:
    before = np.array([[9000, 4000, 0, 0, 0]], np.uint16)
    after = np.full((1, 5), 9000, np.uint16)
    new = Kind.NEW
    assert kinds(before, after).tolist() == [[Kind.PERSISTENT, new, new, new, new]]


def test_a_map_of_one_date_has_detections() -> None:
    codes = np.array([[0, 5000, 5001, CODE_NODATA]], np.uint16)
    assert kinds_of_detection(codes, threshold=5000).tolist() == [[0, 0, Kind.DETECTED, 0]]


def test_a_pixel_at_the_threshold_is_no_landslide_and_one_above_it_is() -> None:
    # A column each: before, after; far from each other.
    columns = [(5000, 0), (0, 5000), (5001, 0), (0, 5001), (5000, CODE_NODATA), (CODE_NODATA, 5000)]
    before, after = np.zeros((2, 1, 8 * len(columns)), np.uint16)
    for number, (earlier, later) in enumerate(columns):
        before[0, 8 * number], after[0, 8 * number] = earlier, later
    state = change_codes(before, after, ChangeSpec(threshold=0.5))
    kinds = kinds_of_change(before, after, state, threshold=5000, tolerance_px=1, connectivity=8)
    assert kinds[0, ::8].tolist() == [Kind.NONE, Kind.NONE, Kind.VANISHED, Kind.NEW, 0, 0]


def test_a_rim_at_a_corner_belongs_to_the_object_only_with_eight_neighbours() -> None:
    before, after = np.zeros((2, 6, 6), np.uint16)
    after[0:3, 0:3] = after[3, 3] = 9000
    before[3, 3] = 4000  # too high before to be a seed
    for connectivity, kind in ((8, Kind.NEW), (4, Kind.PERSISTENT)):
        assert kinds(before, after, connectivity=connectivity)[3, 3] == kind


# --- statistics ---------------------------------------------------------------------------------


def expected_statistics(kind: Kind, before: list[int] | None, after: list[int]) -> dict:
    """The statistics of one object, a pixel after the other."""
    one, two = (
        [None if c == CODE_NODATA else c / 1e4 for c in codes or []] for codes in (before, after)
    )
    tops, gains, likely = [], [], []
    for b, a in zip(one or [None] * len(two), two, strict=True):
        tops.append(max(p for p in (a, b) if p is not None))
        if a is not None and b is not None:
            gains.append(a - b)
        if kind == Kind.NEW:
            likely.append(a * (1 - b))
        elif kind == Kind.VANISHED:
            likely.append(b * (1 - a))
        else:
            likely.append(a * b if kind == Kind.PERSISTENT else tops[-1])
    return {
        "status": kind.name.lower(),
        "n_px": len(two),
        "probability_mean": np.mean(tops),
        "probability_max": max(tops),
        "gain_mean": np.mean(gains) if gains else np.nan,
        "evidence": np.mean(likely),
    }


@given(PAIRS, st.booleans(), st.integers(1, 9))
def test_statistics_are_those_of_the_pixels_one_by_one(pair, is_one_date, strip) -> None:
    before, after = (None if is_one_date else pair[0]), pair[1]
    kind_of = kinds_of_detection(after, threshold=5000) if is_one_date else kinds(before, after)
    found = label(kind_of)
    with patch.object(objects, "BLOCK", strip):
        table = summarise(found, kind_of, before, after)
    assert len(table) == found.count
    for number, row in enumerate(table.to_dict("records"), start=1):
        where = found.labels == number
        codes = [None if date is None else date[where].tolist() for date in (before, after)]
        expected = expected_statistics(Kind(kind_of[where][0]), *codes)
        assert row == pytest.approx(expected, nan_ok=True)


@given(PAIRS, st.data())
def test_selected_objects_keep_their_pixels_and_are_numbered_anew(pair, data) -> None:
    found = label(kinds(*pair))
    labels, first = found.labels, found.first
    wanted = data.draw(st.lists(st.booleans(), min_size=found.count, max_size=found.count))
    kept = found.select(np.array(wanted, bool))
    expected = np.zeros_like(labels)
    for number, old in enumerate(np.flatnonzero(wanted) + 1, start=1):
        expected[labels == old] = number
    np.testing.assert_array_equal(kept.labels, expected)
    assert kept.first.tolist() == first[np.array(wanted, bool)].tolist()


@given(hnp.arrays(bool, (6, 7), elements=st.sampled_from([True, *[False] * 8]), fill=st.nothing()))
def test_a_rim_is_of_the_eight_neighbours(mask) -> None:
    expected = np.zeros_like(mask)
    for pixel in np.argwhere(mask).tolist():
        for near in neighbours(tuple(pixel), mask.shape):
            expected[near] = True
    np.testing.assert_array_equal(spread(mask, 1), expected)
