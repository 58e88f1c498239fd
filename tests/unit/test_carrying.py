"""Which object of a new list a decision is about: against the rule, said plainly."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from lspipe.change.carrying import carry
from tests.properties import examples

DAYS = [None, "2017-01-01", "2018-01-01", "2019-01-01"]
STATUSES = ["new", "new", "grown", "vanished", "undetermined", None]
COLUMNS = ["id", "decision", "status", "date_before", "date_after", "geometry"]


def table(rows):
    return gpd.GeoDataFrame(pd.DataFrame(rows, columns=COLUMNS), geometry="geometry", crs=4326)


@st.composite
def outlined(draw, ids):
    """Up to five boxes on a small grid, each of one kind and time, and what was said of it."""
    names = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=5, unique=True))
    rows = []
    for name in names:
        west, south = draw(st.tuples(st.integers(0, 3), st.integers(0, 2)))
        box = shapely.box(west, south, west + draw(st.integers(1, 3)), south + 1)
        decision = draw(st.sampled_from(["true", "false", "unsure"]))
        status = draw(st.sampled_from(STATUSES))
        rows.append((name, decision, status, *draw(st.tuples(*[st.sampled_from(DAYS)] * 2)), box))
    return table(rows)


def span(row):
    """Begin and end of the time of an object, in the right order; unbounded where not known."""
    begin = -np.inf if pd.isna(row.date_before) else pd.Timestamp(row.date_before).timestamp()
    end = np.inf if pd.isna(row.date_after) else pd.Timestamp(row.date_after).timestamp()
    return min(begin, end), max(begin, end)


def is_alike(one, two):
    kinds = ["undetermined" if pd.isna(row.status) else row.status for row in (one, two)]
    kinds = ["new" if kind == "grown" else kind for kind in kinds]
    if kinds[0] != kinds[1] and "undetermined" not in kinds:
        return False
    first, second = span(one), span(two)
    return first == second or max(first[0], second[0]) < min(first[1], second[1])


def expected_place(review, objects):
    """The object itself, else the one alike that covers most, half at least; the first by id."""
    if review.id in set(objects["id"]):
        return review.id
    found = []
    for row in objects.itertuples():
        share = review.geometry.intersection(row.geometry).area / review.geometry.area
        if share >= 0.5 and is_alike(review, row):
            found.append((-share, row.id))
    return min(found)[1] if found else None


@examples(60)
@given(outlined("abcde"), outlined("defgh"))
def test_a_decision_goes_to_the_object_that_was_meant(reviews, objects):
    places = [expected_place(row, objects) for row in reviews.itertuples()]
    answers, torn = {}, []
    for place in sorted({place for place in places if place}):
        said = [(i, d) for i, d, p in zip(reviews["id"], reviews["decision"], places, strict=True)
                if p == place]  # fmt: skip
        if len({decision for _, decision in said}) > 1:
            torn.append(place)
            said = [(name, decision) for name, decision in said if name == place]
        if said:
            answers[place] = said[0][1]
    found = carry(reviews, objects)
    assert found.objects.tolist() == places
    assert found.answers == answers
    assert found.torn == tuple(torn)


@pytest.mark.parametrize(("width", "place"), [(2, "b"), (3, None)])
def test_an_object_must_cover_half_of_what_was_reviewed(width, place):
    reviews = table([("a", "true", "new", None, None, shapely.box(0, 0, width, 1))])
    objects = table([("b", None, "new", None, None, shapely.box(0, 0, 1, 1))])
    assert carry(reviews, objects).objects.tolist() == [place]


def test_times_that_only_meet_are_two():
    box = shapely.box(0, 0, 1, 1)
    reviews = table([("a", "true", "new", "2017-01-01", "2018-01-01", box)])
    later = table([("b", None, "new", "2018-01-01", "2019-01-01", box)])
    assert carry(reviews, later).objects.tolist() == [None]


def test_nothing_is_carried_from_nothing_or_to_nothing():
    some = table([("a", "true", "new", None, None, shapely.box(0, 0, 1, 1))])
    assert carry(some, some.iloc[:0]).objects.tolist() == [None]
    assert carry(some.iloc[:0], some).objects.tolist() == []


def test_broken_and_flat_outlines_do_no_harm():
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])  # crosses itself
    reviews = table([
        ("a", "true", "new", None, None, bow),
        ("b", "true", "new", None, None, shapely.LineString([(0, 0), (2, 2)])),
    ])  # fmt: skip
    objects = table([("c", None, "new", None, None, shapely.box(0, 0, 2, 2))])
    assert carry(reviews, objects).objects.tolist() == ["c", None]
    whole = table([("d", "true", "new", None, None, shapely.box(0, 0, 2, 1))])
    assert carry(whole, reviews.iloc[:1]).objects.tolist() == ["a"]
