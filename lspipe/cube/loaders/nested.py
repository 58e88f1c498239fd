"""A file whose pixels nest in those of a grid -> its numbers on the grid, without a warp.

The bands of a Sentinel-2 tile lie on one corner: a pixel of 20 m is exactly four of 10 m. Such a
file is read at its own pixel size, and raised by whole numbers. The results are those of GDAL's
warp to the bit, in a tenth of the time, and depend on no chunks.

Does not cover: files that do not nest, and bilinear resampling of any but 20 m; those are warped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rasterio.windows import Window

if TYPE_CHECKING:
    import rasterio
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

_ON_A_PIXEL = 1e-6
"""Distance from a whole pixel that counts as rounding, pixels."""

_STRIP = 64
"""Rows that are raised at a time: what they need stays in the cache of a processor."""


@dataclass(frozen=True)
class Nesting:
    """Where a grid lies in a file whose pixels are whole squares of the grid's."""

    times: int
    """Edge of a pixel of the file, pixels of the grid."""
    row: int
    """First row and column of the grid, counted in its pixels from the corner of the file."""
    column: int

    @classmethod
    def of(cls, file: rasterio.DatasetReader, grid: GeoBox) -> Nesting | None:
        """Return how a grid lies in a file in the same CRS; None if pixels do not nest."""
        into = ~file.transform * grid.affine
        if into.a <= 0 or any(
            abs(part) > _ON_A_PIXEL for part in (into.b, into.d, into.a - into.e)
        ):
            return None
        times = round(1 / into.a)
        found = [1 / into.a, into.f * times, into.c * times]
        if times < 1 or any(abs(value - round(value)) > _ON_A_PIXEL for value in found):
            return None
        return cls(*map(round, found))


def read_onto(
    grid: GeoBox, file: rasterio.DatasetReader, *, resampling: str, out: NDArray[np.uint16]
) -> bool:
    """Read the first band of a file onto a grid.

    Args:
        grid: what is wanted, in the CRS of the file.
        file: opened; uint8 or uint16, 0 = no data.
        resampling: "nearest" or "bilinear".
        out: (y, x) of the grid, filled in place; 0 where the file does not reach.

    Returns:
        Whether it was read; if not, the file must be warped, and `out` is as it was.
    """
    nesting = Nesting.of(file, grid)
    if nesting is None or not (nesting.times <= 2 or resampling == "nearest"):
        return False
    if nesting.times == 1:
        _copy(file, nesting, out)
    elif resampling == "nearest":
        _repeat(file, nesting, out)
    else:
        _raise(file, nesting, out)
    return True


def _copy(file: rasterio.DatasetReader, nesting: Nesting, out: NDArray[np.uint16]) -> None:
    """Read pixels of the grid's own size straight into their place."""
    starts = (nesting.row, nesting.column)
    spans = [
        slice(min(max(0, -start), length), min(length, max(0, edge - start)))
        for start, length, edge in zip(starts, out.shape, file.shape, strict=True)
    ]
    target = out[*spans]
    if target.shape != out.shape:
        out[:] = 0
    if target.size:
        rows, columns = (
            slice(start + span.start, start + span.stop)
            for start, span in zip(starts, spans, strict=True)
        )
        window = Window.from_slices(rows, columns)
        if target.flags.c_contiguous:
            file.read(1, window=window, out=target)
        else:  # GDAL writes rows that lie one after the other
            target[:] = file.read(1, window=window)


def _repeat(file: rasterio.DatasetReader, nesting: Nesting, out: NDArray[np.uint16]) -> None:
    """Give every pixel of the grid the number of the pixel that it lies in."""
    times = nesting.times
    stored, (row, column) = _stored(file, nesting, out.shape, rim=0)
    rows = (nesting.row + np.arange(out.shape[0])) // times - row
    columns = (nesting.column + np.arange(out.shape[1])) // times - column
    for first in range(0, len(out), _STRIP):
        strip = slice(first, first + _STRIP)
        # All lie within; to check each, NumPy would need the memory of a strip again.
        np.take(stored[rows[strip]], columns, axis=1, out=out[strip], mode="clip")


