"""What a plan costs, counted independently; and what a person is warned of before a run."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pystac
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lspipe.clusters import USABLE_MEMORY, ClusterSpec
from lspipe.cube.choice import Step
from lspipe.errors import UsageError
from lspipe.inference import windows
from lspipe.inference.block import run_block
from lspipe.inference.reference import ModelReference
from lspipe.inference.runtimes import from_callable
from lspipe.inference.settings import Setting
from lspipe.outputs.layers import BYTES_PER_PIXEL
from lspipe.runs import memory
from lspipe.runs.caution import warnings
from lspipe.runs.cost import _Pass, estimate, windows_in, work
from lspipe.runs.memory import _peak_at, check_memory, fitting_block, peak_bytes
from lspipe.runs.plan import BLOCK_SIZES, THREADS
from lspipe.search.acquisitions import Acquisition
from lspipe.search.on_grid import RoughMask
from lspipe.workflow import Workflow
from tests.worlds import make_world, plan_only


def tile_of(shape, area=None):
    """As much of a `TilePlan` as counting windows needs."""
    return SimpleNamespace(tile=SimpleNamespace(geobox=SimpleNamespace(shape=shape)), area=area)


def counted(tile, block, setting):
    mask = None if tile.area is None else RoughMask(tile.area, 1, (0, 0))
    return windows_in(tile, block, _Pass.of(setting), mask)


def by_hand(tile, block, setting):
    """Windows of the lattice that hold a pixel of the area in the core of a block."""
    rows, columns = tile.tile.geobox.shape
    wanted = np.zeros((rows, columns), bool)
    wanted[block.core] = True if tile.area is None else tile.area[block.core]
    starts = (windows.origins(length, setting.window, setting.stride) for length in (rows, columns))
    size = setting.window
    return sum(wanted[i : i + size, j : j + size].any() for i, j in product(*starts))


@st.composite
def cut_tiles(draw):
    """A tile, an area on it (or none), a setting, and a block of a cut that fits."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    window = draw(st.integers(1, 12))
    setting = Setting(window=window, stride=draw(st.integers(1, window)), tta="none")
    size = draw(st.integers(max(1, window - 1), 40))
    area = None
    if draw(st.booleans()):
        seed = draw(st.integers(0, 2**31))
        share = draw(st.sampled_from([0.0, 0.003, 0.03, 0.5, 1.0]))
        area = np.random.default_rng(seed).random(shape) < share
    cut = windows.blocks(shape, size, window - 1)
    return tile_of(shape, area), draw(st.sampled_from(cut)), setting


@given(cut_tiles())
def test_windows_are_counted_as_by_hand(case):
    tile, block, setting = case
    assert counted(tile, block, setting) == by_hand(tile, block, setting)


@given(cut_tiles())
def test_the_network_sees_as_many_windows_as_were_counted(case):
    tile, block, setting = case
    seen = 0

    def network(batch):
        nonlocal seen
        seen += len(batch)
        return batch[:, :1]

    run_block(
        np.full((1, *(s.stop - s.start for s in block.outer)), 0.5, np.float32),
        origin=(block.outer[0].start, block.outer[1].start),
        tile_shape=tile.tile.geobox.shape,
        core=block.core,
        runtime=from_callable(network, device="cpu"),
        setting=replace(setting, batch_size=1),
        area=None if tile.area is None else tile.area[block.outer],
    )
    assert seen == counted(tile, block, setting)


@given(cut_tiles())
def test_no_window_is_counted_where_there_is_no_area(case):
    tile, block, setting = case
    nowhere = tile_of(tile.tile.geobox.shape, np.zeros(tile.tile.geobox.shape, bool))
    everywhere = tile_of(tile.tile.geobox.shape, np.ones(tile.tile.geobox.shape, bool))
    whole = tile_of(tile.tile.geobox.shape)
    assert counted(nowhere, block, setting) == 0
    assert counted(everywhere, block, setting) == counted(whole, block, setting)


# --- the whole plan -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


