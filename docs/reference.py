"""The tables of generated pages, from the code: keys of a workflow, columns of a list, evidence.

    .venv/bin/python docs/reference.py

Replaces what stands between two marks in a page, and leaves the rest as it was written. Reads the
schema that `lspipe schema` prints, `lspipe.schema.columns`, and the scorecards of the shipped
models. A test compares the pages with them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import docs.evidence
from lspipe.schema import columns
from lspipe.workflow import json_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FOLDER = Path(__file__).parent

MARKS = "<!-- {name}: written by docs/reference.py; do not edit -->", "<!-- end of {name} -->"

WORDS = {
    "integer": "whole number", "number": "number", "string": "text", "boolean": "true or false",
    "object": "keys and values",
}  # fmt: skip

EXAMPLES = ("package.module:name", "my-valley", "roads", "18GYS", "4GiB", "04:00:00")
"""A pattern is shown as the first of these that it takes; regular expressions are hard to read."""

TOLD = {"title", "description", "default"}
"""Keywords that other columns show."""


def workflow_tables() -> dict[str, Iterable[str]]:
    """Return the tables of the keys of a workflow."""
    return {"keys": sections(json_schema())}


def list_tables() -> dict[str, Iterable[str]]:
    """Return the tables of what a list holds."""
    return {
        "statuses": _words("status", columns.STATUSES),
        "columns": _columns(columns.COLUMNS),
        "unobserved": _columns(columns.UNOBSERVED),
        "unobserved by radar": _columns(columns.UNOBSERVED_BY_RADAR),
        "radar cells": _columns(columns.RADAR_CELLS),
        "reasons": _words("reason", columns.REASONS),
    }


PAGES = {
    "workflow.md": workflow_tables,
    "inventory.md": list_tables,
    "evidence.md": docs.evidence.tables,
}
"""What makes the tables of each page."""


def text_of(name: str) -> str:
    """Return the text that a reference page should have."""
    return page((FOLDER / name).read_text("utf-8"), PAGES[name]())


def page(text: str, tables: Mapping[str, Iterable[str]]) -> str:
    """Return the text of a page with lines between the marks of each name."""
    for name, lines in tables.items():
        start, end = (mark.format(name=name) for mark in MARKS)
        whole = "\n".join([start, "", *lines, end])
        text, count = re.subn(
            f"{re.escape(start)}.*?{re.escape(end)}", lambda _, new=whole: new, text, flags=re.S
        )
        if count != 1:
            raise ValueError(f"found the marks of {name} {count} times: expected once")
    return text


def _columns(told: Mapping[str, columns.Column]) -> Iterator[str]:
    yield from ("| column | unit | what it is |", "|---|---|---|")
    yield from (f"| `{name}` | {column.unit} | {column.meaning} |" for name, column in told.items())
    yield ""


def _words(title: str, told: Mapping[str, str]) -> Iterator[str]:
    yield from (f"| `{title}` | what it says |", "|---|---|")
    yield from (f"| `{name}` | {meaning} |" for name, meaning in told.items())
    yield ""


def sections(schema: dict[str, Any]) -> Iterator[str]:
    """Yield lines: the keys of the file itself, then those of each section."""
    specs = schema["$defs"]
    top = schema["properties"]
    plain = {name: key for name, key in top.items() if _spec(key, specs) is None}
    yield from ("### At the top of the file", "")
    yield from _table(plain, schema.get("required", []), specs)
    for name, key in top.items():
        spec = _spec(key, specs)
        if spec is None:
            continue
        yield from (f"### `{name}`", "", _prose(spec["description"]), "")
        if name in schema["required"]:
            yield from ("This section is required.", "")
        yield from _table(dict(_keys(spec, specs)), list(_required(spec, specs)), specs)


def _spec(key: dict[str, Any], specs: dict[str, Any]) -> dict[str, Any] | None:
    """Return the section that a key holds; None where it holds a value."""
    choices = key.get("anyOf") or key.get("allOf") or [key]
    for choice in choices:
        name = str(choice.get("$ref", "")).rpartition("/")[2]
        if name and "properties" in specs[name]:
            found: dict[str, Any] = specs[name]
            return found
    return None


def _keys(
    spec: dict[str, Any], specs: dict[str, Any], parent: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the keys of a section, and those of a section inside of it as `section.key`."""
    for name, key in spec["properties"].items():
        yield f"{parent}{name}", key
        inner = _spec(key, specs)
        if inner is not None:
            yield from _keys(inner, specs, f"{parent}{name}.")
        each = _spec(key.get("items", {}), specs)
        if each is not None:
            yield from _keys(each, specs, f"{parent}{name}[].")


