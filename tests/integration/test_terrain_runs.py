"""Runs that know the terrain: channels, columns, a flag, a layer, and a mask of gentle slopes."""

from __future__ import annotations

import json
from pathlib import Path

import dask
import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine

import lspipe
from lspipe.cli.summaries import plan_text
from lspipe.cube import terrain
from lspipe.cube.terrain import HILLSIDE, read
from lspipe.errors import (
    LspipeError,
    ModelError,
    NothingFound,
    StoreError,
    UsageError,
    WorkflowError,
)
from lspipe.models.statistics import Statistics
from lspipe.runs import pipeline, steps, store
from lspipe.runs.cost import estimate
from lspipe.runs.describe import describe_plan
from lspipe.runs.export import export
from lspipe.runs.frozen import FrozenRun
from lspipe.runs.plan import open_step
from lspipe.runs.prepare import prepare
from lspipe.runs.steps import tasks_of
from lspipe.runs.validation import validate
from lspipe.schema import CODE_NODATA, CUBE_NODATA, Quality, quantise
from lspipe.schema.columns import TERRAIN
from lspipe.schema.maps import LEFT_OUT
from lspipe.workflow import Workflow
from tests import pixel_models
from tests.ground import write_item, write_raster, write_square
from tests.stored import compute_here
from tests.worlds import NEW_SCAR, OLD_SCAR, change_workflow, fingerprints, make_world, plan_only

TILE = "18GYS"
CORNER = (699960, 5200000)
FOOT = 100
"""Column from which the ground rises to the east; what is west of it is a plain."""


def valley(columns):
    """A plain, and a flank of 24 degrees in the east, by columns of the tile."""
    return 500 + np.where(columns > FOOT, (columns - FOOT) * 4.5, 0.0)


def write_valley(path: Path, *, void=None, **options) -> Path:
    """Write the valley as a DEM of 10 m, in the tile's CRS and 1 km beyond it."""
    columns = np.arange(-100, 340) + 0.5
    ground = np.tile(valley(columns), (440, 1)).astype(np.float32)
    if void is not None:
        rows, cut = void
        ground[100 + rows.start : 100 + rows.stop, 100 + cut.start : 100 + cut.stop] = -9999
    corner = Affine(10, 0, CORNER[0] - 1000, 0, -10, CORNER[1] + 1000)
    return write_raster(path, ground, corner, crs=32718, nodata=-9999, **options)


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)


def make(folder: Path, **sections):
    """A world with an old scar on the plain and a new one on the flank."""
    write_valley(folder / "dem.tif")
    pixel_models.write_item(folder / "steep.json", pixel_models.SteepSoil, window=32)
    given = {
        "terrain": {"dem": "dem.tif"},
        "cluster": {"kind": "tests.stored:here"},
        "execution": {"block": 120, "retries": 0},
    }
    return make_world(folder, **given | sections)


def run(world, output=None, **options):
    return lspipe.run(Workflow.from_file(world.workflow), output=output or world.run, **options)


