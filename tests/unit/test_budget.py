"""A budget: what does not fit is refused, what is spent ends a run, and a larger one goes on."""

from __future__ import annotations

import json

import pytest

import lspipe
from lspipe.errors import UsageError, WorkflowError
from lspipe.runs import budget, pipeline
from lspipe.runs.prepare import prepare
from lspipe.workflow import Workflow
from tests.stored import compute_here
from tests.worlds import fingerprints, make_world

TINY = "budget={gpu_hours: 0.0000001}"
BLOCKS = 8


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(
        tmp_path_factory.mktemp("world"),
        size=64,
        cluster={"kind": "tests.stored:here"},
        execution={"block": 32, "retries": 0},
    )


@pytest.fixture(autouse=True)
def computed_here(monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)


@pytest.fixture
def quick(monkeypatch):
    """A machine that says that a batch takes no time."""
    monkeypatch.setattr(budget, "timed_pass", lambda _: 0.0)


def asked(world, *overrides):
    return Workflow.from_file(world.workflow, overrides=overrides)


def with_log(run, *seconds):
    """Add blocks that took so long to the log of a run."""
    lines = [{"event": "block", "network": one} for one in seconds]
    lines += [
        {"event": "block"},
        {"event": "start", "network": 7},
    ]  # of an earlier lspipe; no block
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.usefixtures("quick")
def test_a_run_that_spent_its_budget_ends_and_goes_on_to_the_same_bytes(world, tmp_path):
    whole = lspipe.run(asked(world), output=tmp_path / "whole")
    assert (whole.exit_code, whole.is_over_budget, whole.total) == (0, False, BLOCKS)
    run = tmp_path / "run"
    some = lspipe.run(asked(world, TINY), output=run)
    assert (some.state, some.exit_code, some.done) == ("partial", 2, 1)
    assert some.as_json()["is_over_budget"]
    assert some.warnings[0].startswith("budget.gpu_hours: ")
    assert "raise it and run the same command again" in some.warnings[0]
    assert json.loads((run / "run.json").read_text())["state"] == "partial"
    # Nothing is left of it, so it is no longer tried.
    with pytest.raises(UsageError, match=f"{BLOCKS - 1} of {BLOCKS} blocks are left"):
        lspipe.run(asked(world, TINY), output=run)
    rest = lspipe.run(asked(world, "budget={gpu_hours: 9}"), output=run)
    assert (rest.state, rest.exit_code, rest.done, rest.skipped) == ("finished", 0, BLOCKS - 1, 1)
    assert fingerprints(run) == fingerprints(tmp_path / "whole")


@pytest.mark.usefixtures("quick")
def test_a_finished_run_needs_no_budget(world, tmp_path):
    lspipe.run(asked(world), output=tmp_path)
    again = lspipe.run(asked(world, TINY), output=tmp_path)
    assert (again.state, again.exit_code, again.skipped) == ("finished", 0, BLOCKS)


def test_a_plan_larger_than_its_budget_is_refused_with_what_to_change(world, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "timed_pass", lambda _: 3600.0)
    plan = lspipe.plan(asked(world), output=tmp_path)
    ((_, passes),) = budget.work(plan, plan.setting)
    fits, less = (f"budget={{gpu_hours: {passes + more}}}" for more in (0.5, -0.5))
    lspipe.plan(asked(world, fits), output=tmp_path)
    for call in (lspipe.plan, lspipe.run):
        with pytest.raises(UsageError, match="two batches on this machine") as error:
            call(asked(world, less), output=tmp_path)
        assert f"{passes:.3g} h" in str(error.value)
        for word in ("raise the budget", "preset", "aoi", "limit"):
            assert word in str(error.value)
    # A part of it fits.
    assert lspipe.run(asked(world, less), output=tmp_path, limit=1).done == 2


def test_blocks_that_are_done_tell_how_long_the_others_take(world, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "timed_pass", lambda _: pytest.fail("timed"))
    lspipe.plan(asked(world), output=tmp_path)
    with_log(tmp_path, 900, 2700)
    prepared = prepare(asked(world, "budget={gpu_hours: 4}"), tmp_path)
    assert budget.Spent.of(prepared) == budget.Spent(4 * 3600, 3600, 2)
    budget.check_budget(prepared, 6)  # an hour is spent, and each takes half an hour
    with pytest.raises(UsageError, match=r"found 4 h, expected at least 4.5 h: 1 h are spent"):
        budget.check_budget(prepared, 7)


def test_who_starts_over_has_spent_nothing(world, tmp_path):
    lspipe.plan(asked(world), output=tmp_path)
    with_log(tmp_path, 3600)
    prepared = prepare(asked(world, TINY), tmp_path, fresh=True)
    assert budget.Spent.of(prepared).seconds == 0


def test_without_a_budget_nothing_is_measured_and_nothing_ends_a_run(world, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "timed_pass", lambda _: pytest.fail("timed"))
    prepared = prepare(asked(world), tmp_path)
    budget.check_budget(prepared, prepared.left)
    assert not budget.Spent(None, 1e9).why_stop()


def test_a_budget_is_in_no_fingerprint(world, tmp_path):
    one, two = (
        prepare(asked(world, *given), tmp_path).plan for given in ((), ("budget={gpu_hours: 3}",))
    )
    assert one.detection_fingerprint == two.detection_fingerprint
    assert one.change_fingerprint == two.change_fingerprint


def test_a_budget_of_nothing_is_refused(world):
    with pytest.raises(WorkflowError, match="budget.gpu_hours"):
        asked(world, "budget={gpu_hours: 0}")
