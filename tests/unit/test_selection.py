"""Which blocks one call does: those that are not done, of what was asked for."""

from __future__ import annotations

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely

from lspipe.errors import UsageError
from lspipe.runs.prepare import Prepared, read_done
from lspipe.runs.selection import Selection, select
from tests.stored import store_run
from tests.worlds import add_scene, ground, make_world

SIZE = 64
TIMES = ("2017-01-15T14:37:51Z", "2018-01-20T14:37:51Z")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two tiles of 2 x 2 blocks on two dates; the first of each is done, two others failed."""
    folder = tmp_path_factory.mktemp("world")
    world = make_world(
        folder,
        size=SIZE,
        inference={"window": 16, "stride": 8, "tta": "none"},
        execution={"block": 40},
        aoi={"tiles": ["18GYS", "18GYT"]},
    )
    for time in TIMES:
        add_scene(folder, tile="18GYT", size=SIZE, time=time, values=ground())
    made = store_run(
        world, folder / "run", probability=np.zeros((2, SIZE, SIZE), np.uint16), only=1
    )
    failures = [
        {"tile": "18GYS", "step": 1, "index": [0, 1], "error": "HTTP 404"},
        {"tile": "18GYT", "step": 0, "index": [1, 0], "error": "HTTP 404"},
        # Done since.
        {"tile": "18GYT", "step": 0, "index": [0, 0], "error": "HTTP 404"},
    ]
    return Prepared(made.run, made.plan, {"failures": failures}, {}, read_done(made.run, made.plan))


def chosen(prepared, **asked):
    found = select(prepared, Selection(**asked))
    return {key: [block.index for block in blocks] for key, blocks in found.items() if blocks}


LEFT = [(0, 1), (1, 0), (1, 1)]
STEPS = [("18GYS", 0), ("18GYS", 1), ("18GYT", 0), ("18GYT", 1)]


def test_everything_that_is_not_done_is_chosen(prepared):
    assert chosen(prepared) == dict.fromkeys(STEPS, LEFT)


def test_a_tile_by_name_is_all_of_it_and_nothing_else(prepared):
    assert chosen(prepared, tiles=("18GYT",)) == dict.fromkeys(STEPS[2:], LEFT)
    with pytest.raises(UsageError, match="19GBP: not in this run; it has 18GYS, 18GYT"):
        chosen(prepared, tiles=("18GYS", "19GBP"))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (2, dict.fromkeys(STEPS[:2], LEFT[:2])),
        (4, dict.fromkeys(STEPS[:2], LEFT) | dict.fromkeys(STEPS[2:], LEFT[:1])),
        (100, dict.fromkeys(STEPS, LEFT)),
    ],
)
def test_a_limit_counts_places_with_all_their_dates(prepared, limit, expected):
    assert chosen(prepared, limit=limit) == expected


def test_a_place_whose_other_date_is_done_counts_as_one(prepared):
    half = prepared.done["18GYS"].copy()
    half[0, 1] = True  # only the later date of the second block is left
    prepared = replace(prepared, done={**prepared.done, "18GYS": half})
    assert chosen(prepared, limit=2) == {STEPS[0]: LEFT[1:2], STEPS[1]: LEFT[:2]}


def test_a_limit_below_one_is_refused(prepared):
    with pytest.raises(UsageError, match="expected 1 or more"):
        chosen(prepared, limit=0)


def test_what_failed_is_told_by_tile_date_and_block(prepared):
    assert chosen(prepared, only_failed=True) == {STEPS[1]: [(0, 1)], STEPS[2]: [(1, 0)]}
    never = replace(prepared, previous=None)
    assert chosen(never, only_failed=True) == {}


def test_bounds_choose_the_blocks_that_they_touch(prepared):
    # A few pixels on both sides of the border of the first two blocks of the first tile.
    box = shapely.box(699960 + 380, 5200000 - 60, 699960 + 420, 5200000 - 20)
    bounds = tuple(gpd.GeoSeries([box], crs=32718).to_crs(4326).total_bounds)
    assert chosen(prepared, bounds=bounds) == {step: [(0, 1)] for step in STEPS[:2]}
    everything = replace(prepared, previous=None)
    assert chosen(everything, bounds=bounds, limit=1) == {step: [(0, 1)] for step in STEPS[:2]}
    with pytest.raises(UsageError, match="touches no block"):
        chosen(prepared, bounds=(10.0, 10.0, 11.0, 11.0))
    with pytest.raises(UsageError, match="bounds"):
        chosen(prepared, bounds=(10.0, 12.0, 11.0, 11.0))
