"""Tables of GeoParquet: read as geopandas reads them, their CRS looked up once."""

from __future__ import annotations

from io import BytesIO

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal

from lspipe.search.parquet import read_geoparquet


def a_table(*, rows=3, crs=4326):
    return gpd.GeoDataFrame(
        {
            "id": pd.array([f"object {n}" for n in range(rows)], "string"),
            "n_px": np.arange(rows, dtype=np.int32),
            "share": np.linspace(0, 1, rows),
            "is_edge": np.arange(rows) % 2 == 0,
            "reviewed": pd.array([None, "true", None][:rows], "string"),
            "when": pd.to_datetime(["2018-01-20T14:37:51Z"] * rows).as_unit("ms"),
            "geometry": [None, shapely.Point(1, 2), shapely.box(3, 4, 5, 6)][:rows],
            "last": ["a", None, "c"][:rows],
        },
        geometry="geometry",
        crs=crs,
    )


def written(table, path, **how):
    table.to_parquet(path, **{"schema_version": "1.1.0", **how})
    return path


@pytest.mark.parametrize("crs", [4326, 32718, "OGC:CRS84", None, "+proj=laea +lat_0=5 +lon_0=7"])
@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("how", [{"index": False}, {"write_covering_bbox": True}])
def test_a_table_is_the_one_that_geopandas_reads(tmp_path, crs, rows, how):
    path = written(a_table(rows=rows, crs=crs), tmp_path / "table.parquet", **how)
    found, expected = read_geoparquet(path), gpd.read_parquet(path)
    assert_geodataframe_equal(found, expected, check_like=False)
    assert found.columns.tolist() == expected.columns.tolist()
    assert found.dtypes.equals(expected.dtypes)
    assert found.crs == expected.crs


def test_attributes_and_the_name_of_the_geometry_are_kept(tmp_path):
    table = a_table().rename_geometry("outline")
    table.attrs = {"credit": "Copernicus"}
    path = written(table, tmp_path / "table.parquet")
    found = read_geoparquet(path)
    assert found.geometry.name == "outline"
    # geopandas 1.0 writes no attributes.
    assert found.attrs == gpd.read_parquet(path).attrs


def test_an_index_is_kept(tmp_path):
    path = written(a_table().set_index("id"), tmp_path / "table.parquet")
    assert_geodataframe_equal(read_geoparquet(path), gpd.read_parquet(path))


def test_a_folder_whose_name_has_an_equals_sign_adds_no_column(tmp_path):
    folder = tmp_path / "year=2018"
    folder.mkdir()
    path = written(a_table(), folder / "table.parquet", index=False)
    assert read_geoparquet(path).columns.tolist() == a_table().columns.tolist()


def test_a_file_that_is_open_is_read(tmp_path):
    path = written(a_table(), tmp_path / "table.parquet")
    opened = BytesIO(path.read_bytes())
    assert_geodataframe_equal(read_geoparquet(opened), gpd.read_parquet(path))


def test_a_crs_goes_by_its_code_and_is_looked_up_once(tmp_path):
    paths = [written(a_table(crs=32718), tmp_path / f"{n}.parquet") for n in range(2)]
    one, other = (read_geoparquet(path).crs for path in paths)
    assert one is other
    assert one.srs == "EPSG:32718"


@pytest.mark.parametrize("crs", ["+proj=utm +zone=18 +south +datum=WGS84", "ESRI:54009"])
def test_a_crs_that_is_not_quite_that_of_a_code_is_kept_as_it_is(tmp_path, crs):
    path = written(a_table(crs=crs), tmp_path / "table.parquet")
    found, expected = read_geoparquet(path).crs, gpd.read_parquet(path).crs
    assert found.is_exact_same(expected)
    assert not found.srs.startswith("EPSG")


@pytest.mark.parametrize("how", ["geoarrow", "two geometries", "without pandas"])
def test_files_of_other_kinds_are_left_to_geopandas(tmp_path, how):
    path = tmp_path / "table.parquet"
    table = a_table().iloc[1:2].reset_index(drop=True)
    if how == "two geometries":
        table["second"] = table.geometry
    written(table, path, **({"geometry_encoding": "geoarrow"} if how == "geoarrow" else {}))
    if how == "without pandas":
        plain = pq.read_table(path)
        facts = {b"geo": plain.schema.metadata[b"geo"]}
        pq.write_table(plain.replace_schema_metadata(facts), path)
    assert_geodataframe_equal(read_geoparquet(path), gpd.read_parquet(path))


def test_a_file_that_is_no_geoparquet_is_refused_as_geopandas_does(tmp_path):
    plain = tmp_path / "plain.parquet"
    pd.DataFrame({"id": [1]}).to_parquet(plain)
    with pytest.raises(ValueError, match="geo metadata"):
        read_geoparquet(plain)
    plain.write_bytes(b"no table")
    with pytest.raises(ValueError, match="Parquet"):
        read_geoparquet(plain)
    with pytest.raises(FileNotFoundError):
        read_geoparquet(tmp_path / "none.parquet")
