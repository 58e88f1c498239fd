"""A raster -> its connected components, labelled block by block and joined over the borders.

The labels are the same however the raster was cut: components are numbered by their first pixel in
row-major order. One int32 raster is held; everything else is the size of a block or of a seam.

Covers: components of equal non-zero values; grouping by pairs.  Does not cover: outlines
(`outlines.py`), what an object is (`objects.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lspipe.schema import Part

BLOCK = 2048
"""Edge of a block, pixels: 4 M pixels keep the temporaries of one block under 50 MB."""


@dataclass(frozen=True)
class Components:
    """Labelled components of a raster."""

    labels: NDArray[np.int32]
    """(y, x): 0 = background, 1..count in row-major order of each component's first pixel."""
    first: NDArray[np.int64]
    """(count,): flat index of the first pixel of components 1..count, ascending."""

    @property
    def count(self) -> int:
        """Number of components."""
        return len(self.first)


def label(
    values: NDArray[Any], *, block: int | tuple[int, int] = BLOCK, connectivity: int = 8
) -> Components:
    """Label the connected components of equal, non-zero values.

    Args:
        values: (y, x) bool or integer; 0 or False = background. Pixels of different values are
            never connected.
        block: rows and columns labelled at a time, pixels; never changes the result.
        connectivity: 8 (diagonal pixels are connected) or 4.

    Raises:
        ValueError: `connectivity` is neither 4 nor 8, or a block has no size.
    """
    if connectivity not in {4, 8}:
        raise ValueError(f"connectivity {connectivity}: expected 4 or 8")
    rows, columns = (block, block) if isinstance(block, int) else block
    if rows < 1 or columns < 1:
        raise ValueError(f"block {block}: expected at least one pixel on each axis")
    labels = np.zeros(values.shape, np.int32)
    firsts = [np.zeros(0, np.int64)]
    count = 0
    for cut in _cuts(values.shape, rows, columns):
        found, first = _label_block(values[cut], connectivity)
        firsts.append(_flat_index(first, cut, values.shape))
        labels[cut] = np.where(found > 0, found + count, 0)
        count += len(first)
    first = np.concatenate(firsts)
    pairs = np.concatenate(
        [
            *(_seam_pairs(labels, values, row, connectivity) for row in _seams(values, 0, rows)),
            *(_seam_pairs(labels.T, values.T, c, connectivity) for c in _seams(values, 1, columns)),
            np.zeros((0, 2), np.int64),
        ]
    )
    number, first = _number(group(count, pairs - 1), first)
    table = np.concatenate([[0], number]).astype(np.int32)
    for start in range(0, values.shape[0], rows):
        labels[start : start + rows] = table[labels[start : start + rows]]
    return Components(labels, first)


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


def _cuts(shape: tuple[int, ...], rows: int, columns: int) -> Iterator[Part]:
    for row in range(0, shape[0], rows):
        for column in range(0, shape[1], columns):
            yield (
                slice(row, min(row + rows, shape[0])),
                slice(column, min(column + columns, shape[1])),
            )


def _seams(values: NDArray[Any], axis: int, step: int) -> range:
    return range(step, values.shape[axis], step)


def _label_block(
    values: NDArray[Any], connectivity: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the labels 1..n of one block and the flat first pixel of each, in the block."""
    structure = np.ones((3, 3)) if connectivity == 8 else None
    present = np.unique(values)
    labels = np.zeros(values.shape, np.int32)
    count = 0
    for value in present[present != 0]:
        found, more = ndimage.label(values == value, structure)
        labels += np.where(found > 0, found + count, 0).astype(np.int32)
        count += more
    flat = labels.ravel()
    pixels = np.flatnonzero(flat)[::-1]
    first = np.zeros(count, np.int64)
    # Written backwards, so that the smallest index of each label is the one that stays.
    first[flat[pixels] - 1] = pixels
    return labels, first


def _flat_index(first: NDArray[np.int64], cut: Part, shape: tuple[int, ...]) -> NDArray[np.int64]:
    row, column = np.divmod(first, cut[1].stop - cut[1].start)
    index: NDArray[np.int64] = (row + cut[0].start) * shape[1] + column + cut[1].start
    return index


def _seam_pairs(
    labels: NDArray[np.int32], values: NDArray[Any], row: int, connectivity: int
) -> NDArray[np.int64]:
    """Return the (n, 2) pairs of labels that are one component across the seam above `row`."""
    found = []
    width = labels.shape[1]
    for shift in (-1, 0, 1) if connectivity == 8 else (0,):
        above = slice(max(shift, 0), width + min(shift, 0))
        below = slice(max(-shift, 0), width + min(-shift, 0))
        joined = (labels[row - 1, above] > 0) & (values[row - 1, above] == values[row, below])
        found.append(np.stack([labels[row - 1, above][joined], labels[row, below][joined]], axis=1))
    pairs: NDArray[np.int64] = np.unique(np.concatenate(found).astype(np.int64), axis=0)
    return pairs


def _number(
    groups: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each member's group, numbered from 1 by first pixel, and those first pixels."""
    earliest = np.full(int(groups.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(earliest, groups, first)
    order = np.argsort(earliest)
    rank = np.empty_like(order)
    rank[order] = np.arange(1, len(order) + 1)
    return rank[groups], earliest[order]
