"""Objects on a grid -> the windows that hold them whole, and windows where nothing is labelled.

Geometry in pixels of a tile, rows before columns; no image is read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from lspipe.inference.windows import origins

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

Corner = tuple[int, int]
"""Row and column of a window's first pixel."""


@dataclass(frozen=True, order=True)
class Box:
    """The smallest rows and columns that hold an object, ends exclusive, inside the tile."""

    top: int
    left: int
    bottom: int
    right: int

    def lies_in(self, corner: Corner, window: int) -> bool:
        """Return whether a window holds the whole box."""
        row, column = corner
        return (
            row <= self.top
            and column <= self.left
            and self.bottom <= row + window
            and self.right <= column + window
        )


def over(boxes: Iterable[Box], shape: tuple[int, int], window: int) -> list[Corner]:
    """Return windows that together hold every box whole, found by a simple rule.

    An object that fits into a window lies in its middle (at the tile's edge, as near as possible),
    unless an earlier window holds it already. A larger object is covered by windows at even steps;
    if it is not convex, such a window may hold none of its pixels, which the caller must check.

    Args:
        boxes: in any order, with the same result.
        shape: rows and columns of the tile, at least a window each.
        window: edge of a window, pixels.

    Returns:
        Corners, each once, sorted by row and column.
    """
    found: dict[Corner, list[Corner]] = {}
    for box in sorted(set(boxes)):
        if any(box.lies_in(corner, window) for corner in _near(box, found, window)):
            continue
        rows = _along(box.top, box.bottom, shape[0], window)
        columns = _along(box.left, box.right, shape[1], window)
        for row, column in product(rows, columns):
            cell = found.setdefault((row // window, column // window), [])
            if (row, column) not in cell:
                cell.append((row, column))
    return sorted(corner for cell in found.values() for corner in cell)


def _near(box: Box, found: dict[Corner, list[Corner]], window: int) -> Iterator[Corner]:
    """Yield windows that may hold a box: those of its cell and of the cells above and left."""
    row, column = box.top // window, box.left // window
    for cell in product((row - 1, row), (column - 1, column)):
        yield from found.get(cell, ())


def elsewhere(shape: tuple[int, int], window: int, rng: np.random.Generator) -> Iterator[Corner]:
    """Yield the windows of a lattice without overlap, in random order.

    Args:
        shape: rows and columns of the tile.
        window: edge of a window, pixels; the last one of an axis is moved back to end with it.
        rng: only for the order.
    """
    rows, columns = (origins(length, window, window) for length in shape)
    for number in rng.permutation(len(rows) * len(columns)):
        row, column = divmod(int(number), len(columns))
        yield int(rows[row]), int(columns[column])


def _along(start: int, stop: int, length: int, window: int) -> list[int]:
    """Return first pixels of the windows that cover start..stop of an axis, at even steps."""
    if stop - start <= window:
        middle = (start + stop - window) // 2
        return [min(max(middle, 0), length - window)]
    count = -(-(stop - start) // window)
    steps: NDArray[np.float64] = np.linspace(start, stop - window, count)
    return [round(step) for step in steps.tolist()]
