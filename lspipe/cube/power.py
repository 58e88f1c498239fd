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
    by_date = [list(group) for _, group in groupby(files, key=lambda file: file.day)]
    # By rows of cells, so that a block needs no more memory for being large.
    for _, row in groupby(cells(part), key=lambda cell: cell[0].start):
        strip = list(row)
        means = [_Mean() for _ in strip]
        for slices in by_date:
            for mean, seen in zip(means, _date(slices, grid, strip), strict=True):
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
