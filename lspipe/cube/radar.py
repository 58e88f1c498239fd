"""The backscatter of a tile, VV before and after, as int16 codes on its grid.

    file        one slice of one pass -> linear power (`radar_file.py`)
    date        the slices of one pass; the first that saw a pixel counts
    side        the mean over its dates in linear power, of three dates or more where there are;
                of fewer dates, filtered (Lee, 5 x 5)
    channel     decibels, or amplitude, of that mean

Each file is resampled once, linearly and in power: a spline would overshoot beside bright walls. A
pixel does not depend on blocks or chunks: it is decided by the square of 610 pixels that it lies
in, and by a rim around this.

Source: Small 2011, doi:10.1109/TGRS.2011.2120616 (terrain-flattened gamma0); Lee 1980,
doi:10.1109/TPAMI.1980.4766994.

See also: `radar_spec.py` (the section `radar:`), `sentinel1.py` (items -> passes).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from scipy import ndimage

from lspipe.cube.canvas import Lattice
from lspipe.cube.height_file import crs_of
from lspipe.cube.heights import CELL, RIM, between, cells, control_of, hull
from lspipe.cube.radar_file import RIM_PX, HiddenFile, RadarFile, read_power, without_noise
from lspipe.schema import AFTER, BEFORE, CHANNELS, CUBE_NODATA, relative, split_channel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.scene import Chunks
    from lspipe.schema import Part

ENOUGH_DATES = 3
"""Dates that are averaged without a filter."""

LOOKS = 4.4
"""Independent looks in a pixel of one date. Source: Sentinel-1 product specification, IW GRDH."""

LEE_PX = 5
"""Edge of the window of the filter, pixels."""

TOLERATED_PX = 0.1
"""A shift that is not undone: 1 m, which resampling would blur for nothing."""

SURE = 2.0
"""Times the spread of its windows that a shift must be to be undone: on flat, even ground speckle
makes shifts of its own, of half a pixel (docs/radar.md)."""

LARGEST_PX = 1.0
"""Beyond this the sides of a pass are not compared."""

_HALO = LEE_PX // 2
"""Pixels around a cell whose power is known too."""

_INNER = (slice(RIM - _HALO, RIM + CELL + _HALO),) * 2
"""The pixels of a cell and its halo, among those whose places are known."""

_MARGIN = RIM_PX + 2
"""Pixels of a file around a cell: what tells noise along a rim, and the neighbour of the last."""


@dataclass(frozen=True, kw_only=True)
class RadarPass:
    """The acquisitions of one relative orbit over a tile, before and after."""

    orbit_state: str
    """"ascending" or "descending"."""
    relative_orbit: int
    sides: Mapping[str, tuple[RadarFile, ...]]
    """"before" and "after" to files, in order of time; those of one day are slices of one date."""
    shift: tuple[float, float] | None = None
    """By how much the side after lies to the right of, and below, the side before: pixels of the
    tile; None = it cannot be told."""
    spread_px: float = 0.0
    """By how much the windows in which it was measured differ, as `registration.Shift` has it."""

    @property
    def name(self) -> str:
        """How people call it: "ascending 117"."""
        return f"{self.orbit_state} {self.relative_orbit}"

    @property
    def platforms(self) -> tuple[str, ...]:
        """The satellites of both sides, in order."""
        return tuple(sorted({file.platform for files in self.sides.values() for file in files}))

    def dates(self, side: str) -> tuple[str, ...]:
        """Return the dates of a side, ISO 8601."""
        return tuple(dict.fromkeys(file.day for file in self.sides[side]))

    def is_filtered(self, side: str) -> bool:
        """Return whether a side has so few dates that speckle is filtered."""
        return len(self.dates(side)) < ENOUGH_DATES

    @property
    def moved_px(self) -> tuple[float, float]:
        """By how much the side after is moved back: right and down, pixels."""
        least = max(TOLERATED_PX, SURE * self.spread_px)
        if self.shift is None or np.hypot(*self.shift) <= least:
            return 0.0, 0.0
        return self.shift

    def facts(self) -> dict[str, Any]:
        """Return plain JSON that decides its pixels."""
        return {
            "orbit": self.name,
            "moved_px": list(self.moved_px),
            "sides": {
                side: [_facts(file) for file in files] for side, files in sorted(self.sides.items())
            },
        }


@dataclass(frozen=True, kw_only=True)
class Radar:
    """The radar of a tile: which passes, and what is done to them. Small, and travels."""

    name: str
    """As the workflow names it: a collection, or a path to items."""
    passes: tuple[RadarPass, ...]
    """The first is the one that models see; another, of the other direction, is evidence too."""
    notes: tuple[str, ...] = ()
    """What a person is to know of them."""
    asked: str = ""
    """Hash of what was asked for when the passes were decided."""

    def facts(self) -> dict[str, Any]:
        """Return plain JSON that decides the pixels of all passes."""
        return {"radar": self.name, "passes": [one.facts() for one in self.passes]}

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Radar:
        """Return what `as_json` wrote."""
        passes = tuple(map(_pass, content["passes"]))
        return cls(**{**content, "passes": passes, "notes": tuple(content["notes"])})


def _facts(file: RadarFile) -> list[Any]:
    """Return plain JSON that decides the pixels of a file, apart from its content."""
    hidden = file.hidden and [file.hidden.asset, list(file.hidden.numbers)]
    return [file.day, file.item, file.asset, list(file.transform), hidden]


def _pass(content: Mapping[str, Any]) -> RadarPass:
    sides = {side: tuple(map(_file, files)) for side, files in content["sides"].items()}
    shift = content["shift"]
    return RadarPass(
        **{**content, "sides": sides, "shift": None if shift is None else tuple(shift)}
    )


def _file(content: Mapping[str, Any]) -> RadarFile:
    hidden = content["hidden"]
    if hidden is not None:
        hidden = HiddenFile(**{**hidden, "numbers": tuple(hidden["numbers"])})
    return RadarFile(
        **{
            **content,
            "transform": tuple(content["transform"]),
            "shape": tuple(content["shape"]),
            "hidden": hidden,
        }
    )


# --- channels -----------------------------------------------------------------------------------


def read(
    radar: Radar,
    geobox: GeoBox,
    part: Part,
    names: Sequence[str],
    pass_number: int = 0,
    *,
    role: str = AFTER,
) -> NDArray[np.int16]:
    """Read a part of a tile.

    Args:
        radar: of the tile.
        geobox: the tile's grid, in a projected CRS in metres.
        part: rows and columns of it.
        names: `before:VV`, `after:VV`, `before:VV_amplitude`, `after:VV_amplitude`, in the order of
            the result.
        pass_number: which of the passes.
        role: the side of names without a date, "before" or "after".

    Returns:
        int16 codes (channel, y, x), value = code x step of the channel (0.002 dB), -32768 = not
        observed.

    Raises:
        LoadError: a file cannot be read, or holds no linear power.
    """
    rows, columns = part
    shape = (len(names), rows.stop - rows.start, columns.stop - columns.start)
    found = np.full(shape, CUBE_NODATA, np.int16)
    wanted = [split_channel(name) for name in names]
    for side in (BEFORE, AFTER):
        numbers = [n for n, (date, _) in enumerate(wanted) if (date or role) == side]
        if not numbers:
            continue
        for cell, power in _powers(radar.passes[pass_number], side, geobox, part):
            inside = _both(cell, part)
            into, cut = (relative(inside, (one[0].start, one[1].start)) for one in (part, cell))
            for number in numbers:
                found[number][into] = to_codes(power[cut], wanted[number][1])
    return found


def to_codes(power: NDArray[np.float32], name: str) -> NDArray[np.int16]:
    """Return int16 codes of linear power, -32768 = not observed; what is beyond is cut.

    Args:
        power: float32, NaN = not observed.
        name: `VV`, decibels, or `VV_amplitude`, the square root of power.

    Example:
        >>> to_codes(np.float32([0.1, 1.0, np.nan]), "VV").tolist()  # -10 and 0 dB
        [-5000, 0, -32768]
    """
    channel = CHANNELS[name]
    values = np.sqrt(power) if name.endswith("_amplitude") else np.float32(10) * np.log10(power)
    cut = np.clip(values, channel.low, min(channel.high, 32767 * channel.step))
    codes = np.rint(cut / np.float32(channel.step))
    return np.where(np.isnan(power), CUBE_NODATA, codes).astype(np.int16)


def layers(
    radar: Radar,
    geobox: GeoBox,
    names: Sequence[str],
    chunks: Chunks,
    pass_number: int = 0,
    *,
    role: str = AFTER,
    origin: tuple[int, int] = (0, 0),
) -> dict[str, da.Array]:
    """Open channels of a tile, or of a part of it, lazily; nothing is read.

    Args:
        radar: of the tile.
        geobox: the tile's grid.
        names: channels, as of `read`.
        chunks: chunk sizes along y and along x, pixels.
        pass_number: which of the passes.
        role: the side of names without a date.
        origin: row and column in the tile of their first pixel.

    Returns:
        By name int16 codes (y, x); all channels of a chunk are read at once.
    """
    if not names:
        return {}
    how = {"pass_number": pass_number, "role": role, "origin": origin}
    token = tokenize(radar.as_json(), str(geobox), tuple(names), chunks, how)
    together = da.map_blocks(
        _chunk,
        radar=radar,
        geobox=geobox,
        names=tuple(names),
        **how,
        chunks=((len(names),), *chunks),
        dtype=np.int16,
        meta=np.empty((0, 0, 0), np.int16),
        name=f"radar-{token}",
    )
    return {name: together[number] for number, name in enumerate(names)}


def _chunk(
    *,
    radar: Radar,
    geobox: GeoBox,
    names: tuple[str, ...],
    pass_number: int,
    role: str,
    origin: tuple[int, int],
    block_info: Mapping[Any, Any] | None = None,
) -> NDArray[np.int16]:
    (_, *place) = (block_info or {})[None]["array-location"]
    rows, columns = (
        slice(first + start, first + stop)
        for first, (start, stop) in zip(origin, place, strict=True)
    )
    return read(radar, geobox, (rows, columns), names, pass_number, role=role)


# --- power --------------------------------------------------------------------------------------


def _powers(
    one: RadarPass, side: str, geobox: GeoBox, part: Part
) -> Iterator[tuple[Part, NDArray[np.float32]]]:
    """Yield the cells that hold a part of a tile, and the mean power of a side on each."""
    grid = geobox.translate_pix(*one.moved_px) if side == AFTER else geobox
    by_date = [list(files) for _, files in groupby(one.sides[side], key=lambda file: file.day)]
    # By rows of cells, so that a block needs no more memory for being large.
    for _, row in groupby(cells(part), key=lambda cell: cell[0].start):
        strip = list(row)
        means = [_Mean() for _ in strip]
        for files in by_date:
            for mean, seen in zip(means, _date(files, grid, strip), strict=True):
                mean.add(seen)
        for cell, mean in zip(strip, means, strict=True):
            yield cell, mean.of(len(by_date))


class _Mean:
    """The sum of the dates of one cell, and how many saw each pixel."""

    def __init__(self) -> None:
        edge = CELL + 2 * _HALO
        self.total = np.zeros((edge, edge), np.float32)
        self.count = np.zeros((edge, edge), np.uint8)

    def add(self, power: NDArray[np.float32] | None) -> None:
        """Add a date; None = it saw nothing here."""
        if power is not None:
            is_seen = ~np.isnan(power)
            self.total += np.where(is_seen, power, 0)
            self.count += is_seen

    def of(self, dates: int) -> NDArray[np.float32]:
        """Return the mean of a cell, filtered where there are few dates; NaN = not observed."""
        least = ENOUGH_DATES if dates >= ENOUGH_DATES else 1
        is_seen = self.count >= least
        mean = np.where(is_seen, self.total / np.maximum(self.count, 1), np.float32(np.nan))
        if dates < ENOUGH_DATES:
            mean = lee(mean, LOOKS * dates)
        return mean[_HALO:-_HALO, _HALO:-_HALO]


def lee(power: NDArray[np.float32], looks: float) -> NDArray[np.float32]:
    """Return power with less speckle, where it varies no more than speckle does.

    Args:
        power: float32 (y, x), linear, NaN = not observed.
        looks: independent looks in a pixel.

    Returns:
        float32, NaN where `power` is.

    Example:
        >>> speckle = np.random.default_rng(0).gamma(4, 0.1 / 4, (99, 99)).astype(np.float32)
        >>> bool(lee(speckle, 4).std() < 0.5 * speckle.std())
        True
    """
    is_seen = ~np.isnan(power)
    filled = np.where(is_seen, power, 0).astype(np.float64)
    mean, squares = (ndimage.uniform_filter(each, LEE_PX) for each in (filled, filled**2))
    if not is_seen.all():
        share = ndimage.uniform_filter(is_seen.astype(np.float64), LEE_PX)
        share = np.maximum(share, 1 / (2 * LEE_PX**2))
        mean, squares = mean / share, squares / share
    of_speckle = mean**2
    varies = np.maximum(squares - of_speckle, 0)
    of_ground = np.maximum(varies - of_speckle / looks, 0) / (1 + 1 / looks)
    weight = np.divide(of_ground, varies, out=np.zeros_like(varies), where=varies > 0)
    smooth = mean + np.minimum(weight, 1) * (filled - mean)
    return np.where(is_seen, smooth, np.nan).astype(np.float32)


# --- resampling ---------------------------------------------------------------------------------


def _date(
    files: Sequence[RadarFile], grid: GeoBox, strip: Sequence[Part]
) -> list[NDArray[np.float32] | None]:
    """Return the power of one date on each cell of a strip; None where no slice saw anything."""
    found: list[NDArray[np.float32] | None] = [None] * len(strip)
    for file in files:
        for number, power in _sampled(file, grid, strip):
            known = found[number]
            found[number] = power if known is None else np.where(np.isnan(known), power, known)
    return found


def _sampled(
    file: RadarFile, grid: GeoBox, strip: Sequence[Part]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the cells that a file meets, by number, with its power there and around."""
    places = [_places(file, grid, cell) for cell in strip]
    windows = [_window(place) for place in places]
    meets = [_meets(window, file.shape) for window in windows]
    if not any(meets):
        return
    whole = hull([window for window, is_met in zip(windows, meets, strict=True) if is_met])
    power = read_power(file, whole)
    for number, (place, window, is_met) in enumerate(zip(places, windows, meets, strict=True)):
        if is_met:
            cut = without_noise(power[relative(window, (whole[0].start, whole[1].start))])
            yield number, _linear(cut, *_from(place, window))


