"""A lazy map to a cloud-optimised GeoTIFF, with overviews: for QGIS and any GDAL from 3.4 on.

Written window by window: a tile is never in memory as a whole.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import rasterio
import rasterio.shutil
from rasterio.windows import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import xarray as xr

SUFFIX = ".tif"

# Tiles of 512 px, GDAL's own default for this format.
_LAYOUT = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}


def write_map(
    array: xr.DataArray, path: Path, *, overviews: str, tags: Mapping[str, str] | None = None
) -> Path:
    """Write a map of one or more bands; the file appears under its name only when it is whole.

    Args:
        array: (y, x) or (band, y, x), NumPy- or dask-backed, with a CRS (`.rio`) and `_FillValue`
            in attrs; three bands of uint8 are red, green and blue.
        path: of the file; replaced if it exists.
        overviews: how pixels become those of an overview: "average", or "mode" for classes.
        tags: what else the file is to say of itself.

    Returns:
        `path`.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    bands = array if array.ndim == 3 else array.expand_dims("band")
    is_picture = bands.sizes["band"] == 3 and bands.dtype == "uint8"
    mark = uuid.uuid4().hex[:8]
    plain, whole = (
        path.with_name(f".{path.stem}.{mark}.{step}{SUFFIX}") for step in ("plain", "partial")
    )
    try:
        with rasterio.open(
            plain,
            "w",
            driver="GTiff",
            count=bands.sizes["band"],
            height=bands.sizes["y"],
            width=bands.sizes["x"],
            dtype=bands.dtype,
            crs=array.rio.crs,
            transform=array.rio.transform(recalc=True),
            nodata=array.attrs["_FillValue"],
            photometric="RGB" if is_picture else "MINISBLACK",
            bigtiff="IF_SAFER",
            **_LAYOUT,
        ) as file:
            file.update_tags(**(tags or {}))
            for window, pixels in _windows(bands):
                file.write(pixels, window=window)
        rasterio.shutil.copy(
            plain,
            whole,
            driver="COG",
            compress="deflate",
            predictor="yes",
            overview_resampling=overviews,
            bigtiff="if_safer",
        )
        whole.replace(path)
    finally:
        plain.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
    return path


def _windows(bands: xr.DataArray) -> Iterator[tuple[Window, Any]]:
    """Rows of chunks, each read once."""
    heights = bands.chunksizes.get("y", (bands.sizes["y"],))
    first = 0
    for height in heights:
        part = bands.isel(y=slice(first, first + height))
        yield Window(0, first, bands.sizes["x"], height), part.to_numpy()
        first += height