READ = 80 + 31 + 31 + 80 + 31 + 31 + 80
"""Pixels along one axis of three blocks of 80 and their halos."""


def plan_of(world, *overrides):
    return plan_only(Workflow.from_file(world.workflow, overrides=overrides))


def test_a_plan_costs_what_it_counts_up_to(world):
    cost = estimate(plan_of(world))
    assert (cost.tiles, cost.scenes, cost.blocks) == (1, 2, 2 * 9)
    # 240 px, windows of 32 every 16: 14 along an axis; a block's border windows count in both.
    assert 2 * 14**2 < cost.windows < 2 * 20**2
    assert cost.forward_passes == 8 * cost.windows
    # Five bands of 16 bits and the classes, of two scenes; each block is read with its halo.
    assert cost.bytes_to_read == READ**2 * (2 * 5 + 1) * 2
    assert cost.seconds_per_pass > 0
    assert set(cost.as_json()) == set(type(cost).__dataclass_fields__)


def test_one_block_runs_every_window_once_and_no_tta_one_view(world):
    cost = estimate(plan_of(world, "execution.block=240", "inference.tta=none"))
    assert cost.windows == cost.forward_passes == 2 * 14**2


def test_a_small_area_costs_less(world):
    whole, part = (
        estimate(plan_of(world, *overrides))
        for overrides in ([], ["aoi={bbox: [-72.53, -43.34, -72.527, -43.338]}"])
    )
    assert 0 < part.windows < whole.windows / 4
    assert 0 < part.blocks < whole.blocks
    assert part.bytes_to_read < whole.bytes_to_read


def test_layers_cost_time_and_bytes_where_they_are_written(world):
    none, all_blocks, part = (
        estimate(plan_of(world, *overrides))
        for overrides in (
            [],
            ["output.write=[cog]"],
            ["output.write=[cog]", "aoi={bbox: [-72.53, -43.34, -72.527, -43.338]}"],
        )
    )
    assert (none.bytes_to_write, none.seconds_to_write) == (0, 0)
    assert all_blocks.bytes_to_write == int(2 * 240 * 240 * BYTES_PER_PIXEL)
    # Of the part of the tile that has blocks.
    assert 0 < part.bytes_to_write < all_blocks.bytes_to_write
    assert 0 < part.seconds_to_write < all_blocks.seconds_to_write


def test_every_item_of_a_date_is_read_and_every_tile_counts(world):
    plan = plan_of(world)
    (tile,) = plan.tiles
    first, second = tile.steps
    # Two halves of one acquisition on the earlier date, and a second tile of half as many blocks.
    other = pystac.Item("other", None, None, first.time, dict(first.items[0].properties))
    both = Acquisition(first.time, (*first.items, other))
    halves = replace(tile, steps=(replace(first, acquisitions=(both,)), second))
    few = replace(tile, blocks=tile.blocks[:4], area=None)
    once, twice = (estimate(replace(plan, tiles=tiles)) for tiles in ((halves,), (few, halves)))
    plain = estimate(plan)
    assert once.bytes_to_read == plain.bytes_to_read // 2 * 3
    assert (once.scenes, once.blocks) == (3, 18)
    assert (twice.tiles, twice.blocks, twice.scenes) == (2, 18 + 8, 3)
    assert twice.windows > plain.windows
    assert twice.peak_bytes_per_worker == plain.peak_bytes_per_worker


def test_the_largest_peak_of_all_tiles_counts(world):
    plan = plan_of(world, "execution.block=40")
    (small,) = plan.tiles
    (large,) = plan_of(world, "execution.block=240").tiles
    peaks = [peak_bytes(tile, plan) for tile in (small, large)]
    assert peaks[0] < peaks[1]
    for tiles in ((small, large), (large, small)):
        assert estimate(replace(plan, tiles=tiles)).peak_bytes_per_worker == peaks[1]


