"""A run that lists new objects alone: half the work, and the same rows."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pandas.testing import assert_frame_equal

import lspipe
from lspipe.cli.summaries import summary_text
from lspipe.errors import InferenceError, StoreError, WorkflowError
from lspipe.inference.settings import Setting
from lspipe.outputs.report import facts
from lspipe.runs import halved, store
from lspipe.runs.validation import validate
from lspipe.schema import CODE_NODATA, State
from lspipe.schema.maps import NOT_NEEDED
from lspipe.workflow import Workflow
from tests.scenes import TILES
from tests.stored import IN_THIS_PROCESS, compute_here, store_run
from tests.worlds import OLD_SCAR, add_scene, ground, make_world, quick_world

TILE = "18GYS"
LONG = (150, 20, 6, 210)
"""Was there before, far beyond what touches it after."""
GREW = (144, 14, 14, 20)
"""There after, around its end."""
GONE = (60, 190, 24, 24)
HIDDEN = (20, 20, 16, 16)
"""There after, and under a cloud before."""
NEW = "change.list=new"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return quick_world(
        tmp_path_factory.mktemp("world"),
        before={"values": ground(OLD_SCAR, LONG, GONE), "clouds": [(28, 28, 9)]},
        after={"values": ground(OLD_SCAR, GREW, HIDDEN)},
        cluster=IN_THIS_PROCESS,
        change={"min_area_m2": 0},
    )


def run(world, folder, *overrides):
    asked = Workflow.from_file(world.workflow, overrides=overrides)
    summary = lspipe.run(asked, output=folder)
    return SimpleNamespace(
        path=folder,
        summary=summary,
        record=store.read_json(folder / "run.json"),
        list=gpd.read_parquet(folder / "inventory.parquet"),
        maps={
            name: store.read(folder, store.DETECTIONS, TILE, name)
            for name in ("probability", "quality")
        },
    )


@pytest.fixture(scope="module")
def full(world, tmp_path_factory):
    return run(world, tmp_path_factory.mktemp("runs") / "full")


@pytest.fixture(scope="module")
def half(world, tmp_path_factory):
    return run(world, tmp_path_factory.mktemp("runs") / "half", NEW)


def looked_for(inventory):
    chosen = inventory[~inventory["status"].isin(["vanished", "persistent"])]
    return plain(chosen.reset_index(drop=True))


def plain(table):
    return pd.DataFrame(table).assign(geometry=table.geometry.to_wkb())


def test_new_rows_are_the_same_and_old_ones_are_not_listed(full, half):
    old = {"persistent", "vanished"}
    assert old | {"grown", "undetermined"} <= set(full.list["status"])
    assert set(half.list["status"]) == set(full.list["status"]) - old
    assert_frame_equal(looked_for(half.list), looked_for(full.list))
    assert list(half.list.columns) == list(full.list.columns)


def test_the_date_after_is_whole_and_the_one_before_is_right_where_it_is_known(full, half):
    before, after = half.maps["probability"]
    np.testing.assert_array_equal(after, full.maps["probability"][1])
    spared = half.maps["quality"][0] == NOT_NEEDED
    assert 0.3 < spared.mean() < 0.9
    assert (before[spared] == CODE_NODATA).all()
    np.testing.assert_array_equal(before[~spared], full.maps["probability"][0][~spared])
    np.testing.assert_array_equal(
        half.maps["quality"][0][~spared], full.maps["quality"][0][~spared]
    )


def test_what_was_not_needed_looks_like_no_change_and_like_no_gap(full, half):
    spared = half.maps["quality"][0] == NOT_NEEDED
    state = store.read(half.path, store.CHANGE, TILE, "state")
    assert (state[spared] == State.UNDETERMINED).all()
    assert half.summary.observed_share == full.summary.observed_share
    gaps = [gpd.read_parquet(each.path / "unobserved.parquet") for each in (full, half)]
    assert_frame_equal(*map(plain, gaps))


def test_fewer_windows_are_run_and_each_is_counted(full, half):
    windows = [each.record["windows"]["run"] for each in (full, half)]
    assert 0.5 < windows[1] / windows[0] < 0.9
    assert half.record["counts"]["done"] == half.record["counts"]["total"]


def test_the_run_says_what_it_did_not_look_for(full, half):
    assert "vanished or persistent was not looked for" in summary_text(half.summary, None)
    assert "not looked for" not in summary_text(full.summary, None)
    told = [facts.head(lspipe.open_run(each.path), each.list)["warnings"] for each in (half, full)]
    assert facts.ONLY_NEW in told[0]
    assert facts.ONLY_NEW not in told[1]


def test_a_block_of_which_most_windows_matter_is_asked_for_whole_and_no_other():
    setting = Setting(window=16, stride=8)
    needed = np.zeros((64, 128), bool)
    needed[[4, 20, 36, 52], :60:8] = True  # a tenth of the pixels, and every window
    needed[:40, 68:92] = True  # a third of the pixels, and half of the windows
    before = needed.copy()
    cores = [(slice(0, 64), slice(0, 64)), (slice(0, 64), slice(64, 128))]
    halved.fill_blocks(needed, cores, setting)
    assert needed[cores[0]].all()
    np.testing.assert_array_equal(needed[cores[1]], before[cores[1]])


class Killed(BaseException):
    """The process ends."""


def test_a_killed_run_resumes_and_ends_in_the_same_bytes(world, half, tmp_path, monkeypatch):
    left = iter(range(1, 99))

    def killed(*arguments, report, **asked):
        def told(event):
            report(event)
            if next(left) in (3, 6, 9, 10, 11):
                raise Killed

        return compute_here(*arguments, report=told, **asked)

    monkeypatch.setattr("tests.stored.compute_here", killed)
    kills = 0
    while True:
        try:
            found = run(world, tmp_path / "run", NEW)
        except Killed:
            kills += 1
        else:
            break
    assert kills == 5
    for name, values in half.maps.items():
        np.testing.assert_array_equal(found.maps[name], values)
    assert_frame_equal(looked_for(found.list), looked_for(half.list))


def test_what_is_added_to_a_block_later_is_tried_again_and_makes_it_whole(world, half, tmp_path):
    asked = Workflow.from_file(world.workflow, overrides=(NEW,))
    assert lspipe.run(asked, output=tmp_path / "run", limit=1).state == "partial"
    # What else is needed of a block that is done is a part of the run, and may fail as any other.
    with patch("lspipe.runs.writing._keep_stored", side_effect=InferenceError("no room")):
        summary = lspipe.run(asked, output=tmp_path / "run")
    assert (summary.state, summary.exit_code) == ("failed", 3)
    assert all(failure.endswith("no room") for failure in summary.failures)
    found = run(world, tmp_path / "run", NEW)
    assert found.summary.state == "finished"
    for name, values in half.maps.items():
        np.testing.assert_array_equal(found.maps[name], values)
    assert_frame_equal(looked_for(found.list), looked_for(half.list))


def test_what_one_tile_shows_is_asked_of_its_neighbour(tmp_path):
    size, names = 64, (TILE, "18GXS")
    west, north = TILES[TILE].left, TILES[TILE].top
    with patch.dict(TILES, {"18GXS": replace(TILES[TILE], name="18GXS", left=west + 320)}):
        world = make_world(
            tmp_path, size=size, aoi={"file": "both.geojson"}, change={"list": "new"}
        )
        for time in ("2017-01-15T14:37:51Z", "2018-01-20T14:37:51Z"):
            add_scene(tmp_path, tile="18GXS", size=size, time=time, values=ground())
    both = gpd.GeoSeries([shapely.box(west, north - 640, west + 960, north)], crs=32718)
    both.to_crs(4326).to_file(tmp_path / "both.geojson")
    codes = {name: np.zeros((2, size, size), np.uint16) for name in names}
    quality = {name: np.zeros((2, size, size), np.uint8) for name in names}
    for name in names:
        codes[name][0], quality[name][0] = CODE_NODATA, NOT_NEEDED
    codes[TILE][1, 8:12, 40:44] = 9000
    made = store_run(world, tmp_path / "run", probability=codes, quality=quality)
    # Of tiles as small as these, nearly every window would be run: all would be asked for.
    with patch.object(halved, "MOST", 2):
        needed = halved._Ground(SimpleNamespace(run=made.run, plan=made.plan)).look()
    rows, columns = np.nonzero(needed[TILE][:, :])
    # The object, 3 pixels of reach, and 16 of margin.
    assert (rows.max(), columns.min(), columns.max()) == (11 + 19, 40 - 19, 43 + 19)
    rows, columns = np.nonzero(needed["18GXS"][:, :])
    # On the other grid, 32 pixels to the east, and two pixels for what touches it.
    assert (rows.max(), columns.min(), columns.max()) == (11 + 21, 0, 43 - 32 + 21)


def test_a_run_that_listed_all_is_not_taken_for_one_of_new_ones(world, full):
    asked = Workflow.from_file(world.workflow, overrides=(NEW,))
    with pytest.raises(StoreError, match="change"):
        lspipe.run(asked, output=full.path)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("dates={after: {start: 2018-01-01, end: 2018-03-31}}", "there is no date before"),
        ("model.item=shipped:bare-change", "sees both dates at once"),
        ("cube.composite=each", "several maps of a date"),
        ("cube.mask.source=[scl, 'tests.mask_sources:Bright']", "several masks"),
    ],
)
def test_where_it_can_save_nothing_it_is_refused(world, override, told):
    asked = Workflow.from_file(world.workflow, overrides=(override, NEW))
    with pytest.raises(WorkflowError, match=rf"change\.list: found 'new'.*{told}"):
        validate(asked)
