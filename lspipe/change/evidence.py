"""Objects, and what a run stored of both dates -> what helps a person to judge each object.

`EVIDENCE` is the table: a column is the numbers of some pixels, and how they become one. All sums
are of integers, so no column depends on how the tile is cut into strips.

Covers: pixels of one tile.  Does not cover: flags, which are made of these columns (`flags.py`).
Source: docs/numerics.md, Evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd

from lspipe.change.neighbours import FARTHEST_PX, Places, Strip, squared_distances, strips
from lspipe.change.objects import Kind
from lspipe.schema import (
    CHANNELS,
    CODE_NODATA,
    CUBE_NODATA,
    DATES,
    ORBITS,
    SCL_CLASSES,
    TRUE_COLOUR_STEP,
)
from lspipe.schema.columns import RADAR as OF_RADAR
from lspipe.schema.columns import TERRAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lspipe.change.components import Components

Role = Literal["before", "after", "ground", "radar"]

GROUND: Role = "ground"
"""In place of a date: layers of terrain, which belong to none."""

RADAR: Role = "radar"
"""In place of a date of the scenes: backscatter, whose layers name their date and orbit."""

NONE = np.iinfo(np.int64).min
"""A pixel that says nothing."""


class Layers(Protocol):
    """What a run stored of a date."""

    def __call__(self, role: str, name: str, rows: slice) -> NDArray[Any] | None:
        """Return some rows of a layer of `evidence.zarr`, one acquisition or several merged.

        Args:
            role: "before" or "after", or "ground", or "radar".
            name: `true_colour` uint8 (3, y, x), `ndvi` int16, `scl` uint8, `acquired` uint16; of
                the ground `elevation` and `slope`, of radar `vv_before_asc` and the like: int16,
                codes of `schema.CHANNELS`.
            rows: of the tile.

        Returns:
            As stored, with its no-data value; None if the run has no such layer.
        """


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """One tile: its objects, its maps, and what was stored of its dates; arrays are (y, x)."""

    objects: Components
    kinds: NDArray[np.uint8]
    """`objects.Kind` numbers."""
    before: NDArray[np.uint16] | None
    """Codes of the earlier date, 65535 = not observed; None for a map of one date."""
    after: NDArray[np.uint16]
    area: NDArray[np.bool_] | None
    """True inside the area of interest; None = everywhere."""
    layers: Layers
    pixel_m: float
    """Edge of a pixel, metres."""


@dataclass(frozen=True)
class View:
    """One strip of a tile, and its layers, each read once."""

    tile: Surveyed
    strip: Strip

    def codes(self, role: Role) -> NDArray[np.uint16] | None:
        """Return the codes of a date, 65535 = not observed."""
        codes = self.tile.before if role == "before" else self.tile.after
        return None if codes is None else codes[self.strip.rows]

    def layer(self, role: Role, name: str) -> NDArray[Any] | None:
        """Return a layer of a date on the rows of this strip."""
        known = self._layers
        if (role, name) not in known:
            known[role, name] = self.tile.layers(role, name, self.strip.rows)
        return known[role, name]

    def scene_classes(self, role: Role) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Return the scene classes of a date on the rows of this strip, and on those of `wide`."""
        known = self._layers
        if (role, "wide") not in known:
            known[role, "wide"] = self.tile.layers(role, "scl", self.wide)
        wide = known[role, "wide"]
        rows = self.strip.rows
        return (None if wide is None else wide[self.lead :][: rows.stop - rows.start]), wide

    @cached_property
    def _layers(self) -> dict[tuple[str, str], NDArray[Any] | None]:
        return {}

    @cached_property
    def wide(self) -> slice:
        """The rows of this strip and all rows from which a distance may count."""
        height = self.tile.objects.shape[0]
        rows = self.strip.rows
        return slice(max(rows.start - FARTHEST_PX, 0), min(rows.stop + FARTHEST_PX, height))

    @cached_property
    def heights(self) -> NDArray[np.int64] | None:
        """The codes of heights on the rows of this strip and one more on both sides."""
        height, width = self.tile.objects.shape
        rows = self.strip.rows
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, height)
        found = self.tile.layers(GROUND, "elevation", slice(first, last))
        if found is None:
            return None
        # Beyond the tile nothing is known.
        wide = np.full((rows.stop - rows.start + 2, width + 2), CUBE_NODATA, np.int64)
        at = first - (rows.start - 1)
        wide[at : at + len(found), 1:-1] = found
        return wide

    @property
    def lead(self) -> int:
        """Rows of `wide` before the strip."""
        return int(self.strip.rows.start - self.wide.start)


# --- how numbers become one ---------------------------------------------------------------------


