"""One asset of one item to pixels: signed when read, retried, and named when it fails.

Covers: what every loader shares, GDAL settings, signing, the second try past GDAL's cache, and the
`LoadError`. Does not cover: grids and resampling, which are each loader's own.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import rasterio
import xarray as xr
from odc.geo.xr import xr_coords
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from lspipe import catalogs
from lspipe.errors import LoadError, UsageError, hide_queries, without_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import dask.array as da
    import pystac
    from odc.geo.geobox import GeoBox

    from lspipe.catalogs import Catalog
    from lspipe.cube.loaders import OnReadError

READ_FAILED = 65534
"""Digital number of every pixel of a chunk that could not be read, with `on_read_error="nodata"`.
Valid DN end at 32767 and 65535 is Sentinel-2's saturated value, so nothing real is 65534."""

GDAL_SETTINGS = {
    # Side files (.aux.xml, .ovr) would be asked for over HTTP at every open, and would make
    # a result depend on what lies beside the COG.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # GDAL retries 429, 502, 503, 504 and dropped connections, each time after about twice as long.
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    # A connection that stalls for a minute is an error, not a hanging worker.
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
}

# CPLE_BaseError is the root of GDAL's own errors, of which rasterio lets some through its warper;
# ValueError is raised for a file without the wanted band or CRS.
_FAILURES = (RasterioError, CPLE_BaseError, OSError, ValueError)

# Loggers that write addresses as they were opened, signature included.
_TALKATIVE = (
    "odc.loader._rio",
    "rasterio._base",
    "rasterio._env",
    "rasterio._err",
    "rasterio._io",
    "rasterio._warp",
)

_Pixels = TypeVar("_Pixels")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the pixels of one band are, and how to name them when they cannot be read."""

    item: str
    asset: str
    href: str
    catalog: Catalog
    """Signs the href just before each read."""
    on_read_error: OnReadError


def sources_of(
    item: pystac.Item, assets: Mapping[str, str], geobox: GeoBox, on_read_error: OnReadError
) -> dict[str, Source]:
    """Return the source of every band, in the order of `assets`.

    Raises:
        UsageError: the item lacks an asset, or is in another CRS than the grid.
    """
    found = {}
    for band, key in assets.items():
        if key not in item.assets:
            raise UsageError(
                f"{item.id} has no asset {key!r} for band {band}: it has {', '.join(item.assets)}"
            )
        asset = item.assets[key]
        _refuse_other_crs(item, asset, geobox)
        found[band] = Source(
            item=item.id,
            asset=key,
            # As it is: pystac joins a path to the item's self link, which may be a web page.
            href=asset.href,
            catalog=catalogs.catalog_of(item),
            on_read_error=on_read_error,
        )
    return found


def read(source: Source, pixels: Callable[[str], _Pixels]) -> _Pixels | None:
    """Return what `pixels(href)` reads, or None where a failed read is to become no data.

    A failed read over the network is tried once more past GDAL's cache: GDAL remembers a 404 for as
    long as the process lives, so that otherwise no later retry on this worker could succeed.

    Args:
        source: the asset.
        pixels: opens and reads the signed href.

    Raises:
        LoadError: both tries failed; names the item and the asset.
    """
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(hide_queries)  # adding it again changes nothing
    href = catalogs.sign(source.href, source.catalog)
    remote = _gdal_path(href)
    tries: list[dict[str, str]] = [{}]
    if remote:
        tries.append({"CPL_VSIL_CURL_NON_CACHED": remote})
    for settings in tries:
        try:
            with rasterio.Env(**_settings(), **settings):
                return pixels(href)
        except _FAILURES as error:
            failure = error
    reason = f"{without_queries(_message(failure))} ({without_queries(source.href)})"
    if source.on_read_error == "nodata":
        _log.warning("%s of %s: %s; its pixels become no data", source.asset, source.item, reason)
        return None
    # Not `from failure`: GDAL's exceptions cannot be unpickled, and distributed, which sends causes
    # along, would then hand over a bare Exception instead of this one.
    advice = "restore the file, or set cube.on_read_error: nodata"
    raise LoadError(source.item, source.asset, f"{reason}; {advice}")


def refuse_file_of_other_crs(file: rasterio.DatasetReader, epsg: int) -> None:
    """Refuse a file that is not in the CRS of the grid: warping it would depend on the chunks.

    Raises:
        ValueError: names both; `read` turns it into a `LoadError`.
    """
    if file.crs is None or file.crs != CRS.from_epsg(epsg):
        raise ValueError(f"file is in {file.crs or 'no CRS'}, expected EPSG:{epsg} as the grid")


def on_grid(data: da.Array, bands: tuple[str, ...], geobox: GeoBox) -> xr.DataArray:
    """Return (band, y, x) pixels with coordinates that are exactly those of the grid."""
    return xr.DataArray(
        data, dims=("band", "y", "x"), coords={"band": list(bands), **xr_coords(geobox)}
    )


def plain_item(sources: Mapping[str, Source], geobox: GeoBox) -> dict[str, Any]:
    """Return a STAC item that holds the sources only, its assets named by band.

    It claims that every asset fills the grid. Items in the wild are wrong about the shape, the
    transform or the footprint of their assets, and a loader that believed them would leave chunks
    unread without a word; this way each chunk is read and the file itself has the last word.
    """
    extent = geobox.extent.to_crs("EPSG:4326")
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": next(iter(sources.values())).item,
        "geometry": extent.json,
        "bbox": list(extent.boundingbox),
        "properties": {
            "datetime": "1970-01-01T00:00:00Z",  # required; no loader's result depends on it
            "proj:epsg": geobox.crs.epsg,
            "proj:shape": list(geobox.shape),
            "proj:transform": list(geobox.transform)[:6],
            "proj:bbox": list(geobox.boundingbox),
        },
        "assets": {
            band: {"href": source.href, "type": "image/tiff", "roles": ["data"]}
            for band, source in sources.items()
        },
        "links": [],
    }


def _refuse_other_crs(item: pystac.Item, asset: pystac.Asset, geobox: GeoBox) -> None:
    properties = {**item.properties, **asset.extra_fields}
    code = properties.get("proj:code") or properties.get("proj:epsg")
    if code is not None and str(code).rpartition(":")[2] != str(geobox.crs.epsg):
        raise UsageError(
            f"{item.id} is in {code}, the grid in EPSG:{geobox.crs.epsg}: an item is only read on "
            "its own grid, so search it as a tile of its own"
        )


def _settings() -> dict[str, str]:
    # What a person sets in the environment of a worker wins.
    return {name: value for name, value in GDAL_SETTINGS.items() if name not in os.environ}


def _gdal_path(href: str) -> str | None:
    scheme, _, rest = href.partition("://")
    if scheme in {"http", "https"}:
        return f"/vsicurl/{href.partition('?')[0]}"
    return f"/vsis3/{rest}" if scheme == "s3" else None


def _message(error: BaseException) -> str:
    """Return the message of the deepest cause: that of GDAL, which rasterio wraps in its own."""
    messages = [" ".join(str(cause).split()) for cause in _chain(error)]
    return next((text for text in reversed(messages) if text), type(error).__name__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
