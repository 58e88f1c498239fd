"""`search.areas` and `search.grids`: where to look, on which pixels, over the date line too."""

from __future__ import annotations

import json
import pickle
import sqlite3

import geopandas as gpd
import numpy as np
import pyogrio
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
    Area,
    PackedMask,
    area_on_grid,
    bounding_window,
    centres_on_grid,
    footprint,
    near_grid,
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
        ({"bbox": (0, 0, 1, 91)}, "in degrees"),
        (
            {"bbox": (600000, 5200000, 700000, 5300000)},
            "in degrees",
        ),
        ({"bbox": (1, 0, 1, 1)}, "no width"),
        ({"bbox": (0, float("nan"), 1, 1)}, "in degrees"),
        ({"bbox": (0, 0, float("inf"), 1)}, "in degrees"),
        # the numbers in another order than was meant
        ({"bbox": (11, 47, 12, 46)}, r"south < north; exchanged\? then \[11, 46, 12, 47\]"),
        (
            {"bbox": (12, 46, 11, 47)},
            r"east from 12 over the date line to 11, 359 degrees; .*then \[11, 46, 12, 47\]",
        ),
        ({"bbox": (-72, -44, -73, -43)}, r"359 degrees; west and east exchanged\? then \[-73, -44"),
        ({"bbox": (-9, 170, -8, 171)}, r"latitudes first\? then \[170, -9, 171, -8\]"),
        ({"layer": "a"}, "found none"),
        ({"bbox": (0, 0, 1, 1), "layer": "a"}, "found layer 'a' without file"),
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


@pytest.mark.parametrize(
    ("bbox", "width"),
    [((179, -17, -179, -16), 2), ((90, 0, -90, 1), 180), ((-180, 0, 180, 1), 360),
     ((180, 0, -179, 1), 1), ((-100, 0, 100, 1), 200), ((100, 0, -100, 1), 160)],
)  # fmt: skip
def test_a_box_is_as_wide_as_it_says(bbox, width, tmp_path):
    assert read_area(AreaSpec(bbox=bbox), tmp_path).geometry.area == pytest.approx(width)


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


@pytest.fixture
def layered(tmp_path):
    """A GeoPackage of two layers, and a table without geometry as QGIS keeps its styles."""
    polygons("EPSG:4326", box(0, 0, 1, 1)).to_file(tmp_path / "a.gpkg", layer="country")
    polygons("EPSG:4326", box(5, 5, 6, 6)).to_file(tmp_path / "a.gpkg", layer="valley")
    with_styles(tmp_path / "a.gpkg")
    return tmp_path


def with_styles(path):
    table = gpd.pd.DataFrame({"styleName": ["red"]})
    pyogrio.write_dataframe(table, path, layer="layer_styles", append=True)


@pytest.mark.parametrize(("layer", "corner"), [("country", 0), ("valley", 5)])
def test_the_layer_of_a_file_is_the_one_that_is_named(layer, corner, layered):
    area = read_area(AreaSpec(file="a.gpkg", layer=layer), layered)
    assert area.geometry.equals(box(corner, corner, corner + 1, corner + 1))
    assert area.source == f"{layered / 'a.gpkg'}, layer {layer}"


def test_several_layers_are_refused_unless_one_is_named(layered):
    with pytest.raises(
        AreaError, match=r"a\.gpkg: found 2 layers \(country, valley\), expected one"
    ):
        read_area(AreaSpec(file="a.gpkg"), layered)
    for name in ("vallye", "layer_styles"):
        with pytest.raises(AreaError, match=f"no layer '{name}'.*one of country, valley"):
            read_area(AreaSpec(file="a.gpkg", layer=name), layered)


def test_a_table_beside_the_only_layer_is_passed_over(tmp_path):
    polygons("EPSG:4326", box(0, 0, 1, 1)).to_file(tmp_path / "a.gpkg", layer="zone")
    with_styles(tmp_path / "a.gpkg")
    assert read_area(AreaSpec(file="a.gpkg"), tmp_path).geometry.equals(box(0, 0, 1, 1))


def test_a_parquet_file_has_no_layers(tmp_path):
    polygons("EPSG:4326", box(0, 0, 1, 1)).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(AreaError, match=r"a\.parquet: a table of Parquet has no layers"):
        read_area(AreaSpec(file="a.parquet", layer="a"), tmp_path)


