"""How GDAL reads: its settings, addresses as it takes them, and files opened without a lock.

rasterio holds Python's lock (the GIL) while GDAL finds out which masks and overviews a file has,
and GDAL may have to ask the server for that. It lets one thread ask for a part of a file, and
others that want the same part wait for that one. Where the server tells it to come again later
(429, 503), GDAL's warning is written by Python. So a thread that waits and has the lock, and one
that needs the lock to warn, would wait for each other for ever. `open_raster` has GDAL find all out
while it opens the file, when the lock is free.
"""

from __future__ import annotations

import os

import rasterio

from lspipe.machine.bucket import gdal_settings

GDAL_SETTINGS = {
    # GDAL would request side files (.aux.xml, .ovr) over HTTP at every open, and the result would
    # depend on what lies beside the COG.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # GDAL retries 429, 502, 503, 504 and dropped connections; each wait is about twice the last.
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    # A connection that stalls for a minute is an error, not a hanging worker.
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    # What a block needs of a file over a network is asked for at once. GDAL would do so with the
    # first 10 MB, and fetch the rest piece by piece, each after the one before has come. This is
    # more than any file of a band holds.
    "GDAL_MAX_RAW_BLOCK_CACHE_SIZE": str(2**28),
}

_FILE_SYSTEMS = {"s3": "vsis3", "gs": "vsigs", "az": "vsiaz"}
"""Of GDAL, by scheme."""


def settings() -> dict[str, str]:
    """Return the settings of a read."""
    # Variables that a person set in the environment of a worker are kept.
    wanted = GDAL_SETTINGS | gdal_settings()
    return {name: value for name, value in wanted.items() if name not in os.environ}


def gdal_path(href: str) -> str | None:
    """Return the path of GDAL for an address, without its query; None = a file of this machine.

    Example:
        >>> gdal_path("https://example.org/B04.tif?signature=1"), gdal_path("/data/B04.tif")
        ('/vsicurl/https://example.org/B04.tif', None)
    """
    scheme, _, rest = href.partition("://")
    if scheme in {"http", "https"}:
        return f"/vsicurl/{href.partition('?')[0]}"
    return f"/{_FILE_SYSTEMS[scheme]}/{rest}" if scheme in _FILE_SYSTEMS else None


def opened_as(href: str) -> str:
    """Return the address that rasterio opens.

    For gs:// and az:// it would look for a key itself, and forget the account where it finds none.
    """
    return gdal_path(href) or href if href.startswith(("gs://", "az://")) else href


def open_raster(href: str) -> rasterio.DatasetReader:
    """Open a file at its full resolution; its overviews are not used.

    Args:
        href: path or address, as rasterio takes it.

    Raises:
        rasterio.errors.RasterioIOError: it cannot be opened.

    Example:
        >>> with open_raster("B04.tif") as file:  # doctest: +SKIP
        ...     numbers = file.read(1)
    """
    # To know that no overview is wanted, GDAL looks through all directories of the file.
    return rasterio.open(href, sharing=False, OVERVIEW_LEVEL="NONE")
