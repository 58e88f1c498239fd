"""Opens a raster file that other threads may read, too, over a network.

rasterio holds Python's lock (the GIL) while GDAL finds out which masks and overviews a file has,
and GDAL may have to ask the server for that. It lets one thread ask for a part of a file, and
others that want the same part wait for that one. Where the server tells it to come again later
(429, 503), GDAL's warning is written by Python. So a thread that waits and has the lock, and one
that needs the lock to warn, would wait for each other for ever. Here GDAL finds all out while it
opens the file, when the lock is free.
"""

from __future__ import annotations

import rasterio


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
