"""Bands of an acquisition -> quality bits by a source of masks, whatever the blocks are.

A source with windows sees them on one lattice of the tile, starts 0, stride, 2 stride, ... and a
last one that ends where the tile does (docs/numerics.md, Lattice). A pixel is answered by the one
window whose centre is nearest, so a class depends on the tile and never on how it was cut. The
array is cut where answers of one window end and those of the next begin, near the borders of the
blocks, so that no window is computed twice.

Does not cover: scene classes, which come with each item (`scene.py`); the rim (`scene.dilated`).
See also: `preprocess/masks/sources.py`, the contract of a source.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from lspipe.cube.kernels import is_lazy, of_blocks
from lspipe.schema import CUBE_NODATA, REFLECTANCE_SCALE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lspipe.cube.kernels import Layers
    from lspipe.preprocess.masks import MaskSource
    from lspipe.schema import Part

_GRID_M = 10
"""Edge of the pixels of a cube, metres."""


@dataclass(frozen=True)
class Place:
    """Where an array lies in its tile: windows are counted from the corner of the tile."""

    origin: tuple[int, int]
    """Row and column of its first pixel in the tile."""
    tile_shape: tuple[int, int]


def masked_by(source: MaskSource, bands: Layers, *, level: str, place: Place) -> Layers:
    """Return what a source masks, uint8 (y, x), bits of `schema.Quality`.

    Args:
        source: of `preprocess.masks.sources`.
        bands: int16 (band, y, x), those of the source in its order, reflectance x 1e4, -32768 = no
            data; lazy, one chunk per block, or at hand.
        level: "L1C" or "L2A".
        place: of the bands in their tile.
    """
    stack = bands.rechunk({0: -1}) if is_lazy(bands) else bands
    chunks = stack.chunks[1:] if is_lazy(stack) else [(length,) for length in stack.shape[1:]]
    rows, columns = (
        _pieces(source, sizes, origin, length)
        for sizes, origin, length in zip(chunks, place.origin, place.tile_shape, strict=True)
    )
    answers = [[_piece(source, stack, (row, column), level) for column in columns] for row in rows]
    return da.block(answers).rechunk(chunks) if is_lazy(stack) else answers[0][0]


# --- where ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A window along one axis, pixels of its source, counted from the corner of the tile."""

    start: int
    own: slice
    """Pixels that it answers."""


@dataclass(frozen=True)
class Piece:
    """A stretch of one axis that is answered by one task; pixels of 10 m of the tile."""

    own: slice
    """Pixels that it answers."""
    need: slice
    """Pixels that it sees."""
    origin: int
    """First pixel of the array that it is cut from."""
    windows: tuple[Window, ...]
    """Empty for a source without windows."""


