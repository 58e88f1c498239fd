"""Items -> tiles with their acquisitions, each once; and their frozen form, `items.json`."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pystac
import shapely
from shapely.geometry import shape

from lspipe import catalogs
from lspipe.catalogs import item_id, mgrs_tile
from lspipe.errors import CatalogError, without_query
from lspipe.search.areas import split_at_date_line
from lspipe.search.grids import grid_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

# Reprocessing moves a footprint by some hundred metres of 110 km; a second station's half adds most
# of itself. Anything between separates them.
_NEW_GROUND = 0.05
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_DANGLING_LINKS = {"root", "parent"}
# What pystac raises where content breaks the specification.
_BROKEN = (
    pystac.errors.STACError,
    pystac.errors.STACTypeError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Acquisition:
    """One pass of one satellite over one tile."""

    time: datetime
    """Sensing time, UTC: the earliest of the items."""
    items: tuple[pystac.Item, ...]
    """One item, or complementary parts of the same pass; the newest processing first."""


@dataclass(frozen=True)
class Tile:
    """One Sentinel-2 tile, its grid, and what there is of it per date."""

    name: str
    """MGRS name, such as 18GYS."""
    geobox: GeoBox
    """10 m grid in the tile's own UTM zone."""
    acquisitions: Mapping[str, tuple[Acquisition, ...]]
    """"before" and "after" (or "after" alone) to acquisitions in order of time; may be empty."""


def footprint_of(item: pystac.Item) -> BaseGeometry | None:
    """Return an item's footprint (its geometry, else its box), split at the date line.

    Raises:
        CatalogError: its geometry or box is none.
    """
    try:
        ground = _outline(item)
    # What shapely raises where a geometry breaks GeoJSON is of many kinds.
    except (shapely.errors.ShapelyError, *_BROKEN) as error:
        raise CatalogError(
            f"{item.id}: geometry or bbox: expected GeoJSON in longitude and latitude: {error}"
        ) from error
    if ground is not None and not np.isfinite(ground.bounds).all() and not ground.is_empty:
        raise CatalogError(f"{item.id}: geometry: found infinite coordinates; mend the item")
    return None if ground is None else split_at_date_line(ground)


def _outline(item: pystac.Item) -> BaseGeometry | None:
    if item.geometry is not None:
        return shapely.make_valid(shape(item.geometry))
    if item.bbox is None:
        return None
    half = len(item.bbox) // 2  # a box may have heights: [w, s, low, e, n, high]
    west, south, east, north = item.bbox[0], item.bbox[1], item.bbox[half], item.bbox[half + 1]
    outline: BaseGeometry = shapely.box(west, south, east if east >= west else east + 360, north)
    return outline


def acquisition_key(item: pystac.Item) -> tuple[str, str, str]:
    """Return what two items of one acquisition share: platform, tile, datatake or second."""
    second = catalogs.sensing_time(item).strftime("%Y%m%dT%H%M%S")
    start = catalogs.datatake_start(item) or second
    return catalogs.platform(item) or "", mgrs_tile(item) or "", start


def deduplicate(items: Iterable[pystac.Item]) -> list[pystac.Item]:
    """Keep each piece of ground of an acquisition once, in its newest processing.

    Of the items of one acquisition the one with the highest valid baseline comes first, then the
    latest generation time, then the highest sequence number; another one stays only if it shows
    ground that the former ones do not (two receiving stations make complementary halves).

    Returns:
        Items in order of sensing time, then id.
    """
    kept: list[pystac.Item] = []
    for _, group in groupby(sorted(items, key=acquisition_key), key=acquisition_key):
        kept += _without_copies(sorted(group, key=_newness, reverse=True))
    return sorted(kept, key=lambda item: (catalogs.sensing_time(item), item.id))


