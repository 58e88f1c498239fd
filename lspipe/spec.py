"""What a person may write: frozen specs, whose annotations hold their bounds and choices.

Each bound is written once and used three times: a call from Python is checked without pydantic
(`detect` needs only NumPy, xarray and torch), a file is read by pydantic and refused in the same
words, and an editor gets the bounds as JSON Schema.

See also: `models/section.py`, which reads model items, for `detect` too, without pydantic.
"""

from __future__ import annotations

import difflib
import json
import math
import re
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
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)  # fmt: skip

T = TypeVar("T")

PLUGIN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
"""A thing of the person's own, "package.module:thing", as `plugins.resolve` takes it."""


class SpecError(ValueError):
    """What was written does not fit a spec; the message starts with the key path."""


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


# --- rules --------------------------------------------------------------------------------------


class Rule:
    """What a value must be besides its type; stands in `Annotated[type, rule]`."""

    def holds(self, value: Any) -> bool:
        """Return whether a value of the type is allowed."""
        raise NotImplementedError

    def words(self, kind: str) -> str:
        """Return what is expected, in words, given the words for the type."""
        raise NotImplementedError

    def keywords(self, kind: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON Schema, given that of the type."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return self.keywords(handler(schema))

    def _checked(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError("out of bounds")  # the words come from `refusal`, which knows the key
        return value


@dataclass(frozen=True, kw_only=True)
class Bounds(Rule):
    """Lowest and highest value of a number; NaN and infinity are within no bounds."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    noun: str = ""
    """What the number is, for messages; empty = "a number", or "a whole number"."""

    def holds(self, value: Any) -> bool:
        """Return whether a number is within."""
        return bool(
            -math.inf < value < math.inf
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def words(self, kind: str) -> str:
        """Return such as "a probability, 0 to 1"."""
        low = f"{self.ge:g}" if self.gt is None else f"above {self.gt:g}"
        if self.le is not None:
            low = f"{low} to {self.le:g}"
        elif self.lt is not None:
            low = f"{low} to below {self.lt:g}"
        elif self.gt is None:
            low = f"{low} or more"
        return f"{self.noun or kind}, {low}"

    def keywords(self, kind: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of a number with its bounds."""
        names = {"minimum": self.ge, "exclusiveMinimum": self.gt,
                 "maximum": self.le, "exclusiveMaximum": self.lt}  # fmt: skip
        return kind | {name: bound for name, bound in names.items() if bound is not None}


@dataclass(frozen=True)
class Named(Rule):
    """One of the known names, or a text of one's own: a path, or "package.module:thing"."""

    known: tuple[str, ...] = ()
    other: str = ""
    """What the text of one's own is, in words."""
    pattern: str | None = None
    """Regular expression of that text (the same in Python and in ECMAScript); None = any text."""

    def holds(self, value: Any) -> bool:
        """Return whether a text is a known name, or one that may be of one's own."""
        is_other = bool(value) if self.pattern is None else re.fullmatch(self.pattern, value)
        return value in self.known or bool(is_other)

    def words(self, kind: str) -> str:
        """Return the names, and what else is possible."""
        return _listed([*self.known, self.other or kind])

    def keywords(self, kind: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of a choice that is open, whose names an editor completes."""
        other = kind | ({"minLength": 1} if self.pattern is None else {"pattern": self.pattern})
        return {"anyOf": [{"enum": list(self.known)}, other]} if self.known else other


def plugin(known: Mapping[str, str], thing: str) -> Named:
    """Return the rule of a socket: a name of its table, or "package.module:THING"."""
    return Named(tuple(known), f'"package.module:{thing}"', PLUGIN)


@dataclass(frozen=True, kw_only=True)
class Items(Rule):
    """How many values a list has, and whether each stands in it once."""

    least: int = 0
    unique: bool = False

    def holds(self, value: Any) -> bool:
        """Return whether a list has enough values, and none twice."""
        return len(value) >= self.least and (not self.unique or len(set(value)) == len(value))

    def words(self, kind: str) -> str:
        """Return such as "a list, each text, 1 or more of them, none twice"."""
        least = f", {self.least} or more of them" if self.least else ""
        return f"{kind}{least}{', none twice' if self.unique else ''}"

    def keywords(self, kind: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of a list."""
        more = {"minItems": self.least} if self.least else {}
        return kind | more | ({"uniqueItems": True} if self.unique else {})


@dataclass(frozen=True)
class Shown(Rule):
    """What the spec itself checks, with messages of its own: words, and JSON Schema for editors."""

    said: str = ""
    """What is expected, in words; empty = those for the type."""
    schema: tuple[tuple[str, Any], ...] = ()

    def holds(self, value: Any) -> bool:
        """Return True: the spec checks."""
        del value
        return True

    def words(self, kind: str) -> str:
        """Return the words."""
        return self.said or kind

    def keywords(self, kind: dict[str, Any]) -> dict[str, Any]:
        """Return the schema."""
        return kind | dict(self.schema)


Probability = Annotated[float, Bounds(ge=0, le=1, noun="a probability")]
Pixels = Annotated[int, Bounds(ge=1, noun="a whole number of pixels")]
Count = Annotated[int, Bounds(ge=1)]


# --- values against annotations -----------------------------------------------------------------


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
            inner = _inner(kind, number)
            found = None if inner is None else _misfit(part, inner, f"{where}.{number}")
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
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"found {_shown(value)}{hint}, expected {expected}"


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
    Literal: lambda value, choices: value in choices,
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
    Literal: lambda choices: _listed([str(choice) for choice in choices]),
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


def _listed(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _shown(value: Any) -> str:
    """Return a value as it stands in a file; a long one is cut."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _inner(kind: Any, key: Any) -> Any:
    """Return the annotation of a key, or of a place in a list; None where there is none."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _inner(arguments[0], key)
    if origin in (Union, UnionType):
        return next((i for one in arguments if (i := _inner(one, key)) is not None), None)
    if origin is tuple and isinstance(key, int):
        if arguments[-1] is Ellipsis:
            return arguments[0]
        return arguments[key] if key < len(arguments) else None
    return kinds(origin).get(key)


# --- files --------------------------------------------------------------------------------------


def read(kind: type[T], content: Any) -> T:
    """Turn plain values, as YAML and JSON have them, into a spec.

    What the JSON Schema refuses is refused: a number in quotes is no number, and true is not 1.

    Args:
        kind: a `Spec`, or a pydantic model of several.
        content: keys and values.

    Raises:
        SpecError: a key is missing or unknown, or a value does not fit; names the key, what was
            expected, and which keys are wrong besides.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        # As JSON: there a list stands for a tuple and a text for a date, and nothing else is bent.
        text = json.dumps(content, default=str)
    except (TypeError, ValueError) as error:
        raise SpecError(f"not plain keys and values: {error}") from error
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise SpecError(_explain(error.errors(include_url=False), kind)) from error


def schema(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a spec, for editors."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind).json_schema()


_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_MISSING = {"missing", "missing_argument", "missing_keyword_only_argument"}


def _explain(problems: list[Any], kind: Any) -> str:
    """Describe the first problem in a line, and name the other keys that are wrong."""
    # Unknown keys first: a misspelt key that is required is missing too. One wrong value gives a
    # problem for each type that it could have been; the place is what counts.
    found: dict[str, str] = {}
    for problem in sorted(problems, key=lambda problem: problem["type"] not in _UNKNOWN):
        where, what = _place_and_reason(problem, kind)
        found.setdefault(where or "file", what)
    first, *others = found
    more = f"\nalso wrong: {', '.join(sorted(others))}" if others else ""
    return f"{first}: {found[first]}{more}"


def _place_and_reason(problem: Any, kind: Any) -> tuple[str, str]:
    """Return the key path of a problem, and what is wrong there."""
    path: list[Any] = []
    parents = [kind]
    for part in problem["loc"]:
        inner = _inner(parents[-1], part)
        if inner is not None:  # else the name that pydantic has for one of several types
            path.append(part)
            parents.append(inner)
    if problem["type"] in _UNKNOWN:
        return _dotted([*path, problem["loc"][-1]]), _unknown(problem["loc"][-1], parents[-1])
    if problem["type"] in _MISSING and path and isinstance(path[-1], int):
        path.pop()  # a list that is too short: its key is the place, not the number that lacks
        parents.pop()
    elif problem["type"] in _MISSING:
        return _dotted(path), "missing; this key is required"
    if problem["type"] == "value_error" and _is_section(parents[-1]):
        return _dotted(path), str(problem["msg"]).removeprefix("Value error, ")
    return _dotted(path), refusal(problem["input"], parents[-1])


def _dotted(path: list[Any]) -> str:
    return ".".join(map(str, path))


def _is_section(kind: Any) -> bool:
    return any(kinds(one) for one in (kind, *get_args(kind)) if isinstance(one, type))


def _unknown(key: Any, kind: Any) -> str:
    known = [
        name for one in (kind, *get_args(kind)) if isinstance(one, type) for name in kinds(one)
    ]
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key ({hint})"
