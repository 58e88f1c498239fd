"""The files of one side of a pass -> their mean backscatter in linear power, on cells of a tile.

    file        one slice of one pass (`radar_file.py`), resampled once, linearly and in power: a
                spline would overshoot beside bright walls
    date        the slices of one pass; the first that saw a pixel counts
    side        the mean over its dates, of three dates or more where there are; of fewer dates,
                filtered (Lee, 5 x 5)

A pixel is decided by the square of 610 pixels that it lies in, and by a rim around this, so it does
not depend on blocks or chunks.

Source: Lee 1980, doi:10.1109/TPAMI.1980.4766994.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from lspipe.cube.canvas import Lattice
from lspipe.cube.height_file import crs_of
from lspipe.cube.heights import CELL, RIM, between, cells, control_of, hull
from lspipe.cube.radar_file import RIM_PX, read_power, without_noise
from lspipe.schema import relative

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.radar_file import RadarFile
    from lspipe.schema import Part

ENOUGH_DATES = 3
"""Dates that are averaged without a filter."""

LOOKS = 4.4
"""Independent looks in a pixel of one date. Source: Sentinel-1 product specification, IW GRDH."""

LEE_PX = 5
"""Edge of the window of the filter, pixels."""

_HALO = LEE_PX // 2
"""Pixels around a cell whose power is known too."""

_BLOCK = 512
"""Rows of a block of a file, which is unpacked as a whole, or a multiple of them."""

_STRIP = 64
"""Rows that are resampled at a time: what they need stays in the cache of a processor."""

_INNER = (slice(RIM - _HALO, RIM + CELL + _HALO),) * 2
"""The pixels of a cell and its halo, among those whose places are known."""

_MARGIN = RIM_PX + 2
"""Pixels of a file around a cell: what tells noise along a rim, and the neighbour of the last."""


def powers(
    files: Sequence[RadarFile], grid: GeoBox, part: Part
) -> Iterator[tuple[Part, NDArray[np.float32]]]:
    """Yield the cells that hold a part of a tile, and the mean power of one side on each.

    Args:
        files: of the side, in order of time; those of one day are slices of one date.
        grid: of the tile.
        part: rows and columns of it.

    Yields:
        The cell, and float32 (y, x) of it, linear power, NaN = not observed.

    Raises:
        LoadError: a file cannot be read, or holds no linear power.
    """
    # By rows of cells, so that a block needs no more memory for being large.
    strips = [list(row) for _, row in groupby(cells(part), key=lambda cell: cell[0].start)]
    by_date = [
        [_Slice(file, grid, strips) for file in group]
        for _, group in groupby(files, key=lambda file: file.day)
    ]
    for number, strip in enumerate(strips):
        means = [_Mean() for _ in strip]
        for slices in by_date:
            for mean, seen in zip(means, _date(slices, number, len(strip)), strict=True):
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
        if power is None:
            return
        if np.isnan(power.max()):
            is_seen = ~np.isnan(power)
            self.total += np.where(is_seen, power, 0)
            self.count += is_seen
        else:
            self.total += power
            self.count += 1

    def of(self, dates: int) -> NDArray[np.float32]:
        """Return the mean of a cell, filtered where there are few dates; NaN = not observed."""
        least = ENOUGH_DATES if dates >= ENOUGH_DATES else 1
        if self.count.min() == dates:  # as nearly all cells
            mean = self.total / np.float32(dates)
        else:
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
    found = np.empty(power.shape, np.float32)
    for top in range(0, len(power), _STRIP):
        strip = slice(top, top + _STRIP)
        found[strip] = _less_speckle(filled[strip], mean[strip], squares[strip], looks)
    found[~is_seen] = np.nan
    return found


def _less_speckle(
    power: NDArray[np.float64],
    mean: NDArray[np.float64],
    squares: NDArray[np.float64],
    looks: float,
) -> NDArray[np.float64]:
    """Return power, nearer to the mean of its window where this varies as speckle does."""
    of_speckle = mean**2
    varies = np.maximum(squares - of_speckle, 0)
    of_ground = np.maximum(varies - of_speckle / looks, 0) / (1 + 1 / looks)
    weight = np.divide(of_ground, varies, out=np.zeros_like(varies), where=varies > 0)
    smooth: NDArray[np.float64] = mean + np.minimum(weight, 1) * (power - mean)
    return smooth


# --- resampling ---------------------------------------------------------------------------------


def _date(slices: Sequence[_Slice], number: int, cells: int) -> list[NDArray[np.float32] | None]:
    """Return the power of one date on each cell of a strip; None where no slice saw anything."""
    found: list[NDArray[np.float32] | None] = [None] * cells
    for one in slices:
        for cell, power in one.of_strip(number):
            known = found[cell]
            found[cell] = power if known is None else np.where(np.isnan(known), power, known)
    return found


class _Slice:
    """A file below strips of cells, which are asked for from north to south.

    A strip ends within blocks of the file, which are unpacked as a whole. Their rows are kept as
    long as another strip needs them: else most of a file would be unpacked twice.
    """

    def __init__(self, file: RadarFile, grid: GeoBox, strips: Sequence[Sequence[Part]]) -> None:
        self._file, self._grid, self._strips = file, grid, strips
        self._windows = [[_window(file, grid, cell) for cell in strip] for strip in strips]
        self._rows = [hull(windows)[0] for windows in self._windows]
        """Of the file, that each strip needs."""
        self._columns = hull([one for windows in self._windows for one in windows])[1]
        self._first = self._rows[0].start
        self._power = np.empty((0, self._columns.stop - self._columns.start), np.float32)
        """From the row `_first` on."""

    def of_strip(self, number: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the cells of a strip that the file meets, by number, with the power there."""
        windows = self._windows[number]
        met = [cell for cell, window in enumerate(windows) if _meets(window, self._file.shape)]
        if not met:
            return
        self._read(self._rows[number])
        for cell in met:
            cut = self._power[relative(windows[cell], (self._first, self._columns.start))]
            places = _places(self._file, self._grid, self._strips[number][cell])
            yield cell, _linear(without_noise(cut), *_from(places, windows[cell]))
        following = self._rows[number + 1 : number + 2]
        self._forget(following[0].start if following else self._rows[-1].stop)

    def _read(self, rows: slice) -> None:
        """Read those of some rows that are not there yet, to the end of a block."""
        first = max(rows.start, self._first + len(self._power))
        if first >= rows.stop:
            return
        last = min(-(-rows.stop // _BLOCK) * _BLOCK, self._rows[-1].stop)
        more = read_power(self._file, (slice(first, last), self._columns))
        self._forget(rows.start)
        self._power = np.concatenate([self._power, more]) if len(self._power) else more

    def _forget(self, first: int) -> None:
        """Drop the rows before one."""
        if first != self._first:
            self._power = self._power[max(0, first - self._first) :].copy()
            self._first = first


_Places = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
"""Row and column in a file of the pixels of a cell: (y,) and (x,) on the axes of the file, else
both (y, x)."""


def _places(file: RadarFile, grid: GeoBox, cell: Part) -> _Places:
    if _is_same_crs(file.crs, str(grid.crs)):
        return _on_its_axes(file, grid, cell)
    rows, columns = (between(axis, _INNER) for axis in _control(file, grid, cell))
    return rows, columns


def _on_its_axes(file: RadarFile, grid: GeoBox, cell: Part) -> _Places:
    width, _, left, _, height, top = file.transform
    y, x = (np.arange(span.start - _HALO, span.stop + _HALO) + 0.5 for span in cell)
    to = grid.transform
    return (
        _snapped((to.f + y * to.e - top) / height - 0.5),
        _snapped((to.c + x * to.a - left) / width - 0.5),
    )


def _control(file: RadarFile, grid: GeoBox, cell: Part) -> _Places:
    """Return where every 53rd pixel of a cell and its rim lies in a file of another zone."""
    width, _, left, _, height, top = file.transform
    return control_of(grid, cell, Lattice(file.crs, left, top, width, -height, None))


def _snapped(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places, on a pixel where they are within a millimetre of it."""
    nearest = np.rint(places)
    return np.where(np.abs(places - nearest) < 1e-4, nearest, places)


@lru_cache(maxsize=64)
def _is_same_crs(one: str, other: str) -> bool:
    return bool(crs_of(one).equals(crs_of(other), ignore_axis_order=True))


def _window(file: RadarFile, grid: GeoBox, cell: Part) -> Part:
    """Return the pixels of a file that decide those of a cell."""
    is_same = _is_same_crs(file.crs, str(grid.crs))
    places = (_on_its_axes if is_same else _control)(file, grid, cell)
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
    if not np.isnan(cut.max()):
        return between_(cut, rows, columns)
    is_hole = np.isnan(cut)
    found = between_(np.where(is_hole, np.float32(0), cut), rows, columns)
    share = between_(is_hole.astype(np.float32), rows, columns)
    return np.where(share > 1e-6, np.float32(np.nan), found)


def _on_axes(
    cut: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float32]:
    left, right, u = _pairs(columns)
    nearest, _, below = _pairs(rows)
    if not (u.any() or below.any()):
        # The pixels of the file are those of the tile, as Planetary Computer's are in their zone.
        pixels: NDArray[np.float32] = cut[nearest][:, left]
        return pixels
    found = np.empty((len(rows), len(columns)), np.float32)
    for top in range(0, len(rows), _STRIP):
        upper, lower, v = _pairs(rows[top : top + _STRIP])
        mixed = cut[upper] * (1 - v)[:, None]
        mixed += cut[lower] * v[:, None]
        strip = np.multiply(mixed[:, left], 1 - u, out=found[top : top + _STRIP])
        strip += mixed[:, right] * u
    return found


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
    width = cut.shape[1]
    flat = np.ascontiguousarray(cut).reshape(-1)
    found = np.empty(rows.shape, np.float32)
    # Strip by strip in the same memory, as the spline of heights.
    shape = (_STRIP, rows.shape[1])
    downs, rights, indices = np.empty(shape), np.empty(shape), np.empty(shape, np.intp)
    vs, us, lowers, parts = (np.empty(shape, np.float32) for _ in range(4))
    for top in range(0, len(rows), _STRIP):
        strip = found[top : top + _STRIP]
        inside = slice(len(strip))
        down, right, index = downs[inside], rights[inside], indices[inside]
        v, u, lower, part = vs[inside], us[inside], lowers[inside], parts[inside]
        for places, pixel, way in ((rows, down, v), (columns, right, u)):
            place = places[top : top + _STRIP]
            np.subtract(place, np.floor(place, out=pixel), out=way, casting="same_kind")
        down *= width
        np.add(down, right, out=index, casting="unsafe")
        _to_the_right(flat, index, u, strip, part)
        _to_the_right(flat[width:], index, u, lower, part)
        strip *= np.subtract(1, v, out=part)
        lower *= v
        strip += lower
    return found


def _to_the_right(
    flat: NDArray[np.float32],
    index: NDArray[np.intp],
    way: NDArray[np.float32],
    found: NDArray[np.float32],
    buffer: NDArray[np.float32],
) -> None:
    """Put what lies a part of the way from each pixel to the next one into `found`."""
    # All lie within; to check each, NumPy would need memory again.
    np.take(flat, index, out=found, mode="wrap")
    found *= np.subtract(1, way, out=buffer)
    np.take(flat[1:], index, out=buffer, mode="wrap")
    buffer *= way
    found += buffer
