"""Ensembles: the mean of single models, one reading of pixels, and every item in the record."""

from __future__ import annotations

import json
from dataclasses import replace

import dask
import numpy as np
import pytest
import xarray as xr

import lspipe
from lspipe.errors import InferenceError, ModelError, UsageError, WorkflowError
from lspipe.inference.detect import detect
from lspipe.inference.ensemble import run_each
from lspipe.inference.reference import ModelReference
from lspipe.inference.runtimes import from_callable
from lspipe.inference.runtimes.choice import Choice
from lspipe.inference.settings import AUTO_BATCH_SIZE, Setting
from lspipe.models.ensemble import joined
from lspipe.models.item import ModelSpec, digest
from lspipe.models.mlm import read_item
from lspipe.outputs.report.facts import _model
from lspipe.runs import store, worker
from lspipe.runs.cost import estimate
from lspipe.runs.describe import describe_plan
from lspipe.runs.frozen import FrozenRun
from lspipe.runs.memory import peak_bytes
from lspipe.runs.plan import settled
from lspipe.runs.prepare import prepare
from lspipe.runs.record import run_json
from lspipe.schema import CODE_NODATA, quantise
from lspipe.train.adapt import adapt
from lspipe.workflow import Workflow
from tests import seeing_model
from tests.stored import IN_THIS_PROCESS
from tests.worlds import make_world, plan_only

