"""A value and an annotation -> whether it fits, and in words what is expected; no pydantic."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    SupportsIndex,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from lspipe.spec.rules import Named, listed


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Base of what a person writes: unknown keys and values out of bounds are refused."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
        "allow_inf_nan": False,
    }

    def __post_init__(self) -> None:
        check(self)


def check(spec: Any) -> None:
    """Refuse values of a dataclass that do not fit its annotations.

    Raises:
        ValueError: names the field, what was found and what was expected.
    """
    for name, kind in kinds(spec.__class__).items():
        misfit = _misfit(getattr(spec, name), kind, name)
        if misfit is not None:
            raise ValueError(misfit)


@cache
def kinds(spec: Hashable) -> Mapping[str, Any]:
    """Return the annotations of a spec's keys, with their rules; empty for what is no spec."""
    if is_dataclass(spec):
        hints = get_type_hints(spec, include_extras=True)
        return {field.name: hints[field.name] for field in fields(spec)}
    names = getattr(spec, "model_fields", {})
    return {name: get_type_hints(spec, include_extras=True)[name] for name in names}


def _misfit(value: Any, kind: Any, where: str) -> str | None:
    """Return what is wrong with a value, or with the first wrong one of a list."""
    if fits(value, kind):
        return None
    if isinstance(value, tuple | list):
        for number, part in enumerate(value):
            part_kind = inner(kind, number)
            found = None if part_kind is None else _misfit(part, part_kind, f"{where}.{number}")
            if found:
                return found
    return f"{where}: {refusal(value, kind)}"


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type, and obeys the rules of its annotation."""
    origin = get_origin(kind) or kind
    if origin in _FITS:
        return _FITS[origin](value, get_args(kind))
    return isinstance(value, origin)


def refusal(value: Any, kind: Any) -> str:
    """Return what was found and what was expected."""
    is_endless = isinstance(value, float) and not math.isfinite(value)
    expected = f"a finite value: {words(kind)}" if is_endless else words(kind)
    near = difflib.get_close_matches(str(value), _names(kind), n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else _number_hint(value, kind)
    return f"found {_shown(value)}{hint}, expected {expected}"


def _number_hint(value: Any, kind: Any) -> str:
    """Say how a number is written, where one was meant: without quotes, a share and no percent."""
    if not isinstance(value, str):
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        is_percent = is_number and 1 < value <= 100 and fits(value / 100, kind)
        return f" ({value / 100:g} is {value:g} %)" if is_percent else ""
    try:
        number = float(value.strip().removesuffix("%"))
    except ValueError:
        return ""
    if value.strip().endswith("%"):
        return f" ({number / 100:g} is {number:g} %)" if fits(number / 100, kind) else ""
    is_fit = fits(number, kind) or (number.is_integer() and fits(int(number), kind))
    return " (without quotes it is a number)" if is_fit else ""


def words(kind: Any) -> str:
    """Return what an annotation allows, in words."""
    origin = get_origin(kind) or kind
    if origin in _WORDS:
        return _WORDS[origin](get_args(kind))
    return f"keys and values ({', '.join(kinds(origin))})"


def _fits_list(value: Any, arguments: tuple[Any, ...]) -> bool:
    if not isinstance(value, tuple | list):
        return False
    if arguments[-1] is Ellipsis:
        return all(fits(one, arguments[0]) for one in value)
    return len(value) == len(arguments) and all(map(fits, value, arguments))


def _fits_number(value: Any, number: type) -> bool:
    return isinstance(value, number) and not isinstance(value, bool)


def _fits_rules(value: Any, arguments: tuple[Any, ...]) -> bool:
    kind, *rules = arguments
    return fits(value, kind) and all(rule.holds(value) for rule in rules)


def _fits_one(value: Any, arguments: tuple[Any, ...]) -> bool:
    return any(fits(value, kind) for kind in arguments)


_FITS: dict[Any, Callable[[Any, tuple[Any, ...]], bool]] = {
    Annotated: _fits_rules,
    # True equals 1 and is none.
    Literal: lambda value, choices: any(
        value == one and isinstance(value, bool) == isinstance(one, bool) for one in choices
    ),
    Union: _fits_one,
    UnionType: _fits_one,
    tuple: _fits_list,
    # NumPy's numbers are numbers.
    int: lambda value, _: _fits_number(value, SupportsIndex),
    float: lambda value, _: _fits_number(value, Real),
    dict: lambda value, _: isinstance(value, Mapping),
}
"""How a value is compared with an annotation, by its origin; any other is a class."""


def _rules_in_words(arguments: tuple[Any, ...]) -> str:
    text = words(arguments[0])
    for rule in arguments[1:]:
        text = rule.words(text)
    return text


def _list_in_words(arguments: tuple[Any, ...]) -> str:
    if arguments[-1] is Ellipsis:
        return f"a list, each {words(arguments[0])}"
    return f"a list of {len(arguments)}: {'; '.join(map(words, arguments))}"


def _one_in_words(arguments: tuple[Any, ...]) -> str:
    return ", or ".join(words(kind) for kind in arguments if kind is not NoneType)


_WORDS: dict[Any, Callable[[tuple[Any, ...]], str]] = {
    Annotated: _rules_in_words,
    Literal: lambda choices: listed([str(choice) for choice in choices]),
    Union: _one_in_words,
    UnionType: _one_in_words,
    tuple: _list_in_words,
    int: lambda _: "a whole number",
    float: lambda _: "a number",
    str: lambda _: "text",
    date: lambda _: "a day such as 2018-01-31",
    dict: lambda _: "keys and values",
}
"""What an annotation allows, in words, by its origin; any other is a spec."""


def _names(kind: Any) -> list[str]:
    """Return the names that a value may be, whether or not it may be others too."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    if get_origin(kind) is tuple:
        return []
    known = [name for rule in get_args(kind) if isinstance(rule, Named) for name in rule.known]
    return known + [name for one in get_args(kind) for name in _names(one)]


def _shown(value: Any) -> str:
    """Return a value as it stands in a file; a long one is cut."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def inner(kind: Any, key: Any) -> Any:
    """Return the annotation of a key, or of a place in a list; None where there is none."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return inner(arguments[0], key)
    if origin in (Union, UnionType):
        return next((i for one in arguments if (i := inner(one, key)) is not None), None)
    if origin is tuple and isinstance(key, int):
        if arguments[-1] is Ellipsis:
            return arguments[0]
        return arguments[key] if key < len(arguments) else None
    return kinds(origin).get(key)
