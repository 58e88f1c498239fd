"""Catalogue, collection and conditions of a search; the section `search:` of a workflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

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


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """Where the scenes come from."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
    }

    catalog: str
    """`earth-search`, `planetary-computer`, `cdse`, the URL of a STAC API, or a path to items (a
    folder, JSON, NDJSON or stac-geoparquet), relative to the workflow file."""
    collection: str = "sentinel-2-l2a"
    """Collection of the catalogue; items in files that name none are taken too."""
    query: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Conditions on item properties, such as {"eo:cloud_cover": {lt: 80}}; of a whole tile's
    metadata, so be generous: what counts later is the cloud over the area."""

    def __post_init__(self) -> None:
        """Refuse operators that do not exist, and values that they cannot compare."""
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
        """Return whether a value is of this kind; a bool is no number, and NaN is none."""
        if isinstance(value, bool):
            return bool in self.types
        return isinstance(value, self.types) and value == value  # noqa: PLR0124 NaN is not itself


def _expected(name: str, operator: str) -> _Kind:
    """Name the values that an operator can compare with a property."""
    if operator == "startsWith":
        return _Kind("text", (str,))
    if name in NUMBERS:
        return _Kind("a number without quotes", (int, float))
    if operator in {"lt", "lte", "gt", "gte"}:
        return _Kind("a number or text", (int, float, str))
    return _Kind("a number, text, true or false", (int, float, str, bool))
