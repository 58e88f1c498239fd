"""Landslides per unit: counts, areas and observed shares that were worked out by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from lspipe.cli import main
from lspipe.errors import UsageError
from lspipe.evaluate.units import COLUMNS, frequency, summarise
from tests.scored import SIZE, geobox, inventory, make_run, square, table

if TYPE_CHECKING:
    from pathlib import Path


def seen_but(rows: slice) -> np.ndarray:
    seen = np.ones((2, SIZE, SIZE), bool)
    seen[1, rows] = False
    return seen


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """40 x 40 px; the lower 10 rows were not observed after. Squares of 4, 4 and 2 px, one old."""
    listed = inventory(
        [square(2, 2, 4), square(18, 18, 4), square(30, 2, 2), square(2, 30, 4)],
        status=["new", "new", "new", "persistent"],
    )
    return make_run(tmp_path, listed, tiles={"A": (geobox(), seen_but(slice(30, 40)))})


def units(folder: Path, *shapes: Any, **columns: Any) -> Path:
    path = folder / "units.gpkg"
    table(*shapes, **columns).to_file(path)
    return path


def test_each_unit_has_its_landslides_area_and_observed_share(run: Path, tmp_path: Path) -> None:
    halves = units(tmp_path, square(0, 0, SIZE, 20), square(0, 20, SIZE, 20), name=["west", "east"])
    found = summarise(run, by=halves)
    assert list(found.columns) == [*COLUMNS, "geometry"]
    assert found["name"].tolist() == ["west", "east"]
    # The middle one has its representative point on one side, and its area on both.
    assert found["landslides"].sum() == 3
    west, east = found.to_dict("records")
    assert west["area_km2"] == pytest.approx(0.08, rel=2e-3)
    assert west["observed_km2"] == pytest.approx(0.06, rel=2e-3)
    assert west["observed_share"] == pytest.approx(0.75, rel=1e-3)
    assert west["landslide_m2"] == pytest.approx(1600 + 800 + 400, rel=2e-3)
    assert east["landslide_m2"] == pytest.approx(800, rel=2e-3)
    assert west["per_km2"] == pytest.approx(west["landslides"] / west["observed_km2"])
    assert west["share"] == pytest.approx(west["landslide_m2"] / 1e6 / west["observed_km2"])


def test_where_nothing_was_observed_there_is_no_density(run: Path, tmp_path: Path) -> None:
    (row,) = summarise(run, by=units(tmp_path, square(31, 0, 9))).to_dict("records")
    assert row["observed_km2"] == 0
    assert np.isnan(row["per_km2"])
    assert np.isnan(row["share"])


def test_a_unit_that_holds_another_counts_what_both_hold(run: Path, tmp_path: Path) -> None:
    whole, part = summarise(run, by=units(tmp_path, square(0, 0, SIZE), square(0, 0, 10))).to_dict(
        "records"
    )
    assert (whole["landslides"], part["landslides"]) == (3, 1)


def test_squares_cover_the_tiles_once(run: Path) -> None:
    found = summarise(run, grid_km=0.1)
    assert found["landslides"].sum() == 3
    assert found["landslide_m2"].sum() == pytest.approx(1600 + 1600 + 400, rel=1e-3)
    assert found["observed_km2"].sum() == pytest.approx(0.12, rel=1e-2)
    assert found["area_km2"].to_numpy() == pytest.approx(0.01, rel=5e-3)
    assert found["unit"].is_unique
    assert found.crs.to_epsg() == 4326


def test_the_column_of_names_can_be_chosen(run: Path, tmp_path: Path) -> None:
    path = units(tmp_path, square(0, 0, SIZE), code=["A1"], place=["Rio"], number=[7])
    assert summarise(run, by=path)["name"].tolist() == ["A1"]
    assert summarise(run, by=path, name="place")["name"].tolist() == ["Rio"]
    assert summarise(run, by=path, name="number")["name"].tolist() == ["7"]
    with pytest.raises(UsageError, match="found no column 'town', expected one of code, place"):
        summarise(run, by=path, name="town")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "expected one of by=FILE"),
        ({"by": "x.gpkg", "grid_km": 1}, "expected one of by=FILE"),
        ({"by": "x.gpkg"}, r"x\.gpkg: no such file"),
        ({"grid_km": 0}, "grid_km 0: expected the edge of a square"),
        ({"grid_km": float("nan")}, "expected the edge of a square"),
        ({"grid_km": 0.0001}, "would be .* squares; expected at most 250,000"),
    ],
)
def test_what_names_no_units_is_refused(options: dict[str, Any], told: str, run: Path) -> None:
    with pytest.raises(UsageError, match=told):
        summarise(run, **options)


def test_a_file_without_units_of_this_place_is_refused(run: Path, tmp_path: Path) -> None:
    far = gpd.GeoDataFrame(geometry=[shapely.box(10, 10, 11, 11)], crs=4326)
    far.to_file(tmp_path / "far.gpkg")
    with pytest.raises(UsageError, match="none of its 1 units meets a tile of the run"):
        summarise(run, by=tmp_path / "far.gpkg")
    points = gpd.GeoDataFrame(geometry=[shapely.Point(-72, -43)], crs=4326)
    points.to_file(tmp_path / "points.gpkg")
    with pytest.raises(UsageError, match="found no polygons; expected units"):
        summarise(run, by=tmp_path / "points.gpkg")


def test_the_verb_prints_the_units_and_writes_files(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = units(tmp_path, square(0, 0, SIZE, 20), square(0, 20, SIZE, 20), name=["west", "east"])
    out = tmp_path / "out"
    assert main(["summarize", str(run), "--by", str(path), "--output", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["unit", "landslides", "per", "km2", "hectares", "observed"]
    assert lines[1].split()[0] == "west"
    assert lines[1].endswith("75%")
    names = ["units.gpkg", "units.csv", "frequency.csv", "frequency.png"]
    assert lines[-4:] == [f"wrote {out / name}" for name in names]
    assert gpd.read_file(out / "units.gpkg", layer="units")["landslides"].sum() == 3
    assert pd.read_csv(out / "frequency.csv")["landslides"].sum() == 3
    assert (out / "frequency.png").read_bytes().startswith(b"\x89PNG")
    assert main(["summarize", str(run), "--grid", "0.2", "--json"]) == 0
    assert sum(row["landslides"] for row in json.loads(capsys.readouterr().out)["units"]) == 3
    assert main(["summarize", str(run)]) == 2
    assert "expected one of --by FILE, polygons of units, and --grid KM" in capsys.readouterr().err


@given(st.lists(st.floats(100, 1e6), min_size=1, max_size=60), st.integers(1, 10))
def test_the_density_of_sizes_sums_to_one(areas: list[float], per_decade: int) -> None:
    found = frequency(areas, per_decade=per_decade)
    assert found["landslides"].sum() == len(areas)
    width = found["to_m2"] - found["from_m2"]
    assert float((found["density_per_m2"] * width).sum()) == pytest.approx(1)
    assert found["from_m2"].min() <= min(areas) * (1 + 1e-6)
    assert found["to_m2"].max() >= max(areas) * (1 - 1e-6)


def test_no_landslides_have_no_sizes() -> None:
    assert frequency([]).empty
