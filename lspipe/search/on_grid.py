"""An area and the grid of a tile -> what is inside, without a bit per pixel.

A plan of many tiles needs to know of each which blocks the area touches. Outlines tell, wherever
they are clear by more than a pixel; else, and for the blocks themselves, the pixels are burned, and
those of the last few tiles are kept.

See also: `areas.py`, which burns them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine

from lspipe.search.areas import PackedMask, area_on_grid, burned, outline_on_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from lspipe.schema import Part
    from lspipe.search.areas import Area

MARGIN = 2
"""Nearer than this to an outline, rounding may decide what is burned, pixels."""

PROBES = 24
"""Places along each axis of a tile where it is looked whether it is outside."""

ROUGH_CELLS = 400
"""Most cells along an axis of a rough mask: each is a four-hundredth of what it shows."""

Spans = tuple["NDArray[np.int64]", "NDArray[np.int64]"]
"""First pixel of each span, and the pixel behind its last."""

KEPT = 6
"""Tiles whose pixels are kept; 15 MB each. A few are planned at once, and blocks are submitted tile
by tile."""


@dataclass(frozen=True)
class RoughMask:
    """Where an area is, by square cells: a cell that it touches is inside."""

    cells: NDArray[np.bool_]
    """(y, x)."""
    size: int
    """Edge of a cell, pixels; 1 = these are the pixels themselves."""
    origin: tuple[int, int]
    """Row and column in the tile of its first pixel; no pixel outside of the cells is inside."""

    def touched(self, rows: Spans, columns: Spans) -> NDArray[np.bool_]:
        """Return whether a cell inside meets each rectangle of a lattice.

        Args:
            rows: first row of each, and the row behind its last.
            columns: likewise.

        Returns:
            Bool (row, column).
        """
        top, bottom = self._cells(rows, 0)
        left, right = self._cells(columns, 1)
        sums = self._sums
        inside = sums[bottom][:, right] - sums[bottom][:, left] - sums[top][:, right]
        return (inside + sums[top][:, left]) > 0

    def _cells(self, spans: Spans, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the first cell that meets each span, and the one behind the last."""
        first, behind = (ends - self.origin[axis] for ends in spans)
        last = self.cells.shape[axis]
        return (
            np.clip(first // self.size, 0, last),
            np.clip(-(-behind // self.size), 0, last),
        )

    @cached_property
    def _sums(self) -> NDArray[np.int32]:
        """Count the cells inside above and left of each corner."""
        sums = np.zeros(np.add(self.cells.shape, 1), np.int32)
        np.cumsum(self.cells, axis=0, dtype=np.int32, out=sums[1:, 1:])
        np.cumsum(sums, axis=1, out=sums)
        return sums


NOWHERE = RoughMask(np.zeros((0, 0), bool), 1, (0, 0))


@dataclass(frozen=True, eq=False)
class AreaOnGrid:
    """The pixels of a tile that an area touches, made when they are asked for.

    Sent to another process, it arrives as its pixels, a `PackedMask`: those of this process count.
    """

    area: Area
    geobox: GeoBox

    def __getitem__(self, part: Part) -> NDArray[np.bool_]:
        """Return rows and columns as bool (y, x), a copy; slices without a step, as of a block."""
        return _packed(self)[part]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.bool_]:
        """Return the whole tile."""
        return np.asarray(self[:, :], dtype, copy=copy)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as pixels: another version of GDAL may burn others."""
        return _packed(self).__reduce__()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the tile."""
        rows, columns = self.geobox.shape
        return int(rows), int(columns)

    def known(self) -> Known:
        """Return what the outline tells; made anew at each call, in milliseconds."""
        whole = shapely.box(0, 0, *self.shape[::-1])
        if self.area.tiles is not None:
            return Known(self, shapely.buffer(whole, 2 * MARGIN, join_style="mitre"))
        outline = outline_on_grid(self.area, self.geobox)
        return Known(self, _polygons_in_pixels(outline, self.geobox))


@dataclass(frozen=True, eq=False)
class Known:
    """What the outline of an area tells of a tile; held only while the tile is planned."""

    mask: AreaOnGrid
    outline: BaseGeometry
    """In columns and rows of the tile."""

    def __post_init__(self) -> None:
        """Prepare the outline for many questions."""
        shapely.prepare(self.outline)

    def touched(self, parts: Sequence[Part]) -> NDArray[np.bool_]:
        """Return for each part whether a pixel of it is inside; exactly as the pixels tell."""
        is_surely = shapely.intersects(self.outline, _boxes(parts, -MARGIN))
        is_perhaps = shapely.intersects(self.outline, _boxes(parts, MARGIN))
        found = np.asarray(is_surely, bool)
        for number in np.flatnonzero(is_perhaps & ~is_surely).tolist():
            found[number] = self.mask[parts[number]].any()
        return found

    def is_everywhere(self) -> bool:
        """Return whether all pixels of the tile are inside; exactly as the pixels tell."""
        rows, columns = self.mask.shape
        whole = (slice(0, rows), slice(0, columns))
        if shapely.covers(self.outline, _boxes([whole], MARGIN)[0]):
            return True
        y, x = (np.linspace(0.5, length - 0.5, PROBES) for length in (rows, columns))
        probes = shapely.points(*map(np.ravel, np.meshgrid(x, y)))
        if not shapely.dwithin(self.outline, probes, MARGIN).all():
            return False
        return bool(self.mask[whole].all())

    def rough(self) -> RoughMask:
        """Return where the area is, to a four-hundredth of its size on the tile.

        Its cells are pixels where the area is that small.
        """
        rows, columns = self.mask.shape
        if self.outline.is_empty:
            return NOWHERE
        west, north, east, south = self.outline.bounds
        top, left = (max(0, int(value) - MARGIN) for value in (north, west))
        bottom, right = min(rows, int(south) + MARGIN), min(columns, int(east) + MARGIN)
        if bottom <= top or right <= left:
            return NOWHERE
        size = -(-max(bottom - top, right - left) // ROUGH_CELLS)
        if size == 1:
            return RoughMask(self.mask[top:bottom, left:right], 1, (top, left))
        shape = (-(-(bottom - top) // size), -(-(right - left) // size))
        transform = Affine(size, 0, left, 0, size, top)
        cells = burned(self.outline, shape, transform, all_touched=True)
        return RoughMask(cells, size, (top, left))


def _polygons_in_pixels(outline: BaseGeometry, geobox: GeoBox) -> BaseGeometry:
    """Return the polygons of an outline, with columns and rows of a grid for coordinates."""
    # Points and lines lie on the rim of what was cut out around the tile.
    parts = [part for part in shapely.get_parts(outline) if part.geom_type == "Polygon"]
    inverse = ~geobox.transform

    def move(corners: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(inverse * (corners[:, 0], corners[:, 1]))

    moved: BaseGeometry = shapely.transform(shapely.multipolygons(parts), move)
    return moved


def _boxes(parts: Sequence[Part], margin: int) -> NDArray[Any]:
    """Return boxes around parts of a tile, so many pixels wider; of none is left: empty ones."""
    ends = np.array(
        [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in parts], float
    ).reshape(-1, 4)
    west, north, east, south = (ends + margin * np.array([-1, -1, 1, 1])).T
    boxes: NDArray[Any] = shapely.box(west, north, east, south)
    boxes[(east <= west) | (south <= north)] = shapely.Polygon()
    return boxes


@lru_cache(maxsize=KEPT)
def _packed(mask: AreaOnGrid) -> PackedMask:
    return PackedMask.of(area_on_grid(mask.area, mask.geobox))
