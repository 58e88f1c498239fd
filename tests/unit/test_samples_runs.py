"""Patches cut from the cube of a run: what they hold, and what is refused by name."""

from __future__ import annotations

import json
import shutil

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch

from lspipe.errors import ModelError, SamplesError, StoreError
from lspipe.inference.inputs import Inputs, to_model_units
from lspipe.inference.observed import observed as observed_pixels
from lspipe.inference.runtimes import PreparedRuntime
from lspipe.models.item import SHIPPED_FOLDER, Scaling
from lspipe.runs import frozen
from lspipe.runs.frozen import FrozenRun
from lspipe.runs.plan import open_step
from lspipe.runs.prepare import opened, prepare
from lspipe.samples import cover
from lspipe.samples.chips import chips
from lspipe.schema import CUBE_NODATA, IGNORED
from lspipe.workflow import Workflow
from tests.worlds import NEW_SCAR, OLD_SCAR, add_scene, make_world

CLOUD = (40, 200, 15)
"""Row, column, radius of a cloud on the later date."""

CORNER = 699960, 5200000
"""Upper-left corner of the tile 18GYS."""

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")


def planned(folder, **sections):
    """A world and the run directory of its plan; nothing was computed."""
    world = make_world(
        folder, before={"bands": BANDS}, after={"bands": BANDS, "clouds": [CLOUD]}, **sections
    )
    with opened(prepare(Workflow.from_file(world.workflow), world.run)) as prepared:
        return world, prepared.plan


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Planned with the model of the demo; tests only read it."""
    made, _ = planned(tmp_path_factory.mktemp("world"), model={"item": "shipped:demo"})
    return made


def outline(rectangle, epsg=32718):
    row, column, height, width = rectangle
    west, north = CORNER[0] + 10 * column, CORNER[1] - 10 * row
    shape = shapely.box(west, north - 10 * height, west + 10 * width, north)
    return gpd.GeoSeries([shape], crs=32718).to_crs(epsg).iloc[0]


def table(*rectangles, epsg=32718):
    return gpd.GeoDataFrame(geometry=[outline(one, epsg) for one in rectangles], crs=epsg)


BOW_TIE = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
SCARS = table(OLD_SCAR, NEW_SCAR)


# --- units ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scaling",
    [
        Scaling(),
        Scaling(kind="affine", scale=(4.0,) * 3, offset=(-0.5,) * 3, clip=(-1.0, 2.0)),
        Scaling(kind="tile-minmax"),
        Scaling(kind="window-minmax"),
        Scaling(kind="window-max", scale=(1.0, 2.0, 3.0)),
    ],
    ids=lambda scaling: scaling.kind,
)
def test_model_units_are_what_a_run_shows_its_network(scaling):
    rng = np.random.default_rng(0)
    pixels = rng.integers(-500, 9000, (3, 16, 16), dtype=np.int16)
    pixels[1, :2] = CUBE_NODATA
    hidden = rng.random((16, 16)) < 0.2
    runtime = PreparedRuntime(
        network=lambda batch: batch, device=torch.device("cpu"), precision="fp32", name="eager",
        fill=-7.0,
    )  # fmt: skip
    facts = {"observed": observed_pixels(pixels, hidden), "scaling": scaling}
    ranges = np.array([[0.0, 0.8], [0.01, 0.7], [0.1, 0.9]])
    for masked in (None, hidden):
        shown = Inputs.of(
            pixels,
            hidden=masked,
            has_gaps=True,
            window=16,
            runtime=runtime,
            tile_range=ranges,
            **facts,
        ).cut(torch.zeros((1, 2), dtype=torch.int64), 0)[0]
        ours = to_model_units(pixels, hidden=masked, tile_range=ranges, **facts)
        np.testing.assert_array_equal(np.where(np.isnan(ours), np.float32(-7), ours), shown)
        assert np.isnan(ours[1, :2]).all()


def test_codes_of_each_channel_become_its_own_unit():
    codes = np.full((3, 1, 1), 2000, np.int16)
    facts = {"observed": np.ones((1, 1), bool), "bands": ("B04", "slope", "VV")}
    found = to_model_units(codes, Scaling(), **facts)[:, 0, 0]
    np.testing.assert_allclose(found, [0.2, 20, 4], rtol=1e-6)


# --- windows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_windows_hold_every_object_whole_or_cover_it(seed):
    rng = np.random.default_rng(seed)
    shape, window = (200, 170), 32
    tops, lefts = rng.integers(0, (140, 110), (30, 2)).T
    sizes = rng.integers(1, 60, (30, 2))
    boxes = [
        cover.Box(int(top), int(left), int(top + height), int(left + width))
        for top, left, (height, width) in zip(tops, lefts, sizes, strict=True)
    ]
    corners = cover.over(boxes, shape, window)
    assert len(set(corners)) == len(corners)
    assert corners == cover.over(boxes[::-1], shape, window)
    seen = np.zeros(shape, bool)
    for row, column in corners:
        assert 0 <= row <= shape[0] - window
        assert 0 <= column <= shape[1] - window
        seen[row : row + window, column : column + window] = True
    for box in boxes:
        assert seen[box.top : box.bottom, box.left : box.right].all()
        if max(box.bottom - box.top, box.right - box.left) <= window:
            assert any(box.lies_in(corner, window) for corner in corners)


# --- what patches hold --------------------------------------------------------------------------


@pytest.mark.parametrize("composite", ["best", "median"])
def test_pixels_are_those_of_the_runs_own_cube(tmp_path, composite):
    twin = {"time": "2018-02-19T14:37:51Z", "clouds": [(90, 180, 20)], "baseline": "04.00"}
    add_scene(tmp_path, bands=BANDS, **twin)
    _, plan = planned(tmp_path, cube={"composite": composite})
    run = FrozenRun.of(tmp_path / "run")
    tile, planned_tile = run.tiles[0], plan.tiles[0]
    step, planned_step = tile.steps[-1], planned_tile.steps[-1]
    whole = open_step(planned_tile, planned_step, plan.workflow).compute()
    # Odd places, at the tile's corner, under the rim of the cloud.
    for row, column in ((0, 0), (37, 183), (177, 175)):
        part = slice(row, row + 57), slice(column, column + 57)
        pixels, quality = run.read(tile, step, plan.model.bands, part)
        expected = whole["reflectance"].sel(band=list(plan.model.bands)).values[:, *part]
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(quality, whole["quality"].values[part])


def test_a_recipe_scaled_by_tile_gets_the_range_that_a_run_measures(tmp_path, monkeypatch):
    item = json.loads((SHIPPED_FOLDER / "demo.json").read_text(encoding="utf-8"))
    item["properties"]["lspipe:scaling"] = {"kind": "tile-minmax"}
    shutil.copy(SHIPPED_FOLDER / "demo.safetensors", tmp_path)
    (tmp_path / "scaled.json").write_text(json.dumps(item), encoding="utf-8")
    made, plan = planned(tmp_path / "world", model={"item": str(tmp_path / "scaled.json")})
    run, (tile,) = FrozenRun.of(made.run), plan.tiles
    for strip in (1024, 50):
        monkeypatch.setattr(frozen, "_STRIP", strip)
        for step, expected in zip(run.tiles[0].steps, tile.tile_ranges, strict=True):
            found = run.range_of(run.tiles[0], step, plan.model.bands)
            np.testing.assert_array_equal(found, np.float32(expected))
    # Of a run of another model too: what is measured are the scenes.
    other, _ = planned(tmp_path / "other", model={"item": "shipped:demo"})
    samples = chips(other.run, SCARS, model=tmp_path / "scaled.json")
    again = chips(made.run, SCARS)
    image, _ = samples.read(samples.names[0])
    np.testing.assert_array_equal(image, again.read(again.names[0])[0])
    assert 0 <= np.nanmin(image) < np.nanmax(image) <= 1


def test_patches_hold_the_polygons_in_model_units_and_as_many_without(world):
    samples = chips(world.run, SCARS)
    assert samples.recipe.channels == BANDS
    over, others = samples.names[:2], samples.names[2:]
    # Centred: rows 60 to 80 in 64 pixels, and 120 to 150.
    assert over == ("18GYS_20180120T143751_38_34", "18GYS_20180120T143751_103_115")
    assert len(others) == 2
    image, mask = samples.read(over[0])
    assert (image.shape, image.dtype, mask.dtype) == ((6, 64, 64), np.float32, np.uint8)
    expected = np.zeros((64, 64), np.uint8)
    expected[22:42, 26:38] = 1
    np.testing.assert_array_equal(mask, expected)
    # Reflectance 0.14 of the scar's red band, +- 10 %, by the demo's scaling of 4 x - 0.5.
    assert np.abs((image[2][mask == 1] + 0.5) / 4 - 0.14).max() < 0.02
    assert all(samples.read(name)[1].max() in (0, IGNORED) for name in others)
    assert set(samples.regions.values()) == {"18GYS"}


def test_what_was_not_observed_says_nothing(world):
    under = (30, 190, 20, 20)
    samples = chips(world.run, table(under, (70, 190, 5, 5)), window=96, background=0)
    _, mask = samples.read(samples.names[0])
    row, column = map(int, samples.names[0].split("_")[2:])
    assert mask[40 - row, 200 - column] == IGNORED
    assert mask[72 - row, 192 - column] == 1
    assert (mask == 1).sum() < 20 * 20
    before = chips(world.run, table(under), window=96, background=0, date="before")
    assert (before.read(before.names[0])[1] == 1).sum() == 20 * 20


def test_what_a_run_hides_from_its_network_is_hidden_here(tmp_path):
    made, _ = planned(tmp_path, cube={"mask": {"apply": "input"}})
    samples = chips(made.run, table((30, 170, 20, 30)), model="shipped:demo", background=0)
    image, mask = samples.read(samples.names[0])
    assert (mask == IGNORED).any()
    np.testing.assert_array_equal(np.isnan(image).all(0), mask == IGNORED)
    np.testing.assert_array_equal(np.isnan(image).any(0), mask == IGNORED)


def test_every_tile_gives_its_own_patches(tmp_path):
    for time in ("2017-01-15T14:37:51Z", "2018-01-20T14:37:51Z"):
        add_scene(tmp_path, tile="18GYT", time=time, bands=BANDS)
    made, _ = planned(tmp_path, aoi={"tiles": ["18GYS", "18GYT"]})
    north = table(OLD_SCAR).translate(0, 100020)
    polygons = gpd.GeoDataFrame(geometry=[outline(OLD_SCAR), *north], crs=32718)
    samples = chips(made.run, polygons, window=64, model="shipped:demo")
    assert sorted(samples.regions.values()) == ["18GYS"] * 2 + ["18GYT"] * 2
    one, two = (samples.of_regions([tile]) for tile in ("18GYS", "18GYT"))
    assert one.names[0].split("_", 1)[1] == two.names[0].split("_", 1)[1]
    assert (one.read(one.names[0])[0] != two.read(two.names[0])[0]).any()


def test_an_area_from_a_file_is_found_again_and_must_be_the_same(tmp_path):
    area = tmp_path / "area.geojson"
    table((50, 50, 120, 120), epsg=4326).to_file(area)
    made, _ = planned(tmp_path, aoi={"file": "area.geojson"}, model={"item": "shipped:demo"})
    assert len(chips(made.run, table(OLD_SCAR), background=0)) == 1
    area.unlink()
    table((0, 0, 200, 200), epsg=4326).to_file(area)
    with pytest.raises(StoreError, match=r"area\.geojson, has changed since the plan"):
        chips(made.run, table(OLD_SCAR))


def test_the_same_seed_gives_the_same_patches_and_another_does_not(world):
    scar = SCARS.iloc[:1]
    one, two, other = (chips(world.run, scar, window=32, seed=seed) for seed in (3, 3, 4))
    assert one.names == two.names
    assert one.names != other.names
    for a, b in zip(one.arrays(), two.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_polygons_of_another_crs_and_from_a_file_are_the_same_polygons(world, tmp_path):
    table(OLD_SCAR, epsg=4326).to_file(tmp_path / "scars.geojson")
    ours, theirs = (
        chips(world.run, polygons, background=0)
        for polygons in (table(OLD_SCAR), tmp_path / "scars.geojson")
    )
    assert ours.names == theirs.names
    np.testing.assert_array_equal(ours.arrays()[1], theirs.arrays()[1])


def test_both_dates_and_a_large_polygon_give_several_patches(world):
    samples = chips(world.run, table((10, 10, 100, 20)), window=48, background=0, date="both")
    assert [name.split("_")[1][:8] for name in samples.names] == ["20170115"] * 3 + ["20180120"] * 3
    assert len({name.split("_", 2)[2] for name in samples.names}) == 3


def test_bands_that_the_run_did_not_load_get_their_own_offset(world):
    # The later item has an offset of -0.1; B03 is loaded, B05 is not there.
    samples = chips(world.run, SCARS, bands=("B12", "B03"), window=64, background=0)
    image, mask = samples.read(samples.names[1])
    assert np.abs(image[1][mask == 1] - 0.11).max() < 0.02
    with pytest.raises(SamplesError, match=r"B05: not in S2A_18GYS_20180120_0_L2A of tile 18GYS"):
        chips(world.run, SCARS, bands=("B05",), window=64)


def test_a_polygon_smaller_than_a_pixel_never_becomes_no_landslide(world):
    # Between pixel centres, beside a whole scar.
    tiny = shapely.box(*(np.array([1, -3, 3, -1]) + np.tile([CORNER[0] + 800, CORNER[1] - 700], 2)))
    polygons = gpd.GeoDataFrame(geometry=[outline(OLD_SCAR), tiny], crs=32718)
    samples = chips(world.run, polygons, background=0)
    _, mask = samples.read(samples.names[0])
    row, column = map(int, samples.names[0].split("_")[2:])
    assert len(samples) == 1
    assert mask[70 - row, 80 - column] == IGNORED
    assert (mask == IGNORED).sum() == 1


def test_outside_of_the_area_nothing_is_said_and_no_background_drawn(tmp_path):
    corner = table((100, 100, 140, 140), epsg=4326).total_bounds
    made, _ = planned(tmp_path, aoi={"bbox": [float(value) for value in corner]})
    samples = chips(made.run, table(NEW_SCAR), window=64)
    run = FrozenRun.of(made.run)
    inside = run.tiles[0].area[:, :]
    assert 0 < inside.mean() < 0.5
    for name in samples.names:
        row, column = map(int, name.split("_")[2:])
        _, mask = samples.read(name)
        here = inside[row : row + 64, column : column + 64]
        assert (mask[~here] == IGNORED).all()
        assert here.mean() >= 0.5
    with pytest.raises(SamplesError, match=r"1 of 2 polygons lie outside .* \(rows 1, counted"):
        chips(made.run, table(NEW_SCAR, (5, 5, 20, 20)))
    kept = chips(made.run, table(NEW_SCAR, (5, 5, 20, 20)), skip_outside=True)
    assert kept.names == chips(made.run, table(NEW_SCAR)).names


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("polygons", "options", "message"),
    [
        (SCARS.iloc[:0], {}, "found no polygons"),
        (gpd.GeoDataFrame(geometry=list(SCARS.geometry)), {}, "no CRS"),
        (SCARS.assign(geometry=SCARS.centroid), {}, r"no polygon: 2 of 2 rows \(0, 1\)"),
        (
            gpd.GeoDataFrame(geometry=[BOW_TIE], crs=4326),
            {},
            r"invalid geometry \(\['Self-intersection.*1 of 1 rows \(0\)",
        ),
        (table((500, 500, 9, 9)), {}, "1 of 1 polygons lie outside"),
        (table((500, 500, 9, 9)), {"skip_outside": True}, "1 of 1 polygons lie outside"),
        (table((38, 198, 4, 4)), {}, "none of 1 polygons was observed"),
        ("nowhere.gpkg", {}, "nowhere.gpkg: no such file"),
        (SCARS, {"recipe": "morales10"}, "window: missing"),
        (SCARS, {"recipe": "morales10", "window": 32}, "B05, B06, B07, B8A: not in S2A"),
        (SCARS, {"recipe": "l4s14", "window": 32}, "slope, dem: the run knows no terrain"),
        (SCARS, {"recipe": "l4s14", "bands": ("B02",)}, "found recipe and bands"),
        (SCARS, {"bands": ("B02", "B02"), "window": 8}, "each once"),
        (SCARS, {"window": 241}, "window 241 px: expected 1 to 240"),
        (SCARS, {"background": -1}, "background -1: expected 0 or more"),
        (SCARS, {"date": "later"}, "date 'later': expected after, before or both"),
    ],
)  # fmt: skip
def test_what_cannot_be_labelled_is_refused_by_name(world, polygons, options, message):
    with pytest.raises(SamplesError, match=message):
        chips(world.run, polygons, **options)


def test_a_folder_that_is_no_run_or_a_damaged_one_is_refused(world, tmp_path):
    with pytest.raises(StoreError, match="is .* a run directory"):
        chips(tmp_path, SCARS)
    shutil.copytree(world.run, tmp_path / "run")
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    del content["tiles"]["18GYS"]["steps"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"run\.json: not what lspipe writes \(KeyError: 'steps'"):
        chips(tmp_path / "run", SCARS)


def test_a_model_that_has_changed_since_is_refused(world, tmp_path):
    shutil.copytree(world.run, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    content["model"]["item_sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="was made with demo of sha256 000000000000"):
        chips(tmp_path / "run", SCARS)
    # Another item that is named is taken as it is.
    assert len(chips(tmp_path / "run", SCARS, model="shipped:demo", background=0)) == 2


def test_a_run_of_an_earlier_version_says_what_it_lacks(world, tmp_path):
    shutil.copytree(world.run, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    del content["folder"]
    path.write_text(json.dumps(content))
    assert len(chips(tmp_path / "run", SCARS, background=0)) == 2
    content["workflow"]["model"]["item"] = "models/mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(
        ModelError, match="does not record the folder of the model item models/mine.json"
    ):
        chips(tmp_path / "run", SCARS)
