"""What is decided for one tile: radiometry item by item, and the range of its observed pixels."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import dask
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

import lspipe
from lspipe.models import read_item
from lspipe.runs import frozen, pipeline, steps, store
from lspipe.runs.plan import make, open_step, record, tiles
from lspipe.runs.prepare import opened, prepare
from lspipe.schema import CODE_NODATA, quantise
from lspipe.search.acquisitions import freeze
from lspipe.search.areas import area_on_grid
from lspipe.workflow import Workflow
from tests.scenes import left_of, right_of
from tests.stored import compute_here
from tests.worlds import FOREST, add_scene, ground, make_world, plan_only

SIZE = 64
SMALL = {
    "size": SIZE,
    "inference": {"window": 16, "stride": 8, "tta": "none"},
    "execution": {"block": 40},
}


def plan_of(world, *overrides):
    return plan_only(Workflow.from_file(world.workflow, overrides=overrides))


# --- radiometry ---------------------------------------------------------------------------------

# Earth Search says so of items that it shifted, and of items that it did not.
DOUBTFUL = {"earthsearch:boa_offset_applied": False}


@pytest.mark.parametrize(("before", "after"), [(0.0, -0.1), (-0.1, 0.0)])
def test_each_item_that_does_not_tell_its_offset_is_looked_at(tmp_path, before, after):
    facts = {"baseline": "05.10", "properties": DOUBTFUL}
    world = make_world(
        tmp_path, before={"offset": before, **facts}, after={"offset": after, **facts}, **SMALL
    )
    (tile,) = plan_of(world).tiles
    found = {
        step.role: {tile.radiometry[item.id, key].offset for item in step.items for key in KEYS}
        for step in tile.steps
    }
    assert found == {"before": {before}, "after": {after}}


def test_what_each_file_declares_is_recorded_and_a_doubtful_offset_is_looked_at(tmp_path):
    world = make_world(tmp_path, before={"baseline": "02.06"}, after={"baseline": "05.10"}, **SMALL)
    (tile,) = plan_of(world).tiles
    (scene,) = (scene for step in tile.steps if step.role == "after" for scene in step.items)
    # Only a scale is declared, so the offset would be 0; the pixels are raw.
    path = scene.assets["red"].href
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.scales = (0.0001,)
    (tile,) = plan_of(world).tiles
    entries = {(entry["item"], entry["asset"]): entry for entry in record(tile)["radiometry"]}
    entry = entries[scene.id, "red"]
    assert entry["file"] == "uint16, no data 0, scale 0.0001, offset 0"
    assert entry["offset"] == -0.1
    assert entry["reason"].endswith("clear red pixels are below 1000: raw")
    others = {entry["file"] for key, entry in entries.items() if key != (scene.id, "red")}
    assert others == {"uint16, no data 0"}


KEYS = ("blue", "green", "red", "nir", "swir16")


def test_only_an_item_that_does_not_tell_its_offset_is_looked_at_and_once(tmp_path, monkeypatch):
    # The earlier one is of a baseline that has no offset; pixels would say otherwise.
    world = make_world(
        tmp_path,
        before={"baseline": "02.06"},
        after={"baseline": "05.10", "offset": 0.0, "properties": DOUBTFUL},
        **SMALL,
    )
    write_area(tmp_path / "east.geojson", 32, SIZE)
    looked = []
    look = tiles.radiometry_of_pixels

    def counted(item, *arguments, area_mask):
        looked.append((item.id, area_mask))
        return look(item, *arguments, area_mask=area_mask)

    monkeypatch.setattr(tiles, "radiometry_of_pixels", counted)
    plan = plan_of(world, "aoi={file: east.geojson}")
    (tile,) = plan.tiles
    ((name, mask),) = looked
    assert name == "S2A_18GYS_20180120_0_L2A"
    # It is looked at where the area is.
    np.testing.assert_array_equal(mask, area_on_grid(plan.area, tile.tile.geobox))
    assert {decision.offset for decision in tile.radiometry.values()} == {0.0}


@pytest.mark.parametrize("offset", [0.0, -0.1])
def test_pixels_contradict_a_baseline_that_nothing_else_supports(tmp_path, monkeypatch, offset):
    # A copy that was shifted already, and one that was not, of an archive that is not known.
    facts = {"baseline": "05.10", "offset": offset}
    world = make_world(tmp_path, before={"baseline": "02.06"}, after=facts, **SMALL)
    for path in (world.folder / "items").glob("*.json"):
        content = json.loads(path.read_text())
        for asset in content["assets"].values():
            asset.pop("raster:bands", None)
        path.write_text(json.dumps(content))
    looked = []
    look = tiles.radiometry_of_pixels
    monkeypatch.setattr(
        tiles, "radiometry_of_pixels", lambda *a, **k: looked.append(1) or look(*a, **k)
    )
    (tile,) = plan_of(world).tiles
    (after,) = (item for step in tile.steps if step.role == "after" for item in step.items)
    decisions = [tile.radiometry[after.id, key] for key in KEYS]
    assert {decision.offset for decision in decisions} == {offset}
    assert len(looked) == 1
    is_said = "offset -0.1, but " in decisions[0].reason
    assert is_said == (offset == 0)
    assert decisions[0].reason.endswith("shifted already") == is_said
    # Patches that are read again believe the run.
    known = SimpleNamespace(radiometry=tile.radiometry)
    assert frozen._decided(after, "nir", known).offset == offset


def test_pixels_that_say_nothing_leave_the_baseline_as_it_is(tmp_path):
    world = make_world(tmp_path, after={"baseline": "05.10", "scl": 9}, **SMALL)
    for path in (world.folder / "items").glob("*.json"):
        content = json.loads(path.read_text())
        for asset in content["assets"].values():
            asset.pop("raster:bands", None)
        path.write_text(json.dumps(content))
    (tile,) = plan_of(world).tiles
    assert {d.offset for (item, _), d in tile.radiometry.items() if "2018" in item} == {-0.1}


# --- the range of a tile ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """A model that is scaled by tile, a cloud on the later date, an area that leaves it out."""
    folder = tmp_path_factory.mktemp("scaled")
    document = json.loads(read_item("shipped:bare-ground").path.read_text())
    document["properties"]["lspipe:scaling"] = {"kind": "tile-minmax"}
    (folder / "item.json").write_text(json.dumps(document))
    return make_world(
        folder,
        before={"values": ground()},
        after={"values": ground((40, 40, 8, 8)), "clouds": [(12, 12, 8)]},
        model={"item": "item.json"},
        **SMALL,
    )


def test_clouds_do_not_stretch_the_range_of_a_tile(scaled):
    plan = plan_of(scaled)
    before, after = plan.tiles[0].tile_ranges
    assert len(before) == len(after) == len(plan.model.bands)
    for number, band in enumerate(plan.model.bands):
        # The texture of the ground is a tenth up and down; the scar is darker in near infrared.
        for low, high in (before[number], after[number]):
            assert 0.89 * min(FOREST[band], 0.2) < low < high < 0.4
        assert before[number] != after[number]
    # Each date's own: the scar is on the later one, and brightest in the shortwave infrared.
    assert before[plan.model.bands.index("B11")][1] < 0.14
    assert after[plan.model.bands.index("B11")][1] > 0.27


def test_a_range_that_was_decided_is_taken_back_date_by_date(scaled, tmp_path):
    workflow = Workflow.from_file(scaled.workflow)
    with opened(prepare(workflow, tmp_path / "run")) as first:
        pass
    again = prepare(workflow, tmp_path / "run")
    assert again.previous is not None
    assert again.plan.tiles[0].tile_ranges == first.plan.tiles[0].tile_ranges


def test_a_worker_is_told_the_range_of_its_own_date(scaled, tmp_path):
    prepared = prepare(Workflow.from_file(scaled.workflow), tmp_path / "run")
    (tile,) = prepared.plan.tiles
    jobs = [steps._job(prepared, tile, step) for step in (0, 1)]
    assert [job.tile_range for job in jobs] == list(tile.tile_ranges)
    assert [job.step for job in jobs] == [0, 1]
    assert np.shape(jobs[0].tile_range) == (4, 2)


def test_a_run_of_a_model_that_is_scaled_by_tile_equals_detect(scaled, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)
    here = ("cluster={kind: 'tests.stored:here'}",)
    workflow = Workflow.from_file(scaled.workflow, overrides=here)
    assert lspipe.run(workflow, output=tmp_path / "run").state == "finished"
    plan = plan_of(scaled)
    (tile,) = plan.tiles
    stored = store.read(tmp_path / "run", store.DETECTIONS, "18GYS", "probability")
    assert np.ptp(stored[1][stored[1] != CODE_NODATA].astype(int)) > 1000
    for number, step in enumerate(tile.steps):
        with dask.config.set(scheduler="synchronous"):
            opened_ = open_step(tile, step, plan.workflow).compute()
        probability = lspipe.detect(
            opened_["reflectance"].sel(band=list(plan.model.bands)),
            plan.model.reference,
            mask=opened_["quality"] != 0,
            window=plan.setting.window,
            stride=plan.setting.stride,
            tta="none",
            batch_size=plan.setting.batch_size,
        )
        np.testing.assert_array_equal(stored[number], quantise(probability.values))


# --- scenes, bands and blocks -------------------------------------------------------------------


def columns_of_tile(west, east, *, rows=SIZE):
    """Columns of the tile in longitude and latitude, half a pixel within."""
    shape = shapely.box(
        699960 + 10 * west + 5, 5200000 - 10 * rows + 5, 699960 + 10 * east - 5, 5200000 - 5
    )
    return gpd.GeoSeries([shape], crs=32718).to_crs(4326).iloc[0]


def write_area(path, west, east, *, rows=SIZE):
    area = columns_of_tile(west, east, rows=rows)
    gpd.GeoSeries([area], crs=4326).to_file(path)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A tile that is wider than high; the later date's scenes are cloudy on either side of it."""
    folder = tmp_path_factory.mktemp("wide")
    world = make_world(
        folder,
        **{**SMALL, "size": (SIZE, 112)},
        after={"clouds": [(32, 20, 18)], "bands": ("B02", "B04", "B08", "B11")},
    )
    add_scene(
        folder,
        size=(SIZE, 112),
        time="2018-02-19T14:37:51Z",
        values=ground(),
        clouds=[(30, 90, 12)],
    )
    write_area(folder / "west.geojson", 0, 40)
    write_area(folder / "east.geojson", 70, 112)
    return world