class Mean:
    """The mean."""

    def __init__(self, count: int) -> None:
        self._total, self._n = np.zeros((2, count), np.int64)

    def add(self, index: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Add numbers of objects."""
        count = len(self._n)
        # bincount sums in float64: exact, for a strip has under 1e8 numbers below 1e6.
        self._total += np.bincount(index, values, minlength=count).astype(np.int64)
        self._n += np.bincount(index, minlength=count)

    def result(self) -> NDArray[np.float64]:
        """Return one number per object; NaN where there was none."""
        return np.where(self._n > 0, self._total / np.maximum(self._n, 1), np.nan)


class Least:
    """The least."""

    def __init__(self, count: int) -> None:
        self._least = np.full(count, np.iinfo(np.int64).max)

    def add(self, index: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Add numbers of objects."""
        np.minimum.at(self._least, index, values)

    def result(self) -> NDArray[np.float64]:
        """Return one number per object; NaN where there was none."""
        is_there = self._least < np.iinfo(np.int64).max
        return np.where(is_there, self._least, np.nan)


class Most:
    """The largest."""

    def __init__(self, count: int) -> None:
        self._least = Least(count)

    def add(self, index: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Add numbers of objects."""
        self._least.add(index, -values)

    def result(self) -> NDArray[np.float64]:
        """Return one number per object; NaN where there was none."""
        return -self._least.result()


class Span:
    """The largest minus the least."""

    def __init__(self, count: int) -> None:
        self._least, self._most = Least(count), Most(count)

    def add(self, index: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Add numbers of objects."""
        self._least.add(index, values)
        self._most.add(index, values)

    def result(self) -> NDArray[np.float64]:
        """Return one number per object; NaN where there was none."""
        return self._most.result() - self._least.result()


class NineTenths:
    """The least number that nine tenths of the numbers do not exceed."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen = [np.empty((2, 0), np.int64)]

    def add(self, index: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Add numbers of objects."""
        self._seen.append(np.stack([index, values]))

    def result(self) -> NDArray[np.float64]:
        """Return one number per object; NaN where there was none."""
        index, values = np.concatenate(self._seen, axis=1)
        values = values[np.lexsort((values, index))]
        n = np.bincount(index, minlength=self._count)
        # In whole numbers: 0.9 is none of binary fractions.
        place = np.cumsum(n) - n + (9 * n + 9) // 10 - 1
        found = np.full(self._count, np.nan)
        found[n > 0] = values[place[n > 0]]
        return found


class Direction:
    """The mean direction of numbers that are tenths of a degree."""

    def __init__(self, count: int) -> None:
        self._north, self._east = np.zeros((2, count), np.int64)

    def add(self, index: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Add numbers of objects."""
        count = len(self._north)
        # Whole numbers, which bincount adds exactly in float64, in any order.
        angles = np.deg2rad(values / 10)
        north, east = (np.rint(1e6 * part(angles)) for part in (np.cos, np.sin))
        self._north += np.bincount(index, north, minlength=count).astype(np.int64)
        self._east += np.bincount(index, east, minlength=count).astype(np.int64)

    def result(self) -> NDArray[np.float64]:
        """Return one number per object; NaN where there was none, or all cancel out."""
        tenths = np.rad2deg(np.arctan2(self._east, self._north)) * 10 % 3600
        return np.where((self._north != 0) | (self._east != 0), tenths, np.nan)


class Gain:
    """The decibels of the mean power after minus those before, of the numbers of `_backscatter`.

    Not the mean of the decibels: speckle lowers that below the power of the ground, by 2.5 dB in
    single looks and by 0.1 dB in twenty, so that sides of more and of fewer dates would differ.
    Source: Oliver and Quegan, Understanding Synthetic Aperture Radar Images, 2004.
    """

    def __init__(self, count: int) -> None:
        self._before, self._after = np.zeros((2, count), np.int64)

    def add(self, index: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Add numbers of objects."""
        before, after = np.divmod(values, _CODES)
        # Of whole numbers, so that no order of pixels changes a sum.
        np.add.at(self._before, index, _POWER[before])
        np.add.at(self._after, index, _POWER[after])

    def result(self) -> NDArray[np.float64]:
        """Return one number per object; NaN where there was none."""
        is_there = (self._before > 0) & (self._after > 0)
        ratio = np.where(is_there, self._after, 1) / np.where(is_there, self._before, 1)
        return np.where(is_there, 10 * np.log10(ratio), np.nan)


_CODES = 1 << 16
"""Codes of int16."""

_POWER = np.rint(
    (1 << 22)
    * 10 ** np.minimum((np.arange(_CODES) - _CODES // 2) * (CHANNELS["VV"].step / 10), 4.0)
).astype(np.int64)
"""Power of every code, from the lowest on, in steps of -66 dB; 40 dB stand for what is brighter
too, so that a whole tile of it can be added up."""


class Median:
    """The lower median of numbers of which there are few different ones."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen: dict[int, NDArray[np.int64]] = {}

    def add(self, index: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        """Add numbers of objects."""
        for value in np.unique(values).tolist():
            more = np.bincount(index[values == value], minlength=self._count)
            self._seen[value] = self._seen.get(value, 0) + more

    def result(self) -> NDArray[np.float64]:
        """Return one number per object; NaN where there was none."""
        found = np.full(self._count, np.nan)
        total: NDArray[np.int64] = sum(self._seen.values(), np.zeros(self._count, np.int64))
        so_far = np.zeros(self._count, np.int64)
        for value in sorted(self._seen):
            so_far = so_far + self._seen[value]
            is_reached = np.isnan(found) & (total > 0) & (2 * so_far >= total)
            found[is_reached] = value
        return found


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
    """Return the codes of both dates as one number, which `Gain` takes apart."""

    def numbers(view: View, at: Places) -> NDArray[np.int64]:
        one, other = (view.layer(RADAR, f"vv_{date}_{orbit}") for date in DATES)
        if one is None or other is None:
            return np.full(len(at.row), NONE)
        before, after = (layer[at.row, at.column].astype(np.int64) for layer in (one, other))
        is_seen = (before != CUBE_NODATA) & (after != CUBE_NODATA)
        both = (before + _CODES // 2) * _CODES + after + _CODES // 2
        return np.where(is_seen, both, NONE)

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
    return pd.to_datetime(pd.Series(numbers), unit="D", utc=True)


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
        ground and of radar where the run knows them; NaN, or no time, where nothing says.
    """
    unknown: set[str] = set()
    for role, name, names in ((GROUND, "slope", TERRAIN), (RADAR, "vv_before_asc", OF_RADAR)):
        if tile.layers(role, name, slice(0, 1)) is None:
            unknown |= set(names)
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