def _newness(item: pystac.Item) -> tuple[tuple[int, int], datetime, int, str, str]:
    baseline = catalogs.baseline(item)
    if baseline is None or baseline == catalogs.UNKNOWN_BASELINE:
        baseline = (-1, -1)
    made = catalogs.generation_time(item) or _LONG_AGO
    facts = item.properties
    sequence = str(facts.get("s2:sequence") or facts.get("sentinel:sequence") or "")
    number = int(sequence) if sequence.isdecimal() else 0
    # Copies under one id are told apart by where they are, so that no order of files matters.
    places = " ".join(asset.href for asset in item.assets.values())
    return baseline, made, number, item.id, places


def _without_copies(group: list[pystac.Item]) -> list[pystac.Item]:
    """Drop items whose ground the ones before them show already."""
    kept, seen = [group[0]], footprint_of(group[0])
    for item in group[1:]:
        ground = footprint_of(item)
        if ground is None or seen is None or ground.area == 0:
            continue
        if ground.difference(seen).area > _NEW_GROUND * ground.area:
            kept.append(item)
            seen = seen.union(ground)
    return kept


def gather(items: Mapping[str, Iterable[pystac.Item]]) -> list[Tile]:
    """Group items by tile, and within a tile by acquisition.

    Args:
        items: items per date ("before", "after").

    Returns:
        Tiles in order of name; a tile without items on a date has none there.

    Raises:
        CatalogError: an item has no tile, items of one tile lie on different grids, or two of its
            scenes have one id.
    """
    by_tile: dict[str, dict[str, list[pystac.Item]]] = {}
    for role, group in items.items():
        for item in deduplicate(group):
            name = _tile_name(item)
            by_tile.setdefault(name, {role: [] for role in items})[role].append(item)
    for name, by_role in by_tile.items():
        _refuse_shared_ids(name, [item for group in by_role.values() for item in group])
    return [
        Tile(
            name=name,
            geobox=_common_grid(name, [item for group in by_role.values() for item in group]),
            acquisitions={role: _acquisitions(group) for role, group in by_role.items()},
        )
        for name, by_role in sorted(by_tile.items())
    ]


def _tile_name(item: pystac.Item) -> str:
    name = mgrs_tile(item)
    if name is None:
        raise CatalogError(
            f"{item.id}: found no MGRS tile in its properties or id, expected grid:code; "
            "lspipe reads Sentinel-2 by tile"
        )
    return name


def _refuse_shared_ids(name: str, items: list[pystac.Item]) -> None:
    """Refuse two scenes of a tile with one id: what is recorded of a scene is found by it."""
    known: dict[str, pystac.Item] = {}
    for item in items:
        other = known.setdefault(item.id, item)
        if other is not item:
            times = ", ".join(
                f"{catalogs.sensing_time(one):%Y-%m-%d %H:%M}" for one in (other, item)
            )
            raise CatalogError(
                f"tile {name}: two scenes have the id {item.id!r} ({times}), expected an id for "
                "each; rename one of them, or leave it out"
            )


def _common_grid(name: str, items: list[pystac.Item]) -> GeoBox:
    first = grid_of(items[0])
    for item in items[1:]:
        if grid_of(item) != first:
            raise CatalogError(
                f"tile {name}: {item.id} and {items[0].id} lie on different grids; "
                "expected one grid per tile; leave one of them out"
            )
    return first


def _acquisitions(items: list[pystac.Item]) -> tuple[Acquisition, ...]:
    groups: dict[tuple[str, str, str], list[pystac.Item]] = {}
    for item in items:
        groups.setdefault(acquisition_key(item), []).append(item)
    made = (
        Acquisition(
            min(catalogs.sensing_time(item) for item in group),
            tuple(sorted(group, key=_newness, reverse=True)),
        )
        for group in groups.values()
    )
    return tuple(sorted(made, key=lambda acquisition: (acquisition.time, acquisition.items[0].id)))


# --- items.json ---------------------------------------------------------------------------------


