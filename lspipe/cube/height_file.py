"""One raster of heights: what its header says, and its pixels in metres.

See also: `dem.py` (which rasters a run has), `canvas.py` (several of them side by side).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import rasterio
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.windows import Window

from lspipe.catalogs import CATALOGS, GENERIC
from lspipe.cube.loaders.declared import UnfitFile
from lspipe.cube.loaders.raster_file import open_raster
from lspipe.cube.loaders.source import Source
from lspipe.cube.loaders.source import read as read_source
from lspipe.errors import LoadError, WorkflowError
from lspipe.schema import CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lspipe.schema import Part

Datum = Literal["geoid", "ellipsoid", ""]
"""What heights are counted from; "" = not known."""

METRES = {
    **dict.fromkeys(("", "m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet", "international foot"), 0.3048),
    **dict.fromkeys(("us-ft", "us survey foot", "us_survey_foot", "ftus"), 1200 / 3937),
}
"""Metres of a unit of height, by the names that files have for it."""

_SMALL = 256
"""Edge of the picture of a file that is looked at before a run."""


@dataclass(frozen=True, kw_only=True)
class HeightFile:
    """One raster of heights, and what its header says."""

    item: str
    """Id of its STAC item, or its name; for errors."""
    asset: str
    href: str
    crs: str
    """Horizontal CRS, as WKT."""
    transform: tuple[float, float, float, float, float, float]
    """Affine, north up: width of a pixel, 0, left, 0, minus its height, top."""
    shape: tuple[int, int]
    metres: float = 1.0
    """Of one unit of its numbers."""
    datum: str = ""
    """What heights are counted from: "geoid", "ellipsoid", "" = the file does not say."""
    datum_name: str = ""
    """As it is called: "EGM2008 height"."""
    catalog: str = GENERIC.name
    bytes_per_pixel: int = 4

    @property
    def is_geographic(self) -> bool:
        """Whether its coordinates are degrees, which begin again after 360."""
        return crs_of(self.crs).is_geographic

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top, in its CRS."""
        width, _, left, _, height, top = self.transform
        rows, columns = self.shape
        return left, top + rows * height, left + columns * width, top


@lru_cache(maxsize=64)
def crs_of(text: str) -> CRS:
    """Return a CRS from its text; each is understood once."""
    return CRS.from_user_input(text)


def look_at(path: str, *, key: str, name: str, unit: str) -> HeightFile:
    """Read the header of a file, and a small picture of one that lies on this machine.

    Args:
        path: of the file, or its address.
        key: of the workflow, for errors.
        name: as the workflow writes it.
        unit: of its heights; "auto" = as it says.

    Raises:
        WorkflowError: it cannot be read, or is no raster of heights with a CRS.
    """
    source = Source(
        item=name,
        band="elevation",
        asset=key,
        href=path,
        catalog=GENERIC,
        on_read_error="fail",
        otherwise=f"or take another {key}",
    )
    try:
        return read_header(source, unit=unit, is_looked_into="://" not in path)
    except LoadError as error:
        raise WorkflowError(f"{key}: {name}: {error.reason}") from error


def read_header(source: Source, *, unit: str, is_looked_into: bool = False) -> HeightFile:
    """Return what the header of a file says.

    Raises:
        LoadError: it cannot be read, or is no raster of heights with a CRS.
    """

    def facts(href: str) -> HeightFile:
        # Beside a local file there may be one with its CRS.
        is_local = "://" not in source.href
        side_files = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE"} if is_local else {}
        with rasterio.Env(**side_files), rasterio.open(href, sharing=False) as file:
            found = _facts(file, source, unit)
            if is_looked_into:
                _check_heights(file, found.metres)
            return found

    found = read_source(source, facts)
    if found is None:  # cannot be, as a failed read is an error
        raise AssertionError(source.href)
    return found


def _facts(file: rasterio.DatasetReader, source: Source, unit: str) -> HeightFile:
    horizontal, datum, datum_name, axis_unit = _systems(file)
    a, b, c, d, e, f = tuple(file.transform)[:6]
    if b or d or a <= 0 or e >= 0:
        raise UnfitFile("its rows do not run from west to east; warp it first: gdalwarp")
    if file.count != 1:
        raise UnfitFile(f"found {file.count} bands, expected one, of heights")
    said = (file.units[0] or "").strip().lower() or axis_unit
    if unit == "auto" and said not in METRES:
        raise UnfitFile(f"its heights are in {said!r}; name their unit in terrain.unit")
    return HeightFile(
        item=source.item,
        asset=source.asset,
        href=source.href,
        crs=horizontal.to_wkt(),
        transform=(a, b, c, d, e, f),
        shape=(file.height, file.width),
        metres=METRES[said if unit == "auto" else unit],
        datum=datum,
        datum_name=datum_name,
        catalog=source.catalog.name,
        bytes_per_pixel=np.dtype(file.dtypes[0]).itemsize,
    )


