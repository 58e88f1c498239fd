"""One block in a worker: what is read, what is written, and what two runs never share."""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from dataclasses import asdict, dataclass, replace

import dask
import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from dask._task_spec import convert_legacy_graph
from dask.base import collections_to_expr

from lspipe.cube.loaders import source
from lspipe.errors import BlockError, InferenceError, ModelError
from lspipe.inference import familiarity
from lspipe.inference.reference import ModelReference
from lspipe.models.statistics import Statistics
from lspipe.runs import store, worker, writing
from lspipe.runs.jobs import StepJob
from lspipe.runs.plan import cube_of_step, open_step
from lspipe.runs.worker import block_tasks, infer, read_block
from lspipe.schema import CODE_NODATA, CUBE_NODATA, Quality
from lspipe.workflow import Workflow
from tests.worlds import make_world, plan_only

TILE = "18GYS"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A plan of 3 x 3 blocks on two dates; tests write into run directories of their own."""
    world = make_world(tmp_path_factory.mktemp("world"), after={"clouds": ((130, 146, 12),)})
    return plan_only(Workflow.from_file(world.workflow))


def job_of(plan, run, step=0) -> StepJob:
    """Lay out the store of a run, and return what its blocks share."""
    (tile,) = plan.tiles
    more = store.layers_asked(has_doubted=False, has_spread=plan.setting.spread)
    store.create(run, [tile.grid], fingerprint=plan.detection_fingerprint, more=more)
    return StepJob(
        run=run,
        tile=TILE,
        step=step,
        tile_shape=tuple(tile.tile.geobox.shape),
        model=plan.reference,
        setting=plan.setting,
        tile_range=None,
        fill_masked=False,
        threads=1,
    )


def tasks_of(plan, run, step=0, *, workflow=None, area=None, resources=None, first=0, **more):
    (tile,) = plan.tiles
    source = cube_of_step(tile, tile.steps[step], workflow or plan.workflow)
    job = job_of(plan, run, step)
    return block_tasks(
        source,
        job,
        tile.blocks,
        bands=plan.model.bands,
        area=area,
        resources=resources,
        first=first,
        **more,
    )


def compute(tasks):
    with dask.config.set(scheduler="synchronous"):
        return dask.compute(*tasks)


@pytest.mark.parametrize("loader", ["odc", "stackstac"])
def test_a_block_is_read_at_once_with_its_surroundings(plan, tmp_path, monkeypatch, loader):
    reads: Counter[str] = Counter()
    original = source.read

    def counted(asset, pixels):
        reads[asset.asset] += 1
        return original(asset, pixels)

    monkeypatch.setattr(source, "read", counted)
    cube = replace(plan.workflow.cube, loader=loader)
    workflow = plan.workflow.model_copy(update={"cube": cube})
    results = compute(tasks_of(plan, tmp_path, workflow=workflow))
    assert len(results) == 9
    # Nine blocks, each of which is read with the edges of up to eight others: one read each.
    assert reads == dict.fromkeys(("blue", "green", "red", "nir", "swir16", "scl"), 9)


def test_every_block_is_done_when_its_task_is(plan, tmp_path):
    tasks = tasks_of(plan, tmp_path, step=1)
    assert not store.done(tmp_path, TILE).any()
    results = compute(tasks[:4])
    done = store.done(tmp_path, TILE)
    assert done[1].ravel().tolist() == [True] * 4 + [False] * 5
    assert not done[0].any()
    assert [result.index for result in results] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert {(result.tile, result.step) for result in results} == {(TILE, 1)}
    assert all(result.seconds > 0 for result in results)


def test_what_is_added_to_a_block_leaves_what_was_stored_of_it(plan, tmp_path):
    told = replace(plan, setting=replace(plan.setting, spread=True))
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for run in (whole, halves):
        run.mkdir()
    compute(tasks_of(told, whole)[:2])
    west = np.zeros((240, 240), bool)
    west[:, :50] = True
    compute(tasks_of(told, halves, needed=west)[:2])
    first = store.read(halves, store.DETECTIONS, TILE, "probability")[0, :80, :160]
    assert (first[:, 50:] == CODE_NODATA).all()
    assert (first[:, :50] != CODE_NODATA).all()
    results = compute(tasks_of(told, halves, needed=~west, is_more=True)[:2])
    assert all(result.is_more for result in results)
    layers = ((store.DETECTIONS, "probability"), (store.DETECTIONS, "quality"))
    for which, name in (*layers, (store.EVIDENCE, "spread")):
        expected, found = (
            store.read(run, which, TILE, name)[0, :80, :160] for run in (whole, halves)
        )
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_two_runs_in_one_graph_or_on_one_scheduler_never_share_a_block(plan, tmp_path):
    # Dask does a task of one name once, whoever asks for it.
    runs = [tmp_path / name for name in ("one", "other")]
    for run in runs:
        run.mkdir()
    tasks = [task for run in runs for task in tasks_of(plan, run)[:2]]
    assert len({task.key for task in tasks}) == 4
    compute(tasks)
    assert [int(store.done(run, TILE).sum()) for run in runs] == [2, 2]


def test_only_the_network_of_a_block_takes_the_slot_and_writing_is_done_where_one_is(
    plan, tmp_path
):
    tasks = tasks_of(plan, tmp_path, resources={"inference": 1})
    asked = collections_to_expr(tasks).optimize().__dask_annotations__()["resources"]
    kinds = {key: key[0].partition("-")[0] for key in asked}
    assert Counter(kinds.values()) == {"infer": 9, "write": 9}
    assert {task.key for task in tasks} == {key for key, kind in kinds.items() if kind == "write"}
    # None of it: the network runs on the next block meanwhile. But readers have none, and may not
    # see the run directory.
    assert all(asked[key] == {"inference": int(kind == "infer")} for key, kind in kinds.items())
    without = collections_to_expr(tasks_of(plan, tmp_path)).optimize()
    assert "resources" not in without.__dask_annotations__()


def test_blocks_are_read_and_computed_in_turn_and_written_before_all_that(plan, tmp_path):
    tasks = tasks_of(plan, tmp_path, first=100)
    expression = collections_to_expr(tasks).optimize()
    priority = expression.__dask_annotations__()["priority"]
    graph = convert_legacy_graph(expression.__dask_graph__())
    assert set(priority) == set(graph)
    assert len(graph) == 3 * len(tasks)
    for number, task in enumerate(tasks):
        # A block waits for its own read, and for none of a neighbour; what is written does not
        # hold the pixels.
        (inferred,) = graph[task.key].dependencies
        (read,) = graph[inferred].dependencies
        assert not graph[read].dependencies
        assert priority[inferred] == priority[read] == -100 - number
        assert priority[task.key] > 0


def test_a_task_ships_a_path_and_hashes_and_never_a_module(plan, tmp_path):
    shipped = pickle.dumps(job_of(plan, tmp_path))
    assert len(shipped) < 2000
    assert b"torch" not in shipped
    assert plan.reference.sha256.encode() in shipped


def test_a_model_that_changed_since_the_plan_is_refused(plan):
    with pytest.raises(ModelError, match="plan a new run|restore that model"):
        replace(plan.reference, sha256="0" * 64).open()


def test_a_worker_loads_what_the_plan_resolved(monkeypatch):
    asked = {}

    def load(item, sha256, **options):
        asked.update(options, item=item, sha256=sha256)

    monkeypatch.setattr("lspipe.inference.runtimes.load", load)
    reference = ModelReference("an item", "of weights", "of the item", "cuda", "bf16", "openvino")
    reference.open()
    assert asked == {name: value for name, value in asdict(reference).items() if value} | {
        "beside": 0
    }


def test_an_item_that_changed_since_the_plan_is_refused_beside_the_same_weights(plan):
    # Its scaling decides pixels, and blocks of two scalings would lie under one fingerprint.
    with pytest.raises(ModelError, match="item|plan a new run|restore that model"):
        replace(plan.reference, item_sha256="0" * 64).open()
    assert plan.reference.open().scaling == plan.model.scaling


# --- one block, array by array ------------------------------------------------------------------

SHAPE = (80, 80)


NAMES = ("one", "two", "three", "four")
"""Bands of the model."""


@dataclass(frozen=True)
class Scene:
    """Made-up pixels of the outer extent of a block."""

    cube: xr.Dataset

    def part(self, part):
        del part
        return self.cube


def given(block, *, area=None, **changes):
    """Pixels of forest with a scar in the middle, and nothing masked, as they are read."""
    rows, columns = (part.stop - part.start for part in block.outer)
    pixels = np.empty((4, rows, columns), np.int16)
    pixels[:] = np.array([200, 300, 3500, 1200], np.int16)[:, None, None]
    pixels[:, 20:40, 20:40] = np.array([800, 1400, 2000, 3000], np.int16)[:, None, None]
    layers = {
        "quality": np.zeros((rows, columns), np.uint8),
        "scl": np.full((rows, columns), 4, np.uint8),
        "acquired": np.full((rows, columns), 17000, np.uint16),
    } | changes
    pixels = layers.pop("pixels", pixels)
    # Behind the bands of the model, which may be any, those that are shown.
    seen = layers.pop("seen", np.full((4, *SHAPE), 1500, np.int16))
    shown = layers.pop("shown", ("B04", "B03", "B02", "B08"))
    wide = np.full((len(shown), rows, columns), 9999, np.int16)
    wide[:, : SHAPE[0], : SHAPE[1]] = seen
    cube = xr.Dataset(
        {
            "reflectance": (("band", "y", "x"), da.from_array(np.concatenate([pixels, wide]))),
            **{name: (("y", "x"), da.from_array(layer)) for name, layer in layers.items()},
        },
        coords={"band": [*NAMES, *shown]},
    )
    return {"read": read_block(Scene(cube), block, NAMES), "area": area}


def infer_and_write(*, job, block, **asked):
    return writing.write(infer(job=job, block=block, **asked), block=block, job=job)


def write(plan, run, **changes):
    """Run the first block of the first date on made-up arrays; return its stored layers."""
    (tile,) = plan.tiles
    block = tile.blocks[0]
    result = infer_and_write(block=block, job=job_of(plan, run), **given(block, **changes))
    return result, layers_of(run, block)


def layers_of(run, block):
    return {
        name: store.read(run, which, TILE, name)[0][..., *block.core]
        for which, names in (
            (store.DETECTIONS, ("probability", "quality")),
            (store.EVIDENCE, ("true_colour", "ndvi", "scl", "acquired")),
        )
        for name in names
    }


def test_a_block_writes_its_core_and_what_a_person_looks_at(plan, tmp_path):
    result, layers = write(plan, tmp_path)
    codes = layers["probability"]
    assert codes.shape == SHAPE
    assert (codes[20:40, 20:40] > 5000).all()
    assert (codes[60:] < 3000).all()
    assert not layers["quality"].any()
    assert (layers["scl"] == 4).all()
    assert (layers["acquired"] == 17000).all()
    assert (layers["ndvi"] == 0).all()
    assert (layers["true_colour"] == 128).all()
    assert (result.tile, result.step, result.index) == (TILE, 0, (0, 0))


def test_windows_are_counted_that_were_needed_and_that_were_run(plan, tmp_path, monkeypatch):
    whole, _ = write(plan, tmp_path / "whole")
    # Windows of 32 px every 16 px over 80 px of an edge of the tile.
    assert (whole.windows, whole.windows_run) == (25, 25)
    (tile,) = plan.tiles
    rows, columns = (part.stop - part.start for part in tile.blocks[0].outer)
    quality = np.zeros((rows, columns), np.uint8)
    quality[:, 16:] = Quality.CLOUD
    part, _ = write(plan, tmp_path / "part", quality=quality)
    assert (part.windows, part.windows_run) == (5, 5)
    original = worker.run_each

    def screened(*arrays, report, **options):
        return original(*arrays, report=lambda needed, _: report(needed, 3), **options)

    monkeypatch.setattr(worker, "run_each", screened)
    few, _ = write(plan, tmp_path / "few")
    assert (few.windows, few.windows_run) == (25, 3)


def test_a_block_computes_with_the_threads_asked_for_in_whichever_thread_it_runs(
    plan, tmp_path, monkeypatch
):
    # torch keeps the number per thread: that a worker set it once, in another, would say nothing.
    found = []
    original = worker.run_each

    def observed(*arrays, **options):
        found.append(torch.get_num_threads())
        return original(*arrays, **options)

    monkeypatch.setattr(worker, "run_each", observed)
    before = torch.get_num_threads()
    ready, go = threading.Barrier(3), threading.Barrier(3)

    def work(run):
        torch.set_num_threads(3)
        ready.wait()
        go.wait()
        write(plan, run)

    threads = [threading.Thread(target=work, args=(tmp_path / name,)) for name in ("one", "two")]
    try:
        for thread in threads:
            thread.start()
        ready.wait(30)
        torch.set_num_threads(2)
        go.wait(30)
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before)
    assert found == [1, 1]


def test_what_is_masked_is_not_observed_and_keeps_its_reason(plan, tmp_path):
    (tile,) = plan.tiles
    rows, columns = (part.stop - part.start for part in tile.blocks[0].outer)
    quality = np.zeros((rows, columns), np.uint8)
    quality[10:20] = Quality.CLOUD
    quality[20:25] = Quality.SHADOW | Quality.DILATED
    _, layers = write(plan, tmp_path, quality=quality)
    np.testing.assert_array_equal(layers["quality"], quality[:80, :80])
    np.testing.assert_array_equal(layers["probability"] == CODE_NODATA, quality[:80, :80] != 0)


def test_a_band_without_data_is_not_observed_even_where_no_bit_said_so(plan, tmp_path):
    (tile,) = plan.tiles
    pixels = given(tile.blocks[0])["read"].pixels
    pixels[2, 5, 7] = CUBE_NODATA
    _, layers = write(plan, tmp_path, pixels=pixels)
    missing = np.zeros(SHAPE, bool)
    missing[5, 7] = True
    np.testing.assert_array_equal(layers["probability"] == CODE_NODATA, missing)
    np.testing.assert_array_equal(layers["quality"] == Quality.NODATA, missing)


def test_outside_the_area_nothing_is_said_but_that(plan, tmp_path):
    (tile,) = plan.tiles
    rows, columns = (part.stop - part.start for part in tile.blocks[0].outer)
    area = np.zeros((rows, columns), bool)
    # An odd shape: packed bits have no edge of their own.
    area[3:77, 11:53] = True
    quality = np.zeros((rows, columns), np.uint8)
    quality[:30] = Quality.CLOUD
    _, layers = write(plan, tmp_path, area=np.packbits(area), quality=quality)
    inside, cloud = area[:80, :80], quality[:80, :80]
    expected = np.where(inside, cloud, np.uint8(Quality.OUTSIDE))
    np.testing.assert_array_equal(layers["quality"], expected)
    np.testing.assert_array_equal(layers["probability"] == CODE_NODATA, expected != 0)


def test_pictures_are_left_empty_where_the_archive_lacks_their_bands(plan, tmp_path):
    _, layers = write(plan, tmp_path, seen=0, shown=())
    assert not layers["true_colour"].any()
    assert (layers["ndvi"] == CUBE_NODATA).all()
    red_and_near = np.full((2, *SHAPE), 1500, np.int16)
    _, layers = write(plan, tmp_path, seen=red_and_near, shown=("B04", "B08"))
    assert not layers["true_colour"].any()
    assert (layers["ndvi"] == 0).all()


def test_a_network_that_fails_fails_this_block_and_writes_nothing(plan, tmp_path, monkeypatch):
    def out_of_memory(*_, **__):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(worker, "run_each", out_of_memory)
    with pytest.raises(InferenceError, match="CUDA out of memory") as caught:
        write(plan, tmp_path)
    assert isinstance(caught.value, BlockError)
    # Which block it is, the run says in front of it, once.
    assert "block" not in str(caught.value)
    assert not store.done(tmp_path, TILE).any()


def test_an_error_of_lspipe_passes_as_it_is(plan, tmp_path, monkeypatch):
    error = InferenceError("window at row 0, column 0 of the tile: NaN")

    def wrong(*_, **__):
        raise error

    monkeypatch.setattr(worker, "run_each", wrong)
    with pytest.raises(InferenceError) as caught:
        write(plan, tmp_path)
    assert caught.value is error


def test_what_is_to_be_written_holds_no_pixels_and_can_be_written_again(plan, tmp_path):
    (tile,) = plan.tiles
    block, job = tile.blocks[0], replace(job_of(plan, tmp_path), sets_aside=True)
    asked = given(block)
    disputed, cloud = np.zeros((2, *asked["read"].quality.shape), np.uint8)
    disputed[30:50], cloud[25:45] = 1, Quality.CLOUD
    read = asked["read"]._replace(disputed=disputed, quality=cloud)
    found = infer(read, block=block, job=job, area=None)
    arrays = [each for each in found if isinstance(each, np.ndarray)]
    assert not any(np.shares_memory(each, read.pixels) for each in arrays)
    before = [each.copy() for each in arrays]
    first = writing._maps(found)
    # Another try finds what the first one was given.
    for layers, same in zip(writing._maps(found), first, strict=True):
        assert all((layers[name] == same[name]).all() for name in same)
    assert all(map(np.array_equal, arrays, before, [True] * len(arrays)))
    maps, candidates = first
    doubted = candidates["doubted"] != CODE_NODATA
    assert doubted[30:45].all()
    assert doubted.sum() == 15 * SHAPE[1]
    assert (maps["probability"][25:45] == CODE_NODATA).all()
    assert (maps["quality"][25:45] == Quality.CLOUD).all()


def test_time_in_the_slot_is_told_apart_from_writing(plan, tmp_path, monkeypatch):
    clock = iter([0.0, 5.0, 20.0, 22.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock, 99.0))
    monkeypatch.setattr(worker, "run_each", lambda *_, **__: np.zeros(SHAPE, np.float32))
    monkeypatch.setattr(store, "write_block", lambda *_, **__: None)
    (tile,) = plan.tiles
    asked = given(tile.blocks[0])
    job = job_of(plan, tmp_path)
    clock = iter([0.0, 5.0, 20.0, 22.0])
    result = infer_and_write(block=tile.blocks[0], job=job, **asked)
    assert (result.network, result.writing, result.seconds) == (5.0, 2.0, 7.0)


@pytest.mark.parametrize("bit", list(Quality))
def test_whatever_masks_a_pixel_it_is_not_observed(plan, tmp_path, bit):
    (tile,) = plan.tiles
    rows, columns = (part.stop - part.start for part in tile.blocks[0].outer)
    quality = np.zeros((rows, columns), np.uint8)
    quality[7, 9:12] = bit
    result, layers = write(plan, tmp_path, quality=quality)
    np.testing.assert_array_equal(layers["probability"] == CODE_NODATA, quality[:80, :80] != 0)
    assert result.failed_reads == (3 if bit == Quality.READ_ERROR else 0)


def test_a_picture_is_of_its_own_bands(plan, tmp_path):
    seen = np.empty((4, *SHAPE), np.int16)
    seen[:] = np.array([500, 1000, 2000, 3500], np.int16)[:, None, None]
    _, layers = write(plan, tmp_path, seen=seen)
    assert (layers["ndvi"] == 7500).all()
    red, green, blue = layers["true_colour"][:, 0, 0].tolist()
    assert 0 < red < green < blue


def tasks_seen(plan, run, monkeypatch, **options):
    """What each block of a date was computed from, by its row and column."""
    found = {}

    def answer(pixels, *, origin, core, mask, area, **more):
        found[origin] = {"pixels": pixels, "mask": mask, "area": area, **more}
        more["report"](1, 1)
        return np.zeros([part.stop - part.start for part in core], np.float32)

    monkeypatch.setattr(worker, "run_each", answer)
    (tile,) = plan.tiles
    source = cube_of_step(tile, tile.steps[1], plan.workflow)
    job = replace(job_of(plan, run, 1), **options.pop("job", {}))
    asked = {"bands": plan.model.bands, "area": None} | options
    compute(block_tasks(source, job, tile.blocks, **asked))
    cube = open_step(tile, tile.steps[1], plan.workflow)
    with dask.config.set(scheduler="synchronous"):
        return found, cube.compute()


def test_a_block_gets_its_surroundings_in_the_order_of_the_models_bands(
    plan, tmp_path, monkeypatch
):
    bands = ("B11", "B02", "B08")
    (tile,) = plan.tiles
    area = np.random.default_rng(0).random((240, 240)) < 0.5
    area[:120] = True
    job = {"fill_masked": True, "tile_range": ((0.0, 1.0),) * 3}
    found, cube = tasks_seen(plan, tmp_path, monkeypatch, bands=bands, area=area, job=job)
    assert len(found) == len(tile.blocks)
    values, quality = (
        cube["reflectance"].sel(band=list(bands)).to_numpy(),
        cube["quality"].to_numpy(),
    )
    assert quality.any()
    for block in tile.blocks:
        seen = found[block.outer[0].start, block.outer[1].start]
        np.testing.assert_array_equal(seen["pixels"], values[:, *block.outer])
        np.testing.assert_array_equal(seen["mask"], quality[block.outer] != 0)
        inside = area[block.outer]
        if inside.all():
            assert seen["area"] is None
        else:
            np.testing.assert_array_equal(seen["area"], inside)
        assert seen["tile_shape"] == (240, 240)
        assert seen["fill_masked"] is True
        assert seen["tile_range"] == ((0.0, 1.0),) * 3
    classes = store.read(tmp_path, store.EVIDENCE, TILE, "scl")[1]
    np.testing.assert_array_equal(classes, cube["scl"])
    days = store.read(tmp_path, store.EVIDENCE, TILE, "acquired")[1]
    np.testing.assert_array_equal(days, cube["acquired"])


def test_only_observed_pixels_of_the_area_are_laid_beside_training(plan, tmp_path):
    (tile,) = plan.tiles
    block = tile.blocks[0]
    rows, columns = (part.stop - part.start for part in block.outer)
    area = np.ones((rows, columns), bool)
    area[:, :40] = False
    asked = given(block, area=np.packbits(area))
    asked["read"].quality[:24] = Quality.SNOW
    trained = Statistics.of([np.random.default_rng(0).random((4, 9, 9)) * 0.1 + 0.1])
    job = replace(job_of(plan, tmp_path), trained=trained)
    result = infer_and_write(block=block, job=job, **asked)
    # Every eighth row and column of the core.
    wanted = np.s_[24:80:8, 40:80:8]
    values = asked["read"].pixels[:4, *wanted].reshape(4, -1) * np.float32(1e-4)
    expected = familiarity.count(values, trained)
    assert result.inputs["pixels"] == 7 * 5
    assert result.inputs["outside"] == expected["outside"]
    assert result.inputs["total"] == pytest.approx(expected["total"], rel=1e-5)


def test_what_is_laid_beside_training_is_scaled_as_the_network_sees_it(plan, tmp_path, monkeypatch):
    (tile,) = plan.tiles
    block = tile.blocks[4]
    asked = {}

    def sample(_, **options):
        asked.update(options)
        return np.zeros((4, 3), np.float32)

    monkeypatch.setattr(worker.familiarity, "sample", sample)
    trained = Statistics.of([np.random.default_rng(0).random((4, 9, 9))])
    ranges = ((0.0, 0.5),) * 4
    setting = replace(plan.setting, stride=8, tta="none")
    job = replace(job_of(plan, tmp_path), trained=trained, tile_range=ranges, setting=setting)
    infer_and_write(block=block, job=job, **given(block))
    assert asked["tile_range"] == ranges
    assert asked["setting"] == setting
    assert asked["scaling"] == plan.model.scaling
    assert asked["core"] == block.core
    assert asked["origin"] == (block.outer[0].start, block.outer[1].start)
    assert asked["tile_shape"] == (240, 240)
    assert asked["area"] is None
