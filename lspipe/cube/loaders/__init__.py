"""Loaders: one STAC item -> raw digital numbers on a tile's grid, lazily.

A loader is a function like `Loader`, in a file of its own, listed in `LOADERS`. It reads one item,
and does nothing about reflectance, clouds or composites. All loaders give the same pixels
(tests/unit/test_loaders.py runs the same tests over every name in the table):

    dims        (band, y, x), dask-backed, all bands in a chunk; nothing is read when it is opened
    dtype       uint16 digital numbers as Sentinel-2 has them, 0 = no data; what the file declares
                is read rightly or refused (`declared.py`)
    grid        the tile's own: an item in another CRS is refused, because a warp depends on chunks
    resampling  per band; on aligned grids the result is the same for any chunking
    failure     a `LoadError` that names item and asset, raised when the pixels are computed;
                with `on_read_error="nodata"` the chunk that failed is `READ_FAILED` instead; so are
                pixels that hold what Sentinel-2 cannot hold, always

See also: `source.py`, the read of one asset that all loaders share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from lspipe.spec import plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pystac
    import xarray as xr
    from odc.geo.geobox import GeoBox

__all__ = ["LOADERS", "READ_FAILED", "Chunk", "Loader", "OnReadError", "loader"]

Chunk = int | tuple[tuple[int, ...], tuple[int, ...]]
"""Chunk edge in pixels, or the chunk sizes along y and along x."""

OnReadError = Literal["fail", "nodata"]

READ_FAILED = 65534
"""Digital number of pixels that could not be read: a chunk, with `on_read_error="nodata"`, or
pixels that hold what Sentinel-2 cannot hold. Valid DN end at 32767 and 65535 is Sentinel-2's
saturated value, so nothing real is 65534."""

LOADERS = {
    "odc": "lspipe.cube.loaders.odc:load",
    "stackstac": "lspipe.cube.loaders.stackstac:load",
}


class Loader(Protocol):
    """The contract of a loader."""

    def __call__(
        self,
        item: pystac.Item,
        assets: Mapping[str, str],
        geobox: GeoBox,
        *,
        chunk: Chunk,
        resampling: Mapping[str, str],
        on_read_error: OnReadError,
    ) -> xr.DataArray:
        """Open some assets of one item on a grid.

        Args:
            item: with asset hrefs that are absolute paths or URLs.
            assets: canonical band name to asset key, in the order of the result.
            geobox: the grid, in the CRS of the item.
            chunk: chunk edge, or chunk sizes along y and x, pixels.
            resampling: band name to "nearest" or "bilinear"; has an effect only where the pixels of
                a band are not those of the grid.
            on_read_error: raise `LoadError`, or fill the failed chunk with `READ_FAILED`.

        Returns:
            uint16 (band, y, x), lazy, with coordinates `band`, `y`, `x` and `spatial_ref`.

        Raises:
            UsageError: the item lacks an asset, or is in another CRS than the grid.
            LoadError: when computed: a read failed.
        """
        ...


def loader(name: str) -> Loader:
    """Return the loader of a name in `LOADERS`, or of a dotted "package.module:function".

    Raises:
        UsageError: there is no such loader.
    """
    found: Loader = plugins.resolve(name, LOADERS, kind="loader")
    return found
