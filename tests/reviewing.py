"""What a person does to a list, in a process of its own as QGIS is; and lists to do it to."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import rioxarray  # noqa: F401  # registers the .rio accessor
import xarray as xr

from lspipe.change.compare import compare
from lspipe.change.inventory import Provenance, delineate
from lspipe.outputs import geoparquet
from lspipe.runs import edits, review, store
from tests.open_runs import run_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EDIT = """
import json, sqlite3, sys
path, statements, journal = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
file = sqlite3.connect(path)
# The triggers of a GeoPackage call these.
for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
    file.create_function(name, 1, lambda geometry: 0)
file.execute(f"PRAGMA journal_mode={journal}")
for statement, values in statements:
    file.execute(statement, values)
file.commit()
if sys.argv[4] == "lock":
    file.execute("BEGIN EXCLUSIVE")
print("saved", flush=True)
if sys.argv[4] != "go":
    sys.stdin.readline()
file.close()
"""


def sql(path: Path, *statements: tuple[str, list[Any]], journal: str = "DELETE") -> None:
    """Run statements on a GeoPackage, and close it."""
    words = [sys.executable, "-c", _EDIT, str(path), json.dumps(statements), journal, "go"]
    subprocess.run(words, check=True, capture_output=True)


def held_open(
    path: Path, *statements: tuple[str, list[Any]], journal: str = "WAL", how: str = "stay"
) -> subprocess.Popen[str]:
    """Run statements and keep the file open, or locked (`how="lock"`), until a line comes."""
    words = [sys.executable, "-c", _EDIT, str(path), json.dumps(statements), journal, how]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "saved\n"
    return process


def statements(answers: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """SQL that decides about objects by id."""
    update = "UPDATE inventory SET reviewed = ? WHERE id = ?"
    return [(update, [answer, name]) for name, answer in answers.items()]


def decide(path: Path, answers: Mapping[str, Any]) -> None:
    """Fill `reviewed` of a list, by id; None empties it."""
    if path.suffix == ".gpkg":
        sql(path, *statements(answers))
        return
    if path.suffix == ".parquet":
        rows = gpd.read_parquet(path)
        given = rows["id"].map(answers).where(rows["id"].isin(answers.keys()), rows["reviewed"])
        rows.assign(reviewed=given.astype("string")).to_parquet(path)
        return
    content = json.loads(path.read_text(encoding="utf-8"))
    for feature in content["features"]:
        facts = feature["properties"]
        facts["reviewed"] = answers.get(facts["id"], facts["reviewed"])
    path.write_text(json.dumps(content), encoding="utf-8")


# --- a run with a list, of which no block was computed -------------------------------------------

FILES = {
    "geoparquet": "inventory.parquet",
    "gpkg": "inventory.gpkg",
    "geojson": "inventory.geojson",
}

Square = tuple[int, int, int]
"""First row, first column, edge; pixels of 10 m."""


def inventory_of(new: tuple[Square, ...], old: tuple[Square, ...] = ()) -> gpd.GeoDataFrame:
    """The list of a tile of 60 x 60 pixels with squares of landslides."""
    return _delineated(new, old).copy()


@cache
def _delineated(new: tuple[Square, ...], old: tuple[Square, ...]) -> gpd.GeoDataFrame:
    codes = np.zeros((2, 60, 60), np.uint16)
    for dates, squares in ((slice(1, 2), new), (slice(0, 2), old)):
        for row, column, edge in squares:
            codes[dates, row : row + edge, column : column + edge] = 9000
    axes = {"y": 4_428_465.0 - 10 * np.arange(60), "x": 455_655.0 + 10 * np.arange(60)}
    maps = [xr.DataArray(one, dims=("y", "x"), coords=axes).rio.write_crs(32613) for one in codes]
    who = Provenance(tile="13TDE", date_before="2017-02-01", date_after="2018-02-01")
    found = delineate(compare(*maps), provenance=who).to_crs(4326)
    return found.sort_values("id", ignore_index=True)


def write_lists(run: Path, inventory: gpd.GeoDataFrame) -> list[str]:
    """What a run does with a new list; returns what it says."""
    with store.lock(run):
        taken = review.take_in(run)
        inventory, taken = review.shown(run, inventory, taken)
        files = {run / file: name for name, file in FILES.items()}
        current = replace(run_of(inventory), path=run)
        return [*taken.notes, *edits.rewrite(files, current, taken.found)]


def make_run(folder: Path, inventory: gpd.GeoDataFrame) -> Path:
    """Write a run directory with its lists."""
    run = folder / "run"
    run.mkdir()
    store.write_json(run / "run.json", {**run_of(inventory).record, "outputs": FILES})
    geoparquet.write_table(run_of(inventory).unobserved, run / "unobserved.parquet")
    assert write_lists(run, inventory) == []
    return run


def shown(path: Path) -> dict[str, str]:
    """Decisions that stand in a list, by id."""
    if path.suffix == ".parquet":
        rows = gpd.read_parquet(path)
    else:
        rows = gpd.read_file(path, **({"layer": "inventory"} if path.suffix == ".gpkg" else {}))
    decided = rows[rows["reviewed"].notna()]
    return dict(zip(decided["id"], decided["reviewed"], strict=True))
