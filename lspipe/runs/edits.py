"""List files of a run -> what a person changed in them since the run wrote them.

For each list, `.lists.json` beside it keeps the decisions as the run wrote them, and a digest of
everything else: columns, rows, outlines, further layers. An edit is recognised by the content of
the file and not by its time, as some programs write to a GeoPackage when they only open it.
"""

from __future__ import annotations

import hashlib
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
from lspipe.machine.copies import copy, local
from lspipe.machine.remote import is_remote
from lspipe.runs import store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lspipe.change.decisions import Answer
    from lspipe.outputs import Run

LISTS = ("inventory.parquet", "inventory.gpkg", "inventory.geojson")
"""Files of a run directory in which a person may write decisions."""

RECORD = ".lists.json"

_WRITING = "inventory.next"
"""File name, without suffix, of a list while it is written and read back."""


@dataclass(frozen=True)
class Found:
    """The present content of a list file."""

    path: Path
    when: datetime
    """When it was last written, UTC."""
    decisions: Decisions | None
    """None if the file is unchanged, damaged, or of a format that is not read back."""
    shown: Mapping[str, Answer]
    """Decisions in the file, by id."""
    rest: str
    """Digest of the content without decisions."""
    edited: Mapping[str, Answer | None]
    """Decisions that a person wrote in it, by id; None where a person removed one."""
    is_recorded: bool
    """Whether the record has what the run wrote."""
    is_otherwise_edited: bool
    """Whether more than decisions was, or may have been, changed."""

    @property
    def is_edited(self) -> bool:
        """Whether the file has anything that the run did not write."""
        return bool(self.edited) or bool(_odd(self)) or self.is_otherwise_edited


def find(path: Path) -> Found:
    """Read a list file of a run, and compare it with what the run wrote.

    Raises:
        StoreError: another program is writing it.
    """
    when = _last_written(path)
    written = _record(path.parent).get(path.name, [])
    # A digest is much faster than reading the table, and most lists are unchanged.
    digest = None if _log_of(path).exists() else _digest(path)
    for entry in written:
        if digest is not None and entry["bytes"] == digest:
            return Found(
                path, when, None, entry["reviewed"], entry["rest"], edited={},
                is_recorded=True, is_otherwise_edited=False,
            )  # fmt: skip
    decisions, rest = _content(path)
    # Several after a kill in the middle of writing: an edit is in none of them.
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


def rewrite(files: Mapping[Path, str], run: Run, taken: Mapping[str, Found]) -> list[str]:
    """Write outputs of a run over the existing files; edits of a person are kept in a copy.

    Args:
        files: format of each file, of `outputs.OUTPUTS` or another writer; no folders.
        run: whose lists have the decisions already.
        taken: lists whose decisions are in reviews.parquet already, by file name.

    Returns:
        Notes for the person: where copies of edited lists are.

    Raises:
        StoreError: another program has a list open; no list was written.
        OSError: the disk is full, or the folder cannot be written.
    """
    notes = []
    for path in files:
        release(path)
    for path, name in files.items():
        if path.exists():
            notes += _kept(path, taken.get(path.name))
        _write(name, run, path)
    return notes


def _write(name: str, run: Run, path: Path) -> None:
    """Write a file, read it back, and record its content."""
    fresh = outputs.write(name, run, path.with_name(f"{_WRITING}{path.suffix}"))
    try:
        decisions, rest = _content(fresh)
        entry = {"bytes": _digest(fresh), "rest": rest, "reviewed": _shown(decisions)}
        # Both entries, as a kill may come before or after the renaming.
        _note(path, [*_record(path.parent).get(path.name, []), entry])
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _note(path, [entry])


def keep_edited(taken: Found) -> list[str]:
    """Copy a list that is about to be removed, if more than decisions was changed in it.

    Args:
        taken: the list; its decisions are in reviews.parquet already.

    Returns:
        Notes for the person.

    Raises:
        StoreError: another program has the list open.
    """
    release(taken.path)
    return _kept(taken.path, taken)


def note_shown(found: Found) -> None:
    """Record the decisions in a list as if the run had written them: reviews.parquet has them."""
    written = _record(found.path.parent).get(found.path.name, [])
    now = {"bytes": None, "reviewed": found.shown}
    noted = [entry | now for entry in written or [{"rest": None}]]
    if found.decisions is not None and noted != written:
        _note(found.path, noted)


def release(path: Path) -> None:
    """Check that no other program has a GeoPackage open, and merge its write-ahead log into it.

    A `-wal` file left beside a new list would damage that list.

    Raises:
        StoreError: it is open elsewhere.
    """
    # An object is stored whole: no program has it open.
    if path.suffix != ".gpkg" or is_remote(path) or not path.exists():
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
        return  # not a GeoPackage any more: left unchanged


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
    """Return decisions and a digest of the rest; for a file that is no list, a digest of bytes."""
    digest = hashlib.sha256()
    try:
        with local(path) as file:
            table = read_table(file)
            decisions = decisions_in(table, path)
            if path.suffix == ".gpkg":
                _add_further_tables(digest, file)
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
    """Add the other tables of a GeoPackage, which a person made: layers, styles, projects."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    layer = layer_of(path)
    with closing(sqlite3.connect(path)) as file:
        for (name,) in file.execute(tables).fetchall():
            if name != layer and not name.startswith(("gpkg_", "rtree_", "sqlite_")):
                quoted = name.replace('"', '""')
                rows = file.execute(f'SELECT * FROM "{quoted}"').fetchall()  # noqa: S608 a name
                digest.update(f"\0{name}\0{rows!r}".encode())


def _add(digest: Any, table: pd.DataFrame) -> None:
    """Add the names and values of a table, in a form that does not depend on library versions."""
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
    """Copy a list unless all edits in it are in reviews.parquet; return a note about the copy."""
    now = find(path)
    if taken is None:
        is_safe = not now.is_edited
    else:
        # Safe if nothing was edited since it was read.
        is_same = (now.rest, now.shown, _odd(now)) == (taken.rest, taken.shown, ())
        is_safe = is_same and not now.is_otherwise_edited
    if is_safe:
        return []
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    free = _free(path.with_name(f"{path.stem}.edited-{moment}{path.suffix}"))
    copy(path, free)
    return [f"{path.name} {_reason(now)}: kept as {free.name}"]


def _reason(found: Found) -> str:
    """Return why a copy is kept."""
    if not found.is_recorded:
        return "may hold edits: there is no record of what the run wrote"
    odd = _odd(found)
    if odd:
        return f"has decisions that cannot be understood ({first_few(odd, between='; ')})"
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
    """Return when a file, or the write-ahead log of a GeoPackage, was last written."""
    newest = max(file.stat().st_mtime for file in (path, _log_of(path)) if file.exists())
    return datetime.fromtimestamp(int(newest * 1000) / 1000, UTC)


def _log_of(path: Path) -> Path:
    """Return the path of the write-ahead log that SQLite keeps for a GeoPackage."""
    return path.with_name(f"{path.name}-wal")
