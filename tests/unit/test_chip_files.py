"""Chips of a run as files: the round trip gives the same pixels, and faults leave no folder."""

from __future__ import annotations

import csv
import json
from itertools import product

import geopandas as gpd
import h5py
import numpy as np
import pytest
import shapely
import xarray as xr
from affine import Affine

from lspipe.cli import main
from lspipe.errors import SamplesError, UsageError
from lspipe.models.recipes import L4S_DIVISORS, recipe_of
from lspipe.runs.frozen import FrozenRun
from lspipe.runs.prepare import opened, prepare
from lspipe.samples import chip_netcdf
from lspipe.samples.chip_files import write_chips
from lspipe.samples.chips import chips
from lspipe.samples.cut import Patch
from lspipe.samples.folders import open_folder
from lspipe.samples.regions import by_overlap
from lspipe.schema import IGNORED
from lspipe.workflow import Workflow
from tests.backscatter import add_slice
from tests.ground import write_raster
from tests.worlds import make_world

CORNER = 699960, 5200000
"""Upper-left corner of the tile 18GYS."""

SIZE, WINDOW = 160, 32

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")

CLOUD = (40, 120, 8)
"""Row, column, radius of a cloud on the later date."""

SCARS = ((20, 20, 10, 8), (44, 118, 14, 12))
"""Row, column, rows, columns; the second lies partly under the cloud, and not all in the area."""


def boxes(*rectangles, epsg=32718, **columns):
    west, north = CORNER
    shapes = [
        shapely.box(west + 10 * c, north - 10 * (r + h), west + 10 * (c + w), north - 10 * r)
        for r, c, h, w in rectangles
    ]
    return gpd.GeoDataFrame(columns, geometry=shapes, crs=32718).to_crs(epsg)


def write_heights(path):
    rows, columns = np.mgrid[-60 : SIZE + 60, -60 : SIZE + 60] / 20
    heights = (1200 + 80 * np.sin(rows) * np.cos(1.3 * columns)).astype(np.float32)
    corner = Affine(10, 0, CORNER[0] - 600, 0, -10, CORNER[1] + 600)
    write_raster(path, heights, corner, crs=32718)


def write_radar(folder):
    rows, columns = np.mgrid[: SIZE + 60, : SIZE + 60]
    for year, factor in ((2017, 1.0), (2018, 2.0)):
        power = factor * 0.1 * (1 + 0.4 * np.sin(rows / 8) * np.cos(columns / 10))
        for day in ("02", "14", "26"):
            time = f"{year}-01-{day}T10:00:00Z"
            corner = (CORNER[0] - 300, CORNER[1] + 300)
            add_slice(folder, time=time, power=power, crs=32718, corner=corner)