SIZE = 48
TILE = "18GYS"
MODELS = {
    "one": {},
    "scaled": {
        "lspipe:scaling": {"kind": "affine", "scale": 0.7, "offset": 0.01},
        "lspipe:threshold": 0.7,
    },
    "stretched": {"lspipe:scaling": {"kind": "tile-minmax"}},
}
"""Items of one network that differ in their scaling, so in their answers."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    for name, properties in MODELS.items():
        seeing_model.write_item(folder / f"{name}.json", **properties)
    return make_world(
        folder, size=SIZE, after={"clouds": [(30, 40, 5)]}, model={},
        inference={"window": 16, "stride": 8}, cluster=IN_THIS_PROCESS,
        execution={"block": 24, "retries": 0},
    )  # fmt: skip


def items(world, *names):
    return [str(world.workflow.parent / f"{name}.json") for name in names]


def workflow_of(world, *names, more=()):
    listed = ", ".join(f"{name}.json" for name in names)
    return Workflow.from_file(world.workflow, overrides=(f"model.items=[{listed}]", *more))


def cube():
    rng = np.random.default_rng(0)
    values = rng.uniform(0.02, 0.4, (4, SIZE, SIZE)).astype(np.float32)
    values[:, :5, :7] = np.nan
    return xr.DataArray(
        values, dims=("band", "y", "x"), coords={"band": ["B02", "B03", "B04", "B08"]}
    )


# --- the map ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"screen": 0.3}, {"tta_merge": "mean", "blend": "hann"}])
def test_the_map_of_an_ensemble_is_the_mean_of_the_maps_of_its_items(world, settings):
    names = items(world, *MODELS)
    found = detect(cube(), names, **settings).to_numpy()
    single = np.stack([detect(cube(), name, **settings).to_numpy() for name in names])
    assert np.nanmax(np.abs(single - single[0])) > 0.1
    np.testing.assert_allclose(found, single.mean(axis=0, dtype=np.float64), atol=1e-6, rtol=0)
    assert (np.isnan(found) == np.isnan(single[0])).all()


def test_a_lazy_cube_gives_the_bits_of_one_in_memory(world):
    names = items(world, *MODELS)
    lazy = detect(cube().chunk({"y": 24, "x": 24}), names)
    # In this process: two threads that load the models at once are not what is asked here.
    with dask.config.set(scheduler="synchronous"):
        assert lazy.to_numpy().tobytes() == detect(cube(), names).to_numpy().tobytes()


def test_the_order_of_the_items_changes_no_bit(world):
    names = items(world, *MODELS)
    maps = [detect(cube(), order).to_numpy().tobytes() for order in (names, names[::-1])]
    assert maps[0] == maps[1]


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """A run of two models, and how often a block was read for it."""
    reads, real = [], worker.read_block
    folder = tmp_path_factory.mktemp("run") / "both"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "read_block", lambda *a, **k: (reads.append(1), real(*a, **k))[1])
        lspipe.run(workflow_of(world, "one", "scaled"), output=folder)
    return folder, len(reads)


def test_a_run_stores_the_map_of_the_ensemble_and_reads_each_block_once(world, run):
    folder, reads = run
    frozen = FrozenRun.of(folder)
    (tile,) = frozen.tiles
    model = frozen.item()
    assert reads == 4 * len(tile.steps)
    whole = tuple(slice(0, length) for length in tile.geobox.shape)
    stored = store.read(folder, store.DETECTIONS, TILE, "probability")
    for codes, step in zip(stored, tile.steps, strict=True):
        pixels, quality = frozen.read(tile, step, model.bands, whole)
        cube = xr.DataArray(pixels, dims=("band", "y", "x"), coords={"band": list(model.bands)})
        found = detect(
            cube, items(world, "one", "scaled"), mask=quality != 0, window=16, stride=8,
            batch_size=AUTO_BATCH_SIZE,
        )  # fmt: skip
        assert (quantise(found.to_numpy()) == codes).all()
        assert (codes < CODE_NODATA).any()


def test_the_record_of_a_run_names_every_item_with_its_hashes(world, run):
    folder, _ = run
    record = json.loads((folder / "run.json").read_text("utf-8"))["model"]
    assert record["id"] == "one + scaled"
    read = [read_item(name) for name in items(world, "one", "scaled")]
    assert record["items"] == [
        {"id": item.id, "sha256": digest(item), "item_sha256": item.item_sha256} for item in read
    ]
    assert dict(_model(lspipe.open_run(folder)))["what it is"].startswith(
        "The mean of the probabilities of 2 models"
    )


def test_a_run_knows_its_items_again_and_refuses_others(world, run, tmp_path):
    frozen = FrozenRun.of(run[0])
    assert [item.id for item in frozen.item().members] == ["one", "scaled"]
    one, other = (read_item(name) for name in items(world, "scaled", "stretched"))
    frozen.check_model(one)
    with pytest.raises(ModelError, match="restore that item"):
        frozen.check_model(other)
    with pytest.raises(ModelError, match="ensemble of 2 models, one \\+ scaled"):
        adapt(run[0], output=tmp_path / "adapted")


def test_a_workflow_that_names_no_model_goes_on_with_the_ensemble_that_was_begun(world, run):
    prepared = prepare(Workflow.from_file(world.workflow), run[0])
    assert [item.id for item in prepared.plan.model.members] == ["one", "scaled"]
    assert prepared.left == 0


def test_a_network_that_fails_is_named_by_its_number():
    sound = from_callable(lambda windows: windows[:, :1], device="cpu")
    broken = from_callable(lambda windows: windows[:, :1] + 2, device="cpu")
    with pytest.raises(InferenceError, match="network 2 of 2: window at row 0"):
        run_each(
            np.zeros((1, 8, 8), np.float32),
            runtimes=[sound, broken], origin=(0, 0), tile_shape=(8, 8),
            core=(slice(0, 8), slice(0, 8)), setting=Setting(window=8, stride=8, tta="none"),
        )  # fmt: skip


def test_all_networks_of_an_ensemble_stay_loaded(world, monkeypatch):
    loaded = []
    real = lspipe.inference.runtimes.build_network
    monkeypatch.setattr(
        "lspipe.inference.runtimes.build_network",
        lambda item: (loaded.append(item.id), real(item))[1],
    )
    monkeypatch.setattr("lspipe.inference.runtimes._runtimes", {})
    model = joined([read_item(name) for name in items(world, *MODELS)])
    reference = ModelReference.of(model, device="cpu", precision="fp32", runtime="eager")
    for _ in range(3):
        assert len(reference.open_each()) == 3
    assert loaded == list(MODELS)


# --- the plan -----------------------------------------------------------------------------------


def test_a_plan_counts_the_passes_and_the_memory_of_all_networks(world):
    single = plan_only(workflow_of_one(world))
    both = plan_only(workflow_of(world, "one", "scaled"))
    costs = [estimate(plan) for plan in (single, both)]
    assert costs[1].windows == costs[0].windows
    assert costs[1].forward_passes == 2 * costs[0].forward_passes
    assert costs[1].bytes_to_read == costs[0].bytes_to_read
    assert peak_bytes(both.tiles[0], both) > peak_bytes(single.tiles[0], single)
    counts = {tile.tile.name: (0, 0) for tile in both.tiles}
    facts = describe_plan(both, run=world.workflow.parent, left="all", counts=counts)
    assert facts["model"] == "the mean of 2: one + scaled (B02, B03, B04, B08)"


def workflow_of_one(world):
    return Workflow.from_file(world.workflow, overrides=("model.item=one.json",))


def test_weights_of_all_networks_are_in_the_projected_memory(world, tmp_path):
    plan = plan_only(workflow_of(world, "one", "scaled"))
    weights = tmp_path / "weights"
    weights.write_bytes(bytes(1000))
    first, second = plan.model.members
    heavier = replace(plan.model, members=(first, replace(second, weights=weights)))
    tile = plan.tiles[0]
    assert peak_bytes(tile, replace(plan, model=heavier)) == peak_bytes(tile, plan) + 2000


def test_the_fingerprint_of_one_model_knows_nothing_of_ensembles_and_that_of_several_each_item(
    world,
):
    single = plan_only(workflow_of_one(world))
    assert set(single.detection_inputs["model"]) == {
        "architecture", "arguments", "bands", "scaling", "fill", "sha256"
    }  # fmt: skip
    assert "items" not in run_json(single, state="planned")["model"]
    prints = {
        plan_only(workflow_of(world, *names)).detection_fingerprint
        for names in (("one", "scaled"), ("one", "stretched"), tuple(MODELS))
    }
    assert len(prints | {single.detection_fingerprint}) == 4


def test_the_range_of_the_tile_is_read_where_any_item_is_scaled_by_it(world):
    assert plan_only(workflow_of(world, "one", "scaled")).tiles[0].tile_ranges is None
    assert plan_only(workflow_of(world, "one", "stretched")).tiles[0].tile_ranges is not None


def test_the_threshold_is_that_of_the_workflow_else_the_mean_of_the_items(world):
    assert plan_only(workflow_of(world, "one", "scaled")).threshold == 0.6
    given = workflow_of(world, "one", "scaled", more=("change.threshold=0.4",))
    assert plan_only(given).threshold == 0.4


def test_runtimes_are_compared_with_the_first_network_and_serve_all(world, monkeypatch):
    opened = []

    def choose(open_as, *_):
        opened.append(open_as("eager"))
        return Choice(opened[-1], "measured")

    monkeypatch.setattr("lspipe.inference.runtimes.choice.choose", choose)
    monkeypatch.setattr("lspipe.inference.detect.choose", choose)
    names = tuple(items(world, "one", "scaled"))
    question = settled.Question(
        names, "cpu", "fp32", "auto", 16, 1000, passes=10**6, largest_block=100
    )
    assert (settled.decide(question).runtime, settled.decide(question).why) == ("eager", "measured")
    both = detect(cube(), list(names))
    alone = [detect(cube(), name, runtime="eager") for name in names]
    np.testing.assert_allclose(both, sum(alone) / 2, atol=1e-6)
    assert len(opened) == 3


def test_a_worker_that_settles_a_run_opens_every_item(world):
    names = tuple(items(world, "one", "scaled"))
    question = settled.Question(
        names, "cpu", "fp32", "eager", 16, 1000, passes=10, largest_block=100
    )
    assert settled.decide(question).runtime == "eager"
    broken = world.workflow.parent / "broken.json"
    seeing_model.write_item(broken, **{"lspipe:architecture": "tests.seeing_model:Nothing"})
    with pytest.raises(UsageError, match="Nothing"):
        settled.decide(replace(question, items=(names[0], str(broken))))


def test_a_worker_refuses_an_item_that_changed_since_the_plan(world):
    reference = plan_only(workflow_of(world, "one", "scaled")).reference
    first, second = reference.members
    changed = replace(reference, members=(first, replace(second, item_sha256="0" * 64)))
    with pytest.raises(ModelError, match=r"scaled\.json: the item has changed"):
        changed.open_each()


# --- what is refused ----------------------------------------------------------------------------


def test_items_of_other_channels_are_refused_by_name():
    with pytest.raises(
        ModelError, match="bare-ground.json: bands: found B02 B04 B08 B11: expected"
    ):
        detect(cube(), ["shipped:demo", "shipped:bare-ground"])


@pytest.mark.parametrize(
    ("properties", "differ"),
    [
        ({"lspipe:overlap": 0.5}, "stride 12 of one and 8 of other"),
        ({"lspipe:tta_merge": "mean"}, "tta_merge max of one and mean of other"),
        ({"lspipe:tta": "none"}, "tta d4 of one and none of other"),
    ],
)
def test_items_of_other_settings_are_refused_by_name_unless_one_is_given(
    world, tmp_path, properties, differ
):
    other = seeing_model.write_item(tmp_path / "other.json", **properties)
    names = [*items(world, "one"), other]
    with pytest.raises(UsageError, match=f"found {differ}.*give {differ.split()[0]}, or take"):
        detect(cube(), names)
    given = {"stride": 8} if "stride" in differ else {differ.split()[0]: differ.split()[1]}
    assert detect(cube(), names, **given).shape == (SIZE, SIZE)


def test_items_of_other_windows_are_refused_by_name(world, tmp_path):
    other = seeing_model.write_item(tmp_path / "other.json", window=24)
    with pytest.raises(UsageError, match="window 16 of one and 24 of other"):
        detect(cube(), [*items(world, "one"), other])


def test_an_item_that_is_there_twice_is_refused(world):
    with pytest.raises(ModelError, match="twice"):
        detect(cube(), items(world, "one", "one"))


def test_one_item_is_no_ensemble(world):
    (one,) = items(world, "one")
    assert detect(cube(), [one]).to_numpy().tobytes() == detect(cube(), one).to_numpy().tobytes()
    with pytest.raises(ModelError, match="two or more"):
        joined([read_item(one)])


@pytest.mark.parametrize("given", [[], [lambda windows: windows[:, :1]], ["a.json", np.zeros(3)]])
def test_a_list_of_other_than_items_is_refused(given):
    with pytest.raises(UsageError, match="expected the paths of model items"):
        detect(cube(), given)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"item": "a.json", "items": ("b.json", "c.json")}, "found item a.json and items b.json"),
        ({"items": ("a.json",)}, "2 or more"),
        ({"items": ("a.json", "a.json")}, "none twice"),
        ({"items": ("a.json", "auto")}, "found auto"),
    ],
)
def test_items_that_say_no_ensemble_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        ModelSpec(**spec)


def test_a_workflow_names_the_file_and_the_key_of_items_beside_an_item(world):
    overrides = ("model.item=one.json", "model.items=[one.json, scaled.json]")
    with pytest.raises(WorkflowError, match=r"model.*expected one of them"):
        Workflow.from_file(world.workflow, overrides=overrides)
