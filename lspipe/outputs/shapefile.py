"""The list as a zipped Shapefile, EPSG:4326: for programs that know nothing newer.

Names of columns have 10 letters at most, so they are abbreviated; `columns.txt` beside the
Shapefile says what they stand for. Times are text, as a Shapefile has days only.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyogrio

from lspipe.outputs.credit import notice
from lspipe.outputs.for_people import for_people
from lspipe.schema.columns import COLUMNS
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from collections.abc import Iterable

    import geopandas as gpd

    from lspipe.outputs import Run

FILE = "inventory.shp.zip"

NAME_LENGTH, TEXT_LENGTH = 10, 254
"""Most letters of a name, and of a text. Source: the dBASE III format of its table."""

_SHORTER = (
    ("probability", "prob"), ("perimeter", "perim"), ("undetermined", "undet"), ("fraction", "fr"),
    ("event_date", "event"), ("confidence", "conf"), ("ratio", "rt"), ("length", "len"),
    ("width", "wid"), ("area", "ar"), ("model", "mod"), ("items", "it"), ("before", "bef"),
    ("after", "aft"), ("_m2", "m2"), ("distance", "dist"), ("share", "sh"), ("_", ""),
)  # fmt: skip
"""What is shortened in a name that is too long, until it is short enough."""


def write(run: Run, path: Path) -> None:
    """Write the list; see the contract in `lspipe.outputs`."""
    table = _plain(for_people(in_degrees(run.inventory)))
    names = short_names(str(name) for name in table.columns if name != "geometry")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".shp.", suffix=".partial") as place:
        folder = Path(place)
        pyogrio.write_dataframe(
            table.rename(columns=names),
            folder / "inventory.shp",
            driver="ESRI Shapefile",
            encoding="UTF-8",
            geometry_type="Polygon",
        )
        lines = [notice(run), *_legend(names)]
        (folder / "columns.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, file.name)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return names of at most 10 letters, no two alike.

    >>> short_names(["status", "probability_mean", "probability_max", "undetermined_fraction"])
    {'status': 'status', 'probability_mean': 'prob_mean', 'probability_max': 'prob_max',
     'undetermined_fraction': 'undet_fr'}
    """
    short: dict[str, str] = {}
    for name in names:
        found = name
        for long, brief in _SHORTER:
            if len(found) <= NAME_LENGTH:
                break
            found = found.replace(long, brief)
        found, number = found[:NAME_LENGTH], 1
        while found in short.values():
            number += 1
            found = f"{re.sub(r'_?[0-9]*$', '', found)[: NAME_LENGTH - 3]}_{number}"
        short[name] = found
    return short


def _plain(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return a table of numbers and texts: times as text, yes and no as 1 and 0."""
    plain = table.copy()
    for name in plain.columns.drop("geometry"):
        column = plain[name]
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            plain[name] = column.dt.strftime("%Y-%m-%dT%H:%M:%SZ").astype("string")
        elif pd.api.types.is_bool_dtype(column.dtype):
            plain[name] = column.astype("Int32")
        elif column.dtype == "string":
            plain[name] = column.str.slice(0, TEXT_LENGTH)
    return plain


def _legend(names: dict[str, str]) -> Iterable[str]:
    for name, short in names.items():
        told = f": {COLUMNS[name].meaning} ({COLUMNS[name].unit})" if name in COLUMNS else ""
        yield f"{short} = {name}{told}"