def _systems(file: rasterio.DatasetReader) -> tuple[CRS, Datum, str, str]:
    """Return the horizontal CRS of a file, its datum of heights and its name, and their unit.

    Raises:
        UnfitFile: it has none, or one whose coordinates are no places on the Earth.
    """
    if file.crs is None:
        raise UnfitFile(
            "it has no CRS; name it: gdal_edit -a_srs EPSG:4326 FILE, if that is what it is"
        )
    try:
        whole = CRS.from_wkt(file.crs.to_wkt(version="WKT2_2019"))
    except CRSError as error:
        raise UnfitFile(f"its CRS is not understood: {error}") from error
    datum: Datum = ""
    name = unit = ""
    horizontal = whole
    if whole.is_compound:
        horizontal, vertical = whole.sub_crs_list[:2]
        datum, name = "geoid", vertical.name
        unit = vertical.axis_info[0].unit_name.lower()
    elif len(whole.axis_info) == 3:
        datum, name = "ellipsoid", whole.name
        unit = whole.axis_info[2].unit_name.lower()
        horizontal = whole.to_2d()
    if not (horizontal.is_geographic or horizontal.is_projected):
        raise UnfitFile(f"its CRS is {whole.name}, expected a geographic or a projected one")
    return horizontal, datum, name, unit


def _check_heights(file: rasterio.DatasetReader, metres: float) -> None:
    """Refuse numbers that no ground has, as far as a small picture of the file shows them."""
    shape = min(_SMALL, file.height), min(_SMALL, file.width)
    found = file.read(1, out_shape=shape, masked=True).compressed().astype(np.float64)
    refuse_no_heights((found * file.scales[0] + file.offsets[0]) * metres)


def digest_of(path: str) -> str:
    """Return the sha256 of a file on this machine; "" of an address."""
    if "://" in path or path.startswith("/vsi"):
        return ""
    with open(path, "rb") as file:  # noqa: PTH123  # a path that GDAL takes too
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- pixels -------------------------------------------------------------------------------------


def read_pixels(file: HeightFile, part: Part, factor: int) -> NDArray[np.float32]:
    """Read pixels of a file in metres, NaN = no data; `factor` pixels along a side become one."""
    rows, columns = (slice(span.start * factor, span.stop * factor) for span in part)
    window = Window.from_slices(rows, columns)
    is_local = "://" not in file.href

    def pixels(href: str) -> NDArray[np.float32]:
        # Beside a local file there may be one with its CRS.
        side_files = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE"} if is_local else {}
        with rasterio.Env(**side_files), open_raster(href) as opened:
            numbers = opened.read(1, window=window, masked=True)
            scale, offset = opened.scales[0], opened.offsets[0]
        # In place: below a block of a whole tile these are 9 MB, and each copy as much.
        found: NDArray[np.float32] = numbers.data.astype(np.float32, copy=False)
        found[numbers.mask] = np.nan
        found *= np.float32(scale)
        found += np.float32(offset)
        found *= np.float32(file.metres)
        found[~np.isfinite(found)] = np.nan
        refuse_no_heights(found)
        return found

    # Never filled where it fails: what is not read is no void.
    found = read_source(_source(file), pixels)
    if found is None:  # cannot be, as a failed read is an error
        raise AssertionError(file.href)
    return found if factor == 1 else _joined(found, factor)


def _source(file: HeightFile) -> Source:
    return Source(
        item=file.item,
        band="elevation",
        asset=file.asset,
        href=file.href,
        catalog=CATALOGS.get(file.catalog, GENERIC),
        on_read_error="fail",
        otherwise="or take another terrain.dem",
    )


def refuse_no_heights(found: NDArray[Any]) -> None:
    """Refuse numbers that no ground has.

    Raises:
        UnfitFile: names one.
    """
    low, high = CHANNELS["elevation"].low, CHANNELS["elevation"].high
    wrong = found[(found < low) | (found > high)]
    if wrong.size:
        raise UnfitFile(
            f"found a height of {wrong[0]:.6g} m, expected {low:g} to {high:g}: a number that "
            "stands for no data (name it: gdal_edit -a_nodata), feet (terrain.unit: ft), or the "
            "bottom of a sea"
        )


def _joined(pixels: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the mean of what is known in squares of pixels."""
    rows, columns = (length // factor for length in pixels.shape)
    squares = pixels[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    is_known = ~np.isnan(squares)
    count = is_known.sum(axis=(1, 3))
    total = np.where(is_known, squares, 0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
