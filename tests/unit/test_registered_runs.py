"""Two dates that do not lie on each other: what a run measures, mends, warns of and leaves out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace

import geopandas as gpd
import numpy as np
import pytest
from geopandas.testing import assert_geodataframe_equal
from scipy import ndimage

import lspipe
from lspipe.change.registration import Shift
from lspipe.cli import main
from lspipe.runs import listing, pipeline, registration, store
from lspipe.schema import CODE_NODATA, Quality, State
from lspipe.workflow import Workflow
from tests.stored import compute_here, store_run
from tests.worlds import FOREST, SCAR, add_scene, change_workflow, fingerprints, make_world

SIZE = 264
"""Room for three by three windows of 128 pixels."""

TILE = "18GYS"
SCARS = {"old": np.s_[60:80, 60:80], "new": np.s_[150:170, 100:120], "gone": np.s_[200:216, 30:50]}
PLAIN = {"new": 1, "persistent": 1, "vanished": 1}
OFF = (0.3, -1.6)
"""Down and right: 1.6 pixels."""


def sampled(ground, shift):
    """Ground as a date shows it that lies down and right of where it should be."""
    return ndimage.shift(ground, shift, order=1, mode="reflect")


def codes(*shown, shift=(0, 0)):
    ground = np.zeros((SIZE, SIZE))
    for name in shown:
        ground[SCARS[name]] = 9500
    return np.rint(sampled(ground, shift)).astype(np.uint16)


def picture(shift=(0, 0), *, seed=0):
    noise = np.random.default_rng(seed).standard_normal((SIZE + 64,) * 2)
    smooth = ndimage.gaussian_filter(noise, 1.2)
    ground = 100 + 20 * smooth / smooth.std()
    shown = ndimage.shift(ground, shift, order=3)[32:-32, 32:-32]
    return np.clip(np.rint(shown), 1, 255).astype(np.uint8)


def two_dates(shift):
    """Codes and pictures before and after, the later ones moved."""
    return {
        "probability": np.stack([codes("old", "gone"), codes("old", "new", shift=shift)]),
        "pictures": np.stack([picture(), picture(shift)]),
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_world(
        tmp_path_factory.mktemp("archive"),
        size=SIZE,
        inference={"window": 32, "stride": 32, "tta": "none"},
        execution={"block": SIZE},
    )


@pytest.fixture
def listed(archive, tmp_path):
    """Store maps and pictures, and list them; the workflow's keys first."""

    def make(*overrides, name="run", **arrays):
        made = store_run(archive, tmp_path / name, *overrides, **arrays)
        found = listing.write(made.run, made.plan)
        return made, found

    return make


def table(made):
    return gpd.read_parquet(made.run / "inventory.parquet")


# --- what is compared ---------------------------------------------------------------------------


def test_a_rim_of_one_pixel_is_no_landslide_and_needs_no_registration(listed):
    _, found = listed("change.register=none", **two_dates((0, 1)))
    assert found.statuses == PLAIN


def test_a_rim_of_more_is_a_landslide_only_where_the_dates_are_not_registered(listed):
    _, alone = listed("change.register=none", name="alone", **two_dates(OFF))
    assert alone.statuses["grown"] > 0
    made, found = listed(**two_dates(OFF))
    assert found.statuses == PLAIN
    shift = found.registration[TILE]
    assert (shift["dy_px"], shift["dx_px"]) == pytest.approx(OFF, abs=0.06)
    assert (shift["east_m"], shift["north_m"]) == pytest.approx((-16, -3), abs=0.7)
    assert (shift["windows"], shift["spread_px"]) == (9, pytest.approx(0, abs=0.1))
    # What was detected is kept as it was detected.
    stored = store.read(made.run, store.DETECTIONS, TILE, "probability")
    np.testing.assert_array_equal(stored, two_dates(OFF)["probability"])


def test_new_ground_lies_where_the_earlier_date_shows_it(listed):
    made, _ = listed(**two_dates((1, -1)))
    state = store.read(made.run, store.CHANGE, TILE, "state")
    expected = np.zeros((SIZE, SIZE), bool)
    expected[SCARS["new"]] = True
    # A hundredth of a pixel off one, edges are mixed a little, and stay on their side of 0.5.
    np.testing.assert_array_equal(state == 1, expected)


