"""Every format keeps the contract of `lspipe.outputs`."""

from __future__ import annotations

import hashlib
import json
import zipfile
from functools import partial
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import duckdb
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet
import pyogrio
import pytest
import rioxarray  # noqa: F401  # registers the .rio accessor
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lspipe import outputs
from lspipe.change.compare import compare
from lspipe.change.inventory import Provenance, delineate
from lspipe.errors import UsageError
from lspipe.outputs.shapefile import short_names
from lspipe.schema import INVENTORY_COLUMNS
from tests.open_runs import run_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Reader = dict[str, "Callable[[Path], gpd.GeoDataFrame]"]
READERS: Reader = {
    "geojson": gpd.read_file,
    "geoparquet": gpd.read_parquet,
    "gpkg": partial(gpd.read_file, layer="inventory"),
}


def inventory() -> gpd.GeoDataFrame:
    """A new ring with a hole, a corner contact and an old square, in UTM."""
    codes = np.zeros((2, 20, 20), np.uint16)
    codes[1, 2:8, 2:8] = codes[1, 12, 3] = codes[1, 13, 4] = codes[:, 14:18, 14:18] = 9000
    codes[1, 4:6, 4:6] = 0
    axes = {"y": 4_428_465.0 - 10 * np.arange(20), "x": 455_655.0 + 10 * np.arange(20)}
    maps = [xr.DataArray(c, dims=("y", "x"), coords=axes).rio.write_crs(32613) for c in codes]
    who = Provenance(tile="13TDE", date_before="2017-02-01T17:45:31Z", date_after="2018-02-01")
    return delineate(compare(*maps), provenance=who)


