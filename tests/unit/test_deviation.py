"""How far views and networks lie apart: the number of a pixel, what a run stores, what it lists."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import torch
import xarray as xr
from rasterio.features import rasterize

import lspipe
from lspipe.errors import WorkflowError
from lspipe.inference.block import run_block
from lspipe.inference.detect import detect
from lspipe.inference.deviation import Deviation
from lspipe.inference.ensemble import run_each
from lspipe.inference.runtimes import from_callable
from lspipe.inference.settings import Setting
from lspipe.runs import store
from lspipe.runs.frozen import FrozenRun
from lspipe.runs.memory import peak_bytes
from lspipe.schema import CODE_NODATA, CODE_SCALE
from lspipe.workflow import Workflow
from tests import seeing_model
from tests.naive import VIEWS, small_network, turn, turn_back
from tests.stored import IN_THIS_PROCESS
from tests.worlds import ground, make_world, plan_only

SIZE, TILE = 48, "18GYS"
PIXELS = np.random.default_rng(0).random((3, 20, 26), dtype=np.float32)
BLOCK = {
    "origin": (0, 0), "tile_shape": PIXELS.shape[1:],
    "core": tuple(slice(0, length) for length in PIXELS.shape[1:]),
}  # fmt: skip


def turned(network, view):
    """The network, which sees each window in one view, and its answer turned back."""

    def answer(windows):
        seen = torch.from_numpy(turn(windows.numpy(), view).copy())
        return torch.from_numpy(turn_back(network(seen).numpy(), view).copy())

    return from_callable(answer, device="cpu")


@pytest.mark.parametrize("merge", ["max", "mean"])
@pytest.mark.parametrize("blend", ["uniform", "hann"])
def test_the_spread_of_a_pixel_is_the_deviation_of_the_maps_of_its_views(merge, blend):
    network = small_network(3)
    plain = Setting(window=8, stride=3, tta="none", blend=blend, batch_size=3)
    maps = [
        run_block(PIXELS, runtime=turned(network, view), setting=plain, **BLOCK) for view in VIEWS
    ]
    setting = Setting(window=8, stride=3, tta_merge=merge, blend=blend, batch_size=3, spread=True)
    found = Deviation()
    runtime = from_callable(network, device="cpu")
    probability = run_block(PIXELS, runtime=runtime, setting=setting, deviation=found, **BLOCK)
    assert found.count == 8
    result = found.result(probability.shape)
    assert result.max() > 0.01
    np.testing.assert_allclose(result, np.std(maps, axis=0, dtype=np.float64), atol=1e-6)
    without = run_block(PIXELS, runtime=runtime, setting=setting, **BLOCK)
    assert without.tobytes() == probability.tobytes()


def test_of_several_networks_all_views_count():
    networks = [from_callable(small_network(3, seed=seed), device="cpu") for seed in (0, 1)]
    setting = Setting(window=8, stride=3, tta="none", spread=True)
    maps = [run_block(PIXELS, runtime=one, setting=setting, **BLOCK) for one in networks]
    found = Deviation()
    run_each(PIXELS, runtimes=networks, setting=setting, deviation=found, **BLOCK)
    expected = np.abs(maps[0].astype(float) - maps[1]) / 2
    np.testing.assert_allclose(found.result(maps[0].shape), expected, atol=1e-6)


def test_views_that_agree_have_no_spread_and_no_view_says_nothing():
    found = Deviation()
    assert np.isnan(found.result((2, 3))).all()
    for _ in range(8):
        found.add(torch.full((2, 3), 0.3))
    assert found.result((2, 3)).max() < 1e-7


# --- a run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    seeing_model.write_item(folder / "one.json")
    affine = {"kind": "affine", "scale": 0.9, "offset": 0.01}
    seeing_model.write_item(folder / "other.json", **{"lspipe:scaling": affine})
    return make_world(
        folder, size=SIZE, before={"values": ground((4, 4, 10, 10))},
        after={"values": ground((4, 4, 10, 10), (20, 24, 12, 12)), "clouds": [(40, 40, 5)]},
        model={"items": ["one.json", "other.json"]},
        inference={"window": 16, "stride": 8, "tta": "none"}, cluster=IN_THIS_PROCESS,
        execution={"block": 24, "retries": 0}, change={"min_area_m2": 0},
    )  # fmt: skip


def workflow_of(world, *overrides):
    return Workflow.from_file(world.workflow, overrides=overrides)


def test_a_run_stores_the_spread_and_lists_its_mean_in_each_object(world, tmp_path):
    run = tmp_path / "run"
    lspipe.run(workflow_of(world, "inference.spread=true"), output=run)
    frozen = FrozenRun.of(run)
    (tile,) = frozen.tiles
    bands, whole = list(frozen.item().bands), (slice(0, SIZE), slice(0, SIZE))
    spread = store.read(run, store.EVIDENCE, TILE, "spread")
    for codes, step in zip(spread, tile.steps, strict=True):
        pixels, quality = frozen.read(tile, step, bands, whole)
        cube = xr.DataArray(pixels, dims=("band", "y", "x"), coords={"band": bands})
        one, other = (
            detect(cube, item.path, mask=quality != 0, window=16, stride=8, tta="none").to_numpy()
            for item in frozen.item().members
        )
        assert ((codes == CODE_NODATA) == np.isnan(one)).all()
        found = np.where(codes == CODE_NODATA, np.nan, codes / CODE_SCALE)
        np.testing.assert_allclose(found, np.abs(one - other) / 2, atol=0.51 / CODE_SCALE)
    listed = gpd.read_parquet(run / "inventory.parquet")
    new = listed[listed["status"] == "new"].iloc[0]
    inside = rasterize(
        [listed.to_crs(tile.geobox.crs.epsg).geometry[new.name]],
        out_shape=(SIZE, SIZE), transform=tile.geobox.affine,
    )  # fmt: skip
    larger = spread.max(axis=0)[inside == 1]
    assert (larger != CODE_NODATA).all()
    assert new["spread_mean"] == pytest.approx(larger.mean() / CODE_SCALE)
    assert new["spread_mean"] > 0.001


def test_only_a_run_that_asks_for_the_spread_has_another_fingerprint_and_more_memory(world):
    plain, asked = (
        plan_only(workflow_of(world, *more)) for more in ((), ("inference.spread=true",))
    )
    assert "spread" not in plain.detection_inputs["inference"]
    assert asked.detection_inputs["inference"]["spread"] is True
    assert plain.detection_fingerprint != asked.detection_fingerprint
    assert peak_bytes(asked.tiles[0], asked) > peak_bytes(plain.tiles[0], plain)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("inference.screen=0.1",), "spread true and screen 0.1"),
        (("inference.tta=d4", "inference.tta_order=max-then-average"), "merges views before"),
        (("model={item: one.json}",), "one view .* of one model"),
    ],
)
def test_a_spread_that_would_say_nothing_is_refused(world, more, message):
    with pytest.raises(WorkflowError, match=message):
        plan_only(workflow_of(world, "inference.spread=true", *more))