@pytest.mark.parametrize("shift", [(0, 0), (0.2, -0.2)])
def test_dates_that_lie_on_each_other_are_compared_as_they_are(listed, shift):
    plain, alone = listed("change.register=none", name="alone", **two_dates(shift))
    made, found = listed(**two_dates(shift))
    assert alone.registration == {}
    assert (found.registration[TILE]["dy_px"], found.registration[TILE]["dx_px"]) == pytest.approx(
        shift, abs=0.03
    )
    assert registration.warnings(found.registration) == []
    assert_geodataframe_equal(table(made), table(plain))
    arrays = (fingerprints(each.run) for each in (made, plain))
    first, second = ({k: v for k, v in one.items() if "change.zarr" in k} for one in arrays)
    assert first == second


@pytest.mark.parametrize("block", [88, 132])
def test_the_block_size_changes_neither_the_shift_nor_the_list(listed, block):
    whole, one = listed(**two_dates(OFF))
    cut, other = listed(f"execution.block={block}", name="cut", **two_dates(OFF))
    assert other.registration == one.registration
    assert_geodataframe_equal(table(cut), table(whole))


def test_exchanging_the_dates_mirrors_the_shift_and_the_list(listed):
    arrays = two_dates(OFF)
    there, one = listed(**arrays)
    back, other = listed(
        "dates={before: {start: 2018-01-01, end: 2018-03-31}, "
        "after: {start: 2017-01-01, end: 2017-03-31}}",
        name="back",
        **{name: values[::-1] for name, values in arrays.items()},
    )
    assert [step.role for step in back.plan.tiles[0].steps] == ["before", "after"]
    ahead, behind = one.registration[TILE], other.registration[TILE]
    assert (behind["dx_px"], behind["dy_px"]) == (-ahead["dx_px"], -ahead["dy_px"])
    mirror = {"new": "vanished", "vanished": "new", "persistent": "persistent"}
    outlines = {s: set(table(there)[table(there)["status"] == s].geometry.to_wkb()) for s in mirror}
    mirrored = table(back)
    for status, other_status in mirror.items():
        found = set(mirrored[mirrored["status"] == other_status].geometry.to_wkb())
        assert found == outlines[status]


# --- what cannot be measured, and what is too much ----------------------------------------------


def test_without_pictures_nothing_is_measured_or_moved(listed):
    arrays = two_dates(OFF)
    _, found = listed(probability=arrays["probability"])
    assert found.registration == {TILE: None}
    assert registration.warnings(found.registration) == []
    assert found.statuses["grown"] > 0


def test_pictures_are_looked_at_only_where_both_dates_were_observed(listed):
    arrays = two_dates(OFF)
    # In every window a part is hidden, whose picture shows something bright that has not moved.
    quality = np.zeros((2, SIZE, SIZE), np.uint8)
    for top in (48, 112, 192):
        quality[1, top : top + 16] = Quality.CLOUD
    hidden = quality[1] != 0
    bright = 3 * (picture(seed=9).astype(int) - 100)
    for shown in arrays["pictures"]:
        shown[hidden] = np.clip(shown.astype(int) + bright, 1, 255)[hidden]
    arrays["probability"][1, hidden] = CODE_NODATA
    _, found = listed(quality=quality, **arrays)
    shift = found.registration[TILE]
    assert (shift["dy_px"], shift["dx_px"]) == pytest.approx(OFF, abs=0.06)
    assert shift["spread_px"] < 0.1


@pytest.mark.parametrize("rows", [SIZE, SIZE - 255])
def test_of_too_little_ground_that_both_dates_observed_nothing_is_measured(listed, rows):
    quality = np.zeros((2, SIZE, SIZE), np.uint8)
    quality[1, :rows] = Quality.CLOUD
    _, found = listed(quality=quality, **two_dates(OFF))
    assert found.registration == {TILE: None}


FAR = (-1.5, 2)
"""Down and right: 2.5 pixels."""


