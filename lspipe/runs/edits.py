"""List files of a run -> what a person changed in them since the run wrote them.

`.lists.json` beside the lists keeps, of each file, the decisions that it was written with and a
digest of everything else in it: columns, rows, outlines, further layers. So an edit is known by
what a file says, whatever its time: a program that only opens a GeoPackage writes to it as well.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from lspipe import outputs
from lspipe.change.decisions import LOCKED, Decisions, decisions_in, layer_of, read_table
from lspipe.errors import DecisionsError, StoreError, first_few
from lspipe.runs import store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import geopandas as gpd

    from lspipe.change.decisions import Answer

LISTS = ("inventory.parquet", "inventory.gpkg", "inventory.geojson")
"""Files of a run directory in which a person may decide."""

RECORD = ".lists.json"

_WRITING = "inventory.next"
"""Name of a list while it is written and read back, before its suffix."""


@dataclass(frozen=True)
class Found:
    """A list file as it is now."""

    path: Path
    when: datetime
    """When it was last written, UTC."""
    decisions: Decisions | None
    """None where the file is as it was written, of a format that is not read back, or damaged."""
    shown: Mapping[str, Answer]
    """Decisions that stand in the file, by id."""
    rest: str
    """Digest of all that is in it beside decisions."""
    edited: Mapping[str, Answer | None]
    """What a person decided in it, by id: None where an earlier decision was removed."""
    is_recorded: bool
    """Whether it is known what the run wrote."""
    is_otherwise_edited: bool
    """Whether more than decisions was changed, or may have been."""

    @property
    def is_edited(self) -> bool:
        """Whether it holds anything that the run did not write."""
        return bool(self.edited) or bool(_odd(self)) or self.is_otherwise_edited


def find(path: Path) -> Found:
    """Look at a list file of a run.

    Raises:
        StoreError: another program is writing it.
    """
    when = _last_written(path)
    written = _record(path.parent).get(path.name, [])
    # Much sooner than reading it, and most lists are as they were written.
    digest = None if _log_of(path).exists() else _digest(path)
    for entry in written:
        if digest is not None and entry["bytes"] == digest:
            return Found(
                path, when, None, entry["reviewed"], entry["rest"], edited={},
                is_recorded=True, is_otherwise_edited=False,
            )  # fmt: skip
    decisions, rest = _content(path)
    # Several where a kill came between: an edit is what none of them had.
    known = [entry["reviewed"] for entry in written] or [{}]
    answers = {} if decisions is None else _answers(decisions)
    edited = {
        name: answer
        for name, answer in answers.items()
        if all(answer != one.get(name) for one in known)
    }
    return Found(
        path,
        when,
        decisions,
        _shown(decisions),
        rest,
        edited,
        is_recorded=any(entry["rest"] for entry in written),
        is_otherwise_edited=rest not in {entry["rest"] for entry in written},
    )


def rewrite(
    files: Mapping[Path, str], table: gpd.GeoDataFrame, taken: Mapping[str, Found]
) -> list[str]:
    """Write a list over those that are there, of which nothing is lost.

    Args:
        files: format of each file, of `outputs.OUTPUTS` or another writer.
        table: an inventory.
        taken: lists whose decisions were taken in, by file name.

    Returns:
        What to tell the person: where copies of edited lists were kept.

    Raises:
        StoreError: another program holds a list open; none was written.
        OSError: the disk is full, or the folder cannot be written.
    """
    notes = []
    for path in files:
        release(path)
    for path, name in files.items():
        if path.exists():
            notes += _kept(path, taken.get(path.name))
        _write(name, table, path)
    return notes


def _write(name: str, table: gpd.GeoDataFrame, path: Path) -> None:
    """Write a list, read it back, and remember what was written in it."""
    fresh = outputs.write(name, table, path.with_name(f"{_WRITING}{path.suffix}"))
    try:
        decisions, rest = _content(fresh)
        entry = {"bytes": _digest(fresh), "rest": rest, "reviewed": _shown(decisions)}
        # Both, as a kill may come before or after the file takes its name.
        _note(path, [*_record(path.parent).get(path.name, []), entry])
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _note(path, [entry])


def keep_edited(taken: Found) -> list[str]:
    """Keep a copy of a list that is about to be removed, if more than decisions was changed in it.

    Args:
        taken: its decisions were taken in.

    Returns:
        What to tell the person.

    Raises:
        StoreError: another program holds the list open.
    """
    release(taken.path)
    return _kept(taken.path, taken)


def note_shown(found: Found) -> None:
    """Remember the decisions that a list shows as if they were written: they were taken in."""
    written = _record(found.path.parent).get(found.path.name, [])
    now = {"bytes": None, "reviewed": found.shown}
    noted = [entry | now for entry in written or [{"rest": None}]]
    if found.decisions is not None and noted != written:
        _note(found.path, noted)


def release(path: Path) -> None:
    """Make sure that no other program holds a GeoPackage open, and fold its log into it.

    A list that took the place of one with a `-wal` beside it would be damaged by that log.

    Raises:
        StoreError: it is open elsewhere.
    """
    if path.suffix != ".gpkg" or not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as file:
            file.execute("PRAGMA journal_mode=DELETE")
            file.execute("BEGIN EXCLUSIVE")
            file.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{path}: cannot be written over ({error}); if it is open in QGIS, save your edits and "
            "close the project there, then give the same command again"
        ) from error
    except sqlite3.DatabaseError:
        return  # no GeoPackage any more: it is kept as it is


# --- what is in a file --------------------------------------------------------------------------


def _answers(decisions: Decisions) -> dict[str, Answer | None]:
    rows = decisions.rows
    return {
        str(name): None if pd.isna(answer) else answer
        for name, answer in zip(rows["id"], rows["decision"], strict=True)
    }


def _shown(decisions: Decisions | None) -> dict[str, Answer]:
    answers = {} if decisions is None else _answers(decisions)
    return {name: answer for name, answer in answers.items() if answer is not None}


def _content(path: Path) -> tuple[Decisions | None, str]:
    """Decisions in a file, and a digest of the rest; of what is no list, one of its bytes."""
    digest = hashlib.sha256()
    try:
        table = read_table(path)
        decisions = decisions_in(table, path)
        if path.suffix == ".gpkg":
            _add_further_tables(digest, path)
    except (DecisionsError, sqlite3.DatabaseError) as error:
        if LOCKED in f"{error} {error.__cause__}":
            raise StoreError(
                f"{path}: being written by another program; if it is QGIS, save your edits there, "
                "then give the same command again"
            ) from error
        return None, _digest(path)
    if "id" in table:
        table = table.sort_values("id", kind="stable", key=lambda names: names.astype(str))
    _add(digest, table.drop(columns="reviewed", errors="ignore"))
    return decisions, digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add_further_tables(digest: Any, path: Path) -> None:
    """Add what a person keeps in a GeoPackage beside the list: layers, styles, projects."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    layer = layer_of(path)
    with closing(sqlite3.connect(path)) as file:
        for (name,) in file.execute(tables).fetchall():
            if name != layer and not name.startswith(("gpkg_", "rtree_", "sqlite_")):
                quoted = name.replace('"', '""')
                rows = file.execute(f'SELECT * FROM "{quoted}"').fetchall()  # noqa: S608 a name
                digest.update(f"\0{name}\0{rows!r}".encode())


