"""`search.areas` and `search.grids`: where to look, on which pixels, over the date line too."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import Point, Polygon, box

from lspipe import catalogs
from lspipe.errors import AreaError, CatalogError
from lspipe.search.areas import (
    PackedMask,
    area_on_grid,
    bounding_window,
    footprint,
    read_area,
    split_at_date_line,
)
from lspipe.search.grids import grid_of, grid_square, tile_epsg, tile_grid
from lspipe.search.spec import AreaSpec

GRID = GeoBox((80, 120), Affine(10, 0, 600000, 0, -10, 5200020), "EPSG:32632")


# --- what a workflow may say --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({}, "found none, expected exactly one of bbox, file, tiles"),
        ({"bbox": (0, 0, 1, 1), "file": "a.geojson"}, "found bbox and file"),
        ({"bbox": (0, 1, 1, 0)}, "south < north"),
        ({"bbox": (0, 1, 1, 1)}, "south < north"),
        ({"bbox": (0, 0, 1, 91)}, r"bbox\.3: found 91, expected degrees of latitude"),
        (
            {"bbox": (600000, 5200000, 700000, 5300000)},
            "expected degrees of longitude, -180 to 180",
        ),
        ({"bbox": (1, 0, 1, 1)}, "no width"),
        ({"tiles": ()}, r"tiles: found \[\], expected a list, .* 1 or more"),
        ({"tiles": ("18IOS",)}, "'18IOS', expected a Sentinel-2 tile"),
        ({"tiles": ("18GYS", "18GAS")}, "'18GAS', expected a Sentinel-2 tile"),  # no such column
        ({"tiles": ("61GYS",)}, "'61GYS'"),
    ],
)
def test_areas_that_cannot_be_meant_are_refused(given_, message):
    with pytest.raises(ValueError, match=message):
        AreaSpec(**given_)


def test_a_box_is_a_box(tmp_path):
    area = read_area(AreaSpec(bbox=(-72.5, -43.5, -72.25, -43.25)), tmp_path)
    assert area.geometry.equals(box(-72.5, -43.5, -72.25, -43.25))
    assert area.tiles is None
    assert area.source == "bbox [-72.5, -43.5, -72.25, -43.25]"


def test_a_box_over_the_date_line_is_two(tmp_path):
    area = read_area(AreaSpec(bbox=(179.5, -17, -179.5, -16)), tmp_path)
    expected = shapely.union_all([box(179.5, -17, 180, -16), box(-180, -17, -179.5, -16)])
    assert area.geometry.equals(expected)


def test_tiles_are_whole_and_named_once(tmp_path):
    area = read_area(AreaSpec(tiles=("T18GYS", "18GYS", "MGRS-18GXS")), tmp_path)
    assert area.tiles == ("18GYS", "18GXS")
    assert area.geometry.covers(Point(-72.0, -43.8))
    assert area_on_grid(area, tile_grid("18GYS")).all()


def test_facts_are_equal_exactly_when_areas_are(tmp_path):
    facts = [
        read_area(AreaSpec(bbox=bbox), tmp_path).facts()
        for bbox in ((0, 0, 1, 1), (0, 0, 1, 1 + 1e-9), (0, 0, 1, 1.001))
    ]
    assert facts[0] == facts[1] != facts[2]
    assert json.loads(json.dumps(facts[0])) == facts[0]


# --- files --------------------------------------------------------------------------------------


def polygons(crs, *shapes):
    return gpd.GeoDataFrame(geometry=list(shapes), crs=crs)


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.shp", "a.parquet"])
def test_every_common_format_gives_the_same_area(name, tmp_path):
    table = polygons("EPSG:32632", box(600100, 5199300, 600500, 5199900))
    if name == "a.geojson":
        table = table.to_crs("EPSG:4326")
    if name == "a.parquet":
        table.to_parquet(tmp_path / name)
    else:
        table.to_file(tmp_path / name)
    area = read_area(AreaSpec(file=name), tmp_path)
    inside = area_on_grid(area, GRID)
    # 40 x 60 pixels, and whatever a rounded coordinate touches beside them
    assert 40 * 60 <= inside.sum() <= 42 * 62
    assert inside[13:71, 11:49].all()
    assert area.source == str(tmp_path / name)


def test_a_file_without_crs_is_refused(tmp_path):
    polygons(None, box(0, 0, 1, 1)).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(AreaError, match="a.parquet: the file has no CRS; expected one"):
        read_area(AreaSpec(file="a.parquet"), tmp_path)
    polygons("EPSG:32632", box(0, 0, 1, 1)).to_file(tmp_path / "b.shp")
    (tmp_path / "b.prj").unlink()
    with pytest.raises(AreaError, match="b.shp: the file has no CRS"):
        read_area(AreaSpec(file="b.shp"), tmp_path)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "no geometry in 0 features"),
        ([None], "no geometry in 1 features"),
        ([{"type": "Polygon", "coordinates": []}], "no geometry"),
        ([{"type": "Point", "coordinates": [1, 1]}], "found Point; expected polygons"),
        ([{"type": "LineString", "coordinates": [[1, 1], [2, 2]]}], "found LineString"),
        ([{"type": "Polygon", "coordinates": [[[1, 1], [2, 2], [1, 1], [1, 1]]]}], "with an area"),
        # metres in a file that can only hold degrees
        ([{"type": "Polygon", "coordinates": [[[6e5, 5e6], [7e5, 5e6], [6e5, 6e6], [6e5, 5e6]]]}],
         "is the file's CRS right"),
    ],
)  # fmt: skip
def test_a_file_without_polygons_is_refused(features, message, tmp_path):
    collection = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": g} for g in features],
    }
    (tmp_path / "a.geojson").write_text(json.dumps(collection))
    with pytest.raises(AreaError, match="a.geojson: ") as failure:
        read_area(AreaSpec(file="a.geojson"), tmp_path)
    assert message in str(failure.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.geojson", None, "no such file"),
        ("broken.geojson", "{", "cannot be read as polygons"),
        ("broken.parquet", "PAR1", "cannot be read as polygons"),
        ("table.csv", "a,b\n1,2\n", "without geometry"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(AreaError, match=f"{name}: ") as failure:
        read_area(AreaSpec(file=name), tmp_path)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


def test_heights_and_crossed_outlines_are_mended(tmp_path):
    bow = Polygon([(0, 0, 5), (1, 1, 5), (1, 0, 5), (0, 1, 5)])  # crosses itself, with heights
    polygons("EPSG:4326", bow).to_file(tmp_path / "a.gpkg")
    geometry = read_area(AreaSpec(file="a.gpkg"), tmp_path).geometry
    assert geometry.is_valid
    assert not geometry.has_z
    assert geometry.area == pytest.approx(0.5)


# --- the date line ------------------------------------------------------------------------------


def test_an_outline_that_jumps_over_the_date_line_is_split():
    jumping = Polygon([(179, 10), (-179, 10), (-179, 11), (179, 11)])
    expected = shapely.union_all([box(179, 10, 180, 11), box(-180, 10, -179, 11)])
    assert split_at_date_line(jumping).equals(expected)
    assert split_at_date_line(expected).equals(expected)


def test_outlines_beyond_the_date_line_come_back():
    expected = shapely.union_all([box(179, 10, 180, 11), box(-180, 10, -179, 11)])
    assert split_at_date_line(box(179, 10, 181, 11)).equals(expected)
    assert split_at_date_line(box(-181, 10, -179, 11)).equals(expected)
    assert split_at_date_line(box(-180, -90, 180, 90)).equals(box(-180, -90, 180, 90))


@given(st.floats(-180, 180), st.floats(0.1, 20), st.floats(-80, 60))
def test_splitting_keeps_the_ground_and_stays_on_the_globe(west, width, south):
    wide = box(west, south, west + width, south + 5)
    parts = split_at_date_line(wide)
    assert parts.area == pytest.approx(wide.area)
    assert -180 <= parts.bounds[0] <= parts.bounds[2] <= 180


@pytest.mark.parametrize("tile", ["01LAC", "60KZF", "01CCV", "60XWM", "18GYS"])
def test_a_tile_covers_itself_wherever_it_lies(tile, tmp_path):
    """Also where its outline crosses the date line, and far in the north."""
    grid = tile_grid(tile)
    small = GeoBox((200, 300), grid.transform * Affine.translation(5000, 5000), grid.crs)
    whole = footprint(grid)
    assert whole.area < 60  # degrees squared: not the whole globe
    area = read_area(AreaSpec(tiles=(tile,)), tmp_path)
    assert area_on_grid(area, small).all()
    by_outline = type(area)(whole, None, "outline")
    assert area_on_grid(by_outline, small).all()


# --- on a grid ----------------------------------------------------------------------------------


@given(st.data())
def test_every_pixel_the_area_touches_is_inside_and_no_other(data):
    """Parity with exact geometry, for boxes away from pixel edges."""
    rows, columns = GRID.shape
    left = data.draw(st.integers(0, columns - 2)) + data.draw(st.floats(0.1, 0.9))
    right = data.draw(st.floats(left + 0.2, columns + 5))
    top = data.draw(st.integers(0, rows - 2)) + data.draw(st.floats(0.1, 0.9))
    bottom = data.draw(st.floats(top + 0.2, rows + 5))
    corners = [GRID.transform * corner for corner in
               ((left, top), (right, top), (right, bottom), (left, bottom))]  # fmt: skip
    for edge in (right, bottom):  # a rounded coordinate may fall on either side of a pixel edge
        if abs(edge - round(edge)) < 0.01:
            return
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*zip(*corners, strict=True))
    area = type(BOX)(Polygon(zip(lon, lat, strict=True)), None, "test")
    expected = np.zeros(GRID.shape, bool)
    expected[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    np.testing.assert_array_equal(area_on_grid(area, GRID), expected)


BOX = read_area(AreaSpec(bbox=(0, 0, 1, 1)), folder=None)


def test_an_area_smaller_than_a_pixel_is_one_pixel():
    x, y = GRID.transform * (7.5, 9.5)
    lon, lat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(x, y)
    tiny = type(BOX)(Point(lon, lat).buffer(1e-6), None, "tiny")
    assert np.argwhere(area_on_grid(tiny, GRID)).tolist() == [[9, 7]]


def test_an_area_elsewhere_touches_nothing(tmp_path):
    for bbox in ((-100, -40, -99, -39), (170, -40, -170, 40)):
        assert not area_on_grid(read_area(AreaSpec(bbox=bbox), tmp_path), GRID).any()


def test_an_area_of_the_whole_globe_touches_everything(tmp_path):
    globe = read_area(AreaSpec(bbox=(-180, -90, 180, 90)), tmp_path)
    assert area_on_grid(globe, GRID).all()


def test_the_bounding_window_holds_every_true_pixel():
    mask = np.zeros((6, 8), bool)
    assert bounding_window(mask) == (slice(0, 0), slice(0, 0))
    mask[2, 5] = mask[4, 1] = True
    assert bounding_window(mask) == (slice(2, 5), slice(1, 6))


# --- grids --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tile", "epsg", "corner"),
    [
        ("18GYS", 32718, (699960, 5200000)),
        ("22HBD", 32722, (199980, 5900020)),
        ("30VXK", 32630, (600000, 6500040)),
        ("33UUP", 32633, (300000, 5400000)),
        ("01LAC", 32701, (99960, 8300020)),
        ("35XQA", 32635, (699960, 8100000)),
    ],
)
def test_a_tile_name_gives_its_grid(tile, epsg, corner):
    grid = tile_grid(tile)
    assert tile_epsg(tile) == grid.crs.epsg == epsg
    assert grid.transform == Affine(10, 0, corner[0], 0, -10, corner[1])
    assert grid.shape == (10980, 10980)


@pytest.mark.parametrize("tile", ["00GYS", "61GYS", "18IYS", "18GIS", "18GAS", "18GYW"])
def test_tiles_that_do_not_exist_are_refused(tile):
    with pytest.raises(ValueError, match=tile):
        grid_square(tile)


@pytest.mark.real
def test_tile_names_reproduce_every_real_grid(real_data):
    checked = 0
    for path in sorted((real_data / "stac_items").glob("*/*/*.json")):
        content = json.loads(path.read_text())
        bands = catalogs.band_assets(content)
        if not bands or not catalogs.is_sentinel2(content) or "mosaic" in content["id"]:
            continue
        written = grid_of(content)
        assert written == tile_grid(catalogs.mgrs_tile(content)), content["id"]
        checked += 1
    assert checked >= 40


def item(transform=(10, 0, 600000, 0, -10, 5200020), shape=(80, 120), band="B04", **facts):
    asset = {"href": "x", "proj:transform": list(transform), "proj:shape": list(shape)}
    return {
        "id": "X",
        "properties": facts,
        "assets": {band: {k: v for k, v in asset.items() if v}},
        "links": [],
    }


@pytest.mark.parametrize(
    "facts",
    [
        {"proj:epsg": 32632},
        {"proj:code": "EPSG:32632"},
        {"proj:epsg": "EPSG:32632"},
        {"proj:epsg": "32632"},
        {"proj:epsg": 32632.0},
        {"proj:epsg": None, "proj:code": "EPSG:32632"},
        {"grid:code": "MGRS-32TPS"},  # the zone of the tile, where nothing else tells it
    ],
)
def test_the_crs_is_read_however_it_is_written(facts):
    assert grid_of(item(**facts)) == GRID


def test_the_asset_rules_over_the_item():
    content = item(**{"proj:code": "EPSG:32633"})
    content["assets"]["B04"]["proj:code"] = "EPSG:32632"
    assert grid_of(content) == GRID


def test_a_20_m_band_gives_the_same_10_m_grid():
    coarse = item(
        (20, 0, 600000, 0, -20, 5200020, 0, 0, 1), (40, 60), "B11", **{"proj:epsg": 32632}
    )
    assert grid_of(coarse) == GRID


def test_an_item_without_projection_is_a_whole_tile():
    assert grid_of(item((), (), **{"grid:code": "MGRS-18GYS"})) == tile_grid("18GYS")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (item((), ()), "X: no grid: expected proj:transform"),
        (item(), "EPSG:None, expected north-up"),
        (item(**{"proj:epsg": 4326}), "EPSG:4326, expected north-up"),
        (item((30, 0, 0, 0, -30, 0), **{"proj:epsg": 32632}), "pixels of 10, 20 or 60 m"),
        (item((10, 1, 0, 0, -10, 0), **{"proj:epsg": 32632}), "north-up"),
        (item((10, 0, 0, 0, 10, 0), **{"proj:epsg": 32632}), "north-up"),
        (item((), (), **{"grid:code": "MGRS-18GAS"}), "X: found tile '18GAS'"),
    ],
)
def test_a_grid_that_cannot_be_used_is_refused(content, message):
    with pytest.raises(CatalogError, match=message):
        grid_of(content)


@given(st.data())
def test_a_packed_mask_gives_back_every_rectangle(data):
    rows, columns = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 40)))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random((rows, columns)) < 0.5
    top, bottom = sorted(data.draw(st.tuples(*[st.integers(0, rows)] * 2)))
    left, right = sorted(data.draw(st.tuples(*[st.integers(0, columns)] * 2)))
    packed = PackedMask.of(mask)
    part = (slice(top, bottom), slice(left, right))
    assert packed[part].dtype == bool
    np.testing.assert_array_equal(packed[part], mask[part])
    np.testing.assert_array_equal(packed[:, :], mask)
    assert packed.bits.nbytes == rows * -(-columns // 8)


def test_a_packed_mask_has_no_steps():
    with pytest.raises(ValueError, match="step 2"):
        PackedMask.of(np.ones((4, 4), bool))[:, ::2]
