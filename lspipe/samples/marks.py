"""Labelled polygons on the grid of a tile -> the label of every pixel of a window.

A pixel belongs to a polygon that holds its centre. A polygon without any centre is too small to
locate: the pixels that it touches are `IGNORED`, and never become "no landslide".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize

from lspipe.samples.cover import Box
from lspipe.schema import IGNORED
from lspipe.search.areas import bounding_window, footprint
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.samples.cover import Corner
    from lspipe.schema import Part


@dataclass(frozen=True)
class Marks:
    """Polygons that cover or touch pixels of one tile."""

    geobox: GeoBox
    rows: NDArray[np.int64]
    """Row of each polygon in its table."""
    geometries: NDArray[Any]
    """Shapely, in the CRS of the tile."""
    labels: NDArray[np.uint8]
    """Label of each: 1 = landslide, 0 = none, `IGNORED`."""
    boxes: tuple[Box, ...]
    """Box of the pixels of each."""
    is_sliver: NDArray[np.bool_]
    """Whether each polygon holds no pixel centre."""
    tree: shapely.STRtree

    @classmethod
    def of(cls, table: gpd.GeoDataFrame, labels: NDArray[np.uint8], geobox: GeoBox) -> Marks:
        """Put a table on a grid; polygons elsewhere are left out.

        Args:
            table: polygons of any CRS.
            labels: of its rows.
            geobox: of the tile.
        """
        epsg = geobox.crs.epsg
        near = np.arange(len(table))
        if table.crs.to_epsg() != epsg:
            # Only what is near: far from its zone a transverse Mercator has no value.
            degrees = in_degrees(table).geometry.to_numpy()
            near = np.flatnonzero(shapely.intersects(degrees, footprint(geobox)))
        moved = shapely.force_2d(table.geometry.iloc[near].to_crs(epsg).to_numpy())
        found = [
            (row, geometry, *placed)
            for row, geometry in zip(near.tolist(), moved, strict=True)
            if (placed := _place(geometry, geobox)) is not None
        ]
        kept, geometries, boxes, slivers = zip(*found, strict=True) if found else ((),) * 4
        shapes = np.array(geometries, dtype=object)
        return cls(
            geobox=geobox,
            rows=np.array(kept, np.int64),
            geometries=shapes,
            labels=labels[list(kept)],
            boxes=boxes,
            is_sliver=np.array(slivers, bool),
            tree=shapely.STRtree(shapes),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def within(self, part: Part) -> NDArray[np.int64]:
        """Return numbers of the polygons whose pixels may lie in a part of the tile."""
        rows, columns = part
        grid = self.geobox.transform
        west, north = grid * (columns.start, rows.start)
        east, south = grid * (columns.stop, rows.stop)
        return np.sort(self.tree.query(shapely.box(west, south, east, north)))

    def pixels(self, numbers: NDArray[np.int64], part: Part) -> NDArray[np.bool_]:
        """Return the pixels of some polygons in a part of the tile, bool (y, x)."""
        centres = [self.geometries[n] for n in numbers if not self.is_sliver[n]]
        touched = [self.geometries[n] for n in numbers if self.is_sliver[n]]
        return _burn(centres, self.geobox, part) | _burn(
            touched, self.geobox, part, all_touched=True
        )

    def burn(self, part: Part, *, rest: int = 0) -> NDArray[np.uint8]:
        """Return the label of every pixel: 1, 0 or `IGNORED`, uint8 (y, x).

        Args:
            part: rows and columns.
            rest: label of the pixels of no polygon.

        Where polygons overlap, a label replaces `IGNORED`, and a landslide together with a
        false alarm gives `IGNORED`.
        """
        numbers = self.within(part)
        slivers = numbers[self.is_sliver[numbers] & (self.labels[numbers] != 0)]
        numbers = numbers[~self.is_sliver[numbers]]
        yes, no, silent = (
            self.pixels(numbers[self.labels[numbers] == label], part) for label in (1, 0, IGNORED)
        )
        labels = np.full(yes.shape, rest, np.uint8)
        labels[silent | self.pixels(slivers, part)] = IGNORED
        labels[no] = 0
        labels[yes] = 1
        labels[yes & no] = IGNORED
        return labels


def part_of(corner: Corner, window: int) -> Part:
    """Return rows and columns of a window."""
    return slice(corner[0], corner[0] + window), slice(corner[1], corner[1] + window)


def _place(geometry: Any, geobox: GeoBox) -> tuple[Box, bool] | None:
    """Return the box of a polygon, and whether it only touches pixels; None = not on the grid."""
    part = _around(geometry, geobox)
    if part is None:
        return None
    for all_touched in (False, True):
        burned = _burn([geometry], geobox, part, all_touched=all_touched)
        if burned.any():
            rows, columns = bounding_window(burned)
            top, left = part[0].start, part[1].start
            box = Box(top + rows.start, left + columns.start, top + rows.stop, left + columns.stop)
            return box, all_touched
    return None


def _around(geometry: Any, geobox: GeoBox) -> Part | None:
    """Return rows and columns of the grid that the bounds of a geometry touch."""
    if geometry.is_empty:
        return None
    west, south, east, north = geometry.bounds
    inverse = ~geobox.transform
    left, top = inverse * (west, north)
    right, bottom = inverse * (east, south)
    rows, columns = (
        slice(max(int(np.floor(low)), 0), min(int(np.ceil(high)), length))
        for low, high, length in (
            (top, bottom, geobox.shape[0]),
            (left, right, geobox.shape[1]),
        )
    )
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _burn(
    geometries: list[Any], geobox: GeoBox, part: Part, *, all_touched: bool = False
) -> NDArray[np.bool_]:
    rows, columns = part
    shape = rows.stop - rows.start, columns.stop - columns.start
    if not geometries:
        return np.zeros(shape, bool)
    burned: NDArray[np.uint8] = rasterize(
        [(geometry, 1) for geometry in geometries],
        out_shape=shape,
        transform=geobox.transform * Affine.translation(columns.start, rows.start),
        all_touched=all_touched,
        dtype="uint8",
    )
    return burned.astype(bool)