def stored(run_, name):
    which = store.EVIDENCE if name in ("slope", "elevation") else store.DETECTIONS
    return store.read(run_, which, TILE, name)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A world whose model does not look at the terrain, and its finished run."""
    made = make(tmp_path_factory.mktemp("world"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        assert run(made).state == "finished"
    return made


def listed(run_):
    return gpd.read_parquet(run_ / "inventory.parquet").set_index("status")


# --- what a list says ---------------------------------------------------------------------------


def test_each_object_says_how_steep_and_how_high_it_lies(world) -> None:
    found = listed(world.run)
    assert [*found.columns].index("slope_mean") < [*found.columns].index("rank")
    new, old = found.loc["new"], found.loc["persistent"]
    _, first, _, width = NEW_SCAR
    heights_ = valley(np.arange(first, first + width) + 0.5)
    degrees = np.degrees(np.arctan(0.45))
    assert new["slope_mean"] == pytest.approx(degrees, abs=0.05)
    assert new["slope_p90"] == pytest.approx(degrees, abs=0.05)
    assert (new["elevation_min"], new["elevation_max"]) == pytest.approx(
        (heights_.min(), heights_.max()), abs=0.5
    )
    assert new["relief_m"] == new["elevation_max"] - new["elevation_min"]
    assert new["aspect"] == 270
    assert OLD_SCAR[1] + OLD_SCAR[3] < FOOT
    assert (old["slope_mean"], old["slope_p90"], old["relief_m"]) == (0, 0, 0)
    assert np.isnan(old["aspect"])
    assert (bool(new["gentle_slope"]), bool(old["gentle_slope"])) == (False, True)


def test_the_stored_terrain_is_that_of_the_files_in_every_block(world) -> None:
    (tile,) = plan_only(Workflow.from_file(world.workflow)).tiles
    whole = read(
        tile.terrain, tile.tile.geobox, (slice(0, 240), slice(0, 240)), ("elevation", "slope")
    )
    np.testing.assert_array_equal(stored(world.run, "elevation"), whole[0])
    np.testing.assert_array_equal(stored(world.run, "slope"), whole[1])
    opened = lspipe.open_run(world.run)[TILE]
    np.testing.assert_allclose(opened["elevation"].values, whole[0] / 2)
    np.testing.assert_allclose(opened["slope"].values, whole[1] / 100, atol=1e-5)
    assert opened["slope"].attrs["units"] == "degree"


def test_lists_and_layers_never_read_the_heights_again(tmp_path) -> None:
    made = make(tmp_path, output={"path": "run", "write": ["geoparquet", "gpkg", "qgis", "report"]})
    run(made)
    (tmp_path / "dem.tif").unlink()
    export(made.run, to=("cog", "stac"))
    with rasterio.open(made.run / "layers" / f"{TILE}_slope.tif") as file:
        np.testing.assert_array_equal(file.read(1), stored(made.run, "slope"))
        assert (file.scales[0], file.nodata) == (0.01, CUBE_NODATA)
        assert file.transform == Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    assert (made.run / "layers" / "slope_32718.vrt").exists()
    shown = gpd.read_file(made.run / "inventory.gpkg", layer="inventory")
    assert {*TERRAIN, "gentle_slope"} <= set(shown.columns)
    page = (made.run / "report.html").read_text("utf-8")
    assert all(name in page for name in ("slope_p90", "relief_m", "gentle slope"))


def test_terrain_may_be_asked_for_when_all_is_computed(tmp_path, monkeypatch) -> None:
    made = make(tmp_path, terrain={})
    run(made)
    plain = listed(made.run)
    assert not set(plain.columns) & {*TERRAIN, "gentle_slope"}
    assert "terrain" not in json.loads((made.run / "run.json").read_text("utf-8"))
    with pytest.raises(KeyError):
        stored(made.run, "slope")
    monkeypatch.setattr(pipeline.stream, "compute", None)  # no block is computed
    change_workflow(made, terrain={"dem": "dem.tif"})
    assert run(made).statuses == {"new": 1, "persistent": 1}
    found = listed(made.run)
    assert found.loc["new", "slope_mean"] == pytest.approx(24.23, abs=0.05)
    assert run(made).state == "finished"
    # Of other heights, and of none again.
    write_valley(tmp_path / "feet.tif", unit="ft")
    change_workflow(made, terrain={"dem": "feet.tif"})
    run(made)
    assert listed(made.run).loc["new", "relief_m"] == pytest.approx(0.3048 * 58.5, abs=1)
    change_workflow(made, terrain={})
    run(made)
    assert list(listed(made.run).columns) == list(plain.columns)


def test_a_run_without_terrain_has_the_fingerprints_that_it_had(tmp_path) -> None:
    made = make(tmp_path, terrain={}, flags={"river_bank": 40.0})
    plan = plan_only(Workflow.from_file(made.workflow))
    assert "terrain" not in plan.detection_inputs
    assert set(plan.change_inputs) == {"change", "flags", "flag_layers"}
    assert "gentle_slope" not in plan.change_inputs["flags"]
    change_workflow(made, flags={"gentle_slope": 40.0})
    assert set(plan_only(Workflow.from_file(made.workflow)).change_inputs) == {"change"}
    change_workflow(made, flags={}, terrain={"dem": "dem.tif"})
    shown = plan_only(Workflow.from_file(made.workflow))
    assert shown.detection_fingerprint == plan.detection_fingerprint
    assert set(shown.change_inputs) == {"change", "terrain"}


# --- channels -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def steep(tmp_path_factory):
    """A world whose model has channels of terrain, with a void, and its finished run."""
    folder = tmp_path_factory.mktemp("steep")
    made = make(folder, model={"item": "steep.json"}, change={"threshold": 0.3})
    write_valley(folder / "dem.tif", void=(slice(30, 40), slice(200, 215)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        assert run(made).state == "finished"
    return made


def test_a_run_with_channels_of_terrain_is_the_detect_of_its_cube(steep) -> None:
    plan = plan_only(Workflow.from_file(steep.workflow))
    (tile,) = plan.tiles
    assert (tile.bands, tile.layers) == (("B04", "B08", "B03", "B02"), ("slope", "elevation"))
    codes = stored(steep.run, "probability")
    for number, step in enumerate(tile.steps):
        with dask.config.set(scheduler="synchronous"):
            cube = open_step(tile, step, plan.workflow).compute()
        pixels = cube["reflectance"].sel(band=list(plan.model.bands))
        options = {
            "window": plan.setting.window, "stride": plan.setting.stride,
            "batch_size": plan.setting.batch_size, "mask": cube["quality"] != 0,
        }  # fmt: skip
        found = lspipe.detect(pixels, plan.model.reference, **options)
        np.testing.assert_array_equal(codes[number], quantise(found.values))
        # Physical units, as a person has them.
        units = np.array([1e-4, 1e-4, 0.01, 0.5])[:, None, None]
        floats = (pixels.where(pixels != CUBE_NODATA) * units).astype(np.float32)
        again = lspipe.detect(floats, plan.model.reference, **options)
        np.testing.assert_array_equal(codes[number], quantise(again.values))
    assert set(listed(steep.run).index) == {"new"}


def test_both_dates_of_a_place_read_its_ground_once(steep, monkeypatch) -> None:
    read_parts, reads = terrain.read, []

    def counted(source, geobox, part, names, **how):
        reads.append(names)
        return read_parts(source, geobox, part, names, **how)

    monkeypatch.setattr(terrain, "read", counted)
    prepared = prepare(Workflow.from_file(steep.workflow), steep.run.with_name("counted"))
    (tile,) = prepared.plan.tiles
    dates = {0: list(tile.blocks), 1: list(tile.blocks[1:])}
    todo = {(TILE, step): blocks for step, blocks in dates.items()}
    places = {}
    for batch in tasks_of(prepared, todo):
        ((_, index),) = batch.blocks
        with monkeypatch.context() as patch:
            for name in ("infer", "write"):
                patch.setattr(steps.worker, name, lambda found, **_: found)
            places.setdefault(index, []).extend(batch.build({}))
    for tasks in places.values():
        found = dask.compute(*tasks, scheduler="synchronous")
        slopes = [one.pixels[2:] for one in found if not isinstance(one, dict)]
        assert all(np.array_equal(slopes[0], other) for other in slopes)
    assert reads == [("slope", "elevation")] * len(tile.blocks)


def test_where_the_ground_is_not_known_nothing_was_observed(steep) -> None:
    codes, quality = stored(steep.run, "probability"), stored(steep.run, "quality")
    void = np.zeros((240, 240), bool)
    void[30:40, 200:215] = True
    assert (codes[:, void] == CODE_NODATA).all()
    assert (quality[:, void] == Quality.NODATA).all()
    # And a rim: the window of the slope, and a place between known and not known heights.
    assert ((codes != CODE_NODATA).sum(axis=(1, 2)) >= 240 * 240 - 14 * 19).all()
    gaps = gpd.read_parquet(steep.run / "unobserved.parquet")
    assert set(gaps["reason"]) == {"nodata"}


@pytest.mark.parametrize("steeper", [0, 60])
def test_the_terrain_is_compared_with_that_of_training_before_the_first_block(
    steep, tmp_path, steeper
) -> None:
    plan = plan_only(Workflow.from_file(steep.workflow))
    (tile,) = plan.tiles
    with dask.config.set(scheduler="synchronous"):
        cube = open_step(tile, tile.steps[0], plan.workflow).compute()
    codes = cube["reflectance"].sel(band=list(plan.model.bands))
    units = np.array([1e-4, 1e-4, 0.01, 0.5])[:, None, None]
    images = (codes.where(codes != CUBE_NODATA) * units).to_numpy()
    images[2] += steeper
    item = steep.run.parent / "steep.json"
    document = json.loads(item.read_text())
    document["properties"]["lspipe:statistics"] = Statistics.of([images]).as_json()
    trained = item.with_name(f"trained-{steeper}.json")
    trained.write_text(json.dumps(document))
    workflow = Workflow.from_file(
        steep.workflow, overrides=(f"model.item={trained.name}", "inference.unfamiliar=refuse")
    )
    if steeper:
        with pytest.raises(UsageError, match="slope"):
            lspipe.run(workflow, output=tmp_path / "run")
    else:
        assert lspipe.run(workflow, output=tmp_path / "run").state == "finished"


def test_blocks_never_change_what_terrain_decides(steep, tmp_path) -> None:
    workflow = Workflow.from_file(steep.workflow, overrides=("execution.block=80",))
    lspipe.run(workflow, output=tmp_path / "other")
    for name in ("probability", "quality", "slope"):
        np.testing.assert_array_equal(stored(tmp_path / "other", name), stored(steep.run, name))


def test_a_run_that_was_stopped_ends_in_the_same_bytes(steep, tmp_path) -> None:
    workflow = Workflow.from_file(steep.workflow)
    lspipe.run(workflow, output=tmp_path / "run", limit=1)
    assert (stored(tmp_path / "run", "slope") != CUBE_NODATA).any()
    lspipe.run(workflow, output=tmp_path / "run", limit=2)
    lspipe.run(workflow, output=tmp_path / "run")
    one, other = fingerprints(tmp_path / "run"), fingerprints(steep.run)
    assert one == other


def test_another_dem_is_another_run_where_it_decides_pixels(steep) -> None:
    write_valley(steep.folder / "other.tif")
    workflow = Workflow.from_file(steep.workflow, overrides=("terrain.dem=other.tif",))
    with pytest.raises(StoreError, match=r"made by another workflow: terrain\.dem"):
        lspipe.run(workflow, output=steep.run)


def test_patches_of_a_run_have_its_channels_of_terrain(steep) -> None:
    frozen = FrozenRun.of(steep.run)
    (tile,), part = frozen.tiles, (slice(50, 90), slice(120, 170))
    pixels, _ = frozen.read(tile, tile.steps[0], ("slope", "B04", "elevation"), part)
    np.testing.assert_array_equal(pixels[0], stored(steep.run, "slope")[part])
    np.testing.assert_array_equal(pixels[2], stored(steep.run, "elevation")[part])


# --- the mask -----------------------------------------------------------------------------------


def test_gentle_ground_is_not_run_and_all_other_pixels_stay_what_they_are(steep, tmp_path) -> None:
    asked = ("terrain.min_slope_deg=5", f"output.path={tmp_path / 'run'}")
    workflow = Workflow.from_file(steep.workflow, overrides=asked)
    told = []
    lspipe.run(workflow, output=tmp_path / "run", report=told.append)
    (tile,) = plan_only(workflow).tiles
    (slope,) = read(tile.terrain, tile.tile.geobox, (slice(0, 240), slice(0, 240)), (HILLSIDE,))
    is_gentle = (slope < 500) & (slope != CUBE_NODATA)
    assert 0.3 < is_gentle.mean() < 0.7
    # Of ground that is steep by itself nothing is left out.
    assert (stored(steep.run, "slope")[is_gentle] < 500).all()
    codes, quality = stored(tmp_path / "run", "probability"), stored(tmp_path / "run", "quality")
    assert (codes[:, is_gentle] == CODE_NODATA).all()
    assert (quality[:, is_gentle] == LEFT_OUT).all()
    np.testing.assert_array_equal(
        codes[:, ~is_gentle], stored(steep.run, "probability")[:, ~is_gentle]
    )
    np.testing.assert_array_equal(
        quality[:, ~is_gentle], stored(steep.run, "quality")[:, ~is_gentle]
    )
    gaps = gpd.read_parquet(tmp_path / "run" / "unobserved.parquet").query("date == 'after'")
    areas = gaps.set_index("reason")["area_m2"]
    assert areas["gentle_slope"] == pytest.approx(100 * is_gentle.sum(), rel=2e-3)
    assert set(areas.index) == {"gentle_slope", "nodata"}
    windows = [event.result.windows for event in told if hasattr(event, "result")]
    assert sum(windows) < 0.7 * estimate(plan_only(Workflow.from_file(steep.workflow))).windows


def test_the_mask_is_part_of_what_decides_a_pixel(steep, tmp_path) -> None:
    workflow = Workflow.from_file(steep.workflow, overrides=("terrain.min_slope_deg=5",))
    with pytest.raises(StoreError, match=r"terrain\.min_slope_deg: null -> 5"):
        lspipe.run(workflow, output=steep.run)
    # Runs without a mask stay what they were before it looked at hillsides.
    assert (
        "hillside_m" not in store.read_json(steep.run / "run.json")["detection_inputs"]["terrain"]
    )
    asked = ("terrain.min_slope_deg=5", f"output.path={tmp_path}")
    plan = plan_only(Workflow.from_file(steep.workflow, overrides=asked))
    assert plan.detection_inputs["terrain"]["hillside_m"] == 45


def test_ground_outside_of_the_area_and_under_cloud_keeps_its_own_reason(tmp_path) -> None:
    made = make(
        tmp_path, terrain={"dem": "dem.tif", "min_slope_deg": 5}, after={"clouds": [(60, 180, 15)]},
        aoi={"bbox": [-72.6, -43.345, -72.5, -43.2]},
    )  # fmt: skip
    run(made)
    quality = stored(made.run, "quality")[1]
    plan = plan_only(Workflow.from_file(made.workflow))
    inside = np.asarray(plan.tiles[0].area[:, :])
    assert 0.2 < inside.mean() < 0.95
    assert set(np.unique(quality[~inside])) <= {Quality.OUTSIDE, 255}
    assert (quality[60, 175:185] & Quality.CLOUD).all()
    assert set(np.unique(quality[inside][:, None])) >= {0, LEFT_OUT, Quality.CLOUD}


# --- collections --------------------------------------------------------------------------------


def archive_of_squares(folder: Path) -> None:
    for number, (west, south) in enumerate(
        (w, s) for w in (-72.6, -72.55, -72.5, -72.45) for s in (-43.4, -43.35, -43.3)
    ):
        name = f"square_{number}"
        raster = write_square(folder / "squares" / f"{name}.tif", west=west, south=south)
        write_item(folder / "items" / f"{name}.json", raster)


def test_heights_of_a_collection_are_found_once_and_frozen(tmp_path, monkeypatch) -> None:
    made = make(tmp_path, terrain={"dem": "cop-dem-glo-30"}, model={"item": "steep.json"})
    archive_of_squares(tmp_path)
    plan = lspipe.plan(Workflow.from_file(made.workflow))
    assert plan.terrain.datum_name == "EGM2008"
    assert plan.terrain.is_sea_left_out
    frozen = json.loads((made.run / "items.json").read_text("utf-8"))
    assert len(frozen["lspipe:terrain"]["found"]["files"]) == len(plan.terrain.files) > 3
    assert all(one["properties"].get("lspipe:date") for one in frozen["features"])
    for path in (tmp_path / "items").glob("square_*"):
        path.unlink()
    assert run(made).state == "finished"
    assert {"slope_mean", "relief_m"} <= set(listed(made.run).columns)
    # Asked for later, they are searched then, and frozen too.
    other = make(tmp_path / "later", terrain={})
    run(other)
    change_workflow(other, terrain={"dem": "cop-dem-glo-30"})
    archive_of_squares(other.folder)
    before = json.loads((other.run / "items.json").read_text("utf-8"))
    run(other)
    after = json.loads((other.run / "items.json").read_text("utf-8"))
    assert after.pop("lspipe:terrain")["asked"]["dem"] == "cop-dem-glo-30"
    assert after == before
    monkeypatch.setattr("lspipe.cube.dem.find_items", None)
    assert run(other).state == "finished"


def test_a_collection_that_has_nothing_there_is_named(tmp_path) -> None:
    made = make(tmp_path, terrain={"dem": "nasadem"})
    with pytest.raises(NothingFound, match=r"terrain\.dem: no item of nasadem over the tiles"):
        run(made)


# --- what is refused ----------------------------------------------------------------------------


def shrunk(path: Path) -> None:
    """Leave the northern half of the DEM."""
    with rasterio.open(path) as file:
        half, transform = file.read(1)[:220], file.transform
    write_raster(path, half, transform, crs=32718)


def nameless(path: Path) -> None:
    """Take the CRS away."""
    with rasterio.open(path) as file:
        whole, transform = file.read(1), file.transform
    write_raster(path, whole, transform, crs=None)


@pytest.mark.parametrize(
    ("change", "sections", "kind", "said"),
    [
        (shrunk, {}, WorkflowError, r"dem\.tif has nothing for 50\.\d\d% of the area"),
        (None, {"terrain": {"dem": "dem.tif", "datum": "geoid", "shift_to": "ellipsoid",
                            "geoid": "far.tif"}, "model": {"item": "steep.json"}},
         WorkflowError, r"terrain\.geoid: far\.tif has nothing for 100\.00% of the area"),
        (nameless, {}, WorkflowError, r"terrain\.dem: dem\.tif: it has no CRS"),
        (Path.unlink, {}, WorkflowError, r"terrain\.dem: dem\.tif: .*No such file"),
        (None, {"terrain": {}, "model": {"item": "steep.json"}}, ModelError,
         r"wants slope, elevation, which are of the section terrain: add the section"),
        (None, {"terrain": {"dem": "dem.tif", "shift_to": "ellipsoid"},
                "model": {"item": "steep.json"}}, WorkflowError, r"their datum is not known"),
        (None, {"terrain": {"dem": "dem.tif", "datum": "geoid", "shift_to": "ellipsoid"},
                "model": {"item": "steep.json"}}, WorkflowError,
         r"above the geoid .* terrain\.shift_to asks for the ellipsoid: up to 100 m apart"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_before_a_block_is_computed(
    tmp_path, change, sections, kind, said
) -> None:
    made = make(tmp_path, **sections)
    write_square(tmp_path / "far.tif", west=0.0, south=0.0)
    if change is not None:
        change(tmp_path / "dem.tif")
    workflow = Workflow.from_file(made.workflow)
    with pytest.raises(kind, match=said):
        lspipe.plan(workflow)
    if "has nothing for" not in said:  # which needs the tiles of the scenes
        with pytest.raises(kind, match=said):
            validate(workflow)


def test_a_model_of_landslide4sense_wants_heights_above_the_ellipsoid(tmp_path) -> None:
    bands = ("B02", "B03", "B04", "B08", "slope", "dem")
    made = make(tmp_path, terrain={"dem": "dem.tif", "datum": "geoid"}, model={"item": "y6.json"})
    document = json.loads((tmp_path / "steep.json").read_text("utf-8"))
    document["properties"] |= {
        "lspipe:recipe": "yali6",
        "lspipe:architecture": "tests.pixel_models:BareSoil",
    }
    document["properties"]["mlm:input"][0]["bands"] = list(bands)
    document["properties"]["mlm:input"][0]["input"]["shape"] = [-1, 6, 32, 32]
    (tmp_path / "y6.json").write_text(json.dumps(document), "utf-8")
    workflow = Workflow.from_file(made.workflow)
    with pytest.raises(LspipeError, match="wants them above the ellipsoid"):
        validate(workflow)


# --- what a plan says ---------------------------------------------------------------------------


def test_a_plan_names_the_heights_their_cost_and_their_datum(tmp_path) -> None:
    made = make(
        tmp_path, model={"item": "steep.json"},
        terrain={"dem": "dem.tif", "datum": "geoid", "min_slope_deg": 5},
    )  # fmt: skip
    plan = plan_only(Workflow.from_file(made.workflow))
    facts = describe_plan(plan, run=made.run, left="", counts={TILE: (0, 0)})
    # The part of the file that lies on the tile, at 4 bytes a pixel.
    assert facts["terrain"]["bytes_to_read"] == pytest.approx(4 * 240 * 240, rel=0.05)
    text = " ".join(plan_text(facts, estimate(plan), []).split())
    assert "dem.tif: 1 file, " in text
    assert "datum: geoid; channels: slope, elevation; nothing is run below 5 degrees (" in text