_Places = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
"""Row and column in a file of the pixels of a cell: (y,) and (x,) on the axes of the file, else
both (y, x)."""


def _places(file: RadarFile, grid: GeoBox, cell: Part) -> _Places:
    width, _, left, _, height, top = file.transform
    if _is_same_crs(file.crs, grid.crs.to_wkt()):
        y, x = (np.arange(span.start - _HALO, span.stop + _HALO) + 0.5 for span in cell)
        to = grid.transform
        return (
            _snapped((to.f + y * to.e - top) / height - 0.5),
            _snapped((to.c + x * to.a - left) / width - 0.5),
        )
    lattice = Lattice(file.crs, left, top, width, -height, None)
    rows, columns = (between(axis, _INNER) for axis in control_of(grid, cell, lattice))
    return rows, columns


def _snapped(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places, on a pixel where they are within a millimetre of it."""
    nearest = np.rint(places)
    return np.where(np.abs(places - nearest) < 1e-4, nearest, places)


@lru_cache(maxsize=64)
def _is_same_crs(one: str, other: str) -> bool:
    return bool(crs_of(one).equals(crs_of(other), ignore_axis_order=True))


def _window(places: _Places) -> Part:
    rows, columns = (
        slice(int(np.floor(axis.min())) - _MARGIN, int(np.ceil(axis.max())) + _MARGIN + 1)
        for axis in places
    )
    return rows, columns


def _meets(window: Part, shape: tuple[int, int]) -> bool:
    return all(
        span.start < length and span.stop > 0 for span, length in zip(window, shape, strict=True)
    )


def _from(places: _Places, window: Part) -> _Places:
    rows, columns = (axis - span.start for axis, span in zip(places, window, strict=True))
    return rows, columns


def _linear(
    cut: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return values between pixels; not observed where a pixel that counts is not."""
    between_ = _on_axes if rows.ndim == 1 else _anywhere
    is_hole = np.isnan(cut)
    if not is_hole.any():
        return between_(cut, rows, columns)
    found = between_(np.where(is_hole, np.float32(0), cut), rows, columns)
    share = between_(is_hole.astype(np.float32), rows, columns)
    return np.where(share > 1e-6, np.float32(np.nan), found)


def _on_axes(
    cut: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    (upper, lower, v), (left, right, u) = (_pairs(axis) for axis in (rows, columns))
    mixed = cut[upper] * (1 - v)[:, None] + cut[lower] * v[:, None]
    return np.asarray(mixed[:, left] * (1 - u) + mixed[:, right] * u, np.float32)


def _pairs(places: NDArray[np.float64]) -> tuple[Any, Any, NDArray[np.float32]]:
    """Return the pixels before and behind places on an axis, and the weight of those behind."""
    first = np.floor(places).astype(int)
    weights = (places - first).astype(np.float32)
    if np.array_equal(first, np.arange(first[0], first[0] + len(first))):
        # Slices are views: a third of the time, where the pixels are as large as the tile's.
        return (
            slice(first[0], first[-1] + 1),
            slice(first[0] + 1, first[-1] + 2),
            weights,
        )
    return first, first + 1, weights


def _anywhere(
    cut: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    down, right = np.floor(rows), np.floor(columns)
    v, u = (rows - down).astype(np.float32), (columns - right).astype(np.float32)
    place = down.astype(np.intp) * cut.shape[1] + right.astype(np.intp)
    flat = np.ascontiguousarray(cut).reshape(-1)
    upper = flat[place] * (1 - u) + flat[place + 1] * u
    place += cut.shape[1]
    lower = flat[place] * (1 - u) + flat[place + 1] * u
    return np.asarray(upper * (1 - v) + lower * v, np.float32)


def _both(one: Part, other: Part) -> Part:
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, columns
