"""STAC items kept in files, read without a server.

Covers: a folder of JSON, one item or ItemCollection, NDJSON, stac-geoparquet.
Does not cover: which of them match a search (`find.py`); where their assets are (`addresses.py`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe.errors import CatalogError
from lspipe.machine.copies import readable
from lspipe.machine.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".json", ".geojson", ".ndjson", ".jsonl", ".parquet", ".geoparquet")
"""Endings of files that may hold items."""


def read_items(path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yield the items of a file, or of every file under a folder in order of name.

    In a folder, JSON that holds no items (collections, areas, reports) is passed over, and so is
    what operating systems and editors leave (names that begin with a dot, `__MACOSX`). Linked
    folders are followed, each folder once. A file that is empty or broken is an error, and a single
    file must hold some item.

    Args:
        path: file or folder, there or not; also of an object store.

    Yields:
        Item dicts, with asset addresses as they are written, each with the file that holds it.

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
            yield item, file
    if not found:
        raise CatalogError(
            f"{path}: no STAC item in {len(files)} files; expected items as JSON, an "
            "ItemCollection, NDJSON or stac-geoparquet"
        )


def _files(folder: Path) -> list[Path]:
    """Return the files that may hold items, each folder once however it is linked."""
    if is_remote(folder):
        return sorted(file for file in folder.rglob("*") if _may_hold_items(file, folder))
    found, seen = list[Path](), set[str]()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_side_file(name))
        files = (Path(place, name) for name in names if not _is_side_file(name))
        found += [file for file in files if file.suffix.lower() in SUFFIXES]
    return sorted(found)


def _may_hold_items(file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    return file.suffix.lower() in SUFFIXES and not any(map(_is_side_file, parts))


def _is_side_file(name: str) -> bool:
    """Return whether a file or folder is one that people do not make."""
    return name.startswith(".") or name == "__MACOSX"


def _read_file(file: Path) -> Iterator[dict[str, Any]]:
    """Yield what looks like an item in one file."""
    suffix = file.suffix.lower()
    try:
        if suffix.endswith("parquet"):
            yield from _read_table(file)
        elif suffix in {".ndjson", ".jsonl"}:
            yield from _read_lines(file)
        else:
            yield from _items_in(json.loads(_text(file)))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CatalogError(f"{file}: cannot be read as STAC items: {reason}") from error


def _text(file: Path) -> str:
    """Return the text of a file of JSON, whichever Unicode it is in, without its mark."""
    content = file.read_bytes()
    text = content.decode(json.detect_encoding(content)).removeprefix("\ufeff")
    if not text.strip():
        raise ValueError("the file is empty")
    return text


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the items of a file with one on each line."""
    # Only a line feed ends a line: text may hold what else Unicode calls a separator.
    for number, line in enumerate(_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        yield from _items_in(content)


def _items_in(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the items in parsed JSON: itself, the features of a collection, or a list of them."""
    if isinstance(content, list):
        for feature in content:
            yield from _items_in(feature)
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

    table = pq.read_table(readable(file))
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
