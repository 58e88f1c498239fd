"""Rules that stand in annotations: ends of numbers, names, lengths of lists.

A rule says three things: whether a value obeys it, what is expected in words, and its JSON Schema.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PLUGIN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
"""A thing of the person's own, "package.module:thing", as `plugins.resolve` takes it."""


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
        low = f"above {self.gt:g}" if self.gt is not None else _plain(self.ge)
        high = f"below {self.lt:g}" if self.lt is not None else _plain(self.le)
        ends = f"{low} to {high}" if low and high else low or high
        if self.ge is not None and not high:
            ends = f"{low} or more"
        if self.le is not None and not low:
            ends = f"{high} or less"
        return f"{self.noun or kind}, {ends}"

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
        return listed([*self.known, self.other or kind])

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


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:g}"


def listed(names: list[str]) -> str:
    """Return names as a sentence has them: "a, b or c"."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
