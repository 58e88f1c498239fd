"""One run with all of it: both dates in one model, terrain, gentle ground left out, two masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
import geopandas as gpd
import numpy as np
import pytest

import lspipe
from lspipe.cube.pairs import OTHER_QUALITY
from lspipe.runs import pipeline, store
from lspipe.runs.plan import open_step
from lspipe.schema import CODE_NODATA, Quality, quantise
from lspipe.schema.maps import LEFT_OUT
from lspipe.workflow import Workflow
from tests import pixel_models
from tests.integration.test_terrain_runs import FOOT, write_valley
from tests.stored import compute_here
from tests.worlds import NEW_SCAR, World, fingerprints, make_world, plan_only

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TILE = "18GYS"
CLOUD = (60, 200, 10)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A finished run of four blocks on each date, a cloud before; tests only read it."""
    folder = tmp_path_factory.mktemp("world")
    write_valley(folder / "dem.tif")
    pixel_models.write_item(folder / "steep-loss.json", pixel_models.SteepLoss, window=32)
    world = make_world(
        folder,
        before={"clouds": (CLOUD,)},
        model={"item": "steep-loss.json"},
        terrain={"dem": "dem.tif", "min_slope_deg": 5},
        cube={"mask": {"source": ["scl", "tests.mask_sources:white"]}},
        cluster={"kind": "tests.stored:here"},
        execution={"block": 120, "retries": 0},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        assert lspipe.run(Workflow.from_file(world.workflow)).state == "finished"
    return world


def stored(run: Path, name: str) -> NDArray[Any]:
    return store.read(run, store.DETECTIONS, TILE, name)


def test_the_map_is_the_quantised_detect_of_its_cube(finished: World) -> None:
    plan = plan_only(Workflow.from_file(finished.workflow))
    (tile,) = plan.tiles
    (step,) = tile.judged
    with dask.config.set(scheduler="synchronous"):
        cube = open_step(tile, step, plan.workflow).compute()
    bits = cube["quality"]
    masked = ((bits | cube[OTHER_QUALITY]) & ~np.uint8(Quality.OUTSIDE)) != 0
    expected = lspipe.detect(
        cube["reflectance"].sel(band=list(plan.model.bands)),
        plan.model.reference,
        mask=masked,
        batch_size=plan.setting.batch_size,
        window=plan.setting.window,
        stride=plan.setting.stride,
    )
    codes = quantise(expected.values)
    codes[(bits.values & np.uint8(Quality.OUTSIDE)) != 0] = CODE_NODATA
    np.testing.assert_array_equal(stored(finished.run, "probability")[1], codes)
    assert (codes != CODE_NODATA).any()


def test_the_plain_is_left_out_on_both_dates_and_a_cloud_is_of_its_own(finished: World) -> None:
    codes, quality = stored(finished.run, "probability"), stored(finished.run, "quality")
    plain = np.s_[:, :, : FOOT - 5]
    assert (quality[plain] == LEFT_OUT).all()
    assert (codes[plain] == CODE_NODATA).all()
    row, column, _ = CLOUD
    assert quality[0, row, column] & Quality.CLOUD
    assert quality[1, row, column] == 0
    assert (codes[:, row, column] == CODE_NODATA).all()
    # What only is compared with: 0 where it was observed.
    seen = quality[0] == 0
    assert (codes[0][seen] == 0).all()
    assert (codes[0][~seen] == CODE_NODATA).all()


def test_the_new_scar_on_the_flank_is_listed(finished: World) -> None:
    listed = gpd.read_parquet(finished.run / "inventory.parquet")
    (new,) = listed[listed["status"] == "new"].to_dict("records")
    _, _, rows, columns = NEW_SCAR
    assert new["area_m2"] == pytest.approx(rows * columns * 100, rel=0.1)
    assert new["slope_mean"] > 20
    gaps = gpd.read_parquet(finished.run / "unobserved.parquet")
    assert set(gaps["reason"]) >= {"gentle_slope", "cloud"}
    assert set(gaps.loc[gaps["reason"] == "cloud", "date"]) == {"before"}


@pytest.mark.parametrize("block", [80, 240])
def test_blocks_change_nothing(finished: World, tmp_path: Path, block: int) -> None:
    workflow = Workflow.from_file(finished.workflow, overrides=(f"execution.block={block}",))
    lspipe.run(workflow, output=tmp_path / "run")
    for name in ("probability", "quality"):
        np.testing.assert_array_equal(stored(tmp_path / "run", name), stored(finished.run, name))


def test_a_run_that_was_stopped_ends_in_the_same_bytes(finished: World, tmp_path: Path) -> None:
    workflow = Workflow.from_file(finished.workflow)
    lspipe.run(workflow, output=tmp_path / "run", limit=1)
    lspipe.run(workflow, output=tmp_path / "run")
    assert fingerprints(tmp_path / "run") == fingerprints(finished.run)
