"""Files that are not stored as Sentinel-2 stores: read rightly, not observed, or refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

from lspipe.cube import loaders
from lspipe.cube.files import declared
from lspipe.cube.loaders import READ_FAILED
from lspipe.cube.spec import CubeSpec
from lspipe.errors import LoadError, UnfitAsset
from tests.scenes import TILES, left_of, make_scene

if TYPE_CHECKING:
    import pystac
    from numpy.typing import NDArray

# rasterio's warper silences this warning of its own in a way that is not safe between threads.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

ASSETS = {"B04": "red", "B11": "swir16", "SCL": "scl"}
HOW = {"B04": "bilinear", "B11": "bilinear", "SCL": "nearest"}
every_loader = pytest.mark.parametrize("name", sorted(loaders.LOADERS))


def grid_of(rows: int = 240, columns: int = 240, *, row: int = 0, column: int = 0) -> GeoBox:
    corner = TILES["18GYS"]
    affine = Affine(10, 0, corner.left + 10 * column, 0, -10, corner.top - 10 * row)
    return GeoBox((rows, columns), affine, f"EPSG:{corner.epsg}")


def opened(name: str, item: pystac.Item, geobox: GeoBox | None = None, **settings: Any) -> Any:
    asked = {
        "assets": ASSETS,
        "chunk": 100,
        "resampling": HOW,
        "on_read_error": "fail",
        **settings,
    }
    assets = asked.pop("assets")
    load = loaders.loader(name)(item, assets, geobox or grid_of(), **asked)
    return load.compute(scheduler="synchronous").to_numpy()


@pytest.fixture
def scene(tmp_path: Path) -> pystac.Item:
    return make_scene(tmp_path, wedge=left_of(61), declare_nodata=False)


def rewrite(item: pystac.Item, key: str, change: Any, **profile: Any) -> None:
    """Write an asset again: `change` of its numbers, `profile` of its file."""
    path = Path(item.assets[key].href)
    with rasterio.open(path) as file:
        numbers, about = file.read(1), file.profile
    changed = change(numbers)
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64, "nodata": None}
    about = {
        "driver": "GTiff", "height": about["height"], "width": about["width"], "count": 1,
        "crs": about["crs"], "transform": about["transform"], **options, **profile,
    }  # fmt: skip
    mask = about.pop("mask", None)
    bands = about["count"]
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", dtype=changed.dtype, **about) as file,
    ):
        file.write(changed, 1)
        if bands == 2:
            file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
            file.write(np.where(numbers == 0, 0, 255).astype(changed.dtype), 2)
        if mask is not None:
            file.write_mask(mask(numbers))


def where_missing(number: int, dtype: str) -> Any:
    return lambda numbers: np.where(numbers == 0, number, numbers.astype(np.int64)).astype(dtype)


# Another way to store the same pixels: (change of the numbers, profile of the file).
EQUAL = {
    "no data is 65535": (where_missing(65535, "uint16"), {"nodata": 65535}),
    "no data is a number that pixels could have": (
        where_missing(3, "uint16"),
        {"nodata": 3},
    ),
    "int16, no data -9999": (where_missing(-9999, "int16"), {"nodata": -9999}),
    "int16, 0 undeclared": (lambda numbers: numbers.astype("int16"), {}),
    "int32, no data -32768": (where_missing(-32768, "int32"), {"nodata": -32768}),
    "uint32": (lambda numbers: numbers.astype("uint32"), {"nodata": 0}),
    "a mask inside the file": (
        where_missing(5000, "uint16"),
        {"mask": lambda numbers: numbers != 0},
    ),
    "an alpha band": (where_missing(5000, "uint16"), {"count": 2}),
    "no data is 65535, and 0 too": (
        lambda numbers: np.where(
            (numbers == 0) & (np.arange(numbers.shape[1]) > 9), 65535, numbers
        ),
        {"nodata": 65535},
    ),
}


@every_loader
@pytest.mark.parametrize("way", EQUAL)
def test_the_same_pixels_stored_otherwise_are_the_same(
    name: str, way: str, scene: pystac.Item
) -> None:
    expected = opened(name, scene)
    change, profile = EQUAL[way]
    for key in ("red", "swir16"):
        rewrite(scene, key, change, **profile)
    np.testing.assert_array_equal(opened(name, scene), expected)
    part = opened(name, scene, grid_of(90, 70, row=33, column=41), chunk=37)
    np.testing.assert_array_equal(part, expected[:, 33:123, 41:111])


@every_loader
@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 255), ("int16", -1), ("uint16", 0), ("int8", -128)]
)
def test_scene_classes_may_be_of_any_integer_and_any_no_data(
    name: str, dtype: str, nodata: int, scene: pystac.Item
) -> None:
    expected = opened(name, scene)
    rewrite(scene, "scl", where_missing(nodata, dtype), nodata=nodata)
    np.testing.assert_array_equal(opened(name, scene), expected)


@every_loader
@pytest.mark.parametrize("number", [32768, 50000, 64500, 65534])
def test_numbers_above_15_bits_are_not_observed_and_nothing_else_changes(
    name: str, number: int, scene: pystac.Item, caplog: pytest.LogCaptureFixture
) -> None:
    expected = opened(name, scene)

    def damaged(numbers: NDArray[np.uint16]) -> NDArray[np.uint16]:
        edge = len(numbers)
        numbers[edge // 4 : edge // 2, edge // 2 : 3 * edge // 4] = number
        return numbers

    rewrite(scene, "red", damaged)
    with caplog.at_level(logging.WARNING):
        found = opened(name, scene)
    assert (found[0, 60:120, 120:180] == READ_FAILED).all()
    found[0, 60:120, 120:180] = expected[0, 60:120, 120:180]
    np.testing.assert_array_equal(found, expected)
    assert "red of S2A_18GYS_20180115_0_L2A" in caplog.text
    assert "hold numbers that Sentinel-2 cannot hold (expected 1 to 32767)" in caplog.text


@every_loader
@pytest.mark.parametrize("number", [32768, 40000])
def test_one_damaged_pixel_of_20_m_does_not_mix_into_its_neighbours(
    name: str, number: int, scene: pystac.Item
) -> None:
    def holed(numbers: NDArray[np.uint16]) -> NDArray[np.uint16]:
        numbers[:] = 1
        numbers[70, 80] = 0
        return numbers

    def damaged(numbers: NDArray[np.uint16]) -> NDArray[np.uint16]:
        numbers[70, 80] = number
        return numbers

    rewrite(scene, "swir16", holed)
    expected = opened(name, scene)[1]
    expected[140:142, 160:162] = READ_FAILED
    rewrite(scene, "swir16", damaged)
    np.testing.assert_array_equal(opened(name, scene)[1], expected)


@every_loader
def test_saturated_and_the_largest_numbers_are_kept(name: str, scene: pystac.Item) -> None:
    def bright(numbers: NDArray[np.uint16]) -> NDArray[np.uint16]:
        numbers[100:110, 100:110] = 65535
        numbers[120:130, 100:110] = 32767
        return numbers

    rewrite(scene, "red", bright)
    found = opened(name, scene)[0]
    assert (found[100:110, 100:110] == 65535).all()
    assert (found[120:130, 100:110] == 32767).all()


@every_loader
def test_negative_numbers_are_not_observed(name: str, scene: pystac.Item) -> None:
    def negative(numbers: NDArray[np.uint16]) -> NDArray[np.int16]:
        signed = numbers.astype(np.int16)
        signed[100:110, 100:110] = -50
        return signed

    expected = opened(name, scene)[0]
    expected[100:110, 100:110] = READ_FAILED
    rewrite(scene, "red", negative)
    np.testing.assert_array_equal(opened(name, scene)[0], expected)


# (change of the numbers, profile of the file, what the error says)
REFUSED = {
    "float32": (lambda n: (n / 1e4).astype("float32"), {}, "file holds float32, expected uint16"),
    "float64": (lambda n: n.astype("float64"), {}, "file holds float64, expected uint16"),
    "complex": (lambda n: n.astype("complex64"), {}, "file holds complex64, expected uint16"),
    "a picture": (lambda n: (n // 100).astype("uint8"), {}, "file holds uint8, a picture"),
    "three bands": (lambda n: n, {"count": 3}, "file has 3 bands, expected one"),
}


@every_loader
@pytest.mark.parametrize("way", REFUSED)
def test_what_is_no_digital_number_is_refused_by_name(
    name: str, way: str, scene: pystac.Item
) -> None:
    change, profile, message = REFUSED[way]
    rewrite(scene, "red", change, **profile)
    with pytest.raises(UnfitAsset, match=f"red of {scene.id}: {message}") as caught:
        opened(name, scene)
    assert "restore the file" not in str(caught.value)
    with pytest.raises(UnfitAsset, match=message):  # before a run is planned
        declared([scene], ("B04", "B11"), grid_of(), CubeSpec())


@every_loader
def test_on_request_a_refused_file_is_not_observed(name: str, scene: pystac.Item) -> None:
    rewrite(scene, "red", *REFUSED["float32"][:1])
    found = opened(name, scene, on_read_error="nodata")
    assert (found[0] == READ_FAILED).all()
    assert (found[1:] != READ_FAILED).all()


def test_headers_of_all_files_are_read_and_those_that_cannot_be_are_left_to_the_block(
    scene: pystac.Item,
) -> None:
    change, profile = EQUAL["int16, no data -9999"]
    rewrite(scene, "red", change, **profile)
    with rasterio.open(scene.assets["swir16"].href, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.scales, file.offsets = (0.0001,), (-0.1,)
    Path(scene.assets["blue"].href).unlink()
    found = declared([scene], ("B02", "B04", "B11", "SCL"), grid_of(), CubeSpec())
    assert {key: header.text() for (_, key), header in found.items()} == {
        "red": "int16, no data -9999",
        "swir16": "uint16, scale 0.0001, offset -0.1",
        "scl": "uint8",
    }


@pytest.mark.parametrize(
    ("damage", "advice"),
    [
        (lambda path: path.unlink(), "restore the file, or set cube.on_read_error: nodata"),
        (lambda path: path.write_bytes(path.read_bytes()[:900]), "restore the file, or set cube"),
    ],
    ids=["missing", "truncated"],
)
def test_a_broken_file_is_to_be_restored(damage: Any, advice: str, scene: pystac.Item) -> None:
    damage(Path(scene.assets["red"].href))
    with pytest.raises(LoadError, match=advice):
        opened("odc", scene)
