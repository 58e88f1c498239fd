"""The quirks of each STAC catalogue, and plain facts read from a Sentinel-2 item of any of them.

    known.py   one entry per catalogue: address, marks, signing
    bands.py   asset names -> band names
    facts.py   baseline, level, tile, platform, times

Items may be `pystac.Item` or plain dicts (GeoJSON features): nothing here needs pystac.
Does not cover: asking a server (`search/`), turning numbers into reflectance (`preprocess/`).
"""

from lspipe.catalogs.bands import NATIVE_RESOLUTION, band_assets, read_asset_key
from lspipe.catalogs.facts import (
    UNKNOWN_BASELINE,
    Item,
    assets,
    baseline,
    collection_of,
    datatake_start,
    generation_time,
    is_sentinel2,
    item_id,
    level,
    mgrs_tile,
    platform,
    properties,
    read_tile,
    read_time,
    sensing_time,
    snow_share,
    sun_elevation,
)
from lspipe.catalogs.known import CATALOGS, GENERIC, Catalog, catalog_of
from lspipe.catalogs.signing import UnsignedError, sign

__all__ = [
    "CATALOGS",
    "GENERIC",
    "NATIVE_RESOLUTION",
    "UNKNOWN_BASELINE",
    "Catalog",
    "Item",
    "UnsignedError",
    "assets",
    "band_assets",
    "baseline",
    "catalog_of",
    "collection_of",
    "datatake_start",
    "generation_time",
    "is_sentinel2",
    "item_id",
    "level",
    "mgrs_tile",
    "platform",
    "properties",
    "read_asset_key",
    "read_tile",
    "read_time",
    "sensing_time",
    "sign",
    "snow_share",
    "sun_elevation",
]
