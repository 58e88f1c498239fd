"""Decisions about a list survive whatever is done with the run."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import geopandas as gpd
import pytest

import lspipe
from lspipe.cli import main
from lspipe.runs.review import REVIEWS, read
from lspipe.workflow import Workflow
from tests.reviewing import decide, held_open, shown, statements
from tests.worlds import World, command, environment, make_world

ALL = ["geoparquet", "gpkg", "geojson"]
LISTS = ("inventory.parquet", "inventory.gpkg", "inventory.geojson")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cluster):
    """A finished run of one new and one old scar, in all formats; tests take copies."""
    folder = tmp_path_factory.mktemp("world")
    made = make_world(folder, cluster=cluster, output={"path": "run", "write": ALL})
    run(made)
    return made


@pytest.fixture
def world(finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "world")
    return World(folder, folder / finished.workflow.name, folder / "run")


def run(world, *overrides, **options):
    return lspipe.run(Workflow.from_file(world.workflow, overrides=overrides), **options)


def ids(world):
    """Id of each object by its status."""
    rows = gpd.read_parquet(world.run / "inventory.parquet")
    return dict(zip(rows["status"], rows["id"], strict=True))


def answers(world, name="inventory.parquet"):
    """Decision in a list by the status of the object."""
    by_id = shown(world.run / name)
    return {status: by_id[one] for status, one in ids(world).items() if one in by_id}


BOTH = {"new": "true", "persistent": "false"}


@pytest.fixture
def decided(world):
    """Both scars decided in the GeoPackage, and nothing else done."""
    at = ids(world)
    decide(world.run / "inventory.gpkg", {at["new"]: "Yes", at["persistent"]: "False"})
    return world


def test_decisions_survive_every_change_of_the_list(decided):
    before = ids(decided)
    summary = run(decided, "change.min_area_m2=2000")
    assert summary.reviews == {
        "taken_in": 2, "removed": 0, "reviews": 2, "carried": 2, "without_object": 0,
    }  # fmt: skip
    assert all(answers(decided, name) == BOTH for name in LISTS)
    assert json.loads((decided.run / "run.json").read_text())["reviews"] == summary.reviews

    # Other pixels are above another threshold, so the objects begin elsewhere and have other ids.
    run(decided, "change.threshold=0.93")
    assert not set(ids(decided).values()) & set(before.values())
    assert all(answers(decided, name) == BOTH for name in LISTS)

    # The smaller one is not listed; what was said of it waits.
    summary = run(decided, "change.min_area_m2=30000")
    assert answers(decided) == {"new": "true"}
    assert (summary.reviews["carried"], summary.reviews["without_object"]) == (1, 1)

    run(decided, 'output.write=["geoparquet"]')
    assert answers(decided) == BOTH
    run(decided, 'output.write=["geojson"]', "change.min_area_m2=100")
    assert answers(decided, "inventory.geojson") == BOTH
    assert list(decided.run.glob("inventory.edited-*")) == []


def test_decisions_survive_a_fresh_start_and_a_run_in_parts(decided):
    run(decided, fresh=True, limit=1)
    assert set(read(decided.run)["decision"]) == {"true", "false"}
    run(decided, only_failed=True)
    run(decided)
    assert all(answers(decided, name) == BOTH for name in LISTS)


def test_a_finished_run_writes_nothing_though_a_list_was_edited(decided):
    files = [path for path in decided.run.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    run(decided)
    files = [path for path in decided.run.rglob("*") if path.is_file()]
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_a_fresh_start_keeps_edited_lists_and_says_so(decided):
    rows = gpd.read_file(decided.run / "inventory.gpkg", layer="inventory")
    rows.assign(note="steep").to_file(decided.run / "inventory.gpkg", layer="inventory")
    notes = []
    run(
        decided,
        fresh=True,
        limit=1,
        report=lambda event: notes.append(event.text) if event.kind == "note" else None,
    )
    (copy,) = decided.run.glob("inventory.edited-*.gpkg")
    assert set(gpd.read_file(copy, layer="inventory")["note"]) == {"steep"}
    assert notes == [f"inventory.gpkg was edited beyond its decisions: kept as {copy.name}"]


def test_a_fresh_start_waits_for_a_list_that_is_open_elsewhere(decided, capsys):
    new = ids(decided)["new"]
    process = held_open(decided.run / "inventory.gpkg", *statements({new: "unsure"}))
    try:
        assert main(["run", str(decided.workflow), "--fresh"]) == 2
        assert "inventory.gpkg: cannot be written over" in capsys.readouterr().err
        assert (decided.run / "detections.zarr").exists()
    finally:
        process.communicate("\n")
    run(decided, "change.min_area_m2=2000")
    assert answers(decided) == {"new": "unsure", "persistent": "false"}


KILLED = """
import os, signal, sys
from lspipe.runs import edits
from lspipe.cli import main

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

edits.rewrite = killed
main(["run", sys.argv[1], "--set", "change.min_area_m2=2000"])
"""


def test_a_kill_between_taking_in_and_the_new_list_loses_no_decision(decided):
    words = [sys.executable, "-c", KILLED, str(decided.workflow)]
    process = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert set(read(decided.run)["decision"]) == {"true", "false"}
    # Even if what was edited is lost now.
    (decided.run / "inventory.gpkg").unlink()
    run(decided, "change.min_area_m2=2000")
    assert all(answers(decided, name) == BOTH for name in LISTS)


def test_review_takes_in_the_lists_or_a_file_and_tells_what_came_of_it(decided, capsys, tmp_path):
    assert main(["review", str(decided.run), "--who", "Ana"]) == 0
    said = capsys.readouterr().out
    assert "taken in       2 decisions, 0 taken back" in said
    assert "carried        2 of 2 decisions to objects of the list" in said
    assert f"kept in        {decided.run / REVIEWS}" in said
    assert answers(decided, "inventory.geojson") == BOTH

    mine = tmp_path / "mine.geojson"
    facts = [{"geometry": None, "properties": {"id": ids(decided)["new"], "reviewed": False}}]
    mine.write_text(json.dumps({"type": "FeatureCollection", "features": facts}))
    assert main(["review", str(decided.run), str(mine), "--json"]) == 0
    said = capsys.readouterr()
    counts = json.loads(said.out)
    assert (counts["taken_in"], counts["carried"], counts["without_object"]) == (1, 2, 0)
    assert f"note: {ids(decided)['new']}: false in {mine} replaces true" in said.err
    assert answers(decided, "inventory.gpkg") == {"new": "false", "persistent": "false"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}", "nowhere.gpkg"], "DecisionsError: nowhere.gpkg: no such file"),
        (["elsewhere"], "StoreError: elsewhere/run.json: not found"),
    ],
)
def test_words_that_cannot_be_meant_exit_with_usage(decided, words, message, capsys):
    assert main(["review", *(word.format(run=decided.run) for word in words)]) == 2
    assert message in capsys.readouterr().err


def test_a_run_tells_how_many_decisions_it_carried(decided):
    words = command("run", decided.workflow, "--set", "change.min_area_m2=30000")
    said = subprocess.run(words, env=environment(), capture_output=True, text=True).stdout
    assert "reviewed       1 of 2 decisions carried to this list, 1 without an object in it" in said
