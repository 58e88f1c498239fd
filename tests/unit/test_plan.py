"""The plan: everything that decides a pixel is in it, and nothing else is in its fingerprints."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lspipe.clusters import USABLE_MEMORY
from lspipe.errors import ModelError, NothingFound, WorkflowError
from lspipe.inference import windows
from lspipe.inference.runtimes import use_threads
from lspipe.inference.runtimes.choice import Choice, Work
from lspipe.inference.settings import AUTO_BATCH_SIZE, TOO_LITTLE
from lspipe.models.item import SHIPPED_FOLDER
from lspipe.runs.cost import work
from lspipe.runs.memory import BYTES_PER_GRAPH, peak_bytes
from lspipe.runs.plan import (
    BLOCK_SIZES,
    BYTES_PER_PIXEL,
    THREADS,
    fingerprint,
    make,
    open_step,
    record,
    settled,
)
from lspipe.runs.prepare import opened, prepare, resettled
from lspipe.runs.record import run_json
from lspipe.search.acquisitions import freeze
from lspipe.workflow import Workflow
from tests.worlds import add_scene, make_world, plan_only

if TYPE_CHECKING:
    from pathlib import Path

BEFORE, AFTER = "S2A_18GYS_20170115_0_L2A", "S2A_18GYS_20180120_0_L2A"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An archive whose later date has a clear and a cloudy scene; tests only read it."""
    bands = {"bands": ("B02", "B03", "B04", "B08", "B11", "B12")}
    made = make_world(tmp_path_factory.mktemp("world"), before=bands, after=bands)
    cloudy = {"clouds": ((100, 100, 90),), "baseline": "04.00", **bands}
    add_scene(made.folder, time="2018-02-19T14:37:51Z", **cloudy)
    for name in ("demo.json", "demo.safetensors"):
        shutil.copy(SHIPPED_FOLDER / name, made.folder)
    edited = json.loads((made.folder / "demo.json").read_text(encoding="utf-8"))
    edited["properties"]["lspipe:fill"] = 0.5
    (made.folder / "edited.json").write_text(json.dumps(edited), encoding="utf-8")
    return made


def workflow(world, *overrides: str) -> Workflow:
    return Workflow.from_file(world.workflow, overrides=overrides)


@pytest.fixture(scope="module")
def plan(world):
    return plan_only(workflow(world))


# --- fingerprints -------------------------------------------------------------------------------

DECIDES_A_PIXEL = [
    "inference.screen=0.05",
    "dates.after.end=2018-03-30",
    "aoi={bbox: [-72.53, -43.34, -72.52, -43.33]}",
    "search.query={eo:cloud_cover: {lt: 90}}",
    "cube.loader=stackstac",
    "cube.composite=latest",
    "cube.resampling=nearest",
    "cube.on_read_error=nodata",
    "cube.mask.dilate_px=0",
    "cube.mask.apply=input",
    "model.item=demo.json",
    "inference.stride=8",
    "inference.tta=none",
    "inference.blend=hann",
    "inference.batch_size=8",
    "inference.precision=bf16",
]

DECIDES_THE_LIST = [
    "change.threshold=0.4",
    "change.before_below=0.2",
    "change.tolerance_px=0",
    "change.min_gain=0.2",
    "change.min_area_m2=500",
    "change.method=subtract",
]

DECIDES_NEITHER = [
    "search.page_size=7",
    "name=other",
    "cluster.workers=1",
    "cluster={kind: address, address: 'tcp://127.0.0.1:8786'}",
    "execution.block=120",
    "execution.retries=7",
    "execution.max_in_flight=2",
    "output.path=elsewhere",
    "output.write=[gpkg, geojson]",
    # Said in other words.
    "inference={window: 32, overlap: 0.5, tta: d4}",
    "change.threshold=0.5",
]


@pytest.mark.parametrize("override", DECIDES_A_PIXEL)
def test_what_decides_a_pixel_changes_both_fingerprints(world, plan, override):
    other = plan_only(workflow(world, override))
    assert other.detection_fingerprint != plan.detection_fingerprint
    assert other.change_fingerprint != plan.change_fingerprint


