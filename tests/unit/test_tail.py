"""A tile whose blocks are done is ended by itself, from the run directory alone."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from geopandas.testing import assert_geodataframe_equal
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from xarray import DataArray

from lspipe.change.compare import compare
from lspipe.change.inventory import delineate
from lspipe.change.unobserved import unobserved
from lspipe.runs import store, tail
from lspipe.runs.seen import Seen
from lspipe.runs.tail_plan import tails_of
from lspipe.schema import CODE_NODATA, Quality
from lspipe.search.areas import PackedMask, footprint
from tests.stored import store_run
from tests.worlds import environment, fingerprints, make_world

SIZE, TILE = 64, "18GYS"
CORNER = (699960, 5200000)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_world(
        tmp_path_factory.mktemp("archive"),
        size=SIZE,
        execution={"block": 40},
        inference={"window": 16, "stride": 8, "tta": "none"},
    )


def maps():
    """A new, an old and a vanished object, and clouds on either date."""
    codes = np.zeros((2, SIZE, SIZE), np.uint16)
    codes[1, 4:8, 4:9] = codes[:, 20:24, 4:8] = codes[0, 20:24, 20:24] = 9000
    quality = np.zeros((2, SIZE, SIZE), np.uint8)
    quality[0, 40:50, 10:30], quality[1, 30:45, 20:40] = Quality.CLOUD, Quality.SHADOW
    quality[1, 30, 20] = Quality.READ_ERROR | Quality.NODATA
    codes[quality != 0] = CODE_NODATA
    return {"probability": codes, "quality": quality}


@pytest.fixture
def made(archive, tmp_path):
    return store_run(archive, tmp_path / "run", **maps())


def files(run):
    ours = (run / store.OBJECTS).iterdir()
    return fingerprints(run) | {path.name: path.read_bytes() for path in ours}


def test_a_tile_has_the_objects_and_gaps_of_its_maps(made):
    (asked,) = tails_of(made.plan).values()
    found = tail.write(made.run, asked)
    assert {path.name for path in (made.run / store.OBJECTS).iterdir()} == {
        f"{TILE}.parquet",
        f"{TILE}.unobserved.parquet",
    }
    codes, quality = maps().values()
    before, after = (DataArray(each, xr_coords(asked.grid.geobox), ("y", "x")) for each in codes)
    expected = delineate(
        compare(before, after),
        provenance=asked.who,
        area=np.ones((SIZE, SIZE), bool),
        layers=Seen(made.run, asked.grid),
    )
    assert sorted(expected["status"]) == ["new", "persistent", "vanished"]
    assert_geodataframe_equal(tail.objects(made.run, TILE), expected)
    gaps = unobserved(
        dict(zip(asked.dates, quality, strict=True)),
        geobox=asked.grid.geobox,
        tile=TILE,
        acquired=asked.acquired,
    )
    assert len(gaps) == 3
    assert_geodataframe_equal(tail.gaps(made.run, TILE), gaps)
    assert found.failed_reads == 1
    seen = np.count_nonzero((codes != CODE_NODATA).all(axis=0)) / SIZE**2
    assert found.counted.seen_m2 / found.counted.wanted_m2 == pytest.approx(seen, rel=1e-5)


def test_a_process_that_has_nothing_but_the_run_directory_writes_the_same_bytes(made, tmp_path):
    (asked,) = tails_of(made.plan).values()
    here = tail.write(made.run, asked)
    expected = files(made.run)
    store_files = [made.run / store.OBJECTS, made.run / store.CHANGE]
    for folder in store_files:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
    script = (
        "import pickle, sys; from pathlib import Path; from lspipe.runs import tail\n"
        "asked = pickle.loads(sys.stdin.buffer.read())\n"
        "sys.stdout.buffer.write(pickle.dumps(tail.write(Path(sys.argv[1]), asked)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(made.run)],
        input=pickle.dumps(asked),
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env=environment(),
    ).stdout
    assert pickle.loads(answer) == here  # noqa: S301  # of our own
    assert files(made.run) == expected


def test_what_is_asked_and_what_is_told_travel_in_a_few_kilobytes(made):
    (asked,) = tails_of(made.plan).values()
    assert len(pickle.dumps(asked)) < 10_000
    assert len(pickle.dumps(tail.write(made.run, asked))) < 1000
    mask = np.zeros((10980, 10980), bool)
    mask[5000:, :3000] = True
    assert len(pickle.dumps(replace(asked, area=PackedMask.of(mask)))) < 200_000


# --- neighbours ---------------------------------------------------------------------------------


def part(asked, name, right, unseen, run):
    """A tile of 40 x 40 pixels of the zone, so many columns to the right, all blocks done."""
    corner = Affine(10, 0, CORNER[0] + 10 * right, 0, -10, CORNER[1])
    grid = replace(asked.grid, tile=name, geobox=GeoBox((40, 40), corner, "EPSG:32718"))
    grid = replace(grid, chunk=16, block=40, blocks=(1, 1))
    store.create(run, [grid], fingerprint="f")
    codes = np.where(unseen, CODE_NODATA, 0).astype(np.uint16)
    for step in range(2):
        # Of the two dates, the later one has the clouds.
        there = codes if step else np.zeros_like(codes)
        bits = np.where(there == CODE_NODATA, Quality.CLOUD, 0).astype(np.uint8)
        store.write_block(
            run, name, step, (0, 0), (slice(0, 40), slice(0, 40)),
            detections={"probability": there, "quality": bits}, evidence={},
        )  # fmt: skip
    return replace(asked, grid=grid)


def test_what_a_later_tile_saw_of_a_place_that_the_first_missed_is_added(made, tmp_path):
    (asked,) = tails_of(made.plan).values()
    run = tmp_path / "two"
    clouds = np.zeros((2, 40, 40), bool)
    # Columns 30 to 40 of the first are 0 to 10 of the second, which saw half of their clouds.
    clouds[0, 5:15, 20:40] = clouds[1, 5:10, :] = True
    first = replace(part(asked, "A", 0, clouds[0], run), later=("B",))
    second = part(asked, "B", 30, clouds[1], run)
    second = replace(second, earlier=(first.grid.geobox,))
    counts = [tail.write(run, each).counted for each in (first, second)]
    pixel = counts[0].wanted_m2 / (40 * 40)
    assert counts[0].missed_m2 == pytest.approx(10 * 20 * pixel, rel=1e-4)
    assert counts[1].wanted_m2 == pytest.approx(40 * 30 * pixel, rel=1e-4)
    assert counts[1].missed_m2 == pytest.approx(5 * 30 * pixel, rel=1e-4)
    both = {"A": first, "B": second}
    assert tail.seen_elsewhere(run, first, both) == pytest.approx(5 * 10 * pixel, rel=1e-4)
    assert tail.seen_elsewhere(run, second, both) == 0


def test_of_an_area_the_pixels_count_whose_centre_is_inside(archive, tmp_path):
    # From the middle of the first pixel to that of the last of 32: 31 columns, and all rows.
    west, north = CORNER
    half = shapely.box(west + 4, north - 10 * SIZE - 50, west + 324, north + 50)
    gpd.GeoSeries([half], crs=32718).to_crs(4326).to_file(archive.folder / "strip.geojson")
    codes = np.zeros((2, SIZE, SIZE), np.uint16)
    bits = np.zeros((2, SIZE, SIZE), np.uint8)
    codes[:, :, 33:], bits[:, :, 33:] = CODE_NODATA, Quality.OUTSIDE
    codes[1, :, :8], bits[1, :, :8] = CODE_NODATA, Quality.CLOUD
    made = store_run(
        archive, tmp_path / "run", "aoi={file: strip.geojson}", probability=codes, quality=bits
    )
    (asked,) = tails_of(made.plan).values()
    assert np.count_nonzero(asked.area[:, :]) == 33 * SIZE
    count = tail.write(made.run, asked).counted
    assert count.seen_m2 / count.wanted_m2 == pytest.approx(24 / 32, rel=1e-5)


def test_overlapping_tiles_of_a_plan_know_each_other(made):
    tile = made.plan.tiles[0]

    def moved(name, right):
        box = tile.grid.geobox
        corner = box.affine * Affine.translation(right, 0)
        grid = replace(tile.grid, tile=name, geobox=GeoBox(box.shape, corner, box.crs))
        return replace(tile, grid=grid)

    tiles = (moved("A", 0), moved("B", SIZE - 4), moved("C", 3 * SIZE))
    found = tails_of(replace(made.plan, tiles=tiles))
    assert [each.later for each in found.values()] == [("B",), (), ()]
    assert found["B"].earlier == (tiles[0].grid.geobox,)
    assert footprint(found["A"].grid.geobox).intersects(footprint(found["B"].grid.geobox))
    assert not found["C"].earlier
