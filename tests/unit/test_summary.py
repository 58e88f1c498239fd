"""What a run adds up over all its calls."""

from __future__ import annotations

import json
from types import SimpleNamespace

import geopandas as gpd
import pytest
import shapely

import lspipe
from lspipe.cli.summaries import summary_text
from lspipe.evaluate.truth import ListScore
from lspipe.runs import pipeline, steps, stream, summary, timings
from lspipe.runs.prepare import prepare
from lspipe.runs.status import status
from lspipe.workflow import Workflow
from tests.stored import compute_here
from tests.worlds import add_scene, ground, make_world


def block(index, windows, run, tile="18GYS", step=0):
    facts = {"tile": tile, "step": step, "index": index, "windows": windows, "windows_run": run}
    return json.dumps({"time": "2026-11-21T00:00:00.000+00:00", "event": "block", **facts})


def test_windows_are_added_up_over_killed_calls_and_blocks_done_twice(tmp_path):
    lines = [
        json.dumps({"time": "2026-11-21T00:00:00.000+00:00", "event": "start", "total": 4}),
        block([0, 0], 10, 10),
        block([0, 1], 20, 5),
        block([0, 0], 30, 3, step=1),
        # A kill cut this line off; the next call did the block again, and (0, 1) too.
        block([0, 0], 99, 99, tile="18GYT")[:-20],
        block([0, 0], 40, 4, tile="18GYT"),
        block([0, 1], 21, 6),
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert summary._window_counts(summary._blocks_of(tmp_path)) == {
        "needed": 10 + 21 + 30 + 40,
        "run": 10 + 6 + 3 + 4,
    }


@pytest.mark.parametrize(
    ("hidden", "told"),
    [
        (0, "found 3 of 5 known landslides; 3 of 4 listed ones are right"),
        (2, "found 3 of 5 known landslides (2 could not be seen); 3 of 4 listed ones are right"),
    ],
)
def test_the_score_says_how_many_known_landslides_could_not_be_seen(tmp_path, hidden, told):
    ended = summary.Summary(
        run=tmp_path, state="finished", total=1, done=1, skipped=0, failures=(),
        observed_share=0.9, is_two_date=True,
    )  # fmt: skip
    text = summary_text(ended, ListScore(found=3, known=5, right=3, listed=4, hidden=hidden))
    assert told in " ".join(text.split())


def test_a_clock_adds_up_its_stages_and_what_lies_between_them(monkeypatch):
    moments = iter([10, 11, 14, 20, 21, 25])
    monkeypatch.setattr(timings, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    clock = timings.Clock({"search": 2})
    for _ in range(2):
        with clock.stage("blocks"):
            pass
    assert clock.stages == {"search": 2, "blocks": 3 + 1}
    assert clock.seconds == 2 + (25 - 10)


def test_a_plan_that_was_made_before_the_run_counts(world):
    lspipe.plan(Workflow.from_file(world.workflow))
    planned = run_json(world)
    assert planned["timings"].keys() == {"search", "plan"}
    planned["timings"]["search"] = 9.0
    (world.run / "run.json").write_text(json.dumps(planned))
    run(world)
    assert run_json(world)["timings"]["search"] == 9.0


def test_a_run_without_blocks_ran_no_windows(tmp_path):
    assert summary._window_counts(summary._blocks_of(tmp_path)) == {"needed": 0, "run": 0}


# --- whole calls, whose blocks are computed here ------------------------------------------------

SIZE = 64
AFTER = "S2A_18GYS_20180120_0_L2A"


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)


@pytest.fixture
def world(tmp_path):
    return make_world(
        tmp_path,
        size=SIZE,
        before={"values": ground((10, 10, 12, 12))},
        after={"values": ground((10, 10, 12, 12), (40, 40, 12, 12)), "clouds": [(20, 50, 5)]},
        inference={"window": 16, "stride": 8, "tta": "none"},
        execution={"block": 40},
        cluster={"kind": "tests.stored:here"},
    )


def run(world, *overrides, **options):
    return lspipe.run(Workflow.from_file(world.workflow, overrides=overrides), **options)


def run_json(world):
    return json.loads((world.run / "run.json").read_text(encoding="utf-8"))


def test_a_finished_run_says_again_what_it_said(world):
    (world.folder / "scenes" / AFTER / "B11.tif").unlink()
    asked = ("cube.on_read_error=nodata",)
    first = run(world, *asked)
    assert (first.state, first.done, first.skipped) == ("finished", 8, 0)
    assert first.failed_reads == SIZE * SIZE
    assert first.statuses == {"undetermined": 1}
    assert first.observed_share == pytest.approx(0, abs=1e-6)
    assert set(first.outputs) == {"geoparquet", "unobserved"}
    again = run(world, *asked)
    assert again.as_json() == first.as_json() | {
        "blocks": {"total": 8, "done": 0, "skipped": 8, "failed": 0}
    }
    assert again.is_two_date
    assert run_json(world)["counts"]["objects"] == {"undetermined": 1}


def test_a_tile_without_scenes_is_said_by_the_plan_the_run_and_its_file(world):
    asked = ("aoi={tiles: [18GYS, 18GYT]}",)
    text = "tile 18GYT was asked for and has no scene on either date: nothing is done there"
    planned = []
    lspipe.plan(Workflow.from_file(world.workflow, overrides=asked), report=planned.append)
    assert planned[0].warnings[0] == text
    first = run(world, *asked)
    assert (first.state, first.warnings[0]) == ("finished", text)
    assert run_json(world)["warnings"] == list(planned[0].warnings)
    assert run(world, *asked).warnings[0] == text  # also of a run that was finished


def test_a_run_warns_of_what_the_plan_warns_of(world):
    planned, events = [], []
    lspipe.plan(Workflow.from_file(world.workflow), report=planned.append)
    warned = tuple(planned[0].warnings)
    assert "processing baselines before and after 04.00 are mixed" in warned[0]
    first = run(world, report=events.append)
    assert tuple(event.text for event in events if event.kind == "warning") == warned
    assert first.warnings == warned == run(world).warnings
    assert first.as_json()["warnings"] == run_json(world)["warnings"] == list(warned)


def test_calls_add_up_to_a_run(world, monkeypatch):
    part = run(world, limit=1)
    assert (part.state, part.done, part.skipped, part.total) == ("partial", 2, 0, 8)
    content = run_json(world)
    assert content["seconds"] >= 0
    assert set(content["timings"]) == set(timings.STAGES)
    earlier = {
        "seconds": 5000.0,
        "timings": {**content["timings"], "search": 70.0, "blocks": 400.0},
    }
    (world.run / "run.json").write_text(json.dumps(content | earlier))
    # The listing of the second call takes an hour.
    moment, write = [0.0], pipeline.listing.write
    monkeypatch.setattr(timings, "time", SimpleNamespace(perf_counter=lambda: moment[0]))

    def slow(*asked):
        moment[0] += 3600
        return write(*asked)

    monkeypatch.setattr(pipeline.listing, "write", slow)
    rest = run(world)
    assert (rest.state, rest.done, rest.skipped, rest.total) == ("finished", 6, 2, 8)
    content = run_json(world)
    assert content["seconds"] == 5000 + 3600
    assert content["timings"]["listing"] == earlier["timings"]["listing"] + 3600
    # A call that resumes does not search.
    assert (content["timings"]["search"], content["timings"]["blocks"]) == (70, 400)
    assert status(world.run)["timings"] == content["timings"]
    assert content["windows"]["needed"] == content["windows"]["run"] > 8
    assert content["counts"] == {
        "total": 8, "done": 6, "skipped": 2, "failed": 0, "objects": {"new": 1, "persistent": 1},
    }  # fmt: skip
    assert content["outputs"]["geoparquet"] == "inventory.parquet"


def test_failures_are_kept_until_their_blocks_are_tried_again(world):
    path = world.folder / "scenes" / AFTER / "B11.tif"
    whole = path.read_bytes()
    path.write_bytes(b"no picture")
    failed = run(world)
    assert (failed.state, failed.exit_code, len(failed.failures)) == ("failed", 3, 4)
    kept = [(f["tile"], f["step"], f["index"]) for f in run_json(world)["failures"]]
    assert kept == [("18GYS", 1, [row, column]) for row in (0, 1) for column in (0, 1)]
    # One of them is tried again, in vain; the other three are remembered.
    assert run(world, limit=1, only_failed=True).state == "failed"
    again = run_json(world)["failures"]
    assert sorted((f["tile"], f["step"], f["index"]) for f in again) == kept
    path.write_bytes(whole)
    assert run(world, limit=1, only_failed=True).state == "partial"
    assert len(run_json(world)["failures"]) == 3
    assert run(world).state == "finished"
    assert run_json(world)["failures"] == []


def test_nothing_outside_of_the_area_is_computed_or_listed(world):
    corner = gpd.GeoSeries([shapely.box(700300, 5199400, 700600, 5199700)], crs=32718)
    corner.to_crs(4326).to_file(world.folder / "area.geojson")
    summary = run(world, "aoi={file: area.geojson}")
    assert summary.statuses == {"new": 1}
    codes = pipeline.store.read(world.run, pipeline.store.DETECTIONS, "18GYS", "probability")
    assert (codes[:, :29] == 65535).all()
    assert (codes[:, 32:58, 36:62] != 65535).all()


def test_blocks_are_submitted_by_themselves_place_by_place_and_read_at_their_own_date(
    world, monkeypatch
):
    prepared = prepare(Workflow.from_file(world.workflow), world.run)
    (tile,) = prepared.plan.tiles
    todo = {("18GYS", 0): list(tile.blocks[1:3]), ("18GYS", 1): list(tile.blocks[:2])}
    asked = []

    def block_tasks(source, job, blocks, **more):
        asked.append((job.step, f"{source.step.time:%Y-%m-%d}", blocks, more))
        return []

    monkeypatch.setattr(steps.worker, "block_tasks", block_tasks)
    batches = list(steps.tasks_of(prepared, todo))
    assert [(b.tile, b.blocks) for b in batches] == [
        ("18GYS", ((1, (0, 0)),)),
        ("18GYS", ((0, (0, 1)),)),
        ("18GYS", ((1, (0, 1)),)),
        ("18GYS", ((0, (1, 0)),)),
    ]
    assert isinstance(batches[0], stream.BlockTasks)
    for batch in batches:
        batch.build({"inference": 1})
    assert [more["first"] for *_, more in asked] == [0, 1, 2, 3]
    assert [step for step, *_ in asked] == [1, 0, 1, 0]
    days = ["2018-01-20", "2017-01-15", "2018-01-20", "2017-01-15"]
    assert [day for _, day, *_ in asked] == days
    places = [(0, 0), (0, 1), (0, 1), (1, 0)]
    assert [block.index for *_, blocks, _ in asked for block in blocks] == places
    assert all(more["bands"] == prepared.plan.model.bands for *_, more in asked)
    assert all(more["resources"] == {"inference": 1} for *_, more in asked)
    assert all(more["ground"] is None for *_, more in asked)  # no terrain is asked for


def test_a_second_tile_goes_after_all_blocks_of_the_first(tmp_path, monkeypatch):
    world = make_world(
        tmp_path, size=SIZE, aoi={"tiles": ["18GYS", "18GYT"]}, execution={"block": 40},
        inference={"window": 16, "stride": 8, "tta": "none"},
    )  # fmt: skip
    for when in ("2017-01-15T14:37:51Z", "2018-01-20T14:37:51Z"):
        add_scene(tmp_path, tile="18GYT", size=SIZE, time=when, values=ground())
    prepared = prepare(Workflow.from_file(world.workflow), world.run)
    todo = {(t.tile.name, step): list(t.blocks) for t in prepared.plan.tiles for step in (0, 1)}
    turns = []
    monkeypatch.setattr(
        steps.worker, "block_tasks", lambda *_, first, **__: turns.append(first) or []
    )
    batches = list(steps.tasks_of(prepared, todo))
    assert [b.tile for b in batches] == ["18GYS"] * 8 + ["18GYT"] * 8
    assert [step for b in batches for step, _ in b.blocks] == [0, 1] * 8
    for batch in batches:
        batch.build({})
    assert turns == list(range(16))
