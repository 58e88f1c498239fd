"""Files of shapes: what is read, what is repaired and counted, what is refused by name."""

from __future__ import annotations

import zipfile

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from lspipe.errors import UsageError
from lspipe.evaluate.shapes import read_shapes
from lspipe.evaluate.truth import read_truth
from tests.properties import examples

SQUARE = shapely.box(10, 20, 10.1, 20.1)
BOW = shapely.Polygon([(10, 20), (10.1, 20.1), (10.1, 20), (10, 20.1)])
POINT = shapely.Point(10, 20)


def table(*shapes, crs=4326):
    return gpd.GeoDataFrame({"n": range(len(shapes))}, geometry=list(shapes), crs=crs)


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.parquet", "a.fgb", "a.kml"])
def test_shapes_of_every_format_lie_where_they_lay(tmp_path, name):
    path = tmp_path / name
    rows = table(SQUARE, SQUARE)
    rows.to_parquet(path) if name.endswith("parquet") else rows.to_file(path)
    shapes = read_shapes(path)
    assert shapes.counts() == {"polygons": 2}
    assert shapes.geometry.crs.to_epsg() == 4326
    assert shapes.geometry.index.tolist() == [1, 2]
    np.testing.assert_allclose(shapes.geometry.total_bounds, SQUARE.bounds)


def test_projected_shapes_become_degrees(tmp_path):
    table(SQUARE).to_crs(32632).to_file(tmp_path / "a.gpkg")
    shapes = read_shapes(tmp_path / "a.gpkg")
    np.testing.assert_allclose(shapes.geometry.total_bounds, SQUARE.bounds, atol=1e-6)


def zipped(folder, name, *files):
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, f"inner/{file.name}")
    return path


def test_shapefiles_by_year_in_a_zip_are_named(tmp_path):
    for year, count in (("2018", 1), ("2019", 2)):
        table(*[SQUARE] * count).to_file(tmp_path / f"{year}.shp")
    path = zipped(tmp_path, "years.zip", *tmp_path.glob("20*"))
    assert read_shapes(path, layer="2019").counts() == {"polygons": 2}
    with pytest.raises(UsageError, match=r"years\.zip: found 2 layers \(201\d, 201\d\).*layer="):
        read_shapes(path)
    with pytest.raises(UsageError, match=r"years\.zip: found 2 layers"):
        read_shapes(path, layer="2020")


def test_a_kmz_holds_all_of_its_folders(tmp_path):
    place = "<Placemark><Point><coordinates>{},20,5</coordinates></Point></Placemark>"
    folders = "".join(f"<Folder><name>f{n}</name>{place.format(n)}</Folder>" for n in (10, 11))
    text = f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{folders}</Document></kml>'
    (tmp_path / "doc.kml").write_text(text)
    shapes = read_shapes(zipped(tmp_path, "known.kmz", tmp_path / "doc.kml"))
    assert shapes.counts() == {"points": 2}
    assert not shapely.has_z(shapes.geometry.to_numpy()).any()


def test_layers_are_named_and_tables_without_geometry_passed_over(tmp_path):
    path = tmp_path / "a.gpkg"
    table(SQUARE).to_file(path, layer="one")
    import pyogrio

    pyogrio.write_dataframe(pd.DataFrame({"style": ["x"]}), path, layer="layer_styles")
    assert read_shapes(path).counts() == {"polygons": 1}
    table(SQUARE, SQUARE).to_file(path, layer="two")
    assert read_shapes(path, layer="two").counts() == {"polygons": 2}
    with pytest.raises(UsageError, match=r"a\.gpkg: found 2 layers \(one, two\), expected one"):
        read_shapes(path)
    with pytest.raises(UsageError, match="found no layer 'three', expected one of one, two"):
        read_shapes(path, layer="three")


def test_what_crosses_itself_is_repaired_and_counted(tmp_path):
    table(SQUARE, BOW, None).to_file(tmp_path / "a.gpkg")
    shapes = read_shapes(tmp_path / "a.gpkg")
    assert (shapes.repaired, shapes.empty, len(shapes.geometry)) == (1, 1, 2)
    assert shapes.geometry.is_valid.all()
    assert shapes.geometry[2].area == pytest.approx(SQUARE.area / 2)