def test_of_a_tile_more_than_two_pixels_off_nothing_is_compared_and_the_gap_says_so(
    archive, tmp_path
):
    arrays = two_dates(FAR)
    # A cloud before has its own reason, and what lies under it is not compared either.
    quality = np.zeros((2, SIZE, SIZE), np.uint8)
    quality[0, :8] = Quality.CLOUD
    arrays["probability"][0, :8] = CODE_NODATA
    made = store_run(archive, tmp_path / "run", quality=quality, **arrays)
    found = listing.write(made.run, made.plan)
    (text,) = registration.not_compared(found.registration).values()
    for part in ("2.5", "east", "north", "at most 2 px", "search.exclude", "register: none"):
        assert part in text
    assert registration.warnings(found.registration) == [f"{TILE}: {text}"]
    # What is there after may have been there before.
    assert found.statuses == {"undetermined": 2}
    assert (store.read(made.run, store.CHANGE, TILE, "state") == State.UNDETERMINED).all()
    gaps = found.run.unobserved.set_index(["date", "reason"])["area_m2"]
    assert gaps.to_dict() == {
        ("before", "cloud"): pytest.approx(8 * SIZE * 100, rel=1e-2),
        ("before", "not_compared"): pytest.approx((SIZE - 8) * SIZE * 100, rel=1e-2),
    }
    assert found.run.unobserved["acquired"].notna().all()
    assert found.observed_share < 1e-5
    # The way out that the message names.
    spec = replace(made.plan.workflow.change, register="none")
    workflow = made.plan.workflow.model_copy(update={"change": spec})
    assert listing.write(made.run, replace(made.plan, workflow=workflow)).statuses["grown"] > 0


# --- a whole run --------------------------------------------------------------------------------


def real_ground(shift, *shown):
    """Forest with texture and scars, seen by a date that lies off."""
    noise = np.random.default_rng(3).standard_normal((SIZE + 64,) * 2)
    smooth = ndimage.gaussian_filter(noise, 1.5)
    texture = 1 + 0.15 * smooth / smooth.std()
    bare = np.zeros_like(texture)
    for name in shown:
        bare[32:-32, 32:-32][SCARS[name]] = 1

    def values(band, rows, columns):
        forest, scar = FOREST.get(band, 0.1), SCAR.get(band, 0.2)
        ground = (forest + (scar - forest) * bare) * texture
        at = [rows - 0.5 + 32 - shift[0], columns - 0.5 + 32 - shift[1]]
        return ndimage.map_coordinates(ground, at, order=1)

    return values


@pytest.fixture
def off(tmp_path, monkeypatch):
    """An archive whose later scene lies off, computed in this process."""
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)
    return make_world(
        tmp_path,
        size=SIZE,
        before={"values": real_ground((0, 0), "old")},
        after={"values": real_ground(OFF, "old", "new")},
        inference={"window": 32, "stride": 32, "tta": "none"},
        cluster={"kind": "tests.stored:here"},
        execution={"block": SIZE, "retries": 0},
        output={"path": "run", "write": ["geoparquet", "report"]},
    )


def test_a_run_says_by_how_much_its_dates_lie_off_and_what_it_did(off):
    summary = lspipe.run(Workflow.from_file(off.workflow))
    assert (summary.state, summary.statuses) == ("finished", {"new": 1, "persistent": 1})
    recorded = json.loads((off.run / "run.json").read_text("utf-8"))
    shift = recorded["tiles"][TILE]["registration"]
    assert (shift["dy_px"], shift["dx_px"]) == pytest.approx(OFF, abs=0.1)
    assert shift == summary.registration[TILE] == summary.as_json()["registration"][TILE]
    (said,) = (text for text in summary.warnings if "moved" in text)
    assert said.startswith(f"{TILE}: ")
    assert said in recorded["warnings"]
    again = lspipe.run(Workflow.from_file(off.workflow))
    assert (again.done, again.warnings) == (0, summary.warnings)
    assert again.registration == summary.registration


