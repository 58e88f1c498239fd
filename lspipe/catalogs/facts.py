"""Plain facts of a Sentinel-2 item, which every catalogue spells in its own way.

Items may be `pystac.Item` or plain dicts (GeoJSON features).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeGuard

from lspipe.errors import CatalogError

if TYPE_CHECKING:
    import pystac

Item: TypeAlias = "pystac.Item | Mapping[str, Any]"

UNKNOWN_BASELINE = (99, 99)
"""What CDSE writes for products of its own Sen2Cor runs: it does not determine the offset."""


def properties(item: Item) -> Mapping[str, Any]:
    """Return the properties of an item; a dict without any has none."""
    found = item.get("properties") if isinstance(item, Mapping) else item.properties
    return found if isinstance(found, Mapping) else {}


def assets(item: Item) -> dict[str, Mapping[str, Any]]:
    """Return the assets of an item as dicts, by key."""
    if isinstance(item, Mapping):
        return dict(item.get("assets") or {})
    return {key: asset.to_dict() for key, asset in item.assets.items()}


def item_id(item: Item) -> str:
    """Return the id of an item."""
    return str(item.get("id", "item without an id") if isinstance(item, Mapping) else item.id)


def collection_of(item: Item) -> str | None:
    """Return the collection id of an item, None where it has none."""
    found = item.get("collection") if isinstance(item, Mapping) else item.collection_id
    return None if found is None else str(found)


_BASELINE = re.compile(r"N?(\d{2})\.?(\d{2})")
_PRODUCT = re.compile(
    r"S2(?P<unit>[A-D])_MSIL(?:1C|2A)_(?P<start>\d{8}T\d{6})(?:_N(?P<baseline>\d{4}))?"
    r"_R\d{3}_T(?P<tile>\d{2}[A-Z]{3})_(?P<made>\d{8}T\d{6})"
)


def _product(item: Item) -> re.Match[str] | None:
    """Return the parsed ESA product name, wherever the catalogue keeps it."""
    facts = properties(item)
    for text in (facts.get("s2:product_uri"), facts.get("sentinel:product_id"), item_id(item)):
        match = _PRODUCT.search(str(text or ""))
        if match is not None:
            return match
    return None


def baseline(item: Item) -> tuple[int, int] | None:
    """Return the processing baseline as (major, minor) integers, None if the item has none.

    Read from `s2:processing_baseline`, `sentinel:processing_baseline`, `processing:version`, else
    the `Nxxyy` of the product name. (99, 99) is passed on: it means "unknown", see
    `UNKNOWN_BASELINE`.
    """
    facts = properties(item)
    product = _product(item)
    written = (
        facts.get("s2:processing_baseline"),
        facts.get("sentinel:processing_baseline"),
        facts.get("processing:version"),
        product["baseline"] if product else None,
    )
    for text in written:
        # Tables turn "05.09" into the number 5.09, and "05.00" into 5.
        is_number = isinstance(text, (int, float)) and not isinstance(text, bool)
        digits = f"{text:05.2f}" if is_number else str(text or "")
        match = _BASELINE.fullmatch(digits)
        if match is not None:
            return int(match[1]), int(match[2])
    return None


_LEVEL = re.compile(r"(?:^|[^A-Z0-9])(?:S2MSI|MSIL|LEVEL-|L)(1C|2A)(?![A-Z0-9])")


def level(item: Item) -> Literal["L1C", "L2A"] | None:
    """Return the product level of an item, None if it has none, or another one.

    Read from `processing:level`, `s2:product_type`, the name of the product or of the item, and
    that of the collection, which all write it in their own way ("L2A", "S2MSI2A", "MSIL1C", "l1c").
    """
    facts = properties(item)
    written = (
        facts.get("processing:level"),
        facts.get("s2:product_type"),
        facts.get("s2:product_uri"),
        facts.get("sentinel:product_id"),
        item_id(item),
        collection_of(item),
    )
    for text in written:
        match = _LEVEL.search(str(text or "").upper())
        if match is not None:
            return "L1C" if match[1] == "1C" else "L2A"
    return None


_TILE = re.compile(r"(?:MGRS-|T)?(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z]{2})")
_TILE_IN_ID = re.compile(r"S2[A-D]_T?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z]{2})_")


def mgrs_tile(item: Item) -> str | None:
    """Return the MGRS tile of an item as five characters ("18GYS"), None if it has none."""
    facts = properties(item)
    product = _product(item)
    # Only Sentinel-2 ids: the "1SDV" of a radar product reads as a tile of zone 1 too.
    in_id = _TILE_IN_ID.match(item_id(item))
    written = (
        facts.get("grid:code"),
        facts.get("s2:mgrs_tile"),
        _joined(facts, "mgrs"),
        _joined(facts, "sentinel"),
        product["tile"] if product else None,
        in_id[1] if in_id else None,
    )
    for text in written:
        tile = read_tile(str(text or ""))
        if tile is not None:
            return tile
    return None


def read_tile(text: str) -> str | None:
    """Return a tile's name as five characters: "18GYS" of "T18GYS" or "MGRS-18GYS"."""
    match = _TILE.fullmatch(text)
    return None if match is None else f"{int(match[1]):02d}{match[2]}{match[3]}"


