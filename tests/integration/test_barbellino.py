"""Every band of a real product with its scene classes, on a tile smaller than the window.

Lake Barbellino, Alps: Sentinel-2 L2A of 2017-07-03 (with clouds) and 2019-07-23 (clear), 42 x 24
pixels in EPSG:32632, cut out of T32TNS. The files do not name their bands; each one's own pixel
size, which shows through at 10 m, does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # adds .rio
import xarray as xr
import yaml
from scipy import ndimage

import lspipe
from lspipe.catalogs import NATIVE_RESOLUTION
from lspipe.runs import store
from lspipe.schema import CODE_NODATA, Quality, quantise
from lspipe.workflow import Workflow
from tests.real_scenes import COLLECTION, write_scene
from tests.stored import IN_THIS_PROCESS

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.runs.summary import Summary

pytestmark = pytest.mark.real

TILE = "32TNS"
DAYS = ("20170703", "20190723")
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12")
"""Order of the products, without B10 (never in L2A) and without B8A."""

MASKED = (0, 1, 3, 8, 9, 10, 11)
"""Scene classes that are masked unless the workflow says otherwise."""


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


def read(folder: Path, day: str, what: str) -> np.ndarray:
    with rasterio.open(folder / f"S2A2A_{day}_022_Barbellino_{what}_10.tif") as file:
        assert file.crs.to_epsg() == 32632
        return file.read()


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "s2_pair_barbellino"


@pytest.fixture(scope="module")
def corner(folder: Path):
    with rasterio.open(folder / f"S2A2A_{DAYS[0]}_022_Barbellino_BOA_10.tif") as file:
        return file.transform


def edges_of_pixels(band: np.ndarray, axis: int) -> set[int]:
    """Rows (axis 0) or columns at which anything changes: the borders of the band's own pixels."""
    return set(
        (np.flatnonzero(np.diff(band.astype(int), axis=axis).any(axis=1 - axis)) + 1).tolist()
    )


def test_the_order_of_the_bands_is_told_by_their_own_pixel_size(folder) -> None:
    first = read(folder, DAYS[0], "BOA")
    assert len(first) == len(BANDS)
    for band, name in zip(first, BANDS, strict=True):
        size = NATIVE_RESOLUTION[name] // 10
        for axis in (0, 1):
            borders = edges_of_pixels(band, axis)
            # B08 has pixels of 10 m, so the eighth band is not B8A.
            assert {border % size for border in borders} == {min(borders) % size}, name
            assert len(borders) >= (band.shape[axis] - 1) // size, name


