"""Whole runs on a small archive: workflow file in, list of landslides out."""

from __future__ import annotations

import json
from contextlib import contextmanager

import dask
import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch
import yaml
from affine import Affine

import lspipe
from lspipe import outputs
from lspipe.errors import StoreError, UsageError
from lspipe.runs import steps, store
from lspipe.runs.log import read_log
from lspipe.runs.plan import open_step
from lspipe.schema import CUBE_NODATA, quantise
from lspipe.workflow import Workflow
from tests.worlds import (
    NEW_SCAR,
    OLD_SCAR,
    add_scene,
    change_workflow,
    fingerprints,
    ground,
    make_world,
    quick_world,
)

ALL_BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
"""Those of the shipped demo model."""

CORNER = Affine(10, 0, 699960, 0, -10, 5200000)


def run(world, **options):
    return lspipe.run(Workflow.from_file(world.workflow), **options)


def inventory(world):
    return gpd.read_parquet(world.run / "inventory.parquet")


def outline(rectangle):
    row, column, rows, columns = rectangle
    left, top = CORNER @ (column, row) if hasattr(CORNER, "__matmul__") else CORNER * (column, row)
    return shapely.box(left, top - 10 * rows, left + 10 * columns, top)


def overlap(one, two):
    return one.intersection(two).area / one.union(two).area


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cluster):
    """A finished run of the usual world; tests only read it."""
    # Nine blocks on each date, so that one has neighbours on all sides.
    world = make_world(
        tmp_path_factory.mktemp("world"), cluster=cluster, execution={"block": 80, "retries": 0}
    )
    return world, run(world)


def test_a_new_scar_is_listed_as_new_and_an_old_one_as_persistent(finished):
    world, summary = finished
    assert summary.state == "finished"
    assert (summary.total, summary.done, summary.skipped) == (18, 18, 0)
    assert summary.observed_share == pytest.approx(1, abs=1e-6)
    found = inventory(world).to_crs(32718).set_index("status")
    assert sorted(found.index) == ["new", "persistent"]
    # Windows overlap and the mask is exact, so the outline is that of the planted pixels.
    assert overlap(found.loc["new"].geometry, outline(NEW_SCAR)) > 0.9
    assert overlap(found.loc["persistent"].geometry, outline(OLD_SCAR)) > 0.9
    new = found.loc["new"]
    assert new.area_m2 == pytest.approx(420 * 100, rel=0.1)
    assert new.tile == "18GYS"
    assert new.items_before == "S2A_18GYS_20170115_0_L2A"
    assert str(new.date_before)[:10] == "2017-01-15"
    assert str(new.event_date_max)[:10] == "2018-01-20"


def test_a_finished_run_writes_nothing_at_all(finished):
    world, _ = finished
    before = {path: path.stat().st_mtime_ns for path in world.run.rglob("*")}
    again = run(world)
    assert (again.done, again.skipped) == (0, 18)
    assert {path: path.stat().st_mtime_ns for path in world.run.rglob("*")} == before


def test_stored_codes_are_the_quantised_detect_of_the_same_cube(finished):
    world, _ = finished
    plan = lspipe.plan(Workflow.from_file(world.workflow))
    (tile,) = plan.tiles
    stored = store.read(world.run, store.DETECTIONS, "18GYS", "probability")
    for number, step in enumerate(tile.steps):
        with dask.config.set(scheduler="synchronous"):
            cube = open_step(tile, step, plan.workflow).compute()
        probability = lspipe.detect(
            cube["reflectance"].sel(band=list(plan.model.bands)),
            plan.model.reference,
            mask=cube["quality"] != 0,
            window=plan.setting.window,
            stride=plan.setting.stride,
            batch_size=plan.setting.batch_size,
        )
        np.testing.assert_array_equal(stored[number], quantise(probability.values))


