"""The default loader: files whose pixels nest are read as they are, odc-stac warps the others.

All bands of a block come into one array, each straight from its file (`nested.py`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import odc.stac
import pystac
from odc.loader import RioDriver, RioReader

from lspipe.cube.kernels import with_room
from lspipe.cube.loaders.nested import read_onto
from lspipe.cube.loaders.source import (
    in_blocks,
    on_grid,
    plain_item,
    read_numbers,
    sources_of,
)
from lspipe.cube.loaders.together import read_together

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from odc.loader import RasterLoadParams, RasterSource
    from rasterio import DatasetReader

    from lspipe.cube.loaders import Chunk, Loader, OnReadError
    from lspipe.cube.loaders.source import Source
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
    found = with_room(len(sources), tuple(grid.shape))

    def fill(number_and_source: tuple[int, Source]) -> None:
        number, source = number_and_source
        _fill(found[number], source, grid, resampling.get(source.band, "nearest"))

    hrefs = [source.href for source in sources.values()]
    for _filled in read_together(fill, list(enumerate(sources.values())), hrefs):
        pass
    return found


def _fill(layer: NDArray[np.uint16], source: Source, grid: GeoBox, resampling: str) -> None:
    """Read one band into its place."""
    whole = (slice(0, layer.shape[0]), slice(0, layer.shape[1]))

    def numbers(href: str, file: DatasetReader) -> tuple[Part, NDArray[np.uint16]]:
        is_read = read_onto(grid, file, resampling=resampling, out=layer)
        return whole, layer if is_read else _warped(source, href, grid, resampling)

    part, found = read_numbers(source, grid, numbers)
    if found is not layer:
        layer[part] = found


def _warped(source: Source, href: str, grid: GeoBox, resampling: str) -> NDArray[np.uint16]:
    """Warp a file onto the grid by odc-stac, which opens it again."""
    band = source.band
    opened = odc.stac.load(
        [pystac.Item.from_dict(plain_item({band: replace(source, href=href)}, grid))],
        bands=[band],
        geobox=grid,
        # One piece: without chunks, odc-stac cuts at 2048 px, and blocks of a file at the cut would
        # be read twice.
        chunks={"y": grid.shape[0], "x": grid.shape[1]},
        resampling=resampling,
        dtype="uint16",
        nodata=0,
        driver=_Driver(),
    )
    found: NDArray[np.uint16] = opened[band].isel(time=0).data.compute(scheduler="synchronous")
    return found


class _Driver(RioDriver):  # type: ignore[misc]  # odc ships types that mypy does not follow
    """The driver of odc-loader, for which 0 is no data whatever a file declares."""

    def capture_env(self) -> dict[str, Any]:
        return {}  # `read` sets GDAL

    def open(self, src: RasterSource, ctx: Any) -> RioReader:
        return _Reader(src, ctx)


class _Reader(RioReader):  # type: ignore[misc]  # as above
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
        found: tuple[Part, NDArray[Any]] = super().read(
            honest, dst_geobox, dst=dst, selection=selection
        )
        return found
