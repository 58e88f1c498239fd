"""A map of the later date, and what is known of the earlier one -> where that one must be known.

A list of new objects alone needs the earlier date only where it can matter to one. That is told
from pixels above the threshold and from nothing else, so it is known before the earlier date is:

    1.  an object is new by pixels above the threshold after, and by what was there before within
        the tolerance around them; its rim says what was not observed
    2.  it has grown where it touches a persistent object, which must be known whole; so must a
        vanished one, as its far end may decide whether the near one is persistent
    3.  each of these is joined to the new object by pixels above the threshold, on either date
    4.  dates that do not lie on each other are moved before they are compared

So: pixels above the threshold after, and with them all that are above it before and joined to them
by steps of twice the reach and one pixel. Only what is known of the date before can be followed.
What is marked therefore grows as more becomes known, and never shrinks: whatever the order in which
pixels become known, all ends in the same marks.

Covers: one tile, and what lies on its neighbours.  Does not cover: which windows a pixel needs
(`inference/block.py`), in which order a run computes them (`runs/halved.py`).
Source: docs/numerics.md, New objects alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lspipe.change.components import label
from lspipe.change.overlaps import inside
from lspipe.preprocess.masks import spread
from lspipe.schema import CODE_NODATA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

MARGIN = 16
"""Pixels around what is marked that are asked for, more than must be: what reaches less far beyond
is then followed at once, and windows of 224 pixels hardly notice."""

ACROSS = 2
"""Pixels within which parts on two tiles may touch: their grids differ by up to one between zones,
and the next pixel touches."""

STRIP = 610
"""Rows that are looked up in another tile at a time; never changes a mark."""


def reach_of(tolerance_px: int, *, drift_px: int = 0) -> int:
    """Return within how many pixels what was there before can matter to a pixel after.

    Args:
        tolerance_px: of the comparison; the rim of an object counts at any tolerance.
        drift_px: how far a map may be moved before it is compared.
    """
    return max(tolerance_px, 1) + drift_px


def marked(
    after: NDArray[np.bool_],
    before: NDArray[np.bool_],
    *,
    reach: int,
    elsewhere: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Mark what is there after, and all that was there before and is joined to it.

    Args:
        after: (y, x) True = above the threshold after.
        before: (y, x) True = known to be above it before.
        reach: of `reach_of`; pixels are joined where at most twice as many lie between them.
        elsewhere: (y, x) True = where a neighbour shows what is marked, of `on_neighbours`; None =
            no neighbour.

    Returns:
        bool (y, x): these pixels, and all within reach of one.

    Example:
        >>> after, before = np.zeros((2, 1, 12), bool)
        >>> after[0, 0] = before[0, [3, 11]] = True
        >>> np.flatnonzero(marked(after, before, reach=1)[0])
        array([0, 1, 2, 3, 4])
    """
    first = after if elsewhere is None else after | elsewhere
    joined = label(spread(first | before, reach))
    is_marked = np.zeros(joined.count, np.bool_)
    is_marked[joined.at(np.flatnonzero(first))] = True
    found = np.zeros(after.shape, np.bool_)
    found.ravel()[joined.select(is_marked).pixels(slice(0, after.shape[0]))[1]] = True
    return found


def asked(marks: NDArray[np.bool_], *, reach: int) -> NDArray[np.bool_]:
    """Return where the date before must be known for all that is marked to be judged.

    If it is known there, marks grow no more, and every object that holds a marked pixel is what it
    is when both dates are known everywhere.

    Args:
        marks: bool (y, x), of `marked`.
        reach: as there.
    """
    return spread(marks, max(MARGIN, reach + 1))


def without_cut(
    before: NDArray[np.uint16], unknown: NDArray[np.bool_], *, threshold: int
) -> NDArray[np.uint16]:
    """Return the map before without the objects that are known in part: none of them is marked.

    Args:
        before: (y, x) codes, 65535 = not observed, or not known.
        unknown: bool (y, x), True = not needed, and so not known.
        threshold: code that a landslide pixel is above.

    Returns:
        uint16, the shape of `before`; such objects are not observed.

    Example:
        >>> known, unknown = np.array([[9000, 0, 9000, 65535]], np.uint16), np.zeros((1, 4), bool)
        >>> unknown[0, 3] = True
        >>> without_cut(known, unknown, threshold=5000).tolist()
        [[9000, 0, 65535, 65535]]
    """
    is_above = (before > threshold) & (before != CODE_NODATA)
    found = label(is_above)
    is_cut = np.zeros(found.count, np.bool_)
    is_cut[found.at(np.flatnonzero(is_above & spread(unknown, 1)))] = True
    whole = before.copy()
    pixels = found.select(is_cut).pixels(slice(0, before.shape[0]))[1]
    whole.ravel()[pixels] = CODE_NODATA
    return whole


def on_neighbours(
    grid: GeoBox, others: Iterable[tuple[GeoBox, NDArray[np.bool_]]]
) -> NDArray[np.bool_]:
    """Return where other tiles show, on a tile or beside it, what they mark: the same objects.

    Args:
        grid: of the tile.
        others: grids of tiles that overlap or touch it, and which of their pixels are marked and
            above the threshold on a date, bool (y, x). Without what lies around these: two tiles
            would mark more and more around each other's marks.

    Returns:
        bool (y, x).
    """
    found = np.zeros(grid.shape, np.bool_)
    for other, shown in others:
        # What is cut by the edge of a tile may go on beyond it.
        wide, padded = other.pad(ACROSS), np.pad(shown, ACROSS, mode="edge")
        for top in range(0, grid.shape[0], STRIP):
            rows = slice(top, min(top + STRIP, grid.shape[0]))
            where = inside(grid, wide, rows)
            if where is not None:
                row, column = where.row[where.is_inside], where.column[where.is_inside]
                found[rows, where.columns][where.is_inside] |= padded[row, column]
    return spread(found, ACROSS)
