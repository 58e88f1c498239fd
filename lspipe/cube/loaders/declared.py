"""What a file declares of its pixels -> numbers as Sentinel-2 has them, or a refusal by name.

Sentinel-2 stores uint16: 0 is no data, 1 to 32767 are numbers, 65535 is saturated. Files on their
way through other programs change: another integer type, another number for no data, a mask inside
the file, values that a damaged block decodes to. Such a file is rewritten in memory as what
Sentinel-2 would have stored, before anything is resampled, so that no data never mixes into its
neighbours; what cannot be so is `READ_FAILED`, which is not observed. Numbers that are no integers,
or have another scale, are refused: they would have to be guessed.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.io import MemoryFile
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window, from_bounds

from lspipe.preprocess.reflectance import RAW_NODATA, RAW_SATURATED, VALID_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import rasterio
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

LARGEST_CLASS = 255
"""Scene classes are 0 to 11; what a mask makes of others is its own affair."""

# Bilinear resampling to half the pixel size takes at least 3/4 x 3/4 of the nearest pixel, so that
# a number above the valid range shows as at least that much of it.
_SHARE_OF_NEAREST = 9 / 16

_MARGIN = 3
"""Pixels of the file around the part that is wanted; bilinear needs one."""


class UnfitFile(ValueError):
    """A file that is whole and yet not what lspipe can take; the message says what to do."""


class NoCRS(UnfitFile):
    """A file without a CRS, or one over a network of whose header a part is missing."""


class Rewritten(NamedTuple):
    """Part of a file as Sentinel-2 would have stored it."""

    href: str
    """A file in memory, uint16, 0 = no data."""
    failed: NDArray[np.bool_] | None
    """(y, x) of the grid, True where the file holds what Sentinel-2 cannot hold; None = nowhere."""


@dataclass(frozen=True)
class Declared:
    """What the header of a file says of its pixels."""

    dtype: str
    nodata: float | None
    """Its own number for no data, None = none."""
    has_mask: bool
    """Whether a mask inside the file says which pixels are valid."""
    scale: float
    offset: float
    """value = number x scale + offset; 1 and 0 where it says nothing."""

    @classmethod
    def of(cls, file: rasterio.DatasetReader, *, epsg: int) -> Declared:
        """Read what a file says.

        Args:
            file: opened.
            epsg: of the grid it must be on.

        Raises:
            NoCRS: it has none.
            UnfitFile: several bands, numbers that are no integers, or another CRS: warping it would
                depend on the chunks.
        """
        if file.crs != CRS.from_epsg(epsg):
            kind = UnfitFile if file.crs else NoCRS
            raise kind(
                f"file is in {file.crs or 'no CRS'}, expected EPSG:{epsg} as the grid; warp the "
                "file to that CRS, or leave the item out"
            )
        masks = [flag for flags in file.mask_flag_enums for flag in flags]
        bands = file.count - (1 if MaskFlags.alpha in masks else 0)
        if bands != 1:
            raise UnfitFile(
                f"file has {bands} bands, expected one; write the band alone into a file"
            )
        dtype = file.dtypes[0]
        if not np.issubdtype(np.dtype(dtype), np.integer):
            raise UnfitFile(
                f"file holds {dtype}, expected uint16 digital numbers of Sentinel-2, where "
                "reflectance is number / 10000, less 0.1 from processing baseline 04.00 on; write "
                "the numbers again as uint16, 0 = no data"
            )
        return cls(
            dtype=dtype,
            nodata=file.nodata,
            has_mask=MaskFlags.per_dataset in masks,
            scale=float(file.scales[0]),
            offset=float(file.offsets[0]),
        )

    def check_reflectance(self) -> None:
        """Refuse a file that cannot hold reflectance.

        Raises:
            UnfitFile: 8 bits: a picture.
        """
        if np.dtype(self.dtype).itemsize == 1:
            raise UnfitFile(
                f"file holds {self.dtype}, a picture for the eye; expected uint16 digital numbers "
                "of Sentinel-2: name the asset that holds them"
            )

    @property
    def is_plain(self) -> bool:
        """Whether it is stored as Sentinel-2 stores."""
        return (
            self.dtype in {"uint8", "uint16"}
            and self.nodata in {None, RAW_NODATA}
            and not self.has_mask
        )

    def text(self) -> str:
        """Return it in words, for `run.json`."""
        parts = [self.dtype]
        if self.nodata is not None:
            parts.append(f"no data {self.nodata:g}")
        if self.has_mask:
            parts.append("a mask")
        if (self.scale, self.offset) != (1, 0):
            parts.append(f"scale {self.scale:g}, offset {self.offset:g}")
        return ", ".join(parts)


def is_suspicious(numbers: NDArray[Any], largest: int) -> bool:
    """Return whether resampled numbers may come from some above `largest`."""
    return bool(numbers.max(initial=0) > largest * _SHARE_OF_NEAREST)


def largest_number(band: str) -> int:
    """Return the largest number that a file of a band may hold."""
    return LARGEST_CLASS if band == "SCL" else VALID_NUMBERS[1]


@contextmanager
def rewritten(
    file: rasterio.DatasetReader, declared: Declared, grid: GeoBox, *, largest: int
) -> Iterator[Rewritten]:
    """Rewrite the part of a file that a grid needs as Sentinel-2 would have stored it.

    Args:
        file: opened.
        declared: what it says.
        grid: what is wanted of it, in its CRS.
        largest: the largest number that Sentinel-2 has here; saturated pixels are kept.
    """
    window = _window(file, grid)
    stored = file.read(1, window=window)
    gap = stored == RAW_NODATA
    if declared.nodata is not None:
        gap |= stored == declared.nodata
    if declared.has_mask:
        gap |= file.dataset_mask(window=window) == 0
    wrong = ((stored < 0) | (stored > largest)) & (stored != RAW_SATURATED) & ~gap
    numbers = np.where(gap | wrong, RAW_NODATA, stored).astype(np.uint16)
    affine = file.transform * Affine.translation(window.col_off, window.row_off)
    failed = _on_grid(wrong, affine, grid) if wrong.any() else None
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=numbers.shape[0],
            width=numbers.shape[1],
            count=1,
            dtype="uint16",
            nodata=RAW_NODATA,
            crs=file.crs,
            transform=affine,
        ) as copy:
            copy.write(numbers, 1)
        yield Rewritten(memory.name, failed)


def _window(file: rasterio.DatasetReader, grid: GeoBox) -> Window:
    """Pixels of the file under the grid, with a margin; one pixel where it does not reach."""
    wanted = from_bounds(*grid.boundingbox, transform=file.transform)
    rows, columns = (
        _within(start, length, edge)
        for start, length, edge in (
            (wanted.row_off, wanted.height, file.height),
            (wanted.col_off, wanted.width, file.width),
        )
    )
    return Window.from_slices(rows, columns)


def _within(start: float, length: float, edge: int) -> tuple[int, int]:
    first = min(max(int(np.floor(start)) - _MARGIN, 0), edge - 1)
    last = max(min(int(np.ceil(start + length)) + _MARGIN, edge), first + 1)
    return first, last


def _on_grid(wrong: NDArray[np.bool_], affine: Affine, grid: GeoBox) -> NDArray[np.bool_]:
    """The nearest pixel's mark on the grid."""
    marks = np.zeros(tuple(grid.shape), np.uint8)
    crs = CRS.from_epsg(grid.crs.epsg)
    reproject(
        wrong.astype(np.uint8),
        marks,
        src_transform=affine,
        src_crs=crs,
        dst_transform=grid.affine,
        dst_crs=crs,
        resampling=Resampling.nearest,
    )
    on_grid: NDArray[np.bool_] = marks != 0
    return on_grid
