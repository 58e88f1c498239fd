"""A file in which a person reviewed a list -> what was decided, object by object.

Such a file holds objects of an inventory by their `id`, and the decision of a person in `reviewed`.
The values, in every format, in upper or lower case, as text, number or boolean:

    true      yes, 1        a landslide
    false     no, 0         no landslide: a false alarm
    unsure                  reviewed, but left open
    null      empty text    not decided

A `reviews.parquet` of a run is such a file too; its rows that were replaced later do not count.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely

from lspipe.errors import DecisionsError, first_few
from lspipe.search.degrees import in_degrees
from lspipe.search.parquet import read_geoparquet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Answer = Literal["true", "false", "unsure"]

_WORDS: dict[str, Answer | None] = {
    "true": "true", "yes": "true", "1": "true", "1.0": "true",
    "false": "false", "no": "false", "0": "false", "0.0": "false",
    "unsure": "unsure",
    "": None, "null": None, "none": None, "nan": None, "<na>": None,
}  # fmt: skip
"""Numbers with a point: a column of booleans with gaps is read as floats."""

LOCKED = "database is locked"
"""Message of SQLite for a file that another program is writing."""


@dataclass(frozen=True)
class Decisions:
    """The decisions in a file."""

    path: Path
    rows: gpd.GeoDataFrame
    """A row per id, EPSG:4326: `id`, `decision` (None = not decided), `status`, `date_before`,
    `date_after`, `who`, `when` (null where the file has none), `geometry` (may be None)."""
    odd: tuple[str, ...]
    """Why rows cannot be understood, one text per row; these rows are not in `rows`."""

    def checked(self) -> Decisions:
        """Return these decisions if every row can be understood.

        Raises:
            DecisionsError: a row cannot be understood.
        """
        _refuse(self.path, self.odd, "cannot be understood")
        return self


def read_decisions(path: Path | str) -> Decisions:
    """Read the decisions in a GeoPackage, GeoJSON or GeoParquet.

    Args:
        path: with the suffix of its format. In a GeoPackage with several layers, the first one
            with `id` and `reviewed` is read.

    Raises:
        DecisionsError: no such file, another format, or no columns `id` and `reviewed`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.geojson"
        >>> feature = {"geometry": None, "properties": {"id": "a", "reviewed": "Yes"}}
        >>> _ = path.write_text(json.dumps({"features": [feature]}))
        >>> read_decisions(path).rows["decision"].tolist()
        ['true']
    """
    path = Path(path)
    return decisions_in(read_table(path), path)


def decisions_in(table: gpd.GeoDataFrame, path: Path) -> Decisions:
    """Return the decisions in a table that was read from a file; see `read_decisions`."""
    if "reviewed" not in table and {"decision", "replaced"} <= set(table.columns):
        table = table[table["replaced"].isna()].rename(columns={"decision": "reviewed"})
    lacking = [name for name in ("id", "reviewed") if name not in table]
    if lacking and len(table):
        raise DecisionsError(
            f"{path}: no column {' and '.join(lacking)}; expected the objects of a list, with "
            "`id` and `reviewed`"
        )
    table = table.reindex(columns=[*table.columns, *lacking]).reset_index(drop=True)
    names, given = table["id"].tolist(), table["reviewed"].tolist()
    answers, odd = _understood(names, given)
    rows = table.loc[list(answers.values())]
    return Decisions(path, _typed(rows, [answer_of(given[at]) for at in rows.index]), tuple(odd))


def answer_of(value: Any) -> Answer | None:
    """Return the decision that a value of `reviewed` stands for; None = not decided.

    Raises:
        ValueError: no decision is written so.

    Example:
        >>> answer_of(True), answer_of(" NO "), answer_of(0.0), answer_of(None)
        ('true', 'false', 'false', None)
    """
    if isinstance(value, (str, bool, int, float, np.generic)) or value is None or value is pd.NA:
        word = str(value).strip().lower()
        if word in _WORDS:
            return _WORDS[word]
    raise ValueError(f'{value!r}: expected true, false, "unsure" or null')


def _understood(names: list[Any], given: list[Any]) -> tuple[dict[str, int], list[str]]:
    """Return the row that counts for each id, and why other rows cannot be understood."""
    at: dict[str, int] = {}
    odd: dict[str, None] = {}
    torn: set[str] = set()
    for row, (name, value) in enumerate(zip(names, given, strict=True)):
        try:
            answer = answer_of(value)
        except ValueError as error:
            odd[f"{name}: reviewed {error}"] = None
            continue
        if not isinstance(name, str) or not name:
            # An outline that a person drew, without a decision.
            if answer is not None:
                odd[f"row {row} (counted from 0): id: found {name!r}, expected one of the list"] = (
                    None
                )
            continue
        earlier = answer_of(given[at[name]]) if name in at else None
        if earlier is None:
            at[name] = row
        elif answer not in {None, earlier}:
            torn.add(name)
    for name in sorted(torn):
        odd[f"{name}: given twice, with two answers; keep one of them"] = None
        del at[name]
    return at, list(odd)


TEXTS = ("id", "decision", "status", "who")
TIMES = ("date_before", "date_after", "when")


def _typed(rows: gpd.GeoDataFrame, answers: Sequence[Answer | None]) -> gpd.GeoDataFrame:
    """Return the columns of `Decisions.rows`, typed even where the file lacks them."""
    outlines = in_degrees(rows if rows.crs else rows.set_crs(4326)).geometry
    table = rows.assign(decision=list(answers)).reindex(columns=[*TEXTS, *TIMES])
    typed = pd.DataFrame(table).astype(dict.fromkeys(TEXTS, "string"))
    for name in TIMES:
        typed[name] = pd.to_datetime(
            typed[name], utc=True, errors="coerce", format="ISO8601"
        ).dt.as_unit("ms")
    return gpd.GeoDataFrame(typed, geometry=outlines, crs=4326).reset_index(drop=True)


def _refuse(path: Path, wrong: Sequence[str], what: str) -> None:
    if wrong:
        raise DecisionsError(f"{path}: {len(wrong)} {what}: {first_few(wrong, between='; ')}")


# --- formats ------------------------------------------------------------------------------------


def read_table(path: Path) -> gpd.GeoDataFrame:
    """Read the objects of a file with all columns, unchanged.

    Raises:
        DecisionsError: no such file, or not one of the formats.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DecisionsError(f"{path}: expected one of {', '.join(_READERS)}")
    if not path.exists():
        raise DecisionsError(f"{path}: no such file")
    try:
        return reader(path)
    except DecisionsError:
        raise
    # Each library raises its own errors for a file that is not of its format.
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        hint = "; if it is open in QGIS, save it and close it there" if LOCKED in why else ""
        raise DecisionsError(
            f"{path}: cannot be read as {path.suffix} ({type(error).__name__}: {why}){hint}"
        ) from error