def _raise(file: rasterio.DatasetReader, nesting: Nesting, out: NDArray[np.uint16]) -> None:
    """Interpolate between centres of pixels of twice the size, no data left out."""
    stored, (row, column) = _stored(file, nesting, out.shape, rim=1)
    _continue_beyond(stored, (row, column), file.shape)
    left = nesting.column - 2 * (column + 1)
    for first in range(0, len(out), _STRIP):
        strip = out[first : first + _STRIP]
        top = nesting.row + first
        upper = top // 2 - 1 - row
        lower = (top + len(strip) - 1) // 2 + 2 - row
        raised = raised_twice(stored[upper:lower])
        top -= 2 * (top // 2)
        strip[:] = raised[top : top + len(strip), left : left + out.shape[1]]


def _continue_beyond(
    stored: NDArray[np.uint16], first: tuple[int, int], shape: tuple[int, int]
) -> None:
    """Repeat the last pixels of a file in a rim of one pixel around it, in place.

    What is interpolated inside the file is the same, and no gap is left whose weights are counted:
    the mean of a pixel and a gap is the pixel.

    Args:
        stored: (y, x) with a rim of one pixel.
        first: row and column in the file of its first pixel.
        shape: of the file.
    """
    for axis, (start, length) in enumerate(zip(first, shape, strict=True)):
        lines = np.moveaxis(stored, axis, 0)
        # Further beyond lie pixels that are asked for, and have no data.
        if start == -1:
            lines[0] = lines[1]
        if start + len(lines) == length + 1:
            lines[-1] = lines[-2]


def raised_twice(stored: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Interpolate to pixels of half the size, bilinear, as GDAL does.

    A new pixel takes 9/16 of the pixel that it lies in, 3/16 of the two nearest beside it and 1/16
    of the one across; of those without data nothing, and the other shares grow. It has no data
    where the pixel that it lies in has none. A half is rounded up.

    Args:
        stored: uint16 (y, x) with a rim of one pixel, 0 = no data.

    Returns:
        uint16 (2 (y - 2), 2 (x - 2)).

    Example:
        >>> raised_twice(np.pad(np.array([[16, 32]], np.uint16), 1))
        array([[16, 20, 28, 32],
               [16, 20, 28, 32]], dtype=uint16)
    """
    total = _shared(stored.astype(np.uint32))
    if stored.min(initial=1):
        total += 8
        total >>= 4
        return total.astype(np.uint16)
    is_known = stored != 0
    weight = _shared(is_known.astype(np.uint32))
    inner = is_known[1:-1, 1:-1].repeat(2, axis=0).repeat(2, axis=1)
    # Where nothing is known the weight is 0, and so is the total.
    mean = (2 * total + weight) // np.maximum(2 * weight, 1)
    return np.where(inner, mean, 0).astype(np.uint16)


def _shared(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Add up 9 times the own, 3 times the near and once the far value, in sixteenths."""
    own = 3 * values[:, 1:-1]
    wide = np.empty((len(values), 2 * own.shape[1]), np.uint32)
    np.add(own, values[:, :-2], out=wide[:, 0::2])
    np.add(own, values[:, 2:], out=wide[:, 1::2])
    own = 3 * wide[1:-1]
    shared = np.empty((2 * len(own), own.shape[1]), np.uint32)
    np.add(own, wide[:-2], out=shared[0::2])
    np.add(own, wide[2:], out=shared[1::2])
    return shared


def _stored(
    file: rasterio.DatasetReader, nesting: Nesting, shape: tuple[int, ...], *, rim: int
) -> tuple[NDArray[np.uint16], tuple[int, int]]:
    """Read the pixels of a file under a grid, and a rim around them; 0 beyond the file.

    Returns:
        uint16 (y, x); row and column in the file of its first pixel, which may be negative.
    """
    spans = [
        slice(start // nesting.times - rim, (start + length - 1) // nesting.times + 1 + rim)
        for start, length in zip((nesting.row, nesting.column), shape, strict=True)
    ]
    found = np.zeros([span.stop - span.start for span in spans], np.uint16)
    inside = [
        slice(max(0, span.start), min(edge, span.stop))
        for span, edge in zip(spans, file.shape, strict=True)
    ]
    if all(span.start < span.stop for span in inside):
        into = [
            slice(part.start - span.start, part.stop - span.start)
            for part, span in zip(inside, spans, strict=True)
        ]
        found[*into] = file.read(1, window=Window.from_slices(*inside))
    return found, (spans[0].start, spans[1].start)
