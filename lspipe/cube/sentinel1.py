"""The section `radar:` -> items of Sentinel-1, and which passes of them a tile is read from.

Two acquisitions are compared only where the satellite looked from the same place: the same relative
orbit and direction, in the same mode. The satellites of Sentinel-1 fly on one orbit and are one
family; where one of them has enough dates on both sides, only its are taken.

Covers: which items there are, what of them is refused by name, which are taken. Does not cover:
headers and pixels (`radar_file.py`), the shift between the sides (`runs/plan/radar.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

import shapely

from lspipe import catalogs
from lspipe.catalogs import GENERIC
from lspipe.cube.loaders.source import Source
from lspipe.cube.loaders.together import read_together
from lspipe.cube.power import ENOUGH_DATES
from lspipe.cube.radar import RadarPass
from lspipe.cube.radar_file import OTHERWISE, HiddenFile, read_header
from lspipe.errors import NothingFound, WorkflowError, first_few, without_query
from lspipe.schema import AFTER, BEFORE
from lspipe.search.acquisitions import footprint_of
from lspipe.search.areas import Area, footprint
from lspipe.search.find import ANY_COLLECTION, find_items
from lspipe.search.spec import SearchSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pystac
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from lspipe.cube.radar_file import RadarFile
    from lspipe.cube.radar_spec import RadarSpec
    from lspipe.search.dates import DateRange

MODE = "IW"
"""The mode over land; others have other pixels. Source: Sentinel-1 observation scenario."""

MOST_DATES = 6
"""Dates of a side that are read, those nearest to the other side: of six, speckle is 0.8 dB."""

ONE_PASS = timedelta(minutes=10)
"""How far the slices of one pass may lie apart; the next pass over a tile is hours later."""

Items = dict[str, list["pystac.Item"]]
"""Items of each side, "before" and "after"."""


def search(
    spec: RadarSpec,
    where: SearchSpec,
    days: Mapping[str, DateRange],
    grids: Sequence[GeoBox],
    folder: Path,
    *,
    note: Callable[[str], None],
) -> Items:
    """Search the items of both sides that lie on tiles.

    Args:
        spec: which collection or path.
        where: its catalogue.
        days: of each side.
        grids: of the tiles.
        folder: what relative paths start from.
        note: called with a sentence where items may be missing.

    Raises:
        NothingFound: a side has none that can be used.
        CatalogError: the catalogue cannot be reached or read.
        WorkflowError: the items are no terrain-corrected gamma0.
    """
    name = str(spec.collection)
    asked = SearchSpec(
        catalog=where.catalog if spec.is_collection else name,
        collection=name if spec.is_collection else ANY_COLLECTION,
        page_size=where.page_size,
    )
    ground = Area(shapely.union_all([footprint(grid) for grid in grids]), None, "tiles")
    found: Items = {}
    for side, range_ in days.items():
        near = [
            item
            for item in find_items(asked, ground, range_, folder, note=note)
            if _is_sentinel1(item)
        ]
        found[side] = each_once(usable(near))
        if not found[side]:
            raise NothingFound(
                f"radar.collection: no item of {name} over the tiles on the {side} side "
                f"({range_}) in {without_query(asked.catalog)}{_why_none(near)}\n"
                f"widen radar.{side}, check the collection, or leave the section radar out"
            )
    _refuse_mixed(item for items in found.values() for item in items)
    return found


def _is_sentinel1(item: pystac.Item) -> bool:
    named = catalogs.platform(item) or str(item.properties.get("constellation") or "")
    return named.lower().startswith("sentinel-1") or item.id.upper().startswith("S1")


def _why_none(items: Sequence[pystac.Item]) -> str:
    """Say what there is instead, "" where there is nothing."""
    if not items:
        return ""
    kinds = Counter(
        f"{item.properties.get('sar:instrument_mode')} "
        f"{'+'.join(map(str, item.properties.get('sar:polarizations') or ['?']))}"
        for item in items
    )
    there = ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items()))
    return f" in mode {MODE} with VV: there are {there}"


# --- what is refused ----------------------------------------------------------------------------


def usable(items: Iterable[pystac.Item]) -> list[pystac.Item]:
    """Return the items in the mode over land that have VV.

    Raises:
        WorkflowError: an item has no terrain correction, or says nothing of its orbit.
    """
    found = []
    for item in items:
        facts = item.properties
        if facts.get("sar:instrument_mode", MODE) != MODE or vv_asset(item) is None:
            continue
        _refuse_uncorrected(item)
        if orbit_of(item) is None:
            raise WorkflowError(
                f"radar.collection: {item.id} does not say its orbit, expected sat:orbit_state and "
                "sat:relative_orbit; only passes of one orbit can be compared"
            )
        found.append(item)
    return found


_RTC = re.compile(r"(?:^|[^a-z])rtc(?:[^a-z]|$)")


def _refuse_uncorrected(item: pystac.Item) -> None:
    """Refuse GRD and the like by name; Planetary Computer calls its RTC a GRD, too."""
    kind = str(item.properties.get("sar:product_type") or "")
    names = " ".join((item.id, catalogs.collection_of(item) or "", kind)).lower()
    if kind in ("GRD", "SLC", "OCN", "RAW") and not _RTC.search(names):
        raise WorkflowError(
            f"radar.collection: {item.id} is {kind} without terrain correction, expected RTC "
            "(gamma0), such as sentinel-1-rtc of planetary-computer"
        )


_CALIBRATION = re.compile(r"(gamma|sigma|beta)[ _-]?(?:0|nought|naught)")
_DECIBELS = re.compile(r"(?:^|[^a-z])(?:db|decibels?)(?:[^a-z]|$)")


def calibration_of(item: pystac.Item) -> str:
    """Return what an item says that its VV is: "gamma0", "sigma0 in dB"; "" = it does not say."""
    asset = item.assets[vv_asset(item) or ""]
    bands: list[dict[str, Any]] = asset.extra_fields.get("raster:bands") or []
    said = (
        vv_asset(item), asset.title, asset.description, *(asset.roles or ()),
        *(band.get("unit") for band in bands),
        *(item.properties.get(f"card4l:measurement_{what}") for what in ("type", "convention")),
    )  # fmt: skip
    words = " ".join(str(text).lower() for text in said if text)
    kind = _CALIBRATION.search(words)
    scale = " in dB" if _DECIBELS.search(words) else ""
    return f"{kind[1]}0{scale}" if kind else scale.strip()


def _refuse_mixed(items: Iterable[pystac.Item]) -> None:
    """Refuse what cannot be averaged and compared: anything but gamma0 in linear power."""
    by_kind: dict[str, str] = {}
    for item in items:
        by_kind.setdefault(calibration_of(item), item.id)
    others = {kind: name for kind, name in by_kind.items() if kind not in ("", "gamma0")}
    if not others:
        return
    found = " and ".join(f"{kind or 'gamma0'} ({name})" for kind, name in sorted(by_kind.items()))
    mixed = "mixed calibration, " if len(by_kind) > 1 else ""
    raise WorkflowError(
        f"radar.collection: found {mixed}{found}, expected gamma0 in linear power on both sides; "
        "take a collection of one calibration"
    )


def vv_asset(item: pystac.Item) -> str | None:
    """Return the key of the asset with VV: "vv", "gamma0_vv"; None where it has none."""
    named = [
        key
        for key, asset in item.assets.items()
        if "vv" in re.split(r"[^a-z0-9]+", key.lower())
        and not {"metadata", "thumbnail", "overview"} & set(asset.roles or ())
    ]
    return min(named, key=len, default=None)


_HIDDEN = re.compile(r"layover|shadow")
_NOT = re.compile(r"(?:^|[^a-z])(?:no|non|not|without|neither)(?:[^a-z]|$)")


def hidden_of(item: pystac.Item) -> HiddenFile | None:
    """Return the asset that flags layover and shadow; None where the item describes none.

    By its classes (STAC extension `classification`), as products count them in different ways.
    """
    for key, asset in item.assets.items():
        fields = asset.extra_fields
        bands = [fields, *(fields.get("raster:bands") or ()), *(fields.get("bands") or ())]
        classes = [one for band in bands for one in band.get("classification:classes") or ()]
        numbers = tuple(int(one["value"]) for one in classes if _is_hidden(one))
        if numbers:
            return HiddenFile(asset=key, href=str(asset.href), numbers=numbers)
    return None


def _is_hidden(one: Mapping[str, Any]) -> bool:
    words = f"{one.get('name') or ''} {one.get('description') or ''}".lower()
    return bool(_HIDDEN.search(words)) and not _NOT.search(words)


def orbit_of(item: pystac.Item) -> tuple[str, int] | None:
    """Return direction and relative orbit of an item; None where it does not say both."""
    state, number = (item.properties.get(f"sat:{key}") for key in ("orbit_state", "relative_orbit"))
    if state is None or number is None:
        return None
    return str(state).lower(), int(number)


def each_once(items: Iterable[pystac.Item]) -> list[pystac.Item]:
    """Keep each slice of an acquisition once, in its newest processing, in order of time."""

    def acquired(item: pystac.Item) -> tuple[Any, ...]:
        start = item.properties.get("start_datetime")
        moment = catalogs.read_time(start) if start else catalogs.sensing_time(item)
        return catalogs.platform(item) or "", orbit_of(item), moment.replace(microsecond=0)

    def made(item: pystac.Item) -> tuple[str, str]:
        time = catalogs.generation_time(item)
        return time.isoformat() if time else "", item.id

    newest: dict[tuple[Any, ...], pystac.Item] = {}
    for item in sorted(items, key=made):
        newest[acquired(item)] = item
    return sorted(newest.values(), key=lambda item: (catalogs.sensing_time(item), item.id))


# --- which passes a tile is read from -----------------------------------------------------------


@dataclass(frozen=True)
class Date:
    """One pass of one satellite: its slices over a tile."""

    day: str
    """The first moment of its slices, ISO 8601, UTC."""
    platform: str
    items: tuple[pystac.Item, ...]
    covered: float
    """Share of the area on the tile that its slices cover, 0..1."""


@dataclass(frozen=True)
class Candidate:
    """A relative orbit that both sides have over a tile."""

    orbit_state: str
    relative_orbit: int
    sides: Mapping[str, tuple[Date, ...]]

    @property
    def seen(self) -> float:
        """Acquisitions on the side with fewer, each counted by the share that it covers."""
        return min(sum(date.covered for date in dates) for dates in self.sides.values())


def candidates(
    items: Mapping[str, Sequence[pystac.Item]], ground: BaseGeometry, orbit: str
) -> list[Candidate]:
    """Return the best relative orbit of each direction, that with the most acquisitions first.

    Args:
        items: of each side.
        ground: the area on the tile, in longitude and latitude.
        orbit: "auto", or one direction.
    """
    by_orbit = {side: _dates_by_orbit(found, ground) for side, found in items.items()}
    shared = set.intersection(*(set(found) for found in by_orbit.values()))
    best: dict[str, Candidate] = {}
    for state, number in sorted(shared):
        if orbit not in ("auto", state):
            continue
        made = Candidate(
            state, number, {side: found[state, number] for side, found in by_orbit.items()}
        )
        if state not in best or made.seen > best[state].seen:
            best[state] = made
    return [_nearest(one) for one in sorted(best.values(), key=lambda one: -one.seen)]


def _dates_by_orbit(
    items: Sequence[pystac.Item], ground: BaseGeometry
) -> dict[tuple[str, int], tuple[Date, ...]]:
    groups: dict[tuple[str, int], list[pystac.Item]] = {}
    for item in items:
        if (orbit := orbit_of(item)) is not None:
            groups.setdefault(orbit, []).append(item)
    found = {
        orbit: tuple(date for date in _dates(group, ground) if date.covered > 0)
        for orbit, group in groups.items()
    }
    return {orbit: dates for orbit, dates in found.items() if dates}


def _dates(items: Sequence[pystac.Item], ground: BaseGeometry) -> Iterator[Date]:
    """Join the slices of each pass of one satellite."""
    ordered = sorted(
        items, key=lambda item: (catalogs.platform(item) or "", catalogs.sensing_time(item))
    )
    for platform, group in groupby(ordered, key=lambda item: catalogs.platform(item) or ""):
        slices: list[pystac.Item] = []
        for item in group:
            is_next = slices and catalogs.sensing_time(item) - _first(slices) > ONE_PASS
            if is_next:
                yield _date(platform, slices, ground)
                slices = []
            slices.append(item)
        yield _date(platform, slices, ground)


def _first(slices: Sequence[pystac.Item]) -> Any:
    return catalogs.sensing_time(slices[0])


def _date(platform: str, slices: Sequence[pystac.Item], ground: BaseGeometry) -> Date:
    covered = shapely.union_all([one for item in slices if (one := footprint_of(item))])
    share = covered.intersection(ground).area / ground.area if ground.area else 0.0
    day = _first(slices).isoformat(timespec="seconds")
    return Date(day, platform, tuple(slices), float(share))


def _nearest(one: Candidate) -> Candidate:
    """Return at most `MOST_DATES` of each side: of one satellite if that has enough, the nearest.

    A date that covers less than others is taken last.
    """
    platforms = {date.platform for dates in one.sides.values() for date in dates}
    least = {
        name: min(sum(date.platform == name for date in dates) for dates in one.sides.values())
        for name in sorted(platforms)
    }
    name = max(least, key=lambda each: least[each])
    sides = dict(one.sides)
    if least[name] >= ENOUGH_DATES:
        sides = {
            side: tuple(date for date in dates if date.platform == name)
            for side, dates in sides.items()
        }
    is_swapped = min(date.day for date in sides[AFTER]) < min(date.day for date in sides[BEFORE])
    return Candidate(
        one.orbit_state,
        one.relative_orbit,
        {
            side: _few(dates, is_latest=(side == BEFORE) is not is_swapped)
            for side, dates in sides.items()
        },
    )


def _few(dates: Sequence[Date], *, is_latest: bool) -> tuple[Date, ...]:
    """Return the dates nearest to the other side, of those that cover as much as any, in order."""
    most = max(date.covered for date in dates)
    ordered = sorted(dates, key=lambda date: date.day, reverse=is_latest)
    whole = sorted(ordered, key=lambda date: date.covered < 0.9 * most)
    return tuple(sorted(whole[:MOST_DATES], key=lambda date: (date.day, date.platform)))


def opened(one: Candidate) -> RadarPass:
    """Read the headers of the files of a pass.

    Raises:
        LoadError: a file cannot be read, or holds no linear power on a grid.
    """
    wanted = [
        (side, date, item) for side in sorted(one.sides) for date in one.sides[side]
        for item in date.items
    ]  # fmt: skip
    hrefs = (str(asset.href) for _, _, item in wanted for asset in item.assets.values())
    files = list(read_together(lambda each: _header(each[1], each[2]), wanted, hrefs))
    sides: dict[str, list[RadarFile]] = {side: [] for side in one.sides}
    for (side, _, _), file in zip(wanted, files, strict=True):
        sides[side].append(file)
    return RadarPass(
        orbit_state=one.orbit_state,
        relative_orbit=one.relative_orbit,
        sides={side: tuple(found) for side, found in sides.items()},
    )


def _header(date: Date, item: pystac.Item) -> RadarFile:
    key = vv_asset(item) or ""
    catalog = catalogs.catalog_of(item)
    return read_header(
        Source(
            item=item.id,
            band="VV",
            asset=key,
            href=str(item.assets[key].href),
            catalog=catalog or GENERIC,
            on_read_error="fail",
            otherwise=OTHERWISE,
        ),
        day=date.day,
        platform=date.platform,
        hidden=hidden_of(item),
    )


def there(items: Mapping[str, Sequence[pystac.Item]], ground: BaseGeometry) -> str:
    """Say which orbits each side has over some ground: "before: ascending 18 (3); after: none"."""
    words = []
    for side, found in sorted(items.items(), reverse=True):
        here = [item for item in found if (one := footprint_of(item)) and one.intersects(ground)]
        orbits = Counter(orbit for item in here if (orbit := orbit_of(item)))
        listed = [f"{state} {number} ({count})" for (state, number), count in orbits.most_common()]
        words.append(f"{side}: {first_few(listed) if listed else 'none'}")
    return "; ".join(words)
