"""Whole runs with other masks than the scene classes: bits, record, candidates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pytest

import lspipe
from lspipe.errors import UsageError
from lspipe.outputs.report.facts import details
from lspipe.runs import store
from lspipe.runs.between import change
from lspipe.runs.frozen import FrozenRun
from lspipe.schema import CODE_NODATA, Quality
from lspipe.workflow import Workflow
from tests.worlds import NEW_SCAR, OLD_SCAR, plan_only, quick_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worlds import World

TILE = "18GYS"
BRIGHT, WHITE = "tests.mask_sources:bright", "tests.mask_sources:white"
WINDOWED = "tests.mask_sources:above_its_window"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, cluster: dict[str, str]) -> World:
    """Two dates, a cloud on the later one away from the scars."""
    return quick_world(
        tmp_path_factory.mktemp("world"),
        after={"clouds": [(30, 200, 14)]},
        cluster=cluster,
        change={"min_area_m2": 5000},  # not the specks at the edge of the cloud
    )


class Ran:
    """A finished run with one mask, or several."""

    def __init__(self, world: World, source: str | list[str], folder: Path, **more: Any) -> None:
        mask = json.dumps({"source": source, "dilate_px": 0, **more})
        workflow = Workflow.from_file(world.workflow, overrides=(f"cube.mask={mask}",))
        self.summary = lspipe.run(workflow, output=folder)
        self.record = json.loads((folder / "run.json").read_text())
        self.list = gpd.read_parquet(folder / "inventory.parquet").set_index("status")
        self.codes, self.quality = (
            store.read(folder, store.DETECTIONS, TILE, name) for name in ("probability", "quality")
        )
        self.folder = folder


@pytest.fixture(scope="module")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: Ran(world, source, folder / name)
        for name, source in (
            ("scl", "scl"), ("white", WHITE), ("bright", BRIGHT), ("both", [WHITE, BRIGHT]),
        )
    }  # fmt: skip


def pixels(rectangle: tuple[int, int, int, int]) -> int:
    return rectangle[2] * rectangle[3]


def test_a_mask_of_bands_hides_the_cloud_and_lists_the_fresh_scar(runs) -> None:
    ran = runs["white"]
    assert ran.summary.state == "finished"
    assert (ran.quality[1] == int(Quality.CLOUD)).sum() > 400
    np.testing.assert_array_equal(ran.codes == CODE_NODATA, ran.quality != 0)
    assert ran.list.loc["new", "n_px"] == pixels(NEW_SCAR)
    # A cloud has the edges of its pixels in both masks, but for those of 20 m of the classes.
    differ = (ran.quality[1] != 0) != (runs["scl"].quality[1] != 0)
    assert 0 < differ.sum() < 120


def test_what_every_mask_hides_is_a_gap_and_no_candidate(runs) -> None:
    ran = runs["bright"]
    assert ran.list.empty
    gaps = gpd.read_parquet(ran.folder / "unobserved.parquet")
    assert set(gaps["reason"]) == {"cloud"}


def test_a_fresh_scar_that_one_of_two_masks_calls_cloud_is_a_candidate(runs) -> None:
    both, bright = runs["both"], runs["bright"]
    # What is stored of the dates is as hidden as with the mask that hides more.
    np.testing.assert_array_equal(both.quality, bright.quality)
    np.testing.assert_array_equal(both.codes, bright.codes)
    assert (both.list.index == "undetermined").all()
    assert sorted(both.list["n_px"]) == sorted([pixels(OLD_SCAR), pixels(NEW_SCAR)])
    # All of the object, and of its rim nothing.
    assert both.list["undetermined_fraction"].between(0.7, 0.9).all()
    aside = store.read(both.folder, store.EVIDENCE, TILE, "doubted")
    seen = runs["white"].codes
    doubt = (both.codes == CODE_NODATA) & (seen != CODE_NODATA)
    np.testing.assert_array_equal(aside, np.where(doubt, seen, CODE_NODATA))
    # A run with one mask has no such layer.
    assert not (bright.folder / store.EVIDENCE / TILE / "doubted").exists()


def test_candidates_of_doubt_are_listed_from_two_runs_of_one_date_too(world, runs, tmp_path):
    folders = []
    for role in ("before", "after"):
        days = Workflow.from_file(world.workflow).dates.ranges()[role]
        mask = json.dumps({"source": [WHITE, BRIGHT], "dilate_px": 0})
        workflow = Workflow.from_file(
            world.workflow,
            overrides=(
                f"cube.mask={mask}", f"dates={{after: {{start: {days.start}, end: {days.end}}}}}",
            ),
        )  # fmt: skip
        folders.append(tmp_path / role)
        lspipe.run(workflow, output=folders[-1])
    change(*folders, output=tmp_path / "both")
    listed = gpd.read_parquet(tmp_path / "both" / "inventory.parquet").set_index("status")
    assert (listed.index == "undetermined").all()
    assert sorted(listed["n_px"]) == sorted(runs["both"].list["n_px"])


def test_what_masks_disagree_about_is_a_share_per_tile_and_date(runs) -> None:
    ran = runs["both"]
    white, bright = (runs[name].quality != 0 for name in ("white", "bright"))
    for number, entry in enumerate(ran.record["masks"][TILE]):
        expected = np.mean(white[number] != bright[number])
        assert entry["disputed"] == pytest.approx(expected, abs=5e-5)
        assert entry["pixels"] == white[number].size
    assert [entry["role"] for entry in ran.record["masks"][TILE]] == ["before", "after"]
    assert "masks" not in runs["white"].record
    assert f"{TILE} before 2017-01-15" in details(lspipe.open_run(ran.folder))["masks"]
    assert not details(lspipe.open_run(runs["white"].folder))["masks"]


def test_a_run_warns_of_masks_that_disagree_about_much(world: World, tmp_path: Path) -> None:
    ran = Ran(world, ["scl", WINDOWED], tmp_path / "run")
    shares = [entry["disputed"] for entry in ran.record["masks"][TILE]]
    assert min(shares) > 0.1
    assert sum("the masks disagree about" in text for text in ran.summary.warnings) == 2


def test_the_mask_is_part_of_the_detection_fingerprint(world: World, runs, monkeypatch) -> None:
    found = {name: ran.record["fingerprints"]["detection"] for name, ran in runs.items()}
    assert len(set(found.values())) == 4
    assert runs["white"].record["detection_inputs"]["masks"][0]["version"] == "1"
    # With the default there is no trace of the key, so that earlier runs are equal.
    inputs = runs["scl"].record["detection_inputs"]
    assert "masks" not in inputs
    assert set(inputs["cube"]["mask"]) == {"scl", "dilate_px", "apply"}
    from tests import mask_sources

    monkeypatch.setattr(mask_sources.white, "version", "2", raising=False)
    workflow = Workflow.from_file(
        world.workflow, overrides=(f"cube.mask={{source: '{WHITE}', dilate_px: 0}}",)
    )
    assert plan_only(workflow).detection_fingerprint != found["white"]
    with pytest.raises(UsageError, match="masks"):
        lspipe.run(workflow, output=runs["white"].folder)


def test_blocks_change_nothing_of_a_mask_with_windows(world: World, tmp_path: Path) -> None:
    found = []
    for block in (60, 240):
        workflow = Workflow.from_file(
            world.workflow,
            overrides=(f"cube.mask.source={WINDOWED}", f"execution.block={block}"),
        )
        lspipe.run(workflow, output=tmp_path / str(block))
        found.append(
            [store.read(tmp_path / str(block), store.DETECTIONS, TILE, name)
             for name in ("probability", "quality")]
        )  # fmt: skip
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(np.unique(found[0][1])) > 2
    # A part that is read again, for patches, has the pixels of the run.
    run = FrozenRun.of(tmp_path / "60")
    tile = run.tiles[0]
    part = slice(70, 131), slice(13, 99)
    _, quality = run.read(tile, tile.steps[1], ("B04",), part)
    np.testing.assert_array_equal(quality, found[0][1][1][part])


def test_l1c_scenes_need_a_mask_that_is_not_of_scene_classes(tmp_path: Path, cluster) -> None:
    made = quick_world(
        tmp_path, size=120, before={"scl": None}, after={"scl": None},
        search={"catalog": "items", "collection": "sentinel-2-l1c"},
        cluster=cluster, execution={"block": 120},
    )  # fmt: skip
    for path in (made.folder / "items").glob("*.json"):
        item = json.loads(path.read_text())
        item["collection"] = "sentinel-2-l1c"
        item["properties"]["processing:level"] = "L1C"
        path.write_text(json.dumps(item))
    with pytest.raises(UsageError, match="set cube.mask.source to csmask, which masks L1C too"):
        lspipe.plan(Workflow.from_file(made.workflow))
    workflow = Workflow.from_file(made.workflow, overrides=(f"cube.mask.source={WHITE}",))
    assert lspipe.run(workflow).state == "finished"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tests.mask_sources:only_toa", "only_toa is made for L1C, S2A_18GYS_.* is L2A"),
        ("tests.mask_sources:needs_b12", r"needs_b12 needs B12, which S2A_18GYS_.* does not have"),
        ("nowhere.json", r"nowhere\.json"),
    ],
)
def test_a_scene_that_a_mask_cannot_mask_is_refused_by_name(world, source, expected) -> None:
    workflow = Workflow.from_file(world.workflow, overrides=(f"cube.mask.source={source}",))
    with pytest.raises(UsageError, match=expected):
        plan_only(workflow)