@pytest.mark.parametrize("readers", [1, 3])
def test_a_median_holds_every_acquisition_of_a_date(world, monkeypatch, readers):
    monkeypatch.setattr(memory, "_readers", lambda _: readers)
    plan = plan_of(world)
    (tile,) = plan.tiles
    first, second = tile.steps
    three = replace(tile, steps=(first, replace(second, acquisitions=second.acquisitions * 3)))
    # Five bands of 16 bits; quality, classes and the day.
    more = readers * 2 * (2 * 5 + 4) * tile.largest_block
    assert peak_bytes(three, plan) - peak_bytes(tile, plan) == more


def test_a_block_fits_only_if_it_fits_on_every_tile(world):
    whole = whole_tile_plan(world)
    (tile,) = whole.tiles
    # A tile that loads three times as many bands.
    heavy = replace(tile, bands=tile.bands * 3)
    both = replace(whole, tiles=(tile, heavy))
    memory = _peak_at(3660, tile, whole)
    assert fitting_block(whole, memory) == 3660
    assert fitting_block(both, memory) < 3660
    assert fitting_block(replace(whole, tiles=(heavy, tile)), memory) == fitting_block(both, memory)


def test_larger_blocks_need_more_memory(world):
    peaks = []
    for block in (40, 80, 240):
        plan = plan_of(world, f"execution.block={block}")
        peaks.append(peak_bytes(plan.tiles[0], plan))
    assert peaks == sorted(set(peaks))


def test_a_screen_costs_at_most_its_first_pass_more(world):
    full, screened = (
        estimate(plan_of(world, "execution.block=240", *more))
        for more in ([], ["inference.screen=0.05"])
    )
    assert screened.windows == full.windows
    setting = plan_of(world, "inference.screen=0.05").setting
    coarse = len(windows.origins(240, 32, setting.first_pass.stride)) ** 2
    # Two dates, eight views each.
    assert screened.forward_passes == full.forward_passes + 2 * 8 * coarse


def test_a_first_pass_is_counted_around_every_block_too(world):
    plan = plan_of(world, "inference.screen=0.05", "execution.block=80")
    setting = plan.setting
    assert setting.reach == 8
    (tile,) = plan.tiles
    coarse = windows.origins(240, 32, setting.first_pass.stride)
    # A window counts that meets the core of a block, or eight pixels around it.
    met = [
        sum(start < min(span.stop + 8, 240) and start + 32 > max(span.start - 8, 0)
            for start in coarse)
        for block in tile.blocks for span in block.core
    ]  # fmt: skip
    around = sum(rows * columns for rows, columns in zip(met[::2], met[1::2], strict=True))
    ((count, passes),) = work(plan, setting)
    assert passes == 8 * (count + 2 * around)
    assert around > len(coarse) ** 2


def test_every_preset_is_counted_for_this_workflow(world):
    cost = estimate(plan_of(world, "inference={preset: fast, window: 32}", "execution.block=240"))
    rows = {row.name: row for row in cost.presets}
    assert list(rows) == ["paper", "balanced", "fast", "preview"]
    assert [name for name, row in rows.items() if row.is_used] == ["fast"]
    fast = rows["fast"]
    assert (fast.stride, fast.overlap, fast.blend) == (16, 0.5, "hann")
    assert (fast.windows, fast.forward_passes) == (cost.windows, cost.forward_passes)
    assert fast.seconds == pytest.approx(cost.seconds)
    # The item says `overlap: 0` and `tta: none`, which no preset turns on.
    assert rows["paper"].windows == 2 * 8**2
    assert {row.tta for row in rows.values()} == {"none"}
    assert "a hint only: this model's paper did otherwise" in cost.agreement_source


def test_a_setting_of_ones_own_is_a_row_of_its_own(world):
    cost = estimate(plan_of(world))
    (used,) = [row for row in cost.presets if row.is_used]
    assert used is cost.presets[-1]
    assert (used.name, used.stride, used.tta, used.agreement) == ("as asked", 16, "d4", None)
    assert used.forward_passes == cost.forward_passes


def test_the_work_is_shared_among_the_workers(world):
    cost = estimate(plan_of(world, "cluster.workers=4"))
    assert cost.workers == 4
    assert cost.seconds == pytest.approx(cost.forward_passes * cost.seconds_per_pass / 4)