def _required(spec: dict[str, Any], specs: dict[str, Any], parent: str = "") -> Iterator[str]:
    for name in spec.get("required", []):
        yield f"{parent}{name}"
    for name, key in spec["properties"].items():
        for one, mark in ((key, ""), (key.get("items", {}), "[]")):
            inner = _spec(one, specs)
            if inner is not None:
                yield from _required(inner, specs, f"{parent}{name}{mark}.")


def _table(
    keys: dict[str, dict[str, Any]], required: list[str], specs: dict[str, Any]
) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for name, key in keys.items():
        inner = _spec(key, specs)
        told = key.get("description") or (inner or {}).get("description", "")
        value = kind(key, specs) if inner is None else "keys of its own, below"
        default = _needed(name) if name in required else _default(key) if inner is None else ""
        cells = [f"`{name}`", value, default, _prose(told)]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _needed(name: str) -> str:
    section = name.rpartition(".")[0]
    return f"required in `{section}`" if section else "**required**"


def _prose(text: str) -> str:
    return " ".join(text.split())


def _default(key: dict[str, Any]) -> str:
    value = key.get("default")
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value).replace('"', "")
    return f"`{text}`"


def kind(key: dict[str, Any], specs: dict[str, Any]) -> str:
    """Say in words what a key takes: its type, choices and bounds.

    Raises:
        ValueError: the schema says something that this function has no words for.
    """
    if "$ref" in key:
        return kind(specs[key["$ref"].rpartition("/")[2]], specs)
    told = dict(key)
    parts = [kind(one, specs) for one in told.pop("anyOf", []) if one.get("type") != "null"]
    name = told.pop("type", None)
    if name == "object":
        parts.append(_object(told))
    elif "enum" in told:
        parts.append(", ".join(f"`{value}`" for value in told.pop("enum")))
    elif "const" in told:
        parts.append(f"`{told.pop('const')}`")
    elif name == "array":
        parts.append(_array(told, specs))
    elif name == "string" and "format" in told:
        parts.append({"date": "day, such as 2024-07-30"}[told.pop("format")])
    elif name is not None:
        parts.append(WORDS[name])
    text = ", or ".join(parts) + _bounds(told)
    if unknown := set(told) - TOLD:
        raise ValueError(f"the schema says {', '.join(sorted(unknown))} of {key}: give it words")
    return text


def _object(told: dict[str, Any]) -> str:
    """Say what free keys hold."""
    values = told.pop("additionalProperties", True)
    told.pop("propertyNames", None)
    told.pop("required", None)
    named = told.pop("properties", None)
    if named:
        return f"keys {', '.join(f'`{name}`' for name in named)}"
    known = values.get("properties") if isinstance(values, dict) else None
    if not known:
        return WORDS["object"]
    return f"keys, each with one or more of {', '.join(f'`{name}`' for name in known)}"


def _array(told: dict[str, Any], specs: dict[str, Any]) -> str:
    """Say what a list holds."""
    least, most = told.pop("minItems", None), told.pop("maxItems", None)
    if "prefixItems" in told:
        each = "; ".join(kind(one, specs) for one in told.pop("prefixItems"))
        return f"list of {least}: {each}"
    what = kind(told.pop("items", {}), specs)
    unique = ", each once" if told.pop("uniqueItems", False) else ""
    count = "" if least is None else f", at least {least}"
    count += "" if most is None else f", at most {most}"
    return f"list of {what}{count}{unique}"


def _bounds(told: dict[str, Any]) -> str:
    """Say what numbers and texts are limited to."""
    words = {
        "minimum": "{} or more", "exclusiveMinimum": "more than {}", "maximum": "at most {}",
        "exclusiveMaximum": "less than {}", "multipleOf": "multiples of {}",
        "maxLength": "at most {} letters",
    }  # fmt: skip
    # An empty text is never meant.
    told.pop("minLength", None)
    if "pattern" in told:
        pattern = told.pop("pattern")
        fits = (text for text in EXAMPLES if re.fullmatch(pattern, text))
        return f" such as `{next(fits, pattern)}`"
    if {"minimum", "maximum"} <= set(told):
        return f", {told.pop('minimum')} to {told.pop('maximum')}"
    said = [text.format(told.pop(word)) for word, text in words.items() if word in told]
    return f", {', '.join(said)}" if said else ""


def main() -> None:
    """Write the pages anew."""
    for name in PAGES:
        (FOLDER / name).write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    main()
