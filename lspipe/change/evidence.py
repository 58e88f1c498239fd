"""Objects, and what a run stored of both dates -> what helps a person to judge each object.

`EVIDENCE` is the table: a column is the numbers of some pixels, and how they become one.

Covers: pixels of one tile.  Does not cover: flags, which are made of these columns (`flags.py`).
Source: docs/numerics.md, Evidence.

See also: `surveyed.py` (the tile), `reductions.py` (many numbers to one).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from lspipe.change.neighbours import FARTHEST_PX, Places, squared_distances, strips
from lspipe.change.objects import Kind
from lspipe.change.reductions import (
    Direction,
    Gain,
    Least,
    Mean,
    Median,
    Most,
    NineTenths,
    Span,
    both_codes,
)
from lspipe.change.surveyed import GROUND, RADAR, View
from lspipe.schema import (
    CHANNELS,
    CODE_NODATA,
    CODE_SCALE,
    CUBE_NODATA,
    DATES,
    ORBITS,
    SCL_CLASSES,
    TRUE_COLOUR_STEP,
)
from lspipe.schema.columns import RADAR as OF_RADAR
from lspipe.schema.columns import SPREAD, TERRAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lspipe.change.surveyed import Role, Surveyed

_BOTH: tuple[Role, ...] = ("before", "after")

NONE = np.iinfo(np.int64).min
"""A pixel that says nothing."""


# --- the numbers of pixels ----------------------------------------------------------------------


def _ndvi(role: Role) -> Callable[[View, Places], NDArray[np.int64]]:
    def numbers(view: View, at: Places) -> NDArray[np.int64]:
        layer, codes = view.layer(role, "ndvi"), view.codes(role)
        if layer is None or codes is None:
            return np.full(len(at.row), NONE)
        here = layer[at.row, at.column].astype(np.int64)
        is_seen = (codes[at.row, at.column] != CODE_NODATA) & (here != CUBE_NODATA)
        return np.where(is_seen, here, NONE)

    return numbers


def _brightness(role: Role) -> Callable[[View, Places], NDArray[np.int64]]:
    """Return the sum of red, green and blue, as stored."""

    def numbers(view: View, at: Places) -> NDArray[np.int64]:
        layer, codes = view.layer(role, "true_colour"), view.codes(role)
        if layer is None or codes is None:
            return np.full(len(at.row), NONE)
        here = layer[:, at.row, at.column].astype(np.int64)
        is_seen = (codes[at.row, at.column] != CODE_NODATA) & (here > 0).all(axis=0)
        return np.where(is_seen, here.sum(axis=0), NONE)

    return numbers


def _difference(
    one: Callable[[View, Places], NDArray[np.int64]],
    other: Callable[[View, Places], NDArray[np.int64]],
) -> Callable[[View, Places], NDArray[np.int64]]:
    """Return one minus other, where both are known."""

    def numbers(view: View, at: Places) -> NDArray[np.int64]:
        first, second = one(view, at), other(view, at)
        is_both = (first != NONE) & (second != NONE)
        return np.where(is_both, np.where(is_both, first, 0) - np.where(is_both, second, 0), NONE)

    return numbers


def _day(role: Role) -> Callable[[View, Places], NDArray[np.int64]]:
    def numbers(view: View, at: Places) -> NDArray[np.int64]:
        layer, codes = view.layer(role, "acquired"), view.codes(role)
        if layer is None or codes is None:
            return np.full(len(at.row), NONE)
        here = layer[at.row, at.column].astype(np.int64)
        return np.where((codes[at.row, at.column] != CODE_NODATA) & (here > 0), here, NONE)

    return numbers


def _is_class(view: View, at: Places, name: str) -> NDArray[np.int64]:
    """Return 1 where a scene class is that on either date, 0 where another is known."""
    found = np.full(len(at.row), NONE)
    for role in ("before", "after"):
        layer, _ = view.scene_classes(role)
        if layer is not None:
            here = layer[at.row, at.column]
            is_it = (here == SCL_CLASSES[name]).astype(np.int64)
            found = np.maximum(found, np.where(here == SCL_CLASSES["nodata"], NONE, is_it))
    return found


def _snow(view: View, at: Places) -> NDArray[np.int64]:
    return _is_class(view, at, "snow")


def _persistent(view: View, at: Places) -> NDArray[np.int64]:
    """Return 1 where the pixel is of a persistent object; unknown in a map of one date."""
    if view.tile.before is None:
        return np.full(len(at.row), NONE)
    kinds = view.tile.kinds[view.strip.rows][at.row, at.column]
    is_it: NDArray[np.int64] = (kinds == Kind.PERSISTENT).astype(np.int64)
    return is_it


def _to_water(view: View, at: Places) -> NDArray[np.int64]:
    """Return the squared distance to water on either date.

    A pixel without a class says nothing where no water was found: there may be some.
    """
    water = np.zeros((view.wide.stop - view.wide.start, view.tile.objects.shape[1]), bool)
    for role in ("before", "after"):
        _, layer = view.scene_classes(role)
        if layer is not None:
            water |= layer == SCL_CLASSES["water"]
    distance = squared_distances(at, water, view.lead)
    is_known = (_is_class(view, at, "water") != NONE) | (distance < FARTHEST_PX**2)
    return np.where(is_known, distance, NONE)


def _to_area_edge(view: View, at: Places) -> NDArray[np.int64]:
    """Return the squared distance to what lies outside of the area."""
    if view.tile.area is None:
        return np.full(len(at.row), NONE)
    return squared_distances(at, ~view.tile.area[view.wide], view.lead)


def _to_tile_edge(view: View, at: Places) -> NDArray[np.int64]:
    """Return the squared distance to the first pixel outside of the tile."""
    height, width = view.tile.objects.shape
    row = at.row + view.strip.rows.start
    tall = np.minimum(row + 1, height - row)
    broad = np.minimum(at.column + 1, width - at.column)
    nearest: NDArray[np.int64] = np.minimum(np.minimum(tall, broad), FARTHEST_PX)
    return nearest**2


def _spread(view: View, at: Places) -> NDArray[np.int64]:
    """Return the larger deviation of the two dates, as stored."""
    found = np.full(len(at.row), NONE)
    for role in _BOTH:
        layer = view.layer(role, "spread")
        if layer is not None:
            here = layer[at.row, at.column].astype(np.int64)
            found = np.maximum(found, np.where(here == CODE_NODATA, NONE, here))
    return found


def _ground(name: str) -> Callable[[View, Places], NDArray[np.int64]]:
    def numbers(view: View, at: Places) -> NDArray[np.int64]:
        layer = view.layer(GROUND, name)
        if layer is None:
            return np.full(len(at.row), NONE)
        here = layer[at.row, at.column].astype(np.int64)
        return np.where(here != CUBE_NODATA, here, NONE)

    return numbers


def _falls_to(view: View, at: Places) -> NDArray[np.int64]:
    """Return where the ground falls to, tenths of a degree clockwise from north.

    Source: Horn 1981, as `gdaldem aspect`. Flat ground falls nowhere.
    """
    wide = view.heights
    if wide is None:
        return np.full(len(at.row), NONE)
    around = {
        (down, right): wide[at.row + 1 + down, at.column + 1 + right]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    is_known = np.all([codes != CUBE_NODATA for codes in around.values()], axis=0)
    rises_east = sum(r * (2 - abs(d)) * codes for (d, r), codes in around.items())
    rises_south = sum(d * (2 - abs(r)) * codes for (d, r), codes in around.items())
    tenths = np.rint(np.rad2deg(np.arctan2(-rises_east, rises_south)) * 10).astype(np.int64) % 3600
    is_known &= (rises_east != 0) | (rises_south != 0)
    return np.where(is_known, tenths, NONE)


def _backscatter(orbit: str) -> Callable[[View, Places], NDArray[np.int64]]:
    def numbers(view: View, at: Places) -> NDArray[np.int64]:
        one, other = (view.layer(RADAR, f"vv_{date}_{orbit}") for date in DATES)
        if one is None or other is None:
            return np.full(len(at.row), NONE)
        before, after = (layer[at.row, at.column].astype(np.int64) for layer in (one, other))
        is_seen = (before != CUBE_NODATA) & (after != CUBE_NODATA)
        return np.where(is_seen, both_codes(before, after), NONE)

    return numbers


def _is_seen_by_radar(view: View, at: Places) -> NDArray[np.int64]:
    """Return 1 where radar saw a pixel on both dates from either orbit, else 0."""
    found = [_backscatter(orbit)(view, at) != NONE for orbit in ORBITS.values()]
    is_seen: NDArray[np.int64] = np.any(found, axis=0).astype(np.int64)
    return is_seen


# --- the table ----------------------------------------------------------------------------------


def _times(step: float) -> Callable[[NDArray[np.float64], float], NDArray[np.float64]]:
    return lambda numbers, _: numbers * step


def _of(channel: str) -> Callable[[NDArray[np.float64], float], NDArray[np.float64]]:
    return _times(CHANNELS[channel].step)


def _metres(numbers: NDArray[np.float64], pixel_m: float) -> NDArray[np.float64]:
    return np.sqrt(numbers) * pixel_m


def _date(numbers: NDArray[np.float64], _: float) -> Any:
    # Not `pd.to_datetime(unit="D")`: where one is NaN, pandas 2.3 looks at memory that it did not
    # fill, and now and then ends with an overflow.
    is_known = ~np.isnan(numbers)
    days = np.full(numbers.shape, "NaT", "datetime64[D]")
    days[is_known] = numbers[is_known].astype(np.int64).astype("datetime64[D]")
    return pd.Series(days.astype("datetime64[ms]")).dt.tz_localize("UTC")


@dataclass(frozen=True)
class Evidence:
    """A column: the numbers of some pixels of an object, and how they become one."""

    numbers: Callable[[View, Places], NDArray[np.int64]]
    """One for each place; `NONE` = it says nothing."""
    where: Literal["inside", "around", "sides"]
    """Pixels of the object; with their neighbours; or beyond the sides of its edge."""
    reduce: type[Mean | Least | Most | Span | NineTenths | Direction | Gain | Median]
    unit: Callable[[NDArray[np.float64], float], Any]
    """The number of each object and the edge of a pixel in metres -> the column."""
    joined: Literal["mean", "least", "most", "largest"] = "mean"
    """Of an object in several tiles: mean by pixels, least, most, or that of its largest part."""


EVIDENCE: Mapping[str, Evidence] = {
    "ndvi_before": Evidence(_ndvi("before"), "inside", Mean, _times(1e-4)),
    "ndvi_after": Evidence(_ndvi("after"), "inside", Mean, _times(1e-4)),
    "ndvi_drop": Evidence(
        _difference(_ndvi("before"), _ndvi("after")), "inside", Mean, _times(1e-4)
    ),
    "brightness_change": Evidence(
        _difference(_brightness("after"), _brightness("before")),
        "inside",
        Mean,
        _times(TRUE_COLOUR_STEP / 3),
    ),
    "persistent_edge": Evidence(_persistent, "sides", Mean, _times(1)),
    "snow_share": Evidence(_snow, "around", Mean, _times(1)),
    "water_m": Evidence(_to_water, "inside", Least, _metres, "least"),
    "tile_edge_m": Evidence(_to_tile_edge, "inside", Least, _metres, "least"),
    "aoi_edge_m": Evidence(_to_area_edge, "inside", Least, _metres, "least"),
    "acquired_before": Evidence(_day("before"), "inside", Median, _date, "largest"),
    "acquired_after": Evidence(_day("after"), "inside", Median, _date, "largest"),
    "slope_mean": Evidence(_ground("slope"), "inside", Mean, _of("slope")),
    "slope_p90": Evidence(_ground("slope"), "inside", NineTenths, _of("slope"), "largest"),
    "elevation_min": Evidence(_ground("elevation"), "inside", Least, _of("elevation"), "least"),
    "elevation_max": Evidence(_ground("elevation"), "inside", Most, _of("elevation"), "most"),
    "relief_m": Evidence(_ground("elevation"), "inside", Span, _of("elevation"), "largest"),
    "aspect": Evidence(_falls_to, "inside", Direction, _times(0.1), "largest"),
    "vv_change_asc_db": Evidence(_backscatter("asc"), "inside", Gain, _times(1), "largest"),
    "vv_change_desc_db": Evidence(_backscatter("desc"), "inside", Gain, _times(1), "largest"),
    "vv_seen_share": Evidence(_is_seen_by_radar, "inside", Mean, _times(1)),
    "spread_mean": Evidence(_spread, "inside", Mean, _times(1 / CODE_SCALE)),
}
"""Every column of evidence, in order; units and meanings are in `schema.columns`."""


def gather(tile: Surveyed, count: int, *, rows: int) -> pd.DataFrame:
    """Measure the evidence of every object of a tile.

    Args:
        tile: objects labelled 1..count, and what was stored.
        count: number of objects.
        rows: of a strip; never changes the result.

    Returns:
        A row per object, in the order of the labels, with the columns of `EVIDENCE`, those of the
        ground, of radar and of the spread where the run knows them; NaN, or no time, where nothing
        says.
    """
    unknown: set[str] = set()
    for role, name, names in ((GROUND, "slope", TERRAIN), (RADAR, "vv_before_asc", OF_RADAR)):
        if tile.layers(role, name, slice(0, 1)) is None:
            unknown |= set(names)
    # A tile may have a scene of one date only.
    if all(tile.layers(role, "spread", slice(0, 1)) is None for role in _BOTH):
        unknown |= set(SPREAD)
    columns = {name: column for name, column in EVIDENCE.items() if name not in unknown}
    sums = {name: column.reduce(count) for name, column in columns.items()}
    for strip in strips(tile.objects, rows):
        if not len(strip.around.index):
            continue
        view = View(tile, strip)
        for name, column in columns.items():
            places: Places = getattr(strip, column.where)
            numbers = column.numbers(view, places)
            is_there = numbers != NONE
            sums[name].add(places.index[is_there], numbers[is_there])
    return pd.DataFrame(
        {name: EVIDENCE[name].unit(one.result(), tile.pixel_m) for name, one in sums.items()}
    )
