"""Files of roads, lakes and the like become shares of objects, or a named refusal."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from lspipe.change.flag_layers import digests, read_layers, shares
from lspipe.change.flag_spec import FlagLayer, FlagsSpec
from lspipe.errors import WorkflowError

WEST, NORTH = 600_000, 4_400_000
OBJECT = shapely.box(WEST, NORTH - 100, WEST + 100, NORTH)
FAR = shapely.box(WEST + 200, NORTH - 100, WEST + 300, NORTH)
AREA = gpd.GeoSeries([shapely.box(WEST - 500, NORTH - 500, WEST + 500, NORTH + 500)], crs=32633)
IN_DEGREES = AREA.to_crs(4326).iloc[0]


def inventory(*outlines):
    table = gpd.GeoDataFrame({"utm_epsg": 32633}, index=range(len(outlines)), geometry=[*outlines])
    return table.set_crs(32633).to_crs(4326).astype({"utm_epsg": "Int32"})


def write(path, *shapes, crs=32633, layer=None):
    gpd.GeoSeries([*shapes], crs=crs).to_frame("geometry").to_file(path, layer=layer)
    return path


def spec(path, **keys):
    return FlagsSpec(layers=(FlagLayer(name="roads", path=str(path), **keys),))


def share(path, *outlines, folder, **keys):
    layers = read_layers(spec(path, **keys), folder, IN_DEGREES)
    return shares(inventory(*outlines), layers)["roads"].tolist()


ROAD = shapely.LineString([(WEST + 50, NORTH - 400), (WEST + 50, NORTH + 400)])


@pytest.mark.parametrize("crs", [32633, 4326, 3857])
def test_the_share_is_the_part_of_the_area_within_the_buffer(tmp_path, crs) -> None:
    road = gpd.GeoSeries([ROAD], crs=32633).to_crs(crs).iloc[0]
    write(tmp_path / "roads.gpkg", road, crs=crs)
    found = share("roads.gpkg", OBJECT, FAR, folder=tmp_path, buffer_m=20.0)
    # 40 m of 100 m.
    assert found == pytest.approx([0.4, 0], abs=2e-3)


def test_shapes_that_overlap_count_once(tmp_path) -> None:
    half, other = shapely.box(WEST, NORTH - 50, WEST + 100, NORTH), OBJECT.buffer(-25)
    write(
        tmp_path / "fields.geojson", *gpd.GeoSeries([half, other], crs=32633).to_crs(4326), crs=4326
    )
    # The upper half, and of the square of 50 m within what is not in it.
    (found,) = share("fields.geojson", OBJECT, folder=tmp_path)
    assert found == pytest.approx(0.5 + 0.125, abs=1e-4)


def test_a_named_layer_of_a_file_is_read(tmp_path) -> None:
    write(tmp_path / "map.gpkg", OBJECT, layer="lakes")
    write(tmp_path / "map.gpkg", FAR, layer="fields")
    assert share("map.gpkg", OBJECT, FAR, folder=tmp_path, layer="lakes") == pytest.approx([1, 0])
    assert share("map.gpkg", OBJECT, FAR, folder=tmp_path, layer="fields") == pytest.approx([0, 1])
    with pytest.raises(WorkflowError, match=r"flags.layers.0.layer: .*map.gpkg: found 2 layers"):
        share("map.gpkg", folder=tmp_path)
    with pytest.raises(WorkflowError, match=r"no layer 'roads' with shapes, expected one of lakes"):
        share("map.gpkg", folder=tmp_path, layer="roads")


def test_geoparquet_is_read_too(tmp_path) -> None:
    gpd.GeoSeries([OBJECT], crs=32633).to_frame("geometry").to_parquet(tmp_path / "a.parquet")
    assert share("a.parquet", OBJECT, folder=tmp_path) == pytest.approx([1])


def write_raster(path, values, *, epsg=32633, corner=(WEST - 200, NORTH + 200), nodata=None):
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8",
        crs=None if epsg is None else f"EPSG:{epsg}", nodata=nodata,
        transform=Affine(10, 0, corner[0], 0, -10, corner[1]),
    ) as file:  # fmt: skip
        file.write(values, 1)
    return path


def test_of_a_raster_the_pixels_count_that_are_neither_zero_nor_no_data(tmp_path) -> None:
    values = np.zeros((60, 60), np.uint8)
    values[20:30, 20:23], values[20:30, 23:25] = 7, 255
    write_raster(tmp_path / "towns.tif", values, nodata=255)
    # Three columns of ten; the two with no data count for nothing.
    assert share("towns.tif", OBJECT, folder=tmp_path) == pytest.approx([0.3], abs=1e-6)
    assert share("towns.tif", OBJECT, folder=tmp_path, buffer_m=10.0) == pytest.approx(
        [0.4], abs=1e-3
    )


def unwritten(path):
    del path


def not_a_map(path):
    path.write_text("no map", encoding="utf-8")


def without_crs(path):
    write(path, OBJECT, crs=None)


def empty(path):
    write(path)


def elsewhere(path):
    write(path, shapely.box(0, 0, 1, 1), crs=4326)


def lines(path):
    write(path, ROAD)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (unwritten, r"flags.layers.0.path: found .*roads.gpkg, which is no file"),
        (not_a_map, r"flags.layers.0.path: .*roads.gpkg: cannot be read as vectors or as a raster"),
        (without_crs, r"flags.layers.0.path: .*roads.gpkg: has no CRS"),
        (empty, r"flags.layers.0.path: .*roads.gpkg: found no features"),
        (elsewhere, r"flags.layers.0.path: .*roads.gpkg: nothing in it lies in the area"),
        (lines, r"flags.layers.0.buffer_m: found 0 and LineString in .*roads.gpkg"),
    ],
)
def test_a_layer_that_cannot_be_used_is_refused_by_its_key_and_file(tmp_path, make, said) -> None:
    make(tmp_path / "roads.gpkg")
    with pytest.raises(WorkflowError, match=said):
        share("roads.gpkg", folder=tmp_path)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"epsg": None}, r"flags.layers.0.path: .*towns.tif: has no CRS"),
        ({"corner": (700_000, 4_000_000)}, r"towns.tif: nothing in it lies in the area"),
    ],
)
def test_a_raster_that_cannot_be_used_is_refused(tmp_path, keys, said) -> None:
    write_raster(tmp_path / "towns.tif", np.ones((9, 9), np.uint8), **keys)
    with pytest.raises(WorkflowError, match=said):
        share("towns.tif", folder=tmp_path)


def test_a_buffer_reaches_into_the_area_from_outside(tmp_path) -> None:
    write(
        tmp_path / "roads.gpkg", shapely.LineString([(WEST + 700, NORTH - 9), (WEST + 700, NORTH)])
    )
    with pytest.raises(WorkflowError, match="nothing in it lies in the area"):
        share("roads.gpkg", folder=tmp_path, buffer_m=100.0)
    at_edge = shapely.box(WEST + 490, NORTH - 100, WEST + 500, NORTH)
    assert share("roads.gpkg", at_edge, folder=tmp_path, buffer_m=300.0)[0] > 0.9


def test_a_file_that_changed_has_another_digest(tmp_path) -> None:
    write(tmp_path / "roads.gpkg", ROAD)
    one = digests(spec("roads.gpkg"), tmp_path)
    assert digests(spec("roads.gpkg"), tmp_path) == one
    write(tmp_path / "roads.gpkg", ROAD, OBJECT)
    assert digests(spec("roads.gpkg"), tmp_path)["roads"] != one["roads"]