def test_a_pass_is_timed_with_the_planned_threads(world, monkeypatch):
    seen = set()

    def network(batch):
        seen.add(torch.get_num_threads())
        return batch[:, :1] * 0 + 0.5

    monkeypatch.setattr(
        ModelReference, "open", lambda _: from_callable(network, device="cpu", precision="fp32")
    )
    before = torch.get_num_threads()
    plan = plan_of(world)
    try:
        torch.set_num_threads(2)
        estimate(plan)
    finally:
        torch.set_num_threads(before)
    assert seen == {THREADS} == {1}


# --- memory -------------------------------------------------------------------------------------


def whole_tile_plan(world, *overrides):
    """The world's plan, on a tile that is cut as a whole Sentinel-2 tile."""
    plan = plan_of(world, *overrides)
    (tile,) = plan.tiles
    shape = (10980, 10980)
    whole = SimpleNamespace(name=tile.tile.name, geobox=SimpleNamespace(shape=shape))
    cut = tuple(windows.blocks(shape, 3660, plan.setting.halo))
    grid = replace(tile.grid, block=3660)
    return replace(plan, tiles=(replace(tile, tile=whole, blocks=cut, grid=grid, area=None),))


def test_blocks_that_do_not_fit_are_refused_with_those_that_would(world):
    plan = whole_tile_plan(world)
    peaks = {size: _peak_at(size, plan.tiles[0], plan) for size in BLOCK_SIZES}
    assert peaks[3660] == peak_bytes(plan.tiles[0], plan)
    assert sorted(peaks.values(), reverse=True) == list(peaks.values())
    for size, smaller in pairwise(BLOCK_SIZES):
        memory = math.floor((peaks[size] - 1) / USABLE_MEMORY)
        tight = whole_tile_plan(world, f"cluster.memory_per_worker={memory}B")
        with pytest.raises(UsageError, match=f"set execution.block to {smaller}, or give a worker"):
            check_memory(tight, is_laid_out=False)
        assert fitting_block(plan, peaks[size] - 1) == smaller
    ample = math.ceil(peaks[3660] / USABLE_MEMORY)
    check_memory(whole_tile_plan(world, f"cluster.memory_per_worker={ample}B"), is_laid_out=False)


def test_where_no_block_fits_the_memory_is_said_that_would_do(world):
    tight = whole_tile_plan(world, "cluster.memory_per_worker=100MB")
    with pytest.raises(UsageError, match=r"has 0\.10GB and uses 90% of it: no block") as caught:
        check_memory(tight, is_laid_out=False)
    enough = re.search(r"give a worker (\S+)", str(caught.value))[1]
    check_memory(whole_tile_plan(world, f"cluster.memory_per_worker={enough}"), is_laid_out=False)


def test_a_run_that_is_laid_out_is_not_told_to_cut_its_blocks_anew(world):
    tight = whole_tile_plan(world, "cluster.memory_per_worker=1GB")
    with pytest.raises(
        UsageError, match="the block size of this run is fixed: give a worker .* fresh=True"
    ):
        check_memory(tight, is_laid_out=True)


def test_memory_that_nobody_knows_refuses_nothing(world):
    other = "cluster={kind: address, address: 'tcp://127.0.0.1:8786'}"
    check_memory(whole_tile_plan(world, other), is_laid_out=False)


def test_timing_a_pass_leaves_the_number_of_threads_as_it_was(world):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        estimate(plan_of(world))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --- warnings -----------------------------------------------------------------------------------


def step(role, day, *, orbit=None, baseline="05.09", hrefs=(), **properties):
    time = datetime.fromisoformat(day).replace(hour=14, tzinfo=UTC)
    facts = {"s2:processing_baseline": baseline, **properties}
    if orbit is not None:
        facts["sat:relative_orbit"] = orbit
    item = pystac.Item(f"S2A_18GYS_{day}", None, None, time, facts)
    for key, href in hrefs:
        item.add_asset(key, pystac.Asset(href))
    return Step(role=role, acquisitions=(Acquisition(time, (item,)),))


