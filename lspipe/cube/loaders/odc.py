"""The default loader: odc-stac."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import odc.stac
import pystac
from dask.base import tokenize
from odc.loader import RioDriver, RioReader

from lspipe.cube.loaders.source import (
    Source,
    on_grid,
    plain_item,
    read_numbers,
    sources_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    sizes = (chunk, chunk) if isinstance(chunk, int) else chunk
    # odc-stac makes regular chunks only; rechunking gives the others, and each is read once.
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
    """The driver of odc-loader, with a reader that names item and asset in errors."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        super().__init__()
        self._sources = {source.href: source for source in sources.values()}

    def capture_env(self) -> dict[str, Any]:
        # odc-stac names its tasks after sources, grid and this dict. Without the token, two loads
        # that differ in the item's id or in `on_read_error` would share tasks.
        return {"token": tokenize(self._sources)}

    @contextmanager
    def restore_env(self, env: dict[str, Any], load_state: Any) -> Iterator[Any]:
        del env  # `read` sets GDAL
        with super().restore_env({}, load_state) as context:
            yield context

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