def freeze(tiles: Iterable[Tile], *, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Return tiles as a STAC ItemCollection that `thaw` turns back, without a search.

    Addresses lose query and user info, which may hold credentials. Each item also holds
    `lspipe:tile`, `lspipe:date` ("before" or "after") and `lspipe:acquisition` (its number there).

    Args:
        tiles: what was found.
        notes: what the search said of scenes that may be missing, for `lspipe:notes`.
    """
    tiles = sorted(tiles, key=lambda tile: tile.name)
    features = [
        frozen_item(
            item, {"lspipe:tile": tile.name, "lspipe:date": role, "lspipe:acquisition": number}
        )
        for tile in tiles
        for role, acquisitions in tile.acquisitions.items()
        for number, acquisition in enumerate(acquisitions)
        for item in acquisition.items
    ]
    roles = [role for role in ("before", "after") if any(role in t.acquisitions for t in tiles)]
    return {
        "type": "FeatureCollection",
        "lspipe:dates": roles,
        "lspipe:notes": list(notes),
        "features": features,
    }


def frozen_item(item: pystac.Item, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item as plain JSON with more properties, and addresses without credentials."""
    # transform_hrefs would read the catalogue's root over the network.
    plain = item.to_dict(include_self_link=True, transform_hrefs=False)
    plain["properties"].update(facts)
    # Through JSON, so that what is written is what is compared.
    return dict(json.loads(json.dumps(plain, default=str), object_hook=_without_secrets))


def _without_secrets(content: dict[str, Any]) -> dict[str, Any]:
    """Strip the address in one object of JSON."""
    if isinstance(content.get("href"), str):
        content["href"] = without_query(content["href"])
    return content


def thaw(frozen: Mapping[str, Any]) -> list[Tile]:
    """Return the tiles that `freeze` froze.

    Raises:
        CatalogError: not made by `freeze`, or damaged.
    """
    try:
        roles = list(frozen["lspipe:dates"])
        by_tile: dict[str, dict[str, dict[int, list[pystac.Item]]]] = {}
        for feature in frozen["features"]:
            facts = feature["properties"]
            by_role = by_tile.setdefault(facts["lspipe:tile"], {role: {} for role in roles})
            group = by_role[facts["lspipe:date"]].setdefault(facts["lspipe:acquisition"], [])
            group.append(to_item(feature))
    except (KeyError, TypeError) as error:
        raise CatalogError(
            f"items.json: found no {error}, expected what lspipe writes; "
            "choose another output, or start over with fresh=True"
        ) from error
    return [_thawed(name, by_role) for name, by_role in sorted(by_tile.items())]


def _thawed(name: str, by_role: Mapping[str, Mapping[int, list[pystac.Item]]]) -> Tile:
    items = [item for groups in by_role.values() for group in groups.values() for item in group]
    return Tile(
        name=name,
        geobox=_common_grid(name, items),
        acquisitions={
            role: tuple(
                Acquisition(min(catalogs.sensing_time(item) for item in group), tuple(group))
                for _, group in sorted(groups.items())
            )
            for role, groups in by_role.items()
        },
    )


def to_item(content: Mapping[str, Any]) -> pystac.Item:
    """Return a pystac item that never reaches for its catalogue.

    Links to root and parent are left out: pystac follows them, over the network if need be, when
    an item is merely turned into a dict.

    Raises:
        CatalogError: not a STAC item.
    """
    name = item_id(content)
    try:
        links = [one for one in content.get("links") or () if one.get("rel") not in _DANGLING_LINKS]
        filled = {
            "assets": {},
            "geometry": None,
            "bbox": None,
            **content,
            "links": links,
            "id": name,
        }
        with warnings.catch_warnings():
            # pystac upgrades items to its own STAC version and warns of fields that it could not;
            # Earth Search's storage fields are among them, which lspipe does not use.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"pystac\.extensions")
            if filled.get("stac_version") == pystac.get_stac_version():
                # A copy through JSON takes a fifth of the time of pystac's.
                filled = json.loads(json.dumps(filled, default=str))
                return pystac.Item.from_dict(filled, migrate=False, preserve_dict=False)
            # pystac copies what it brings to its own version, once is enough.
            return pystac.Item.from_dict(filled, preserve_dict=False)
    except _BROKEN as error:
        raise CatalogError(f"{name}: not a STAC item: {error!r}") from error
