"""The second loader: stackstac. Its graph and warper differ, so it is a check of the first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import stackstac
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from lspipe.cube.loaders.source import (
    Source,
    on_grid,
    plain_item,
    read_numbers,
    sources_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pystac
    import rasterio
    import xarray as xr
    from numpy.typing import NDArray
    from rasterio.windows import Window

    from lspipe.cube.loaders import Chunk, Loader, OnReadError
    from lspipe.schema import Part


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
    return on_grid(da.concatenate(layers).rechunk({0: -1}), tuple(sources), geobox)


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
        # The defaults would apply `raster:bands` (which may be wrong), shift the coordinates by
        # half a pixel, and turn a 404 silently into no data.
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
    """Reads one asset on stackstac's grid (its `Reader` protocol); an error names the asset.

    stackstac's own reader cannot treat 0 as no data in a file that does not declare it.
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
        del url  # the href of the source, not signed
        self.spec = spec
        self.resampling = resampling
        self.dtype = dtype
        self.source = source

    def read(self, window: Window) -> NDArray[Any]:
        """Return the pixels of a window of the grid."""
        vrt = self.spec.vrt_params
        corner = vrt["transform"] * Affine.translation(window.col_off, window.row_off)
        grid = GeoBox((window.height, window.width), corner, f"EPSG:{self.spec.epsg}")
        everything = (slice(0, window.height), slice(0, window.width))

        def warp(_: str, file: rasterio.DatasetReader) -> tuple[Part, NDArray[Any]]:
            with WarpedVRT(
                file, src_nodata=0, nodata=0, resampling=self.resampling, **vrt
            ) as warped:
                return everything, warped.read(1, window=window, out_dtype=self.dtype)

        return read_numbers(self.source, grid, warp)[1]

    def close(self) -> None:
        """Do nothing: no file stays open between reads."""
