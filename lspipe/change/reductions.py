"""Whole numbers of the pixels of many objects -> one number for each object, strip by strip.

Each class is given numbers with `add`, in any order and any portions, and tells one of each object
with `result`. All sums are of integers, so no result depends on how a tile is cut.

See also: `evidence.py`, whose columns are made by these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lspipe.schema import CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CODES = 1 << 16
"""Codes of int16."""

_POWER = np.rint(
    (1 << 22)
    * 10 ** np.minimum((np.arange(_CODES) - _CODES // 2) * (CHANNELS["VV"].step / 10), 4.0)
).astype(np.int64)
"""Power of every code, from the lowest on, in steps of -66 dB; 40 dB stand for what is brighter
too, so that a whole tile of it can be added up."""


def both_codes(before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the codes of two dates as one number, which `Gain` takes apart."""
    joined: NDArray[np.int64] = (before + _CODES // 2) * _CODES + after + _CODES // 2
    return joined


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
    """The decibels of the mean power after minus those before, of the numbers of `both_codes`.

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