@pytest.mark.parametrize("code", [-1, 0])  # what GeoPackage calls undefined, in metres and degrees
def test_a_geopackage_whose_crs_nobody_set_is_refused(code, tmp_path):
    polygons("EPSG:4326", box(0, 0, 1, 1)).to_file(tmp_path / "a.gpkg")
    with sqlite3.connect(tmp_path / "a.gpkg") as database:
        for table in ("gpkg_contents", "gpkg_geometry_columns"):
            database.execute(f"update {table} set srs_id = ?", [code])  # noqa: S608 of this line
    with pytest.raises(AreaError, match=r"a\.gpkg: the file's CRS, 'Undefined .*; expected one"):
        read_area(AreaSpec(file="a.gpkg"), tmp_path)


@pytest.mark.parametrize(
    "crs",
    [
        'LOCAL_CS["Survey grid",UNIT["metre",1]]',
        "EPSG:4978",  # of the centre of the Earth
        'ENGCRS["Site",EDATUM["Site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
        'LENGTHUNIT["metre",1]]',
    ],
)
def test_a_crs_that_is_no_place_on_the_globe_is_refused(crs, tmp_path):
    polygons(crs, box(0, 0, 1, 1)).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(AreaError, match=r"a\.parquet: the file's CRS, .*where on the globe it is"):
        read_area(AreaSpec(file="a.parquet"), tmp_path)


def test_a_shapefile_with_a_survey_grid_is_refused(tmp_path):
    polygons("EPSG:32632", box(0, 0, 1, 1)).to_file(tmp_path / "a.shp")
    (tmp_path / "a.prj").write_text('LOCAL_CS["Survey grid",UNIT["metre",1]]')
    with pytest.raises(AreaError, match=r"a\.shp: the file's CRS, 'Survey grid'"):
        read_area(AreaSpec(file="a.shp"), tmp_path)


def as_wkt(folder, *geometries):
    """A file of geometries of any kind that GDAL knows."""
    rows = "".join(f'{n},"{text}"\n' for n, text in enumerate(geometries))
    (folder / "a.csv").write_text(f"id,WKT\n{rows}")
    (folder / "a.vrt").write_text(
        '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource relativeToVRT="1">a.csv'
        "</SrcDataSource><LayerSRS>EPSG:4326</LayerSRS>"
        '<GeometryField encoding="WKT" field="WKT"/></OGRVRTLayer></OGRVRTDataSource>'
    )
    return AreaSpec(file="a.vrt")


UNIT = "POLYGON((0 0,1 0,1 1,0 1,0 0))"


@pytest.mark.parametrize(
    ("wkt", "expected"),
    [
        ("POLYGON Z((0 0 5,1 0 5,1 1 5,0 1 5,0 0 5))", box(0, 0, 1, 1)),
        ("POLYGON M((0 0 5,1 0 5,1 1 5,0 1 5,0 0 5))", box(0, 0, 1, 1)),
        ("POLYGON ZM((0 0 5 1,1 0 5 1,1 1 5 1,0 1 5 1,0 0 5 1))", box(0, 0, 1, 1)),
        ("MULTISURFACE(((0 0,1 0,1 1,0 1,0 0)))", box(0, 0, 1, 1)),
        (f"GEOMETRYCOLLECTION({UNIT},GEOMETRYCOLLECTION({UNIT}))", box(0, 0, 1, 1)),
        ("CURVEPOLYGON(CIRCULARSTRING(0 0,1 1,2 0,1 -1,0 0))", Point(1, 0).buffer(1, quad_segs=64)),
    ],
)
def test_polygons_of_every_spelling_are_areas(wkt, expected, tmp_path):
    found = read_area(as_wkt(tmp_path, wkt), tmp_path).geometry
    assert not found.has_z
    assert found.symmetric_difference(expected).area < 1e-3 * expected.area


