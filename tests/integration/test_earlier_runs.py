"""Run directories that an earlier lspipe left behind are finished, listed and resumed.

`tests/data/*-run-2026-11.zip` were made by the commit 237c8ec, of a world of 160 x 160 px in blocks
of 80: one run that was stopped after three of eight blocks, and the same one finished. In their
JSON files, `@FOLDER@` stands for the folder of the archive.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pytest
from geopandas.testing import assert_geodataframe_equal

import lspipe
from lspipe.runs import store
from lspipe.runs.prepare import prepare, whats_left
from lspipe.schema.columns import EVIDENCE, FLAGS, RADAR, RANK, SPREAD, TERRAIN
from lspipe.workflow import Workflow
from tests.stored import IN_THIS_PROCESS
from tests.worlds import change_workflow, fingerprints, make_world

if TYPE_CHECKING:
    from tests.worlds import World

KEPT = Path(__file__).resolve().parent.parent / "data"
TILE = "18GYS"


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


def unpack(name: str, run: Path, archive: Path) -> None:
    """Put a kept run directory where its workflow expects it."""
    with zipfile.ZipFile(KEPT / f"{name}-run-2026-11.zip") as kept:
        kept.extractall(run)
    for path in (run / "run.json", run / "items.json", run / "log.jsonl"):
        path.write_text(path.read_text("utf-8").replace("@FOLDER@", str(archive)), "utf-8")


@pytest.fixture
def world(tmp_path: Path, cluster: dict[str, str]) -> World:
    """The archive and the workflow that both runs were made of."""
    return make_world(
        tmp_path,
        size=160,
        output={"path": "run", "write": ["geoparquet", "geojson"]},
        cluster=cluster,
    )


def listed(run: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(run / "inventory.parquet")


def codes(run: Path) -> np.ndarray:
    return store.read(run, store.DETECTIONS, TILE, "probability").astype(int)


def contents(run: Path) -> dict[str, str]:
    """sha256 of every file, those that hold times too."""
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_an_earlier_run_that_was_finished_is_finished_and_nothing_is_written(world):
    unpack("finished", world.run, world.folder)
    before = contents(world.run)
    summary = lspipe.run(Workflow.from_file(world.workflow))
    assert (summary.state, summary.done, summary.skipped) == ("finished", 0, 8)
    assert summary.statuses == {"new": 1, "persistent": 1}
    assert contents(world.run) == before


def test_an_earlier_run_is_listed_again_as_it_was(world):
    unpack("finished", world.run, world.folder)
    before, stored = listed(world.run), fingerprints(world.run)
    for path in world.run.glob("inventory.*"):
        path.unlink()
    summary = lspipe.run(Workflow.from_file(world.workflow))
    assert (summary.state, summary.done) == ("finished", 0)
    found = listed(world.run)
    # Measures of an outline may differ in the last bit on another processor.
    assert_geodataframe_equal(found[before.columns], before, check_less_precise=True)
    # The run stored what the columns are made of that it did not have.
    assert set(found.columns) - set(before.columns) == (
        {*EVIDENCE, *FLAGS, *RANK} - {*TERRAIN, *RADAR, *SPREAD, "gentle_slope"}
    )
    assert found[["ndvi_drop", "brightness_change", "water_m"]].notna().all(axis=None)
    assert sorted(found["rank"]) == [1, 2]
    after = fingerprints(world.run)
    maps = {name for name in stored if ".zarr/" in name}
    assert {name: after[name] for name in maps} == {name: stored[name] for name in maps}


def test_an_earlier_run_that_lost_its_evidence_is_listed_with_empty_cells(world):
    unpack("finished", world.run, world.folder)
    before = listed(world.run)
    (world.run / "inventory.parquet").unlink()
    for layer in ("ndvi", "scl"):
        shutil.rmtree(world.run / store.EVIDENCE / TILE / layer)
    summary = lspipe.run(Workflow.from_file(world.workflow))
    assert (summary.state, summary.done) == ("finished", 0)
    found = listed(world.run)
    assert found["id"].tolist() == before["id"].tolist()
    assert found[["ndvi_before", "ndvi_drop", "water_m", "snow_share"]].isna().all(axis=None)
    assert found["brightness_change"].notna().all()


def test_the_flags_of_an_earlier_run_can_be_edited(world):
    unpack("finished", world.run, world.folder)
    stored = fingerprints(world.run)
    change_workflow(world, flags={"river_bank": None})
    workflow = Workflow.from_file(world.workflow)
    assert whats_left(prepare(workflow, world.run)) == (
        "only change, list and files (flags: river_bank: 30.0 -> null)"
    )
    summary = lspipe.run(workflow)
    assert (summary.state, summary.done) == ("finished", 0)
    assert "river_bank" not in listed(world.run)
    maps = {name for name in stored if name.startswith(("detections.zarr/", "evidence.zarr/"))}
    assert {name: fingerprints(world.run)[name] for name in maps} == {n: stored[n] for n in maps}
    # Nothing is left to do, and with the flags as they were the list is made again.
    assert lspipe.run(workflow).skipped == 8
    change_workflow(world, flags={})
    lspipe.run(Workflow.from_file(world.workflow))
    assert "river_bank" in listed(world.run)


def test_the_change_section_of_an_earlier_run_can_be_edited(world):
    unpack("finished", world.run, world.folder)
    change_workflow(world, change={"min_area_m2": 30_000})
    summary = lspipe.run(Workflow.from_file(world.workflow))
    assert (summary.state, summary.done) == ("finished", 0)
    areas = listed(world.run)["area_m2"]
    assert len(areas) == 1
    assert areas.min() >= 30_000


def test_an_earlier_run_that_was_stopped_is_resumed(world):
    unpack("partial", world.run, world.folder)
    earlier, done = codes(world.run), store.done(world.run, TILE)
    assert done.sum() == 3
    whole = world.folder / "whole"
    unpack("finished", whole, world.folder)
    summary = lspipe.run(Workflow.from_file(world.workflow))
    assert (summary.state, summary.done, summary.skipped) == ("finished", 5, 3)
    after = codes(world.run)
    is_done = np.kron(done, np.ones((80, 80), bool))
    np.testing.assert_array_equal(after[is_done], earlier[is_done])
    # A code may be rounded otherwise on another processor.
    assert np.abs(after - codes(whole)).max() <= 1
    names = ["id", "status", "n_px", "date_before", "date_after", "items_before", "items_after"]
    assert_tables_equal(listed(world.run)[names], listed(whole)[names])


def assert_tables_equal(found, expected) -> None:
    assert json.loads(found.to_json(date_format="iso")) == json.loads(
        expected.to_json(date_format="iso")
    )
