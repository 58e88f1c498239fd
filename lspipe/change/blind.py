"""What optics missed and radar saw -> the share of changed ground, by cells of 500 m.

Radar shows that ground changed and not what changed it: nothing of this is a row of the list.

Covers: pixels of one tile.  Does not cover: objects of the list (`evidence.py`).
Source: Handwerger et al. 2022, doi:10.5194/nhess-22-753-2022: the mean change of both orbits,
gentle ground left out, a density of the pixels beyond a limit. Their limit is a percentile, which
as many pixels exceed where nothing happened; this one is in decibels from the tile's median.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import shapely
from pyproj import CRS

from lspipe.schema import CODE_NODATA, CODE_SCALE, CUBE_NODATA
from lspipe.schema.columns import RADAR_CELLS
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

CELL_M = 500
"""Edge of a cell, metres."""

LEAST_SHARE = 0.1
"""Share of a cell, at least, whose pixels count: a share of few pixels is chance."""

UNSEEN = np.iinfo(np.int32).min
"""In place of a difference: not observed on both dates."""

_REACH = 1 << 16
"""Differences of two int16 codes lie within this."""


def differences(before: NDArray[np.int16], after: NDArray[np.int16]) -> NDArray[np.int32]:
    """Return codes after minus before, int32; `UNSEEN` where either is not observed.

    Example:
        >>> before, after = np.array([[-6000, -32768], [-4500, -4500]], np.int16)
        >>> differences(before, after).tolist() == [1500, UNSEEN]
        True
    """
    is_seen = (before != CUBE_NODATA) & (after != CUBE_NODATA)
    return np.where(is_seen, after.astype(np.int32) - before, np.int32(UNSEEN))


class Median:
    """The lower median of differences, whatever the order in which they come.

    Example:
        >>> median = Median()
        >>> median.add(np.array([300, -700, UNSEEN, -600], np.int32))
        >>> median.result()
        -600
    """

    def __init__(self) -> None:
        self._counts = np.zeros(2 * _REACH + 1, np.int64)

    def add(self, values: NDArray[np.int32]) -> None:
        """Add differences of any shape; `UNSEEN` count for nothing."""
        known = values[values != UNSEEN]
        self._counts += np.bincount(known + _REACH, minlength=len(self._counts))

    def result(self) -> int | None:
        """Return the median; None of nothing."""
        so_far = np.cumsum(self._counts)
        if not so_far[-1]:
            return None
        return int(np.searchsorted(2 * so_far, so_far[-1])) - _REACH


def beyond(
    orbits: Sequence[NDArray[np.int32]], medians: Sequence[int | None], limit: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pixels radar saw on both dates, and which changed by more than a limit.

    Args:
        orbits: (y, x) `differences` of each orbit, one at least.
        medians: of each orbit; a change is counted from it, as rain, thaw or harvest shift a
            whole tile by decibels.
        limit: steps of the codes; the mean change of the orbits that saw a pixel is beyond it.

    Returns:
        bool (y, x) each.

    Example:
        >>> one, other = np.array([[2000, 400, UNSEEN], [1800, UNSEEN, UNSEEN]], np.int32)
        >>> [found.tolist() for found in beyond([one, other], [0, 0], 1500)]  # 3 dB
        [[True, True, False], [True, False, False]]
    """
    total, count = np.zeros((2, *orbits[0].shape), np.int32)
    for values, median in zip(orbits, medians, strict=True):
        is_seen = values != UNSEEN
        total += np.where(is_seen, values - np.int32(median or 0), np.int32(0))
        count += is_seen
    # In whole numbers, and no change at all where nothing was seen.
    return np.asarray(count > 0), np.asarray(np.abs(total) > limit * count)


@dataclass(frozen=True)
class Cells:
    """Pixels of a tile, counted by cells (cell_y, cell_x); the last of an axis may be shorter."""

    whole: NDArray[np.int64]
    """Pixels of the area."""
    hidden: NDArray[np.int64]
    """Of these, missed by optics on a date."""
    counted: NDArray[np.int64]
    """Of these, on ground that is steep enough, and seen by radar on both dates."""
    changed: NDArray[np.int64]
    """Of these, with a change of backscatter beyond the limit."""

    @property
    def density(self) -> NDArray[np.uint16]:
        """Return the share of counted pixels that changed; 65535 where too few count."""
        return _codes(self.changed, self.counted, self._is_enough)

    @property
    def hidden_share(self) -> NDArray[np.uint16]:
        """Return the share of each cell that optics missed; 65535 outside of the area."""
        return _codes(self.hidden, self.whole, self.whole > 0)

    @property
    def _is_enough(self) -> NDArray[np.bool_]:
        least = max(LEAST_SHARE * float(self.whole.max(initial=0)), 1.0)
        return np.asarray(self.counted >= least)


