"""The default loader: odc-stac."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import odc.stac
import pystac
from odc.loader import RioDriver, RioReader

from lspipe.cube.loaders.source import (
    Source,
    in_blocks,
    on_grid,
    plain_item,
    read_numbers,
    sources_of,
    threads_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from odc.loader import RasterLoadParams, RasterSource

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
    """Open some assets of one item with odc-stac; see `lspipe.cube.loaders.Loader`."""
    sources = sources_of(item, assets, geobox, on_read_error)
    read = partial(_read, sources=sources, resampling=dict(resampling))
    return on_grid(in_blocks(read, len(sources), geobox, chunk), tuple(sources), geobox)


_: Loader = load


def _read(
    grid: GeoBox, *, sources: Mapping[str, Source], resampling: Mapping[str, str]
) -> NDArray[np.uint16]:
    """Read all bands on a part of the grid: uint16 (band, y, x)."""
    opened = odc.stac.load(
        [pystac.Item.from_dict(plain_item(sources, grid))],
        bands=list(sources),
        geobox=grid,
        # One piece: without chunks, odc-stac cuts at 2048 px, and blocks of a file at the cut would
        # be read twice.
        chunks={"y": grid.shape[0], "x": grid.shape[1]},
        resampling=resampling,
        dtype="uint16",
        nodata=0,
        driver=_Driver(sources),
    )
    layers = opened.isel(time=0).to_dataarray("band").data
    found: NDArray[np.uint16] = layers.compute(**threads_of(sources))
    return found


class _Driver(RioDriver):  # type: ignore[misc]  # odc ships types that mypy does not follow
    """The driver of odc-loader, with a reader that names item and asset in errors."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        super().__init__()
        self._sources = {source.href: source for source in sources.values()}

    def capture_env(self) -> dict[str, Any]:
        return {}  # `read` sets GDAL

    def open(self, src: RasterSource, ctx: Any) -> RioReader:
        return _Reader(src, ctx, self._sources[src.uri])


class _Reader(RioReader):  # type: ignore[misc]  # as above
    """Reads one asset; an error names it."""

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
    ) -> tuple[Part, NDArray[Any]]:
        # Files often do not declare that 0 is no data; bilinear resampling must not mix it in.
        honest = cfg.patch(src_nodata_override=0)

        def warp(href: str) -> tuple[Part, NDArray[Any]]:
            reader = RioReader(self.raster.patch(uri=href), self.context)
            found: tuple[Part, NDArray[Any]] = reader.read(
                honest, dst_geobox, dst=dst, selection=selection
            )
            return found

        return read_numbers(self.source, dst_geobox, warp)
