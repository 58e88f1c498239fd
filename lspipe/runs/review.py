"""Decisions of a person about the list of a run: kept in `reviews.parquet`, carried to every list.

A decision ("answer") is kept with the outline of its object. It is valid until another one replaces
it, or until a person removes it from a list; then it stays in the file, with the time in
`replaced`. Of two answers for one object the later one is valid, by the time of their files.

A list shows an answer at the object with the same `id`; else at the object that covers most of the
reviewed outline, at least `MIN_COVERED` of it, and is of the same kind and time. An object with
contradicting answers stays undecided. An answer without an object waits in `reviews.parquet` for a
later list.

See also: `change/decisions.py` (the format of a file), `edits.py` (changes of a person in a list).
"""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd

from lspipe import outputs
from lspipe.change.carrying import carry
from lspipe.change.decisions import TEXTS, TIMES, Answer, Decisions, read_decisions
from lspipe.errors import DecisionsError, first_few
from lspipe.machine import copies, remote
from lspipe.outputs import geoparquet
from lspipe.runs import edits, store
from lspipe.runs.opened import Run
from lspipe.runs.publish import publish
from lspipe.schema import check_inventory
from lspipe.search.parquet import read_geoparquet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


REVIEWS = "reviews.parquet"

LIST = "inventory.parquet"
"""The list that the other formats are made from."""

COLUMNS = (
    "id", "status", "date_before", "date_after", "decision", "who", "when", "source", "replaced",
    "geometry",
)  # fmt: skip
"""Of `reviews.parquet`: EPSG:4326, times UTC; `source` is the file of the answer, `when` the time
of that file, `replaced` the time when the answer became invalid (null = valid)."""


@dataclass(frozen=True)
class Taken:
    """Counts of answers that were read and of those that a list shows, and notes."""

    new: int = 0
    """New answers."""
    removed: int = 0
    """Answers that a person removed."""
    reviews: int = 0
    """Valid answers."""
    carried: int = 0
    """Valid answers that have an object in the list."""
    notes: tuple[str, ...] = ()
    """Messages for the person."""
    found: Mapping[str, edits.Found] = field(default_factory=dict)
    """Lists that were read, by file name."""

    @property
    def without_object(self) -> int:
        """Valid answers without an object in the list."""
        return self.reviews - self.carried

    def counts(self) -> dict[str, int]:
        """Return the counts as plain numbers."""
        return {
            "taken_in": self.new,
            "removed": self.removed,
            "reviews": self.reviews,
            "carried": self.carried,
            "without_object": self.without_object,
        }


# --- verbs --------------------------------------------------------------------------------------


def review(run: Path | str, file: Path | str | None = None, *, who: str | None = None) -> Taken:
    """Read the decisions of a person, keep them, and write them into the lists of the run.

    Args:
        run: a run directory with its list.
        file: GeoPackage, GeoJSON or GeoParquet, see `change/decisions.py`; None = the lists
            of the run. An empty value in another file removes no answer.
        who: who decided, where the file has no name; None = the user of this process.

    Raises:
        StoreError: not a run directory, in use, or a list is open in another program.
        DecisionsError: no list yet; a row that cannot be understood; a file of another run.
    """
    run = remote.place(run)
    store.read_json(run / "run.json")
    with store.lock(run):
        content = store.read_json(run / "run.json")
        inventory = read_inventory(run)
        if file is None or _is_own(run, remote.place(file)):
            taken = take_in(run, who=who, is_strict=True)
        else:
            taken = _take_in_file(run, remote.place(file), inventory, who=who)
        taken = _show(run, inventory, content, taken)
        store.write_json(run / "run.json", content | {"reviews": taken.counts()})
    return taken


def read(run: Path) -> gpd.GeoDataFrame:
    """Read the valid answers; no rows if there is none yet."""
    kept = _read_all(run)
    return kept[kept["replaced"].isna()].reset_index(drop=True)


