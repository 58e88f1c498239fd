"""Files of heights -> heights in metres at the pixels of a tile, each resampled once.

    canvas      pixels of files side by side (`canvas.py`)
    cells       squares of the tile, each with a rim; a pixel is decided by its cell alone, so it
                never depends on blocks or chunks
    sampled     a cubic spline through the pixels of the canvas, read at the pixels of the cell
                (`spline.py`)

The spline is smooth in its second derivative: bilinear heights of 30 m have facets at 10 m, and
their slope has steps. Places are exact at every 53rd pixel and linear between: in a UTM zone that
is within 1 cm, up to 84 degrees of latitude. Of files whose pixels are 20 m and more, the spline is
evaluated at every second pixel of a row and of a column, and the cubic through four of these gives
those between: a third of the time. On the DEM of two real places that changes heights by 0.15 and
0.4 m and slopes by 0.3 degrees (root mean square), less than such a DEM is off.

Where the columns of tile and canvas run nearly the same way, as with longitude and latitude, it is
a spline along rows and then one along columns, 0.005 m and 0.02 degrees from the one on the surface
(root mean square, SRTM of Mol), in less than half of the time. Else it is the one on the surface.

Covers: voids. Does not cover: what is derived from heights (`surface.py`), which files there are
(`dem.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lspipe.cube import spline
from lspipe.cube.beside import both
from lspipe.cube.canvas import canvas_of, fill_sea, lattice_of, meeting, north_up, projected
from lspipe.schema import relative

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.canvas import Lattice
    from lspipe.cube.height_file import HeightFile
    from lspipe.schema import Part

CELL = 610
"""Edge of a cell, pixels: that of a Zarr chunk, which all usual blocks are made of."""

HALO = 10
"""Pixels around a cell whose heights are known too: one for the window of 3 x 3, and nine that the
Gaussian in front of curvature reaches."""

RIM = HALO + 3
"""Pixels around a cell whose places are known: a cubic between every second one needs three."""

_STEP = 53
"""Pixels between two places that are exact; a cell with its rim is twelve of these."""

_TURNED = 0.2
"""Pixels to the side in a pixel down, by which columns of a tile may leave those of a canvas, 11
degrees: UTM and longitude and latitude differ by 0.12 at most."""

METHOD = 3
"""Raised when heights, or what follows from them, are others than before, so that no run directory
mixes both."""

MARGIN = spline.RIM + 2
"""Pixels of the canvas around a cell: a place takes the weights of two pixels to either side, and
each of these depends on its rim. What lies beyond the spline forgets."""


def heights(
    files: Sequence[HeightFile],
    geobox: GeoBox,
    part: Part,
    *,
    is_sea_left_out: bool = False,
    takes_whole_cells: bool = True,
) -> Iterator[tuple[Part, NDArray[np.float32]]]:
    """Yield the heights of the cells that hold a part of a tile.

    Args:
        files: that may lie there.
        geobox: the tile's grid, in a projected CRS in metres.
        part: rows and columns of it.
        is_sea_left_out: whether ground without a file is sea, 0 m, as of Copernicus; else it is
            not known.
        takes_whole_cells: whether all of each cell is asked for; else only what of it is in the
            part, with the same bits. The halo of a block ends within cells.

    Yields:
        The cell, or what of it is in the part, and float32 metres of it and `HALO` pixels around,
        NaN = not known.

    Raises:
        LoadError: a file cannot be read, or holds what is no height.
    """
    near = meeting(files, geobox)
    wanted = list(cells(part))
    asked = [cell if takes_whole_cells else both(cell, part) for cell in wanted]
    if not near:
        empty = np.float32(0 if is_sea_left_out else np.nan)
        for extent in asked:
            edges = [span.stop - span.start + 2 * HALO for span in extent]
            yield extent, np.full(edges, empty, np.float32)
        return
    lattice = lattice_of(near, geobox)
    controls = [control_of(geobox, cell, lattice) for cell in wanted]
    windows = [_window(control) for control in controls]
    whole = hull(windows)
    is_coarse = lattice.is_coarser_than(2 * north_up(geobox))
    is_turned = _is_turned(geobox, lattice)
    canvas = canvas_of(near, lattice, whole, north_up(geobox))
    if is_sea_left_out:
        fill_sea(canvas, near, lattice, whole)
    for cell, extent, control, window in zip(wanted, asked, controls, windows, strict=True):
        cut = canvas[relative(window, (whole[0].start, whole[1].start))]
        places = _Places(control[0] - window[0].start, control[1] - window[1].start)
        inner = _with_halo(relative(extent, (cell[0].start, cell[1].start)))
        yield extent, _sampled(cut, places, inner, is_coarse=is_coarse, is_turned=is_turned)


def cells(part: Part) -> Iterator[Part]:
    """Yield the cells of a tile that hold a part of it; those at the end may reach beyond."""
    rows, columns = part
    for row in range(rows.start // CELL, -(-rows.stop // CELL)):
        for column in range(columns.start // CELL, -(-columns.stop // CELL)):
            yield (
                slice(row * CELL, (row + 1) * CELL),
                slice(column * CELL, (column + 1) * CELL),
            )


def control_of(
    geobox: GeoBox, cell: Part, lattice: Lattice
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rows and columns of a lattice at every 53rd pixel of a cell with 13 px around it."""
    axes = [
        np.arange(span.start - RIM, span.stop + RIM + 1, _STEP, dtype=np.float64) + 0.5
        for span in cell
    ]
    y, x = np.meshgrid(*axes, indexing="ij")
    rows, columns = lattice.places(*projected(geobox, y, x, lattice.crs))
    return rows, columns


