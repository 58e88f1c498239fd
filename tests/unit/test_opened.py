"""`lspipe.open_run`: what a run computed, as tables and lazy maps, whatever state it is in."""

from __future__ import annotations

import json
import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401  # registers the .rio accessor
import xarray as xr
from geopandas.testing import assert_geodataframe_equal

import lspipe
from lspipe.errors import StoreError, UsageError
from lspipe.models.item import SHIPPED_FOLDER
from lspipe.runs import listing, store
from lspipe.runs.describe import describe_plan
from lspipe.schema import CODE_NODATA, CUBE_NODATA, State, dequantise
from tests.worlds import make_world

SIZE = 80


def write_blocks(plan, run, *, blocks=None):
    """Write blocks of noise with an object of the later date, as workers do."""
    (tile,) = plan.tiles
    rng = np.random.default_rng(0)
    for step in range(len(tile.steps)):
        codes = rng.integers(0, 3001, (SIZE, SIZE)).astype(np.uint16)
        codes[:2] = CODE_NODATA
        if step == 1:
            codes[10:30, 40:60] = 9999
        for block in tile.blocks[:blocks]:
            quality = np.where(codes[block.core] == CODE_NODATA, 4, 0).astype(np.uint8)
            ndvi = np.full(quality.shape, 5000, np.int16)
            ndvi[0, 0] = CUBE_NODATA
            store.write_block(
                run, tile.tile.name, step, block.index, block.core,
                detections={"probability": codes[block.core], "quality": quality},
                evidence={
                    "ndvi": ndvi,
                    "true_colour": np.full((3, *quality.shape), 9, np.uint8),
                    "scl": np.full(quality.shape, 4, np.uint8),
                    "acquired": np.full(quality.shape, 17546, np.uint16),
                },
            )  # fmt: skip


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A run directory that was planned, and its plan."""
    world = make_world(tmp_path_factory.mktemp("planned"), size=SIZE, execution={"block": 40})
    plan = lspipe.plan(world.workflow, output=world.run)
    return plan, world.run


def test_the_version_of_a_model_is_told_by_the_plan_and_kept(tmp_path):
    item = tmp_path / "bare-ground.json"
    document = json.loads((SHIPPED_FOLDER / "bare-ground.json").read_text())
    document["assets"].pop("scorecard", None)
    document["properties"]["version"] = "3"
    item.write_text(json.dumps(document))
    world = make_world(tmp_path / "world", size=SIZE, model={"item": str(item)})
    plan = lspipe.plan(world.workflow, output=world.run)
    counts = {tile.tile.name: (0, 0) for tile in plan.tiles}
    facts = describe_plan(plan, run=world.run, left="", counts=counts)
    assert facts["model"].startswith("bare-ground, version 3 (")
    assert lspipe.open_run(world.run).model["version"] == "3"
    assert lspipe.open_run(world.run).model_title == "bare-ground, version 3"


def test_a_model_without_a_version_goes_by_its_id(planned):
    plan, run = planned
    assert lspipe.open_run(run).model_title == plan.model.id
    assert "version" not in lspipe.open_run(run).model


@pytest.fixture(scope="module")
def finished(planned, tmp_path_factory):
    """A run directory whose blocks and lists are written."""
    plan, source = planned
    run = shutil.copytree(source, tmp_path_factory.mktemp("finished") / "run")
    store.create(run, [tile.grid for tile in plan.tiles], fingerprint=plan.detection_fingerprint)
    write_blocks(plan, run)
    listing.write(run, plan)
    return run


def stored(run, name, kind=store.DETECTIONS):
    return store.read(run, kind, "18GYS", name)


def test_the_maps_are_lazy_and_equal_what_is_stored(finished):
    opened = lspipe.open_run(finished)["18GYS"]
    assert all(array.chunks for array in opened.data_vars.values())
    probability = opened["probability"]
    assert (probability.dtype, probability.dims) == (np.float32, ("time", "y", "x"))
    np.testing.assert_array_equal(probability.values, dequantise(stored(finished, "probability")))
    np.testing.assert_array_equal(opened["quality"], stored(finished, "quality"))
    for name in ("true_colour", "scl", "acquired"):
        np.testing.assert_array_equal(opened[name], stored(finished, name, store.EVIDENCE))
    state = opened["state"]
    assert state.dims == ("y", "x")
    np.testing.assert_array_equal(state, stored(finished, "state", store.CHANGE))
    assert (state == State.GAIN).sum() == 400
    gain = opened["gain"].values
    assert np.isnan(gain[:2]).all()
    np.testing.assert_array_equal(
        gain[2:], (stored(finished, "gain", store.CHANGE)[2:] / 1e4).astype(np.float32)
    )
    assert opened["ndvi"].dtype == np.float32
    assert np.isnan(opened["ndvi"].values[0, 0, 0])
    assert opened["ndvi"].values[1, 1, 1] == np.float32(0.5)


def test_every_map_says_where_it_lies_and_what_it_holds(finished):
    opened = lspipe.open_run(finished)["18GYS"]
    assert opened.rio.crs.to_epsg() == 32718
    np.testing.assert_array_equal(opened["x"][:2], [699965, 699975])
    np.testing.assert_array_equal(opened["y"][:2], [5199995, 5199985])
    days = opened["time"].values.astype("datetime64[D]").astype(str)
    assert days.tolist() == ["2017-01-15", "2018-01-20"]
    assert opened.attrs["blocks"] == "8 of 8 done"
    assert "missing" not in opened.attrs
    for name, array in opened.data_vars.items():
        assert array.rio.crs.to_epsg() == 32718, name
        assert array.attrs["long_name"], name
        assert array.attrs["units"], name
        is_decoded = array.dtype == np.float32
        assert is_decoded != ("_FillValue" in array.attrs), name
        assert not {"scale_factor", "add_offset", "valid_range"} & set(array.attrs), name
    nodata = {name: array.rio.nodata for name, array in opened.data_vars.items()}
    assert (nodata["quality"], nodata["state"], nodata["true_colour"]) == (255, 255, 0)


def test_what_was_opened_can_be_written_and_compared_again(finished, tmp_path):
    opened = lspipe.open_run(finished)["18GYS"]
    opened.to_netcdf(tmp_path / "tile.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "tile.nc", engine="h5netcdf", decode_coords="all") as again:
        assert again.rio.crs.to_epsg() == 32718
        np.testing.assert_array_equal(again["probability"], opened["probability"])
    before, after = (opened["probability"].isel(time=step) for step in (0, 1))
    np.testing.assert_array_equal(lspipe.compare(before, after)["state"], opened["state"])
    after.rio.to_raster(tmp_path / "after.tif")


def test_the_lists_are_tables(finished):
    run = lspipe.open_run(finished)
    expected = gpd.read_parquet(finished / "inventory.parquet")
    assert_geodataframe_equal(run.inventory, expected)
    assert run.inventory["status"].tolist() == ["new"]
    assert run.inventory.crs.to_epsg() == 4326
    assert set(run.unobserved["tile"]) == {"18GYS"}
    assert isinstance(run.unobserved["geometry"].iloc[0].area, float)
    assert isinstance(run.inventory, pd.DataFrame)


def test_a_run_says_what_it_is(finished):
    run = lspipe.open_run(str(finished))
    assert run.tiles == ("18GYS",) == tuple(run)
    assert "18GYS" in run
    assert "19GBP" not in run
    assert len(run) == 1
    assert run.record == json.loads((finished / "run.json").read_text())
    assert run.workflow["inference"]["stride"] == 16
    assert run.workflow["cube"]["loader"] == "odc", "defaults are said too"
    assert repr(run).splitlines() == [
        f"<lspipe run 'world' in {finished}: planned>",
        "tiles: 18GYS",
        "lists: inventory, unobserved",
    ]
    with pytest.raises(UsageError, match="no tile '19GBP'; it has 18GYS"):
        run["19GBP"]


def test_of_an_unfinished_run_opens_what_is_there(planned, tmp_path):
    plan, source = planned
    run = shutil.copytree(source, tmp_path / "run")
    opened = lspipe.open_run(run)
    assert "lists: none yet" in repr(opened)
    with pytest.raises(StoreError, match="holds nothing of tile 18GYS yet; run its workflow first"):
        opened["18GYS"]
    for name in ("inventory", "unobserved"):
        with pytest.raises(StoreError, match="not there yet, the run is planned; run its workflow"):
            getattr(opened, name)
    store.create(run, [tile.grid for tile in plan.tiles], fingerprint=plan.detection_fingerprint)
    write_blocks(plan, run, blocks=1)
    half = opened["18GYS"]
    assert half.attrs["blocks"] == "2 of 8 done"
    assert set(half.data_vars) == {
        "probability", "quality", "true_colour", "ndvi", "scl", "acquired",
    }  # fmt: skip
    assert np.isnan(half["probability"].values[:, 40:]).all()
    assert (half["quality"].values[:, 40:] == store.NOT_PROCESSED).all()
    assert half.attrs["missing"] == "state, gain"
    # Laid out in part by a call that was killed.
    shutil.rmtree(run / store.EVIDENCE)
    less = opened["18GYS"]
    assert set(less.data_vars) == {"probability", "quality"}
    assert less.attrs["missing"] == "true_colour, ndvi, scl, acquired, state, gain"


def test_a_run_of_one_date_lacks_no_change(tmp_path):
    dates = {"after": {"start": "2018-01-01", "end": "2018-03-31"}}
    world = make_world(tmp_path, size=SIZE, execution={"block": 40}, dates=dates)
    plan = lspipe.plan(world.workflow)
    store.create(
        world.run, [tile.grid for tile in plan.tiles], fingerprint=plan.detection_fingerprint
    )
    opened = lspipe.open_run(world.run)["18GYS"]
    assert opened.sizes["time"] == 1
    assert "state" not in opened
    assert "missing" not in opened.attrs


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(StoreError, match=r"run.json: not found; is .* a run directory\?"):
        lspipe.open_run(tmp_path)
    (tmp_path / "run.json").write_text('{"name": "mine"}')
    with pytest.raises(StoreError, match="has no state, workflow, tiles; expected what lspipe"):
        lspipe.open_run(tmp_path)