def layer_of(path: Path) -> str:
    """Return the layer of a GeoPackage with the list: the first one with `id` and `reviewed`.

    Raises:
        DecisionsError: it has none.
    """
    layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
    for name in layers:
        if {"id", "reviewed"} <= set(pyogrio.read_info(path, layer=name)["fields"]):
            return name
    raise DecisionsError(
        f"{path}: no layer with the columns id and reviewed; it has {', '.join(layers)}"
    )


def _read_gpkg(path: Path) -> gpd.GeoDataFrame:
    table = pyogrio.read_dataframe(path, layer=layer_of(path))
    if not isinstance(table, gpd.GeoDataFrame):
        table = gpd.GeoDataFrame(table, geometry=[None] * len(table), crs=4326)
    return table


def _read_geojson(path: Path) -> gpd.GeoDataFrame:
    """Read GeoJSON without GDAL, which would force true and "unsure" into one type."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        features = content["features"]
        facts = [feature["properties"] for feature in features]
        outlines = [_outline(feature.get("geometry")) for feature in features]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DecisionsError(
            f"{path}: not a GeoJSON FeatureCollection ({type(error).__name__}: {error}); expected "
            "the objects of inventory.geojson with a property `reviewed`"
        ) from error
    if not all(isinstance(one, dict) for one in facts):
        raise DecisionsError(f"{path}: a feature without properties; expected `id` and `reviewed`")
    columns = list(dict.fromkeys(name for one in facts for name in one if name != "geometry"))
    # As objects: pandas would turn true and false into numbers.
    data = {name: pd.Series([one.get(name) for one in facts], dtype=object) for name in columns}
    crs = content.get("crs") or {}
    return gpd.GeoDataFrame(
        data, geometry=outlines, crs=(crs.get("properties") or {}).get("name", 4326)
    )


def _outline(geometry: Any) -> shapely.Geometry | None:
    return None if geometry is None else shapely.from_geojson(json.dumps(geometry))


def _read_parquet(path: Path) -> gpd.GeoDataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about a CRS written by another program
        return read_geoparquet(path)


_READERS: dict[str, Callable[[Path], gpd.GeoDataFrame]] = {
    ".gpkg": _read_gpkg,
    ".geojson": _read_geojson,
    ".json": _read_geojson,
    ".parquet": _read_parquet,
    ".geoparquet": _read_parquet,
}
