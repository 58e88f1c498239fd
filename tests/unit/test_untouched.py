"""Tiles of which nothing was computed are listed by outlines, as if their pixels had been read."""

from __future__ import annotations

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal

from lspipe.runs import listing, steps, store, tail, untouched
from lspipe.runs.prepare import prepare
from lspipe.runs.tail_plan import tails_of
from lspipe.workflow import Workflow
from tests.stored import store_run
from tests.worlds import add_scene, make_world

SIZE = 64


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path, size=SIZE, execution={"block": 40})


def nothing_done(world, *overrides):
    codes = np.zeros((2, SIZE, SIZE), np.uint16)
    made = store_run(world, world.run, *overrides, probability=codes, only=0)
    (asked,) = tails_of(made.plan).values()
    return made.run, asked


def test_a_whole_tile_has_the_gaps_of_its_pixels(world):
    run, asked = nothing_done(world)
    found = untouched.gaps(asked)
    count = untouched.counted(asked)
    expected = tail.write(run, asked)
    assert found["reason"].tolist() == ["not_processed"] * 2
    assert_geodataframe_equal(found, tail.gaps(run, asked.grid.tile))
    assert count.wanted_m2 == pytest.approx(expected.counted.wanted_m2, rel=1e-4)
    assert count.seen_m2 == expected.counted.seen_m2 == 0


def test_in_a_part_of_a_tile_the_gap_is_the_area_itself(world):
    west, north = 699960, 5200000
    half = shapely.box(west + 104, north - 10 * SIZE - 50, west + 324, north + 50)
    gpd.GeoSeries([half], crs=32718).to_crs(4326).to_file(world.folder / "strip.geojson")
    run, asked = nothing_done(world, "aoi={file: strip.geojson}")
    found, count = untouched.gaps(asked), untouched.counted(asked)
    expected = tail.write(run, asked).counted
    by_pixels = tail.gaps(run, asked.grid.tile)
    assert found.drop(columns=["geometry", "area_m2"]).equals(
        by_pixels.drop(columns=["geometry", "area_m2"])
    )
    assert found["area_m2"].tolist() == pytest.approx([220 * 640] * 2, rel=2e-3)
    # One more pixel is touched.
    assert by_pixels["area_m2"].tolist() == pytest.approx([230 * 640] * 2, rel=2e-3)
    assert by_pixels.union_all().buffer(1e-7).covers(found.union_all())
    assert count.wanted_m2 == pytest.approx(expected.wanted_m2, rel=0.05)


def test_a_date_without_a_scene_says_so(world):
    _, asked = nothing_done(world, "dates={after: {start: 2018-01-01, end: 2018-03-31}}")
    (asked_of_both,) = tails_of(
        prepare(Workflow.from_file(world.workflow), world.run).plan
    ).values()
    grid = asked.grid
    assert grid.roles == ("after",)
    found = untouched.gaps(replace(asked_of_both, grid=grid))
    assert found[["date", "reason"]].to_numpy().tolist() == [
        ["before", "nodata"], ["after", "not_processed"],
    ]  # fmt: skip


@pytest.fixture
def two(tmp_path):
    """Two tiles side by side, with the first block of the second one done."""
    names = ("18GYS", "18GYT")
    world = make_world(tmp_path, size=SIZE, execution={"block": 40}, aoi={"tiles": list(names)})
    for time in ("2017-01-15T14:37:51Z", "2018-01-20T14:37:51Z"):
        add_scene(tmp_path, tile=names[1], size=SIZE, time=time)
    codes = {name: np.zeros((2, SIZE, SIZE), np.uint16) for name in names}
    made = store_run(world, world.run, probability=codes, only=0)
    assert [tile.tile.name for tile in made.plan.tiles] == list(names)
    return world, made


def test_only_tiles_with_a_block_are_ended_and_all_are_listed(two, monkeypatch):
    _, made = two
    fill(made, "18GYT")
    names, write = [], tail.write

    def noted(run, asked):
        names.append(asked.grid.tile)
        return write(run, asked)

    monkeypatch.setattr(tail, "write", noted)
    listed = listing.write(made.run, made.plan)
    assert names == ["18GYT"]
    rows = listed.run.unobserved[["tile", "reason"]].value_counts().to_dict()
    assert rows == {("18GYS", "not_processed"): 2}
    assert listed.observed_share == pytest.approx(0.5, abs=0.01)


def test_workers_end_no_tile_without_a_block(two, monkeypatch):
    world, made = two
    monkeypatch.setattr(steps, "SMALL", 0)
    prepared = prepare(Workflow.from_file(world.workflow), made.run)
    assert steps.endings(prepared, {}).tiles == frozenset()
    todo = {("18GYS", 0): list(made.plan.tiles[0].blocks)}
    assert steps.endings(prepared, todo).tiles == {"18GYS"}


def fill(made, name):
    (tile,) = (each for each in made.plan.tiles if each.tile.name == name)
    for step in range(2):
        for block in tile.blocks:
            shape = [span.stop - span.start for span in block.core]
            store.write_block(
                made.run, name, step, block.index, block.core,
                detections={
                    "probability": np.zeros(shape, np.uint16), "quality": np.zeros(shape, np.uint8),
                },
                evidence={},
            )  # fmt: skip