@pytest.mark.parametrize(
    ("wkt", "message"),
    [
        ("POLYHEDRALSURFACE Z(((0 0 5,1 0 6,1 1 5,0 0 5)))", "found PolyhedralSurface"),
        ("TIN Z(((0 0 5,1 0 6,1 1 5,0 0 5)))", "found TIN"),
        ("TRIANGLE((0 0,1 0,1 1,0 0))", "found Triangle"),
        ("GEOMETRYCOLLECTION(POLYGON((0 0,1 0,1 1,0 0)),POINT(1 1))", "found Point"),
        ("MULTIPOINT(1 1,2 2)", "found Point"),
        ("POLYGON((0 0,nan 0,1 1,0 0))", "no finite numbers"),
        ("POLYGON((0 0,1 1,0 0))", "with an area"),
        ("POLYGON((0 0,1e3 0,1 100,0 0))", "is the file's CRS right"),
        ("POLYGON((0 100,1 100,1 101,0 100))", "are latitude and longitude exchanged"),
    ],
)
def test_a_feature_that_is_no_area_is_refused_by_its_number(wkt, message, tmp_path):
    with pytest.raises(AreaError, match=r"a\.vrt: feature 2 of 3: ") as failure:
        read_area(as_wkt(tmp_path, UNIT, wkt, UNIT), tmp_path)
    assert message in str(failure.value)


def test_curves_within_a_collection_are_read_or_refused_by_number(tmp_path):
    curve = "CURVEPOLYGON(CIRCULARSTRING(0 0,1 1,2 0,1 -1,0 0))"
    with pytest.raises(AreaError, match=r"a\.vrt: feature 1 of 1: found "):
        read_area(as_wkt(tmp_path, f"GEOMETRYCOLLECTION({curve})"), tmp_path)


@pytest.mark.filterwarnings("ignore:GeoSeries.notna")  # of old pyogrio, as it writes
def test_features_without_geometry_are_passed_over(tmp_path):
    shapes = [None, box(0, 0, 1, 1), Polygon(), box(1, 0, 2, 1)]
    polygons("EPSG:4326", *shapes).to_file(tmp_path / "a.gpkg")
    assert read_area(AreaSpec(file="a.gpkg"), tmp_path).geometry.equals(box(0, 0, 2, 1))


@pytest.mark.parametrize(
    ("crs", "far"),
    [("EPSG:3857", 1e30), ("EPSG:3857", 2e8), ("EPSG:32632", 1e12), ("EPSG:4326", 1e30)],
)
def test_coordinates_that_no_map_has_are_refused_at_once(crs, far, tmp_path):
    square = Polygon([(0, 0), (far, 0), (far, far), (0, far)])
    polygons(crs, box(0, 0, 1, 1), square).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(AreaError, match=r"a\.parquet: feature 2 of 2: .*is the file's CRS right"):
        read_area(AreaSpec(file="a.parquet"), tmp_path)


def test_a_mended_outline_leaves_no_line_behind(tmp_path):
    spike = Polygon([(0, 0), (1, 0), (1, 1), (5, 1), (1, 1), (0, 1)])
    polygons("EPSG:4326", spike).to_parquet(tmp_path / "a.parquet")
    assert read_area(AreaSpec(file="a.parquet"), tmp_path).geometry.equals(box(0, 0, 1, 1))


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


def test_a_packed_mask_travels_small_and_whole():
    mask = np.zeros((2000, 2001), bool)
    mask[100:900, 3:1700] = True
    sent = pickle.dumps(PackedMask.of(mask))
    assert len(sent) < mask.size / 100
    arrived = pickle.loads(sent)  # noqa: S301  # of our own
    np.testing.assert_array_equal(arrived[:, :], mask)


def test_pixels_by_their_centre_are_as_many_as_the_area_has():
    west, south, _, _ = GRID.extent.boundingbox
    # From behind the middle of a pixel to behind the middle of another.
    corners = west + 106, south + 106, west + 507, south + 307
    shape = gpd.GeoSeries([box(*corners)], crs=GRID.crs.epsg).to_crs(4326).iloc[0]
    area = Area(shape, None, "a box")
    assert np.count_nonzero(centres_on_grid(area, GRID)) == 40 * 20
    assert np.count_nonzero(area_on_grid(area, GRID)) == 41 * 21
    assert (centres_on_grid(area, GRID) <= area_on_grid(area, GRID)).all()
    near = near_grid(Area(shapely.union(shape, box(0, 0, 1, 1)), None, "two"), GRID)
    assert near.geometry.equals(shape)


def test_a_packed_mask_has_no_steps():
    with pytest.raises(ValueError, match="step 2"):
        PackedMask.of(np.ones((4, 4), bool))[:, ::2]
