"""What is decided for one tile: radiometry item by item, and the range of its observed pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lspipe
from lspipe import cube, pipeline
from lspipe.models import ModelItem
from lspipe.prepare import opened, prepare
from lspipe.workflow import Workflow
from tests.worlds import FOREST, ground, make_world

SIZE = 64
SMALL = {
    "size": SIZE,
    "inference": {"window": 16, "stride": 8, "tta": "none"},
    "execution": {"block": 40},
}


def plan_of(world, *overrides):
    return lspipe.plan(Workflow.from_file(world.workflow, overrides=overrides))


# --- radiometry ---------------------------------------------------------------------------------

# Earth Search says so of items that it shifted, and of items that it did not.
DOUBTFUL = {"earthsearch:boa_offset_applied": False}


@pytest.mark.parametrize(("before", "after"), [(0.0, -0.1), (-0.1, 0.0)])
def test_each_item_that_does_not_tell_its_offset_is_looked_at(tmp_path, before, after):
    facts = {"baseline": "05.10", "properties": DOUBTFUL}
    world = make_world(
        tmp_path, before={"offset": before, **facts}, after={"offset": after, **facts}, **SMALL
    )
    (tile,) = plan_of(world).tiles
    found = {
        step.role: {tile.radiometry[item.id, key].offset for item in step.items for key in KEYS}
        for step in tile.steps
    }
    assert found == {"before": {before}, "after": {after}}


KEYS = ("blue", "green", "red", "nir", "swir16")


def test_only_an_item_that_does_not_tell_its_offset_is_looked_at_and_once(tmp_path, monkeypatch):
    # The earlier one is of a baseline that has no offset; pixels would say otherwise.
    world = make_world(
        tmp_path,
        before={"baseline": "02.06"},
        after={"baseline": "05.10", "offset": 0.0, "properties": DOUBTFUL},
        **SMALL,
    )
    looked = []
    look = cube.radiometry_of_pixels

    def counted(item, *arguments, **options):
        looked.append(item.id)
        return look(item, *arguments, **options)

    monkeypatch.setattr(cube, "radiometry_of_pixels", counted)
    (tile,) = plan_of(world).tiles
    assert looked == ["S2A_18GYS_20180120_0_L2A"]
    assert {decision.offset for decision in tile.radiometry.values()} == {0.0}


# --- the range of a tile ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """A model that is scaled by tile, a cloud on the later date, an area that leaves it out."""
    folder = tmp_path_factory.mktemp("scaled")
    document = json.loads(ModelItem.from_file("shipped:bare-ground").path.read_text())
    document["properties"]["lspipe:scaling"] = {"kind": "tile-minmax"}
    (folder / "item.json").write_text(json.dumps(document))
    return make_world(
        folder,
        before={"values": ground()},
        after={"values": ground((40, 40, 8, 8)), "clouds": [(12, 12, 8)]},
        model={"item": "item.json"},
        **SMALL,
    )


def test_clouds_do_not_stretch_the_range_of_a_tile(scaled):
    plan = plan_of(scaled)
    before, after = plan.tiles[0].tile_ranges
    assert len(before) == len(after) == len(plan.model.bands)
    for number, band in enumerate(plan.model.bands):
        # The texture of the ground is a tenth up and down; the scar is darker in near infrared.
        for low, high in (before[number], after[number]):
            assert 0.89 * min(FOREST[band], 0.2) < low < high < 0.4
        assert before[number] != after[number]
    # Each date's own: the scar is on the later one, and brightest in the shortwave infrared.
    assert before[plan.model.bands.index("B11")][1] < 0.14
    assert after[plan.model.bands.index("B11")][1] > 0.27


def test_a_range_that_was_decided_is_taken_back_date_by_date(scaled, tmp_path):
    workflow = Workflow.from_file(scaled.workflow)
    with opened(prepare(workflow, tmp_path / "run")) as first:
        pass
    again = prepare(workflow, tmp_path / "run")
    assert again.previous is not None
    assert again.plan.tiles[0].tile_ranges == first.plan.tiles[0].tile_ranges


def test_a_worker_is_told_the_range_of_its_own_date(scaled, tmp_path):
    prepared = prepare(Workflow.from_file(scaled.workflow), tmp_path / "run")
    (tile,) = prepared.plan.tiles
    jobs = [pipeline._job(prepared, tile, step) for step in (0, 1)]
    assert [job.tile_range for job in jobs] == list(tile.tile_ranges)
    assert [job.step for job in jobs] == [0, 1]
    assert np.shape(jobs[0].tile_range) == (4, 2)