def count(
    geobox: GeoBox,
    *,
    own: NDArray[np.bool_],
    hidden: NDArray[np.bool_],
    counts: NDArray[np.bool_],
    changed: NDArray[np.bool_],
) -> Cells:
    """Count the pixels of a tile by cells from its upper-left corner.

    Args:
        geobox: of the tile, in metres.
        own: bool (y, x), pixels that count for this tile.
        hidden: what optics missed.
        counts: what radar saw, steep enough.
        changed: of that, what changed.

    Example:
        >>> from affine import Affine
        >>> from odc.geo.geobox import GeoBox
        >>> grid = GeoBox((50, 75), Affine(10, 0, 500_000, 0, -10, 4_400_000), "EPSG:32633")
        >>> every = np.ones(grid.shape, bool)
        >>> half = np.arange(75) < 25
        >>> found = count(grid, own=every, hidden=every, counts=every, changed=every & half)
        >>> (found.density / 10000).tolist()
        [[0.5, 0.0]]
    """
    edge = cell_px(geobox)
    inside = own & hidden
    whole, missed = _per_cell(own, edge), _per_cell(inside, edge)
    inside &= counts
    counted = _per_cell(inside, edge)
    inside &= changed
    return Cells(whole, missed, counted, _per_cell(inside, edge))


def cell_px(geobox: GeoBox) -> int:
    """Return the edge of a cell in pixels."""
    return max(round(CELL_M / abs(float(geobox.resolution.x))), 1)


def _per_cell(mask: NDArray[np.bool_], edge: int) -> NDArray[np.int64]:
    down, right = (np.arange(0, length, edge) for length in mask.shape)
    # A column of a cell has few pixels: bytes are added many at a time.
    small = np.min_scalar_type(edge)
    rows = np.add.reduceat(mask.view(np.uint8), down, axis=0, dtype=small)
    found: NDArray[np.int64] = np.add.reduceat(rows, right, axis=1, dtype=np.int64)
    return found


def _codes(
    part: NDArray[np.int64], whole: NDArray[np.int64], is_known: NDArray[np.bool_]
) -> NDArray[np.uint16]:
    shares = np.rint(CODE_SCALE * part / np.maximum(whole, 1))
    return np.where(is_known, shares, CODE_NODATA).astype(np.uint16)


def dense(cells: Cells, share: float, *, geobox: GeoBox, tile: str) -> gpd.GeoDataFrame:
    """Outline the cells of which more than a share changed, the densest first.

    Args:
        cells: of the tile.
        share: 0..1.
        geobox: of the tile.
        tile: its name.

    Returns:
        The columns of `schema.columns.RADAR_CELLS`, EPSG:4326.
    """
    density, hidden = cells.density, cells.hidden_share
    is_dense = (density != CODE_NODATA) & (density > round(CODE_SCALE * share))
    row, column = np.nonzero(is_dense)
    order = np.argsort(-density[row, column].astype(np.int64), kind="stable")
    row, column = row[order], column[order]
    found = gpd.GeoDataFrame(
        {
            "tile": np.full(len(row), tile, object),
            "radar_density": density[row, column] / CODE_SCALE,
            "n_px": cells.counted[row, column],
            "hidden_share": hidden[row, column] / CODE_SCALE,
        },
        geometry=_boxes(geobox, row, column),
        crs=CRS.from_user_input(geobox.crs),
    )
    return in_degrees(found.astype({"tile": "string"})[list(RADAR_CELLS)])


def _boxes(geobox: GeoBox, row: NDArray[np.intp], column: NDArray[np.intp]) -> NDArray[np.object_]:
    edge, (height, width), to = cell_px(geobox), geobox.shape, geobox.transform
    top, bottom = row * edge, np.minimum((row + 1) * edge, height)
    left, right = column * edge, np.minimum((column + 1) * edge, width)
    boxes: NDArray[np.object_] = shapely.box(
        to.c + left * to.a, to.f + bottom * to.e, to.c + right * to.a, to.f + top * to.e
    )
    return boxes
