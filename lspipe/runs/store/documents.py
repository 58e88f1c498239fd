"""Read, write and compare the JSON files of a run directory, and clear the directory."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from lspipe.errors import StoreError
from lspipe.runs.store.layers import CHANGE, DETECTIONS, EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


LAYERS = "layers"
"""Folder of the pictures that `lspipe export` writes into a run directory."""


def write_json(path: Path, content: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """Write JSON atomically: a reader sees the old file or the new one, never half a file.

    Args:
        path: of the file.
        content: plain values; others as text.
        indent: None = one line, which is written many times faster (10 000 items: 0.5 s, not 9 s).
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False, default=str)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read one of the run's JSON files.

    Raises:
        StoreError: the file is absent or is not JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"{path}: not found; is {path.parent} a run directory?") from error
    except ValueError as error:
        raise StoreError(f"{path}: not JSON ({error}); start over with fresh=True") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path}: found a {type(content).__name__}, expected a JSON object")
    return content


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """List the differences of two JSON values, as `key.path: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines: list[str] = []
        for key in sorted(set(old) | set(new), key=str):
            where = f"{path}.{key}" if path else str(key)
            lines += differences(old.get(key, "absent"), new.get(key, "absent"), where)
        return lines
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


MARKERS = ("run.json", "items.json", DETECTIONS)
"""Files that only a run directory has."""

_FILES = (
    "run.json",
    "items.json",
    "log.jsonl",
    "run.json.partial",
    "items.json.partial",
    "inventory.parquet",
    "inventory.gpkg",
    "inventory.geojson",
    "unobserved.parquet",
    "reviews.parquet.partial",
    ".lists.json.partial",
    # After the lists: a list without this record looks edited.
    ".lists.json",
)
_KEPT = ("reviews.parquet", "inventory.edited-*")
"""Files with the work of a person; never removed."""

_PARTIALS = (".inventory.*.partial.*", "inventory.next.*", ".unobserved.*.partial.*")


def check_directory(run: Path) -> None:
    """Refuse a folder that holds other files and no run.

    Raises:
        StoreError: names one of these files.
    """
    if not run.exists() or any((run / name).exists() for name in MARKERS):
        return
    ours = {*_FILES, DETECTIONS, EVIDENCE, CHANGE, ".lock"}
    others = sorted(
        path.name
        for path in run.iterdir()
        if path.name not in ours and not any(map(path.match, _KEPT))
    )
    if others:
        raise StoreError(
            f"{run}: holds {others[0]} and no run.json, so it is not a run directory; "
            "choose an empty or new output folder"
        )


def clear(run: Path) -> None:
    """Remove the files that lspipe wrote into a run directory; the caller holds the lock.

    Decisions of a person (`reviews.parquet`) and copies of edited lists are kept.

    Raises:
        StoreError: the folder is not a run directory.
        OSError: a store cannot be removed.
    """
    check_directory(run)
    # run.json first: if this is interrupted, the rest is not treated as a run.
    for name in _FILES:
        (run / name).unlink(missing_ok=True)
    for pattern in _PARTIALS:
        for path in run.glob(pattern):
            path.unlink()
    for name in (DETECTIONS, EVIDENCE, CHANGE):
        if (run / name).exists():
            shutil.rmtree(run / name)
    for role in ("before", "after"):  # pictures of the run that was
        for path in (run / LAYERS).glob(f"*_{role}.tif"):
            path.unlink()


def peek_json(path: Path) -> dict[str, Any] | None:
    """Read one of the run's JSON files; None if there is none.

    Raises:
        StoreError: it is not JSON.
    """
    return read_json(path) if path.exists() else None