def read_inventory(run: Path) -> gpd.GeoDataFrame:
    """Read the list of a run.

    Raises:
        DecisionsError: there is no list, or it cannot be read.
    """
    path = run / LIST
    try:
        return check_inventory(read_geoparquet(copies.readable(path)))
    except FileNotFoundError as error:
        raise DecisionsError(
            f"{path}: no such file; decisions are about the list of a run: finish it first"
        ) from error
    except (ValueError, KeyError, OSError) as error:
        raise DecisionsError(f"{path}: not the list of a run ({error})") from error


def answers(
    inventory: gpd.GeoDataFrame, run: Path, file: Path | str | None = None
) -> tuple[dict[str, Answer], int]:
    """Return the answers about a list by id, and the number of answers without an object in it.

    Args:
        inventory: of the run.
        run: a run directory.
        file: see `review`; None = the answers that the run keeps.

    Raises:
        DecisionsError: see `review`.
    """
    if file is None:
        given = read(run)
    else:
        decided = _decisions_of(remote.place(file)).checked()
        given = _all_placed(decided, [inventory, _read_all(run)])
        given = given[given["decision"].notna()].reset_index(drop=True)
    carried = carry(given, inventory)
    return dict(carried.answers), int(np.sum(carried.objects == None))  # noqa: E711 by element


def rescue(run: Path) -> tuple[str, ...]:
    """Keep the edits of a person in the lists of a run, which are about to be removed.

    Returns:
        Messages for the person.

    Raises:
        StoreError: a list is open in another program.
    """
    taken = take_in(run)
    notes = list(taken.notes)
    for found in taken.found.values():
        notes += edits.keep_edited(found)
    for name in sorted(store.outputs_of(run) - set(taken.found)):
        if (run / name).is_file():
            notes += edits.keep_edited(edits.find(run / name))
    return tuple(notes)


# --- taking in ----------------------------------------------------------------------------------


def take_in(run: Path, *, who: str | None = None, is_strict: bool = False) -> Taken:
    """Read the decisions in the lists of the run and keep them; the caller holds the lock.

    Args:
        run: a run directory.
        who: see `review`.
        is_strict: refuse a list with a row that cannot be understood; else read its other rows.

    Raises:
        StoreError: a list is being written by another program.
        DecisionsError: see `is_strict`.
    """
    paths = [run / name for name in edits.LISTS if (run / name).exists()]
    found = sorted((edits.find(path) for path in paths), key=lambda one: one.when)
    before = _read_all(run)
    book = _Book(before)
    for one in found:
        if is_strict and one.decisions is not None:
            one.decisions.checked()
        if one.decisions is None or not one.edited:
            continue
        rows, _ = _placed(one.decisions, [_plain_list(run), before])
        book.add(rows, one.edited, source=one.path.name, when=one.when, who=who)
    _save(run, book.rows, before)
    # After saving: after a kill in between, they are read once more, which changes nothing.
    for one in found:
        edits.note_shown(one)
    return book.taken(found={one.path.name: one for one in found})


def _take_in_file(run: Path, file: Path, inventory: gpd.GeoDataFrame, *, who: str | None) -> Taken:
    """Read the lists of the run, then another file, and keep all decisions."""
    decided = _decisions_of(file).checked()
    taken = take_in(run, who=who, is_strict=True)
    before = _read_all(run)
    rows = _all_placed(decided, [inventory, before])
    given = rows[rows["decision"].notna()].reset_index(drop=True)
    is_known = given["id"].isin(before["id"]).to_numpy(bool)
    if len(given) and not (is_known | (carry(given, inventory).objects != None)).any():  # noqa: E711
        raise DecisionsError(
            f"{file}: none of its {len(given)} decided objects is one of this run; is it the file "
            "of another run?"
        )
    book = _Book(before)
    answers = dict(zip(given["id"], given["decision"], strict=True))
    when = datetime.fromtimestamp(int(file.stat().st_mtime * 1000) / 1000, UTC)
    book.add(rows, answers, source=str(file), when=when, who=who)
    _save(run, book.rows, before)
    more = book.taken(found=taken.found)
    return replace(
        more, new=taken.new + more.new, removed=taken.removed, notes=taken.notes + more.notes
    )


def _decisions_of(file: Path) -> Decisions:
    if remote.is_remote(file) and not file.is_file():
        raise DecisionsError(f"{file}: no such file")
    with copies.local(file) as copy:
        return replace(read_decisions(copy), path=file)


