"""Area, dates and catalogue -> items, and tiles with their acquisitions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

import shapely

from lspipe import catalogs
from lspipe.errors import NothingFound, without_query
from lspipe.search.acquisitions import footprint_of, gather, to_item
from lspipe.search.addresses import locate
from lspipe.search.conditions import is_missing, meets
from lspipe.search.item_files import read_items
from lspipe.search.places import api_url, item_path
from lspipe.search.server import ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pystac

    from lspipe.search.acquisitions import Tile
    from lspipe.search.areas import Area
    from lspipe.search.dates import DateRange, DatesSpec
    from lspipe.search.spec import SearchSpec

logger = logging.getLogger(__name__)

ANY_COLLECTION = "*"
"""Collection of a `SearchSpec` that takes items of all; of items in files only."""

LAUNCH = date(2015, 6, 23)
"""Start of Sentinel-2A."""


Note = Callable[[str], None]
"""What takes a sentence about scenes that may be missing."""


def find_tiles(
    spec: SearchSpec,
    area: Area,
    dates: DatesSpec,
    folder: Path,
    *,
    note: Note = logger.warning,
) -> list[Tile]:
    """Return the tiles that meet the area, with their acquisitions per date.

    Args:
        spec: where to search.
        area: where to look.
        dates: when to look.
        folder: what a relative path of items starts from.
        note: called with a sentence for what was asked for and is not there.

    Returns:
        Tiles in order of name. A tile that has no item on one of the dates has none there; across
        all tiles every date has some.

    Raises:
        NothingFound: a date has no item.
        CatalogError: the catalogue cannot be reached or read.
        WorkflowError: there is no such catalogue.
    """
    found, excluded = {}, set[str]()
    for role, range_ in dates.ranges().items():
        said: list[str] = []
        matching = find_items(spec, area, range_, folder, note=said.append)
        items = [item for item in matching if item.id not in spec.exclude]
        excluded |= {item.id for item in matching} - {item.id for item in items}
        if matching and not items:
            said.append(f"search.exclude leaves out all {len(matching)} that were found")
        if not items:
            raise NothingFound("\n".join([_nothing(spec, area, role, range_), *said]))
        for text in said:
            note(text)
        logger.info("%s, %s: %d items", role, range_, len(items))
        found[role] = items
    for name in spec.exclude:
        if name not in excluded:
            note(f"search.exclude: {name}: no scene of this id was found, so none is left out")
    tiles = gather(found)
    for text in _without_scenes(tiles, area, list(found)):
        note(text)
    return tiles


def _without_scenes(tiles: Sequence[Tile], area: Area, roles: Sequence[str]) -> Iterator[str]:
    """Name the tiles that lack scenes: those found, on a date; those asked for by name, on all."""
    for tile in tiles:
        for role, acquisitions in tile.acquisitions.items():
            if not acquisitions:
                yield f"tile {tile.name} has no scene on the {role} date"
    known = {tile.name for tile in tiles}
    for name in area.tiles or ():
        if name not in known:
            dates = "either date" if len(roles) > 1 else f"the {roles[0]} date"
            yield f"tile {name} was asked for and has no scene on {dates}: nothing is done there"


def _nothing(spec: SearchSpec, area: Area, role: str, range_: DateRange) -> str:
    early = " (Sentinel-2 started in June 2015)" if range_.end < LAUNCH else ""
    query = f" with {spec.query}" if spec.query else ""
    return (
        f"no item on the {role} date: {range_}{early} over {area.source} in {spec.collection} of "
        f"{without_query(spec.catalog)}{query}\n"
        "widen the dates or the query, or check the area and the collection"
    )


def find_items(
    spec: SearchSpec,
    area: Area,
    dates: DateRange,
    folder: Path,
    *,
    note: Note = logger.warning,
) -> list[pystac.Item]:
    """Return the items of one date range that meet the area.

    A server's answer is filtered again here, so that a server that ignores a condition and a
    folder of files give the same items.

    Args:
        spec: where to search.
        area: where to look.
        dates: when to look.
        folder: what a relative path of items starts from.
        note: called with a sentence where items may be missing.

    Returns:
        Items in order of sensing time, then id; equal ones once. Asset addresses are absolute.

    Raises:
        CatalogError: the catalogue cannot be reached or read, its URL is shown without query; or a
            property cannot be compared with a condition.
        WorkflowError: there is no such catalogue.
    """
    url = api_url(spec.catalog)
    shapely.prepare(area.geometry)
    if url is not None:
        served = ((content, None) for content in ask(url, spec, area, dates, note=note))
        near = list(_near(served, spec, area, dates))
    else:
        near = list(_near(read_items(item_path(spec.catalog, folder)), spec, area, dates))
    found = _each_once(item for item in near if meets(item, spec))
    if text := _unknown(near, spec):
        note(text)
    return sorted(found, key=lambda item: (catalogs.sensing_time(item), item.id))


def _near(
    contents: Iterable[tuple[dict[str, Any], Path | None]],
    spec: SearchSpec,
    area: Area,
    dates: DateRange,
) -> Iterator[pystac.Item]:
    """Yield the items of a collection that were acquired then and there.

    Args:
        contents: item dicts, each with its file if it is from one.
        spec: the collection.
        area: where to look.
        dates: when to look.
    """
    for content, file in contents:
        # Of thousands in a folder few are of the dates: only those are made into items.
        if not _is_of(content, spec, dates):
            continue
        item = to_item(content)
        if _is_there(item, area):
            if file is not None:
                locate(item, content, file)
            yield item


def _each_once(items: Iterable[pystac.Item]) -> list[pystac.Item]:
    """Leave out items that are equal to another one, as of pages that overlap.

    By more than the id, which some archives use once per tile, or once per date.
    """
    by_id: dict[str, list[pystac.Item]] = {}
    for item in items:
        others = by_id.setdefault(item.id, [])
        if not any(_content(item) == _content(other) for other in others):
            others.append(item)
    return [item for group in by_id.values() for item in group]


def _content(item: pystac.Item) -> dict[str, Any]:
    # transform_hrefs would read the catalogue's root over the network.
    return dict(item.to_dict(include_self_link=False, transform_hrefs=False))


def _unknown(items: Sequence[pystac.Item], spec: SearchSpec) -> str:
    """Name conditions on what some items do not say, "" where there is none."""
    parts = []
    for name, conditions in spec.query.items():
        is_met = set(conditions) == {"neq"}  # which holds for what is not known
        lacking = [i.id for i in items if not is_met and is_missing(i.properties.get(name))]
        if lacking:
            parts.append(
                f"{len(lacking)} of {len(items)} items have no {name}, such as {lacking[0]}"
            )
    return f"search.query: {'; '.join(parts)}: they do not meet it" if parts else ""


def matches(item: pystac.Item, spec: SearchSpec, area: Area, dates: DateRange) -> bool:
    """Return whether an item is of the collection, the dates, the area and the query.

    Raises:
        CatalogError: a property cannot be compared with a condition.
    """
    return _is_of(item, spec, dates) and _is_there(item, area) and meets(item, spec)


def _is_of(item: catalogs.Item, spec: SearchSpec, dates: DateRange) -> bool:
    collection = catalogs.collection_of(item)
    if collection is not None and spec.collection not in (collection, ANY_COLLECTION):
        return False
    return catalogs.sensing_time(item) in dates


def _is_there(item: pystac.Item, area: Area) -> bool:
    if area.tiles is not None and catalogs.mgrs_tile(item) not in area.tiles:
        return False
    ground = footprint_of(item)
    return ground is not None and bool(area.geometry.intersects(ground))
