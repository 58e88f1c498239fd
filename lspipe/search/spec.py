"""Where to look and in which catalogue: the sections `aoi:` and `search:` of a workflow."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from lspipe.catalogs import CATALOGS, read_tile
from lspipe.spec import Bounds, Items, Named, Shown, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda found, wanted: found == wanted,
    "neq": lambda found, wanted: found != wanted,
    "lt": lambda found, wanted: found < wanted,
    "lte": lambda found, wanted: found <= wanted,
    "gt": lambda found, wanted: found > wanted,
    "gte": lambda found, wanted: found >= wanted,
    "in": lambda found, wanted: found in wanted,
    "startsWith": lambda found, wanted: str(found).startswith(wanted),
}
"""Comparisons of a query. Source: STAC API, query extension."""

NUMBERS = ("eo:cloud_cover", "eo:snow_cover", "view:sun_elevation", "view:off_nadir")
"""Properties that are numbers: a condition in quotes would be met by no item. Source: STAC
extensions eo and view."""

COLLECTIONS = ("sentinel-2-l2a", "sentinel-2-c1-l2a", "sentinel-2-l1c")
"""Collections of Sentinel-2 in the known catalogues; an editor completes them."""

CONDITIONS = Shown(
    schema=(
        ("propertyNames", {"minLength": 1}),
        (
            "additionalProperties",
            {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {name: {} for name in OPERATORS},
            },
        ),
    )
)


LARGEST_PAGE = 10_000
"""Items of a page: the most that the STAC API lets a client ask for."""


@dataclass(frozen=True, kw_only=True)
class SearchSpec(Spec):
    """Where the scenes come from."""

    catalog: Annotated[str, Named(tuple(CATALOGS), "the URL of a STAC API, or a path to items")]
    """`earth-search`, `planetary-computer`, `cdse`, the URL of a STAC API, or a path to items (a
    folder, JSON, NDJSON or stac-geoparquet), relative to the workflow file."""
    collection: Annotated[str, Named(COLLECTIONS, "the name of another")] = COLLECTIONS[0]
    """Collection of the catalogue; items in files that name none are taken too."""
    query: Annotated[dict[str, dict[str, Any]], CONDITIONS] = field(default_factory=dict)
    """Conditions on item properties, such as {"eo:cloud_cover": {lt: 80}}; of a whole tile's
    metadata, so be generous: what counts later is the cloud over the area."""
    exclude: tuple[str, ...] = ()
    """Ids of scenes that are left out, as `lspipe plan` prints them."""
    page_size: Annotated[int, Bounds(ge=1, le=LARGEST_PAGE)] = 100
    """Items that a server is asked for at once; fewer where it refuses as many."""

    def __post_init__(self) -> None:
        """Refuse operators that do not exist, and values that they cannot compare."""
        super().__post_init__()
        for name, conditions in self.query.items():
            if not conditions:
                raise ValueError(f"query.{name}: found no condition, expected such as {{lt: 80}}")
            for operator, wanted in conditions.items():
                _check_condition(name, operator, wanted)


def _check_condition(name: str, operator: str, wanted: Any) -> None:
    """Refuse a condition that no item could meet, or that a server would refuse."""
    if operator not in OPERATORS:
        raise ValueError(
            f"found operator {operator!r} on {name}, expected one of {', '.join(OPERATORS)}"
        )
    expected = _expected(name, operator)
    values = wanted if operator == "in" and isinstance(wanted, list) else [wanted]
    is_list = isinstance(wanted, list)
    if is_list is not (operator == "in") or not values or not all(map(expected.holds, values)):
        listed = f"a list, each {expected.words}" if operator == "in" else expected.words
        raise ValueError(f"query.{name}.{operator}: found {wanted!r}, expected {listed}")


@dataclass(frozen=True)
class _Kind:
    """What the value of a condition must be."""

    words: str
    types: tuple[type, ...]

    def holds(self, value: Any) -> bool:
        """Return whether a value is of this kind; a bool is no number, nor are NaN and infinity."""
        if isinstance(value, bool):
            return bool in self.types
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return isinstance(value, self.types)


def _expected(name: str, operator: str) -> _Kind:
    """Name the values that an operator can compare with a property."""
    if operator == "startsWith":
        return _Kind("text", (str,))
    if name in NUMBERS:
        return _Kind("a number without quotes", (int, float))
    if operator in {"lt", "lte", "gt", "gte"}:
        return _Kind("a number or text", (int, float, str))
    return _Kind("a number, text, true or false", (int, float, str, bool))


# Checked together, as numbers in another order than was meant are known by all four.
Longitude = Annotated[float, Shown(schema=(("minimum", -180), ("maximum", 180)))]
Latitude = Annotated[float, Shown(schema=(("minimum", -90), ("maximum", 90)))]
Box = tuple[Longitude, Latitude, Longitude, Latitude]
TileName = Annotated[
    str,
    Named(
        other="a Sentinel-2 tile such as 18GYS",
        pattern=r"^\s*(T|MGRS-|t|mgrs-)?\d{1,2}[C-HJ-NP-Xc-hj-np-x][A-HJ-NP-Za-hj-np-z]{2}\s*$",
    ),
]
"""Letters as MGRS has them, without I and O; its grid decides whether there is such a tile."""


@dataclass(frozen=True, kw_only=True)
class AreaSpec(Spec):
    """Area of interest: exactly one of `bbox`, `file`, `tiles`."""

    bbox: Annotated[Box, Shown("[west, south, east, north] in degrees")] | None = None
    """West, south, east, north in degrees (WGS84); west > east crosses the date line."""
    file: str | None = None
    """Polygons in any format GDAL reads, with a CRS; relative to the workflow file."""
    layer: str | None = None
    """Layer of a file that has several."""
    tiles: Annotated[tuple[TileName, ...], Items(least=1)] | None = None
    """Names of whole Sentinel-2 tiles, such as 18GYS."""

    def __post_init__(self) -> None:
        """Refuse none or several of the three, and boxes and tiles that cannot exist."""
        super().__post_init__()
        given = [name for name in ("bbox", "file", "tiles") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"found {found}, expected exactly one of bbox, file, tiles")
        if self.layer is not None and self.file is None:
            raise ValueError(f"found layer {self.layer!r} without file, expected both")
        if self.bbox is not None:
            _check_box(*self.bbox)
        if self.tiles:
            # Imported here: a workflow without tile names is read without what makes grids.
            from lspipe.search.grids import tile_grid

            for tile in self.tiles:
                tile_grid(checked_tile(tile))


def _check_box(west: float, south: float, east: float, north: float) -> None:
    """Refuse a box that is none, or one whose numbers stand in another order than was meant."""
    found = [west, south, east, north]
    is_on_globe = all(
        abs(value) <= limit for value, limit in zip(found, (180, 90) * 2, strict=True)
    )
    if not is_on_globe:
        is_exchanged = max(abs(west), abs(east)) <= 90 < max(abs(south), abs(north)) <= 180
        raise ValueError(
            f"found bbox {found}, expected [west, south, east, north] in degrees with south < north"
            + (f"; latitudes first? then {[south, west, north, east]}" if is_exchanged else "")
        )
    if south >= north:
        hint = f"; exchanged? then {[west, north, east, south]}" if south > north else ""
        raise ValueError(
            f"found bbox {found}, expected [west, south, east, north] with south < north{hint}"
        )
    if west == east:
        raise ValueError(f"found bbox {found}, which has no width")
    width = east - west + 360
    if west > east and width > 180:
        raise ValueError(
            f"found bbox {found}, which goes east from {west} over the date line to {east}, "
            f"{width:g} degrees; west and east exchanged? then {[east, south, west, north]}"
        )


def checked_tile(name: str) -> str:
    """Return a tile's name as five characters; "T18GYS" and "MGRS-18GYS" are understood."""
    tile = read_tile(name.strip().upper())
    if tile is None:
        raise ValueError(f"found tile {name!r}, expected a Sentinel-2 tile such as 18GYS")
    return tile