def _is_turned(geobox: GeoBox, lattice: Lattice) -> bool:
    """Return whether the columns of a tile run in another direction than those of a lattice."""
    y, x = np.meshgrid(*(np.linspace(0, length, 9) for length in geobox.shape), indexing="ij")
    rows, columns = lattice.places(*projected(geobox, y, x, lattice.crs))
    down, right = np.diff(rows, axis=0), np.diff(columns, axis=0)
    return bool((np.abs(right) > _TURNED * down).any())  # and where they run up


@dataclass(frozen=True)
class _Places:
    """Where the pixels of a cell with its rim lie on the canvas, made when they are asked for."""

    rows: NDArray[np.float64]
    """Of the canvas, at every 53rd pixel."""
    columns: NDArray[np.float64]

    def __getitem__(self, part: Part) -> NDArray[np.float64]:
        """Return rows and columns (2, y, x) on the canvas of some pixels."""
        return np.stack([between(self.rows, part), between(self.columns, part)])

    @property
    def width(self) -> int:
        """Columns of the cell with its rim."""
        return (len(self.columns[0]) - 1) * _STEP

    def crossings(self, length: int, columns: slice) -> NDArray[np.float64]:
        """Return where columns of pixels cross the first rows of the canvas: (row, x)."""
        lines = zip(_longer(self.rows).T, _longer(self.columns).T, strict=True)
        row = np.arange(length)
        return _between_columns(np.stack([np.interp(row, *line) for line in lines], 1), columns)