def write_archive(archive: Path, folder: Path, corner) -> list[str]:
    """Write both scenes, bands of 20 m at 20 m; what is 60 m fits that grid too."""
    names = []
    for day, baseline in zip(DAYS, ("02.05", "02.08"), strict=True):
        layers = dict(zip(BANDS, read(folder, day, "BOA"), strict=True))
        for name, layer in layers.items():
            if NATIVE_RESOLUTION[name] > 10:
                coarse = layer[::2, ::2]
                np.testing.assert_array_equal(np.kron(coarse, np.ones((2, 2), int)), layer)
                layers[name] = coarse
        layers["SCL"] = read(folder, day, "SCL")[0]
        names.append(
            write_scene(
                archive,
                tile=TILE,
                time=f"{day[:4]}-{day[4:6]}-{day[6:]}T10:10:00Z",
                baseline=baseline,
                bands=layers,
                corner=corner,
                epsg=32632,
            )
        )
    return names


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, folder: Path, corner, cluster: dict[str, str]
) -> tuple[Path, Summary]:
    """A finished run of the shipped model on both dates; tests only read it."""
    archive = tmp_path_factory.mktemp("barbellino")
    write_archive(archive, folder, corner)
    content = {
        "name": "barbellino",
        "aoi": {"tiles": [TILE]},
        "dates": {
            "before": {"start": "2017-07-01", "end": "2017-07-31"},
            "after": {"start": "2019-07-01", "end": "2019-07-31"},
        },
        "search": {"catalog": "items", "collection": COLLECTION},
        # Nearest, so that a pixel of 20 m has one value, and the expected map is a plain formula.
        "cube": {"resampling": "nearest"},
        "model": {"item": "shipped:bare-ground"},
        "inference": {"window": 64, "stride": 16, "tta": "d4"},
        "change": {"min_area_m2": 0},
        "output": {"path": "run", "write": ["geoparquet"]},
        "cluster": cluster,
        "execution": {"retries": 0},
    }
    (archive / "workflow.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return archive / "run", lspipe.run(Workflow.from_file(archive / "workflow.yaml"))


def masked_by_classes(scl: np.ndarray) -> np.ndarray:
    """Mask at 10 m: the masked classes, and 3 pixels around cloud and shadow."""
    fine = np.kron(scl, np.ones((2, 2), np.uint8))
    reach = ndimage.binary_dilation(np.isin(fine, (3, 8, 9, 10)), np.ones((7, 7)))
    return np.isin(fine, MASKED) | reach


def bare_ground(scene: dict[str, np.ndarray]) -> np.ndarray:
    """Return the documented formula of `shipped:bare-ground` on digital numbers without offset."""
    blue, red, near, short = (
        scene[b].astype(np.float64) * 1e-4 for b in ("B02", "B04", "B08", "B11")
    )
    # Below 0.02 there is no light to make an index of (bare_ground.py).
    ndvi = ((near - red) / np.maximum(near + red, 0.02)).clip(min=0)
    total = np.maximum(short + red + near + blue, 0.02)
    bsi = ((short + red) - (near + blue)) / total
    return 1 / (1 + np.exp(-(-1 + 30 * bsi - 6 * ndvi)))


def test_a_tile_smaller_than_the_window_is_done(finished, corner) -> None:
    run, summary = finished
    assert (summary.state, summary.exit_code) == ("finished", 0)
    assert (summary.total, summary.done) == (2, 2)
    with xr.open_dataset(
        run / "detections.zarr",
        group=TILE,
        engine="zarr",
        consolidated=False,
        decode_coords="all",
    ) as maps:
        assert maps.rio.crs.to_epsg() == 32632
        assert maps.rio.transform() == corner
        assert maps["probability"].shape == (2, 42, 24)
    assert set(gpd.read_parquet(run / "inventory.parquet")["utm_epsg"]) == {32632}


def test_scene_classes_mask_the_clouds_of_one_date_only(finished, folder) -> None:
    run, summary = finished
    stored = store.read(run, store.DETECTIONS, TILE, "probability")
    quality = store.read(run, store.DETECTIONS, TILE, "quality")
    seen = []
    for codes, bits, day in zip(stored, quality, DAYS, strict=True):
        expected = masked_by_classes(read(folder, day, "SCL")[0])
        np.testing.assert_array_equal(codes == CODE_NODATA, expected)
        np.testing.assert_array_equal(bits != 0, expected)
        seen.append(~expected)
    assert seen[1].all()
    assert 0.2 < (~seen[0]).mean() < 0.9
    assert {int(b) for b in np.unique(quality[0])} == {0, Quality.CLOUD, Quality.DILATED}
    # Of true area, over which the scale of UTM changes by less than this.
    assert summary.observed_share == pytest.approx((seen[0] & seen[1]).mean(), rel=1e-4)
    gaps = gpd.read_parquet(run / "unobserved.parquet")
    assert set(gaps["date"]) == {"before"}
    assert set(gaps["reason"]) == {"cloud", "dilated"}
    assert gaps.to_crs(32632).area.sum() == pytest.approx(100 * (~seen[0]).sum(), rel=1e-3)


def test_every_observed_pixel_is_the_formula_of_its_own_bands(finished, folder) -> None:
    run, _ = finished
    stored = store.read(run, store.DETECTIONS, TILE, "probability")
    for codes, day in zip(stored, DAYS, strict=True):
        scene = dict(zip(BANDS, read(folder, day, "BOA"), strict=True))
        expected = quantise(bare_ground(scene).astype(np.float32))
        observed = codes != CODE_NODATA
        difference = np.abs(codes[observed].astype(int) - expected[observed])
        assert difference.max() <= 1
        assert expected[observed].std() > 100


def test_the_dates_and_offsets_are_those_of_the_products(finished) -> None:
    run, _ = finished
    content = json.loads((run / "run.json").read_text(encoding="utf-8"))
    decided = content["tiles"][TILE]["radiometry"]
    assert {entry["offset"] for entry in decided} == {0}
    assert {entry["reason"].split(" from")[0] for entry in decided} == {
        "baseline 02.05",
        "baseline 02.08",
    }
    # The model's bands, and green for the picture beside a detection.
    assert {entry["asset"] for entry in decided} == {"B02", "B03", "B04", "B08", "B11"}
    acquired = store.read(run, store.EVIDENCE, TILE, "acquired")
    days = acquired.astype("datetime64[D]")
    assert [{str(day) for day in np.unique(layer)} for layer in days] == [
        {"2017-07-03"},
        {"2019-07-23"},
    ]
