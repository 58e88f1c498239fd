"""The default loader: odc-stac."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import odc.stac
import pystac
import rasterio
from dask.base import tokenize
from odc.loader import RioDriver, RioReader

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
    from collections.abc import Iterator, Mapping

    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from odc.loader import RasterLoadParams, RasterSource

    from lspipe.cube.loaders import Chunk, Loader, OnReadError

_Roi = tuple[slice, slice]


def load(
    item: pystac.Item,
    assets: Mapping[str, str],
    geobox: GeoBox,
    *,
    chunk: Chunk,
    resampling: Mapping[str, str],
    on_read_error: OnReadError = "fail",
) -> xr.DataArray:
    """Open some assets of one item with odc-stac; see `lspipe.cube.loaders.Loader`."""
    sources = sources_of(item, assets, geobox, on_read_error)
    sizes = (chunk, chunk) if isinstance(chunk, int) else chunk
    # odc-stac cuts regularly only; other cuts are made of these afterwards, each read once.
    edges = [size if isinstance(size, int) else size[0] for size in sizes]
    opened = odc.stac.load(
        [pystac.Item.from_dict(plain_item(sources, geobox))],
        bands=list(sources),
        geobox=geobox,
        chunks={"y": edges[0], "x": edges[1]},
        resampling=dict(resampling),
        dtype="uint16",
        nodata=0,
        driver=_Driver(sources),
    )
    data = opened.isel(time=0).to_dataarray("band").data.rechunk({0: 1, 1: sizes[0], 2: sizes[1]})
    return on_grid(data, tuple(sources), geobox)


_: Loader = load


class _Driver(RioDriver):  # type: ignore[misc]  # odc ships types that mypy does not follow
    """odc-loader's own driver, with a reader that knows the item and asset it reads."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        super().__init__()
        self._sources = {source.href: source for source in sources.values()}

    def capture_env(self) -> dict[str, Any]:
        # odc-stac names its tasks after sources, grid and this dict. Without the token, two loads
        # that differ in the item's id or in `on_read_error` would share tasks.
        return {"token": tokenize(self._sources)}

    @contextmanager
    def restore_env(self, env: dict[str, Any], load_state: Any) -> Iterator[Any]:
        del env  # GDAL's settings are those of `read`
        with super().restore_env({}, load_state) as context:
            yield context

    def open(self, src: RasterSource, ctx: Any) -> RioReader:
        return _Reader(src, ctx, self._sources[src.uri])


class _Reader(RioReader):  # type: ignore[misc]  # likewise
    """Reads one asset; a failure names it."""

    def __init__(self, src: RasterSource, ctx: Any, source: Source) -> None:
        super().__init__(src, ctx)
        self.raster = src
        self.context = ctx
        self.source = source

    def read(
        self,
        cfg: RasterLoadParams,
        dst_geobox: GeoBox,
        *,
        dst: NDArray[Any] | None = None,
        selection: Any = None,
    ) -> tuple[_Roi, NDArray[Any]]:
        # Files often do not declare that 0 is no data; bilinear resampling must not mix it in.
        honest = cfg.patch(src_nodata_override=0)

        def pixels(href: str) -> tuple[_Roi, NDArray[Any]]:
            # A second open of the same file; over HTTP its header is in GDAL's cache for the first.
            with rasterio.open(href, sharing=False) as file:
                refuse_file_of_other_crs(file, dst_geobox.crs.epsg)
            reader = RioReader(self.raster.patch(uri=href), self.context)
            found: tuple[_Roi, NDArray[Any]] = reader.read(
                honest, dst_geobox, dst=dst, selection=selection
            )
            return found

        found = read(self.source, pixels)
        if found is None:
            rows, columns = dst_geobox.shape
            failed = np.full((rows, columns), READ_FAILED, dtype=cfg.dtype)
            return (slice(0, rows), slice(0, columns)), failed
        return found
