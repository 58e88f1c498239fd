"""Conditions on item properties -> whether an item meets them.

Archives write numbers as text ("12.4") and lack what they do not know; what cannot be compared is
refused by name, as an item that is left out for its spelling would be missed by nobody.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lspipe.errors import CatalogError
from lspipe.search.spec import NUMBERS, OPERATORS

if TYPE_CHECKING:
    import pystac

    from lspipe.search.spec import SearchSpec

_ORDERS = {"lt", "lte", "gt", "gte"}


def meets(item: pystac.Item, spec: SearchSpec) -> bool:
    """Return whether an item meets every condition of a search.

    A property that is missing meets none (but `neq`), as on a server; text that holds a number is
    that number where a number is expected.

    Raises:
        CatalogError: a property cannot be compared; names the item and the property.
    """
    return all(
        _holds(item, name, operator, wanted)
        for name, conditions in spec.query.items()
        for operator, wanted in conditions.items()
    )


def is_missing(found: Any) -> bool:
    """Return whether a property says nothing: absent, null or NaN."""
    return found is None or (isinstance(found, float) and math.isnan(found))


def _holds(item: pystac.Item, name: str, operator: str, wanted: Any) -> bool:
    found = item.properties.get(name)
    if is_missing(found):
        return operator == "neq"
    if operator == "startsWith":
        return bool(OPERATORS[operator](found, wanted))
    if name in NUMBERS or _is_number(_first(wanted)):
        found = _as_number(found)
    if name in NUMBERS and not _is_number(found):
        raise _refusal(item, name, "a number, or null where it is not known")
    if operator in _ORDERS and _is_number(found) is not _is_number(wanted):
        kind = "a number" if _is_number(wanted) else "text"
        raise _refusal(item, name, f"{kind}, to be compared with {wanted!r}")
    try:
        return bool(OPERATORS[operator](found, wanted))
    except TypeError as error:
        raise _refusal(item, name, f"what can be compared with {wanted!r}") from error


def _refusal(item: pystac.Item, name: str, expected: str) -> CatalogError:
    found = item.properties.get(name)
    return CatalogError(
        f"{item.id}: {name}: found {found!r}, expected {expected}; mend the item, or leave the "
        "condition out of search.query"
    )


def _first(wanted: Any) -> Any:
    return wanted[0] if isinstance(wanted, list) else wanted


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(found: Any) -> Any:
    """Return the number that a text holds; anything else as it is."""
    if not isinstance(found, str):
        return found
    try:
        number = float(found)
    except ValueError:
        return found
    return number if math.isfinite(number) else found
