"""Layers of a tile: written once, by whichever process ends it, and again when they change."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import zarr

from lspipe import outputs
from lspipe.outputs import layers
from lspipe.runs import layered, pipeline, steps, store
from lspipe.runs.export import export
from lspipe.runs.opened import open_run
from lspipe.runs.prepare import prepare
from lspipe.workflow import Workflow
from tests.stored import compute_here
from tests.worlds import change_workflow, environment, make_world

TILE = "18GYS"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    made = make_world(
        tmp_path_factory.mktemp("world"),
        size=120,
        cluster={"kind": "tests.stored:here"},
        execution={"block": 60},
        inference={"window": 32, "stride": 32, "tta": "none"},
        output={"path": "run", "write": ["geoparquet", "cog"]},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        pipeline.run(made.workflow)
    return made


@pytest.fixture
def world(finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    return replace(
        finished, folder=folder, workflow=folder / "workflow.yaml", run=folder / finished.run.name
    )


@pytest.fixture
def made(monkeypatch):
    """Names of the tiles whose layers are written from now on."""
    names, write = [], layers.write_tile

    def noted(run, tile, path, **asked):
        names.append(tile)
        return write(run, tile, path, **asked)

    monkeypatch.setattr(layers, "write_tile", noted)
    return names


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_they_are_those_that_an_export_writes(finished, tmp_path):
    outputs.write("cog", open_run(finished.run), tmp_path / "layers")
    assert files(finished.run / "layers") == files(tmp_path / "layers")


def test_a_process_that_has_nothing_but_the_run_directory_writes_the_same_bytes(world, tmp_path):
    expected = files(world.run / "layers")
    shutil.rmtree(world.run / "layers")
    layered.begin(open_run(world.run))
    asked = layered.asked_of(open_run(world.run))[TILE]
    script = (
        "import pickle, sys; from lspipe.runs import layered\n"
        "layered.make(pickle.loads(sys.stdin.buffer.read()))"
    )
    sent = pickle.dumps(asked)
    assert len(sent) < 10_000
    subprocess.run(
        [sys.executable, "-c", script],
        input=sent, check=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    tiles = {name: content for name, content in expected.items() if name.startswith(TILE)}
    assert files(world.run / "layers") == tiles
    layered.write(open_run(world.run))
    assert files(world.run / "layers") == expected


def test_an_edit_of_the_list_alone_writes_no_layer_again(world, made):
    change_workflow(world, change={"min_area_m2": 5000})
    before = files(world.run / "layers")
    summary = pipeline.run(world.workflow)
    assert (summary.state, made) == ("finished", [])
    assert files(world.run / "layers") == before


def lose_a_file(run):
    (run / "layers" / f"{TILE}_change.tif").unlink()


def lose_names_of_classes(run):
    (run / "layers" / f"{TILE}_change.tif.aux.xml").unlink()


def compute_a_block_again(run):
    zarr.open_group(run / store.DETECTIONS / TILE, mode="r+")["done"][0, 0, 0] = 0


def end_the_tile_by_other_rules(run):
    path = run / store.OBJECTS / f"{TILE}.json"
    store.write_json(path, store.read_json(path) | {"key": "another"})


@pytest.mark.parametrize(
    "change",
    [lose_a_file, lose_names_of_classes, compute_a_block_again, end_the_tile_by_other_rules],
)
def test_what_changed_is_written_again(world, made, change):
    change(world.run)
    export(world.run)
    assert made == [TILE]
    assert layered.ready(layered.asked_of(open_run(world.run))[TILE], layered.present(world.run))


def test_another_notice_of_the_licence_writes_them_again(world):
    asked = layered.asked_of(open_run(world.run))[TILE]
    there = layered.present(world.run)
    assert layered.ready(asked, there)
    assert not layered.ready(replace(asked, notice="another"), there)


def test_nothing_is_said_of_files_that_are_half_replaced(world, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    lose_a_file(world.run)
    monkeypatch.setattr(layers, "write_tile", killed)
    with pytest.raises(KeyboardInterrupt):
        export(world.run)
    assert not (world.run / store.OBJECTS / f"{TILE}.layers.json").exists()


def test_a_run_whose_tiles_were_not_ended_writes_them_each_time(world, made):
    (world.run / store.OBJECTS / f"{TILE}.json").unlink()
    export(world.run)
    export(world.run)
    assert made == [TILE, TILE]


def test_all_names_are_recorded_before_the_first_file(world):
    names = {f"layers/{name}" for name in files(world.run / "layers") if name.startswith(TILE)}
    (world.run / ".written.json").unlink()
    layered.begin(open_run(world.run))
    # Also that of the slope, which only runs that know the terrain have.
    beside = ("slope", "vv_change_asc", "vv_change_desc", "radar_density")
    maybe = {f"layers/{TILE}_{name}.tif" for name in beside}
    assert set(store.written(world.run)["layers"]) == {*names, *maybe}
    # So a fresh start removes them.
    store.clear(world.run)
    assert not {path.name for path in (world.run / "layers").iterdir()} & {
        name.removeprefix("layers/") for name in names
    }


def test_a_worker_ends_a_tile_with_its_layers(world, monkeypatch):
    monkeypatch.setattr(steps, "SMALL", 0)
    prepared = prepare(Workflow.from_file(world.workflow), world.run)
    assert steps.endings(prepared, {}).tiles == frozenset()
    expected = files(world.run / "layers")
    lose_a_file(world.run)
    found = steps.endings(prepared, {})
    assert found.tiles == {TILE}
    found.end(TILE)()
    assert files(world.run / "layers") == expected
    assert steps.endings(prepared, {}).tiles == frozenset()


def test_a_run_that_writes_no_layers_has_its_tiles_ended_without(world, monkeypatch, made):
    monkeypatch.setattr(steps, "SMALL", 0)
    change_workflow(world, output={"path": "run", "write": ["geoparquet"]})
    (world.run / store.OBJECTS / f"{TILE}.json").unlink()
    prepared = prepare(Workflow.from_file(world.workflow), world.run)
    steps.endings(prepared, {}).end(TILE)()
    assert made == []