class _Book:
    """The rows of `reviews.parquet`, to which answers are added."""

    def __init__(self, rows: gpd.GeoDataFrame) -> None:
        self.rows = rows.copy()
        self._new = self._removed = 0
        self._notes: list[str] = []
        self._now = pd.Timestamp.now("UTC").floor("ms")

    def taken(self, found: Mapping[str, edits.Found]) -> Taken:
        """Return counts and notes."""
        return Taken(self._new, self._removed, notes=tuple(self._notes), found=found)

    def add(
        self,
        objects: gpd.GeoDataFrame,
        answers: Mapping[str, Answer | None],
        *,
        source: str,
        when: datetime,
        who: str | None,
    ) -> None:
        """Add the answers in a file about its objects; None removes an answer."""
        at = np.flatnonzero(self.rows["replaced"].isna())
        carried = carry(self.rows.iloc[at], objects)
        who = who or _user()
        added = []
        for place in np.flatnonzero(objects["id"].isin(answers.keys())):
            one = objects.iloc[place]
            answer, time = answers[one["id"]], one["when"] if pd.notna(one["when"]) else when
            held = self.rows.index[at[carried.objects == one["id"]]]
            stood = self.rows.loc[held, "decision"]
            if answer is None and not len(held):
                continue
            if answer is not None and len(held) and (stood == answer).all():
                continue
            is_late = bool((self.rows.loc[held, "when"] > pd.Timestamp(time)).any())
            if not is_late:
                self.rows.loc[held, "replaced"] = self._now
            self._count(one["id"], answer, list(stood), source, is_late=is_late)
            if answer is not None:
                row = {"decision": answer, "when": time, "source": source}
                row["who"] = one["who"] if pd.notna(one["who"]) else who
                row["replaced"] = self._now if is_late else None
                added.append(one.drop(["decision", "who", "when"]).to_dict() | row)
        self._append(added)

    def _count(
        self, name: str, answer: Answer | None, stood: Sequence[str], source: str, *, is_late: bool
    ) -> None:
        """Count an answer, and note it if it replaces another."""
        if is_late:
            given = "empty" if answer is None else answer
            self._notes.append(
                f"{name}: {stood[0]} stays, which was decided later than {given} in {source}"
            )
        elif answer is None:
            self._removed += len(stood)
        else:
            self._new += 1
            if stood:
                self._notes.append(f"{name}: {answer} in {source} replaces {stood[0]}")

    def _append(self, added: list[dict[str, Any]]) -> None:
        if added:
            new = _typed(gpd.GeoDataFrame(added, geometry="geometry", crs=4326))
            key = ["id", "decision", "when", "source"]
            # An answer that is older than a valid one is read again as long as its file exists.
            seen = pd.MultiIndex.from_frame(self.rows[key])
            new = new[~pd.MultiIndex.from_frame(new[key]).isin(seen) | new["replaced"].isna()]
            rows = [self.rows, new] if len(self.rows) else [new]
            self.rows = _typed(pd.concat(rows, ignore_index=True))


