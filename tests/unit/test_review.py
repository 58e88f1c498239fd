"""What a person wrote in a list is kept, carried to the next, and never lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from lspipe import outputs
from lspipe.change.carrying import MIN_COVERED, carry
from lspipe.errors import DecisionsError, StoreError
from lspipe.runs import edits, review, store
from lspipe.runs.review import COLUMNS, REVIEWS
from tests.open_runs import run_of
from tests.reviewing import (
    FILES,
    decide,
    held_open,
    inventory_of,
    make_run,
    shown,
    sql,
    statements,
    write_lists,
)

ONE, TWO, THREE = (5, 5, 6), (20, 20, 8), (40, 40, 10)
"""Squares of the list."""

LISTS = tuple(FILES.values())


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"), inventory_of((ONE, TWO), old=(THREE,)))


@pytest.fixture
def run(made_once, tmp_path):
    """A run with its lists, that a test may change."""
    return shutil.copytree(made_once, tmp_path / "run")


@pytest.fixture
def ids(run):
    """Ids of the squares in the order above."""
    rows = gpd.read_parquet(run / "inventory.parquet")
    by_size = rows.sort_values("area_m2")["id"].tolist()
    assert len(by_size) == 3
    return by_size


def kept(run):
    """The answers that hold, by id."""
    rows = review.read(run)
    return dict(zip(rows["id"], rows["decision"], strict=True))


def copies(run):
    return sorted(path.name for path in run.glob("*.edited-*"))


def age(path, seconds):
    """Make a file older."""
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


# --- carrying -----------------------------------------------------------------------------------


def listed(*rows):
    """Objects (id, west, east[, status, before, after[, decision]]) of height 1."""
    names = ("id", "status", "date_before", "date_after", "decision")
    facts = []
    for name, west, east, *more in rows:
        status, before, after, decision = [*more, *("new", None, None, "true")[len(more) :]]
        facts.append((name, status, before, after, decision, shapely.box(west, 0, east, 1)))
    table = gpd.GeoDataFrame(facts, columns=[*names, "geometry"], geometry="geometry", crs=4326)
    for name in ("date_before", "date_after"):
        table[name] = pd.to_datetime(table[name], utc=True)
    return table


spans = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 6), st.sampled_from(["new", "vanished"])),
    max_size=6,
)


@given(reviews=spans, objects=spans)
def test_each_answer_goes_to_the_object_that_covers_most_of_it_or_to_none(reviews, objects):
    mine = listed(*((f"r{n}", a, a + w, kind) for n, (a, w, kind) in enumerate(reviews)))
    theirs = listed(*((f"o{n}", a, a + w, kind) for n, (a, w, kind) in enumerate(objects)))
    found = carry(mine, theirs).objects
    for (begin, width, kind), name in zip(reviews, found, strict=True):
        shares = {
            f"o{n}": max(0, min(begin + width, a + w) - max(begin, a)) / width
            for n, (a, w, other) in enumerate(objects)
            if other == kind
        }
        best = max(shares.values(), default=0)
        if best < MIN_COVERED:
            assert name is None
        else:
            assert name == min(one for one, share in shares.items() if share == best)


@given(rows=spans)
def test_the_same_list_shows_what_was_said_of_each_object(rows):
    table = listed(*((f"i{n}", a, a + w, kind) for n, (a, w, kind) in enumerate(rows)))
    carried = carry(table, table)
    assert list(carried.objects) == table["id"].tolist()
    assert carried.torn == ()


@pytest.mark.parametrize(
    ("said", "listed_now", "is_carried"),
    [
        (("new", "2017", "2018"), ("new", "2017", "2018"), True),
        (("new", "2017", "2018"), ("grown", "2017", "2018"), True),
        (("new", "2017", "2018"), ("undetermined", "2017", "2018"), True),
        (("undetermined", "2017", "2018"), ("vanished", "2017", "2018"), True),
        (("new", "2017", "2018"), ("persistent", "2017", "2018"), False),
        (("new", "2017", "2018"), ("vanished", "2017", "2018"), False),
        (("new", "2017", "2019"), ("new", "2018", "2020"), True),
        # The same date is the end of one time and the begin of the other: another landslide.
        (("new", "2017", "2018"), ("new", "2018", "2019"), False),
        (("new", "2018", "2017"), ("new", "2017", "2018"), True),
        (("detected", None, "2017"), ("detected", None, "2019"), True),
        (("new", None, None), ("new", "2018", "2019"), True),
    ],
)
def test_kind_and_time_must_agree(said, listed_now, is_carried):
    carried = carry(listed(("a", 0, 1, *said)), listed(("b", 0, 1, *listed_now)))
    assert (carried.objects[0] == "b") is is_carried


def test_the_id_comes_before_the_place():
    carried = carry(listed(("a", 0, 4)), listed(("a", 3, 9), ("b", 0, 3)))
    assert carried.answers == {"a": "true"}


def test_answers_that_differ_leave_an_object_open_and_are_named():
    said = listed(("a", 0, 2, "new", None, None, "true"), ("b", 2, 4, "new", None, None, "false"))
    carried = carry(said, listed(("whole", 0, 4)))
    assert (carried.answers, carried.torn) == ({}, ("whole",))
    # Of an object that is still there its own answer stands.
    carried = carry(said, listed(("b", 0, 4)))
    assert (carried.answers, carried.torn) == ({"b": "false"}, ("b",))


def test_an_outline_that_crosses_itself_is_carried_too():
    said = listed(("a", 0, 4))
    said.loc[0, "geometry"] = shapely.Polygon([(0, 0), (4, 1), (4, 0), (0, 1)])
    assert carry(said, listed(("b", 0, 4))).answers == {"b": "true"}


# --- lists of a run -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", LISTS)
def test_what_was_decided_in_any_list_stands_in_the_next_in_all_formats(run, ids, name):
    decide(run / name, {ids[0]: "true", ids[2]: "unsure"})
    moved = inventory_of(((6, 5, 5), TWO), old=(THREE,))
    assert write_lists(run, moved) == []
    # The first square lost a row, so it has another id and is found by its place.
    (at,) = set(moved["id"]) - set(ids)
    for file in LISTS:
        assert shown(run / file) == {at: "true", ids[2]: "unsure"}
    assert kept(run) == {ids[0]: "true", ids[2]: "unsure"}
    assert copies(run) == []


def test_kept_reviews_say_who_decided_what_when_and_where(run, ids):
    before = gpd.read_parquet(run / "inventory.parquet").set_index("id")
    decide(run / "inventory.gpkg", {ids[1]: "no"})
    moment = datetime.fromtimestamp((run / "inventory.gpkg").stat().st_mtime, UTC)
    review.review(run, who="Ana")
    rows = gpd.read_parquet(run / REVIEWS)
    assert tuple(rows.columns) == COLUMNS
    assert rows.crs.to_epsg() == 4326
    row = rows.iloc[0]
    assert (row.id, row.status, row.decision, row.who) == (ids[1], "new", "false", "Ana")
    assert row.source == "inventory.gpkg"
    assert abs(row.when - moment).total_seconds() < 0.01
    assert row.date_after == before.loc[ids[1], "date_after"]
    assert pd.isna(row.replaced)
    assert shapely.equals_exact(
        row.geometry, before.loc[ids[1], "geometry"], 1e-7, normalize=True
    ) or shapely.equals(row.geometry, before.loc[ids[1], "geometry"])


def test_what_finds_no_object_waits_for_a_list_that_has_one(run, ids):
    decide(run / "inventory.gpkg", {ids[0]: "true", ids[1]: "false"})
    write_lists(run, inventory_of((TWO,), old=(THREE,)))
    taken = review.review(run)
    assert taken.counts() == {
        "taken_in": 0, "removed": 0, "reviews": 2, "carried": 1, "without_object": 1,
    }  # fmt: skip
    assert store.read_json(run / "run.json")["reviews"] == taken.counts()
    write_lists(run, inventory_of((ONE, TWO)))
    assert shown(run / "inventory.geojson") == {ids[0]: "true", ids[1]: "false"}


def test_review_shows_it_in_all_lists_and_leaves_those_alone_that_show_it(run, ids):
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    before = (run / "inventory.gpkg").stat()
    taken = review.review(run)
    assert (taken.new, taken.carried, taken.notes) == (1, 1, ())
    for name in LISTS:
        assert shown(run / name) == {ids[0]: "true"}
    after = (run / "inventory.gpkg").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_nothing_is_written_where_nothing_is_new(run, ids):
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    review.review(run)
    names = (REVIEWS, *LISTS, edits.RECORD)
    before = {name: (run / name).stat().st_mtime_ns for name in names}
    assert review.review(run).new == 0
    assert {name: (run / name).stat().st_mtime_ns for name in names} == before


def test_an_answer_that_was_emptied_is_taken_back(run, ids):
    decide(run / "inventory.gpkg", {ids[0]: "true", ids[1]: "false"})
    review.review(run)
    decide(run / "inventory.gpkg", {ids[0]: None})
    taken = review.review(run)
    assert (taken.removed, kept(run)) == (1, {ids[1]: "false"})
    for name in LISTS:
        assert shown(run / name) == {ids[1]: "false"}
    # It is still there to be read, with the time when it ceased to hold.
    rows = gpd.read_parquet(run / REVIEWS).set_index("id")
    assert rows.loc[ids[0], "decision"] == "true"
    assert pd.notna(rows.loc[ids[0], "replaced"])


def test_a_list_that_lacks_the_row_or_was_written_before_takes_nothing_back(run, ids, tmp_path):
    old = shutil.copy(run / "inventory.geojson", tmp_path / "old.geojson")
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    review.review(run)
    sql(run / "inventory.gpkg", ("DELETE FROM inventory WHERE id = ?", [ids[0]]))
    review.review(run, old)
    assert kept(run) == {ids[0]: "true"}


def test_the_later_of_two_answers_holds_and_both_are_kept_and_named(run, ids):
    decide(run / "inventory.geojson", {ids[0]: "false"})
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    age(run / "inventory.geojson", 60)
    notes = review.review(run).notes
    assert notes == (f"{ids[0]}: true in inventory.gpkg replaces false",)
    assert kept(run) == {ids[0]: "true"}
    assert sorted(gpd.read_parquet(run / REVIEWS)["decision"]) == ["false", "true"]


def test_an_answer_that_is_given_again_is_no_new_one(run, ids, tmp_path):
    for name in ("inventory.gpkg", "inventory.geojson"):
        decide(run / name, {ids[0]: "true"})
    mine = shutil.copy(run / "inventory.gpkg", tmp_path / "mine.gpkg")
    assert review.review(run).counts()["taken_in"] == 1
    assert review.review(run, mine).counts()["taken_in"] == 0
    assert len(gpd.read_parquet(run / REVIEWS)) == 1


def test_an_answer_older_than_the_one_that_holds_is_kept_and_named_once(run, ids, tmp_path):
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    old = tmp_path / "colleague.gpkg"
    shutil.copy(run / "inventory.gpkg", old)
    decide(old, {ids[0]: "false"})
    age(old, 600)
    for _ in range(2):
        notes = review.review(run, old).notes
        assert notes == (f"{ids[0]}: true stays, which was decided later than false in {old}",)
    assert kept(run) == {ids[0]: "true"}
    assert len(gpd.read_parquet(run / REVIEWS)) == 2


def test_a_new_answer_replaces_the_one_that_was_carried_there(run, ids):
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    moved = inventory_of(((6, 5, 5), TWO), old=(THREE,))
    write_lists(run, moved)
    (at,) = set(moved["id"]) - set(ids)
    decide(run / "inventory.gpkg", {at: "false"})
    write_lists(run, inventory_of((ONE, TWO), old=(THREE,)))
    assert shown(run / "inventory.parquet") == {ids[0]: "false"}


def test_another_file_is_taken_in_by_id_or_by_place(run, ids, tmp_path):
    decide(run / "inventory.gpkg", {ids[0]: "true", ids[1]: "false"})
    old = shutil.copy(run / "inventory.gpkg", tmp_path / "old.gpkg")
    decide(run / "inventory.gpkg", {ids[0]: None, ids[1]: None})
    moved = inventory_of(((6, 5, 5), TWO))
    write_lists(run, moved)
    assert shown(run / "inventory.gpkg") == {}
    assert review.review(run, old).carried == 2
    assert set(shown(run / "inventory.gpkg")) == set(moved["id"])


def test_kept_reviews_of_one_run_are_taken_into_another(run, ids, tmp_path):
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    review.review(run, who="Ana")
    (tmp_path / "other").mkdir()
    other = make_run(tmp_path / "other", inventory_of((ONE, TWO), old=(THREE,)))
    assert review.review(other, run / REVIEWS, who="Ben").new == 1
    assert review.read(other)["who"].tolist() == ["Ana"]


def test_decisions_without_outlines_get_those_of_the_list(run, ids, tmp_path):
    path = tmp_path / "mine.geojson"
    facts = [{"geometry": None, "properties": {"id": ids[0], "reviewed": True}}]
    path.write_text(json.dumps({"features": facts}))
    review.review(run, path)
    (outline,) = review.read(run).geometry
    assert not outline.is_empty
    facts[0]["properties"]["id"] = "nobody"
    path.write_text(json.dumps({"features": facts}))
    with pytest.raises(DecisionsError, match=r"1 not in the inventory of the run: nobody; is it"):
        review.review(run, path)


def test_the_file_of_another_run_is_refused(run, tmp_path):
    (tmp_path / "other").mkdir()
    other = make_run(tmp_path / "other", inventory_of(((50, 5, 5),)))
    (name,) = gpd.read_parquet(other / "inventory.parquet")["id"]
    decide(other / "inventory.gpkg", {name: "true"})
    with pytest.raises(DecisionsError, match="none of its 1 decided objects is one of this run"):
        review.review(run, other / "inventory.gpkg")
    assert not (run / REVIEWS).exists()


def test_a_run_without_a_list_and_a_folder_without_a_run_are_refused(run, tmp_path):
    (run / "inventory.parquet").unlink()
    with pytest.raises(DecisionsError, match="finish it first"):
        review.review(run)
    with pytest.raises(StoreError, match="a run directory"):
        review.review(tmp_path)


def test_a_run_that_is_in_use_is_refused(run):
    with store.lock(run), pytest.raises(StoreError, match="in use"):
        review.review(run)


def test_reviews_that_cannot_be_read_are_never_written_over(run, ids):
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    (run / REVIEWS).write_text("damaged")
    with pytest.raises(DecisionsError, match=r"reviews\.parquet: cannot be read"):
        write_lists(run, inventory_of((ONE,)))
    assert (run / REVIEWS).read_text() == "damaged"
    assert shown(run / "inventory.gpkg") == {ids[0]: "true"}


# --- without decisions --------------------------------------------------------------------------


def test_without_decisions_the_lists_are_what_they_were(run, tmp_path):
    inventory = inventory_of((ONE, TWO), old=(THREE,))
    for name, file in FILES.items():
        plain = outputs.write(name, run_of(inventory), tmp_path / file)
        if name == "gpkg":
            dumps = [
                "\n".join(line for line in connection.iterdump() if "gpkg_contents" not in line)
                for connection in map(sqlite3.connect, (plain, run / file))
            ]
            assert dumps[0] == dumps[1]
        else:
            assert plain.read_bytes() == (run / file).read_bytes()
    assert not (run / REVIEWS).exists()


def test_a_list_in_which_nobody_decided_yet_takes_text(run):
    for name in ("inventory.gpkg", "inventory.geojson"):
        info = pyogrio.read_info(run / name, layer="inventory")
        types = dict(zip(info["fields"], info["dtypes"], strict=True))
        assert types["reviewed"] == "object"  # text
    assert gpd.read_parquet(run / "inventory.parquet")["reviewed"].dtype == "string"


# --- other edits --------------------------------------------------------------------------------

OTHER_EDITS = {
    "a column": ("ALTER TABLE inventory ADD COLUMN note TEXT", []),
    "an outline": ("UPDATE inventory SET geom = (SELECT geom FROM inventory LIMIT 1)", []),
    "a value": ("UPDATE inventory SET confidence = 0.5", []),
    "a row": ("INSERT INTO inventory (reviewed) VALUES ('true')", []),
    "a row less": ("DELETE FROM inventory WHERE fid = 1", []),
    "a layer": ("CREATE TABLE notes (id INTEGER, note TEXT)", []),
    "a style": ("UPDATE layer_styles SET styleQML = '<qgis/>'", []),
}


@pytest.mark.parametrize("edit", OTHER_EDITS)
def test_a_list_with_other_edits_is_kept_beside_the_new_one(run, ids, edit):
    path = run / "inventory.gpkg"
    sql(path, OTHER_EDITS[edit], *statements({ids[2]: "true"}))
    edited = path.read_bytes()
    (note,) = write_lists(run, inventory_of((ONE, TWO), old=(THREE,)))
    (copy,) = copies(run)
    assert note.startswith("inventory.gpkg ")
    assert note.endswith(f"kept as {copy}")
    assert (run / copy).read_bytes() == edited
    assert shown(path) == {ids[2]: "true"}
    # And only once.
    assert write_lists(run, inventory_of((ONE, TWO), old=(THREE,))) == []


def test_other_edits_are_kept_in_the_other_formats_too(run):
    rows = gpd.read_parquet(run / "inventory.parquet")
    rows.assign(note="mine").to_parquet(run / "inventory.parquet")
    content = json.loads((run / "inventory.geojson").read_text())
    content["features"][0]["properties"]["note"] = "mine"
    (run / "inventory.geojson").write_text(json.dumps(content))
    assert len(write_lists(run, inventory_of((ONE,)))) == 2
    assert {name.split(".")[-1] for name in copies(run)} == {"geojson", "parquet"}


def test_a_list_that_was_only_opened_or_saved_anew_is_not_kept(run):
    sql(run / "inventory.gpkg", ("UPDATE inventory SET reviewed = reviewed", []), journal="WAL")
    sql(run / "inventory.gpkg", ("VACUUM", []))
    content = json.loads((run / "inventory.geojson").read_text())
    content["name"] = "inventory"
    (run / "inventory.geojson").write_text(json.dumps(content, indent=2))
    gpd.read_parquet(run / "inventory.parquet").to_parquet(run / "inventory.parquet")
    assert write_lists(run, inventory_of((ONE,))) == []
    assert copies(run) == []


def test_a_list_from_which_others_are_made_must_be_what_the_run_wrote(run, ids):
    rows = gpd.read_parquet(run / "inventory.parquet")
    rows.iloc[1:].to_parquet(run / "inventory.parquet")
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    notes = review.review(run).notes
    assert "inventory.parquet was edited beyond its decisions" in notes[0]
    assert kept(run) == {ids[0]: "true"}
    assert len(gpd.read_file(run / "inventory.geojson")) == 3


def test_a_typing_error_is_named_and_costs_no_other_answer(run, ids):
    decide(run / "inventory.gpkg", {ids[0]: "ture", ids[1]: "false"})
    with pytest.raises(DecisionsError, match=r"1 cannot be understood: .*: reviewed 'ture'"):
        review.review(run)
    assert not (run / REVIEWS).exists()
    # A new list does not wait for it.
    (note,) = write_lists(run, inventory_of((ONE, TWO)))
    assert "'ture'" in note
    assert len(copies(run)) == 1
    assert shown(run / "inventory.gpkg") == {ids[1]: "false"}


def test_a_damaged_list_is_kept(run):
    (run / "inventory.gpkg").write_text("no database")
    write_lists(run, inventory_of((ONE,)))
    (copy,) = copies(run)
    assert (run / copy).read_text() == "no database"
    assert len(gpd.read_file(run / "inventory.gpkg", layer="inventory")) == 1


def test_lists_of_which_nothing_is_known_are_kept_and_read(run, ids):
    decide(run / "inventory.gpkg", {ids[0]: "true"})
    (run / edits.RECORD).unlink()
    notes = write_lists(run, inventory_of((ONE, TWO)))
    assert len(notes) == len(copies(run)) == 3
    assert shown(run / "inventory.parquet") == {ids[0]: "true"}


def test_two_copies_of_one_second_have_two_names(run, monkeypatch):
    class Still(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(edits, "datetime", Still)
    for _ in range(2):
        sql(run / "inventory.gpkg", OTHER_EDITS["a value"])
        write_lists(run, inventory_of((ONE,)))
    assert copies(run) == [
        "inventory.edited-20260102T030405-2.gpkg",
        "inventory.edited-20260102T030405.gpkg",
    ]


def test_what_is_edited_while_the_list_is_made_is_kept(run, ids):
    with store.lock(run):
        taken = review.take_in(run)
        time.sleep(0.01)
        decide(run / "inventory.gpkg", {ids[0]: "true"})
        files = {run / file: name for name, file in FILES.items()}
        notes = edits.rewrite(files, run_of(inventory_of((ONE,))), taken.found)
    assert len(notes) == len(copies(run)) == 1
    assert shown(run / copies(run)[0]) == {ids[0]: "true"}


# --- GeoPackages in use -------------------------------------------------------------------------


def test_a_list_that_is_open_in_another_program_is_read_and_never_written_over(run, ids):
    path = run / "inventory.gpkg"
    process = held_open(path, *statements({ids[0]: "true"}))
    try:
        assert path.with_name("inventory.gpkg-wal").stat().st_size
        before = {name: (run / name).read_bytes() for name in LISTS}
        with pytest.raises(
            StoreError, match=r"inventory\.gpkg: cannot be written over .*locked.*close"
        ):
            write_lists(run, inventory_of((ONE,)))
        assert {name: (run / name).read_bytes() for name in LISTS} == before
        assert kept(run) == {ids[0]: "true"}
        # It shows its own decisions already, so that nobody has to close it for a review.
        assert review.review(run).carried == 1
        assert shown(run / "inventory.parquet") == {ids[0]: "true"}
    finally:
        process.communicate("\n")
    assert write_lists(run, inventory_of((ONE,))) == []
    assert shown(path) == {ids[0]: "true"}


def test_a_list_that_is_being_written_by_another_program_is_waited_for(run, ids):
    said = statements({ids[0]: "true"})
    process = held_open(run / "inventory.gpkg", *said, journal="DELETE", how="lock")
    # GDAL's own five seconds, for each of two reads, are a person's, not a test's.
    pyogrio.set_gdal_config_options({"SQLITE_BUSY_TIMEOUT": 500})
    try:
        with pytest.raises(StoreError, match="being written by another program; if it is QGIS"):
            review.review(run)
    finally:
        pyogrio.set_gdal_config_options({"SQLITE_BUSY_TIMEOUT": None})
        process.communicate("\n")
    assert review.review(run).new == 1


def test_the_log_that_a_killed_program_left_is_read_and_damages_no_new_list(run, ids):
    path = run / "inventory.gpkg"
    process = held_open(path, *statements({ids[0]: "true"}))
    process.kill()
    process.communicate()
    assert path.with_name("inventory.gpkg-wal").stat().st_size
    write_lists(run, inventory_of((ONE,)))
    assert not path.with_name("inventory.gpkg-wal").exists()
    assert shown(path) == {ids[0]: "true"}
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# --- interrupted --------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL, after which nothing of ours runs."""


def test_a_kill_at_any_write_loses_nothing_and_takes_nothing_for_an_edit(run, ids, tmp_path):
    decide(run / "inventory.gpkg", {ids[0]: "true", ids[1]: "false"})
    review.review(run)
    decide(run / "inventory.gpkg", {ids[0]: None, ids[2]: "unsure"})
    decide(run / "inventory.geojson", {ids[1]: "unsure"})
    moved = inventory_of(((6, 5, 5), TWO), old=(THREE,))
    for step in count():
        twin = shutil.copytree(run, tmp_path / f"{step}")
        was_killed = killed_at(step, twin, moved)
        write_lists(twin, moved)
        assert copies(twin) == []
        assert kept(twin) == {ids[1]: "unsure", ids[2]: "unsure"}
        for name in LISTS:
            assert shown(twin / name) == {ids[1]: "unsure", ids[2]: "unsure"}
        if not was_killed:
            break
    # One of the reviews, and of each list its own and two of the record.
    assert step > 3 * len(LISTS)


def killed_at(step, run, inventory):
    """Write lists and stop before the nth rename; whether it came so far."""
    left = [step]

    def replace(path, target):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return rename(path, target)

    rename = Path.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        try:
            write_lists(run, inventory)
        except Killed:
            return True
    return False