def _longer(control: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the places of `control` with one far beyond at each end, straight on."""
    first, last = control[:2], control[-2:]
    above, below = (1000 * (first[0] - first[1]), 1000 * (last[1] - last[0]))
    return np.concatenate([first[:1] + above, control, last[1:] + below])


def between(control: NDArray[np.float64], part: Part) -> NDArray[np.float64]:
    """Return values at some pixels, linear between the places of `control` (n + 1, n + 1)."""
    rows = _between_columns(np.ascontiguousarray(control.T), part[0])
    return _between_columns(np.ascontiguousarray(rows.T), part[1])


def _between_columns(control: NDArray[np.float64], pixels: slice) -> NDArray[np.float64]:
    share = np.arange(_STEP) / _STEP
    first, step = control[:, :-1], np.diff(control, axis=1)
    found: NDArray[np.float64]
    if pixels.step in (None, 1):  # the same without an index of each: half of the time
        found = share * step[:, :, None]
        found += first[:, :, None]
        return found.reshape(len(control), -1)[:, pixels]
    number = np.arange(share.size * step.shape[1])[pixels]
    segment = number // _STEP
    found = step[:, segment]
    found *= share[number % _STEP]
    found += first[:, segment]
    return found


def _window(control: tuple[NDArray[np.float64], NDArray[np.float64]]) -> Part:
    rows, columns = (
        slice(int(np.floor(axis.min())) - MARGIN, int(np.ceil(axis.max())) + MARGIN + 1)
        for axis in control
    )
    return rows, columns


def hull(windows: Sequence[Part]) -> Part:
    """Return the smallest part that holds all of some."""
    rows, columns = (
        slice(min(span.start for span in axis), max(span.stop for span in axis))
        for axis in zip(*windows, strict=True)
    )
    return rows, columns


def _with_halo(extent: Part) -> Part:
    """Return a part of a cell, and `HALO` pixels around, as a part of the cell with its rim."""
    rows, columns = (slice(span.start + RIM - HALO, span.stop + RIM + HALO) for span in extent)
    return rows, columns


def _sampled(
    cut: NDArray[np.float32],
    places: _Places,
    inner: Part,
    *,
    is_coarse: bool,
    is_turned: bool,
) -> NDArray[np.float32]:
    """Return the spline through pixels of the canvas at some places of a cell with its rim.

    A place is not known where one of the four pixels around it is not.

    Args:
        cut: pixels of the canvas.
        places: of the pixels of a cell with its rim.
        inner: which of them, three pixels or more from the edge.
        is_coarse: whether every second place is enough.
        is_turned: whether a spline along rows and then along columns would not do.
    """
    holes = np.isnan(cut)
    if holes.all():
        return np.full([span.stop - span.start for span in inner], np.nan, np.float32)
    if holes.any():
        nearest = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
        cut = cut[tuple(nearest)]
    asked = _every_second(inner) if is_coarse else inner
    found: NDArray[np.float32]
    if is_turned:
        weights = ndimage.spline_filter(cut, order=3, output=np.float64)
        found = ndimage.map_coordinates(
            weights, places[asked], output=np.float32, order=3, mode="mirror", prefilter=False
        )
    else:
        # Of all columns of the cell, whichever are asked for: see `spline.sampled`.
        rim = RIM - HALO
        whole = slice(0, places.width, 2) if is_coarse else slice(rim, places.width - rim)
        columns = range(places.width)[whole]
        chosen = slice(columns.index(asked[1].start), columns.index(_last(asked[1])) + 1)
        crossings = places.crossings(len(cut), whole)
        found = spline.sampled(cut, crossings, between(places.rows, asked), chosen)
    if is_coarse:
        found = _doubled(found)[relative(inner, (asked[0].start, asked[1].start))]
    if holes.any():
        share = ndimage.map_coordinates(
            holes.astype(np.float32), places[inner], order=1, mode="nearest"
        )
        found[share > 1e-6] = np.nan
    return found


def _last(places: slice) -> int:
    return range(places.start, places.stop, places.step or 1)[-1]


def _every_second(inner: Part) -> Part:
    """Return every second place, from the first of the cell on, that a cubic at `inner` needs."""
    rows, columns = (slice((span.start - 3) // 2 * 2, span.stop + 3, 2) for span in inner)
    return rows, columns


def _doubled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pixels with one between each two, by the cubic through four; at the ends linear."""
    wide = np.empty((len(values), 2 * values.shape[1] - 1), np.float32)
    wide[:, ::2] = values
    wide[:, 1::2] = _middles(values.T).T
    found = np.empty((2 * len(wide) - 1, wide.shape[1]), np.float32)
    found[::2] = wide
    found[1::2] = _middles(wide)
    return found


def _middles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what lies in the middle of each two rows."""
    found = values[:-1] + values[1:]
    outer = values[:-3] + values[3:]
    outer *= np.float32(1 / 16)
    inner = found[1:-1]
    inner *= np.float32(9 / 16)
    inner -= outer
    found[[0, -1]] *= np.float32(0.5)
    return found
