"""Fields of STAC extensions that lspipe writes: what each may hold, as JSON Schemas of our own.

The schemas that the extensions publish are on the network only. These say the same of fewer fields:
projection 2.0, raster 2.0, file 2.1, processing 1.2, classification 2.0, grid 1.1
(https://github.com/stac-extensions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBER = {"type": "number"}
SIZE = {"type": "integer", "minimum": 0}
CLASS = {
    "type": "object",
    "required": ["value", "name"],
    "properties": {
        "value": {"type": "integer"},
        "name": {"type": "string", "pattern": "^[0-9A-Za-z_-]+$"},
        "description": {"type": "string"},
        "color_hint": {"type": "string", "pattern": "^[0-9A-F]{6}$"},
        "nodata": {"type": "boolean"},
    },
    "additionalProperties": False,
}


def _list(items: dict[str, Any], least: int, most: int | None = None) -> dict[str, Any]:
    ends = {"minItems": least} | ({} if most is None else {"maxItems": most})
    return {"type": "array", "items": items, **ends}


FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    "projection": {
        "proj:code": {"type": "string", "pattern": "^EPSG:[0-9]{4,5}$"},
        "proj:shape": _list(SIZE, 2, 2),
        "proj:transform": {"anyOf": [_list(NUMBER, 6, 6), _list(NUMBER, 9, 9)]},
        "proj:bbox": _list(NUMBER, 4, 4),
    },
    "raster": {"raster:scale": NUMBER},
    "file": {
        "file:size": SIZE,
        # A multihash of sha256: its code, 32 bytes, and these.
        "file:checksum": {"type": "string", "pattern": "^1220[0-9a-f]{64}$"},
    },
    "processing": {
        "processing:level": {"type": "string", "pattern": "^L[0-9]"},
        "processing:lineage": {"type": "string", "minLength": 1},
        "processing:software": {
            "type": "object", "minProperties": 1, "additionalProperties": {"type": "string"},
        },
    },
    "classification": {"classification:classes": _list(CLASS, 1) | {"uniqueItems": True}},
    "grid": {"grid:code": {"type": "string", "pattern": "^MGRS-[0-9]{2}[C-X][A-Z]{2}$"}},
}  # fmt: skip
"""Per extension, the fields that lspipe writes."""


def check(document: dict[str, Any]) -> set[str]:
    """Return the fields of extensions in an Item or a Collection; raise where one is wrong.

    Each must be of an extension that the document names, and each that it names must be used.
    """
    named = {address.split("/")[3] for address in document["stac_extensions"]}
    known = {field: schema for name in named for field, schema in FIELDS[name].items()}
    found = set()
    for holder in _holders(document):
        for field, value in holder.items():
            if ":" in field:
                assert field in known, f"{field} is of no extension in {sorted(named)}"
                jsonschema.validate(value, known[field])
                found.add(field)
    unused = {name for name in named if not found & FIELDS[name].keys()}
    assert not unused, f"named and not used: {sorted(unused)}"
    return found


def _holders(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what may hold fields of extensions."""
    yield document.get("properties", {})
    yield from document.get("links", [])
    for asset in document["assets"].values():
        yield asset
        yield from asset.get("bands", [])
