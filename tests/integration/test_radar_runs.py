"""Runs that read radar: passes chosen and frozen, channels of pair models, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import dask
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from scipy import ndimage

import lspipe
from lspipe.cli.summaries import plan_text
from lspipe.cube.radar import read
from lspipe.errors import (
    ModelError,
    NothingFound,
    SamplesError,
    StoreError,
    UsageError,
    WorkflowError,
)
from lspipe.models.pack import pack
from lspipe.models.recipes import recipe_of
from lspipe.runs import pipeline, store
from lspipe.runs.cost import estimate
from lspipe.runs.describe import describe_plan
from lspipe.runs.frozen import FrozenRun
from lspipe.runs.memory import COPIES_AHEAD, COPIES_OF_THE_BLOCK, peak_bytes
from lspipe.runs.plan import open_step
from lspipe.runs.plan import record as tile_record
from lspipe.runs.validation import validate
from lspipe.schema import CODE_NODATA, CUBE_NODATA, quantise, steps_of
from lspipe.workflow import Workflow
from tests import pixel_models
from tests.backscatter import add_slice, speckled
from tests.ground import write_raster
from tests.stored import compute_here
from tests.worlds import (
    NEW_SCAR,
    add_scene,
    change_workflow,
    fingerprints,
    ground,
    make_world,
    plan_only,
)

if TYPE_CHECKING:
    from pathlib import Path

TILE = "18GYS"
CORNER = (699960, 5200000)
SIZE = 300
AROUND = 60
"""Pixels of a slice around the tile; its lattice is that of the tile moved by a part of one."""

DAYS = {
    "before": ("2017-01-03", "2017-01-15", "2017-01-27"),
    "after": ("2018-01-10", "2018-01-22", "2018-02-03"),
}


def valley() -> np.ndarray:
    """Linear power of fields and forests of some hundred metres, the same on all days."""
    noise = np.random.default_rng(7).normal(size=(SIZE + 2 * AROUND,) * 2)
    fields = ndimage.gaussian_filter(noise, 1.5)
    return 0.08 * np.exp(1.2 * fields / fields.std())


def landslide(power: np.ndarray) -> np.ndarray:
    """The same with a step of 8 dB where the new scar is."""
    row, column, height, width = NEW_SCAR
    changed = power.copy()
    changed[AROUND + row : AROUND + row + height, AROUND + column : AROUND + column + width] = 0.8
    return changed


def add_pass(folder: Path, side: str, *, days=None, off=(0.0, 0.0), power=None, **options) -> None:
    """Add the dates of a side; `off` is by how many pixels its ground lies east and south."""
    power = valley() if power is None else power
    if side == "after":
        power = landslide(power)
    corner = CORNER[0] - 10 * AROUND, CORNER[1] + 10 * AROUND
    for number, day in enumerate(DAYS[side] if days is None else days):
        add_slice(
            folder,
            time=f"{day}T10:00:00Z",
            power=speckled(power, 100 * len(side) + number),
            crs=32718,
            corner=(corner[0] + 10 * off[0], corner[1] - 10 * off[1]),
            **options,
        )


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)


def make(folder: Path, *, passes=True, **sections):
    """A world with an old scar and a new one, which radar sees too."""
    if passes:
        for side in DAYS:
            add_pass(folder, side)
    pixel_models.write_item(folder / "brighter.json", pixel_models.Brighter, window=32)
    pixel_models.write_item(folder / "rough.json", pixel_models.Rough, window=32)
    given = {
        "size": SIZE,
        "radar": {"collection": "sentinel-1-rtc"},
        "cluster": {"kind": "tests.stored:here"},
        "execution": {"block": 150, "retries": 0},
        "inference": {"window": 32, "stride": 16, "tta": "none"},
    }
    return make_world(folder, **given | sections)


def workflow_of(world, *overrides):
    return Workflow.from_file(world.workflow, overrides=overrides)


def run(world, output=None, **options):
    return lspipe.run(workflow_of(world), output=output or world.run, **options)


def stored(run_, name="probability"):
    return store.read(run_, store.DETECTIONS, TILE, name)


def record(run_):
    return json.loads((run_ / "run.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A world whose model sees no radar, only planned."""
    return make(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A world whose model sees radar, and its finished run."""
    made = make(tmp_path_factory.mktemp("seeing"), model={"item": "brighter.json"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        assert run(made).state == "finished"
    return made


# --- which passes -------------------------------------------------------------------------------


def test_a_plan_says_the_pass_its_dates_and_how_they_are_averaged(plain) -> None:
    plan = plan_only(workflow_of(plain))
    facts = describe_plan(plan, run=plain.run, left="", counts={TILE: (0, 0)})
    (one,) = facts["tiles"][0]["radar"]
    assert one["orbit"] == "descending 83"
    assert one["dates"] == {side: list(days) for side, days in DAYS.items()}
    assert (one["platforms"], one["filtered"]) == (["sentinel-1a"], [])
    assert not one["is_seen_by_model"]
    text = plan_text(facts, estimate(plan), [])
    told = " ".join(text.split())
    assert "descending 83: 3 dates before (2017-01-03, 2017-01-15, 2017-01-27)" in told
    about_radar = text.partition("  radar")[2].partition("\nscenes")[0].splitlines()
    assert max(map(len, about_radar)) <= 80, "folded"
    assert plan.notes == ()


def test_few_dates_and_several_satellites_are_said(tmp_path) -> None:
    made = make(tmp_path, passes=False)
    add_pass(tmp_path, "before", days=["2017-01-03"])
    add_pass(tmp_path, "after", properties={"platform": "SENTINEL-1B"})
    (first, second) = plan_only(workflow_of(made)).notes
    assert "few dates (1 before), so speckle is filtered (Lee, 5 x 5)" in first
    assert "of several satellites (sentinel-1a, sentinel-1b)" in second


def test_both_directions_are_read_and_the_model_sees_that_with_more_dates(tmp_path) -> None:
    made = make(tmp_path)
    ascending = {"sat:orbit_state": "ascending", "sat:relative_orbit": 18}
    add_pass(tmp_path, "before", properties=ascending)
    add_pass(tmp_path, "after", days=["2018-01-11", "2018-01-23"], properties=ascending)
    (tile,) = plan_only(workflow_of(made)).tiles
    assert [one.name for one in tile.radar.passes] == ["descending 83", "ascending 18"]
    (tile,) = plan_only(workflow_of(made, "radar.orbit=ascending")).tiles
    assert [one.name for one in tile.radar.passes] == ["ascending 18"]


def test_a_side_may_have_days_of_its_own(plain) -> None:
    (tile,) = plan_only(
        workflow_of(plain, "radar.before={start: 2017-01-10, end: 2017-01-20}")
    ).tiles
    (one,) = tile.radar.passes
    assert [day[:10] for day in one.dates("before")] == ["2017-01-15"]
    assert len(one.dates("after")) == 3


def test_items_may_lie_elsewhere_in_a_collection_of_any_name(tmp_path) -> None:
    made = make(tmp_path, passes=False, radar={"collection": "other/items/radar"})
    for side in DAYS:
        add_pass(tmp_path / "other", side, collection="mine", asset="gamma0_vv")
    (tile,) = plan_only(workflow_of(made)).tiles
    assert tile.radar.passes[0].sides["after"][0].asset == "gamma0_vv"


# --- the shift ----------------------------------------------------------------------------------


def test_a_shift_of_a_part_of_a_pixel_is_found_said_and_undone(tmp_path) -> None:
    made = make(tmp_path, passes=False)
    add_pass(tmp_path, "before")
    add_pass(tmp_path, "after", off=(0.6, 0.0))
    plan = plan_only(workflow_of(made))
    (one,) = plan.tiles[0].radar.passes
    assert one.shift == pytest.approx((0.6, 0.0), abs=0.15)
    assert one.moved_px == one.shift
    assert "px off before (0." in plan.notes[0]
    assert "is moved back" in plan.notes[0]


def test_a_pass_that_is_two_pixels_off_is_left_out_and_another_one_taken(tmp_path) -> None:
    made = make(tmp_path, passes=False, model={"item": "brighter.json"})
    add_pass(tmp_path, "before")
    add_pass(tmp_path, "after", off=(2.0, 0.0))
    with pytest.raises(
        NothingFound, match=r"(?s)after lies 1\.\d+ px off before .*expected at most 1"
    ):
        plan_only(workflow_of(made))
    ascending = {"sat:orbit_state": "ascending", "sat:relative_orbit": 18}
    for side in DAYS:
        add_pass(tmp_path, side, days=DAYS[side][:2], properties=ascending)
    plan = plan_only(workflow_of(made))
    assert [one.name for one in plan.tiles[0].radar.passes] == ["ascending 18"]
    assert "descending 83: after lies 1.99 px off" in plan.notes[0]


# --- frozen -------------------------------------------------------------------------------------


def test_what_was_found_is_frozen_and_a_resumed_run_never_searches_again(tmp_path, monkeypatch):
    made = make(tmp_path, model={"item": "brighter.json"})
    run(made, limit=1)
    one = record(made.run)["tiles"][TILE]["radar"]["passes"][0]
    assert (one["orbit_state"], one["relative_orbit"]) == ("descending", 83)
    frozen = json.loads((made.run / "items.json").read_text("utf-8"))
    assert {side: len(items) for side, items in frozen["lspipe:radar"]["found"].items()} == {
        "before": 3, "after": 3,
    }  # fmt: skip
    shutil.rmtree(tmp_path / "items")
    monkeypatch.setattr("lspipe.cube.sentinel1.read_header", None)  # nor looks at files again
    assert run(made).state == "finished"


def test_a_tile_without_a_pass_is_not_looked_at_again(tmp_path, monkeypatch) -> None:
    # Beside a tile that has radar, as a run without any is refused.
    made = make(tmp_path, aoi={"tiles": [TILE, "18GYT"]})
    for day in ("2017-01-15", "2018-01-20"):
        add_scene(tmp_path, tile="18GYT", size=SIZE, time=f"{day}T14:37:51Z", values=ground())
    run(made)
    decided = record(made.run)["tiles"]
    assert len(decided[TILE]["radar"]["passes"]) == 1
    assert decided["18GYT"]["radar"]["passes"] == []
    said = (
        "18GYT: no relative orbit of Sentinel-1 is there on both sides (before: none; after: none)"
    )
    assert any(said in text for text in record(made.run)["warnings"])
    monkeypatch.setattr("lspipe.cube.sentinel1.candidates", None)
    plan = plan_only(workflow_of(made))
    assert [tile.radar is None for tile in plan.tiles] == [False, True]
    assert any("18GYT: no relative orbit" in text for text in plan.notes)


def test_another_direction_needs_no_search(tmp_path) -> None:
    made = make(tmp_path)
    ascending = {"sat:orbit_state": "ascending", "sat:relative_orbit": 18}
    for side in DAYS:
        add_pass(tmp_path, side, properties=ascending)
    lspipe.plan(workflow_of(made), output=made.run)
    shutil.rmtree(tmp_path / "items")
    (tile,) = plan_only(workflow_of(made, "radar.orbit=ascending")).tiles
    assert [one.name for one in tile.radar.passes] == ["ascending 18"]


def test_a_run_that_was_stopped_ends_in_the_same_bytes(seeing, tmp_path) -> None:
    lspipe.run(workflow_of(seeing), output=tmp_path / "run", limit=1)
    lspipe.run(workflow_of(seeing), output=tmp_path / "run")
    assert fingerprints(tmp_path / "run") == fingerprints(seeing.run)


def test_a_run_without_radar_has_the_fingerprints_that_it_had(plain) -> None:
    without = plan_only(workflow_of(plain, "radar={}"))
    assert "radar" not in without.detection_inputs
    assert set(without.change_inputs) == {"change"}
    assert "radar" not in tile_record(without.tiles[0])
    shown = plan_only(workflow_of(plain))
    assert shown.detection_fingerprint == without.detection_fingerprint
    assert set(shown.change_inputs) == {"change", "radar", "radar_limits"}
    assert shown.change_fingerprint != without.change_fingerprint


def test_other_days_are_another_run_where_the_model_sees_them(seeing) -> None:
    workflow = workflow_of(seeing, "radar.after={start: 2018-01-01, end: 2018-01-31}")
    with pytest.raises(StoreError, match=r"made by another workflow: radar\.tiles"):
        lspipe.run(workflow, output=seeing.run)


def test_radar_may_be_asked_for_when_all_is_computed(tmp_path, monkeypatch) -> None:
    made = make(tmp_path, radar={})
    run(made)
    assert "radar" not in record(made.run)["tiles"][TILE]
    monkeypatch.setattr(pipeline.stream, "compute", None)  # no block is computed
    change_workflow(made, radar={"collection": "sentinel-1-rtc"})
    assert run(made).state == "finished"
    assert record(made.run)["tiles"][TILE]["radar"]["passes"]
    (tile,) = FrozenRun.of(made.run).tiles
    assert tile.radar.passes[0].name == "descending 83"


# --- channels -----------------------------------------------------------------------------------


def equals_detect(made):
    """Compare what a run stored with the detect of its cube, in codes and in physical units."""
    plan = plan_only(workflow_of(made))
    (tile,) = plan.tiles
    codes = stored(made.run)
    for number, step in enumerate(tile.steps):
        if not tile.is_judged(number):
            continue
        with dask.config.set(scheduler="synchronous"):
            cube = open_step(tile, step, plan.workflow).compute()
        pixels = cube["reflectance"].sel(band=list(plan.model.bands))
        options = {
            "window": plan.setting.window, "stride": plan.setting.stride,
            "tta": plan.setting.tta, "batch_size": plan.setting.batch_size,
            "mask": cube["quality"] != 0,
        }  # fmt: skip
        reference = plan.model.path
        found = lspipe.detect(pixels, reference, **options)
        np.testing.assert_array_equal(codes[number], quantise(found.values))
        steps = np.broadcast_to(steps_of(plan.model.bands), len(plan.model.bands))
        floats = (pixels.where(pixels != CUBE_NODATA) * steps[:, None, None]).astype(np.float32)
        again = lspipe.detect(floats, reference, **options)
        np.testing.assert_array_equal(codes[number], quantise(again.values))
    return plan


def test_a_pair_model_sees_both_sides_and_finds_a_step(seeing) -> None:
    equals_detect(seeing)
    found = gpd.read_parquet(seeing.run / "inventory.parquet")
    new = found[found["status"] == "new"]
    row, column, height, width = NEW_SCAR
    assert len(new) == 1
    assert new.iloc[0]["n_px"] == pytest.approx(height * width, rel=0.2)
    middle = new.to_crs(32718).iloc[0]["geometry"].centroid
    assert middle.x == pytest.approx(CORNER[0] + 10 * (column + width / 2), abs=15)
    assert middle.y == pytest.approx(CORNER[1] - 10 * (row + height / 2), abs=15)


def test_a_run_with_vega7_is_the_detect_of_its_cube(tmp_path) -> None:
    made = make(
        tmp_path,
        terrain={"dem": "dem.tif"},
        model={"item": "vega/small.json"},
        inference={"window": 64, "stride": 32},
    )
    columns = np.arange(-100, SIZE + 100)
    heights = np.tile(500 + 0.01 * columns**2, (SIZE + 200, 1)).astype(np.float32)
    write_raster(
        tmp_path / "dem.tif", heights,
        Affine(10, 0, CORNER[0] - 1000, 0, -10, CORNER[1] + 1000), crs=32718,
    )  # fmt: skip
    torch.manual_seed(3)
    recipe = recipe_of("vega7")
    network = lspipe.models.build("vega-unet", 7, filters=4, levels=2)
    pack(
        network,
        tmp_path / "vega",
        item_fields={
            "id": "small", "architecture": "vega-unet", "arguments": {"filters": 4, "levels": 2},
            "bands": recipe.channels, "recipe": "vega7", "scaling": recipe.scaling, "window": 64,
            "overlap": 0.5, "description": "a test", "not_for": "use",
        },
    )  # fmt: skip
    assert run(made).state == "finished"
    plan = equals_detect(made)
    (tile,) = plan.tiles
    assert (tile.layers, tile.backscatter) == (
        ("slope", "curvature"), ("vv_before", "vv_after")
    )  # fmt: skip
    assert plan.setting.tta == "none"  # radar looks from one side
    codes = stored(made.run)[1]
    assert len(np.unique(codes[codes != CODE_NODATA])) > 100


def test_a_model_of_one_date_sees_the_backscatter_of_each_date(tmp_path) -> None:
    made = make(tmp_path, model={"item": "rough.json"}, change={"threshold": 0.3})
    run(made)
    plan = equals_detect(made)
    (tile,) = plan.tiles
    codes = read(tile.radar, tile.tile.geobox, (slice(0, SIZE),) * 2, ("before:VV", "after:VV"))
    inner = (slice(125, 145), slice(143, 151))
    for number, side in enumerate(codes):
        expected = np.clip((side[inner] * 0.002 + 25) / 30, 0, 1)
        np.testing.assert_allclose(stored(made.run)[number][inner] * 1e-4, expected, atol=2e-4)


def test_blocks_never_change_what_radar_decides(seeing, tmp_path) -> None:
    lspipe.run(workflow_of(seeing, "execution.block=100"), output=tmp_path / "other")
    for name in ("probability", "quality"):
        np.testing.assert_array_equal(stored(tmp_path / "other", name), stored(seeing.run, name))


def test_where_a_side_saw_nothing_nothing_was_observed(tmp_path) -> None:
    made = make(tmp_path, passes=False, model={"item": "brighter.json"})
    hidden = valley()
    hidden[AROUND + 40 : AROUND + 70, AROUND + 200 : AROUND + 260] = np.nan  # a radar shadow
    add_pass(tmp_path, "before", power=hidden)
    add_pass(tmp_path, "after")
    run(made)
    codes = stored(made.run)[1]
    is_hidden = np.zeros((SIZE, SIZE), bool)
    is_hidden[40:70, 200:260] = True
    assert (codes[is_hidden] == CODE_NODATA).all()
    # And a pixel around it at most, as the lattice of the files is the tile's, moved by the shift.
    near = ndimage.binary_dilation(is_hidden, iterations=1, structure=np.ones((3, 3)))
    assert (codes[~near] != CODE_NODATA).mean() > 0.99


def test_patches_of_a_run_have_its_channels_of_radar(seeing, plain) -> None:
    frozen = FrozenRun.of(seeing.run)
    (tile,), part = frozen.tiles, (slice(100, 140), slice(120, 170))
    bands = pixel_models.Brighter.bands
    pixels, _ = frozen.read(tile, tile.steps[1], bands, part)
    (planned,) = plan_only(workflow_of(seeing)).tiles
    codes = read(planned.radar, tile.geobox, part, bands[:2])
    np.testing.assert_array_equal(pixels[:2], codes)
    lspipe.plan(workflow_of(plain, "radar={}"), output=plain.run)
    other = FrozenRun.of(plain.run)
    with pytest.raises(SamplesError, match="the run reads no radar on 18GYS"):
        other.read(other.tiles[0], other.tiles[0].steps[1], bands, part)


def test_memory_and_reading_count_the_backscatter_that_a_model_sees(seeing, plain) -> None:
    plan = plan_only(workflow_of(seeing))
    (tile,) = plan.tiles
    six_dates = 4 * 6 * tile.pixels_to_read
    assert tile.bytes_to_read == replace(tile, backscatter=()).bytes_to_read + six_dates
    shown, blind = (plan_only(workflow_of(plain, *keys)) for keys in ((), ("radar={}",)))
    assert shown.tiles[0].bytes_to_read == blind.tiles[0].bytes_to_read
    less = replace(tile, backscatter=())
    copies = COPIES_OF_THE_BLOCK + COPIES_AHEAD
    assert peak_bytes(tile, plan) - peak_bytes(less, plan) == 2 * 2 * copies * tile.largest_block


# --- bad input ----------------------------------------------------------------------------------


def test_a_model_that_wants_radar_names_the_section_to_add(plain) -> None:
    workflow = workflow_of(plain, "radar={}", "model.item=brighter.json")
    with pytest.raises(
        ModelError,
        match=r"before:VV, after:VV, which are of the section radar: add .*radar: \{collection",
    ):
        validate(workflow)


def test_sides_without_a_common_orbit_are_refused_with_what_is_there(tmp_path) -> None:
    made = make(tmp_path, passes=False)
    add_pass(tmp_path, "before")
    add_pass(tmp_path, "after", properties={"sat:relative_orbit": 18})
    with pytest.raises(
        NothingFound, match=r"before: descending 83 \(3\); after: descending 18 \(3\)"
    ):
        plan_only(workflow_of(made))


def test_a_side_without_items_is_refused_by_name(tmp_path) -> None:
    made = make(tmp_path, passes=False)
    add_pass(tmp_path, "before")
    with pytest.raises(NothingFound, match=r"on the after side \(2018-01-01 to 2018-03-31\)"):
        plan_only(workflow_of(made))


def test_a_pass_of_one_direction_that_is_not_there_is_refused(plain) -> None:
    with pytest.raises(NothingFound, match="radar: no pass can be taken on any tile"):
        plan_only(workflow_of(plain, "radar.orbit=ascending"))


def test_a_run_of_one_date_needs_days_before(plain) -> None:
    workflow = workflow_of(plain, "dates={after: {start: 2018-01-01, end: 2018-03-31}}")
    with pytest.raises(WorkflowError, match=r"give radar\.before"):
        validate(workflow)
    given = (
        "dates={after: {start: 2018-01-01, end: 2018-03-31}}",
        "radar.before={start: 2017-01-01, end: 2017-03-31}",
    )
    (tile,) = plan_only(workflow_of(plain, *given)).tiles
    assert len(tile.radar.passes) == 1


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ("{collection: sentinel-1-grd}", "GRD has no terrain correction"),
        ("{orbit: ascending}", "found orbit without collection"),
        (
            "{collection: sentinel-1-rtc, before: {start: 2017-01-01, end: 2018-01-01},"
            " after: {start: 2018-01-01, end: 2018-02-01}}",
            "overlapping",
        ),
        ("{collection: nowhere/items}", r"radar\.collection: found 'nowhere/items'"),
        (
            "{collection: sentinel-1-rtc, before: {start: 2018-03-01, end: 2018-04-01}}",
            "overlapping after",
        ),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(plain, section, reason) -> None:
    with pytest.raises(WorkflowError, match=reason):
        validate(workflow_of(plain, f"radar={section}"))


def test_a_date_of_decibels_is_refused_before_the_first_block(tmp_path) -> None:
    made = make(tmp_path)
    path = next((tmp_path / "radar").glob("*20180122*.tif"))
    with rasterio.open(path, "r+") as file:
        file.write(10 * np.log10(file.read(1)), 1)
    with pytest.raises(UsageError, match=r"vv of S1A_IW_GRDH_1SDV_20180122.* holds decibels"):
        run(made)


def test_a_file_that_is_gone_fails_its_blocks_and_is_named(tmp_path) -> None:
    made = make(tmp_path, model={"item": "brighter.json"})
    lspipe.plan(workflow_of(made), output=made.run)
    for path in (tmp_path / "radar").glob("*20180122*.tif"):
        path.unlink()
    told = []
    summary = run(made, report=told.append)
    assert summary.state != "finished"
    assert any("S1A_IW_GRDH_1SDV_20180122" in str(event) for event in told)
