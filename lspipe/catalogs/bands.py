"""Asset names of any catalogue -> canonical band names, at the native pixel size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lspipe.catalogs.facts import assets

if TYPE_CHECKING:
    from lspipe.catalogs.facts import Item

NATIVE_RESOLUTION = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10,
    "B8A": 20, "B09": 60, "B10": 60, "B11": 20, "B12": 20, "SCL": 20,
}  # fmt: skip
"""Pixel size of each band as ESA makes it, metres, in the order of the products.

Source: Sentinel-2 products specification.
"""

COMMON_NAMES = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05",
    "rededge2": "B06", "rededge3": "B07", "nir": "B08", "nir08": "B8A", "nir09": "B09",
    "cirrus": "B10", "swir16": "B11", "swir22": "B12", "scl": "SCL",
}  # fmt: skip
"""Asset names made by stactools (Earth Search v1) to canonical band names. Source: stactools."""


@dataclass(frozen=True)
class AssetName:
    """What an asset key contains: band, pixel size in metres if written, JPEG 2000 twin or not."""

    band: str
    resolution: int | None
    is_jp2_twin: bool


_ASSET_KEY = re.compile(r"(?P<name>[A-Za-z0-9]+?)(?:_(?P<metres>10|20|60)m)?(?P<jp2>-jp2)?")


def read_asset_key(key: str) -> AssetName | None:
    """Parse an asset key; None if it names no single band of Sentinel-2 (or SCL)."""
    match = _ASSET_KEY.fullmatch(key)
    if match is None:
        return None
    name = match["name"]
    band = COMMON_NAMES.get(name, name)
    if band not in NATIVE_RESOLUTION:
        return None
    metres = None if match["metres"] is None else int(match["metres"])
    return AssetName(band, metres, match["jp2"] is not None)


def band_assets(item: Item) -> dict[str, str]:
    """Return the asset key of each band at its native pixel size: {"B04": "red", "SCL": "scl"}.

    An unsuffixed key is the native one in every catalogue but CDSE, where the suffix states it
    (`B04_10m`); `red_20m` and the like are resampled copies and are never taken. A COG comes
    before its `-jp2` twin. Bands are in the order of the products, SCL last.
    """
    best: dict[str, tuple[bool, bool, str]] = {}
    for key in assets(item):
        name = read_asset_key(key)
        if name is None or name.resolution not in (None, NATIVE_RESOLUTION[name.band]):
            continue
        rank = (name.is_jp2_twin, name.resolution is not None, key)
        best[name.band] = min(best.get(name.band, rank), rank)
    return {band: best[band][2] for band in NATIVE_RESOLUTION if band in best}