def scenes(plan):
    return {step.role: [item.id for item in step.items] for step in plan.tiles[0].steps}


def test_the_clearest_scene_is_that_of_the_area(wide):
    first, second = "S2A_18GYS_20180120_0_L2A", "S2A_18GYS_20180219_0_L2A"
    assert scenes(plan_of(wide))["after"] == [second]
    assert scenes(plan_of(wide, "aoi={file: west.geojson}"))["after"] == [second]
    assert scenes(plan_of(wide, "aoi={file: east.geojson}"))["after"] == [first]


def test_every_scene_that_was_considered_is_kept_date_by_date(wide):
    plan = plan_of(wide)
    found = [(c["role"], c["time"][:10], c["chosen"]) for c in plan.tiles[0].candidates]
    assert found == [
        ("before", "2017-01-15", True),
        ("after", "2018-01-20", False),
        ("after", "2018-02-19", True),
    ]
    assert record(plan.tiles[0])["candidates"] == list(plan.tiles[0].candidates)


def test_a_band_to_look_at_is_loaded_only_where_every_scene_has_it(wide):
    assert plan_of(wide).tiles[0].bands == ("B02", "B04", "B08", "B11", "B03")
    # One of the scenes has no green.
    lacks = plan_of(wide, "cube.composite=each")
    assert lacks.tiles[0].bands == ("B02", "B04", "B08", "B11")


