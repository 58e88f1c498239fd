"""The second loader: stackstac; with another graph and another warper, a check of the first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import rasterio
import stackstac
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from lspipe.cube.loaders import READ_FAILED
from lspipe.cube.loaders.source import (
    Source,
    on_grid,
    plain_item,
    read,
    refuse_file_of_other_crs,
    sources_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pystac
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from rasterio.windows import Window

    from lspipe.cube.loaders import Chunk, Loader, OnReadError


def load(
    item: pystac.Item,
    assets: Mapping[str, str],
    geobox: GeoBox,
    *,
    chunk: Chunk,
    resampling: Mapping[str, str],
    on_read_error: OnReadError = "fail",
) -> xr.DataArray:
    """Open some assets of one item with stackstac; see `lspipe.cube.loaders.Loader`."""
    sources = sources_of(item, assets, geobox, on_read_error)
    # One stack per band: stackstac takes one resampling for all.
    layers = [
        _stack(band, source, geobox, chunk=chunk, resampling=resampling.get(band, "nearest"))
        for band, source in sources.items()
    ]
    return on_grid(da.concatenate(layers), tuple(sources), geobox)


_: Loader = load


def _stack(band: str, source: Source, geobox: GeoBox, *, chunk: Chunk, resampling: str) -> da.Array:
    """Return one band as (1, y, x)."""
    y, x = (chunk, chunk) if isinstance(chunk, int) else chunk
    stack = stackstac.stack(
        [plain_item({band: source}, geobox)],
        assets=[band],
        epsg=geobox.crs.epsg,
        resolution=(abs(geobox.resolution.x), abs(geobox.resolution.y)),
        bounds=tuple(geobox.boundingbox),
        snap_bounds=False,
        resampling=Resampling[resampling],
        chunksize=(1, 1, y, x),
        dtype=np.dtype("uint16"),
        fill_value=np.uint16(0),
        # Its defaults would apply `raster:bands` (which may be wrong), move the coordinates by half
        # a pixel and turn a 404 into no data without a word.
        rescale=False,
        xy_coords=False,
        errors_as_nodata=(),
        properties=False,
        band_coords=False,
        reader=partial(_Reader, source=source),
    )
    layer: da.Array = stack.data[0]
    return layer


class _Reader:
    """Reads one asset on stackstac's grid (its `Reader` protocol); a failure names the asset.

    stackstac's own reader has no setting for 0 as no data in a file that does not declare it.
    """

    def __init__(
        self,
        *,
        url: str,
        spec: Any,
        resampling: Resampling,
        dtype: np.dtype[Any],
        source: Source,
        **_ignored: Any,
    ) -> None:
        del url  # that of the source, not yet signed
        self.spec = spec
        self.resampling = resampling
        self.dtype = dtype
        self.source = source

    def read(self, window: Window) -> NDArray[Any]:
        """Return the pixels of a window of the grid."""

        def pixels(href: str) -> NDArray[Any]:
            grid = self.spec.vrt_params
            with rasterio.open(href, sharing=False) as file:
                refuse_file_of_other_crs(file, self.spec.epsg)
                with WarpedVRT(
                    file, src_nodata=0, nodata=0, resampling=self.resampling, **grid
                ) as warped:
                    found: NDArray[Any] = warped.read(1, window=window, out_dtype=self.dtype)
                    return found

        found = read(self.source, pixels)
        if found is None:
            return np.full((window.height, window.width), READ_FAILED, dtype=self.dtype)
        return found

    def close(self) -> None:
        """Do nothing: no file stays open between reads."""
