"""One raster of backscatter: what its header says, and its pixels in linear power.

What is not observed becomes NaN here: no data, what is not above zero, layover and shadow where the
product flags them, and the noise along the rim of a slice. A file of decibels or of digital numbers
is refused, as it would have to be guessed.

See also: `sentinel1.py` (which rasters a tile has), `radar.py` (several of them as channels).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import rasterio
from rasterio.enums import MaskFlags
from rasterio.windows import Window
from scipy import ndimage

from lspipe.catalogs import CATALOGS, GENERIC
from lspipe.cube.loaders.declared import UnfitFile
from lspipe.cube.loaders.raster_file import open_raster
from lspipe.cube.loaders.source import Source
from lspipe.cube.loaders.source import read as read_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lspipe.schema import Part

NOISE_POWER = 1e-3
"""Linear power below which a pixel near the rim of a slice is noise: -30 dB, below what Sentinel-1
can measure (its noise floor is -22 dB at most; source: Sentinel-1 product specification)."""

RIM_PX = 32
"""How near to the rim, or to what has no data, such a pixel is, pixels of the file."""

LARGEST_POWER = 1e4
"""40 dB: what is mostly above is no power."""

_Found = TypeVar("_Found")

_SMALL = 256
"""Edge of the picture of a file that is looked at before a run."""


@dataclass(frozen=True, kw_only=True)
class HiddenFile:
    """The raster of a product that flags layover and shadow, on the lattice of its VV."""

    asset: str
    href: str
    numbers: tuple[int, ...]
    """That stand for layover or shadow."""


@dataclass(frozen=True, kw_only=True)
class RadarFile:
    """One slice of one pass: a raster of VV, and what its header says."""

    item: str
    """Id of its STAC item."""
    asset: str
    href: str
    day: str
    """The pass that it is a slice of, by the first moment of its slices: ISO 8601, UTC."""
    platform: str
    """Such as "sentinel-1a"."""
    crs: str
    """Projected, in metres: "EPSG:32718", or WKT."""
    transform: tuple[float, float, float, float, float, float]
    """Affine, north up: width of a pixel, 0, left, 0, minus its height, top."""
    shape: tuple[int, int]
    catalog: str = GENERIC.name
    hidden: HiddenFile | None = None
    """None = the product has none."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top, in its CRS."""
        width, _, left, _, height, top = self.transform
        rows, columns = self.shape
        return left, top + rows * height, left + columns * width, top


def read_header(
    source: Source, *, day: str, platform: str, hidden: HiddenFile | None = None
) -> RadarFile:
    """Return what the header of a file says, and look at a small picture of it.

    The place of the pixels is that of the file: items have been seen whose own is of an earlier
    processing (https://github.com/microsoft/PlanetaryComputer/issues/417).

    Args:
        source: the asset of VV.
        day: of its pass.
        platform: that acquired it.
        hidden: what flags layover and shadow, if the product has it.

    Raises:
        LoadError: it cannot be read, or holds no linear power on a grid; names item and asset.
    """

    def facts(href: str) -> RadarFile:
        with rasterio.open(href, sharing=False) as file:
            found = _facts(file, source, day, platform)
            _power(_picture(file))
            return found

    found = _read(source, facts)
    if hidden is None:
        return found

    def check_lattice(href: str) -> None:
        with open_raster(href) as file:
            if (file.height, file.width) != found.shape or not np.allclose(
                tuple(file.transform)[:6], found.transform, rtol=0, atol=0.01
            ):
                raise UnfitFile("its pixels are not those of VV")

    read_source(_source(found, hidden), check_lattice)
    return replace(found, hidden=hidden)


def _read(source: Source, pixels: Callable[[str], _Found]) -> _Found:
    """Read an asset; never filled where it fails, as what is not read is no shadow."""
    found = read_source(source, pixels)
    if found is None:  # cannot be, as a failed read is an error
        raise AssertionError(source.href)
    return found


def _facts(file: rasterio.DatasetReader, source: Source, day: str, platform: str) -> RadarFile:
    if file.crs is None:
        raise UnfitFile(
            "it has no CRS, as GRD has, which is not terrain corrected; expected RTC (gamma0) on a "
            "grid, such as sentinel-1-rtc of planetary-computer"
        )
    if not file.crs.is_projected:
        raise UnfitFile(f"its CRS is {file.crs}, expected a projected one in metres, such as UTM")
    a, b, c, d, e, f = tuple(file.transform)[:6]
    if b or d or a <= 0 or e >= 0:
        raise UnfitFile("its rows do not run from west to east; warp it first: gdalwarp")
    if not np.issubdtype(np.dtype(file.dtypes[0]), np.floating):
        raise UnfitFile(
            f"it holds {file.dtypes[0]}, digital numbers as of GRD; expected floats of linear "
            "power (RTC, gamma0)"
        )
    code = file.crs.to_epsg()
    return RadarFile(
        item=source.item,
        asset=source.asset,
        href=source.href,
        day=day,
        platform=platform,
        crs=f"EPSG:{code}" if code else file.crs.to_wkt(),
        transform=(a, b, c, d, e, f),
        shape=(file.height, file.width),
        catalog=source.catalog.name,
    )


