"""One object of a JSON document, whose errors name the file and the key path.

Small on purpose: `detect` on arrays needs only NumPy, xarray and torch, so a model item is read
without a validation library.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from lspipe.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

REQUIRED: Any = object()


@dataclass(frozen=True)
class Section:
    """An object of the JSON, with the file and key path that its errors name."""

    file: Path
    path: str
    values: Mapping[str, Any]

    def error(self, key: str, message: str) -> ModelError:
        """The error to raise about a key."""
        where = ".".join(part for part in (self.path, key) if part)
        return ModelError(f"{self.file}: {where}: {message}")

    def get(self, key: str, kinds: type | tuple[type, ...], expected: str, default: Any) -> Any:
        """A value of one of the types; true and false are no numbers here."""
        if key not in self.values:
            if default is REQUIRED:
                raise self.error(key, f"missing: expected {expected}")
            return default
        value = self.values[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise self.error(key, f"found {short(value)}: expected {expected}")
        return value

    def section(self, key: str) -> Section:
        """The object under a key."""
        values = self.get(key, dict, "an object", REQUIRED)
        return Section(self.file, ".".join(part for part in (self.path, key) if part), values)

    def only(self, key: str, what: str) -> Section:
        """The one object of a list."""
        values = self.get(key, list, f"a list with {what}", REQUIRED)
        if len(values) != 1 or not isinstance(values[0], dict):
            raise self.error(key, f"found {len(values)} entries: expected one object, {what}")
        return Section(self.file, f"{self.path}.{key}[0]", values[0])

    def text(self, key: str, expected: str, default: Any = REQUIRED) -> str:
        """The text under a key."""
        value: str = self.get(key, str, expected, default)
        return value

    def number(self, key: str, low: float, high: float, default: Any) -> Any:
        """The number under a key, low and high included, or the default."""
        expected = f"a number from {low} to {high}"
        value = self.get(key, (int, float), expected, default)
        if value is not default and not low <= value <= high:
            raise self.error(key, f"found {value}: expected {expected}")
        return value

    def choice(self, key: str, literal: Any) -> Any:
        """One of the choices of a `Literal`, or None where the key is absent."""
        choices = get_args(literal)
        value = self.get(key, str, f"one of {', '.join(choices)}", None)
        if value is not None and value not in choices:
            raise self.error(key, f"found {value!r}: expected one of {', '.join(choices)}")
        return value

    def per_band(self, key: str, bands: int, default: Any = REQUIRED) -> tuple[float, ...]:
        """One number per band; a single number stands for every band."""
        value = self.get(key, (int, float, list), f"a number, or {bands} numbers", default)
        numbers = value if isinstance(value, list) else [value] * bands
        if len(numbers) != bands or not all(map(is_finite, numbers)):
            raise self.error(key, f"found {short(value)}: expected {bands} finite numbers")
        return tuple(float(number) for number in numbers)


def is_finite(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """The nearest known name as " (did you mean ...?)", or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def short(value: Any) -> str:
    """A value as an error message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
