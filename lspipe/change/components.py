"""A raster -> its connected components, as runs of pixels along its rows.

A run is some pixels of one row, side by side and of one value. A component is held as its runs, so
that memory and time go with the objects of a tile and not with its 120 million pixels; labels are
painted where they are asked for, some rows at a time.

The components are the same however the raster was cut: they are numbered by their first pixel in
row-major order.

Covers: components of equal non-zero values; grouping by pairs.  Does not cover: outlines
(`outlines.py`), what an object is (`objects.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lspipe.schema import Part

BLOCK = 1024
"""Edge of a block, pixels: temporaries of 8 bytes a pixel stay under 10 MB."""


@dataclass(frozen=True)
class Components:
    """Labelled components of a raster."""

    shape: tuple[int, int]
    """Rows and columns of the raster."""
    start: NDArray[np.int64]
    """(runs,): flat index of the first pixel of each run, ascending."""
    stop: NDArray[np.int64]
    """(runs,): flat index behind its last pixel."""
    owner: NDArray[np.int64]
    """(runs,): index of its component, 0..count-1."""
    first: NDArray[np.int64]
    """(count,): flat index of the first pixel of each component, ascending."""

    @property
    def count(self) -> int:
        """Number of components."""
        return len(self.first)

    @property
    def n_px(self) -> NDArray[np.int64]:
        """(count,): pixels of each component."""
        # Sums in float64 are exact: a raster has fewer than 2^53 pixels.
        return np.bincount(self.owner, self.stop - self.start, self.count).astype(np.int64)

    @property
    def labels(self) -> NDArray[np.int32]:
        """(y, x): 0 = background, 1..count in row-major order of each component's first pixel."""
        return self.painted(slice(0, self.shape[0]))

    def painted(self, rows: slice) -> NDArray[np.int32]:
        """Return the labels of some rows, of which `rows` has begin and end."""
        labels = np.zeros((rows.stop - rows.start, self.shape[1]), np.int32)
        owner, pixels = self.pixels(rows)
        labels.ravel()[pixels] = owner + 1
        return labels

    def pixels(self, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the component of each labelled pixel of some rows, and its flat index in them."""
        width = self.shape[1]
        begin, end = np.searchsorted(self.start, [rows.start * width, rows.stop * width])
        start, stop = self.start[begin:end], self.stop[begin:end]
        owner = np.repeat(self.owner[begin:end], stop - start)
        return owner, _ranges(start - rows.start * width, stop - start)

    def at(self, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the component of pixels, given as flat indices, that have one."""
        found: NDArray[np.int64] = self.owner[np.searchsorted(self.start, pixels, "right") - 1]
        return found

    def boxes(self) -> NDArray[np.int64]:
        """Return (count, 4): first row and column of each component, and those after its last."""
        if not self.count:
            return np.zeros((0, 4), np.int64)
        order = np.argsort(self.owner, kind="stable")
        row, column = np.divmod(self.start[order], self.shape[1])
        begin = np.flatnonzero(np.diff(self.owner[order], prepend=-1))
        # The runs of a component are in the order of their rows.
        last = np.append(begin[1:], len(order)) - 1
        right = column + (self.stop - self.start)[order]
        left, right = np.minimum.reduceat(column, begin), np.maximum.reduceat(right, begin)
        return np.stack([row[begin], left, row[last] + 1, right], axis=1)

    def select(self, wanted: NDArray[np.bool_]) -> Components:
        """Return only the wanted components, renumbered in order; wanted is bool (count,)."""
        number = np.cumsum(wanted) - 1
        kept = wanted[self.owner]
        return Components(
            self.shape,
            self.start[kept],
            self.stop[kept],
            number[self.owner[kept]],
            self.first[wanted],
        )


def label(
    values: NDArray[Any], *, block: int | tuple[int, int] = BLOCK, connectivity: int = 8
) -> Components:
    """Label the connected components of equal, non-zero values.

    Args:
        values: (y, x) bool or integer; 0 or False = background. Pixels of different values are
            never connected.
        block: rows and columns looked at at a time, pixels; never changes the result.
        connectivity: 8 (diagonal pixels are connected) or 4.

    Raises:
        ValueError: `connectivity` is neither 4 nor 8, or a block has no size.

    Example:
        >>> found = label(np.array([[1, 1, 0, 2], [0, 0, 1, 2]]))
        >>> found.labels
        array([[1, 1, 0, 2],
               [0, 0, 1, 2]], dtype=int32)
        >>> found.n_px
        array([3, 2])
    """
    if connectivity not in {4, 8}:
        raise ValueError(f"connectivity {connectivity}: expected 4 or 8")
    rows, columns = (block, block) if isinstance(block, int) else block
    if rows < 1 or columns < 1:
        raise ValueError(f"block {block}: expected at least one pixel on each axis")
    height, width = values.shape
    found = [_runs(values, cut) for cut in _cuts((height, width), rows, columns)]
    if not found:
        found = [_runs(values, (slice(0, 0), slice(0, 0)))]
    start, stop, value = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.argsort(start, kind="stable")
    start, stop, value = start[order], stop[order], value[order]
    pairs = _touching(start, stop, width, reach=1 if connectivity == 8 else 0)
    pairs = pairs[value[pairs[:, 0]] == value[pairs[:, 1]]]
    owner, first = _number(group(len(start), pairs), start)
    return Components((height, width), start, stop, owner, first)


def group(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group `count` things by pairs that belong together.

    Args:
        count: how many things there are.
        pairs: (n, 2) indices 0..count-1; may repeat, may be empty.

    Returns:
        (count,) group of each thing, 0..groups-1, in no promised order.
    """
    if count == 0:
        return np.zeros(0, np.int64)
    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    groups: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def _cuts(shape: tuple[int, int], rows: int, columns: int) -> Iterator[Part]:
    for row in range(0, shape[0], rows):
        for column in range(0, shape[1], columns):
            yield (
                slice(row, min(row + rows, shape[0])),
                slice(column, min(column + columns, shape[1])),
            )


def _runs(
    values: NDArray[Any], cut: Part
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Return begin and end of the runs of a block, as flat indices of the raster, and values."""
    flat = values[cut].ravel()
    pixels = np.flatnonzero(flat)
    value = flat[pixels]
    row, column = np.divmod(pixels, max(cut[1].stop - cut[1].start, 1))
    begins = (np.diff(pixels, prepend=-2) != 1) | (column == 0)
    begins[1:] |= value[1:] != value[:-1]
    begin = np.flatnonzero(begins)
    start = (row[begin] + cut[0].start) * values.shape[1] + column[begin] + cut[1].start
    return start, start + np.diff(begin, append=len(pixels)), value[begin]


def _touching(
    start: NDArray[np.int64], stop: NDArray[np.int64], width: int, *, reach: int
) -> NDArray[np.int64]:
    """Return the (n, 2) pairs of runs that touch: above each other, or side by side in a row.

    Args:
        start: flat index of the first pixel of each run, ascending.
        stop: flat index behind its last pixel.
        width: of the raster.
        reach: pixels beyond its ends that a run touches in the row above; 1 = also by a corner.
    """
    column = start % width
    is_left, is_right = column > 0, column + (stop - start) < width
    low, high = start - width - reach * is_left, stop - width + reach * is_right
    begin, end = np.searchsorted(stop, low, "right"), np.searchsorted(start, high, "left")
    count = np.maximum(end - begin, 0)
    below = np.repeat(np.arange(len(start)), count)
    beside = np.flatnonzero((start[1:] == stop[:-1]) & is_left[1:])
    return np.concatenate(
        [
            np.stack([_ranges(begin, count), below], axis=1),
            np.stack([beside, beside + 1], axis=1),
        ]
    )


def _ranges(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the whole numbers from each start, so many, one range behind the other."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    ranges: NDArray[np.int64] = np.repeat(start - ends + count, count) + np.arange(total)
    return ranges


def _number(
    groups: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each member's group, numbered from 0 by first pixel, and those first pixels."""
    earliest = np.full(int(groups.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(earliest, groups, first)
    order = np.argsort(earliest)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[groups], earliest[order]
