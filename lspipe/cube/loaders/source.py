"""One asset of one item -> pixels: signed when read, retried, and named in errors.

Covers: what every loader shares, signing, the second try past GDAL's cache, files
that are not stored as Sentinel-2 stores (`declared.py`), and the `LoadError`. Does not cover: grids
and resampling, which are each loader's own.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import dask.array as da
import numpy as np
import rasterio
import xarray as xr
from dask.base import tokenize
from odc.geo.xr import xr_coords
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from lspipe import catalogs
from lspipe.cube.loaders import READ_FAILED
from lspipe.cube.loaders.declared import (
    Declared,
    NoCRS,
    UnfitFile,
    is_suspicious,
    largest_number,
    rewritten,
)
from lspipe.cube.loaders.raster_file import gdal_path, open_raster, opened_as, settings
from lspipe.errors import LoadError, UnfitAsset, UsageError, hide_queries, without_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pystac
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.catalogs import Catalog
    from lspipe.cube.loaders import Chunk, OnReadError
    from lspipe.schema import Part

_WAIT = (0.1, 1.0)
"""Seconds before the second try, drawn by lot: blocks that fail together do not return together."""

# CPLE_BaseError is the root of GDAL's own errors, some of which rasterio's warper does not wrap;
# ValueError is raised for a file without the requested band or CRS.
_FAILURES = (RasterioError, CPLE_BaseError, OSError, ValueError)

# As GDAL writes them of a file, and lspipe of a signer.
_NO_ACCESS = ("code: 401", "code: 403", "HTTP 401", "HTTP 403")

# Loggers that write addresses with their signatures.
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
    """Where the pixels of one band are, and their names for errors."""

    item: str
    band: str
    asset: str
    href: str
    catalog: Catalog
    """Signs the href just before each read."""
    on_read_error: OnReadError
    otherwise: str = "or set cube.on_read_error: nodata"
    """What else helps where it cannot be read."""


def sources_of(
    item: pystac.Item, assets: Mapping[str, str], geobox: GeoBox, on_read_error: OnReadError
) -> dict[str, Source]:
    """Return the source of every band, in the order of `assets`.

    Raises:
        UsageError: the item lacks an asset, or is in another CRS than the grid.
    """
    found, catalog = {}, catalogs.catalog_of(item)
    for band, key in assets.items():
        if key not in item.assets:
            raise UsageError(
                f"{item.id} has no asset {key!r} for band {band}: it has {', '.join(item.assets)}"
            )
        asset = item.assets[key]
        _refuse_other_crs(item, asset, geobox)
        found[band] = Source(
            item=item.id,
            band=band,
            asset=key,
            # As it is: pystac joins a path to the item's self link, which may be a web page.
            href=asset.href,
            catalog=catalog,
            on_read_error=on_read_error,
        )
    return found


def read_numbers(
    source: Source,
    grid: GeoBox,
    onto_grid: Callable[[str, rasterio.DatasetReader], tuple[Part, NDArray[np.uint16]]],
) -> tuple[Part, NDArray[np.uint16]]:
    """Return the digital numbers of an asset on a grid, and which part of it they fill.

    Args:
        source: the asset.
        grid: what is wanted of it, in its CRS.
        onto_grid: reads a file that is stored as Sentinel-2 stores onto the grid, 0 = no data; gets
            its address, and the file, opened.

    Returns:
        uint16, 0 = no data, `READ_FAILED` where it could not be read, or holds what Sentinel-2
        cannot hold.

    Raises:
        LoadError: the asset cannot be read, or is refused; names the item and the asset.
    """
    largest = largest_number(source.band)

    def pixels(href: str) -> tuple[Part, NDArray[np.uint16]]:
        with open_raster(href) as file:
            declared = _declared(file, source, grid)
            if declared.is_plain:
                roi, found = onto_grid(href, file)
                if not is_suspicious(found, largest):
                    return roi, found
            with (
                rewritten(file, declared, grid, largest=largest) as copy,
                open_raster(copy.href) as again,
            ):
                roi, found = onto_grid(copy.href, again)
            if copy.failed is not None:
                failed = copy.failed[roi]
                found[failed] = READ_FAILED
                _log.warning(
                    "%s of %s: %d px hold numbers that Sentinel-2 cannot hold (expected 1 to %d); "
                    "they are not observed",
                    *(source.asset, source.item, np.count_nonzero(failed), largest),
                )
            return roi, found

    read_pixels = read(source, pixels)
    if read_pixels is None:
        rows, columns = grid.shape
        whole = (slice(0, rows), slice(0, columns))
        return whole, np.full((rows, columns), READ_FAILED, dtype=np.uint16)
    return read_pixels


def look(source: Source, grid: GeoBox) -> Declared | None:
    """Return what the header of an asset says; None where it cannot be read now.

    Raises:
        UnfitAsset: lspipe cannot take the file, and the workflow wants a failed read to fail.
    """

    def header(href: str) -> Declared:
        with open_raster(href) as file:
            return _declared(file, source, grid)

    try:
        return read(source, header)
    except UnfitAsset:
        raise
    except LoadError:
        return None


def _declared(file: rasterio.DatasetReader, source: Source, grid: GeoBox) -> Declared:
    """Return what a file says of its pixels; refuse what its band cannot be."""
    declared = Declared.of(file, epsg=grid.crs.epsg)
    if source.band != "SCL":
        declared.check_reflectance()
    return declared


def read(source: Source, pixels: Callable[[str], _Pixels]) -> _Pixels | None:
    """Return the result of `pixels(href)`, or None where a failed read becomes no data.

    A failed read over the network is tried once more, after a short wait, with a new signature and
    past GDAL's cache: GDAL keeps a 404 as long as the process runs, so without this no later retry
    on the worker could succeed. GDAL itself waits and tries again where a server is busy.

    Args:
        source: the asset.
        pixels: opens and reads the signed href.

    Raises:
        LoadError: both tries failed; names the item and the asset.
        UnfitAsset: the file is whole, and lspipe cannot take it.
    """
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(hide_queries)  # adding it again changes nothing
    remote = gdal_path(source.href)
    tries: list[dict[str, str]] = [{}]
    if remote:
        tries.append({"CPL_VSIL_CURL_NON_CACHED": remote})
    failure: BaseException
    href: str | None = None
    for number, more in enumerate(tries):
        if number:
            time.sleep(random.uniform(*_WAIT))  # noqa: S311 - no secret
        try:
            href = catalogs.sign(source.href, source.catalog, refused=href)
            with rasterio.Env(**settings(), **more):
                return pixels(opened_as(href))
        except UnfitFile as error:
            failure = error
            if not _may_be_cut(error, remote):
                break  # another try finds the same
        except _FAILURES as error:
            failure = error
    reason = f"{without_queries(_message(failure))} ({without_queries(source.href)})"
    if source.on_read_error == "nodata":
        _log.warning("%s of %s: %s; its pixels become no data", source.asset, source.item, reason)
        return None
    # Not `from failure`: GDAL's exceptions cannot be unpickled, and distributed, which sends causes
    # along, would then hand over a bare Exception instead of this one.
    if isinstance(failure, UnfitFile):
        kind = LoadError if _may_be_cut(failure, remote) else UnfitAsset
        raise kind(source.item, source.asset, reason)
    advice = _advice(reason, source.otherwise, is_remote=remote is not None)
    raise LoadError(source.item, source.asset, f"{reason}; {advice}")


def _may_be_cut(failure: UnfitFile, remote: str | None) -> bool:
    """Return whether a file may be fit: GDAL finds no CRS where a part of a header did not come."""
    return remote is not None and isinstance(failure, NoCRS)


def _advice(reason: str, otherwise: str, *, is_remote: bool) -> str:
    """Return what helps, by the cause."""
    if "proj.db" in reason or "DATABASE.LAYOUT" in reason:
        return (
            "rasterio reads the data of another PROJ: unset PROJ_DATA and PROJ_LIB where this "
            "process, or its dask worker, is started"
        )
    if any(code in reason for code in (*_NO_ACCESS, "AccessDenied")):
        return f"check your access to this archive and its signing, {otherwise}"
    if "Range downloading not supported" in reason:
        return f"serve the files by a server that sends parts of them, or copy them, {otherwise}"
    if is_remote and not any(code in reason for code in ("code: 404", "NoSuchKey")):
        return f"run again when the server answers, as what is done is kept, {otherwise}"
    return f"restore the file, {otherwise}"


def in_blocks(
    read: Callable[[GeoBox], NDArray[np.uint16]], bands: int, geobox: GeoBox, chunk: Chunk
) -> da.Array:
    """Return uint16 (band, y, x), lazy: one task reads all bands of a chunk.

    Args:
        read: reads all bands on a part of the grid.
        bands: how many.
        geobox: the grid.
        chunk: chunk edge, or chunk sizes along y and x, pixels.
    """
    y, x = da.core.normalize_chunks(chunk, shape=tuple(geobox.shape))
    blocks: da.Array = da.map_blocks(
        _block,
        name=f"read-{tokenize(read, geobox, y, x)}",
        chunks=((bands,), y, x),
        dtype=np.uint16,
        meta=np.empty((0, 0, 0), np.uint16),
        read=read,
        geobox=geobox,
    )
    return blocks


def _block(
    *, read: Callable[[GeoBox], NDArray[np.uint16]], geobox: GeoBox, block_info: Any = None
) -> NDArray[np.uint16]:
    rows, columns = (slice(*ends) for ends in block_info[None]["array-location"][1:])
    return read(geobox[rows, columns])


def on_grid(data: da.Array, bands: tuple[str, ...], geobox: GeoBox) -> xr.DataArray:
    """Return (band, y, x) pixels with coordinates that are exactly those of the grid."""
    return xr.DataArray(
        data, dims=("band", "y", "x"), coords={"band": list(bands), **xr_coords(geobox)}
    )


def plain_item(sources: Mapping[str, Source], geobox: GeoBox) -> dict[str, Any]:
    """Return a STAC item with these sources only, its assets named by band.

    It states that every asset fills the grid. Shape, transform or footprint are wrong in some
    published items, and a loader that trusts them skips chunks silently. With this item each chunk
    is read, and the file itself decides where it has data.
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
            "its own grid; search it as a separate tile"
        )


def _message(error: BaseException) -> str:
    """Return the message of the deepest cause: rasterio wraps the errors of GDAL."""
    messages = [" ".join(str(cause).split()) for cause in _chain(error)]
    return next((text for text in reversed(messages) if text), type(error).__name__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