CORNERS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=4, max_size=9, unique=True
)


@examples(20)
@given(CORNERS)
def test_any_ring_becomes_valid_polygons_or_is_refused(tmp_path_factory, corners):
    path = tmp_path_factory.mktemp("ring") / "a.parquet"
    ring = shapely.Polygon(corners)
    table(ring).to_parquet(path)
    area = shapely.make_valid(ring).area
    if area == 0:
        with pytest.raises(UsageError, match=r"1 of 1 polygons have no area \(features 1"):
            read_shapes(path)
        return
    shapes = read_shapes(path)
    found = shapes.geometry.to_numpy()
    assert shapely.is_valid(found).all()
    assert set(shapes.geometry.geom_type) <= {"Polygon", "MultiPolygon"}
    assert shapely.area(found).sum() == pytest.approx(area)
    assert shapes.repaired == (not ring.is_valid)


LINE = shapely.LineString([(10, 20), (11, 21)])
TWO = shapely.GeometryCollection([SQUARE, POINT])
FLAT = shapely.Polygon([(10, 20), (11, 21), (10, 20)])


LOCAL = 'LOCAL_CS["drawing",UNIT["metre",1]]'
PLAIN = "cannot be read as polygons or points"


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(("name", "write", "message"), [
    ("gone.gpkg", lambda _: None, "no such file; expected GeoPackage"),
    ("text.geojson", lambda path: path.write_text("no map"), PLAIN),
    ("broken.zip", lambda path: path.write_text("no zip"), "is the download complete"),
    ("empty.zip", lambda path: zipfile.ZipFile(path, "w").close(), "no file of shapes in it"),
    ("table.csv", lambda path: path.write_text("a,b\n1,2\n"), "table without geometry"),
    ("no.shp", lambda path: table(SQUARE, crs=None).to_file(path), "the file has no CRS; expected"),
    ("local.parquet", lambda path: table(SQUARE, crs=LOCAL).to_parquet(path),
     "CRS, 'drawing', does not say where on the globe"),
    ("none.gpkg", lambda path: table(None, None).to_file(path), "no geometry in 2 features"),
    ("nothing.parquet", lambda path: table().to_parquet(path), "no geometry in 0 features"),
    ("flat.gpkg", lambda path: table(SQUARE, FLAT).to_file(path), "of 2 .* no area .features 2"),
    ("two.gpkg", lambda path: table(TWO).to_file(path), "feature 1: found a GeometryColl.* of"),
    ("far.parquet", lambda path: table(SQUARE, shapely.box(1, 95, 2, 96)).to_parquet(path),
     "feature 2: found bounds .1.0, 95.0, 2.0, 96.0., .* and longitude exchanged"),
    ("nan.parquet", lambda path: table(shapely.Point(np.inf, 1)).to_parquet(path),
     "feature 1: found coordinates that are no finite numbers"),
])  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, name, write, message):
    path = tmp_path / name
    write(path)
    with pytest.raises(UsageError, match=f"{name}: .*{message}"):
        read_shapes(path)


@pytest.mark.parametrize(("shapes", "message"), [
    ([SQUARE, POINT], "found 1 point and 1 polygon, expected one kind"),
    ([LINE], "found 1 line, expected polygons or points"),
    ([SQUARE, LINE], "found 1 line, expected polygons or points"),
])  # fmt: skip
def test_a_truth_is_of_one_kind(tmp_path, shapes, message):
    table(*shapes).to_file(tmp_path / "a.geojson")
    with pytest.raises(UsageError, match=message):
        read_truth(tmp_path / "a.geojson")


def test_a_collection_of_polygons_is_one_polygon_and_points_are_single(tmp_path):
    both = shapely.GeometryCollection([SQUARE, shapely.box(11, 20, 12, 21)])
    table(both).to_file(tmp_path / "a.geojson")
    assert read_truth(tmp_path / "a.geojson").geometry.geom_type.tolist() == ["MultiPolygon"]
    table(shapely.MultiPoint([(10, 20), (11, 20)]), POINT).to_file(tmp_path / "b.geojson")
    points = read_truth(tmp_path / "b.geojson")
    assert points.geometry.index.tolist() == [1, 1, 2]
    assert points.counts() == {"points": 3}
