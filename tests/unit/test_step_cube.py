"""A part of a time step that is read by itself has the pixels of the whole tile, to the bit."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from lspipe.errors import LoadError
from lspipe.runs.plan import cube_of_step
from lspipe.workflow import Workflow
from tests import pixel_models
from tests.ground import write_raster
from tests.scenes import TILES
from tests.worlds import add_scene, ground, make_world, plan_only

SIZE = 120

SETTINGS = {
    "rims of clouds": ("cube.mask.dilate_px=7",),
    "windows of a mask": ("cube.mask.source=tests.mask_sources:above_its_window",),
    "margins of a mask": ("cube.mask.source=tests.mask_sources:rough", "cube.mask.dilate_px=2"),
    "two masks": ("cube.mask.source=[scl, 'tests.mask_sources:above_its_window']",),
    "a median": ("cube.composite=median",),
    "terrain": ("model.item=steep.json", "terrain.dem=dem.tif", "terrain.min_slope_deg=8"),
    "a pair": ("model.item=shipped:bare-change",),
    "stackstac": ("cube.loader=stackstac",),
}


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """What each setting decides the later date by, and the cube of its whole tile."""
    folder = tmp_path_factory.mktemp("world")
    cloudy = {"clouds": [(50, 60, 9), (5, 118, 6)], "wedge": lambda _, columns: columns < 9}
    world = make_world(folder, size=SIZE, after=cloudy)
    add_scene(folder, size=SIZE, time="2018-02-19T14:37:51Z", values=ground(), clouds=[(50, 64, 9)])
    pixel_models.write_item(folder / "steep.json", pixel_models.SteepSoil, window=32)
    hills = 40 * np.sin(np.arange(320) / 9)[:, None] + 60 * np.cos(np.arange(320) / 23)
    corner = Affine(10, 0, TILES["18GYS"].left - 1000, 0, -10, TILES["18GYS"].top + 1000)
    write_raster(folder / "dem.tif", hills.astype(np.float32), corner, crs=32718, nodata=-9999)
    found = {}
    for name, overrides in SETTINGS.items():
        plan = plan_only(Workflow.from_file(world.workflow, overrides=overrides))
        (tile,) = plan.tiles
        cube = cube_of_step(tile, tile.steps[-1], plan.workflow)
        whole = cube.whole(((50, 70), (70, 50)))
        found[name] = cube, whole.compute(scheduler="synchronous")
    return found


edges = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).filter(
    lambda ends: ends[0] != ends[1]
)


@pytest.mark.parametrize("setting", SETTINGS)
@settings(max_examples=10)  # each opens and reads files
@given(rows=edges, columns=edges)
def test_a_part_has_the_pixels_of_the_whole_tile(steps, setting, rows, columns):
    cube, whole = steps[setting]
    part = slice(*sorted(rows)), slice(*sorted(columns))
    found = cube.part(part)
    assert set(found) == set(whole)
    for name in whole:
        assert isinstance(found[name].data, np.ndarray)
        expected = whole[name].isel(y=part[0], x=part[1])
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
        assert found[name].dtype == expected.dtype
    np.testing.assert_array_equal(found["x"], whole["x"][part[1]])
    np.testing.assert_array_equal(found["y"], whole["y"][part[0]])


@settings(max_examples=10)
@given(rows=edges, columns=edges)
def test_a_part_whose_ground_was_read_by_itself_has_the_same_pixels(steps, rows, columns):
    cube, _ = steps["terrain"]
    part = slice(*sorted(rows)), slice(*sorted(columns))
    ground = cube.ground(part)
    assert tuple(ground) == cube.ground_channels == ("slope", "elevation", "hillside")
    no_files = replace(cube, terrain=replace(cube.terrain, files=()))
    assert no_files.part(part, ground).identical(cube.part(part))


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_decides_something(steps, setting):
    _, whole = steps[setting]
    assert whole["quality"].to_numpy().any()
    assert ("disputed" in whole) == (setting == "two masks")
    assert ("other_quality" in whole) == (setting == "a pair")
    assert ("slope" in whole["band"]) == (setting == "terrain")


def test_a_date_on_which_no_network_runs_opens_no_channels_beside_its_scenes(steps):
    cube, _ = steps["terrain"]
    before = replace(
        cube,
        step=replace(cube.step, role="before"),
        channels=("before:B04", "slope"),
        bands=("B04",),
        # What is read of a file that is not there is an error.
        terrain=replace(cube.terrain, files=(replace(cube.terrain.files[0], href="none.tif"),)),
        min_slope_deg=None,
    )
    assert before.part((slice(0, 9), slice(0, 9)))["band"].values.tolist() == ["B04"]
    assert before.ground_channels == ()
    with pytest.raises(LoadError, match=r"none\.tif"):
        replace(before, step=cube.step, channels=("slope",)).part((slice(0, 9), slice(0, 9)))


def test_what_travels_is_small(steps):
    for cube, _ in steps.values():
        assert len(pickle.dumps(cube)) < 40_000
