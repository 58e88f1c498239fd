"""Plain values, as YAML and JSON have them -> a spec; a spec -> its JSON Schema."""

from __future__ import annotations

import difflib
import json
from typing import Any, TypeVar, get_args

from lspipe.spec.values import inner, kinds, refusal

T = TypeVar("T")


class SpecError(ValueError):
    """What was written does not fit a spec; the message starts with the key path."""


def read(kind: type[T], content: Any) -> T:
    """Turn plain values, as YAML and JSON have them, into a spec.

    What the JSON Schema refuses is refused: a number in quotes is no number, and true is not 1.

    Args:
        kind: a `Spec`, or a pydantic model of several.
        content: keys and values.

    Raises:
        SpecError: a key is missing or unknown, or a value does not fit; names the key, what was
            expected, and which keys are wrong besides.

    Examples:
        >>> from lspipe.clusters import ClusterSpec
        >>> from lspipe.spec import read
        >>> read(ClusterSpec, {"workers": 2}).workers
        2
        >>> read(ClusterSpec, {"wrokers": 2})
        Traceback (most recent call last):
        lspipe.spec.files.SpecError: wrokers: unknown key (did you mean 'workers'?)
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
        found = inner(parents[-1], part)
        if found is not None:  # else the name that pydantic has for one of several types
            path.append(part)
            parents.append(found)
    if problem["type"] in _UNKNOWN:
        return _dotted([*path, problem["loc"][-1]]), _unknown(problem["loc"][-1], parents)
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


def _known(kind: Any) -> list[str]:
    """Return the keys of a section."""
    return [name for one in (kind, *get_args(kind)) if isinstance(one, type) for name in kinds(one)]


def _unknown(key: Any, parents: list[Any]) -> str:
    kind = parents[-1]
    known = _known(kind)
    elsewhere = [name for name in _known(parents[0]) if key in _known(inner(parents[0], name))]
    if kind is not parents[0] and key in _known(parents[0]):
        return "not a key of this section; it stands at the left margin"
    if elsewhere:
        return f"not a key of this section; it belongs to {' or '.join(elsewhere)}"
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key ({hint})"