def warned(*steps, is_swapped=False, device="cpu", cluster=None, recipe="", **setting):
    """Warnings of a plan of one tile with these steps."""
    tile = SimpleNamespace(
        tile=SimpleNamespace(name="18GYS"),
        steps=steps,
        bands=("B04",),
        mask_bands=("B02",),
        bytes_to_read=40_000_000_000 * len(steps),
    )
    workflow = SimpleNamespace(
        dates=SimpleNamespace(is_swapped=is_swapped), cluster=cluster or ClusterSpec()
    )
    reference = SimpleNamespace(device=device)
    return warnings(
        SimpleNamespace(
            workflow=workflow,
            tiles=(tile,),
            setting=Setting(**setting),
            reference=reference,
            model=SimpleNamespace(id="a-model", recipe=recipe, is_pair=False),
            notes=(),
        )
    )


@pytest.mark.parametrize(
    ("recipe", "level", "said"),
    [
        ("l4s14", "L2A", "recipe l4s14, which is of L1C (top of atmosphere), and is given L2A"),
        ("morales10", "L1C", "recipe morales10, which is of L2A (surface), and is given L1C"),
        ("l4s14", "L1C", None),
        ("ghorb4+slope", "L2A", None),
        ("vega3", "L2A", None),
        ("", "L1C", None),
    ],
)
def test_scenes_of_another_level_than_the_models_are_warned_of_by_name(recipe, level, said):
    scene = step("after", "2024-02-01")
    scene.items[0].properties["processing:level"] = level
    notes = warned(scene, recipe=recipe)
    if said is None:
        assert notes == []
    else:
        (note,) = notes
        assert said in note
        assert "(1 of 1 scenes, such as S2A_18GYS_2024-02-01)" in note


def test_a_screen_whose_first_pass_is_no_coarser_than_the_setting_is_warned_of():
    assert warned(screen=0.05, stride=22) == []
    (note,) = warned(screen=0.05, stride=112)
    assert "its first pass has a stride of 112 px, the setting one of 112" in note


def test_workers_that_would_share_a_gpu_are_warned_of():
    assert warned(device="cuda") == []
    assert warned(device="cpu", cluster=ClusterSpec(workers=4)) == []
    (note,) = warned(device="cuda", cluster=ClusterSpec(workers=4))
    assert "4 workers share a GPU" in note
    assert "set cluster.workers to 1" in note


def test_dates_that_match_are_not_warned_of():
    assert (
        warned(step("before", "2023-02-01", orbit=10), step("after", "2024-02-20", orbit=10)) == []
    )


@pytest.mark.parametrize(
    ("before", "after", "apart"),
    [
        ("2023-02-01", "2024-03-17", None),  # 45 days: the 32nd and, in a leap year, the 77th
        ("2023-02-01", "2024-03-18", 46),
        ("2023-01-15", "2024-07-15", 182),
        # Over the turn of the year: December and January are one season.
        ("2023-12-20", "2024-01-20", None),
        ("2023-11-20", "2025-01-20", 61),
    ],
)
def test_other_seasons_are_warned_of_with_the_days_between(before, after, apart):
    notes = warned(step("before", before), step("after", after))
    if apart is None:
        assert notes == []
    else:
        (note,) = notes
        assert note.startswith(f"18GYS: the dates are {apart} days apart in the year")


def test_the_worst_pair_of_several_acquisitions_counts():
    notes = warned(
        step("before", "2023-01-01"), step("after", "2024-01-20"), step("after", "2024-04-01")
    )
    assert ["91 days" in note for note in notes] == [True]


def test_different_orbits_are_warned_of_by_number():
    (note,) = warned(step("before", "2023-02-01", orbit=96), step("after", "2024-02-01", orbit=53))
    assert note.startswith("18GYS: relative orbits 53, 96 differ")
    # An item that does not say its orbit is not suspected of another one.
    assert warned(step("before", "2023-02-01", orbit=96), step("after", "2024-02-01")) == []