@pytest.mark.parametrize("override", DECIDES_THE_LIST)
def test_the_change_section_changes_the_second_fingerprint_only(world, plan, override):
    other = plan_only(workflow(world, override))
    assert other.detection_fingerprint == plan.detection_fingerprint
    assert other.change_fingerprint != plan.change_fingerprint


@pytest.mark.parametrize("override", DECIDES_NEITHER)
def test_how_and_where_it_is_computed_changes_no_fingerprint(world, plan, override):
    other = plan_only(workflow(world, override))
    assert other.detection_fingerprint == plan.detection_fingerprint
    assert other.change_fingerprint == plan.change_fingerprint


def test_an_edited_model_item_with_the_same_weights_is_another_model(world):
    packed, edited = (
        plan_only(workflow(world, f"model.item={name}.json")) for name in ("demo", "edited")
    )
    assert packed.reference.sha256 == edited.reference.sha256
    assert packed.detection_fingerprint != edited.detection_fingerprint


def test_another_radiometry_or_version_of_the_numerics_is_another_run(world, plan, monkeypatch):
    for name, module in list(sys.modules.items()):
        if name.startswith("lspipe.") and "NUMERICS" in vars(module):
            monkeypatch.setattr(module, "NUMERICS", 10**6)
    assert plan_only(workflow(world)).detection_fingerprint != plan.detection_fingerprint
    monkeypatch.undo()
    decided = {tile.tile.name: record(tile) for tile in plan.tiles}
    decided["18GYS"]["radiometry"][0]["offset"] = -0.05
    frozen = freeze([tile.tile for tile in plan.tiles])
    other = make(workflow(world), frozen=frozen, decided=decided)
    assert other.detection_fingerprint != plan.detection_fingerprint


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=5))
def test_a_fingerprint_depends_on_the_content_and_not_on_its_order(content):
    turned = dict(reversed(content.items()))
    assert fingerprint(content) == fingerprint(turned)
    assert fingerprint(content) == fingerprint(json.loads(json.dumps(content)))
    assert fingerprint({**content, "one more key": 0}) != fingerprint(content)


# --- what is chosen, and taken back -------------------------------------------------------------


def test_the_clearer_scene_is_chosen_and_all_that_were_looked_at_are_kept(plan):
    (tile,) = plan.tiles
    assert [step.role for step in tile.steps] == ["before", "after"]
    assert [[item.id for item in step.items] for step in tile.steps] == [[BEFORE], [AFTER]]
    looked_at = [c["items"] for c in tile.candidates if c["role"] == "after"]
    assert looked_at == [[AFTER], ["S2A_18GYS_20180219_0_L2A"]]
    assert plan.is_two_date


def test_bands_are_those_of_the_model_and_of_the_picture(plan):
    (tile,) = plan.tiles
    assert tile.bands == ("B02", "B04", "B08", "B11", "B03")
    assert {scene for scene, _ in tile.radiometry} == {BEFORE, AFTER}
    assert len(tile.radiometry) == 2 * 5


def test_an_earlier_plan_is_taken_back_without_reading_or_searching(world, plan, tmp_path):
    frozen = freeze([tile.tile for tile in plan.tiles])
    decided = json.loads(json.dumps({tile.tile.name: record(tile) for tile in plan.tiles}))
    # Neither the archive nor the catalogue is there any more.
    moved = tmp_path / "workflow.yaml"
    moved.write_text(world.workflow.read_text(encoding="utf-8"), encoding="utf-8")
    for feature in frozen["features"]:
        for asset in feature["assets"].values():
            asset["href"] = "https://archive.invalid/gone.tif"
    again = make(Workflow.from_file(moved), frozen=frozen, decided=decided, blocks={"18GYS": 120})
    assert again.detection_fingerprint == plan.detection_fingerprint
    (tile,), (before,) = again.tiles, plan.tiles
    # The cut is the store's, whatever the workflow says; nothing else is different.
    assert (before.grid.block, tile.grid.block) == (80, 120)
    assert tile.radiometry == before.radiometry
    assert tile.candidates == before.candidates
    assert [step.time for step in tile.steps] == [step.time for step in before.steps]


