"""Where the date before must be known: new objects are the same as if it were known everywhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pandas.testing import assert_frame_equal
from pyproj import CRS

from lspipe.change.classified import classified_change
from lspipe.change.compare import change_codes
from lspipe.change.components import label
from lspipe.change.flag_spec import FlagsSpec
from lspipe.change.flags import flag, flags_of
from lspipe.change.inventory import Provenance, whole_objects
from lspipe.change.joining import TileMap, join_tiles
from lspipe.change.needed import asked, marked, on_neighbours, reach_of, without_cut
from lspipe.change.objects import Kind, kinds_of_change
from lspipe.change.ranking import rank
from lspipe.change.registration import Shift
from lspipe.change.spec import ChangeSpec
from lspipe.preprocess.masks import spread
from lspipe.runs import registration
from lspipe.schema import CODE_NODATA, threshold_code
from tests.properties import examples

SIZE = 40


def drawn(seed):
    """Two maps of some rectangles and specks, of which a few are there on both dates."""
    generator = np.random.default_rng(seed)
    codes = np.zeros((2, SIZE, SIZE), np.uint16)
    for _ in range(generator.integers(5, 16)):
        dates = [[0], [1], [0, 1]][generator.integers(3)]
        corner, size = generator.integers(0, SIZE, 2), generator.integers(1, 9, 2)
        value = generator.choice(
            np.array([9000, 9000, 5001, 4000, CODE_NODATA, CODE_NODATA], np.uint16)
        )
        stop = corner + size
        codes[dates, corner[0] : stop[0], corner[1] : stop[1]] = value
    specks = generator.random(codes.shape) < generator.choice([0, 0.004, 0.02])
    codes[specks] = generator.choice(np.array([9000, 4000], np.uint16), specks.sum())
    return dict(zip(("before", "after"), codes, strict=True))


PAIRS = st.integers(0, 2**32 - 1).map(drawn)
RULES = st.builds(
    ChangeSpec,
    tolerance_px=st.integers(0, 2),
    min_gain=st.sampled_from([None, 0.45]),
    method=st.sampled_from(["hysteresis", "subtract"]),
)
SHIFTS = st.tuples(*[st.sampled_from([-1.37, 0, 1.4])] * 2)
CORNERS = st.sampled_from([(0, SIZE), (4, SIZE - 6), (SIZE - 14, 10), (2, -20)])
DAYS = {"date_before": "2017-03-01T00:00:00Z", "date_after": "2018-03-01T00:00:00Z"}


def grid_at(row=0, column=0):
    corner = Affine(10, 0, 600_000 + 10 * column, 0, -10, 5_200_000 - 10 * row)
    return GeoBox((SIZE, SIZE), corner, "EPSG:32718")


def nothing_stored(*_):
    return None


def objects(maps, rules, *, tile="18GYS", grid=None):
    """The objects of a tile with all their columns."""
    geobox = grid or grid_at()
    attrs = rules.attrs() | {"threshold": rules.limit}
    scene = classified_change(
        maps["before"],
        maps["after"],
        change_codes(maps["before"], maps["after"], rules),
        attrs,
        transform=geobox.affine,
        crs=CRS.from_epsg(32718),
    )
    return whole_objects(
        scene,
        provenance=Provenance(tile=tile, **DAYS),
        area=np.ones(geobox.shape, bool),
        layers=nothing_stored,
    )


def listed(inventory):
    """What a list says of what is new: every column, and the rank among them."""
    flagged = flag(inventory, FlagsSpec())
    ranked = rank(flagged, flags_of(flagged, FlagsSpec()))
    new = ranked[ranked["status"].isin(["new", "grown"])].reset_index(drop=True)
    return pd.DataFrame(new).assign(geometry=new.geometry.to_wkb())


def above(codes, rules):
    return (codes > threshold_code(rules.limit)) & (codes != CODE_NODATA)


def known_where_needed(tiles, rules, *, drift_px=0):
    """Where the date before of each tile, by name (grid, maps), becomes known step by step."""
    reach = reach_of(rules.attrs()["tolerance_px"], drift_px=drift_px)
    known = {name: np.zeros((SIZE, SIZE), bool) for name in tiles}
    marks, shown = ({name: np.zeros((SIZE, SIZE), bool) for name in tiles} for _ in range(2))
    while True:
        wanted = {}
        for name, (grid, maps) in tiles.items():
            others = [(tiles[other][0], shown[other]) for other in tiles if other != name]
            wanted[name] = marked(
                above(maps["after"], rules),
                above(maps["before"], rules) & known[name],
                reach=reach,
                elsewhere=on_neighbours(grid, others),
            )
        is_more = any((wanted[name] & ~marks[name]).any() for name in tiles)
        marks = wanted
        shown = {
            name: marks[name]
            & (above(maps["after"], rules) | above(maps["before"], rules) & known[name])
            for name, (_, maps) in tiles.items()
        }
        known = {name: known[name] | asked(marks[name], reach=reach) for name in tiles}
        if not is_more:
            return known


def halved(maps, known, rules):
    before = np.where(known, maps["before"], np.uint16(CODE_NODATA))
    return {**maps, "before": without_cut(before, ~known, threshold=threshold_code(rules.limit))}


@pytest.fixture(autouse=True, params=[0, 5])
def margin(request, monkeypatch):
    """Maps of a test are smaller than what is asked for in comfort."""
    monkeypatch.setattr("lspipe.change.needed.MARGIN", request.param)


def judged(maps, rules):
    """Kinds of objects, and the codes before."""
    kinds = kinds_of_change(
        maps["before"],
        maps["after"],
        change_codes(maps["before"], maps["after"], rules),
        threshold=threshold_code(rules.limit),
        tolerance_px=rules.attrs()["tolerance_px"],
    )
    return kinds, maps["before"]


def joined_to(first, kinds):
    """The pixels of all objects that are joined to some pixels."""
    found = label(kinds > 0)
    is_wanted = np.zeros(found.count, bool)
    is_wanted[found.at(np.flatnonzero(first & (kinds > 0)))] = True
    return found.select(is_wanted).labels > 0


def check_the_same(half, full, where):
    """Compare objects and their rim, on which all depends that is said of them."""
    near = spread(where, 1)
    for one, other in zip(half, full, strict=True):
        np.testing.assert_array_equal(one[near], other[near])


@examples(50)
@given(PAIRS, RULES)
def test_objects_joined_to_what_is_there_after_are_known_whole(maps, rules):
    known = known_where_needed({"a": (grid_at(), maps)}, rules)["a"]
    full, half = (judged(each, rules) for each in (maps, halved(maps, known, rules)))
    check_the_same(half, full, joined_to(above(maps["after"], rules), full[0]))
    # What is hidden on a date is listed too: as it is, or not at all.
    found, every = (label(kinds == Kind.UNDETERMINED) for kinds, _ in (half, full))
    at = every.at(found.first)
    np.testing.assert_array_equal(every.first[at], found.first)
    np.testing.assert_array_equal(every.n_px[at], found.n_px)


@examples(50)
@given(PAIRS, RULES, SHIFTS, st.booleans())
def test_and_so_they_are_where_a_date_is_moved(maps, rules, by, is_swapped):
    shift = Shift(*by, spread_px=0.0, windows=9)
    known = known_where_needed({"a": (grid_at(), maps)}, rules, drift_px=2)["a"]
    full, half = (
        registration.on_one_ground(each, shift, is_swapped=is_swapped)
        for each in (maps, halved(maps, known, rules))
    )
    first = above(full["after"], rules)
    full, half = judged(full, rules), judged(half, rules)
    check_the_same(half, full, joined_to(first, full[0]))


def seen_at(mask, corner):
    """Show a tile, and what touches it, on one whose corner lies so far from its own, pixels."""
    row, column = np.add(SIZE, corner)
    return spread(np.pad(mask, SIZE), 1)[row:, column:][:SIZE, :SIZE]


@examples(25)
@given(PAIRS, PAIRS, RULES, CORNERS)
def test_and_so_are_those_that_touch_them_on_another_tile(one, other, rules, corner):
    tiles = {"a": (grid_at(), one), "b": (grid_at(*corner), other)}
    known = known_where_needed(tiles, rules)
    full = {name: judged(maps, rules) for name, (_, maps) in tiles.items()}
    found = {
        name: joined_to(above(maps["after"], rules), full[name][0])
        for name, (_, maps) in tiles.items()
    }
    for _ in range(3):
        for name, beside, at in (("b", "a", corner), ("a", "b", tuple(np.negative(corner)))):
            touched = seen_at(found[beside], at)
            found[name] = joined_to(found[name] | touched, full[name][0])
    for name, (_, maps) in tiles.items():
        half = judged(halved(maps, known[name], rules), rules)
        check_the_same(half, full[name], found[name])


@examples(5)
@given(PAIRS, RULES)
def test_rows_of_new_objects_are_those_of_two_dates_known_everywhere(maps, rules):
    known = known_where_needed({"a": (grid_at(), maps)}, rules)["a"]
    full, half = (objects(each, rules) for each in (maps, halved(maps, known, rules)))
    assert_frame_equal(listed(half), listed(full))


@examples(5)
@given(PAIRS, PAIRS, RULES, CORNERS)
def test_rows_are_the_same_once_tiles_are_joined(one, other, rules, corner):
    tiles = {"18GYS": (grid_at(), one), "18GYT": (grid_at(*corner), other)}
    known = known_where_needed(tiles, rules)
    found = []
    for is_half in (True, False):
        tables = [
            objects(
                halved(maps, known[name], rules) if is_half else maps, rules, tile=name, grid=grid
            )
            for name, (grid, maps) in tiles.items()
        ]
        places = [TileMap(name, grid) for name, (grid, _) in tiles.items()]
        found.append(listed(join_tiles(tables, places, min_area_m2=200)))
    assert_frame_equal(*found)


@examples(15)
@given(PAIRS, RULES, st.integers(0, 2**32 - 1))
def test_marks_do_not_depend_on_the_order_in_which_pixels_become_known(maps, rules, seed):
    reach = reach_of(rules.attrs()["tolerance_px"])
    after, before = (above(maps[role], rules) for role in ("after", "before"))
    expected = asked(marked(after, before & known_where_needed(
        {"a": (grid_at(), maps)}, rules)["a"], reach=reach), reach=reach)  # fmt: skip
    known, generator = np.zeros_like(after), np.random.default_rng(seed)
    while True:
        left = asked(marked(after, before & known, reach=reach), reach=reach) & ~known
        if not left.any():
            break
        # One piece of what is asked for, as a block would answer it.
        row, column = generator.choice(np.argwhere(left))
        piece = np.zeros_like(known)
        piece[row // 9 * 9 :, column // 9 * 9 :][:9, :9] = True
        known |= left & piece
    np.testing.assert_array_equal(known, expected)


def test_quiet_ground_asks_for_nothing():
    nothing = np.zeros((9, 9), bool)
    before = nothing.copy()
    before[4, 4] = True  # what was there before alone cannot be new
    assert not marked(nothing, before, reach=1).any()


def test_what_was_there_is_followed_to_its_end_and_no_farther():
    after, before = np.zeros((2, 5, 40), bool)
    after[2, 2:5] = before[2, 5:20] = before[2, 30:] = True
    found = marked(after, before, reach=1)
    np.testing.assert_array_equal(found.any(axis=0), (np.arange(40) > 0) & (np.arange(40) < 21))
    np.testing.assert_array_equal(found[1], found[2])


def test_what_is_hidden_after_and_known_in_part_is_no_object():
    before, after = np.zeros((2, SIZE, SIZE), np.uint16)
    after[9, 2], after[5:14, 7:] = 9000, CODE_NODATA
    before[8:11, 8:25] = 9000
    maps, rules = {"before": before, "after": after}, ChangeSpec()
    known = known_where_needed({"a": (grid_at(), maps)}, rules)["a"]
    assert Kind.UNDETERMINED in judged(maps, rules)[0]
    assert not known[9].all()
    assert Kind.UNDETERMINED not in judged(halved(maps, known, rules), rules)[0]


def test_a_tile_that_only_touches_another_is_asked_about_its_ground():
    marks = np.zeros((SIZE, SIZE), bool)
    marks[7, -1] = True
    beside = on_neighbours(grid_at(column=SIZE), [(grid_at(), marks)])
    expected = np.zeros((SIZE, SIZE), bool)
    expected[5:10, :4] = True
    assert (beside <= spread(expected, 1)).all()
    assert beside[7, 0]
    assert not on_neighbours(grid_at(column=SIZE + 9), [(grid_at(), marks)]).any()