def _joined(facts: Mapping[str, Any], prefix: str) -> str | None:
    """Join zone, latitude band and grid square, which some catalogues keep apart."""
    zone = facts.get(f"{prefix}:utm_zone")
    rest = [facts.get(f"{prefix}:{part}") for part in ("latitude_band", "grid_square")]
    if zone is None or None in rest:
        return None
    digits = str(zone).removesuffix(".0")  # tables turn integers with gaps into floats
    return f"{digits}{rest[0]}{rest[1]}"


_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?", re.IGNORECASE
)


def read_time(text: str) -> datetime:
    """Return an RFC 3339 time as a UTC datetime; one without a zone is UTC, as STAC says.

    Raises:
        ValueError: it is none, for instance a day alone.

    Examples:
        >>> read_time("2018-04-01T01:59:59+02:00").isoformat()
        '2018-03-31T23:59:59+00:00'
    """
    refusal = f"found {text!r}, expected an RFC 3339 time, such as 2018-04-01T14:37:39Z"
    if not isinstance(text, str) or _RFC_3339.fullmatch(text.strip()) is None:
        raise ValueError(refusal)
    try:
        time = datetime.fromisoformat(text.strip().upper())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # such as a month 13, or the year 1 east of UTC
        raise ValueError(refusal) from error


def _time_or_none(text: Any) -> datetime | None:
    """Return a time that only ranks items, None where it is none that can be read."""
    try:
        return read_time(text)
    except ValueError:
        return None


def sensing_time(item: Item) -> datetime:
    """Return when an item was acquired, UTC.

    Raises:
        CatalogError: the item has no time, or one that is not RFC 3339; names the field.
    """
    facts = properties(item)
    field = "datetime" if facts.get("datetime") else "start_datetime"
    time = facts.get(field)
    if not time and not isinstance(item, Mapping):
        time = item.datetime  # pystac keeps it here when it was given as an argument
    if not time:
        raise CatalogError(
            f"{item_id(item)}: no datetime: expected an RFC 3339 time; mend the item"
        )
    if isinstance(time, datetime):
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    try:
        return read_time(time)
    except ValueError as error:
        raise CatalogError(f"{item_id(item)}: {field}: {error}; mend the item") from error


def platform(item: Item) -> str | None:
    """Return the satellite in lower case ("sentinel-2b"), None if the item has none."""
    named = properties(item).get("platform")
    if named:
        return str(named).lower()
    product = re.match(r"S2([A-D])_", item_id(item))
    return f"sentinel-2{product[1].lower()}" if product else None


def is_sentinel2(item: Item) -> bool:
    """Return whether an item is of the Sentinel-2 satellites."""
    named = platform(item) or str(properties(item).get("constellation") or "")
    return named.lower().startswith("sentinel-2")


def sun_elevation(item: Item) -> float | None:
    """Return how high the sun stood over a scene, degrees; None if the item does not say it."""
    facts = properties(item)
    elevation, zenith = facts.get("view:sun_elevation"), facts.get("s2:mean_solar_zenith")
    if _is_number(elevation):
        return float(elevation)
    return 90 - float(zenith) if _is_number(zenith) else None


def snow_share(item: Item) -> float | None:
    """Return the share of a scene that is snow or ice, 0..1; None if the item does not say it."""
    facts = properties(item)
    for key in ("s2:snow_ice_percentage", "eo:snow_cover"):
        if _is_number(facts.get(key)):
            return float(facts[key]) / 100
    return None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


_DATATAKE = re.compile(r"GS2[A-D]_(\d{8}T\d{6})_")


def datatake_start(item: Item) -> str | None:
    """Return the start of the datatake ("20190101T000001"), None if the item has none.

    One satellite meets one tile once in a datatake, so this separates acquisitions also where
    two stations received halves whose own sensing times differ by seconds.
    """
    facts = properties(item)
    for key in ("s2:datatake_id", "eopf:datatake_id"):
        match = _DATATAKE.match(str(facts.get(key) or ""))
        if match is not None:
            return match[1]
    product = _product(item)
    return product["start"] if product else None


def generation_time(item: Item) -> datetime | None:
    """Return when the product was processed, UTC, None if the item has none.

    It only ranks copies of a scene, so that a time which is not RFC 3339 counts as none.
    """
    facts = properties(item)
    product = _product(item)
    found = (
        _time_or_none(facts.get("s2:generation_time")),
        _time_or_none(facts.get("processing:datetime")),
        _made(product["made"]) if product else None,
        _time_or_none(facts.get("created")),
    )
    return next((time for time in found if time is not None), None)


def _made(text: str) -> datetime | None:
    """Return the time of processing in a product name; its digits may be no time."""
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
