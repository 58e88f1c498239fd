"""What the verbs say: `plan`, and the JSON of those that only wrote something."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import lspipe
from lspipe.cli import main
from lspipe.errors import ModelError, UsageError
from lspipe.inference.presets import AGREEMENT
from lspipe.inference.reference import ModelReference
from lspipe.inference.settings import TOO_LITTLE
from lspipe.models import read_item
from lspipe.runs.prepare import Prepared, prepare, whats_left
from lspipe.runs.validation import validate
from lspipe.workflow import Workflow
from tests.worlds import add_scene, ground, make_world, plan_only

SMALL = {"window": 16, "stride": 8, "tta": "none"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), cluster={"workers": 2})


def told(capsys, *words, code=0):
    """Standard output and error of a command that ends as expected."""
    found = main([str(word) for word in words])
    answer = capsys.readouterr()
    assert found == code, answer.err
    return answer.out, answer.err


def unfolded(out):
    """Lines of a text, each with those it was folded into."""
    return re.sub(r"\n {15}(?=\S)", " ", out).splitlines()


def test_a_plan_reads_as_a_person_would_ask(world, tmp_path, capsys):
    out, err = told(capsys, "plan", world.workflow, "--output", tmp_path / "run")
    lines = dict(line.split(maxsplit=1) for line in unfolded(out) if line[0].isalpha())
    # A path is not folded, so that it can be pasted.
    short = [line for line in out.splitlines() if str(tmp_path) not in line]
    assert max(map(len, short)) <= 84, "a terminal has 80 columns, a table a little more"
    assert "left to do     18 of 18 blocks, then the list" in out
    assert lines["area"] == "12,046 km2 (tiles 18GYS)"
    assert "  before  2017-01-15 14:37  " in out
    assert lines["dates"] == "before 2017-01-01 to 2017-03-31, after 2018-01-01 to 2018-03-31"
    assert lines["inference"] == (
        "window 32, stride 16 (overlap 50.0%), tta d4 max average-then-max, blend uniform"
    )
    assert (
        "decided by   workflow: window, stride, tta; paper default: tta_merge, tta_order, blend; "
        "default: batch_size"
    ) in "\n".join(unfolded(out))
    assert "computed with  cpu fp32 eager, batches of 4, 1 thread" in out
    assert "18 new, 0 done, 0 to redo" in out
    assert "per worker, which has" in out
    assert "on 2 workers of this machine's speed" in " ".join(out.split())
    table = out.partition("presets ")[2].splitlines()[2:7]
    names = [line.strip("* ").split("  ")[0] for line in table]
    assert names == ["paper", "balanced", "fast", "preview", "as asked"]
    assert [line.strip().startswith("*") for line in table] == [False] * 4 + [True]
    assert err == ""


def test_a_plan_says_why_its_runtime_was_chosen(world, tmp_path, capsys):
    words = ("plan", world.workflow, "--output", tmp_path / "run", "--set")
    said = f"  as           {TOO_LITTLE}"
    assert said in unfolded(told(capsys, *words, "name=small")[0])
    asked, _ = told(capsys, *words, "inference.runtime=eager")
    assert "  as  " not in asked


def test_a_plan_for_machines_holds_the_same(world, tmp_path, capsys):
    out, _ = told(capsys, "plan", world.workflow, "--output", tmp_path / "run", "--json")
    facts = json.loads(out)
    assert facts["computed_with"]["runs_as"] == "cpu fp32 eager, batches of 4, 1 thread"
    assert facts["inference"]["sources"]["stride"] == "workflow"
    assert facts["dates"]["after"] == ["2018-01-01", "2018-03-31"]
    (tile,) = facts["tiles"]
    assert (tile["new"], tile["done"], tile["redo"]) == (18, 0, 0)
    cost = facts["estimate"]
    assert [row["name"] for row in cost["presets"]][:4] == ["paper", "balanced", "fast", "preview"]
    assert cost["presets"][1]["agreement"] == list(AGREEMENT["balanced"])
    assert cost["memory_per_worker"] > cost["peak_bytes_per_worker"] > 0
    assert cost["agreement_source"].startswith("F1 to the mask of paper")


def test_the_days_of_an_event_are_printed(world, tmp_path, capsys):
    event = "dates={event: 2018-01-01}"
    words = ("plan", world.workflow, "--output", tmp_path / "run", "--set", event)
    assert (
        "dates          before 2017-01-02 to 2017-04-01, after 2018-01-02 to 2018-04-01 "
        "(derived from the event of 2018-01-01)"
    ) in unfolded(told(capsys, *words)[0])


def test_a_plan_names_the_cloud_of_each_scene_and_those_left_out(tmp_path, capsys):
    world = make_world(tmp_path, size=64, inference=SMALL, execution={"block": 40})
    hazy = {"time": "2018-02-19T14:37:51Z", "clouds": [(20, 30, 30)], "baseline": "04.00"}
    add_scene(tmp_path, size=64, values=ground(), **hazy)
    out, _ = told(capsys, "plan", world.workflow)
    assert re.search(r"after   2018-01-20 14:37  0\.0% of the area is cloud, masked or empty", out)
    assert re.search(r"left out, after: 2018-02-19 14:37  [3-9]\d\.\d% is cloud", out)
    facts = json.loads(told(capsys, "plan", world.workflow, "--json")[0])
    (_, after) = facts["tiles"][0]["steps"]
    assert after["scenes"][0]["masked_share"] == 0
    assert facts["area"]["km2"] == pytest.approx(109.8**2, rel=0.01)


def test_a_scene_can_be_left_out_by_its_id(tmp_path, capsys):
    world = make_world(tmp_path, size=64, inference=SMALL, execution={"block": 40})
    add_scene(tmp_path, size=64, values=ground(), time="2018-02-19T14:37:51Z", baseline="04.00")
    first = lspipe.plan(world.workflow)
    assert "exclude" not in first.detection_inputs["search"], "equal to plans from before the key"
    chosen = first.tiles[0].steps[1].items[0].id
    out, _ = told(capsys, "plan", world.workflow, "--set", f"search.exclude=[{chosen}, S2A_GONE]")
    assert f"excluded       {chosen}, S2A_GONE (search.exclude)" in unfolded(out)
    assert "search.exclude: S2A_GONE: no scene of this id was found" in " ".join(out.split())
    assert f"          {chosen}\n" not in out
    both = [item["id"] for item in json.loads((world.run / "items.json").read_text())["features"]]
    assert chosen not in both
    every = ", ".join([chosen, *(name for name in both if "2018" in name)])
    _, err = told(capsys, "plan", world.workflow, "--set", f"search.exclude=[{every}]", code=4)
    assert "search.exclude leaves out all 2 that were found" in err


TIGHT = "cluster.memory_per_worker=100MB"


def test_a_plan_that_does_not_fit_is_shown_and_refused(world, tmp_path, capsys):
    words = ("plan", world.workflow, "--output", tmp_path / "run", "--set", TIGHT)
    out, err = told(capsys, *words, code=2)
    assert "per worker, which has 0.10 GB" in out
    assert err.startswith("UsageError: a block of 80 px needs 0.6")
    assert "no block size fits; give a worker" in err


def test_a_run_that_does_not_fit_is_refused_before_anything_is_touched(world, tmp_path):
    tight = Workflow.from_file(world.workflow, overrides=(TIGHT,))
    run = tmp_path / "run"
    for fresh in (False, True):
        with pytest.raises(UsageError, match="a block of 80 px needs"):
            lspipe.run(tight, output=run, fresh=fresh)
        assert not run.exists()


# --- what is left -------------------------------------------------------------------------------


@pytest.fixture
def planned(world, tmp_path):
    """A run directory as an earlier call left it: set `is_done` and what its run.json says."""
    first = prepare(Workflow.from_file(world.workflow), tmp_path / "run")

    def earlier(*, done=(), failures=(), state="failed", overrides=(), outputs=None):
        cells = np.zeros((2, 9), bool)
        for cell in done:
            cells[cell] = True
        previous = {
            "state": state,
            "failures": [
                {"tile": "18GYS", "step": step, "index": index, "error": "HTTP 404"}
                for step, index in failures
            ],
            "fingerprints": {"change": first.plan.change_fingerprint},
            "workflow": first.plan.workflow.model_dump(mode="json"),
            "outputs": {} if outputs is None else outputs,
        }
        plan = plan_only(Workflow.from_file(world.workflow, overrides=overrides))
        return Prepared(first.run, plan, previous, first.frozen, {"18GYS": cells})

    return earlier


EVERYTHING = [np.s_[:, :]]


def test_blocks_that_failed_and_are_not_done_since_are_to_be_redone(planned):
    # Block (1, 2) is the sixth of nine; it was done on the second date by a later call.
    failures = [(0, [0, 1]), (0, [1, 2]), (1, [1, 2])]
    prepared = planned(done=[np.s_[1, 5]], failures=failures)
    assert prepared.counts() == {"18GYS": (1, 2)}
    assert whats_left(prepared) == "17 of 18 blocks, then the list"


def test_another_change_section_redoes_only_what_follows_the_maps(planned):
    prepared = planned(
        done=EVERYTHING,
        state="finished",
        overrides=("change.min_area_m2=500",),
        outputs={"geoparquet": "inventory.parquet"},
    )
    assert (
        whats_left(prepared) == "only change, list and files (change: min_area_m2: 900.0 -> 500.0)"
    )
    assert prepared.counts() == {"18GYS": (18, 0)}


def test_done_blocks_whose_list_was_never_written_need_only_that(planned):
    assert whats_left(planned(done=EVERYTHING, state="running")).startswith("only the list")


def test_a_finished_run_has_nothing_left(planned):
    prepared = planned(done=EVERYTHING, state="finished", outputs={})
    asked = prepared.plan.workflow.model_copy(update={"output": SimpleNamespace(write=())})
    finished = replace(prepared, plan=replace(prepared.plan, workflow=asked))
    assert whats_left(finished) == "nothing, all is done"


# --- verbs that wrote something -----------------------------------------------------------------


def test_init_says_for_machines_what_it_wrote(tmp_path, capsys):
    path = tmp_path / "my.yaml"
    out, err = told(capsys, "init", path, "--json")
    schema = tmp_path / "lspipe.schema.json"
    assert json.loads(out) == {"workflow": str(path), "schema": str(schema)}
    assert str(path) in err
    assert told(capsys, "init", tmp_path / "other.yaml")[0] == ""


def test_validate_notes_what_is_not_there_yet(world, capsys):
    words = ("validate", world.workflow, "--set", "search.catalog=later")
    out, err = told(capsys, *words)
    assert out.splitlines()[:2] == [
        f"{world.workflow}: valid (bare-ground)",
        "area           12,046 km2 (tiles 18GYS)",
    ]
    assert err == f"note: search.catalog: {world.folder / 'later'} is not there yet\n"
    facts = json.loads(told(capsys, *words, "--json")[0])
    assert len(facts["not_there_yet"]) == 1
    assert told(capsys, "validate", world.workflow)[1] == ""


def test_a_truth_that_is_missing_is_noted_by_validate_and_refused_before_anything_is_planned(
    world, tmp_path, capsys
):
    words = (world.workflow, "--set", "evaluate.truth=known.geojson")
    missing = world.folder / "known.geojson"
    assert f"note: evaluate.truth: {missing} is not there" in told(capsys, "validate", *words)[1]
    for verb in ("plan", "run"):
        out, err = told(capsys, verb, *words, "--output", tmp_path / "run", code=2)
        assert (out, f"evaluate.truth: found {missing}, which is no file" in err) == ("", True)
    assert not (tmp_path / "run").exists()


def test_validate_refuses_results_that_cannot_be_written(world, capsys):
    words = ("validate", world.workflow, "--set", "output.path=workflow.yaml/run")
    assert "workflow.yaml, which is not a folder" in told(capsys, *words, code=2)[1]


def test_validate_loads_a_network_only_where_a_quick_look_finds_an_obstacle(
    world, tmp_path, monkeypatch
):
    item = read_item("shipped:demo")
    for path in (item.path, item.weights):
        shutil.copy(path, tmp_path / path.name)
    asked = Workflow.from_file(
        world.workflow, overrides=(f"model.item={tmp_path / item.path.name}",)
    )
    with monkeypatch.context() as patch:
        patch.setattr(ModelReference, "of", None)
        assert validate(asked)["model"] == "demo"
    with (tmp_path / item.weights.name).open("r+b") as file:
        file.write(b"other")
    with pytest.raises(ModelError, match="the weights were changed or not fully copied"):
        validate(asked)


def test_a_plan_refuses_scenes_without_the_classes_of_the_mask(tmp_path):
    world = make_world(tmp_path, size=64, inference=SMALL, execution={"block": 40})
    for path in (tmp_path / "items").glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        del document["assets"]["scl"]
        path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError, match=r"no scene classes \(SCL\), which cube\.mask\.scl needs"):
        lspipe.plan(world.workflow)
    lspipe.plan(Workflow.from_file(world.workflow, overrides=("cube.mask.scl=[]",)))


def test_validate_asks_whether_a_wide_area_and_swapped_dates_are_meant(world):
    wide = Workflow.from_file(world.workflow, overrides=("aoi={bbox: [-72, -70, -43, -43]}",))
    assert "is a wide area; a bbox is [west, south, east, north]" in validate(wide)["notes"][0]
    days = [f"{{start: {year}-01-01, end: {year}-02-01}}" for year in (2018, 2017)]
    swapped = Workflow.from_file(
        world.workflow, overrides=(f"dates={{before: {days[0]}, after: {days[1]}}}",)
    )
    assert validate(swapped)["notes"] == [
        "dates: before is later than after: new and vanished change places"
    ]
    assert validate(Workflow.from_file(world.workflow))["notes"] == []