def planned(folder, **sections):
    world = make_world(folder, size=SIZE, **sections)
    with opened(prepare(Workflow.from_file(world.workflow), world.run)):
        return world.run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two dates, heights and radar, planned, tests only read it; its area cuts the second scar."""
    folder = tmp_path_factory.mktemp("world")
    write_heights(folder / "dem.tif")
    write_radar(folder)
    inside = boxes((0, 0, SIZE, 126), epsg=4326).total_bounds
    return planned(
        folder,
        aoi={"bbox": inside.tolist()},
        before={"bands": BANDS},
        after={"bands": BANDS, "clouds": [CLOUD]},
        terrain={"dem": "dem.tif", "datum": "ellipsoid"},
        radar={"collection": "sentinel-1-rtc"},
        model={"item": "shipped:demo"},
    )


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    """The patches of its scars as NetCDF, and what was said of them."""
    folder = tmp_path_factory.mktemp("chips") / "patches"
    outlines = boxes(*SCARS, (500, 500, 5, 5), epsg=4326)
    return write_chips(run, outlines, folder, window=WINDOW, background=0.5)


def placed(file):
    """Tile, row and column of the patch of a file."""
    with xr.open_dataset(file, engine="h5netcdf") as dataset:
        return dataset.attrs["tile"], dataset.attrs["row"], dataset.attrs["column"]


# --- the round trip -----------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["ghorb4:pair", "vega7"])
def test_what_is_read_back_are_the_pixels_and_labels_of_the_run_bit_for_bit(run, written, recipe):
    direct = chips(run, boxes(*SCARS), recipe=recipe, window=WINDOW, background=0)
    places = {tuple(name.rsplit("_", 2)[1:]): name for name in direct.names}
    again = open_folder(written.folder, recipe)
    assert len(again) == written.patches == 3
    compared = 0
    for name in again.names:
        file = written.folder / "s2" / f"18GYS_s2_{name.split('_')[1]}.nc"
        _, row, column = placed(file)
        twin = places.get((str(row), str(column)))
        if twin is None:  # a place without landslides
            assert not (again.read(name)[1] == 1).any()
            continue
        (image, labels), (expected, theirs) = again.read(name), direct.read(twin)
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(labels, theirs)
        compared += 1
    assert compared == 2
    masks = again.arrays()[1]
    assert {0, 1, IGNORED} == set(np.unique(masks))


def test_any_reader_of_netcdf_gets_degrees_metres_and_decibels(written):
    with xr.open_dataset(written.folder / "s2" / "18GYS_s2_1.nc", engine="h5netcdf") as file:
        assert dict(file.sizes) == {"time": 2, "y": WINDOW, "x": WINDOW}
        assert set(BANDS) | {"DEM", "SLOPE", "CURVATURE", "VV", "MASK", "QUALITY"} == set(file)
        assert 900 < float(file["DEM"].min()) < float(file["DEM"].max()) < 1500
        assert 5 < float(file["SLOPE"].mean()) < 40
        assert float((file["VV"][1] - file["VV"][0]).mean()) == pytest.approx(3.01, abs=0.1)
        assert 150 < float(file["B02"].median()) < 250
        assert (float(file["x"][1] - file["x"][0]), file.attrs["crs"]) == (10, "EPSG:32718")
        assert file.attrs["level"] == "L2A"
        image, _ = open_folder(written.folder, "vega7").read("18GYS_1")
        np.testing.assert_allclose(image[3], file["SLOPE"][1] / 90, atol=1e-6)
        np.testing.assert_allclose(image[-1], (file["VV"][1] + 10) / 15, atol=1e-6)


def test_what_became_of_the_inventory_is_said(written):
    assert written.with_landslides == 2
    assert written.outside == 1
    assert written.left_out == 0
    assert written.channels == (*BANDS, "elevation", "slope", "curvature", "VV")
    with (written.folder / "regions.csv").open() as file:
        header, *rows = list(csv.reader(file))
    assert header == ["name", "region"]
    assert len({region for _, region in rows}) == written.regions


@pytest.mark.parametrize("seed", range(5))
def test_windows_that_overlap_even_in_steps_are_of_one_region_and_no_others(run, seed):
    tile = FrozenRun.of(run).tiles[0]
    corners = {
        tuple(each) for each in np.random.default_rng(seed).integers(0, 144, (30, 2)).tolist()
    }
    # Neighbours share an edge and no ground.
    corners |= {(0, 0), (0, 16)}
    patches = [Patch(tile, 1, corner, None) for corner in sorted(corners)]
    found = by_overlap(patches, 16)
    expected = {patch.corner: {patch.corner} for patch in patches}
    for one, other in product(list(expected), repeat=2):
        if max(abs(one[0] - other[0]), abs(one[1] - other[1])) < 16:
            both = expected[one] | expected[other]
            expected |= dict.fromkeys(both, both)
    for one, other in product(patches, repeat=2):
        is_one = other.corner in expected[one.corner]
        assert (found[one.name] == found[other.name]) == is_one


def file_of(folder, name):
    return folder / "s2" / f"18GYS_s2_{name.split('_')[1]}.nc"


# --- Landslide4Sense ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def top_run(tmp_path_factory):
    """A run at the top of the atmosphere, with all channels of Landslide4Sense."""
    folder = tmp_path_factory.mktemp("top")
    write_heights(folder / "dem.tif")
    scene = {
        "bands": recipe_of("l4s14").channels[:12], "collection": "sentinel-2-l1c", "scl": None,
        "properties": {"processing:level": "L1C"},
    }  # fmt: skip
    return planned(
        folder,
        before=scene,
        after=scene,
        search={"catalog": "items", "collection": "sentinel-2-l1c"},
        cube={"mask": {"scl": [], "dilate_px": 0}},
        terrain={"dem": "dem.tif", "datum": "ellipsoid"},
        model={"item": "shipped:l4s-rgb"},
    )


def test_patches_of_landslide4sense_come_back_as_the_same_numbers(top_run, tmp_path):
    written = write_chips(
        top_run, boxes((60, 60, 20, 12)), tmp_path / "a", layout="l4s", background=0
    )
    samples = open_folder(written.folder, "l4s14")
    assert samples.names == ("1",)
    image, mask = samples.read("1")
    direct = chips(top_run, boxes((60, 60, 20, 12)), recipe="l4s14", window=128, background=0)
    expected, labels = direct.read(direct.names[0])
    np.testing.assert_allclose(image, expected, rtol=1e-6)
    np.testing.assert_array_equal(mask, labels)
    row, column = map(int, direct.names[0].rsplit("_", 2)[1:])
    frozen = FrozenRun.of(top_run)
    part = slice(row, row + 128), slice(column, column + 128)
    tile = frozen.tiles[0]
    codes, _ = frozen.read(tile, tile.steps[-1], recipe_of("l4s14").channels, part)
    per_code = np.array([1.0] * 12 + [0.01, 0.5])
    with h5py.File(written.folder / "img" / "image_1.h5") as file:
        assert file["img"].dtype == np.float64
        numbers = file["img"][:] * L4S_DIVISORS / per_code
    np.testing.assert_array_equal(np.rint(np.moveaxis(numbers, -1, 0)).astype(np.int16), codes)


def test_a_patch_with_pixels_of_which_nothing_is_said_is_no_patch_of_landslide4sense(
    top_run, tmp_path
):
    # A polygon between the centres of pixels, beside a whole one.
    west, north = CORNER
    sliver = shapely.box(west + 801, north - 803, west + 803, north - 801)
    whole = boxes((60, 60, 20, 12)).geometry.iloc[0]
    outlines = gpd.GeoDataFrame(geometry=[whole, sliver], crs=32718)
    with pytest.raises(SamplesError, match="no patch with a landslide can be written as l4s"):
        write_chips(top_run, outlines, tmp_path / "a", layout="l4s", background=0)
    assert list(tmp_path.iterdir()) == []


# --- regions of one's own -----------------------------------------------------------------------


def test_a_column_says_the_regions(run, tmp_path):
    outlines = boxes(*SCARS, event=["storm", "quake"])
    written = write_chips(
        run, outlines, tmp_path / "a", window=WINDOW, bands=BANDS[:4], group="event"
    )
    samples = open_folder(written.folder, "ghorb4")
    assert set(samples.regions.values()) == {"storm", "quake"}
    for region in ("storm", "quake"):
        masks = samples.of_regions([region]).arrays()[1]
        assert (masks == 1).any(axis=(1, 2)).sum() == 1
    for name, region in samples.regions.items():
        # Those without landslides are of the nearest: the storm's is to the left.
        _, row, column = placed(file_of(written.folder, name))
        far = [np.hypot(row + 16 - r, column + 16 - c) for r, c in ((25, 24), (51, 124))]
        assert region == ("storm", "quake")[int(np.argmin(far))]


@pytest.mark.parametrize(
    ("events", "scars", "window", "message"),
    [
        (["a", None], SCARS, 32, r"event is empty in 1 of 2 rows \(1\)"),
        (
            ["a", "b"], ((20, 20, 8, 8), (38, 118, 4, 4)), 32,
            "event: no landslide of b was observed, so a fold of it would hold none",
        ),
        (
            ["a", "b"], ((20, 20, 8, 8), (22, 30, 8, 8)), 32,
            r"holds landslides of a and b \(event\)",
        ),
        (
            ["a", "b"], ((20, 20, 4, 4), (20, 30, 4, 4)), 16,
            r"1 pairs of patches overlap .*_14_14 \(a\) and .*_14_24 \(b\)",
        ),
    ],
    ids=["empty", "unseen", "in-one", "overlap"],
)  # fmt: skip
def test_a_column_that_leaves_a_region_without_landslides_or_apart_is_refused(
    run, tmp_path, *, events, scars, window, message
):
    outlines = boxes(*scars, event=events)
    with pytest.raises(SamplesError, match=message):
        write_chips(run, outlines, tmp_path / "a", window=window, bands=["B02"], group="event")
    with pytest.raises(SamplesError, match=r"no column 'valley'; it has event"):
        write_chips(run, outlines, tmp_path / "a", window=window, bands=["B02"], group="valley")
    assert list(tmp_path.iterdir()) == []


# --- what is refused, and what is left ----------------------------------------------------------


def test_what_fails_in_the_middle_leaves_nothing(run, tmp_path, monkeypatch):
    write = chip_netcdf.write

    def fails(draft, cutter, patch, number):
        if number > 1:
            raise SamplesError("a read failed")
        return write(draft, cutter, patch, number)

    monkeypatch.setattr(chip_netcdf, "write", fails)
    with pytest.raises(SamplesError, match="a read failed"):
        write_chips(run, boxes(*SCARS), tmp_path / "a", window=WINDOW, bands=["B02"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_never_written_into(run, tmp_path):
    with pytest.raises(UsageError, match="is there already"):
        write_chips(run, boxes(*SCARS), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "png"}, "layout 'png': expected one of sen12, l4s"),
        ({"layout": "l4s", "window": 64}, "window 64 px: layout l4s has 128"),
        ({"layout": "l4s"}, "lacks B01, B05, B06, B07, B09, B10, which layout l4s has"),
        ({"bands": ["B02", "B05"], "window": 32}, "bands B02, B05: expected some of B02, B03"),
        ({"window": 161}, "window 161 px: expected 1 to 160"),
    ],
)
def test_what_cannot_be_written_is_refused(run, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        write_chips(run, boxes(*SCARS), tmp_path / "a", **options)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_wrote_and_what_comes_next(run, tmp_path, capsys):
    boxes(*SCARS, (500, 500, 5, 5)).to_file(tmp_path / "scars.gpkg")
    words = [str(run), "--labels", str(tmp_path / "scars.gpkg"), "--window", "32"]
    more = ["--bands", "B02,B04", "--background", "0", "--to"]
    assert main(["model", "chips", *words, *more, str(tmp_path / "one")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "2 patches, 2 with landslides" in told
    assert "1 polygon lies outside of the area of the run" in told
    assert "next: lspipe model train --data" in told
    assert main(["model", "chips", *words, *more, str(tmp_path / "two"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outside"] == 1
    files = [sorted((tmp_path / name).rglob("*.*")) for name in ("one", "two")]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    for one, two in zip(*files, strict=True):
        if one.suffix != ".nc":
            assert one.read_bytes() == two.read_bytes()
            continue
        # HDF5 before 2.0 writes the second of the clock into a file.
        with xr.open_dataset(one, engine="h5netcdf") as first, xr.open_dataset(two) as second:
            xr.testing.assert_identical(first, second)