def test_stored_codes_are_the_quantised_detect_of_float_reflectance_without_settings(
    tmp_path, cluster
):
    world = make_world(
        tmp_path,
        size=150,
        cluster=cluster,
        before={"bands": ALL_BANDS},
        after={"bands": ALL_BANDS},
        model={"item": "shipped:demo"},
        inference={},
    )
    run(world)
    plan = lspipe.plan(Workflow.from_file(world.workflow))
    (tile,) = plan.tiles
    stored = store.read(world.run, store.DETECTIONS, "18GYS", "probability")
    for number, step in enumerate(tile.steps):
        with dask.config.set(scheduler="synchronous"):
            cube = open_step(tile, step, plan.workflow).compute()
        codes = cube["reflectance"]
        reflectance = (codes.where(codes != CUBE_NODATA) * 1e-4).astype(np.float32)
        assert reflectance.sizes["band"] == 6
        # Other dims, and names of another catalogue: nothing of it decides a pixel.
        given = reflectance.transpose("x", "y", "band").rename(y="latitude", x="longitude")
        with one_thread():
            found = lspipe.detect(
                given,
                plan.model.reference,
                mask=cube["quality"] != 0,
                # One batch shape: another may change the last bit.
                batch_size=plan.setting.batch_size,
            )
        np.testing.assert_array_equal(stored[number], quantise(found.values.T))
        assert np.nanmax(found) > 0.5


