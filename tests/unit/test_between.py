"""Two finished runs compared: the same as one run of both dates, or the reason why not."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pytest

import lspipe
from lspipe.cli import main
from lspipe.errors import UsageError
from lspipe.runs import pipeline, store
from lspipe.runs.between import change
from tests.stored import compute_here
from tests.worlds import change_workflow, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATES = {
    "before": {"start": "2017-01-01", "end": "2017-03-31"},
    "after": {"start": "2018-01-01", "end": "2018-03-31"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Runs of the earlier date, of the later one, and of both."""
    world = make_world(
        tmp_path_factory.mktemp("world"),
        size=240,
        after={"clouds": ((150, 180, 12),)},
        inference={"window": 16, "stride": 16, "tta": "none"},
        execution={"block": 120},
        cluster={"kind": "tests.stored:here"},
    )
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        for name, dates in {
            "2017": {"after": DATES["before"]},
            "2018": {"after": DATES["after"]},
            "both": DATES,
        }.items():
            change_workflow(world, dates=dates)
            lspipe.run(world.workflow, output=folder / name)
        yield {path.name: path for path in folder.iterdir()}


def test_radar_of_other_days_is_not_asked_for(runs: dict[str, Path], tmp_path: Path) -> None:
    later = shutil.copytree(runs["2018"], tmp_path / "later")
    record = json.loads((later / "run.json").read_text("utf-8"))
    record["workflow"]["radar"] = {"collection": "sentinel-1-rtc", "before": DATES["before"]}
    (later / "run.json").write_text(json.dumps(record), "utf-8")
    summary = change(runs["2017"], later, output=tmp_path / "run")
    assert (summary.state, dict(summary.seen_by_radar)) == ("finished", {})
    assert lspipe.open_run(tmp_path / "run").workflow["radar"]["collection"] is None


def test_two_runs_give_the_list_of_one_run_of_both_dates(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    summary = change(runs["2017"], runs["2018"], output=tmp_path / "run")
    assert summary.state == "finished"
    assert (summary.done, summary.skipped) == (0, summary.total)
    for name in ("inventory", "unobserved"):
        found, expected = (
            gpd.read_parquet(run / f"{name}.parquet") for run in (tmp_path / "run", runs["both"])
        )
        assert len(found) > 0
        assert found.equals(expected), name
    for which, layer in ((store.DETECTIONS, "probability"), (store.EVIDENCE, "true_colour"),
                         (store.CHANGE, "state")):  # fmt: skip
        np.testing.assert_array_equal(
            store.read(tmp_path / "run", which, "18GYS", layer),
            store.read(runs["both"], which, "18GYS", layer),
        )


def test_the_other_way_round_what_is_new_has_vanished(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    there = change(runs["2017"], runs["2018"], output=tmp_path / "there").statuses
    back = change(runs["2018"], runs["2017"], output=tmp_path / "back").statuses
    assert there["new"] == back["vanished"] > 0
    assert there.get("vanished", 0) == back.get("new", 0)


def test_another_rule_makes_only_the_list_again(runs: dict[str, Path], tmp_path: Path) -> None:
    first = change(runs["2017"], runs["2018"], output=tmp_path / "run")
    again = change(
        runs["2017"], runs["2018"], output=tmp_path / "run", overrides=("change.min_area_m2=1e7",)
    )
    assert first.statuses
    assert not again.statuses
    assert again.state == "finished"


def test_of_a_run_of_two_dates_the_later_one_is_compared(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    summary = change(runs["2017"], runs["both"], output=tmp_path / "run")
    assert summary.statuses == change(
        runs["2017"], runs["2018"], output=tmp_path / "other"
    ).statuses  # fmt: skip


def test_the_verb_says_what_it_found(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["change", str(runs["2017"]), str(runs["2018"]), "--output", str(tmp_path / "run")]
    assert main(words) == 0
    assert "new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        (("detection_inputs", "model", "sha256"), "0" * 64, r"differ in model\.sha256: "),
        (("detection_inputs", "inference", "stride"), 8, r"differ in inference\.stride: 16 -> 8"),
        (("detection_inputs", "cube", "mask", "dilate_px"), 9, r"cube\.mask\.dilate_px: 3 -> 9"),
        (("detection_inputs", "numerics"), 0, "differ in numerics: "),
        (("detection_inputs", "tiles", "18GYS", "grid"), ["EPSG:32719"], "grids of 18GYS differ"),
        (("detection_inputs", "tiles"), {}, "have no common tile"),
        (("state",), "failed", "found a run that is failed, expected a finished one"),
    ],
)  # fmt: skip
def test_runs_that_cannot_be_compared_are_refused_with_the_reason(
    where: tuple[str, ...], value: object, told: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    other = shutil.copytree(runs["2018"], tmp_path / "other")
    record = place = store.read_json(other / "run.json")
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    store.write_json(other / "run.json", record)
    with pytest.raises(UsageError, match=told):
        change(runs["2017"], other, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_compared_with_itself(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="overlapping"):
        change(runs["2017"], runs["2017"], output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