def _picture(file: rasterio.DatasetReader) -> NDArray[Any]:
    """Read a small picture of a file: all of it where it has overviews, else its middle."""
    if file.overviews(1):
        shape = min(_SMALL, file.height), min(_SMALL, file.width)
        return _numbers(file, out_shape=shape)
    rows, columns = (
        slice(max(0, (length - _SMALL) // 2), min(length, (length + _SMALL) // 2))
        for length in (file.height, file.width)
    )
    return _numbers(file, window=Window.from_slices(rows, columns))


def _numbers(file: rasterio.DatasetReader, **part: Any) -> NDArray[np.float32]:
    """Read float32, NaN where the file has no data and its number for that is above zero."""
    if MaskFlags.per_dataset in file.mask_flag_enums[0]:
        return np.asarray(file.read(1, masked=True, **part).astype(np.float32).filled(np.nan))
    # Without a mask array: what is not above zero is no power, as is usual for no data.
    found = file.read(1, out_dtype=np.float32, **part)
    if file.nodata is not None and file.nodata > 0:
        found[found == np.float32(file.nodata)] = np.nan
    return np.asarray(found)


def read_power(file: RadarFile, part: Part) -> NDArray[np.float32]:
    """Read a part of a file's lattice, which may reach beyond the file.

    Args:
        file: to read.
        part: rows and columns, counted from the file's first pixel; may be negative.

    Returns:
        float32 (y, x), linear power; NaN = not observed, or beyond the file.

    Raises:
        LoadError: it cannot be read, or holds no linear power.
    """
    inside = [
        slice(max(span.start, 0), min(span.stop, length))
        for span, length in zip(part, file.shape, strict=True)
    ]
    is_beyond = any(span.stop <= span.start for span in inside)
    if not is_beyond and tuple(inside) == part:
        return _inside(file, part)
    found = np.full([span.stop - span.start for span in part], np.nan, np.float32)
    if not is_beyond:
        into = tuple(
            slice(span.start - asked.start, span.stop - asked.start)
            for span, asked in zip(inside, part, strict=True)
        )
        found[into] = _inside(file, (inside[0], inside[1]))
    return found


def _inside(file: RadarFile, part: Part) -> NDArray[np.float32]:
    window = Window.from_slices(*part)

    def pixels(href: str) -> NDArray[np.float32]:
        with open_raster(href) as opened:
            return _power(_numbers(opened, window=window))

    def flags(href: str) -> NDArray[Any]:
        with open_raster(href) as opened:
            return np.asarray(opened.read(1, window=window))

    found = _read(_source(file), pixels)
    if file.hidden is not None:
        found[np.isin(_read(_source(file, file.hidden), flags), file.hidden.numbers)] = np.nan
    return found


def _source(file: RadarFile, hidden: HiddenFile | None = None) -> Source:
    asset = hidden or file
    return Source(
        item=file.item,
        band="VV" if hidden is None else "layover and shadow",
        asset=asset.asset,
        href=asset.href,
        catalog=CATALOGS.get(file.catalog, GENERIC),
        on_read_error="fail",
        otherwise=OTHERWISE,
    )


OTHERWISE = "or take another radar.collection, or other days (radar.before, radar.after)"
"""What else helps where a file cannot be read."""


def _power(found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return linear power, NaN = not observed.

    Raises:
        UnfitFile: the numbers are decibels, or digital numbers.
    """
    if found.size and found.min() > 0 and found.max() <= LARGEST_POWER:
        return found  # as nearly all, without a look at each pixel
    with np.errstate(invalid="ignore"):
        is_power = found > 0
        # Subtracted noise leaves a little below zero; what stands for no data is far below.
        decibels = np.count_nonzero((found < -0.5) & (found > -100))
        large = np.count_nonzero(found > LARGEST_POWER)
    count = np.count_nonzero(is_power)
    if decibels > count:
        raise UnfitFile(
            f"it holds decibels: {decibels} px are below zero, where power belongs; expected "
            "linear power, 10 ** (dB / 10)"
        )
    if 2 * large > count:
        raise UnfitFile(
            f"{large} px are above {LARGEST_POWER:g}, as digital numbers are; expected linear "
            "power (RTC, gamma0), about 0.01 to 1"
        )
    return np.where(is_power & np.isfinite(found), found, np.float32(np.nan))


def without_noise(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return power without the noise along the rim of a slice, or around what has no data.

    Args:
        power: float32 (y, x), NaN = not observed, or beyond the file.

    Example:
        >>> slice_ = np.full((1, 40), 0.1, np.float32)
        >>> slice_[0, :2], slice_[0, 2], slice_[0, 39] = np.nan, 1e-5, 1e-5
        >>> np.flatnonzero(np.isnan(without_noise(slice_))).tolist()  # the last is ground
        [0, 1, 2]
    """
    if power.min() >= NOISE_POWER:  # and then each is known
        return power
    is_low, is_hole = power < NOISE_POWER, np.isnan(power)
    if not (is_low.any() and is_hole.any()):
        return power
    is_near = ndimage.maximum_filter(is_hole, 2 * RIM_PX + 1, mode="constant", cval=0)
    return np.where(is_low & is_near, np.float32(np.nan), power)