def test_a_date_without_a_scene_is_nothing_found(world):
    with pytest.raises(NothingFound, match="2016-06-01"):
        plan_only(workflow(world, "dates.before={start: 2016-06-01, end: 2016-07-01}"))


def test_a_model_that_wants_a_band_that_a_scene_lacks_is_refused(tmp_path):
    world = make_world(tmp_path, after={"bands": ("B02", "B03", "B04", "B08")})
    with pytest.raises(ModelError, match=f"needs B11, which {AFTER} of tile 18GYS does not have"):
        plan_only(workflow(world))


def test_the_threshold_is_the_workflows_else_the_models(world, plan, monkeypatch):
    item = replace(plan.model, threshold=0.7)
    monkeypatch.setattr("lspipe.models.ensemble.read_item", lambda _: item)
    assert plan_only(workflow(world)).threshold == 0.7
    assert plan_only(workflow(world, "change.threshold=0.2")).threshold == 0.2
    assert plan_only(workflow(world, "change.threshold=0")).threshold == 0


# --- blocks -------------------------------------------------------------------------------------


def whole_tile(folder: Path, **sections):
    """A world whose items say that they cover a whole Sentinel-2 tile; nothing of it is read."""
    world = make_world(folder, size=40, execution={"block": "auto"}, **sections)
    for path in (folder / "items").iterdir():
        item = json.loads(path.read_text(encoding="utf-8"))
        for asset in item["assets"].values():
            size = asset["proj:transform"][0]
            asset["proj:shape"] = [round(109800 / size)] * 2
        path.write_text(json.dumps(item), encoding="utf-8")
    return plan_only(Workflow.from_file(world.workflow))


def test_a_whole_tile_is_cut_into_thirds(tmp_path):
    (tile,) = whole_tile(tmp_path).tiles
    assert tile.grid.block == 3660
    assert tile.grid.chunk == 610
    assert len(tile.blocks) == 9
    assert tile.area is None
    assert tile.chunks == ((3660,) * 3,) * 2


def test_a_small_area_is_cut_finer_so_that_less_is_read(tmp_path):
    bbox = [-72.532, -43.333, -72.528, -43.328]
    (tile,) = whole_tile(tmp_path, aoi={"bbox": bbox}).tiles
    assert tile.grid.block == 610
    assert 1 <= len(tile.blocks) <= 4
    rows, columns = np.nonzero(tile.area[:, :])
    for block in tile.blocks:
        assert tile.area[block.core].any()
    inside = sum(np.count_nonzero(tile.area[block.core]) for block in tile.blocks)
    assert inside == len(rows) == len(columns)


def test_auto_takes_the_block_that_reads_least(tmp_path):
    (tile,) = whole_tile(tmp_path, aoi={"bbox": [-72.532, -43.6, -72.0, -43.328]}).tiles

    def pixels(size: int) -> int:
        cut = windows.blocks(tile.tile.geobox.shape, size, tile.halo)
        extents = [block.outer for block in cut if tile.area[block.core].any()]
        return sum((r.stop - r.start) * (c.stop - c.start) for r, c in extents)

    assert pixels(tile.grid.block) == min(map(pixels, BLOCK_SIZES))


def test_a_block_smaller_than_a_halo_is_refused_with_the_key(world):
    with pytest.raises(WorkflowError, match=r"execution\.block: found 30, expected at least 31"):
        plan_only(workflow(world, "execution.block=30"))
    (tile,) = plan_only(workflow(world, "execution.block=31")).tiles
    assert tile.grid.block == 31


def test_a_block_that_would_make_tiny_chunks_is_refused(world):
    # A prime: its only chunk below 610 px is a single pixel.
    with pytest.raises(WorkflowError, match=r"execution\.block: found 1021"):
        plan_only(workflow(world, "execution.block=1021"))


