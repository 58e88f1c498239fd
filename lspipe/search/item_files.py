"""STAC items kept in files, read without a server.

Covers: a folder of JSON, one item or ItemCollection, NDJSON, stac-geoparquet.
Does not cover: which of them match a search (`find.py`).
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lspipe.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".json", ".geojson", ".ndjson", ".jsonl", ".parquet", ".geoparquet")
"""Endings of files that may hold items."""


def read_items(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the items of a file, or of every file under a folder in order of name.

    In a folder, JSON that holds no items (collections, areas, reports) is passed over; a single
    file must hold some.

    Args:
        path: file or folder, there or not.

    Yields:
        Item dicts; relative asset addresses have become absolute against the item's file.

    Raises:
        CatalogError: nothing there, unreadable, or no item in it.
    """
    if not path.exists():
        raise CatalogError(f"{path}: no such file or folder; expected STAC items")
    files = [path] if path.is_file() else _files(path)
    found = False
    for file in files:
        for item in _read_file(file):
            found = True
            yield with_absolute_hrefs(item, file.parent)
    if not found:
        raise CatalogError(
            f"{path}: no STAC item in {len(files)} files; expected items as JSON, an "
            "ItemCollection, NDJSON or stac-geoparquet"
        )


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _read_file(file: Path) -> Iterator[dict[str, Any]]:
    """Yield what looks like an item in one file."""
    suffix = file.suffix.lower()
    try:
        if suffix.endswith("parquet"):
            yield from _read_table(file)
        elif suffix in {".ndjson", ".jsonl"}:
            for line in file.read_text(encoding="utf-8").splitlines():
                yield from _items_in(json.loads(line) if line.strip() else None)
        else:
            yield from _items_in(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CatalogError(f"{file}: cannot be read as STAC items: {reason}") from error


def _items_in(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the items in parsed JSON: itself, or the features of a collection of them."""
    if not isinstance(content, dict):
        return
    if content.get("type") == "FeatureCollection":
        for feature in content.get("features") or ():
            yield from _items_in(feature)
    elif content.get("type") == "Feature" and "stac_version" in content and "assets" in content:
        yield content


def _read_table(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the items of a stac-geoparquet table; other tables hold none."""
    import pyarrow.parquet as pq
    from stac_geoparquet.arrow import stac_table_to_items

    table = pq.read_table(file)
    if not {"id", "assets", "geometry"} <= set(table.column_names):
        return
    for item in stac_table_to_items(table):
        item["assets"] = {
            # A table has one column per asset of any item; what an item lacks is null in it.
            key: {name: value for name, value in asset.items() if value is not None}
            for key, asset in item["assets"].items()
            if asset is not None
        }
        yield item


def with_absolute_hrefs(item: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return an item whose relative asset addresses start from a folder, in a shallow copy."""
    return {
        **item,
        "assets": {
            key: {**asset, "href": absolute(str(asset["href"]), folder)}
            for key, asset in item["assets"].items()
        },
    }


def absolute(href: str, folder: Path) -> str:
    """Return an address that does not depend on the working directory.

    URLs (`https:`, `s3:`), GDAL's own (`/vsicurl/...`) and absolute paths stay as they are.
    """
    if ":/" in href or PurePosixPath(href).is_absolute():
        return href
    return str((folder / href).resolve())