def windows_along(length: int, window: int, margin: int) -> list[Window]:
    """Lay the windows of a source along an axis; each answers what is nearest to its centre.

    Example:
        >>> [(one.start, one.own.start, one.own.stop) for one in windows_along(20, 8, 1)]
        [(0, 0, 7), (6, 7, 13), (12, 13, 20)]
    """
    stride = max(1, window - 2 * margin)
    starts = [*range(0, length - window, stride), length - window] if length > window else [0]
    edges = [0, *((a + b + window) // 2 for a, b in pairwise(starts)), length]
    return [Window(start, slice(*own)) for start, own in zip(starts, pairwise(edges), strict=True)]


def windows_side(source: MaskSource) -> int:
    """Return the edge of what one window of a source answers, pixels of 10 m."""
    return max(1, (source.window or 0) - 2 * source.margin) * (source.pixel_m // _GRID_M)


def reach_of(source: MaskSource) -> int:
    """Return how far from a pixel lies what decides its bits, pixels of 10 m."""
    step = source.pixel_m // _GRID_M
    reach = source.margin if source.window is None else source.window - 1
    return (reach + 1) * step - 1


def _pieces(
    source: MaskSource, chunks: Sequence[int], origin: int, tile_length: int
) -> list[Piece]:
    """Cut an axis near the borders of its chunks, where a window's answers end."""
    step = source.pixel_m // _GRID_M
    length = -(-tile_length // step)
    last = origin + sum(chunks)
    borders = (origin + np.cumsum(chunks)[:-1]).tolist()
    if source.window is None:
        lattice: list[Window] = []
        cuts = [round(border / step) * step for border in borders]
    else:
        lattice = windows_along(length, source.window, source.margin)
        ends = step * np.array([one.own.stop for one in lattice])
        cuts = [int(ends[np.abs(ends - border).argmin()]) for border in borders]
    inner = sorted({cut for cut in cuts if origin < cut < last})
    return [
        _piece_of(source, slice(*own), lattice, origin, last)
        for own in pairwise([origin, *inner, last])
    ]


def _piece_of(
    source: MaskSource, own: slice, lattice: Sequence[Window], origin: int, last: int
) -> Piece:
    step = source.pixel_m // _GRID_M
    inside = tuple(
        one
        for one in lattice
        if one.own.start * step < own.stop and own.start < one.own.stop * step
    )
    if source.window is None:
        first = (own.start // step - source.margin) * step
        end = (-(-own.stop // step) + source.margin) * step
    else:
        first, end = inside[0].start * step, (inside[-1].start + source.window) * step
    return Piece(own, slice(max(first, origin), min(end, last)), origin, inside)


# --- what ----------------------------------------------------------------------------------------


def _piece(source: MaskSource, stack: Layers, pieces: tuple[Piece, Piece], level: str) -> Layers:
    row, column = pieces
    need = tuple(slice(p.need.start - p.origin, p.need.stop - p.origin) for p in pieces)
    seen = stack[:, *need]
    return of_blocks(
        partial(_answer, source=source, pieces=pieces, level=level),
        seen.rechunk(-1) if is_lazy(seen) else seen,
        dtype=np.uint8,
        drop_axis=0,
        chunks=((row.own.stop - row.own.start,), (column.own.stop - column.own.start,)),
        meta=np.empty((0, 0), np.uint8),
    )


def _answer(
    codes: NDArray[np.int16], *, source: MaskSource, pieces: tuple[Piece, Piece], level: str
) -> NDArray[np.uint8]:
    """Answer one piece: int16 (band, y, x) of what it sees -> bits of its own pixels."""
    own = _within(pieces, "own")
    missing = (codes[:, *own] == CUBE_NODATA).any(axis=0)
    if missing.all():
        return np.zeros(missing.shape, np.uint8)
    step = source.pixel_m // _GRID_M
    pixels, origin = _coarse(codes, pieces, step)
    if source.window is None:
        bits = np.asarray(source.bits(pixels, level), np.uint8)
    else:
        bits = _by_windows(pixels, source, pieces, origin, level)
    fine = bits.repeat(step, axis=0).repeat(step, axis=1)
    first = [piece.own.start - start * step for piece, start in zip(pieces, origin, strict=True)]
    rows, columns = missing.shape
    answer = fine[first[0] : first[0] + rows, first[1] : first[1] + columns].copy()
    answer[missing] = 0
    return answer


def _within(pieces: tuple[Piece, Piece], name: str) -> Part:
    """Return the own pixels of a piece as a part of those that it sees."""
    rows, columns = (
        slice(getattr(p, name).start - p.need.start, getattr(p, name).stop - p.need.start)
        for p in pieces
    )
    return rows, columns


def _coarse(
    codes: NDArray[np.int16], pieces: tuple[Piece, Piece], step: int
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Average codes to the pixels of a source, which are counted from the corner of the tile.

    Returns:
        float32 (band, y, x) reflectance, NaN = no data; row and column of its first pixel.
    """
    starts = [piece.need.start // step for piece in pieces]
    stops = [-(-piece.need.stop // step) for piece in pieces]
    pads = [
        (piece.need.start - start * step, stop * step - piece.need.stop)
        for piece, start, stop in zip(pieces, starts, stops, strict=True)
    ]
    rows, columns = (stop - start for start, stop in zip(starts, stops, strict=True))
    coarse = np.empty((len(codes), rows, columns), np.float32)
    for band, layer in zip(coarse, codes, strict=True):
        padded = np.pad(layer, pads, constant_values=CUBE_NODATA)
        cells = padded.reshape(rows, step, columns, step)
        is_known = cells != CUBE_NODATA
        count = is_known.sum(axis=(1, 3))
        # Whole numbers add up to the same sum in any order.
        total = np.where(is_known, cells, 0).sum(axis=(1, 3), dtype=np.int32)
        band[:] = np.where(count > 0, total / np.maximum(count, 1) * REFLECTANCE_SCALE, np.nan)
    return coarse, (starts[0], starts[1])


def _by_windows(
    pixels: NDArray[np.float32],
    source: MaskSource,
    pieces: tuple[Piece, Piece],
    origin: tuple[int, int],
    level: str,
) -> NDArray[np.uint8]:
    """Ask a source window by window; a window without a known pixel of its own is not asked."""
    bits = np.zeros(pixels.shape[1:], np.uint8)
    for row in pieces[0].windows:
        for column in pieces[1].windows:
            starts = row.start - origin[0], column.start - origin[1]
            own = tuple(
                slice(max(0, one.own.start - first), max(0, one.own.stop - first))
                for one, first in zip((row, column), origin, strict=True)
            )
            if np.isnan(pixels[:, *own]).any(axis=0).all():
                continue
            answer = np.asarray(source.bits(_cut(pixels, starts, source.window or 0), level))
            here = tuple(
                slice(span.start - start, span.stop - start)
                for span, start in zip(own, starts, strict=True)
            )
            target = bits[own]
            target[:] = answer[here][: target.shape[0], : target.shape[1]]
    return bits


def _cut(pixels: NDArray[np.float32], starts: tuple[int, int], window: int) -> NDArray[np.float32]:
    """Cut a window out, with no data where the array, or the tile, has no pixel."""
    cut = np.full((len(pixels), window, window), np.nan, np.float32)
    source, target = [], []
    for start, length in zip(starts, pixels.shape[1:], strict=True):
        first, last = max(0, start), min(length, start + window)
        source.append(slice(first, last))
        target.append(slice(first - start, last - start))
    cut[:, *target] = pixels[:, *source]
    return cut
