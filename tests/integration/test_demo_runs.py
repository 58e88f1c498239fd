"""The other workflows of the demo: a model of pairs, and one scene at the top of the atmosphere."""

from __future__ import annotations

import geopandas as gpd
import pytest
import shapely
from rasterio.transform import array_bounds

import lspipe
from lspipe.demo.grid import EPSG, TILES
from lspipe.evaluate.truth import score_list
from lspipe.runs import pipeline
from lspipe.workflow import Workflow
from tests.stored import compute_here

NORTH, _ = TILES

HIDDEN = 15
"""Number of the landslide that lies under cloud on all dates after."""


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)


@pytest.fixture
def archive(demo_archive):
    return demo_archive


def workflow(archive, name, *overrides):
    given = ("cluster={kind: 'tests.stored:here'}", "output.write=[geoparquet]", *overrides)
    return Workflow.from_file(archive / name, overrides=given)


def listed(run):
    return gpd.read_parquet(run / "inventory.parquet").to_crs(EPSG)


def test_a_model_of_pairs_lists_what_can_be_seen_and_nothing_else(archive, tmp_path):
    # One tile in one block, as the whole takes twice as long.
    asked = workflow(archive, "pair.yaml", f"aoi.tiles=[{NORTH.tile}]", "execution.block=auto")
    summary = lspipe.run(asked, output=tmp_path / "run")
    assert summary.state == "finished"
    found = listed(tmp_path / "run")
    truth = gpd.read_file(archive / "truth.geojson").to_crs(EPSG)
    shape, transform = NORTH.grid(10)
    truth = truth[truth.intersects(shapely.box(*array_bounds(*shape, transform)))]
    hidden = truth["id"] == HIDDEN
    assert hidden.sum() == 1
    seen = len(truth) - 1
    assert seen >= 8
    assert score_list(found, truth[~hidden]) == (seen, seen, len(found), len(found), 0)
    assert not found.intersects(truth[hidden].union_all()).any()
    assert set(found["status"]) == {"new"}
    # They lie on slopes, so nothing speaks against one.
    assert (found["slope_p90"] > 20).all()
    assert not found["gentle_slope"].any()
    # All of the hidden one is said not to have been observed.
    unobserved = gpd.read_parquet(tmp_path / "run" / "unobserved.parquet")
    assert score_list(found, truth, unobserved).hidden == 1
    gaps = gpd.read_parquet(tmp_path / "run" / "unobserved.parquet").to_crs(EPSG)
    clouds = gaps[(gaps["date"] == "after") & (gaps["reason"] == "cloud")].union_all()
    assert truth[hidden].within(clouds.buffer(1)).all()


def test_radar_sees_the_landslides_that_clouds_hide(archive, tmp_path):
    radar = Workflow.from_file(archive / "demo.yaml").radar
    asked = workflow(
        archive, "pair.yaml", f"aoi.tiles=[{NORTH.tile}]", "execution.block=auto",
        f"radar.collection={radar.collection}", f"radar.dense_share={radar.dense_share}",
    )  # fmt: skip
    assert lspipe.run(asked, output=tmp_path / "run").state == "finished"
    truth = gpd.read_file(archive / "truth.geojson").to_crs(EPSG).set_index("id").geometry
    cells = gpd.read_parquet(tmp_path / "run" / "radar_cells.parquet").to_crs(EPSG)
    # One is hidden whole, the other by half; a change of snow or crops is in no cell.
    assert cells.intersects(truth[HIDDEN]).sum() == 1
    assert sorted(truth.index[truth.intersects(cells.union_all())]) == [4, HIDDEN]
    assert len(cells) == 2
    found = listed(tmp_path / "run")
    assert not found.intersects(truth[HIDDEN]).any()
    assert (found[["vv_change_asc_db", "vv_change_desc_db"]].mean(axis=1) < -2).all()


def test_a_scene_of_level_1c_is_read_as_what_it_is(archive, tmp_path):
    # A part, with one view and half as many windows: the network is the largest one here.
    asked = workflow(archive, "l1c.yaml", "inference.tta=none", "inference.overlap=0.25")
    truth = gpd.read_file(archive / "truth.geojson")
    (there,) = truth[truth["id"] == 3].geometry
    summary = lspipe.run(asked, output=tmp_path / "run", bounds=there.bounds)
    assert (summary.failures, summary.done) == ((), 1)
    assert not any("L2A" in text for text in summary.warnings)
    found = listed(tmp_path / "run")
    assert set(found["status"]) == {"detected"}
    assert found.intersects(truth[truth["id"] == 3].to_crs(EPSG).union_all()).any()
