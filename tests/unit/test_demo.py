"""The simulated archive keeps its promises, because the tour of lspipe rests on them."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from pyproj import CRS, Transformer
from scipy import ndimage
from scipy.special import polygamma

from lspipe import catalogs
from lspipe.cli import main
from lspipe.cube.height_file import look_at
from lspipe.demo import WORKFLOWS, workflow_text
from lspipe.demo.archive import NEW, SEED
from lspipe.demo.grid import ANCHORS, EPSG, NORTH, SHAPE, TILES, WEST
from lspipe.demo.landscape import PIXEL_M, noise, simulate, slope_degrees
from lspipe.demo.scene import BANDS, Sky, see
from lspipe.models import read_item
from lspipe.preprocess import radiometry, to_reflectance
from lspipe.runs import listing, store
from lspipe.runs.record import run_json
from lspipe.schema import OPTICAL_BANDS
from lspipe.workflow import Workflow
from tests.stored import store_run

ROOT = Path(__file__).resolve().parents[2]

# Upper-left corners of the real tiles (docs/method.md, Grids and tiles).
MGRS_CORNERS = {"18GYS": (699960, 5200000), "18GYT": (699960, 5300020)}


@pytest.fixture
def archive(demo_archive):
    return demo_archive


def read_items(archive, collection="sentinel-2-l2a"):
    items = {
        path: json.loads(path.read_text()) for path in sorted((archive / "items").glob("*.json"))
    }
    return {path: item for path, item in items.items() if item["collection"] == collection}


def of_tile(items, tile, date):
    """The clear item of a tile on a date."""
    found = [
        (item["properties"]["eo:cloud_cover"], str(path), item)
        for path, item in items.items()
        if item["properties"]["grid:code"] == f"MGRS-{tile}" and item["id"].split("_")[2] >= date
    ]
    if date < "2022":
        found = [entry for entry in found if "_2021" in entry[1]]
    _, path, item = min(found)
    return Path(path), item


def read_band(path, item, band):
    with rasterio.open(path.parent / item["assets"][band]["href"]) as dataset:
        return dataset.read(1)


def reflectance(path, item, band):
    return to_reflectance(read_band(path, item, band), radiometry(item, band)) * 1e-4


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_verb_writes_the_same_bytes_again_and_says_for_machines_where(
    archive, tmp_path, capsys
):
    assert main(["demo", str(tmp_path), "--json"]) == 0
    assert digest(tmp_path) == digest(archive)
    assert json.loads(capsys.readouterr().out) == {
        "archive": str(tmp_path),
        "workflow": str(tmp_path / "demo.yaml"),
    }


def test_the_archive_is_small(archive):
    assert sum(path.stat().st_size for path in archive.rglob("*.*")) < 60e6


@pytest.mark.parametrize(
    ("collection", "count", "assets"),
    [
        ("sentinel-2-l2a", 6, {*BANDS, "SCL"}),
        ("sentinel-2-l1c", 1, set(OPTICAL_BANDS)),
        ("sentinel-1-rtc", 12, {"vv"}),
        ("cop-dem-glo-30", 1, {"data"}),
    ],
)
def test_every_asset_is_the_cog_that_its_item_says(archive, collection, count, assets):
    items = read_items(archive, collection)
    assert len(items) == count
    types = {"SCL": ("uint8", 0), "vv": ("float32", -32768), "data": ("float32", None)}
    for path, item in items.items():
        assert set(item["assets"]) == assets
        for band, asset in item["assets"].items():
            assert not Path(asset["href"]).is_absolute()
            place = item["properties"] | asset
            with rasterio.open(path.parent / asset["href"]) as dataset:
                assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert list(dataset.shape) == place["proj:shape"]
                assert list(dataset.transform)[:6] == place["proj:transform"]
                assert CRS.from_wkt(dataset.crs.to_wkt()).to_2d().to_epsg() == place["proj:epsg"]
                assert (dataset.dtypes[0], dataset.nodata) == types.get(band, ("uint16", 0))


def test_grids_nest_in_those_of_the_real_tiles():
    for cut in TILES:
        (rows, columns), transform = cut.grid(20)
        west, north = MGRS_CORNERS[cut.tile]
        assert ((transform.c - west) % 20, (north - transform.f) % 20) == (0, 0)
        assert west <= transform.c
        assert transform.c + 20 * columns <= west + 109800
        assert north >= transform.f
        assert transform.f - 20 * rows >= north - 109800


def test_mixed_baselines_give_one_reflectance(archive):
    items = read_items(archive)
    before, after = of_tile(items, "18GYS", "2021"), of_tile(items, "18GYS", "2022")
    assert radiometry(before[1], "B04").offset == 0
    assert radiometry(after[1], "B04").offset == -0.1
    change = reflectance(*after, "B04") - reflectance(*before, "B04")
    assert abs(np.median(change)) < 0.01
    raw = read_band(*after, "B04").astype(int) - read_band(*before, "B04")
    assert 900 < np.median(raw) < 1100


def test_both_tiles_see_the_same_in_their_overlap(archive):
    items = read_items(archive)
    north, south = of_tile(items, "18GYT", "2022"), of_tile(items, "18GYS", "2022")
    upper = read_band(*north, "B08")[540:640, 20:700].astype(int)
    lower = read_band(*south, "B08")[:100, :680].astype(int)
    assert 1 < np.std(upper - lower) < 6
    assert np.max(np.abs(upper - lower)) < 30


def test_the_swath_ends_in_one_item_and_its_footprint_says_so(archive):
    missing = {}
    for path, item in read_items(archive).items():
        dark = read_band(path, item, "B02") == 0
        missing[item["id"]] = dark.mean()
        if not dark.any():
            continue
        assert (read_band(path, item, "SCL")[:20, :10] == 0).all()
        centres = rasterio.transform.xy(
            Affine(*item["assets"]["B02"]["proj:transform"]), *np.argwhere(dark)[::97].T
        )
        seen = gpd.GeoSeries([shapely.geometry.shape(item["geometry"])], crs=4326).to_crs(EPSG)
        # 10 m: footprints are straight in degrees, the swath edge in metres.
        assert not shapely.contains_xy(seen.buffer(-10).iloc[0], *centres).any()
    assert sorted(share > 0 for share in missing.values()) == [False] * 5 + [True]
    assert 0.005 < max(missing.values()) < 0.05


def test_the_latest_scene_is_not_the_clearest(archive):
    for tile in ("18GYS", "18GYT"):
        after = {
            item["properties"]["datetime"]: item["properties"]["eo:cloud_cover"]
            for item in read_items(archive).values()
            if item["id"].endswith(tile) and "_2022" in item["id"]
        }
        earlier, later = (after[time] for time in sorted(after))
        assert earlier < 5
        assert later > 20


# --- the ground ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def landscape():
    return simulate(SHAPE, seed=SEED, new=NEW, anchors=ANCHORS)


def test_the_heights_are_those_of_the_landscape_above_the_geoid(archive, landscape):
    header = look_at(str(archive / "dem.tif"), key="terrain.dem", name="dem.tif", unit="auto")
    assert (header.datum, header.datum_name) == ("geoid", "EGM2008 height")
    assert (header.metres, header.is_geographic) == (1.0, True)
    assert np.allclose(np.array(header.transform)[[0, 4]] * 3600, (1, -1))
    # Pixels are centred on whole seconds, as those of Copernicus.
    corner = (np.array(header.transform)[[2, 5]] + np.array([0.5, -0.5]) / 3600) * 3600
    assert corner == pytest.approx(np.rint(corner), abs=1e-4)
    rows, columns = np.mgrid[5 : SHAPE[0] : 37, 5 : SHAPE[1] : 31]
    x, y = WEST + (columns + 0.5) * PIXEL_M, NORTH - (rows + 0.5) * PIXEL_M
    degrees = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(x, y)
    with rasterio.open(archive / "dem.tif") as dem:
        places = zip(*(axis.ravel() for axis in degrees), strict=True)
        heights = np.array([value for (value,) in dem.sample(places)]).reshape(rows.shape)
    apart = heights - landscape.elevation[5::37, 5::31]
    # The next pixel of 31 x 22 m on slopes of 26 degrees; a DEM that is shifted by one is off by
    # far more.
    assert np.abs(np.median(apart)) < 0.5
    assert apart.std() < 5


def test_the_heights_go_on_beyond_both_tiles(archive):
    with rasterio.open(archive / "dem.tif") as dem:
        west, south, east, north = dem.bounds
    for cut in TILES:
        shape, transform = cut.grid(10)
        bounds = rasterio.transform.array_bounds(*shape, transform)
        left, bottom, right, top = rasterio.warp.transform_bounds(EPSG, 4326, *bounds)
        # Ten seconds of arc are 220 m or more.
        assert min(left - west, bottom - south, east - right, north - top) > 9 / 3600


def test_landslides_lie_on_slopes(landscape):
    slope = slope_degrees(landscape.elevation)
    for slide in landscape.slides(1):
        assert np.quantile(slope[slide.window][slide.pixels], 0.9) > 20


# --- radar --------------------------------------------------------------------------------------


def acquisitions(archive):
    """The items of each orbit state, by date (0 before, 1 after), in order of time."""
    found = {}
    for path, item in read_items(archive, "sentinel-1-rtc").items():
        facts = item["properties"]
        date = int(facts["datetime"] >= "2022")
        found.setdefault(facts["sat:orbit_state"], ([], []))[date].append((path, item))
    return {
        state: tuple(
            sorted(side, key=lambda one: one[1]["properties"]["datetime"]) for side in both
        )
        for state, both in found.items()
    }


def power(path, item):
    """Linear power, NaN = no data."""
    pixels = read_band(path, item, "vv")
    return np.where(pixels == -32768, np.nan, pixels)


def decibels(side):
    return 10 * np.log10(np.mean([power(*one) for one in side], axis=0))


def in_radar(item, outline):
    shape, transform = item["properties"]["proj:shape"], item["properties"]["proj:transform"]
    mask = rasterio.features.rasterize([outline], shape, transform=Affine(*transform))
    return mask.astype(bool)


def test_radar_comes_from_two_orbits_on_both_dates(archive):
    found = acquisitions(archive)
    dates = Workflow.from_file(archive / "demo.yaml").dates.ranges()
    assert set(found) == {"ascending", "descending"}
    for sides in found.values():
        assert [len(side) for side in sides] == [3, 3]
        facts = [item["properties"] for side in sides for _, item in side]
        assert len({one["sat:relative_orbit"] for one in facts}) == 1
        assert {(one["platform"], one["sar:instrument_mode"]) for one in facts} == {
            ("SENTINEL-1A", "IW")
        }
        for side, asked in zip(sides, dates.values(), strict=True):
            times = [catalogs.sensing_time(item) for _, item in side]
            assert all(time in asked for time in times)
            assert {(b - a).days for a, b in pairwise(times)} == {12}


def test_radar_pixels_do_not_lie_on_those_of_the_scenes(archive):
    corners = {
        tuple(np.array(item["properties"]["proj:transform"])[[2, 5]] % 10)
        for item in read_items(archive, "sentinel-1-rtc").values()
    }
    assert len(corners) == 2
    assert all(1 < offset < 9 for corner in corners for offset in corner)


def test_radar_is_speckled_linear_power_and_holds_nothing_on_the_steepest_slopes(archive):
    for sides in acquisitions(archive).values():
        one, other = (power(*acquisition) for acquisition in sides[0][:2])
        assert 0.005 < np.isnan(one).mean() < 0.06
        assert 0.08 < np.nanmean(one) < 0.2
        assert np.nanmin(one) > 0
        # Of a gamma variable with n looks, the logarithm of a ratio of two has this deviation.
        ratio = np.log(one / other)
        assert np.nanstd(ratio) == pytest.approx(np.sqrt(2 * polygamma(1, 4.4)), rel=0.03)


def test_radar_sees_each_landslide_and_from_behind_best_the_hidden_one_too(archive):
    steps = {}
    for sides in acquisitions(archive).values():
        change, item = np.subtract(*map(decibels, reversed(sides))), sides[0][0][1]
        # A step of decibels; forest that nobody touched has none.
        assert abs(np.nanmedian(change)) < 0.5
        for number, outline in enumerate(truth_of(archive).geometry):
            inside = change[in_radar(item, outline.buffer(-10))]
            steps.setdefault(number, []).append(np.nanmean(inside))
    assert max(min(both) for both in steps.values()) < -3
    assert np.mean(steps[NEW - 1]) < -3
    # What faces the radar darkens by less.
    assert np.median([max(both) - min(both) for both in steps.values()]) > 2


def test_the_last_landslide_is_under_cloud_on_all_dates_after(archive):
    *_, hidden = truth_of(archive).geometry
    scars = on_tile("18GYT", [hidden])
    for path, item in read_items(archive).items():
        if item["id"].endswith("18GYT"):
            scl = np.kron(read_band(path, item, "SCL"), np.ones((2, 2)))
            share = np.isin(scl[scars], (8, 9, 10)).mean()
            assert share == (1 if "_2022" in item["id"] else 0)


# --- the twin -----------------------------------------------------------------------------------


def test_the_twin_of_level_1c_is_the_scene_through_the_air(archive):
    ((path, twin),) = read_items(archive, "sentinel-2-l1c").items()
    surface = of_tile(read_items(archive), "18GYS", "2022")
    assert catalogs.level(twin) == "L1C"
    assert twin["properties"]["datetime"] == surface[1]["properties"]["datetime"]
    assert radiometry(twin, "B02").offset == -0.1
    for band in ("B02", "B03", "B04", "B08", "B12"):
        above, below = reflectance(path, twin, band), reflectance(*surface, band)
        assert np.corrcoef(above.ravel(), below.ravel())[0, 1] > 0.99
    means = {band: reflectance(path, twin, band).mean() for band in OPTICAL_BANDS}
    # The air adds most light in the blue, and vapour takes nearly all of B10.
    assert means["B01"] > means["B02"] > means["B03"] > means["B04"]
    assert means["B02"] > reflectance(*surface, "B02").mean() + 0.04
    assert 0.0005 < means["B10"] < 0.003


def test_bands_of_60_m_nest_in_the_real_tile_and_cover_the_cut(archive):
    ((path, twin),) = read_items(archive, "sentinel-2-l1c").items()
    (rows, columns), inner = TILES[1].grid(10)
    with rasterio.open(path.parent / twin["assets"]["B01"]["href"]) as dataset:
        grid, bounds = dataset.transform, dataset.bounds
        coarse = dataset.read(1)
    west, north = MGRS_CORNERS["18GYS"]
    assert (grid.a, (grid.c - west) % 60, (north - grid.f) % 60) == (60, 0, 0)
    assert 0 <= inner.c - bounds.left < 60
    assert 0 <= bounds.top - inner.f < 60
    assert 0 <= bounds.right - (inner.c + 10 * columns) < 60
    assert 0 <= (inner.f - 10 * rows) - bounds.bottom < 60
    # The same ground: the fine blue, averaged over those pixels that lie on the cut as a whole.
    above, before = round((grid.f - inner.f) / 10), round((inner.c - grid.c) / 10)
    fine = read_band(path, twin, "B02")[-above % 6 :, -before % 6 :]
    down, across = (length // 6 for length in fine.shape)
    blue = fine[: 6 * down, : 6 * across].reshape(down, 6, across, 6).mean(axis=(1, 3))
    top, left = min(above, 1), min(before, 1)
    same = coarse[top : top + down, left : left + across]
    assert np.corrcoef(same.ravel(), blue.ravel())[0, 1] > 0.98


# --- the scenes ---------------------------------------------------------------------------------


def on_tile(tile, outlines):
    """Mask of outlines on the 10 m grid of a tile."""
    cut = next(cut for cut in TILES if cut.tile == tile)
    shape, transform = cut.grid(10)
    return rasterio.features.rasterize(outlines, shape, transform=transform).astype(bool)


def truth_of(archive):
    return gpd.read_file(archive / "truth.geojson").to_crs(EPSG)


def test_planted_landslides_lose_their_vegetation_between_the_dates(archive):
    items, truth = read_items(archive), truth_of(archive)
    assert 8 <= len(truth) <= 20
    assert (truth.area >= 2000).mean() > 0.8
    assert truth.area.to_numpy() == pytest.approx(truth["area_m2"].to_numpy(), rel=1e-3)
    for tile in ("18GYS", "18GYT"):
        scars = on_tile(tile, truth.geometry.buffer(-5))
        ndvi = []
        for date in ("2021", "2022"):
            path, item = of_tile(items, tile, date)
            red, infrared = (reflectance(path, item, band) for band in ("B04", "B08"))
            clear = np.isin(np.kron(read_band(path, item, "SCL"), np.ones((2, 2))), (4, 5))
            use = scars & clear
            ndvi.append(np.median((infrared[use] - red[use]) / (infrared[use] + red[use])))
        assert ndvi[0] > 0.5
        assert ndvi[1] < 0.35


def test_the_overlap_of_the_tiles_is_put_to_use(archive):
    north, south = (
        shapely.box(*rasterio.transform.array_bounds(*shape, transform))
        for shape, transform in (cut.grid(10) for cut in TILES)
    )
    outlines = truth_of(archive).geometry
    edge = outlines.intersects(north) & ~outlines.within(north.buffer(0.5))
    assert (edge & outlines.intersects(south)).any()
    both = north.intersection(south)
    assert outlines.within(both).any()


def test_one_landslide_is_partly_under_cloud(archive):
    items, truth = read_items(archive), truth_of(archive)
    shares = []
    for outline in truth.geometry:
        for tile in ("18GYS", "18GYT"):
            scar = on_tile(tile, [outline])
            scl = np.kron(read_band(*of_tile(items, tile, "2022"), "SCL"), np.ones((2, 2)))
            if scar.any():
                shares.append(np.isin(scl[scar], (3, 8, 9, 10)).mean())
    assert any(0.1 < share < 0.7 for share in shares)


def test_old_landslides_are_no_news():
    landscape = simulate((360, 400), seed=4, new=5, old=5)
    taken = np.zeros(landscape.elevation.shape, int)
    for slide in landscape.slides(1):
        taken[slide.window] += slide.pixels
    assert len(landscape.new) == len(landscape.old) == 5
    assert landscape.slides(0) == landscape.old
    assert taken.max() == 1
    assert ndimage.label(taken, structure=np.ones((3, 3)))[1] == 10


def test_landslides_run_downhill_and_are_longer_than_wide():
    landscape = simulate((360, 400), seed=4, new=5, old=5)
    drops, elongations = [], []
    for slide in landscape.slides(1):
        heights = landscape.elevation[slide.window][slide.pixels]
        box = shapely.oriented_envelope(shapely.MultiPoint(np.argwhere(slide.pixels)))
        edges = np.hypot(*np.diff(np.array(box.exterior.coords)[:3], axis=0).T)
        # A slope of 7 degrees or more from end to end.
        drops.append((heights.max() - heights.min()) / (edges.max() * PIXEL_M))
        elongations.append(edges.max() / edges.min())
    assert min(drops) > np.tan(np.radians(7))
    assert np.median(elongations) > 2


def test_another_seed_is_another_valley():
    first, second = (simulate((360, 400), seed=seed) for seed in (1, 2))
    assert not np.array_equal(first.elevation, second.elevation)


def test_noise_is_standard_and_smooth():
    field = noise((200, 200), np.random.default_rng(0), scale_px=20, smoothness=2.5)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(np.diff(field, axis=0)).mean() < 0.5


def test_clouds_darken_what_lies_away_from_the_sun():
    landscape = simulate((300, 300), seed=6, new=0, old=0)
    clear = see(landscape, 0, Sky(cloud_share=0), seed=1).bands["B08"]
    # The sun stands in the east: the shadow falls to the west.
    sky = Sky(cloud_share=0, clouds_over=((150, 200, 15),), sun_azimuth=90)
    scene = see(landscape, 0, sky, seed=1)
    difference = scene.bands["B08"] - clear
    assert difference[150, 200] > 0.2
    assert scene.scl[75, 100] == 9
    rows, columns = np.nonzero(scene.scl == 3)
    assert 2 * columns.mean() < 180
    assert 2 * rows.mean() == pytest.approx(150, abs=10)
    assert difference[2 * rows, 2 * columns].mean() < -0.03


def test_the_workflow_of_the_project_is_that_of_the_archive(archive):
    expected = workflow_text()
    expected = expected.replace("catalog: items", "catalog: ../runs/demo-archive/items")
    expected = expected.replace("path: run}", "path: ../runs/demo}")
    expected = expected.replace("truth: truth", "truth: ../runs/demo-archive/truth")
    assert (ROOT / "workflows" / "demo.yaml").read_text() == expected
    for name in WORKFLOWS:
        assert (archive / name).read_text() == workflow_text(name)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_area_of_a_workflow_is_where_its_scenes_lie(archive, name):
    workflow = Workflow.from_file(archive / name)
    items = read_items(archive, workflow.search.collection).values()
    assert set(workflow.aoi.tiles) == {catalogs.mgrs_tile(item) for item in items}
    asked = workflow.dates.ranges().values()
    assert all(any(catalogs.sensing_time(item) in dates for dates in asked) for item in items)


def test_a_list_of_all_that_was_planted_scores_full_marks(archive, tmp_path, capsys):
    truth = gpd.read_file(archive / "truth.geojson").to_crs(EPSG)
    codes = {}
    for cut in TILES:
        shape, grid = cut.grid(10)
        there = rasterio.features.rasterize(truth.geometry, shape, transform=grid).astype(np.uint16)
        codes[cut.tile] = np.stack([there * 0 + 100, there * 8900 + 100])
    # What terrain and radar say is no part of the score, and takes ten seconds.
    asked = yaml.safe_load(workflow_text())
    asked = {key: asked[key] for key in asked if key not in ("terrain", "radar")}
    asked["search"]["catalog"] = str(archive / "items")
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(asked))
    made = store_run(SimpleNamespace(workflow=plain), tmp_path / "run", probability=codes)
    listing.write(made.run, made.plan)
    store.write_json(made.run / "run.json", run_json(made.plan, state="finished"))

    assert (
        main(["evaluate", str(made.run), "--truth", str(archive / "truth.geojson"), "--json"]) == 0
    )
    scores = json.loads(capsys.readouterr().out)
    # Both tiles show what lies in their overlap, and it counts once.
    pixels = scores["pixels"]["counts"]
    assert pixels["true_positive"] == round(truth.union_all().area / 100)
    assert (pixels["false_positive"], pixels["false_negative"]) == (0, 0)
    objects = scores["objects"]
    assert (objects["right"], objects["found"]) == (len(truth), len(truth))
    assert (objects["wrong"], objects["missed"]) == (0, 0)
    assert objects["jaccard_mean"] == pytest.approx(1, abs=1e-3)


def test_the_shipped_model_says_that_it_is_for_the_demo_only():
    item = read_item("shipped:demo")
    assert "demo of lspipe only" in item.description
    assert "Not for real scenes" in item.not_for
    assert item.weights is not None
    assert item.weights.stat().st_size < 10e6