def _all_placed(given: Decisions, known: Sequence[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    """Give objects without an outline that of a known object of the same id.

    Raises:
        DecisionsError: a decided object has no known outline.
    """
    rows, lost = _placed(given, known)
    if lost:
        raise DecisionsError(
            f"{given.path}: {len(lost)} not in the inventory of the run: "
            f"{first_few(lost)}; is it the file of another run?"
        )
    return rows


def _placed(
    given: Decisions, known: Sequence[gpd.GeoDataFrame]
) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Give objects without an outline a known one; also return ids of those left without."""
    rows = given.rows.copy()
    for table in known:
        facts = table.drop_duplicates("id", keep="last").set_index("id")
        is_open = (rows.geometry.isna() | rows.geometry.is_empty) & rows["id"].isin(facts.index)
        for name in ("status", "date_before", "date_after", "geometry"):
            if is_open.any():
                rows.loc[is_open, name] = facts.loc[rows.loc[is_open, "id"], name].to_numpy()
    is_lost = rows.geometry.isna() | rows.geometry.is_empty
    lost = sorted(rows.loc[is_lost & rows["decision"].notna(), "id"])
    return rows[~is_lost].reset_index(drop=True), lost


# --- showing ------------------------------------------------------------------------------------


def shown(run: Path, inventory: gpd.GeoDataFrame, taken: Taken) -> tuple[gpd.GeoDataFrame, Taken]:
    """Return the list with the valid answers in `reviewed`, and the counts of answers."""
    reviews = read(run)
    carried = carry(reviews, inventory)
    found = int(np.sum(carried.objects != None))  # noqa: E711 by element
    notes = list(taken.notes)
    if carried.torn:
        notes.append(f"answers differ within {first_few(carried.torn)}: decide again")
    answers = inventory["id"].map(dict(carried.answers)).astype("string")
    return inventory.assign(reviewed=answers), replace(
        taken, reviews=len(reviews), carried=found, notes=tuple(notes)
    )


def _show(
    run: Path, inventory: gpd.GeoDataFrame, content: Mapping[str, Any], taken: Taken
) -> Taken:
    """Rewrite the lists of a run that do not show the valid answers."""
    inventory, taken = shown(run, inventory, taken)
    current = Run(run, content, {"inventory": inventory})
    decided = inventory[inventory["reviewed"].notna()]
    wanted = dict(zip(decided["id"], decided["reviewed"], strict=True))
    files = {
        run / path: name
        for name, path in content["outputs"].items()
        if _shows_the_list(path) and (path not in taken.found or taken.found[path].shown != wanted)
    }
    source = taken.found[LIST]
    if source.is_recorded and source.is_otherwise_edited:
        more = [
            f"{LIST} was edited beyond its decisions, so no list was rewritten from it; move it "
            "away and run the workflow again"
        ]
    else:
        more = edits.rewrite(files, current, taken.found)
        if files and "stac" in content["outputs"]:  # it holds checksums of the lists
            publish(current, ("stac",))
    return replace(taken, notes=(*taken.notes, *more))


def _shows_the_list(path: str) -> bool:
    """Return whether an output holds decisions; folders hold maps."""
    return bool(PurePath(path).suffix) and path not in ("unobserved.parquet", "radar_cells.parquet")


# --- the file -----------------------------------------------------------------------------------


def _is_own(run: Path, file: Path) -> bool:
    return file.name in edits.LISTS and file.resolve().parent == run.resolve()


def _plain_list(run: Path) -> gpd.GeoDataFrame:
    try:
        return read_inventory(run)
    except DecisionsError:
        return _none()


def _read_all(run: Path) -> gpd.GeoDataFrame:
    """Read all answers, valid or replaced."""
    path = run / REVIEWS
    if not path.exists():
        return _none()
    try:
        return _typed(read_geoparquet(copies.readable(path)))
    except (ValueError, KeyError, OSError) as error:
        raise DecisionsError(
            f"{path}: cannot be read ({error}), and is not overwritten: repair it or move it away"
        ) from error


def _none() -> gpd.GeoDataFrame:
    return _typed_none().copy()


@cache
def _typed_none() -> gpd.GeoDataFrame:
    """Return no rows, made once: most runs have no answers, and ask for them several times."""
    return _typed(gpd.GeoDataFrame({name: [] for name in COLUMNS}, geometry="geometry", crs=4326))


def _typed(rows: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the columns in order, typed even where null."""
    texts = [name for name in (*TEXTS, "source") if name in COLUMNS]
    typed = rows.reindex(columns=list(COLUMNS)).astype(dict.fromkeys(texts, "string"))
    for name in (*TIMES, "replaced"):
        typed[name] = pd.to_datetime(typed[name], utc=True).dt.as_unit("ms")
    return gpd.GeoDataFrame(typed, geometry="geometry", crs=4326)


def _save(run: Path, rows: gpd.GeoDataFrame, before: gpd.GeoDataFrame) -> None:
    """Write the file atomically, unless nothing has changed."""
    if rows.equals(before):
        return
    with outputs.whole(run / REVIEWS) as partial:
        geoparquet.write_table(rows, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "unknown"
