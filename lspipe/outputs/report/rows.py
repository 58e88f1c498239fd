"""The list of a run -> its rows in the order to look at them, and the columns of the report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lspipe.errors import StoreError
from lspipe.schema import INVENTORY_COLUMNS
from lspipe.schema.columns import COLUMNS, STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import geopandas as gpd

    from lspipe.outputs import Run

ORDER = ("new", "grown", "detected", "undetermined", "vanished", "persistent")
"""Statuses, the first to look at first, where a list has no `rank`."""

_SHORT = {
    "id": "landslide",
    "area_m2": "area",
    "date_before": "before",
    "date_after": "after",
    "confidence": "confidence",
    "reviewed": "decision",
    "event_date_min": "not there yet on",
    "event_date_max": "there by",
    "gain_mean": "mean gain of probability",
    "probability_mean": "mean probability",
    "probability_max": "largest probability",
    "ndvi_before": "NDVI before",
    "ndvi_after": "NDVI after",
    "ndvi_drop": "NDVI drop",
    "vv_change_asc_db": "radar change, ascending",
    "vv_change_desc_db": "radar change, descending",
    "vv_seen_share": "share seen by radar",
    "n_px": "size",
    "undetermined_fraction": "share hidden",
    "lon": "longitude",
    "lat": "latitude",
    "items_before": "scenes before",
    "items_after": "scenes after",
    "slope_mean": "mean slope",
    "slope_p90": "slope, 90 % of it below",
    "elevation_min": "lowest point",
    "elevation_max": "highest point",
    "aspect": "falls towards",
}
"""Headings that read better than the names of columns."""

_IN_LIST = ("rank", "id", "status", "area_m2", "confidence", "date_before", "date_after")
"""Columns of the page's list, where a list has them; `_EVIDENCE` and flags follow."""

_EVIDENCE = ("ndvi_drop",)

_LEFT_OUT = ("geometry", "reviewed", "model_id", "model_sha256", "utm_epsg")
"""Not among the facts of an object: shown elsewhere on the page."""

_DECIMALS = {"ha": 2, "m": 0, "m²": 0, "pixels": 0, "degree": 5, "°": 0, "code": 0}

FLAGS = "flags"
"""A column of the page: names of the columns of yes or no that are yes."""


@dataclass(frozen=True)
class Column:
    """One column as the page shows it."""

    name: str
    label: str
    unit: str
    meaning: str
    values: list[Any]
    """Numbers, texts or None."""
    decimals: int | None
    """Of numbers; None = texts."""
    is_shown: bool
    """In the list; else only among the facts of an object."""

    def text(self, row: int) -> str:
        """Return a value as the list shows it, as list.js does."""
        value = self.values[row]
        if value is None:
            return "-"
        text = str(value) if self.decimals is None else f"{value:.{self.decimals}f}"
        return short_id(text) if self.name == "id" else text

    def as_json(self) -> dict[str, Any]:
        """Return it for the script; texts that repeat are written once."""
        facts = {
            "name": self.name, "label": self.label, "unit": self.unit, "meaning": self.meaning,
            "decimals": self.decimals, "shown": self.is_shown,
        }  # fmt: skip
        if self.decimals is not None:
            return facts | {"values": self.values}
        return facts | by_word(self.values)


def listed(run: Run) -> gpd.GeoDataFrame:
    """Return the list of a run in the order to look at it; no rows if there is no list yet."""
    import geopandas as gpd

    try:
        found = run.inventory.to_crs(4326)
    except StoreError:
        columns: dict[str, list[Any]] = {name: [] for name in INVENTORY_COLUMNS}
        return gpd.GeoDataFrame(columns, geometry="geometry", crs=4326)
    if "rank" in found:
        return found.sort_values("rank", kind="stable", ignore_index=True)
    first = found["status"].map({status: place for place, status in enumerate(ORDER)})
    return (
        found.assign(_first=first)
        .sort_values(
            ["_first", "confidence", "area_m2"],
            ascending=[True, False, False],
            kind="stable",
            ignore_index=True,
        )
        .drop(columns="_first")
    )


def times(listed: gpd.GeoDataFrame) -> dict[str, Any]:
    """Return the two dates of each object to the second, for a file of decisions."""
    return {
        name: by_word(
            [None if pd.isna(time) else f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in listed[name]]
        )
        for name in ("date_before", "date_after")
    }


