"""What a file says of a list means the same in every format, and what is odd is named."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

from lspipe.change.decisions import answer_of, decisions_in, read_decisions
from lspipe.errors import DecisionsError

MEANINGS = {
    "true": (True, np.True_, 1, 1.0, np.int64(1), "true", " TRUE ", "True", "yes", "1"),
    "false": (False, np.False_, 0, 0.0, np.float64(0), "false", "False\n", "No", "0"),
    "unsure": ("unsure", "UNSURE "),
    None: (None, "", "  ", float("nan"), pd.NA, np.float32("nan"), "NULL", "nan"),
}


@pytest.mark.parametrize(
    ("value", "meaning"), [(value, key) for key, values in MEANINGS.items() for value in values]
)
def test_a_value_means_what_the_table_says(value, meaning):
    assert answer_of(value) == meaning


@pytest.mark.parametrize("value", ["maybe", "truefalse", 2, -1, 0.5, [True], {"a": 1}, b"true"])
def test_any_other_value_means_nothing(value):
    with pytest.raises(ValueError, match='expected true, false, "unsure" or null'):
        answer_of(value)


def table(**columns) -> gpd.GeoDataFrame:
    rows = len(next(iter(columns.values())))
    outlines = [shapely.box(number, 0, number + 1, 1) for number in range(rows)]
    return gpd.GeoDataFrame(columns, geometry=outlines, crs=4326)


def decided(found):
    rows = found.rows
    return {
        name: None if pd.isna(answer) else answer
        for name, answer in zip(rows["id"], rows["decision"], strict=True)
    }


def write(rows: gpd.GeoDataFrame, path):
    if path.suffix == ".parquet":
        rows.to_parquet(path)
    else:
        pyogrio.write_dataframe(rows, path)
    return path


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".json", ".parquet"])
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["true", "FALSE", "unsure", None], ["true", "false", "unsure", None]),
        ([True, False, True, False], ["true", "false", "true", "false"]),
        ([1, 0, 0, 1], ["true", "false", "false", "true"]),
        ([1.0, 0.0, np.nan, np.nan], ["true", "false", None, None]),
        ([None, None, None, None], [None] * 4),
    ],
    ids=["text", "booleans", "integers", "gaps", "nothing"],
)
def test_every_format_and_type_of_column_says_the_same(tmp_path, suffix, given, meant):
    rows = table(id=list("abcd"), reviewed=given)
    if given == [None] * 4:
        rows["reviewed"] = rows["reviewed"].astype("string")
    path = tmp_path / f"list{suffix}"
    if suffix == ".json":
        write(rows, tmp_path / "list.geojson").rename(path)
    else:
        write(rows, path)
    found = read_decisions(path).checked()
    assert decided(found) == dict(zip("abcd", meant, strict=True))
    assert found.rows.crs.to_epsg() == 4326
    assert shapely.equals(found.rows.geometry.to_numpy(), rows.geometry.to_numpy()).all()


def test_json_may_hold_booleans_and_words_together(tmp_path):
    features = [
        {"geometry": None, "properties": {"id": name, "reviewed": value}}
        for name, value in zip("abcd", (True, "unsure", 0, None), strict=True)
    ]
    path = tmp_path / "list.geojson"
    path.write_text(json.dumps({"features": features}))
    found = read_decisions(path)
    assert decided(found) == {"a": "true", "b": "unsure", "c": "false", "d": None}
    assert found.rows.geometry.isna().all()


def test_outlines_come_in_degrees_from_any_crs(tmp_path):
    rows = table(id=["a"], reviewed=["true"]).to_crs(32631)
    for suffix in (".gpkg", ".parquet"):
        found = read_decisions(write(rows, tmp_path / f"utm{suffix}")).rows
        assert shapely.hausdorff_distance(found.geometry[0], shapely.box(0, 0, 1, 1)) < 1e-9
    content = json.loads(rows.to_json())
    content["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
    path = tmp_path / "utm.geojson"
    path.write_text(json.dumps(content))
    found = read_decisions(path).rows
    assert shapely.hausdorff_distance(found.geometry[0], shapely.box(0, 0, 1, 1)) < 1e-9


def test_of_several_layers_the_one_that_was_reviewed_is_read(tmp_path):
    path = tmp_path / "project.gpkg"
    pyogrio.write_dataframe(table(name=["road"]), path, layer="a_roads")
    pyogrio.write_dataframe(table(id=["a"], reviewed=["no"]), path, layer="b_copy")
    assert decided(read_decisions(path)) == {"a": "false"}


def test_what_was_replaced_in_kept_reviews_says_nothing():
    now = pd.Timestamp("2026-01-02T03:04:05Z")
    rows = table(
        id=["a", "a", "b"], decision=["true", "false", "unsure"], replaced=[now, None, None],
        who=["Ana"] * 3, when=[now] * 3,
    )  # fmt: skip
    found = decisions_in(rows, "reviews.parquet")
    assert decided(found) == {"a": "false", "b": "unsure"}
    assert found.rows["who"].tolist() == ["Ana", "Ana"]
    assert found.rows["when"].tolist() == [now, now]


def test_a_date_that_is_none_is_not_known():
    rows = table(id=["a", "b"], reviewed=["yes"] * 2, date_before=["2017-01-02T03:04Z", "spring"])
    found = decisions_in(rows, "mine.gpkg").checked().rows
    assert found["date_before"].tolist() == [pd.Timestamp("2017-01-02T03:04Z"), pd.NaT]
    assert found["date_after"].isna().all()


def test_odd_rows_are_named_and_the_others_are_read():
    rows = table(
        id=["a", "b", "c", "c", "d", "d", None, None, 7],
        reviewed=["true", "ture", "true", "false", None, "false", "true", None, None],
    )
    found = decisions_in(rows, "mine.gpkg")
    assert decided(found) == {"a": "true", "d": "false"}
    assert len(found.odd) == 3
    for part in ("b: reviewed 'ture'", "row 6 (counted from 0): id: found None", "c: given twice"):
        assert any(text.startswith(part) for text in found.odd)
    with pytest.raises(DecisionsError, match=r"mine\.gpkg: 3 cannot be understood: b: reviewed"):
        found.checked()


def test_of_many_odd_rows_the_first_are_named_and_the_others_counted():
    rows = table(id=[f"i{n}" for n in range(8)], reviewed=["what"] * 8)
    with pytest.raises(DecisionsError, match=r"i4: [^;]*; and 3 more$"):
        decisions_in(rows, "mine.gpkg").checked()


def test_one_object_may_be_given_twice_with_one_answer():
    rows = table(id=["a", "a", "a"], reviewed=[True, " True ", None])
    assert decided(decisions_in(rows, "x").checked()) == {"a": "true"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.geojson", "{", "not a GeoJSON FeatureCollection"),
        ("a.geojson", '{"type": "Feature"}', "not a GeoJSON FeatureCollection"),
        ("a.geojson", '{"features": [{"properties": null}]}', "a feature without properties"),
        (
            "a.geojson",
            '{"features": [{"properties": {"id": "a"}}]}',
            "no column reviewed; expected",
        ),
        ("a.gpkg", "no database", r"cannot be read as \.gpkg"),
        ("a.parquet", "no parquet", r"cannot be read as \.parquet"),
        ("a.csv", "id,reviewed", r"a\.csv: expected one of \.gpkg, \.geojson"),
        ("a.gpkg", None, r"a\.gpkg: no such file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(DecisionsError, match=message):
        read_decisions(path)


def test_a_geopackage_without_the_columns_says_which_layers_it_has(tmp_path):
    path = write(table(name=["road"]), tmp_path / "roads.gpkg")
    with pytest.raises(DecisionsError, match=r"no layer with the columns id and reviewed; .*roads"):
        read_decisions(path)


def test_an_empty_list_says_nothing(tmp_path):
    path = tmp_path / "none.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}')
    assert len(read_decisions(path).checked().rows) == 0