def test_a_tile_that_lies_too_far_off_does_not_keep_the_others_from_the_list(off, capsys):
    for time, shown in (("2017-01-15", ()), ("2018-01-20", ("new",))):
        place = (3, 0) if shown else (0, 0)
        add_scene(
            off.folder, tile="18GYT", size=SIZE, time=f"{time}T14:37:51Z",
            values=real_ground(place, "old", *shown),
        )  # fmt: skip
    change_workflow(off, aoi={"tiles": [TILE, "18GYT"]})
    assert main(["run", str(off.workflow)]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "18GYT: the two dates do not lie on each other, by" in said
    recorded = json.loads((off.run / "run.json").read_text("utf-8"))
    assert (recorded["state"], recorded["failures"]) == ("finished", [])
    assert recorded["not_compared"].keys() == {"18GYT"}
    assert "search.exclude" in recorded["not_compared"]["18GYT"]
    rows = gpd.read_parquet(off.run / "inventory.parquet")
    assert Counter(zip(rows["tile"], rows["status"], strict=True)) == {
        (TILE, "new"): 1, (TILE, "persistent"): 1, ("18GYT", "undetermined"): 2,
    }  # fmt: skip
    assert "18GYT: the two dates do not lie" in (off.run / "report.html").read_text("utf-8")
    # A run that is asked again says the same, and computes nothing.
    assert main(["run", str(off.workflow), "--json"]) == 3
    again = json.loads(capsys.readouterr().out)
    assert (again["not_compared"], again["blocks"]["done"]) == (recorded["not_compared"], 0)
    assert main(["status", str(off.run)]) == 0
    assert "18GYT: the two dates do not lie on each other" in capsys.readouterr().out


def test_a_run_that_could_not_compare_is_listed_once_its_workflow_allows_it(off):
    far = add_scene(
        off.folder,
        size=SIZE,
        time="2018-01-20T14:37:51Z",
        baseline="04.00",
        values=real_ground((3, 0), "old", "new"),
    )
    assert far.exists()
    summary = lspipe.run(Workflow.from_file(off.workflow))
    assert (summary.state, summary.exit_code, summary.failures) == ("finished", 3, ())
    assert summary.not_compared.keys() == {TILE}
    allowed = Workflow.from_file(off.workflow, overrides=("change.register=none",))
    summary = lspipe.run(allowed)
    # Nothing is detected again.
    assert (summary.state, summary.done, summary.registration) == ("finished", 0, {})
    assert summary.exit_code == 0


def test_several_acquisitions_of_a_date_are_measured_as_one(off):
    add_scene(
        off.folder, size=SIZE, time="2018-02-19T14:37:51Z", values=real_ground(OFF, "old", "new"),
        clouds=[(60, 200, 40)],
    )  # fmt: skip
    each = Workflow.from_file(off.workflow, overrides=("cube.composite=each",))
    summary = lspipe.run(each)
    assert summary.total == 3
    shift = summary.registration[TILE]
    assert (shift["dy_px"], shift["dx_px"]) == pytest.approx(OFF, abs=0.1)
    assert Counter(summary.statuses) == {"new": 1, "persistent": 1}


def test_the_map_of_a_pair_model_is_not_moved_and_the_run_says_so():
    codes = {
        "before": np.zeros((8, 8), np.uint16),
        "after": np.arange(64, dtype=np.uint16).reshape(8, 8),
    }
    near, far = (Shift(dx_px=px, dy_px=0.0, spread_px=0.0, windows=9) for px in (1.0, 2.5))
    single = registration.on_one_ground(codes, near, is_swapped=False)
    assert (single["after"] != codes["after"]).any()
    pair = registration.on_one_ground(codes, near, is_swapped=False, is_pair=True)
    np.testing.assert_array_equal(pair["after"], codes["after"])
    apart = registration.on_one_ground(codes, far, is_swapped=False, is_pair=True)
    assert (apart["before"] == CODE_NODATA).all()
    found = {TILE: asdict(near) | {"east_m": 10.0, "north_m": 0.0}}
    (text,) = registration.warnings(found, is_pair=True)
    assert "by 1.00 px" in text
    assert "moved" not in text
    assert "a pair model compares pixels as they lie" in text
