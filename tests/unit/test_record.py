"""What a run says about itself: the log, the versions, how far it is."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest

import lspipe
from lspipe.cli.summaries import status_text
from lspipe.errors import StoreError
from lspipe.runs import store
from lspipe.runs.describe import runs_as
from lspipe.runs.events import BlockDone, BlockFailed, Failure, Start, ignore
from lspipe.runs.jobs import BlockResult
from lspipe.runs.log import Log, read_log
from lspipe.runs.record import PACKAGES, run_json, versions
from lspipe.runs.status import check_run_directory, read_status
from lspipe.workflow import Workflow
from tests.worlds import make_world, plan_only


def test_an_event_is_logged_and_reported_with_the_same_facts(tmp_path):
    reported = []
    log = Log(tmp_path / "log.jsonl", reported.append)
    failure = Failure("18GYS", 1, (2, 0), "swir16 of X: HTTP 404")
    done = BlockResult(
        "18GYS", 0, (0, 1), windows=4, windows_run=3, failed_reads=0, seconds=0.5, network=0.4,
        writing=0.1,
    )  # fmt: skip
    events = [Start(9), BlockDone(done), BlockFailed(failure)]
    for event in events:
        log(event)
    log.close()
    # The caller gets the thing itself, the file its words.
    assert reported == events
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "block", "failure"]
    assert lines[1].pop("time")
    assert lines[1] == {
        "event": "block", "tile": "18GYS", "step": 0, "index": [0, 1], "windows": 4,
        "windows_run": 3, "failed_reads": 0, "seconds": 0.5, "network": 0.4, "writing": 0.1,
        "is_more": False, "inputs": None, "masks": None, "worker": "",
    }  # fmt: skip
    assert lines[2]["failure"] == "block (2, 0) of 18GYS: swir16 of X: HTTP 404"
    times = [datetime.fromisoformat(lines[number]["time"]) for number in (0, 2)]
    assert times == sorted(times)
    assert all(time.utcoffset() == timedelta(0) for time in times)


def test_every_event_is_on_disk_at_once_and_a_later_run_appends(tmp_path):
    path = tmp_path / "log.jsonl"
    for number in range(3):
        log = Log(path, ignore)
        log(Start(number))
        # Not closed yet: a kill now loses nothing.
        assert [event["total"] for event in read_log(path)] == list(range(number + 1))
        log.close()


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "start"}\n{"event": "block"}\n{"event": "blo', encoding="utf-8")
    assert [event["event"] for event in read_log(path)] == ["start", "block"]
    assert read_log(tmp_path / "none.jsonl") == []


def test_a_run_after_a_kill_begins_a_line_of_its_own(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "start"}\n{"event": "blo', encoding="utf-8")
    log = Log(path, ignore)
    log(Start(4))
    log.close()
    assert [event["event"] for event in read_log(path)] == ["start", "start"]


def test_run_json_takes_a_token_from_nowhere(tmp_path):
    plan = plan_only(Workflow.from_file(make_world(tmp_path).workflow))
    search = replace(plan.workflow.search, catalog="https://me:SECRET@stac.example/v1?token=SECRET")
    workflow = plan.workflow.model_copy(update={"search": search})
    content = run_json(replace(plan, workflow=workflow), state="planned")
    assert content["workflow"]["search"]["catalog"] == "https://stac.example/v1"
    assert "SECRET" not in json.dumps(content)
    assert content["state"] == "planned"
    assert content["fingerprints"]["detection"] == plan.detection_fingerprint


def test_run_json_says_in_a_line_what_computed_it(tmp_path):
    workflow = Workflow.from_file(
        make_world(tmp_path).workflow, overrides=("inference.batch_size=4", "inference.device=cpu")
    )
    plan = plan_only(workflow)
    model = run_json(plan, state="planned")["model"]
    assert model["runs_as"] == "cpu fp32 eager, batches of 4, 1 thread"
    fields = ("device", "precision", "runtime", "batch_size", "threads")
    assert [model[name] for name in fields] == ["cpu", "fp32", "eager", 4, 1]
    decides = plan.detection_inputs["inference"]
    assert {name: decides[name] for name in fields} == {name: model[name] for name in fields}
    assert decides["screen"] is None


def test_a_batch_size_that_is_not_known_yet_is_no_number():
    assert runs_as("cuda", "bf16", "eager", None) == (
        "cuda bf16 eager, batches as large as fit, 1 thread"
    )


def test_versions_name_every_package_that_decides_a_result(monkeypatch):
    found = versions()
    assert set(found) == {"python", "machine", *PACKAGES}
    assert found["numpy"] == version("numpy")
    assert found["lspipe"] == lspipe.__version__, "installed from another version: make install"
    monkeypatch.setattr("lspipe.runs.record.PACKAGES", ("numpy", "no-such-package"))
    assert versions()["no-such-package"] == "not installed"


def content(failures=()):
    return {
        "name": "small",
        "state": "failed" if failures else "planned",
        "tiles": {
            "18GYS": {"blocks": 9, "steps": [{}, {}]},
            "18GYT": {"blocks": 4, "steps": [{}]},
        },
        "failures": list(failures),
    }


def write_log(run, *events):
    """Write events given as (second, name)."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    lines = [
        json.dumps({"time": (began + timedelta(seconds=second)).isoformat(), "event": name})
        for second, name in events
    ]
    (run / "log.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_status_counts_blocks_of_every_tile_and_date(tmp_path):
    status = read_status(tmp_path, content(), {"18GYS": 5})
    assert status["tiles"] == {
        "18GYS": {"done": 5, "total": 18},
        "18GYT": {"done": 0, "total": 4},
    }
    assert (status["done"], status["total"]) == (5, 22)
    assert (status["blocks_per_minute"], status["eta_seconds"]) == (None, None)


def test_the_rate_is_that_of_the_last_start_only(tmp_path):
    write_log(
        tmp_path,
        # An earlier, slow attempt, then a night.
        *((0, "start"), (600, "block"), (1200, "block")),
        *((40000, "start"), (40010, "block"), (40020, "block"), (40030, "block")),
    )
    status = read_status(tmp_path, content(), {"18GYS": 5})
    assert status["blocks_per_minute"] == pytest.approx(6)
    assert status["eta_seconds"] == 170  # 17 blocks of 10 s


def test_one_block_is_no_rate_and_a_finished_run_has_no_time_left(tmp_path):
    write_log(tmp_path, (0, "start"), (10, "block"))
    assert read_status(tmp_path, content(), {})["blocks_per_minute"] is None
    write_log(tmp_path, (0, "start"), (10, "block"), (20, "block"))
    done = read_status(tmp_path, content(), {"18GYS": 18, "18GYT": 4})
    assert done["blocks_per_minute"] == pytest.approx(6)
    assert done["eta_seconds"] is None


def test_the_share_of_time_that_workers_compute_is_told(tmp_path):
    def at(second, event, **facts):
        return json.dumps({"time": f"2026-11-29T10:00:{second:02d}+00:00", "event": event, **facts})

    lines = [
        at(0, "block", network=50.0, writing=1.0),  # of an earlier process
        at(1, "start"),
        at(2, "worker", worker="one", role="computes"),
        at(2, "worker", worker="two", role="computes"),
        at(2, "worker", worker="three", role="reads"),
        at(10, "block", network=8.0, writing=1.0),
        at(20, "block", network=9.0, writing=1.0),
        at(20, "block", network=6.0, writing=1.0),
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    facts = read_status(tmp_path, content(), {})
    assert facts["busy_share"] == 0.75
    assert "the network ran 75% of the time of its workers" in status_text(facts)
    (tmp_path / "log.jsonl").write_text("\n".join(lines[:6]) + "\n")
    assert read_status(tmp_path, content(), {})["busy_share"] is None


def test_the_share_of_each_worker_is_told_the_least_busy_first(tmp_path):
    def at(second, event, **facts):
        return json.dumps({"time": f"2026-11-29T10:00:{second:02d}+00:00", "event": event, **facts})

    one, two = "tcp://10.0.0.7:1", "tcp://10.0.0.8:1"
    lines = [
        at(0, "block", network=50.0, writing=1.0, worker=one),  # of an earlier process
        at(1, "start"),
        *(
            at(2, "worker", worker=f"{name} ({address})", role="computes", device="H200")
            for name, address in (("a", one), ("b", two))
        ),
        at(2, "worker", worker="c (tcp://10.0.0.9:1)", role="reads", device="H200"),
        at(10, "block", network=8.0, writing=1.0, worker=one),
        at(12, "block", network=9.0, writing=1.0, worker=two),
        at(20, "block", network=9.0, writing=1.0, worker=one),
        at(30, "block", network=9.5, writing=1.0, worker=one),
        at(32, "block", network=5.0, writing=1.0, worker=two),
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    facts = read_status(tmp_path, content(), {})
    told = [(each["worker"], each["device"], each["blocks"], each["network_seconds"], each["busy"])
            for each in facts["workers"]]  # fmt: skip
    assert told == [
        (f"a ({one})", "H200", 3, 26.5, 0.93),  # 18.5 of 20 s
        (f"b ({two})", "H200", 2, 14.0, 0.25),
    ]
    said = status_text(facts).splitlines()
    assert said[-3:-1] == [
        f"     25% b ({two}), H200, 2 blocks", f"     93% a ({one}), H200, 3 blocks",
    ]  # fmt: skip
    many = [each | {"worker": f"{number}"} for number in range(5) for each in facts["workers"]]
    assert "    and 2 that are no less busy" in status_text(facts | {"workers": many}).splitlines()


def test_runs_whose_blocks_do_not_say_who_computed_them_have_no_shares(tmp_path):
    write_log(tmp_path, (0, "start"), (10, "block"), (20, "block"))
    assert read_status(tmp_path, content(), {})["workers"] == []


def test_equal_failures_are_one_line_with_their_number(tmp_path):
    failures = [
        {"tile": "18GYS", "step": 0, "index": [0, n], "error": error}
        for n, error in enumerate(["HTTP 404", "HTTP 403", "HTTP 404"])
    ]
    assert read_status(tmp_path, content(failures), {})["failures"] == {
        "HTTP 404": 2,
        "HTTP 403": 1,
    }


def test_a_folder_that_is_no_run_directory_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"no run\.json here"):
        check_run_directory(tmp_path)
    (tmp_path / "run.json").touch()
    check_run_directory(tmp_path)


@pytest.mark.parametrize("is_running", [False, True])
def test_a_process_that_is_gone_is_told_from_one_that_works(tmp_path, is_running):
    with store.lock(tmp_path) if is_running else nullcontext():
        facts = read_status(tmp_path, content() | {"state": "running"}, {})
    assert (facts["state"], facts["is_running"]) == ("running", is_running)
    first = status_text(facts).splitlines()[0]
    assert ("the process is gone; the same command resumes" in first) is not is_running
    assert not store.is_locked(tmp_path)


def test_how_long_a_run_took_is_said_stage_by_stage(tmp_path):
    took = {"seconds": 4000.0, "timings": {"search": 2.4, "blocks": 3900.0}}
    said = status_text(read_status(tmp_path, content() | took, {}))
    assert "  took 1 h 06 min: search 2 s, blocks 1 h 05 min\n" in said
    assert "took" not in status_text(read_status(tmp_path, content(), {}))
