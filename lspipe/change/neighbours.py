"""Labelled objects -> the pixels in them, around them and beside their edges, strip by strip.

A strip is some rows of a tile. Every pixel lies in one strip, so what is counted over all strips
does not depend on their height.

See also: `evidence.py` (what is measured there).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from lspipe.preprocess.masks import spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lspipe.change.components import Components

FARTHEST_PX = 50
"""Distances are measured up to this many pixels, 500 m: a strip needs no more rows than these
around it."""

_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))
_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True)
class Places:
    """Pixels that count for objects; a pixel may count for several."""

    index: NDArray[np.int64]
    """(n,) number of the object, from 0."""
    row: NDArray[np.int64]
    """(n,) row of the pixel, in the strip."""
    column: NDArray[np.int64]


@dataclass(frozen=True)
class Strip:
    """Some rows of a tile, and the pixels of its objects there."""

    objects: Components
    """Of the whole tile."""
    rows: slice

    @cached_property
    def inside(self) -> Places:
        """The pixels of each object."""
        index, pixels = self.objects.pixels(self.rows)
        return Places(index, *np.divmod(pixels, self.objects.shape[1]))

    @cached_property
    def around(self) -> Places:
        """The pixels of each object and their eight neighbours, each once."""
        rim = _joined([self._beside(step) for step in _SIDES + _CORNERS])
        height, width = self.rows.stop - self.rows.start, self.objects.shape[1]
        # Sorted, and not np.unique, which takes six times as long by hashes (numpy 2.3).
        key = np.sort((rim.index * height + rim.row) * width + rim.column)
        rest, column = np.divmod(key[np.diff(key, prepend=-1) > 0], width)
        index, row = np.divmod(rest, height)
        return _joined([self.inside, Places(index, row, column)])

    @cached_property
    def sides(self) -> Places:
        """The pixel beyond each side of an object's edge: as often as it has sides there."""
        return _joined([self._beside(step) for step in _SIDES])

    @cached_property
    def _labels(self) -> NDArray[np.int32]:
        """(y, x) of the strip: 0 = no object, else its number from 1."""
        return self.objects.painted(self.rows)

    @cached_property
    def _near(self) -> Places:
        """Object pixels here and one row on both sides."""
        height, width = self.objects.shape
        near = slice(max(self.rows.start - 1, 0), min(self.rows.stop + 1, height))
        index, pixels = self.objects.pixels(near)
        row, column = np.divmod(pixels, width)
        return Places(index, row + (near.start - self.rows.start), column)

    def _beside(self, step: tuple[int, int]) -> Places:
        """Return the pixels of this strip that are one step from an object and not in it."""
        index, row, column = self._near.index, self._near.row + step[0], self._near.column + step[1]
        height, width = self._labels.shape
        is_here = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index, row, column = index[is_here], row[is_here], column[is_here]
        is_other = self._labels[row, column] != index + 1
        return Places(index[is_other], row[is_other], column[is_other])


def strips(objects: Components, rows: int) -> Iterator[Strip]:
    """Yield strips of at most so many rows, from north to south."""
    height = objects.shape[0]
    for start in range(0, height, rows):
        yield Strip(objects, slice(start, min(start + rows, height)))


def squared_distances(
    places: Places, targets: NDArray[np.bool_], first_row: int
) -> NDArray[np.int64]:
    """Return the squared distance, in pixels, from each place to the centre of a target.

    Args:
        places: row and column of a strip.
        targets: (y, x) bool of the strip and up to `FARTHEST_PX` rows on both of its sides.
        first_row: row of `targets` at which the strip begins.

    Returns:
        (n,) at most `FARTHEST_PX` squared, which also stands for farther and for none.
    """
    found = np.full(len(places.row), FARTHEST_PX**2, np.int64)
    if not targets.any() or not len(found):
        return found
    row, column = places.row + first_row, places.column
    asked = np.flatnonzero(_is_in_reach(targets)[row // FARTHEST_PX, column // FARTHEST_PX])
    # The nearest target of a pixel outside lies on the rim of the targets.
    rim = np.argwhere(targets & ~_is_surrounded(targets))
    points = np.stack([row[asked], column[asked]], axis=1)
    distance = np.asarray(cKDTree(rim).query(points, distance_upper_bound=FARTHEST_PX)[0])
    is_near = np.isfinite(distance)
    # Squares of pixels are whole numbers, so that no rounding is left.
    found[asked[is_near]] = np.rint(distance[is_near] ** 2).astype(np.int64)
    found[targets[row, column]] = 0
    return found


def _is_in_reach(targets: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return, by cells of `FARTHEST_PX`, where a target lies in the cell or in one beside it.

    In all others each pixel is farther from a target than counts, as most of a tile is.
    """
    down, right = (np.arange(0, length, FARTHEST_PX) for length in targets.shape)
    has_target = np.logical_or.reduceat(targets, down, axis=0)
    return spread(np.logical_or.reduceat(has_target, right, axis=1), 1)


def _is_surrounded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return True where a pixel and its four neighbours are True; nothing lies beyond the edge."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return inner


def _joined(many: list[Places]) -> Places:
    return Places(
        np.concatenate([places.index for places in many]),
        np.concatenate([places.row for places in many]),
        np.concatenate([places.column for places in many]),
    )
