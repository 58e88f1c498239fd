"""A run directory in every state it can be found in: nothing is lost, nothing wrongly taken."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

import lspipe
from lspipe.errors import LspipeError, StoreError, UsageError
from lspipe.runs import store
from lspipe.runs.prepare import opened, prepare
from lspipe.workflow import Workflow
from tests.stored import IN_THIS_PROCESS
from tests.worlds import (
    NEW_SCAR,
    World,
    add_scene,
    change_workflow,
    fingerprints,
    ground,
    quick_world,
)

AFTER = "S2A_18GYS_20180120_0_L2A"


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


def run(world, *overrides, **options):
    return lspipe.run(Workflow.from_file(world.workflow, overrides=overrides), **options)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory, cluster):
    world = quick_world(tmp_path_factory.mktemp("finished"), cluster=cluster)
    run(world)
    return world


@pytest.fixture
def finished(made_once, tmp_path):
    """A finished run, and its archive, that a test may change."""
    shutil.copytree(made_once.folder, tmp_path, dirs_exist_ok=True)
    return World(tmp_path, *(tmp_path / path.name for path in (made_once.workflow, made_once.run)))


def test_blocks_of_another_workflow_are_never_taken_as_done(finished):
    (finished.run / "run.json").unlink()
    with pytest.raises(StoreError, match="made by another workflow"):
        run(finished, "inference.stride=8")


def test_a_run_prepared_before_another_process_finished_is_prepared_again(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    early = prepare(Workflow.from_file(world.workflow), world.run)
    run(world)
    with opened(early) as current:
        assert current.is_finished
    # And of another workflow, prepared when the directory was still empty, is refused.
    changed = Workflow.from_file(world.workflow, overrides=("inference.stride=8",))
    late = replace(prepare(changed, world.folder / "elsewhere"), run=world.run)
    with pytest.raises(StoreError, match="inference.stride"), opened(late):
        pass


def test_fresh_removes_nothing_before_it_knows_that_it_can_plan(finished):
    before = fingerprints(finished.run)
    for path in (finished.folder / "items").glob("*.json"):
        path.unlink()
    with pytest.raises(LspipeError):
        run(finished, fresh=True)
    assert fingerprints(finished.run) == before


def test_fresh_starts_over_and_ends_the_same(finished):
    before = fingerprints(finished.run)
    (finished.run / "notes.txt").write_text("mine", encoding="utf-8")
    summary = run(finished, fresh=True)
    assert (summary.done, summary.skipped) == (8, 0)
    assert fingerprints(finished.run) == before
    assert (finished.run / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_fresh_into_an_empty_folder_is_a_run(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    world.run.mkdir()
    assert run(world, fresh=True, limit=1).done == 2


def test_a_kill_in_the_first_write_does_not_lock_the_directory_out(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    world.run.mkdir()
    (world.run / "items.json.partial").write_text('{"type": "Featu', encoding="utf-8")
    assert run(world, limit=1).done == 2  # one place, on two dates


def test_a_finished_run_whose_store_is_gone_is_not_finished(finished):
    shutil.rmtree(finished.run / store.DETECTIONS)
    summary = run(finished)
    assert (summary.state, summary.done) == ("finished", 8)


def test_failures_that_were_not_tried_again_are_remembered(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    path = world.folder / "scenes" / AFTER / "B11.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    failed = run(world)
    assert failed.exit_code == 3
    one = gpd.GeoSeries([shapely.box(700000, 5199900, 700100, 5199950)], crs=32718).to_crs(4326)
    run(world, bounds=tuple(one.total_bounds))
    kept = json.loads((world.run / "run.json").read_text(encoding="utf-8"))["failures"]
    assert len(kept) == len(failed.failures)
    path.write_bytes(whole)
    assert run(world, only_failed=True).state == "finished"


def test_bounds_that_touch_no_block_are_refused(finished):
    with pytest.raises(UsageError, match="touches no block"):
        run(finished, bounds=(10, 10, 11, 11))


def test_the_part_of_the_area_without_a_scene_counts_as_not_observed(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    # The tile is 2.4 km wide; the area reaches as far again beyond its eastern edge.
    box = gpd.GeoSeries([shapely.box(699960, 5197600, 704760, 5200000)], crs=32718)
    box.to_crs(4326).to_file(tmp_path / "wide.geojson")
    change_workflow(world, aoi={"file": "wide.geojson"})
    summary = run(world)
    assert summary.observed_share == pytest.approx(0.5, abs=0.01)
    gaps = gpd.read_parquet(world.run / "unobserved.parquet").set_index("reason")
    assert gaps.loc["no_scene", "area_m2"].tolist() == pytest.approx([5.76e6] * 2, rel=0.01)


def test_the_edge_of_the_area_is_flagged_on_every_tile(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    for time, scars in (("2017-01-15T14:37:51Z", ()), ("2018-01-20T14:37:51Z", (NEW_SCAR,))):
        add_scene(world.folder, tile="18GYT", size=240, time=time, values=ground(*scars))
    # All of one tile, and of the other only the upper half of its new scar.
    row, column, rows, columns = NEW_SCAR
    left, top = 699960 + 10 * column - 300, 5200000 - 10 * row + 300
    part = shapely.box(left, top - 300 - 5 * rows, left + 600 + 10 * columns, top)
    whole = shapely.box(699900, 5297500, 702400, 5300100)
    gpd.GeoSeries([part, whole], crs=32718).to_crs(4326).to_file(tmp_path / "area.geojson")
    change_workflow(world, aoi={"file": "area.geojson"})
    run(world)
    found = gpd.read_parquet(world.run / "inventory.parquet").set_index("tile")
    assert found.loc["18GYS", "aoi_edge"]
    assert not found.loc["18GYT", "aoi_edge"]


def test_a_tile_with_a_scene_on_one_date_only_is_undetermined(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster, aoi={"tiles": ["18GYS", "18GYT"]})
    add_scene(
        world.folder,
        tile="18GYT",
        size=240,
        time="2018-01-20T14:37:51Z",
        values=ground(NEW_SCAR),
    )
    summary = run(world)
    found = gpd.read_parquet(world.run / "inventory.parquet")
    assert list(found.loc[found["tile"] == "18GYT", "status"]) == ["undetermined"]
    assert summary.observed_share == pytest.approx(0.5, abs=0.01)


def test_a_band_that_is_only_looked_at_never_decides_what_is_observed(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    path = world.folder / "scenes" / AFTER / "B03.tif"
    with rasterio.open(path) as file:
        profile, pixels = file.profile, file.read(1)
    pixels[100:] = 0
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
    summary = run(world)
    assert summary.observed_share == pytest.approx(1, abs=1e-6)
    picture = store.read(world.run, store.EVIDENCE, "18GYS", "true_colour")
    assert (picture[1, :, 100:] == 0).all()
    assert (picture[1, :, :100] > 0).all()


def test_reads_that_were_let_fail_are_counted(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster, cube={"on_read_error": "nodata"})
    (world.folder / "scenes" / AFTER / "B11.tif").unlink()
    summary = run(world)
    assert summary.exit_code == 0
    assert summary.failed_reads == 240 * 240
    assert summary.observed_share == pytest.approx(0, abs=1e-6)
    assert set(gpd.read_parquet(world.run / "unobserved.parquet")["reason"]) == {"read_error"}


def test_several_scenes_of_a_date_bound_the_event_by_the_first_and_the_last(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster, cube={"composite": "each"})
    later = {"time": "2018-02-19T14:37:51Z", "baseline": "04.00"}
    add_scene(world.folder, values=ground(NEW_SCAR), size=240, **later)
    run(world)
    codes = store.read(world.run, store.DETECTIONS, "18GYS", "probability")
    assert codes.shape[0] == 3
    assert not np.array_equal(codes[1], codes[2])  # the old scar is gone in the last scene
    new = gpd.read_parquet(world.run / "inventory.parquet").set_index("status").loc["new"]
    assert str(new.event_date_min)[:10] == "2017-01-15"
    assert str(new.event_date_max)[:10] == "2018-02-19"