def by_word(values: list[Any]) -> dict[str, list[Any]]:
    """Return texts with each that repeats written once, as list.js reads them.

    >>> by_word(["new", "new", "vanished"])
    {'words': ['new', 'vanished'], 'places': [0, 0, 1]}
    """
    words = list(dict.fromkeys(values))
    if len(words) == len(values):
        return {"values": values}
    places = {word: place for place, word in enumerate(words)}
    return {"words": words, "places": [places[value] for value in values]}


def statuses(listed: gpd.GeoDataFrame) -> dict[str, int]:
    """Return how many objects have each status, in order."""
    counts = listed["status"].value_counts()
    return {status: int(counts[status]) for status in ORDER if counts.get(status, 0)}


def columns(listed: gpd.GeoDataFrame, *, is_two_date: bool) -> list[Column]:
    """Return the columns of the page: those of the list first, then the facts of an object."""
    same = [name for name in ("date_before", "date_after") if _is_constant_text(listed[name])]
    flags = [name for name in listed if pd.api.types.is_bool_dtype(listed[name].dtype)]
    dates = set() if is_two_date else {"date_before", "items_before"}
    first = [
        name for name in (*_IN_LIST, *_EVIDENCE) if name in listed and name not in {*dates, *same}
    ]
    rest = [
        name
        for name in listed.columns
        if name not in {*first, *flags, *dates, *_LEFT_OUT} and not _is_constant_text(listed[name])
    ]
    found = [_column(listed, name, is_shown=True) for name in first]
    found.append(_flags(listed, flags))
    found.append(_column(listed, "reviewed", is_shown=True))
    return found + [_column(listed, name, is_shown=False) for name in rest]


def short_id(name: str) -> str:
    """Return what differs between the ids of a run: the corner of the object, metres east, north.

    >>> short_id("18GYS_20220209_new_712220_5192660")
    '712220 5192660'
    >>> short_id("A-17")
    'A-17'
    """
    parts = name.split("_")
    is_usual = len(parts) == 5 and parts[2] in STATUSES and parts[3].isdigit()
    return " ".join(parts[3:]) if is_usual else name


def _column(listed: gpd.GeoDataFrame, name: str, *, is_shown: bool) -> Column:
    known = COLUMNS.get(name)
    unit = "" if known is None or known.unit in {"text", "time", "1", "1, 2, ..."} else known.unit
    values, decimals = list(_plain(listed[name])), _decimals(listed[name], name, unit)
    label = _SHORT.get(name, name.replace("_", " "))
    if name == "area_m2":
        unit, decimals = "ha", _DECIMALS["ha"]
        values = [None if value is None else value / 10_000 for value in values]
    elif label.endswith(f" {unit}"):
        label = label.removesuffix(f" {unit}")
    if decimals is not None:
        values = [None if value is None else round(value, decimals) for value in values]
    meaning = "" if known is None else known.meaning
    return Column(name, label, unit, meaning, values, decimals, is_shown)


def _plain(values: pd.Series[Any]) -> Iterator[Any]:
    """Yield plain values: times as days, what is missing as None."""
    is_time = pd.api.types.is_datetime64_any_dtype(values.dtype)
    is_number = pd.api.types.is_numeric_dtype(values.dtype)
    for value in values:
        if pd.isna(value) or (is_number and math.isinf(value)):
            yield None
        elif is_time:
            yield f"{value:%Y-%m-%d}"
        else:
            yield value.item() if hasattr(value, "item") else value if is_number else str(value)


def _decimals(values: pd.Series[Any], name: str, unit: str) -> int | None:
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return None
    if pd.api.types.is_integer_dtype(values.dtype) or name == "rank":
        return 0
    return _DECIMALS.get(unit, 2)


def _flags(listed: gpd.GeoDataFrame, flags: list[str]) -> Column:
    """Return a column that names the columns of yes or no that are yes; missing is no."""
    words = [name.replace("_", " ") for name in flags]
    answers = listed[flags].astype("boolean").fillna(value=False)
    values = [
        ", ".join(word for word, is_set in zip(words, row, strict=True) if is_set) or None
        for row in answers.itertuples(index=False)
    ]
    meaning = "; ".join(
        f"{word}: {COLUMNS[name].meaning}"
        for word, name in zip(words, flags, strict=True)
        if name in COLUMNS
    )
    return Column(FLAGS, "flags", "", meaning, values, None, is_shown=True)


def _is_constant_text(values: pd.Series[Any]) -> bool:
    """Return whether a column says the same of all of several objects."""
    is_text = not pd.api.types.is_numeric_dtype(values.dtype)
    return len(values) > 1 and is_text and values.nunique(dropna=False) == 1
