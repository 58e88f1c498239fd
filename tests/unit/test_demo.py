"""The simulated archive keeps its promises, because the tour of lspipe rests on them."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from scipy import ndimage

from lspipe import catalogs
from lspipe.cli import main
from lspipe.demo import workflow_text, write_archive
from lspipe.demo.grid import EPSG, TILES
from lspipe.demo.landscape import PIXEL_M, noise, simulate
from lspipe.demo.scene import BANDS, Sky, see
from lspipe.models import read_item
from lspipe.preprocess import radiometry, to_reflectance
from lspipe.runs import listing, store
from lspipe.runs.record import run_json
from lspipe.workflow import Workflow
from tests.stored import store_run

ROOT = Path(__file__).resolve().parents[2]

# Upper-left corners of the real tiles (docs/method.md, Grids and tiles).
MGRS_CORNERS = {"18GYS": (699960, 5200000), "18GYT": (699960, 5300020)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert write_archive(folder) == folder / "demo.yaml"
    return folder


def read_items(archive):
    return {
        path: json.loads(path.read_text()) for path in sorted((archive / "items").glob("*.json"))
    }


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


def test_every_asset_is_the_cog_that_its_item_says(archive):
    items = read_items(archive)
    assert len(items) == 6
    for path, item in items.items():
        assert set(item["assets"]) == {*BANDS, "SCL"}
        for band, asset in item["assets"].items():
            assert not Path(asset["href"]).is_absolute()
            with rasterio.open(path.parent / asset["href"]) as dataset:
                assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert list(dataset.shape) == asset["proj:shape"]
                assert list(dataset.transform)[:6] == asset["proj:transform"]
                assert dataset.crs.to_epsg() == item["properties"]["proj:epsg"]
                assert dataset.nodata == 0
                assert dataset.dtypes == (("uint8",) if band == "SCL" else ("uint16",))


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
    assert (archive / "demo.yaml").read_text() == workflow_text()


def test_the_area_of_the_workflow_is_both_tiles(archive):
    workflow = Workflow.from_file(archive / "demo.yaml")
    tiles = {catalogs.mgrs_tile(item) for item in read_items(archive).values()}
    assert set(workflow.aoi.tiles) == tiles


def test_a_list_of_all_that_was_planted_scores_full_marks(archive, tmp_path, capsys):
    truth = gpd.read_file(archive / "truth.geojson").to_crs(EPSG)
    codes = {}
    for cut in TILES:
        shape, grid = cut.grid(10)
        there = rasterio.features.rasterize(truth.geometry, shape, transform=grid).astype(np.uint16)
        codes[cut.tile] = np.stack([there * 0 + 100, there * 8900 + 100])
    made = store_run(
        SimpleNamespace(workflow=archive / "demo.yaml"), tmp_path / "run", probability=codes
    )
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
