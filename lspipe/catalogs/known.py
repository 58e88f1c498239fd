"""One entry per catalogue: where it is, how its items are known, what is odd about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lspipe.catalogs.facts import assets, properties

if TYPE_CHECKING:
    from lspipe.catalogs.facts import Item


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """One catalogue."""

    name: str
    url: str | None
    """Landing page of its STAC API."""
    marks: tuple[str, ...] = ()
    """Pieces of links, asset addresses or property names that only its items hold."""
    flagged_collections: tuple[str, ...] = ()
    """Collections whose COGs may be shifted already; a flag, which is often wrong, states it."""
    payers: tuple[str, ...] = ()
    """Buckets whose reader pays for what is read, such as "s3://sentinel-s2-l1c/"."""
    signs: bool = False
    """Asset addresses need a short-lived signature just before they are read."""


CATALOGS: Mapping[str, Catalog] = {
    "earth-search": Catalog(
        name="earth-search",
        url="https://earth-search.aws.element84.com/v1",
        marks=(
            "earth-search.aws.element84.com",
            "sentinel-cogs",
            "e84-earth-search-sentinel-data",
            "earthsearch-data",
            "sentinel-s2-l",
            "earthsearch:",
            "sentinel:boa_offset_applied",
        ),
        flagged_collections=("sentinel-2-l2a", "sentinel-s2-l2a-cogs"),
        payers=("s3://sentinel-s2-l1c/", "s3://sentinel-s2-l2a/"),
    ),
    "planetary-computer": Catalog(
        name="planetary-computer",
        url="https://planetarycomputer.microsoft.com/api/stac/v1",
        marks=("planetarycomputer", "blob.core.windows.net/sentinel2-l2"),
        signs=True,
    ),
    "cdse": Catalog(
        name="cdse",
        url="https://stac.dataspace.copernicus.eu/v1",
        marks=("dataspace.copernicus.eu", "s3://eodata/"),
    ),
}

GENERIC = Catalog(name="generic", url=None)
"""Any other server, or items in files: no quirks are assumed."""


def catalog_of(item: Item) -> Catalog:
    """Return the catalogue an item comes from, recognised by its links, assets and properties.

    A copy on disk keeps its catalogue as long as its links or the catalogue's own properties do.
    """
    places = list(_addresses(item)) + list(properties(item))
    for catalog in CATALOGS.values():
        if any(mark in place for mark in catalog.marks for place in places):
            return catalog
    return GENERIC


def _addresses(item: Item) -> Iterator[str]:
    """Yield the addresses of an item's links and assets."""
    if isinstance(item, Mapping):
        yield from (str(link["href"]) for link in item.get("links", ()))
        yield from (str(asset["href"]) for asset in assets(item).values())
    else:
        # Not `link.href`: it reads the catalogue's root over the network to make links relative.
        yield from (str(link.get_href(transform_href=False)) for link in item.links)
        yield from (str(asset.href) for asset in item.assets.values())