@pytest.fixture(params=sorted(READERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_was_written_is_read_back(name: str, tmp_path: Path) -> None:
    table = inventory()
    path = outputs.write(name, run_of(table), tmp_path / outputs.file_of(name))
    found = READERS[name](path)
    assert found.crs.to_epsg() == 4326
    assert list(found.columns.drop("geometry")) == list(table.columns.drop("geometry"))
    assert found["id"].tolist() == table["id"].tolist()
    # Formats for people are rounded to what a number means.
    is_exact = name == "geoparquet"
    np.testing.assert_allclose(found["area_m2"], table["area_m2"], atol=0 if is_exact else 0.5)
    assert pd.to_datetime(found["date_before"], utc=True).tolist() == table["date_before"].tolist()
    assert found["reviewed"].isna().all()
    assert found.geometry.is_valid.all()
    # 7 decimals are 1 cm.
    np.testing.assert_allclose(found.to_crs(32613).area, table.area, rtol=1e-3)


def test_an_empty_inventory_is_written_with_its_columns(name: str, tmp_path: Path) -> None:
    path = tmp_path / outputs.file_of(name)
    outputs.write(name, run_of(inventory().iloc[:0]), path)
    found = READERS[name](path)
    assert len(found) == 0
    if name != "geojson":  # which has no columns without features
        assert set(INVENTORY_COLUMNS) <= set(found.columns)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / outputs.file_of(name)
    path.write_text("old")

    def fail(_run: outputs.Run, path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "resolve", lambda *_args, **_more: fail)
        with pytest.raises(OSError, match="No space left"):
            outputs.write(name, run_of(inventory()), path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"
    outputs.write(name, run_of(inventory()), path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert len(READERS[name](path)) == 3


@pytest.mark.parametrize("format_name", ["geoparquet", "geojson"])
def test_the_same_inventory_gives_the_same_bytes(format_name: str, tmp_path: Path) -> None:
    digests = set()
    for attempt in range(2):
        path = tmp_path / f"{attempt}_{outputs.file_of(format_name)}"
        outputs.write(format_name, run_of(inventory()), path)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_geoparquet_is_version_1_1_with_a_bbox_column(tmp_path: Path) -> None:
    path = outputs.write("geoparquet", run_of(inventory()), tmp_path / "inventory.parquet")
    table = pyarrow.parquet.read_table(path)
    metadata = json.loads(table.schema.metadata[b"geo"])
    column = metadata["columns"]["geometry"]
    assert metadata["version"] == "1.1.0"
    assert column["encoding"] == "WKB"
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 4326}
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    bounds = gpd.read_parquet(path).bounds
    assert [row["xmin"] for row in table["bbox"].to_pylist()] == bounds["minx"].tolist()


def test_geoparquet_opens_in_duckdb_without_an_extension(tmp_path: Path) -> None:
    path = outputs.write("geoparquet", run_of(inventory()), tmp_path / "inventory.parquet")
    offline = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    with duckdb.connect(config=offline) as database:
        rows = database.execute(
            "select status, sum(n_px)::int from read_parquet(?) where bbox.xmin between -180 and 0 "
            "group by status order by status",
            [str(path)],
        ).fetchall()
    assert rows == [("new", 34), ("persistent", 16)]


def test_geojson_follows_rfc_7946(tmp_path: Path) -> None:
    path = outputs.write("geojson", run_of(inventory()), tmp_path / "inventory.geojson")
    found = json.loads(path.read_text())
    assert "crs" not in found
    for feature in found["features"]:
        rings = feature["geometry"]["coordinates"]
        many = rings if feature["geometry"]["type"] == "MultiPolygon" else [rings]
        for polygon in many:
            for ring, is_outer in zip(polygon, [True, *[False] * len(polygon)], strict=False):
                x, y = np.array(ring).T
                doubled = float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))
                assert (doubled > 0) == is_outer
                assert all(round(value, 7) == value for point in ring for value in point)


def test_formats_for_people_begin_with_what_to_look_at_first(name: str, tmp_path: Path) -> None:
    table = inventory().assign(rank=[3, 1, 2])
    path = outputs.write(name, run_of(table), tmp_path / outputs.file_of(name))
    expected = [3, 1, 2] if name == "geoparquet" else [1, 2, 3]
    assert READERS[name](path)["rank"].tolist() == expected


def test_numbers_for_people_have_the_digits_that_they_mean(name: str, tmp_path: Path) -> None:
    table = inventory().assign(area_m2=1234.5678, confidence=0.123456)
    path = outputs.write(name, run_of(table), tmp_path / outputs.file_of(name))
    found = READERS[name](path)[["area_m2", "confidence"]].to_numpy()
    expected = [1234.5678, 0.123456] if name == "geoparquet" else [1235, 0.123]
    np.testing.assert_array_equal(found, [expected] * 3)


def test_a_shapefile_has_short_names_that_it_explains(tmp_path: Path) -> None:
    table = inventory()
    path = outputs.write("shapefile", run_of(table), tmp_path / outputs.file_of("shapefile"))
    found = gpd.read_file(f"/vsizip/{path}/inventory.shp")
    names = short_names(table.columns.drop("geometry"))
    assert list(found.columns.drop("geometry")) == list(names.values())
    assert max(map(len, names.values())) == 10
    assert len(set(names.values())) == len(names)
    assert found["id"].tolist() == table["id"].tolist()
    assert found[names["tile_edge"]].tolist() == table["tile_edge"].astype(int).tolist()
    assert set(found[names["date_before"]]) == {"2017-02-01T17:45:31Z"}
    assert found.crs.to_epsg() == 4326
    np.testing.assert_allclose(found.to_crs(32613).area, table.area, rtol=1e-3)
    with zipfile.ZipFile(path) as archive:
        told = archive.read("columns.txt").decode()
    assert "gain_mean = gain_mean: mean of probability after minus before" in told
    assert len(told.splitlines()) == 1 + len(names)


@given(st.lists(st.text("abcde_", min_size=1, max_size=25), unique=True, max_size=40))
def test_short_names_are_short_and_never_alike(names: list[str]) -> None:
    short = short_names(names)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(0 < len(name) <= 10 for name in short.values())


def test_kml_has_a_folder_per_status_and_a_style_with_its_colour(tmp_path: Path) -> None:
    table = inventory()
    path = outputs.write("kml", run_of(table), tmp_path / outputs.file_of("kml"))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["doc.kml"]
        (tmp_path / "doc.kml").write_bytes(archive.read("doc.kml"))
    layers = dict(zip(*pyogrio.list_layers(tmp_path / "doc.kml").T, strict=True))
    assert set(layers) == {"new (2)", "persistent (1)"}
    found = pd.concat(gpd.read_file(tmp_path / "doc.kml", layer=name) for name in layers)
    areas = sorted(found.geometry.to_crs(32613).area)
    np.testing.assert_allclose(areas, sorted(table.area), rtol=1e-3)
    root = ElementTree.parse(tmp_path / "doc.kml").getroot()
    place = {"kml": "http://www.opengis.net/kml/2.2"}
    ids = [node[0].text for node in root.iterfind(".//kml:Data[@name='id']", place)]
    assert sorted(ids) == sorted(table["id"])
    (colour,) = (
        node.text for node in root.iterfind(".//*[@id='new']/kml:LineStyle/kml:color", place)
    )
    # Opacity, blue, green, red of #d55e00.
    assert colour == "ff005ed5"


def test_text_from_outside_stays_text_in_a_balloon(tmp_path: Path) -> None:
    table = inventory().assign(model_id="<script>alert(1)</script>")
    path = outputs.write("kml", run_of(table), tmp_path / "list.kmz")
    with zipfile.ZipFile(path) as archive:
        root = ElementTree.fromstring(archive.read("doc.kml"))
    balloons = [node.text for node in root.iter("{http://www.opengis.net/kml/2.2}description")]
    assert all("<script>" not in text for text in balloons)
    assert any("&lt;script&gt;" in text for text in balloons)


def test_a_project_opens_what_is_there_by_relative_paths(tmp_path: Path) -> None:
    run = run_of(inventory())
    outputs.write("gpkg", run, tmp_path / "inventory.gpkg")
    outputs.write("qgis", run, tmp_path / "project.qgz")
    with zipfile.ZipFile(tmp_path / "project.qgz") as archive:
        assert archive.namelist() == ["project.qgs"]
        root = ElementTree.fromstring(archive.read("project.qgs"))
    sources = [node.text for node in root.iter("datasource")]
    assert sources == [
        "./inventory.gpkg|layername=inventory|subset=\"status\" <> 'undetermined'",
        "./inventory.gpkg|layername=inventory|subset=\"status\" = 'undetermined'",
        "./inventory.gpkg|layername=unobserved",
    ]  # fmt: skip
    assert str(tmp_path) not in ElementTree.tostring(root, encoding="unicode")


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown output 'excel': expected one of cog"):
        outputs.file_of("excel")
    with pytest.raises(ValueError, match=r"write\.0: found 'excel', expected geoparquet"):
        outputs.OutputSpec(write=("excel",))
    with pytest.raises(ValueError, match="none twice"):
        outputs.OutputSpec(write=("gpkg", "gpkg"))