@pytest.mark.parametrize(
    ("before", "after", "is_mixed"),
    [("03.01", "04.00", True), ("02.14", "05.11", True), ("04.00", "05.11", False),
     ("02.04", "03.01", False), ("03.01", None, False)],
)  # fmt: skip
def test_baselines_on_both_sides_of_0400_are_warned_of(before, after, is_mixed):
    notes = warned(
        step("before", "2021-02-01", baseline=before), step("after", "2022-02-01", baseline=after)
    )
    assert ["04.00 are mixed" in note for note in notes] == [True] * is_mixed


def test_swapped_dates_are_said():
    pair = step("before", "2024-02-01"), step("after", "2023-02-01")
    assert warned(*pair) == []
    assert [
        "new and vanished change places" in note for note in warned(*pair, is_swapped=True)
    ] == [True]


def test_one_date_has_nothing_to_differ_from():
    assert warned(step("after", "2024-07-01", orbit=1, baseline="02.04")) == []


SUN, ZENITH = "view:sun_elevation", "s2:mean_solar_zenith"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({SUN: 60}, {SUN: 50}, []),
        ({SUN: 29}, {SUN: 40}, ["before: the sun is 29 degrees high"]),
        ({SUN: 60}, {ZENITH: 65.0}, ["after: the sun is 25", "is 60 and 25 degrees high"]),
        ({SUN: 55}, {SUN: 39}, ["the sun is 55 and 39 degrees high on the two dates"]),
        ({}, {SUN: 45}, []),
    ],
)
def test_low_and_unlike_sun_is_warned_of_in_degrees(before, after, said):
    notes = warned(step("before", "2023-02-01", **before), step("after", "2024-02-01", **after))
    assert [text in note for text, note in zip(said, notes, strict=True)] == [True] * len(said)


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"s2:snow_ice_percentage": 35.2}, "35% of the scene of 2024-07-01 is snow"),
     ({"eo:snow_cover": 20}, "20% of the scene"), ({"eo:snow_cover": 19}, None)],
)  # fmt: skip
def test_snow_is_warned_of_with_its_share(facts, said):
    notes = warned(step("after", "2024-07-01", **facts))
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]


def test_a_bucket_whose_reader_pays_is_named_with_its_price():
    hrefs = [("red", "s3://sentinel-s2-l1c/B04.jp2"), ("blue", "s3://sentinel-s2-l1c/B02.jp2")]
    paid, slow = warned(step("after", "2024-07-01", hrefs=hrefs))
    assert "s3://sentinel-s2-l1c/ is paid by its reader: about 20.0 GB, 1.80 USD" in paid
    assert "AWS_REQUEST_PAYER=requester" in paid
    assert slow.startswith("earth-search: 1 of the scenes are JPEG 2000")
    cogs = [("red", "https://sentinel-cogs/B04.tif"), ("nir-jp2", "s3://sentinel-s2-l2a/B08.jp2")]
    # The twins in that bucket are not what is read.
    assert warned(step("after", "2024-07-01", hrefs=cogs)) == []


def test_jpeg_2000_of_the_copernicus_data_space_is_named_with_what_it_needs():
    (slow,) = warned(step("after", "2024-07-01", hrefs=[("B04_10m", "s3://eodata/B04_10m.jp2")]))
    assert "cdse" in slow
    assert "AWS_ACCESS_KEY_ID" in slow


def test_windows_of_a_mask_are_counted_and_timed(world):
    source = "cube.mask.source=tests.mask_sources:above_its_window"
    cost = estimate(plan_of(world, source))
    # Each window answers 10 x 10 of its 16 x 16 pixels of 30 m, of all blocks on two dates.
    assert cost.mask_windows == 2 * math.ceil(READ**2 / 30**2)
    assert cost.seconds_to_mask > 0
    plain = estimate(plan_of(world))
    assert (plain.mask_windows, plain.seconds_to_mask) == (0, 0)
    # B02 is read already, B04 and B11 too: no byte more.
    assert cost.bytes_to_read == plain.bytes_to_read