@pytest.mark.parametrize("block", [31, 80, 110, 240, 999])
def test_chunks_of_the_cube_are_the_blocks_of_the_store(world, block):
    made = plan_only(workflow(world, f"execution.block={block}"))
    (tile,) = made.tiles
    rows, columns = tile.chunks
    assert (len(rows), len(columns)) == tile.grid.blocks
    assert (sum(rows), sum(columns)) == tuple(tile.tile.geobox.shape)
    cube = open_step(tile, tile.steps[0], made.workflow)
    assert cube["reflectance"].chunks == ((len(tile.bands),), rows, columns)
    assert cube["quality"].chunks == (rows, columns)
    # Whole Zarr chunks, apart from the last.
    assert all(size % tile.grid.chunk == 0 for size in (*rows[:-1], *columns[:-1]))


def test_a_model_scaled_by_tile_gets_the_range_of_the_whole_tile_once(world, tmp_path, plan):
    item = json.loads((SHIPPED_FOLDER / "bare-ground.json").read_text(encoding="utf-8"))
    item["properties"]["lspipe:scaling"] = {"kind": "tile-minmax"}
    (tmp_path / "scaled.json").write_text(json.dumps(item), encoding="utf-8")
    content = yaml.safe_load(world.workflow.read_text(encoding="utf-8"))
    content["search"]["catalog"] = str(world.folder / "items")
    content["model"] = {"item": "scaled.json"}
    (tmp_path / "workflow.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    scaled = plan_only(Workflow.from_file(tmp_path / "workflow.yaml"))
    (tile,) = scaled.tiles
    for step, ranges in zip(tile.steps, tile.tile_ranges, strict=True):
        cube = open_step(tile, step, scaled.workflow).compute()
        seen = cube["reflectance"].where(cube["quality"] == 0).sel(band=list(scaled.model.bands))
        expected = [[float(band.min()) * 1e-4, float(band.max()) * 1e-4] for band in seen]
        np.testing.assert_allclose(ranges, expected, rtol=1e-6)
    assert plan.tiles[0].tile_ranges is None
    # What was measured once is recorded, and not measured again.
    frozen = freeze([t.tile for t in scaled.tiles])
    decided = json.loads(json.dumps({t.tile.name: record(t) for t in scaled.tiles}))
    again = make(scaled.workflow, frozen=frozen, decided=decided)
    assert again.tiles[0].tile_ranges == tile.tile_ranges


# --- who decided, and the batch size ------------------------------------------------------------


def test_a_plan_says_who_decided_each_setting(world, plan):
    assert plan.sources == {
        "window": "workflow",
        "stride": "workflow",
        "tta": "workflow",
        "tta_merge": "paper default",
        "tta_order": "paper default",
        "blend": "paper default",
        "batch_size": "default",
    }
    asked = plan_only(workflow(world, "inference.batch_size=4"))
    assert (asked.setting.batch_size, asked.sources["batch_size"]) == (4, "workflow")


def pretended(monkeypatch, *, device):
    """Let plans believe that the model lies on a device; returns what was asked of the probe."""
    asked = []

    def load(*_, runtime, **__):
        name = "compiled" if runtime == "auto" else runtime
        return SimpleNamespace(device=torch.device(device), precision="bf16", name=name)

    def largest_batch(runtime, channels, window, *, reserve_bytes):
        asked.append((runtime.name, channels, window, reserve_bytes))
        return 96

    monkeypatch.setattr("lspipe.inference.runtimes.load", load)
    monkeypatch.setattr("lspipe.inference.runtimes.probe.largest_batch", largest_batch)
    return asked


def test_the_batch_size_of_a_gpu_is_probed_once_per_plan_beside_the_largest_block(
    world, monkeypatch
):
    asked = pretended(monkeypatch, device="cuda")
    probed = plan_only(workflow(world))
    # A block of 80 px with halos of 31, four bands of int16 that become float32, and what is kept
    # per pixel. Eager: another runtime would compile every size.
    assert asked == [("eager", 4, 32, 142**2 * (4 * (2 + 4) + BYTES_PER_PIXEL))]
    assert probed.reference.runtime == "compiled"
    assert (probed.setting.batch_size, probed.sources["batch_size"]) == (96, "probed")
    assert probed.detection_inputs["inference"]["batch_size"] == 96


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_that_goes_on_keeps_its_batch_size_and_probes_nothing(
    world, tmp_path, monkeypatch, device
):
    asked = pretended(monkeypatch, device=device)
    first = prepare(workflow(world), tmp_path / "run")
    with opened(first):
        pass
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["detection_inputs"]["inference"]["batch_size"] = 48
    content["fingerprints"]["detection"] = fingerprint(content["detection_inputs"])
    path.write_text(json.dumps(content), encoding="utf-8")
    asked.clear()
    again = prepare(workflow(world), tmp_path / "run").plan
    assert not asked
    assert (again.setting.batch_size, again.sources["batch_size"]) == (48, "earlier run")
    # Another number that is asked for by name is another run, still; nothing of this is computed.
    other = prepare(workflow(world, "inference.batch_size=4"), tmp_path / "run")
    assert other.replaced["detection_inputs"]["inference"]["batch_size"] == 48
    assert other.plan.setting.batch_size == 4


def test_a_cpu_is_not_probed(world, monkeypatch):
    asked = pretended(monkeypatch, device="cpu")
    assert plan_only(workflow(world)).setting.batch_size == AUTO_BATCH_SIZE
    assert not asked


# --- the quickest runtime -----------------------------------------------------------------------


@pytest.fixture
def comparing(monkeypatch):
    """Comparisons of runtimes: OpenVINO wins each, for another reason."""
    asked = []

    def quickest(reference, item, **work):
        asked.append((reference.device, item.id, work))
        return "openvino", f"comparison {len(asked)}"

    monkeypatch.setattr("lspipe.runs.quickest.quickest", quickest)
    return asked


def test_a_plan_takes_the_runtime_that_is_done_first_with_a_workers_share(world, comparing):
    two = plan_only(workflow(world, "cluster.workers=2"))
    assert (two.reference.runtime, two.runtime_why) == ("openvino", "comparison 1")
    assert two.detection_inputs["inference"]["runtime"] == "openvino"
    assert two.detection_fingerprint == fingerprint(two.detection_inputs)
    model = run_json(two, state="planned")["model"]
    assert (model["runtime"], model["runtime_why"]) == ("openvino", "comparison 1")
    plan_only(workflow(world, "cluster.workers=4"))
    (device, item, first), (_, _, second) = comparing
    assert (device, item) == ("cpu", two.model.id)
    ((_, passes),) = work(two, two.setting)
    assert (first["passes"], second["passes"]) == (math.ceil(passes / 2), math.ceil(passes / 4))
    assert (first["window"], first["batch_size"]) == (32, AUTO_BATCH_SIZE)


@pytest.mark.usefixtures("comparing")
def test_a_runtime_that_a_worker_cannot_hold_is_not_taken(world):
    eager = plan_only(workflow(world, "inference.runtime=eager"))
    needs = max(peak_bytes(tile, eager) for tile in eager.tiles)
    for more, expected in ((BYTES_PER_GRAPH, "openvino"), (BYTES_PER_GRAPH // 2, "eager")):
        memory = math.ceil((needs + more) / USABLE_MEMORY)
        found = plan_only(workflow(world, f"cluster.memory_per_worker={memory}B"))
        assert found.reference.runtime == expected
    assert found.runtime_why == "openvino does not fit into a worker's memory; comparison 2"
    assert found.detection_inputs["inference"]["runtime"] == "eager"


def test_a_runtime_that_is_asked_for_is_not_compared_and_has_no_reason(world, comparing):
    asked = plan_only(workflow(world, "inference.runtime=eager"))
    assert (asked.reference.runtime, asked.runtime_why, comparing) == ("eager", "", [])


def test_a_run_that_goes_on_keeps_its_runtime_and_compares_nothing(world, tmp_path, comparing):
    run = tmp_path / "run"
    with opened(prepare(workflow(world), run)) as first:
        assert first.plan.reference.runtime == "openvino"
    again = prepare(workflow(world), run)
    assert again.replaced is None
    assert (again.plan.reference.runtime, again.plan.runtime_why) == ("openvino", "comparison 1")
    assert len(comparing) == 1
    # The same by name is the same run; another by name is another.
    same = prepare(workflow(world, "inference.runtime=openvino"), run)
    assert (same.replaced, same.plan.runtime_why) == (None, "")
    other = prepare(workflow(world, "inference.runtime=eager"), run)
    assert other.replaced["detection_inputs"]["inference"]["runtime"] == "openvino"
    assert prepare(workflow(world), run, fresh=True).plan.runtime_why == "comparison 2"


def test_a_run_from_before_runtimes_were_compared_stays_eager(world, tmp_path, comparing):
    run = tmp_path / "run"
    with opened(prepare(workflow(world, "inference.runtime=eager"), run)):
        pass
    content = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del content["model"]["runtime_why"]
    (run / "run.json").write_text(json.dumps(content), encoding="utf-8")
    again = prepare(workflow(world), run)
    assert (again.replaced, again.plan.reference.runtime, again.plan.runtime_why) == (
        None, "eager", "",
    )  # fmt: skip
    assert again.plan.detection_fingerprint == content["fingerprints"]["detection"]
    assert comparing == []


def test_a_small_plan_takes_what_needs_no_preparing_and_says_so(world, monkeypatch):
    monkeypatch.setattr(
        "lspipe.inference.runtimes.choice.choose", lambda *_: pytest.fail("compares")
    )
    plan = plan_only(workflow(world))
    assert (plan.reference.runtime, plan.runtime_why) == ("eager", TOO_LITTLE)


# --- elsewhere: a worker decides ----------------------------------------------------------------


def question(**others):
    asked = {
        "items": ("shipped:bare-ground",), "device": "cpu", "precision": "auto", "runtime": "auto",
        "window": 32, "batch_size": None, "passes": 10**6, "largest_block": 100,
    }  # fmt: skip
    return settled.Question(**asked | others)


def test_a_worker_compares_with_its_threads_what_it_has_to_do(monkeypatch):
    asked = []

    def choose(open_as, work):
        asked.append((work, torch.get_num_threads()))
        return Choice(open_as("eager"), "measured")

    monkeypatch.setattr("lspipe.inference.runtimes.choice.choose", choose)
    earlier = use_threads(3)
    try:
        found = settled.decide(question())
        assert torch.get_num_threads() == 3
    finally:
        use_threads(earlier)
    assert found == settled.Settled("cpu", "fp32", "eager", AUTO_BATCH_SIZE, "measured")
    assert asked == [
        (Work(passes=10**6, batch_size=AUTO_BATCH_SIZE, channels=4, window=32), THREADS)
    ]
    assert settled.decide(question(batch_size=7)).batch_size == 7
    assert asked[1][0].batch_size == 7
    assert settled.decide(question(runtime="eager")).why == ""
    assert settled.decide(question(passes=10)).why == TOO_LITTLE
    assert len(asked) == 2


def test_what_a_worker_measured_is_kept_until_another_runtime_is_asked_for(world, tmp_path):
    elsewhere = ("cluster.kind=address", "cluster.address=tcp://127.0.0.1:1")
    with opened(prepare(workflow(world, *elsewhere), tmp_path / "run")) as first:
        assert (first.plan.is_settled, first.plan.runtime_why) == (False, "")
        found = settled.Settled("cpu", "fp32", "openvino", 4, "measured")
        after = resettled(first, found)
    assert (after.plan.reference.runtime, after.plan.runtime_why) == ("openvino", "measured")
    again = prepare(workflow(world, *elsewhere), tmp_path / "run").plan
    assert (again.reference.runtime, again.runtime_why) == ("openvino", "measured")
    asked = workflow(world, *elsewhere, "inference.runtime=openvino")
    assert prepare(asked, tmp_path / "run").plan.runtime_why == ""
