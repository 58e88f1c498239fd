"""Which tiles are ended: remembered with what was asked, and ended again when that changes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lspipe.runs import ended, pipeline, steps, store, tail
from lspipe.runs.prepare import prepare
from lspipe.runs.tail_plan import tails_of
from lspipe.workflow import Workflow
from tests.stored import compute_here
from tests.worlds import fingerprints, make_world

HERE = {"kind": "tests.stored:here"}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)
    made = make_world(tmp_path, size=120, cluster=HERE, execution={"block": 60})
    pipeline.run(made.workflow)
    return made


@pytest.fixture
def asked(world):
    plan = prepare(Workflow.from_file(world.workflow), world.run).plan
    (one,) = tails_of(plan).values()
    return one, plan.detection_fingerprint


@pytest.fixture
def written(monkeypatch):
    """Names of the tiles that are ended from now on."""
    names, write = [], tail.write

    def counted(run, one):
        names.append(one.grid.tile)
        return write(run, one)

    monkeypatch.setattr(tail, "write", counted)
    return names


def test_a_tile_is_ended_once(world, asked, written):
    assert ended.is_ended(world.run, *asked)
    again = ended.end(world.run, *asked)
    assert written == []
    (world.run / "objects" / "18GYS.json").unlink()
    assert ended.end(world.run, *asked) == again
    assert written == ["18GYS"]


def change(one, **rules):
    return replace(one, rules=replace(one.rules, **rules))


@pytest.mark.parametrize(
    ("rules", "is_ended"),
    [({"min_area_m2": 5000.0}, True), ({"tolerance_px": 2}, False), ({"threshold": 0.7}, False)],
)
def test_only_rules_that_decide_its_files_end_a_tile_again(world, asked, rules, is_ended):
    one, fingerprint = asked
    assert ended.is_ended(world.run, change(one, **rules), fingerprint) is is_ended


def test_another_block_or_another_detection_ends_a_tile_again(world, asked):
    one, fingerprint = asked
    assert not ended.is_ended(world.run, one, "another")
    cells = store.done(world.run, "18GYS")
    assert cells.all()
    _undo(world.run)
    assert not ended.is_ended(world.run, one, fingerprint)


def _undo(run):
    import zarr

    zarr.open_group(run / store.DETECTIONS / "18GYS", mode="r+")["done"][0, 0, 0] = 0


@pytest.mark.parametrize("name", ["18GYS.parquet", "18GYS.unobserved.parquet"])
def test_a_file_that_is_gone_is_written_again(world, asked, written, name):
    (world.run / "objects" / name).unlink()
    ended.end(world.run, *asked)
    assert written == ["18GYS"]
    assert (world.run / "objects" / name).exists()


def test_nothing_is_said_of_half_written_files(world, asked, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tail, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        ended.end(world.run, asked[0], "another")
    assert not (world.run / "objects" / "18GYS.json").exists()


def test_what_is_remembered_is_what_was_found(world):
    facts = json.loads((world.run / "objects" / "18GYS.json").read_text())
    assert facts["failed_reads"] == 0
    assert facts["counted"]["wanted_m2"] == pytest.approx(1200**2, rel=1e-2)


def test_small_tiles_are_left_to_the_client(world, monkeypatch):
    prepared = prepare(Workflow.from_file(world.workflow), world.run)
    (world.run / "objects" / "18GYS.json").unlink()
    assert steps.endings(prepared, {}).tiles == frozenset()
    monkeypatch.setattr(steps, "SMALL", 100)
    found = steps.endings(prepared, {})
    assert found.tiles == {"18GYS"}
    assert found.takes_slot
    before = fingerprints(world.run)
    found.end("18GYS")()
    assert steps.endings(prepared, {}).tiles == frozenset()
    assert fingerprints(world.run) == before