def test_a_band_that_is_only_looked_at_decides_no_pixel(tmp_path):
    world = make_world(tmp_path, **SMALL)
    path = tmp_path / "scenes" / "S2A_18GYS_20180120_0_L2A" / "B03.tif"
    with rasterio.open(path) as file:
        profile, pixels = file.profile, file.read(1)
    pixels[30:] = 0
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
    plan = plan_of(world)
    (tile,) = plan.tiles
    with dask.config.set(scheduler="synchronous"):
        found = open_step(tile, tile.steps[1], plan.workflow).compute()
    assert not found["quality"].any()
    assert (found["reflectance"].sel(band="B03")[30:] < 0).all()


def test_rows_and_columns_of_blocks_are_those_of_the_tile(wide):
    (tile,) = plan_of(wide).tiles
    assert tile.grid.blocks == (2, 3)
    assert tuple(map(len, tile.chunks)) == (2, 3)
    assert tile.grid.times == tuple(round(step.time.timestamp()) for step in tile.steps)
    assert tile.grid.roles == tuple(step.role for step in tile.steps) == ("before", "after")


def test_a_block_that_touches_the_area_at_all_is_done(wide):
    (tile,) = plan_of(wide, "aoi={file: west.geojson}").tiles
    assert [block.index for block in tile.blocks] == [(0, 0), (1, 0)]
    write_area(wide.folder / "a bit.geojson", 38, 42, rows=3)
    (tile,) = plan_of(wide, "aoi={file: a bit.geojson}").tiles
    assert [block.index for block in tile.blocks] == [(0, 0), (0, 1)]


