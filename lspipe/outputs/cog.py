"""A lazy map to a cloud-optimised GeoTIFF, with overviews: for QGIS and any GDAL from 3.4 on.

Written window by window: a tile is never in memory as a whole.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping  # noqa: TC003  # dataclasses read it
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rasterio
import rasterio.shutil
from rasterio.windows import Window

from lspipe.errors import StoreError
from lspipe.outputs.categories import write_category_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import xarray as xr

    from lspipe.outputs.colours import Colour

# Read once, then removed: to compress it would take a fifth of the time.
_PLAIN = {"tiled": True, "blockxsize": 512, "blockysize": 512}

# GDAL would take a twentieth of the machine's memory.
_CACHE_MB = 128

# Deflate, because every GDAL reads it; level 4 instead of 6 saves a sixth of the time and costs 1 %
# of bytes. Tiles of 512 px are GDAL's own default for this format.
_COG = {"driver": "COG", "compress": "deflate", "level": 4, "predictor": "yes"}


@dataclass(frozen=True)
class Look:
    """How a map is shown, and how it shrinks."""

    overviews: str
    """How pixels become those of an overview: "average", or "mode" for classes."""
    colours: Mapping[int, Colour] | None = None
    """Of each class."""
    names: Mapping[int, str] | None = None
    """Of each class, without that of no data."""
    scale: float | None = None
    """Physical value of one step of the codes; None = 1."""


def write_map(
    array: xr.DataArray, path: Path, *, look: Look, tags: Mapping[str, str] | None = None
) -> Path:
    """Write a map of one or more bands; the file appears under its name only when it is whole.

    Args:
        array: (y, x) or (band, y, x), NumPy- or dask-backed, with a CRS (`.rio`) and `_FillValue`
            in attrs; three bands of uint8 are red, green and blue.
        path: of the file; replaced if it exists.
        look: its colours, its scale, and how it shrinks; names of classes go into a file beside it.
        tags: what else the file is to say of itself.

    Returns:
        `path`.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    bands = array if array.ndim == 3 else array.expand_dims("band")
    mark = uuid.uuid4().hex[:8]
    plain, whole = (
        path.with_name(f".{path.stem}.{mark}.{step}.tif") for step in ("plain", "partial")
    )
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
            _write(bands, plain, look=look, tags=tags or {}, nodata=array.attrs["_FillValue"])
            rasterio.shutil.copy(
                plain, whole, overview_resampling=look.overviews, bigtiff="if_safer", **_COG
            )
        if look.names:
            write_category_names(look.names, path)
        whole.replace(path)
    except rasterio.errors.RasterioIOError as error:
        raise StoreError(
            f"{path}: cannot be written ({error}); look whether the disk is full, and give the "
            "same command again"
        ) from error
    finally:
        plain.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
    return path


def _write(
    bands: xr.DataArray, path: Path, *, look: Look, tags: Mapping[str, str], nodata: float
) -> None:
    """Write a plain GeoTIFF, window by window."""
    is_picture = bands.sizes["band"] == 3 and bands.dtype == "uint8"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=bands.sizes["band"],
        height=bands.sizes["y"],
        width=bands.sizes["x"],
        dtype=bands.dtype,
        crs=bands.rio.crs,
        transform=bands.rio.transform(recalc=True),
        nodata=nodata,
        photometric="RGB" if is_picture else "MINISBLACK",
        bigtiff="IF_SAFER",
        **_PLAIN,
    ) as file:
        file.update_tags(**tags)
        _dress(file, look)
        for window, pixels in _windows(bands):
            file.write(pixels, window=window)


def _dress(file: rasterio.io.DatasetWriter, look: Look) -> None:
    if look.colours is not None:
        file.write_colormap(1, {int(value): colour for value, colour in look.colours.items()})
    if look.scale is not None:
        file.scales = [look.scale] * file.count


def _windows(bands: xr.DataArray) -> Iterator[tuple[Window, Any]]:
    """Rows of chunks, each read once."""
    heights = bands.chunksizes.get("y", (bands.sizes["y"],))
    first = 0
    for height in heights:
        part = bands.isel(y=slice(first, first + height))
        # By threads of this process, also in a worker, whose cluster would take it otherwise.
        pixels = part.compute(scheduler="threads").to_numpy()
        yield Window(0, first, bands.sizes["x"], height), pixels
        first += height
