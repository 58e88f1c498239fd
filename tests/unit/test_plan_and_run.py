"""`lspipe.plan` and `lspipe.run`, called from Python: what they take, freeze and refuse."""

from __future__ import annotations

import json

import geopandas as gpd
import pytest
import zarr

import lspipe
from lspipe.cli import main
from lspipe.errors import NothingFound, StoreError, UsageError, WorkflowError
from lspipe.runs import store
from lspipe.runs.prepare import opened, prepare
from lspipe.runs.validation import validate
from lspipe.workflow import Workflow
from tests.worlds import fingerprints, make_world, plan_only


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def test_plan_freezes_what_the_command_does(world, tmp_path, capsys):
    plan = lspipe.plan(world.workflow, output=tmp_path / "python")
    assert main(["plan", str(world.workflow), "--output", str(tmp_path / "words"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fingerprints"]["detection"] == plan.detection_fingerprint
    for name in ("items.json", "run.json"):
        one, two = (store.read_json(tmp_path / run / name) for run in ("python", "words"))
        assert one | {"timings": None} == two | {"timings": None}


def test_plan_takes_a_workflow_or_its_file_and_writes_where_it_says(tmp_path):
    world = make_world(tmp_path)
    plan = lspipe.plan(Workflow.from_file(world.workflow))
    assert store.read_json(world.run / "run.json")["state"] == "planned"
    before = fingerprints(world.run)
    again = lspipe.plan(str(world.workflow))
    assert again.change_fingerprint == plan.change_fingerprint
    assert fingerprints(world.run) == before, "planned already: nothing is written"


def test_a_plan_is_described_only_to_whom_asks(world, tmp_path, capsys):
    told = {}
    lspipe.plan(world.workflow, output=tmp_path, report=lambda event: told.update(vars(event)))
    assert told["description"]["left"] == "18 of 18 blocks, then the list"
    assert told["estimate"].windows > 0
    assert "warnings" in told
    assert capsys.readouterr() == ("", "")


def test_plan_refuses_what_the_command_refuses(world, tmp_path):
    run = tmp_path / "run"
    lspipe.plan(world.workflow, output=run)
    tight = Workflow.from_file(world.workflow, overrides=("cluster.memory_per_worker=100MB",))
    with pytest.raises(UsageError, match="a block of 80 px needs"):
        lspipe.plan(tight, output=run)
    (run / "run.json").unlink()
    with store.lock(run), pytest.raises(StoreError, match="in use by"):
        lspipe.plan(world.workflow, output=run)
    empty = "dates.before={start: 2016-06-01, end: 2016-07-01}"
    with pytest.raises(NothingFound):
        lspipe.plan(Workflow.from_file(world.workflow, overrides=(empty,)), output=tmp_path / "no")
    assert not (tmp_path / "no").exists()
    with pytest.raises(WorkflowError, match="no such file"):
        lspipe.plan(tmp_path / "gone.yaml")


ANOTHER = {
    "inference.stride=8": "inference.stride: 16 -> 8",
    "dates={after: {start: 2018-01-01, end: 2018-03-31}}": "dates.before",
}


@pytest.mark.parametrize(("override", "differs"), ANOTHER.items())
def test_a_plan_of_which_nothing_was_computed_gives_way_to_another(
    world, tmp_path, override, differs
):
    run, events = tmp_path / "run", []
    lspipe.plan(world.workflow, output=run)
    mine = run / "inventory.edited-1.gpkg"
    mine.write_bytes(b"what a person decided")
    asked = Workflow.from_file(world.workflow, overrides=(override,))
    plan = lspipe.plan(asked, output=run, report=events.append)
    note = events[0].text
    assert note.startswith(f"{run}: planned anew, as nothing was computed of its plan yet (")
    assert differs in note
    recorded = store.read_json(run / "run.json")
    assert recorded["fingerprints"]["detection"] == plan.detection_fingerprint
    assert mine.read_bytes() == b"what a person decided"


@pytest.mark.parametrize("is_computed_meanwhile", [False, True])
def test_a_plan_gives_way_only_while_nothing_is_computed(world, tmp_path, is_computed_meanwhile):
    run = tmp_path / "run"
    plan = lspipe.plan(world.workflow, output=run)
    grids = [tile.grid for tile in plan.tiles]
    store.create(run, grids, fingerprint=plan.detection_fingerprint)
    asked = Workflow.from_file(world.workflow, overrides=("inference.stride=8",))
    other = prepare(asked, run)
    cells = zarr.open_group(run / store.DETECTIONS / "18GYS", mode="r+")["done"]
    cells[0, 0, 0] = int(is_computed_meanwhile)
    if not is_computed_meanwhile:
        with opened(other):
            assert store.layout(run, "18GYS") is None
        return
    message = "made by another workflow: inference.stride: 16 -> 8"
    with pytest.raises(StoreError, match=message), opened(other):
        pass


def test_run_takes_the_file_of_a_workflow(world, tmp_path):
    # Refused only once the plan is known, and before anything is computed.
    for workflow in (world.workflow, str(world.workflow), Workflow.from_file(world.workflow)):
        with pytest.raises(UsageError, match="19GBP: not in this run; it has 18GYS"):
            lspipe.run(workflow, output=tmp_path / "run", tiles=("19GBP",))


@pytest.fixture
def with_roads(world, tmp_path):
    """A workflow with a layer of flags, and the file of it."""
    road = gpd.GeoSeries.from_wkt(["LINESTRING (700500 5190000, 700500 5200000)"], crs=32718)
    road.to_file(tmp_path / "roads.geojson", driver="GeoJSON")
    layer = f"{{name: roads, path: {tmp_path / 'roads.geojson'}, buffer_m: 30}}"
    workflow = Workflow.from_file(world.workflow, overrides=(f"flags.layers=[{layer}]",))
    return workflow, tmp_path / "roads.geojson"


@pytest.mark.parametrize("call", ["validate", "plan", "run"])
def test_a_layer_of_flags_that_is_no_map_is_refused_before_anything_is_written(
    with_roads, tmp_path, call
):
    workflow, path = with_roads
    path.write_text("no map", encoding="utf-8")
    calls = {
        "validate": lambda: validate(workflow),
        "plan": lambda: lspipe.plan(workflow, output=tmp_path / "run"),
        "run": lambda: lspipe.run(workflow, output=tmp_path / "run"),
    }
    with pytest.raises(
        WorkflowError, match=r"flags.layers.0.path: .*roads.geojson: cannot be read"
    ):
        calls[call]()
    assert not (tmp_path / "run").exists()


def test_flags_decide_the_list_and_no_probability(world, with_roads):
    workflow, path = with_roads
    plain = plan_only(Workflow.from_file(world.workflow))
    one = plan_only(workflow)
    # As runs that were made before there were flags.
    assert set(plain.change_inputs) == {"change"}
    assert one.detection_fingerprint == plain.detection_fingerprint
    assert one.change_fingerprint != plain.change_fingerprint
    path.write_text(path.read_text("utf-8").replace("}", "} ", 1), encoding="utf-8")
    other = plan_only(workflow)
    assert other.detection_fingerprint == one.detection_fingerprint
    assert other.change_fingerprint != one.change_fingerprint, "the file has other content"
