"""Integer geometry of a tile: the lattice of windows, the blocks, their halo, the coverage.

Everything is counted in pixels from the upper-left corner of the tile, one axis at a time, rows
before columns. Windows lie on one lattice of the tile, never of a block, so a pixel lies in the
same windows however the tile is cut into blocks. No image is read here.

Source: overlap-tile strategy, Ronneberger et al. 2015, fig. 2; docs/numerics.md, Lattice.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lspipe.schema import Part

CHUNK = 610
"""Largest Zarr chunk, pixels: a Sentinel-2 tile of 10980 px is 18 of them; 512 does not divide."""


@dataclass(frozen=True)
class Block:
    """One inference task: the pixels of the tile that it writes, and those that it reads."""

    index: tuple[int, int]
    """Row and column of the block among the blocks of the tile."""
    core: Part
    """Rows and columns that the block writes; cores partition the tile."""
    outer: Part
    """Core plus halo on each side, clipped at the tile's edge."""


def check_lattice(window: int, stride: int) -> None:
    """Refuse a lattice with gaps, or one that is not of whole pixels.

    Raises:
        ValueError: window or stride is no whole number, or stride is outside 1..window.
    """
    for name, value in (("window", window), ("stride", stride)):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ValueError(f"{name} {value!r}: expected a whole number of pixels")
    if window < 1:
        raise ValueError(f"window {window}: expected at least 1 pixel")
    if not 1 <= stride <= window:
        raise ValueError(
            f"stride {stride}: expected 1 to {window} pixels, the window; a larger one leaves gaps"
        )


def stride_of(window: int, overlap: float) -> int:
    """Turn an overlap fraction into a step between windows: max(1, round(window * (1 - overlap))).

    Raises:
        ValueError: overlap is outside 0 <= overlap < 1.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap {overlap}: expected a fraction from 0 to below 1")
    return max(1, round(window * (1 - overlap)))


def origins(length: int, window: int, stride: int) -> NDArray[np.int64]:
    """Return the first pixel of every window along one axis.

    Windows start at 0, stride, 2 * stride, ... while they end before the axis does; a last one ends
    where the axis ends. An axis shorter than the window holds one window, at 0, and is padded.

    Raises:
        ValueError: the axis is empty, or the lattice is not one (`check_lattice`).
    """
    check_lattice(window, stride)
    if operator.index(length) < 1:
        raise ValueError(f"axis of {length} pixels: expected at least 1")
    if length <= window:
        return np.zeros(1, dtype=np.int64)
    # One window at the very end; before it, those after which a pixel is still uncovered.
    return np.array([*range(0, length - window, stride), length - window], dtype=np.int64)


def windows_of(core: slice, length: int, window: int, stride: int) -> NDArray[np.int64]:
    """Return the first pixels of the lattice windows that touch `core`, along one axis.

    Args:
        core: pixels start..stop of the axis.
        length: axis length of the whole tile, pixels.
        window: window size, pixels.
        stride: step between windows, pixels.
    """
    starts = origins(length, window, stride)
    touching: NDArray[np.int64] = starts[(starts < core.stop) & (starts + window > core.start)]
    return touching


def coverage(length: int, window: int, stride: int) -> NDArray[np.int64]:
    """Count the windows over each pixel of an axis; the count of a pixel is rows x columns."""
    starts = origins(length, window, stride)
    steps = np.zeros(max(length, window) + 1, dtype=np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + window, -1)
    counts: NDArray[np.int64] = steps.cumsum()[:length]
    return counts


def weights_1d(window: int, blend: Literal["uniform", "hann"]) -> NDArray[np.float64]:
    """Return the weight of each pixel of a window along one axis; in two, rows x columns.

    `uniform` is 1 everywhere (the paper). `hann` is sin^2(pi (i + 1/2) / window), never zero, so
    that the rim of a tile, which only one window covers, keeps its value.

    Raises:
        ValueError: another blend.
    """
    if blend == "uniform":
        return np.ones(window)
    if blend == "hann":
        return np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    raise ValueError(f"blend {blend!r}: expected 'uniform' or 'hann'")


def weight_sums(
    length: int, window: int, stride: int, blend: Literal["uniform", "hann"]
) -> NDArray[np.float64]:
    """Sum the weights of all windows over each pixel of an axis (`coverage` if uniform)."""
    weights = weights_1d(window, blend)
    sums = np.zeros(max(length, window))
    for start in origins(length, window, stride):
        sums[start : start + window] += weights
    return sums[:length]


def block_edges(length: int, block: int, halo: int) -> tuple[int, ...]:
    """Return the cuts of one axis into cores of `block` pixels, first 0, last `length`.

    A tail shorter than the halo joins the core before it: each core must be large enough to fill
    the halo of its neighbour.

    Raises:
        ValueError: `block` is smaller than a halo, and the axis needs more than one block.
    """
    if length <= block:
        return (0, length)
    if block < max(1, halo):
        raise ValueError(f"block of {block} pixels: expected at least {max(1, halo)}, a halo")
    cuts = list(range(0, length, block))
    if len(cuts) > 1 and length - cuts[-1] < halo:
        cuts.pop()
    return (*cuts, length)


def blocks(shape: tuple[int, int], block: int, halo: int) -> list[Block]:
    """Cut a tile into blocks, row by row.

    Args:
        shape: rows and columns of the tile.
        block: edge of a core, pixels; cores at the lower and right edge may differ.
        halo: pixels around a core that decide it (`Setting.halo`).

    Raises:
        ValueError: see `block_edges`.
    """
    rows, columns = (
        [
            (slice(start, stop), slice(max(0, start - halo), min(length, stop + halo)))
            for start, stop in pairwise(block_edges(length, block, halo))
        ]
        for length in shape
    )
    return [
        Block((i, j), (row[0], column[0]), (row[1], column[1]))
        for (i, row), (j, column) in product(enumerate(rows), enumerate(columns))
    ]


def chunk_of(block: int) -> int:
    """Return the Zarr chunk of a block: its largest divisor that is at most `CHUNK` pixels."""
    return next(size for size in range(min(block, CHUNK), 0, -1) if block % size == 0)


def merge_chunks(chunks: Sequence[int], minimum: int) -> tuple[int, ...]:
    """Merge neighbouring chunks of an axis until each has `minimum` pixels, or one is left."""
    merged: list[int] = []
    pending = 0
    for size in chunks:
        pending += size
        if pending >= minimum:
            merged.append(pending)
            pending = 0
    if pending and merged:
        merged[-1] += pending
    elif pending:
        merged.append(pending)
    return tuple(merged)
