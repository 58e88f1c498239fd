"""Area, dates and catalogue -> items, and tiles with their acquisitions."""

from __future__ import annotations

import logging
from datetime import date
from typing import TYPE_CHECKING, Any

import shapely

from lspipe import catalogs
from lspipe.errors import NothingFound, without_query
from lspipe.search.acquisitions import footprint_of, gather, to_item
from lspipe.search.item_files import read_items
from lspipe.search.places import api_url, item_path
from lspipe.search.server import ask
from lspipe.search.spec import OPERATORS, SearchSpec

if TYPE_CHECKING:
    from pathlib import Path

    import pystac

    from lspipe.search.acquisitions import Tile
    from lspipe.search.areas import Area
    from lspipe.search.dates import DateRange, DatesSpec

logger = logging.getLogger(__name__)

LAUNCH = date(2015, 6, 23)
"""Start of Sentinel-2A."""


def find_tiles(spec: SearchSpec, area: Area, dates: DatesSpec, folder: Path) -> list[Tile]:
    """Return the tiles that meet the area, with their acquisitions per date.

    Args:
        spec: where to search.
        area: where to look.
        dates: when to look.
        folder: what a relative path of items starts from.

    Returns:
        Tiles in order of name. A tile that has no item on one of the dates has none there; across
        all tiles every date has some.

    Raises:
        NothingFound: a date has no item.
        CatalogError: the catalogue cannot be reached or read.
        WorkflowError: there is no such catalogue.
    """
    if dates.is_swapped:
        logger.warning("before is later than after: new and vanished change places")
    found = {}
    for role, range_ in dates.ranges().items():
        items = find_items(spec, area, range_, folder)
        if not items:
            raise NothingFound(_nothing(spec, area, role, range_))
        logger.info("%s, %s: %d items", role, range_, len(items))
        found[role] = items
    tiles = gather(found)
    for tile in tiles:
        for role, acquisitions in tile.acquisitions.items():
            if not acquisitions:
                logger.warning("tile %s has no scene on the %s date", tile.name, role)
    return tiles


def _nothing(spec: SearchSpec, area: Area, role: str, range_: DateRange) -> str:
    early = " (Sentinel-2 started in June 2015)" if range_.end < LAUNCH else ""
    query = f" with {spec.query}" if spec.query else ""
    return (
        f"no item on the {role} date: {range_}{early} over {area.source} in {spec.collection} of "
        f"{without_query(spec.catalog)}{query}\n"
        "widen the dates or the query, or check the area and the collection"
    )


def find_items(spec: SearchSpec, area: Area, dates: DateRange, folder: Path) -> list[pystac.Item]:
    """Return the items of one date range that meet the area.

    A server's answer is filtered again here, so that a server that ignores a condition and a
    folder of files give the same items.

    Returns:
        Items in order of sensing time, then id; each id once. Asset addresses are absolute.

    Raises:
        CatalogError: the catalogue cannot be reached or read; its URL is shown without query.
        WorkflowError: there is no such catalogue.
    """
    url = api_url(spec.catalog)
    if url is not None:
        candidates = ask(url, spec, area, dates)
    else:
        candidates = map(to_item, read_items(item_path(spec.catalog, folder)))
    shapely.prepare(area.geometry)
    found = {item.id: item for item in candidates if matches(item, spec, area, dates)}
    return sorted(found.values(), key=lambda item: (catalogs.sensing_time(item), item.id))


def matches(item: pystac.Item, spec: SearchSpec, area: Area, dates: DateRange) -> bool:
    """Return whether an item is of the collection, the dates, the area and the query."""
    collection = catalogs.collection_of(item)
    if collection is not None and collection != spec.collection:
        return False
    if catalogs.sensing_time(item) not in dates:
        return False
    if area.tiles is not None and catalogs.mgrs_tile(item) not in area.tiles:
        return False
    if not all(
        _holds(item.properties.get(name), operator, wanted)
        for name, conditions in spec.query.items()
        for operator, wanted in conditions.items()
    ):
        return False
    ground = footprint_of(item)
    return ground is not None and bool(area.geometry.intersects(ground))


def _holds(found: Any, operator: str, wanted: Any) -> bool:
    """Compare one property; one that is missing, or of another kind, never holds (but `neq`)."""
    if found is None:
        return operator == "neq"
    try:
        return bool(OPERATORS[operator](found, wanted))
    except TypeError:
        return False