def _add(digest: Any, table: pd.DataFrame) -> None:
    """Add the names and values of a table, in a form that no version of a library changes."""
    for name in sorted(table.columns):
        digest.update(f"\0{name}\0".encode())
        digest.update(_bytes(table[name]))


def _bytes(values: pd.Series[Any]) -> bytes:
    if values.dtype == "geometry":
        return b"\0".join(one or b"" for one in shapely.to_wkb(values.to_numpy()))
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        moments = pd.to_datetime(values, utc=True).to_numpy("datetime64[ms]")
        return str(moments.astype(np.int64).tolist()).encode()
    if pd.api.types.is_numeric_dtype(values.dtype):
        return np.ascontiguousarray(values.to_numpy(np.float64, na_value=np.nan)).tobytes()
    return "\0".join("" if one is None or one is pd.NA else str(one) for one in values).encode()


# --- what the run wrote -------------------------------------------------------------------------


def _record(run: Path) -> dict[str, list[dict[str, Any]]]:
    return store.peek_json(run / RECORD) or {}


def _note(path: Path, written: list[dict[str, Any]]) -> None:
    store.write_json(path.parent / RECORD, _record(path.parent) | {path.name: written})


# --- copies -------------------------------------------------------------------------------------


def _kept(path: Path, taken: Found | None) -> list[str]:
    """Copy a list aside unless all that a person did in it was taken in; say so."""
    now = find(path)
    if taken is None:
        is_safe = not now.is_edited
    else:
        # Nobody was at work in it since.
        is_same = (now.rest, now.shown, _odd(now)) == (taken.rest, taken.shown, ())
        is_safe = is_same and not now.is_otherwise_edited
    if is_safe:
        return []
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    copy = _free(path.with_name(f"{path.stem}.edited-{moment}{path.suffix}"))
    partial = path.with_name(f".{copy.stem}.partial{path.suffix}")
    shutil.copy2(path, partial)
    partial.replace(copy)
    return [f"{path.name} {_reason(now)}: kept as {copy.name}"]


def _reason(found: Found) -> str:
    """Say why a copy is kept."""
    if not found.is_recorded:
        return "may hold edits, which cannot be told as it is not known how it was written"
    odd = _odd(found)
    if odd:
        return f"holds what cannot be understood ({first_few(odd, between='; ')})"
    return "was edited beyond its decisions"


def _odd(found: Found) -> tuple[str, ...]:
    return () if found.decisions is None else found.decisions.odd


def _free(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _last_written(path: Path) -> datetime:
    """Also of what is still in the log of a GeoPackage."""
    newest = max(file.stat().st_mtime for file in (path, _log_of(path)) if file.exists())
    return datetime.fromtimestamp(int(newest * 1000) / 1000, UTC)


def _log_of(path: Path) -> Path:
    """Where SQLite keeps what it has not folded into a GeoPackage yet."""
    return path.with_name(f"{path.name}-wal")
