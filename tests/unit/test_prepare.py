"""When a run counts as finished, and in which order a directory is begun."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lspipe.errors import StoreError
from lspipe.runs import listing, prepare, store
from lspipe.runs.prepare import Prepared, opened, read_done, whats_left
from lspipe.runs.record import run_json
from lspipe.search.acquisitions import freeze
from lspipe.workflow import Workflow
from tests.stored import store_run
from tests.worlds import make_world

SIZE = 64


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(
        tmp_path_factory.mktemp("world"),
        size=SIZE,
        inference={"window": 16, "stride": 8, "tta": "none"},
        execution={"block": 40},
        output={"path": "run", "write": ["geoparquet", "geojson"]},
    )


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """A run directory that is finished; tests put back what they take."""
    run = tmp_path_factory.mktemp("whole") / "run"
    made = store_run(world, run, probability=np.zeros((2, SIZE, SIZE), np.uint16))
    written = listing.write(run, made.plan).outputs
    content = run_json(made.plan, state="finished")
    content["outputs"] = {name: path.name for name, path in written.items()}
    store.write_json(run / "run.json", content)
    store.write_json(run / "items.json", freeze([t.tile for t in made.plan.tiles]))
    return run


def prepared(world, run, *overrides):
    return prepare.prepare(Workflow.from_file(world.workflow, overrides=overrides), run)


def test_a_run_whose_blocks_list_and_files_are_there_is_finished(world, whole):
    found = prepared(world, whole)
    assert found.is_finished
    assert (found.left, found.total) == (0, 8)
    assert found.counts() == {"18GYS": (8, 0)}
    assert prepared(world, whole, "output.write=[geojson]").is_finished


def test_a_format_that_was_added_is_still_to_be_written(world, whole):
    found = prepared(world, whole, "output.write=[geoparquet, geojson, gpkg]")
    assert not found.is_finished
    assert whats_left(found) == "only the list and its files: all blocks are done"


@pytest.mark.parametrize("name", ["inventory.parquet", "inventory.geojson", "unobserved.parquet"])
def test_a_file_that_is_gone_is_written_again(world, whole, name):
    path = whole / name
    content = path.read_bytes()
    path.unlink()
    try:
        assert not prepared(world, whole).is_finished
    finally:
        path.write_bytes(content)
    assert prepared(world, whole).is_finished


def test_another_change_section_or_a_state_that_is_not_finished_is_not(world, whole):
    assert not prepared(world, whole, "change.min_area_m2=0").is_finished
    found = prepared(world, whole)
    for state in ("partial", "failed", "running", "interrupted"):
        earlier = {**found.previous, "state": state}
        assert not replace(found, previous=earlier).is_finished
    assert not replace(found, previous=None).is_finished


def test_a_block_that_is_not_done_is_left_whatever_the_file_says(world, tmp_path):
    nothing = np.zeros((2, SIZE, SIZE), np.uint16)
    for count, is_finished in ((4, True), (3, False)):
        run = tmp_path / str(count)
        made = store_run(world, run, "output.write=[]", probability=nothing, only=count)
        earlier = {**run_json(made.plan, state="finished"), "outputs": {}}
        found = Prepared(run, made.plan, earlier, {}, read_done(run, made.plan))
        assert found.is_finished is is_finished
        assert found.left == 2 * (4 - count)
        assert found.done["18GYS"].tolist() == [[True, True, True, is_finished]] * 2


def test_blocks_are_told_from_each_other_by_row_and_column(world, tmp_path):
    made = store_run(world, tmp_path, probability=np.zeros((2, SIZE, SIZE), np.uint16), only=2)
    (tile,) = made.plan.tiles
    assert [block.index for block in tile.blocks] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    done = read_done(tmp_path, made.plan)
    assert done["18GYS"][0].tolist() == [True, True, False, False]
    failures = [{"tile": "18GYS", "step": 1, "index": [0, 1], "error": "HTTP 404"}]
    found = Prepared(tmp_path, made.plan, {"failures": failures}, {}, done)
    assert found.failed == {("18GYS", 1, 0, 1)}
    assert replace(found, previous=None).failed == replace(found, previous={}).failed == set()


# --- the first writes ---------------------------------------------------------------------------


def test_a_kill_between_the_first_two_writes_does_not_lock_the_directory(
    world, tmp_path, monkeypatch
):
    first = prepared(world, tmp_path / "run")
    original, written = store.write_json, []

    def second_fails(path, content, **form):
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        original(path, content, **form)

    with monkeypatch.context() as patch:
        patch.setattr(prepare.store, "write_json", second_fails)
        with pytest.raises(KeyboardInterrupt), opened(first):
            pass
    # run.json says that there is a run, so it comes when the items that it needs are there.
    assert written == ["items.json"]
    with opened(prepared(world, tmp_path / "run")) as current:
        assert current.previous is None
    content = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert content["state"] == "planned"
    assert json.loads((tmp_path / "run" / "items.json").read_text()) == first.frozen


def test_the_frozen_items_of_a_run_rule_and_fresh_searches_again(world, whole, monkeypatch):
    def refuse(*_, **__):
        raise StoreError("a search that nobody asked for")

    monkeypatch.setattr(prepare, "find_tiles", refuse)
    prepared(world, whole)
    with pytest.raises(StoreError, match="nobody asked for"):
        prepare.prepare(Workflow.from_file(world.workflow), whole, fresh=True)


def test_blocks_of_a_run_stay_as_they_were_cut(world, whole):
    # Another size in the workflow changes no pixel, and so not what is done.
    found = prepared(world, whole, "execution.block=64")
    assert found.plan.tiles[0].grid.block == 40
    assert found.is_finished


def test_a_directory_that_another_process_wrote_meanwhile_is_looked_at_again(world, tmp_path):
    early = prepared(world, tmp_path / "run")
    with opened(early):
        pass
    with opened(early) as current:
        assert current.previous["state"] == "planned"