def test_a_screen_widens_the_halo_of_every_block(wide):
    for overrides, halo in ((), 15), (("inference.screen=0.1",), 15 + 4):
        (tile,) = plan_of(wide, "execution.block=32", *overrides).tiles
        assert tile.halo == halo
        middle = next(block for block in tile.blocks if block.index == (0, 1))
        assert [part.start for part in middle.core] == [0, 32]
        assert middle.outer[1] == slice(32 - halo, 64 + halo)


# --- what names a plan, and what takes it back --------------------------------------------------


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Two scenes on each date, the first of which comes in two halves."""
    folder = tmp_path_factory.mktemp("halves")
    world = make_world(
        folder, **SMALL, cube={"composite": "each", "mask": {"scl": []}},
        before={"name": "west", "wedge": right_of(30)},
    )  # fmt: skip
    facts = {"size": SIZE, "values": ground()}
    add_scene(folder, name="east", time="2017-01-15T14:37:51Z", wedge=left_of(30), **facts)
    add_scene(folder, time="2017-02-14T14:37:51Z", **facts)
    add_scene(folder, time="2018-02-19T14:37:51Z", **facts)
    # What each of the halves says of itself, so that neither is a copy of the other.
    for name, (west, east) in {"west": (0, 30), "east": (29, SIZE)}.items():
        path = folder / "items" / f"{name}.json"
        content = json.loads(path.read_text())
        content["geometry"] = shapely.geometry.mapping(columns_of_tile(west, east))
        path.write_text(json.dumps(content))
    return world


def test_the_fingerprint_holds_every_decision_about_a_tile(halves):
    plan = plan_of(halves)
    (name,) = plan.detection_inputs["tiles"]
    inputs = plan.detection_inputs["tiles"][name]
    assert name == "18GYS"
    assert inputs["grid"] == ["EPSG:32718", [SIZE, SIZE], [10, 0, 699960, 0, -10, 5200000]]
    assert [(step["role"], step["time"][:10]) for step in inputs["steps"]] == [
        ("before", "2017-01-15"), ("before", "2017-02-14"),
        ("after", "2018-01-20"), ("after", "2018-02-19"),
    ]  # fmt: skip
    assert [step["acquisitions"] for step in inputs["steps"]] == [
        [["west", "east"]], [["S2A_18GYS_20170214_0_L2A"]],
        [["S2A_18GYS_20180120_0_L2A"]], [["S2A_18GYS_20180219_0_L2A"]],
    ]  # fmt: skip
    assert inputs["radiometry"]["west/red"] == [1e-4, 0.0]
    assert inputs["radiometry"]["S2A_18GYS_20180120_0_L2A/red"] == [1e-4, -0.1]
    assert len(inputs["radiometry"]) == 5 * 5
    assert set(plan.detection_inputs) == {
        "numerics", "area", "dates", "search", "cube", "model", "inference", "tiles",
    }  # fmt: skip
    assert set(plan.detection_inputs["inference"]) == {
        "window", "stride", "tta", "tta_merge", "tta_order", "blend", "batch_size", "screen",
        "device", "precision", "runtime", "threads",
    }  # fmt: skip
    assert plan.detection_inputs["area"] == json.loads(json.dumps(plan.area.facts()))


def test_a_median_is_named_by_all_of_its_acquisitions_and_given_back(halves):
    plan = plan_of(halves, "cube.composite=median")
    (tile,) = plan.tiles
    steps = plan.detection_inputs["tiles"]["18GYS"]["steps"]
    assert [step["acquisitions"] for step in steps] == [
        [["west", "east"], ["S2A_18GYS_20170214_0_L2A"]],
        [["S2A_18GYS_20180120_0_L2A"], ["S2A_18GYS_20180219_0_L2A"]],
    ]
    decided = json.loads(json.dumps({"18GYS": record(tile)}))
    again = make(plan.workflow, frozen=freeze([tile.tile]), decided=decided)
    assert list(map(described, again.tiles[0].steps)) == list(map(described, tile.steps))


def test_a_record_gives_back_every_step_with_its_date_and_its_halves(halves):
    plan = plan_of(halves)
    (tile,) = plan.tiles
    decided = json.loads(json.dumps({"18GYS": record(tile)}))
    again = make(plan.workflow, frozen=freeze([tile.tile]), decided=decided)
    assert [described(step) for step in again.tiles[0].steps] == [
        described(step) for step in tile.steps
    ]
    assert again.tiles[0].grid == tile.grid
    assert again.detection_fingerprint == plan.detection_fingerprint
    # Another offset that was decided is another run.
    decided["18GYS"]["radiometry"][0]["offset"] = -0.05
    other = make(plan.workflow, frozen=freeze([tile.tile]), decided=decided)
    assert other.detection_fingerprint != plan.detection_fingerprint


def described(step):
    return step.role, step.time, [[item.id for item in a.items] for a in step.acquisitions]


def test_jobs_of_a_tile_share_what_the_plan_says(halves, tmp_path):
    overrides = ("cube.mask.apply=input", "inference.tta_merge=mean")
    workflow = Workflow.from_file(halves.workflow, overrides=overrides)
    prepared = prepare(workflow, tmp_path / "run")
    (tile,) = prepared.plan.tiles
    job = steps._job(prepared, tile, 3)
    assert (job.run, job.tile, job.step) == (tmp_path / "run", "18GYS", 3)
    assert job.tile_shape == (SIZE, SIZE)
    assert job.setting == prepared.plan.setting
    assert job.model == prepared.plan.reference
    assert job.fill_masked
    assert job.tile_range is None
    assert job.trained is None
    item = replace(prepared.plan.model, statistics="of its training")
    trained = replace(prepared, plan=replace(prepared.plan, model=item))
    assert steps._job(trained, tile, 0).trained == "of its training"


# --- several tiles ------------------------------------------------------------------------------


def test_scenes_of_several_tiles_are_chosen_at_once_and_alike(tmp_path, monkeypatch):
    names = ["18GYS", "18GYT"]
    world = make_world(tmp_path, **SMALL, aoi={"tiles": names})
    for time in ("2017-01-15T14:37:51Z", "2018-01-20T14:37:51Z"):
        add_scene(tmp_path, tile=names[1], size=SIZE, time=time)
    alone = plan_of(world)
    both, choose = threading.Barrier(2, timeout=30), tiles.choose

    def together(tile, role, *arguments, **named):
        if role == "before":
            both.wait()
        return choose(tile, role, *arguments, **named)

    monkeypatch.setattr(tiles, "choose", together)
    plan = plan_of(world)
    assert [tile.tile.name for tile in plan.tiles] == names
    assert plan.detection_fingerprint == alone.detection_fingerprint
