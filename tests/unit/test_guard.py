"""Scenes unlike the training of a model are refused before a run, by a look at a few places."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import lspipe
from lspipe.errors import LoadError, UsageError
from lspipe.inference.familiarity import Channel, channels, count
from lspipe.models import Scaling, read_item
from lspipe.models.statistics import Statistics
from lspipe.runs import guard
from lspipe.runs.frozen import FrozenRun
from lspipe.workflow import Workflow
from tests.worlds import NEW_SCAR, OLD_SCAR, ground, make_world, plan_only

BANDS = ("B02", "B04", "B08", "B11")
SOUND = ground(OLD_SCAR, NEW_SCAR)


def raised(band, rows, columns):
    """The later date, with an offset that nobody will subtract."""
    return SOUND(band, rows, columns) + 0.1


def east_raised(band, rows, columns):
    return np.where(columns < 160, SOUND(band, rows, columns), raised(band, rows, columns))


@pytest.fixture(scope="module")
def item(tmp_path_factory):
    """The shipped formula, as if it had been trained on this world."""
    rows, columns = np.mgrid[:240, :240] + 0.5
    images = [np.stack([SOUND(band, rows, columns) for band in BANDS])]
    document = json.loads(read_item("shipped:bare-ground").path.read_text())
    document["properties"]["lspipe:statistics"] = Statistics.of(images).as_json()
    path = tmp_path_factory.mktemp("model") / "item.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def worlds(tmp_path_factory, item):
    """Worlds whose later date is sound, raised, and raised in the east only."""
    made = {"sound": SOUND, "raised": raised, "east": east_raised}
    return {
        name: make_world(
            tmp_path_factory.mktemp(name),
            after={"values": values, "baseline": "02.06"},
            model={"item": str(item)},
        )
        for name, values in made.items()
    }


def look(world, *overrides, step=1):
    """Check a date of a world; returns what was reported."""
    plan = plan_only(Workflow.from_file(world.workflow, overrides=overrides))
    reported = []
    guard.check_before_run(
        plan,
        [("18GYS", step)],
        run=world.run,
        report=lambda event: reported.append(event.facts()),
    )
    return reported


def test_a_scene_like_those_of_training_passes(worlds):
    (facts,) = look(worlds["sound"])
    # All of a tile of 240 px is one place; every eighth row and column of it.
    assert facts == {"tile": "18GYS", "step": 1, "pixels": 900}


def test_a_wrong_offset_is_refused_with_the_way_to_its_name_and_the_way_out(worlds, item):
    with pytest.raises(UsageError) as caught:
        look(worlds["raised"])
    message, hint = str(caught.value).split("\nhint: ")
    assert message.startswith("18GYS after (2018-01-20) is not like what model bare-ground was")
    assert "B02 100% of pixels outside" in message
    command = f"`lspipe model check {item} --data {worlds['raised'].run}` names the mistake"
    assert hint.startswith(command)
    assert "put it right or take another model; `inference: {unfamiliar: warn}`" in hint
    # The other date of it is sound.
    assert look(worlds["raised"], step=0)


def test_only_the_area_counts(worlds):
    bounds = "aoi={{bbox: [{}, -43.36, {}, -43.33]}}".format
    assert look(worlds["east"], bounds(-72.54, -72.517))
    with pytest.raises(UsageError, match="is not like what model"):
        look(worlds["east"], bounds(-72.512, -72.50))


@pytest.mark.parametrize(
    "override",
    ["inference.unfamiliar=warn", "inference.unfamiliar=ignore", "model.item=shipped:bare-ground"],
)
def test_nothing_is_read_where_nobody_would_refuse(worlds, override, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a read that nobody asked for")

    monkeypatch.setattr("lspipe.runs.guard.open_dates", refuse)
    assert look(worlds["raised"], override) == []


def test_what_cannot_be_read_is_left_to_its_blocks(worlds, monkeypatch):
    def fail(*_, **__):
        raise LoadError("an-item", "blue", "HTTP 403")

    monkeypatch.setattr("lspipe.runs.guard.open_dates", fail)
    (facts,) = look(worlds["raised"])
    assert facts["error"] == "blue of an-item: HTTP 403"


def test_the_answer_is_in_no_fingerprint(worlds):
    one, other = (
        plan_only(Workflow.from_file(worlds["sound"].workflow, overrides=overrides))
        for overrides in ((), ("inference.unfamiliar=ignore",))
    )
    assert one.detection_fingerprint == other.detection_fingerprint
    assert one.change_fingerprint == other.change_fingerprint


def places(shape, area=None, kind="identity", window=32):
    model = SimpleNamespace(scaling=SimpleNamespace(kind=kind))
    return guard._places(shape, area, guard._edge(model, SimpleNamespace(window=window)))


def test_places_are_spread_over_the_tile_or_the_area():
    nine = places((10980, 10980))
    assert len(nine) == guard.PLACES == 9
    assert {part.stop - part.start for place in nine for part in place} == {guard.PLACE}
    assert nine == places((10980, 10980))
    for axis in (0, 1):
        starts = sorted(place[axis].start for place in nine)
        assert all(0 <= start <= 10980 - guard.PLACE for start in starts)
        # Something lies in each third.
        assert {3 * start // 10980 for start in starts} == {0, 1, 2}
    assert {
        rows.stop - rows.start for rows, _ in places((9999, 9999), None, "window-max", 224)
    } == {448}
    # Two far corners, and nothing between them.
    area = np.zeros((2000, 3000), bool)
    area[:50, :50] = area[-50:, -50:] = True
    found = places((2000, 3000), area)
    assert len(found) == 2
    assert all(area[place].any() for place in found)
    assert len(places((240, 100))) == 1


# --- what blocks counted ------------------------------------------------------------------------


def facts(**channels):
    """Of one tile and date: `outside` and `distance` by channel."""
    named = {
        name: dict(zip(("outside", "distance"), pair, strict=True))
        for name, pair in channels.items()
    }
    return {"18GYS": [{"role": "after", "channels": named}]}


@pytest.mark.parametrize(
    ("outside", "distance", "is_said"),
    [(0.0, 0.0, False), (0.099, 1.99, False), (0.1, 0.0, True), (0.2, 0.0, True),
     (0.0, 2.0, True), (0.0, -2.0, True), (0.0, -1.99, False)],
)  # fmt: skip
def test_a_run_warns_from_a_tenth_or_two_deviations_on(outside, distance, is_said):
    said = guard.warnings(facts(B04=(outside, distance)))
    assert [line.startswith("18GYS after: B04 ") for line in said] == [True] * is_said


def test_a_warning_names_the_strangest_channels_first_and_counts_the_others():
    (line,) = guard.warnings(
        facts(
            B02=(0.15, 0), B03=(0.9, 0), B04=(0, -2.9), B08=(0.05, 1), B11=(0.11, 0), B12=(0, 2.5)
        )
    )
    places = [line.index(name) for name in ("B03", "B04", "B12")]
    assert places == sorted(places)
    assert line.endswith("; and 2 more")
    assert not any(name in line for name in ("B02", "B08", "B11"))


@pytest.mark.parametrize(
    ("outside", "distance", "is_refused"),
    [(0.499, 2.99, False), (0.5, 0.0, True), (0.0, 3.0, True), (0.0, -3.0, True)],
)
def test_a_half_or_three_deviations_are_refused(outside, distance, is_refused):
    channel = Channel("B04", outside=outside, distance=distance)
    assert guard._exceeds(channel, guard.REFUSE) is is_refused


def test_counts_of_blocks_are_added_up_for_their_own_tile_and_date(worlds):
    plan = plan_only(Workflow.from_file(worlds["sound"].workflow))
    trained = plan.model.statistics
    values = np.full((4, 30), 0.5, np.float32)
    values[:, 10:] = np.array(trained.mean)[:, None]
    tallies = [count(part, trained) for part in (values[:, :12], values[:, 12:])]
    blocks = [{"tile": "18GYS", "step": 1, "inputs": tally} for tally in tallies]
    (entry,) = guard.inputs(plan, [*blocks, {"tile": "18GYS", "step": 0, "inputs": None}])["18GYS"]
    assert (entry["role"], entry["time"][:10], entry["pixels"]) == ("after", "2018-01-20", 30)
    assert list(entry["channels"]) == list(BANDS)
    for channel in channels([count(values, trained)], trained, BANDS):
        found = entry["channels"][channel.name]
        assert found["outside"] == pytest.approx(channel.outside, abs=1e-4)
        assert found["distance"] == pytest.approx(channel.distance, abs=1e-2)


# --- where and how it looks ---------------------------------------------------------------------


def test_masked_pixels_are_not_looked_at_by_the_workflows_own_mask(worlds):
    # Everything is of the class of plants, which this workflow masks.
    (facts,) = look(worlds["raised"], "cube.mask.scl=[vegetation]")
    assert facts["pixels"] == 0


def test_what_is_looked_at_lies_where_the_tile_is_sampled(worlds, monkeypatch):
    # Places that begin between two rows of the sample, which is every eighth of the tile.
    monkeypatch.setattr(guard, "PLACE", 60)
    plan = plan_only(Workflow.from_file(worlds["sound"].workflow))
    (tile,) = plan.tiles
    values = guard._values(plan, tile, 1)
    rows, columns = np.mgrid[:240, :240] + 0.5
    expected = []
    for part in guard._places((240, 240), tile.area, 60):
        here = np.zeros((240, 240), bool)
        here[part] = True
        here[np.arange(240) % 8 > 0] = False
        here[:, np.arange(240) % 8 > 0] = False
        expected.append([SOUND(band, rows, columns)[here] for band in BANDS[:3]])
    np.testing.assert_allclose(values[:3], np.concatenate(expected, axis=1), atol=1e-4)


def test_each_date_is_scaled_by_its_own_range(worlds):
    plan = plan_only(Workflow.from_file(worlds["sound"].workflow))
    scaling = replace(plan.model.scaling, kind="tile-minmax")
    plan = replace(plan, model=replace(plan.model, scaling=scaling))
    ranges = tuple(((0.0, top),) * 4 for top in (0.5, 1.0))
    tile = replace(plan.tiles[0], tile_ranges=ranges)
    plain = guard._values(replace(plan, model=lspipe_model()), plan.tiles[0], 1)
    np.testing.assert_allclose(guard._values(plan, tile, 1), plain, atol=1e-6)
    before = guard._values(replace(plan, model=lspipe_model()), plan.tiles[0], 0)
    np.testing.assert_allclose(guard._values(plan, tile, 0), before * 2, atol=1e-6)


@pytest.mark.parametrize("kind", ["identity", "window-minmax", "tile-minmax"])
def test_a_run_is_read_again_as_it_was_checked(worlds, kind):
    world = worlds["raised"]
    lspipe.plan(world.workflow)
    run, plan = FrozenRun.of(world.run), plan_only(Workflow.from_file(world.workflow))
    model = replace(plan.model, scaling=Scaling(kind=kind))
    setting = replace(plan.setting, window=model.window, stride=model.window)
    plan, (tile,), (frozen,) = replace(plan, model=model, setting=setting), plan.tiles, run.tiles
    if kind == "tile-minmax":
        ranges = [run.range_of(frozen, step, model.bands) for step in frozen.steps]
        tile = replace(tile, tile_ranges=tuple(ranges))
    again = dict(guard.read_again(run, model))
    assert list(again) == ["18GYS before (2017-01-15)", "18GYS after (2018-01-20)"]
    for step, values in enumerate(again.values()):
        assert values.size
        np.testing.assert_array_equal(values, guard._values(plan, tile, step))


def lspipe_model():
    return read_item("shipped:bare-ground")


def test_both_dates_are_read_at_once_and_told_in_order(worlds, monkeypatch, tmp_path):
    plan = plan_only(Workflow.from_file(worlds["sound"].workflow))
    both, read, told = threading.Barrier(2, timeout=30), guard._values, []

    def together(*asked):
        both.wait()
        return read(*asked)

    monkeypatch.setattr(guard, "_values", together)
    wanted = [("18GYS", 0), ("18GYS", 1)]
    guard.check_before_run(plan, wanted, run=tmp_path, report=told.append)
    assert [(look.tile, look.step) for look in told] == wanted