@contextmanager
def one_thread():
    """As in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_run_directory_says_how_it_was_made(finished):
    world, summary = finished
    content = json.loads((world.run / "run.json").read_text(encoding="utf-8"))
    assert content["state"] == "finished"
    assert content["counts"]["done"] == summary.total
    decisions = {entry["item"]: entry for entry in content["tiles"]["18GYS"]["radiometry"]}
    assert decisions["S2A_18GYS_20170115_0_L2A"]["offset"] == 0
    assert decisions["S2A_18GYS_20180120_0_L2A"]["offset"] == pytest.approx(-0.1)
    assert all(entry["reason"] for entry in decisions.values())
    events = [
        json.loads(line)["event"]
        for line in (world.run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert events.count("block") == 18
    items = json.loads((world.run / "items.json").read_text(encoding="utf-8"))
    assert items["type"] == "FeatureCollection"
    assert len(items["features"]) == 2
    assert (world.run / ".lock").read_text(encoding="utf-8") == ""


def test_swapping_the_dates_swaps_new_and_vanished(finished, tmp_path):
    world, _ = finished
    content = yaml.safe_load(world.workflow.read_text(encoding="utf-8"))
    dates = content["dates"]
    content["dates"] = {"before": dates["after"], "after": dates["before"]}
    content["search"]["catalog"] = str(world.folder / "items")
    swapped = tmp_path / "workflow.yaml"
    swapped.write_text(yaml.safe_dump(content), encoding="utf-8")
    lspipe.run(Workflow.from_file(swapped))
    there = inventory(world).set_index("status").geometry
    back = gpd.read_parquet(tmp_path / "run" / "inventory.parquet").set_index("status").geometry
    assert sorted(back.index) == ["persistent", "vanished"]
    assert there["new"].equals(back["vanished"])
    assert there["persistent"].equals(back["persistent"])


def test_two_equal_dates_list_nothing_new(tmp_path, cluster):
    world = quick_world(
        tmp_path, cluster=cluster, after={"values": ground(OLD_SCAR), "baseline": "02.06"}
    )
    run(world)
    assert list(inventory(world)["status"]) == ["persistent"]


@pytest.mark.parametrize(
    "sections",
    [
        {"cluster": {"kind": "local", "workers": 1}},
        {"cluster": {"kind": "local", "workers": 3}},
        {"cube": {"loader": "stackstac"}},
    ],
    ids=["one worker", "three workers", "stackstac"],
)
@pytest.mark.usefixtures("forked_workers")
def test_workers_and_loader_never_change_a_byte(finished, tmp_path, sections):
    world, _ = finished
    other = make_world(tmp_path, execution={"block": 80, "retries": 0}, **sections)
    run(other)
    there, here = fingerprints(world.run), fingerprints(other.run)
    # The stores' root names the fingerprint, which holds the name of the loader.
    roots = (
        {name for name in there if name.endswith(".zarr/zarr.json")} if "cube" in sections else ()
    )
    assert {k: v for k, v in here.items() if k not in roots} == {
        k: v for k, v in there.items() if k not in roots
    }


@pytest.mark.parametrize("block", [40, 110, 240])
def test_the_block_size_never_changes_a_pixel_or_a_polygon(finished, tmp_path, block, cluster):
    world, _ = finished
    other = make_world(tmp_path, cluster=cluster, execution={"block": block, "retries": 0})
    run(other)
    for name in ("probability", "quality"):
        np.testing.assert_array_equal(
            store.read(other.run, store.DETECTIONS, "18GYS", name),
            store.read(world.run, store.DETECTIONS, "18GYS", name),
        )
    assert inventory(other).equals(inventory(world))


def test_tiles_that_workers_end_are_listed_with_the_same_bytes(
    finished, tmp_path, cluster, monkeypatch
):
    monkeypatch.setattr(steps, "SMALL", 0)
    world = make_world(tmp_path, cluster=cluster, output={"path": "run", "write": ["cog"]})
    run(world)
    assert "tile" in {event["event"] for event in read_log(world.run / "log.jsonl")}
    assert fingerprints(world.run) == fingerprints(finished[0].run)
    # The worker wrote them: the listing was not even begun.
    made = (world.run / "objects" / "18GYS.layers.json").stat().st_mtime
    assert made < (world.run / "inventory.parquet").stat().st_mtime
    outputs.write("cog", lspipe.open_run(world.run), tmp_path / "layers")
    written, again = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (world.run / "layers", tmp_path / "layers")
    )
    assert written == again


def test_a_screened_run_may_be_cut_and_finds_the_same_in_fewer_windows(finished, tmp_path, cluster):
    world, _ = finished
    screened = {"window": 32, "stride": 16, "tta": "d4", "screen": 0.05}
    stored, shares = [], []
    for block in (110, 240):
        other = make_world(
            tmp_path / str(block), cluster=cluster, inference=screened, execution={"block": block}
        )
        run(other)
        stored.append(store.read(other.run, store.DETECTIONS, "18GYS", "probability"))
        windows = json.loads((other.run / "run.json").read_text())["windows"]
        shares.append(windows["run"] / windows["needed"])
        np.testing.assert_allclose(
            inventory(other).area_m2.sort_values(), inventory(world).area_m2.sort_values()
        )
    np.testing.assert_array_equal(*stored)
    assert max(shares) < 0.9


def test_a_small_area_equals_the_whole_tile(finished, tmp_path, cluster):
    world, _ = finished
    corner = gpd.GeoSeries([shapely.box(701100, 5198400, 701700, 5199000)], crs=32718)
    corner.to_crs(4326).to_file(tmp_path / "area.geojson")
    small = make_world(tmp_path, cluster=cluster, aoi={"file": "area.geojson"})
    summary = run(small)
    assert summary.total < 18
    whole = store.read(world.run, store.DETECTIONS, "18GYS", "probability")
    part = store.read(small.run, store.DETECTIONS, "18GYS", "probability")
    inside = part[0] != 65535
    # all_touched: at least the area itself, at most a pixel more on each side
    assert 60 * 60 <= inside.sum() <= 63 * 63
    np.testing.assert_array_equal(part[:, inside], whole[:, inside])
    bits = store.read(small.run, store.DETECTIONS, "18GYS", "quality")[0]
    assert set(np.unique(bits[~inside])) <= {64, store.NOT_PROCESSED}


def test_clouds_are_not_observed_and_said_so(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster, after={"clouds": ((130, 146, 12),)})
    summary = run(world)
    assert summary.observed_share < 1
    gaps = gpd.read_parquet(world.run / "unobserved.parquet")
    assert set(gaps["reason"]) == {"cloud", "dilated"}
    assert set(gaps["date"]) == {"after"}
    new = inventory(world).set_index("status").loc["new"]
    assert new.undetermined_fraction > 0
    assert new.area_m2 < 42000


def test_a_changed_change_section_lists_again_without_detecting(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    run(world)
    first = fingerprints(world.run)
    change_workflow(world, change={"min_area_m2": 30000})
    summary = run(world)
    assert summary.done == 0
    assert list(inventory(world)["status"]) == ["new"]
    second = fingerprints(world.run)
    assert {k: v for k, v in first.items() if k.startswith("detections")} == {
        k: v for k, v in second.items() if k.startswith("detections")
    }


def test_another_detection_is_refused_with_a_diff(finished):
    world, _ = finished
    workflow = Workflow.from_file(world.workflow, overrides=("cube.mask.dilate_px=5",))
    with pytest.raises(StoreError, match="cube.mask.dilate_px: 3 -> 5"):
        lspipe.run(workflow)


def test_a_part_of_a_run_goes_into_the_same_directory(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    part = run(world, limit=1)
    assert (part.state, part.done, part.skipped) == ("partial", 2, 0)
    gaps = gpd.read_parquet(world.run / "unobserved.parquet")
    assert "not_processed" in set(gaps["reason"])
    rest = run(world)
    assert (rest.state, rest.done, rest.skipped) == ("finished", 6, 2)
    with pytest.raises(UsageError, match="tiles=19GBP: not in this run; it has 18GYS"):
        run(quick_world(tmp_path / "b", cluster=cluster), tiles=("19GBP",))


def test_only_blocks_within_bounds_are_run(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    box = gpd.GeoSeries([shapely.box(700000, 5199900, 700100, 5199950)], crs=32718).to_crs(4326)
    part = run(world, bounds=tuple(box.total_bounds))
    assert part.done == 2  # one block on each date


def test_one_date_lists_what_is_there(tmp_path, cluster):
    world = quick_world(
        tmp_path, cluster=cluster, dates={"after": {"start": "2018-01-01", "end": "2018-03-31"}}
    )
    run(world)
    assert list(inventory(world)["status"]) == ["detected", "detected"]
    assert not (world.run / "change.zarr").exists()


def test_a_truncated_file_fails_its_blocks_only_and_is_repaired_by_running_again(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    path = world.folder / "scenes" / "S2A_18GYS_20180120_0_L2A" / "B11.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    summary = run(world)
    assert summary.exit_code == 3
    assert summary.state == "failed"
    assert 0 < len(summary.failures) <= 4
    assert "swir16 of S2A_18GYS_20180120_0_L2A" in summary.failures[0]
    assert "block (" in summary.failures[0]
    path.write_bytes(whole)
    repaired = run(world, only_failed=True)
    assert (repaired.state, repaired.exit_code) == ("finished", 0)
    assert repaired.done == len(summary.failures)


def test_the_clearer_of_two_scenes_is_taken(tmp_path, cluster):
    world = quick_world(tmp_path, cluster=cluster)
    add_scene(
        world.folder,
        time="2018-02-19T14:37:51Z",
        values=ground(OLD_SCAR),
        clouds=((100, 100, 90),),
        baseline="04.00",
    )
    plan = lspipe.plan(Workflow.from_file(world.workflow))
    (tile,) = plan.tiles
    assert [item.id for item in tile.steps[1].items] == ["S2A_18GYS_20180120_0_L2A"]
    shares = {c["items"][0]: c["masked_share"] for c in tile.candidates if c["role"] == "after"}
    assert shares["S2A_18GYS_20180219_0_L2A"] > 0.3
    assert shares["S2A_18GYS_20180120_0_L2A"] == 0
