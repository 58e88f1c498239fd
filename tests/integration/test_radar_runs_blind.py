"""Runs that read radar: what it says of objects, and what it saw where a cloud hid the ground."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from geopandas.testing import assert_geodataframe_equal

import lspipe
from lspipe.cli.summaries import summary_text
from lspipe.runs import pipeline, store
from lspipe.runs.export import export
from lspipe.runs.reporting import report
from lspipe.schema import CUBE_NODATA
from lspipe.schema.columns import RADAR, UNOBSERVED_BY_RADAR
from lspipe.workflow import Workflow
from tests.backscatter import add_slice
from tests.scenes import TILES
from tests.stored import compute_here
from tests.worlds import (
    NEW_SCAR,
    OLD_SCAR,
    add_scene,
    change_workflow,
    fingerprints,
    ground,
    make_world,
    plan_only,
)

TILE, EAST = "18GYS", "19GBP"
"""Of two UTM zones."""

CLOUD = (175, 75, 45)
"""Row, column and radius: a cell of 500 m, and more, on the later date."""
CELL = np.s_[150:200, 50:100]
STEP = np.s_[155:195, 55:95]
"""Below the cloud: 64 % of the cell became brighter by 6 dB."""
SCAR = np.s_[NEW_SCAR[0] : NEW_SCAR[0] + NEW_SCAR[2], NEW_SCAR[1] : NEW_SCAR[1] + NEW_SCAR[3]]

MARGIN = 40
"""Pixels of radar around the tile."""

ORBITS = {"ascending": 18, "descending": 83}

SECTIONS = {
    "radar": {"collection": "sentinel-1-rtc"},
    "cluster": {"kind": "tests.stored:here"},
    "execution": {"block": 120, "retries": 0},
    "inference": {"window": 32, "stride": 32, "tta": "none"},
}


def power_of(orbit: str, side: str):
    """Linear power of a tile and its surroundings; twice or half as bright where it changed."""
    rows, columns = np.mgrid[: 240 + 2 * MARGIN, : 240 + 2 * MARGIN]
    power = 0.1 * (1 + 0.5 * np.sin(rows / 3) * np.cos(columns / 4 + len(orbit)))
    if side == "after":
        inside = power[MARGIN:-MARGIN, MARGIN:-MARGIN]
        inside[STEP] *= 4
        inside[SCAR] *= 2 if orbit == "ascending" else 0.5
    return power


def add_radar(folder, tile=TILE, orbits=ORBITS):
    """Three dates of each side and orbit."""
    place = TILES[tile]
    corner = (place.left - 10 * MARGIN, place.top + 10 * MARGIN)
    for orbit, number in orbits.items():
        for side, year in (("before", 2017), ("after", 2018)):
            for day in (3, 15, 27):
                add_slice(
                    folder,
                    # A pass reaches another tile half a minute later.
                    time=f"{year}-01-{day:02d}T10:{number % 60:02d}:{30 * (tile == EAST):02d}Z",
                    power=power_of(orbit, side),
                    crs=place.epsg,
                    corner=corner,
                    name=f"S1A_{tile}_{year}01{day:02d}_{orbit}",
                    properties={"sat:orbit_state": orbit, "sat:relative_orbit": number},
                )


def make(folder, **sections):
    """A world with a new scar in the clear, and changed ground below a cloud."""
    made = make_world(folder, after={"clouds": [CLOUD]}, **SECTIONS | sections)
    add_radar(folder)
    return made


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)


def run(world, output=None):
    return lspipe.run(Workflow.from_file(world.workflow), output=output or world.run)


def read(world, name, tile=TILE):
    return store.read(world.run, store.EVIDENCE, tile, name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A world of two zones and its finished run, of which all is written."""
    formats = ["geoparquet", "gpkg", "cog", "qgis", "stac", "report"]
    folder = tmp_path_factory.mktemp("world")
    made = make(folder, aoi={"tiles": [TILE, EAST]}, output={"path": "run", "write": formats})
    times = ("2017-01-15T14:37:51Z", "2018-01-20T14:37:51Z")
    for time, scars in zip(times, ((OLD_SCAR,), (OLD_SCAR, NEW_SCAR)), strict=True):
        add_scene(folder, tile=EAST, time=time, values=ground(*scars))
    add_radar(folder, EAST, {"descending": 83})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        assert run(made).state == "finished"
    return made


@pytest.fixture
def world(finished, tmp_path):
    """The same, to be changed."""
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    return replace(finished, folder=folder, workflow=folder / "workflow.yaml", run=folder / "run")


# --- the two uses -------------------------------------------------------------------------------


def test_an_object_on_clear_ground_says_how_its_backscatter_changed(finished) -> None:
    listed = gpd.read_parquet(finished.run / "inventory.parquet").set_index(["tile", "status"])
    new = listed.loc[(TILE, "new")]
    assert new["vv_change_asc_db"] == pytest.approx(10 * np.log10(2), abs=0.02)
    assert new["vv_change_desc_db"] == pytest.approx(-10 * np.log10(2), abs=0.02)
    assert new["vv_seen_share"] == 1
    old = listed.loc[(TILE, "persistent")]
    assert [old["vv_change_asc_db"], old["vv_change_desc_db"]] == pytest.approx([0, 0], abs=0.02)
    # Of the other zone one orbit is there.
    other = listed.loc[(EAST, "new")]
    assert np.isnan(other["vv_change_asc_db"])
    assert other["vv_change_desc_db"] == pytest.approx(-10 * np.log10(2), abs=0.02)


def test_changed_ground_below_a_cloud_is_a_dense_cell_and_no_landslide(finished) -> None:
    quality = store.read(finished.run, store.DETECTIONS, TILE, "quality")[1]
    assert (quality[CELL] != 0).all()
    cells = lspipe.open_run(finished.run).radar_cells
    assert_geodataframe_equal(cells, gpd.read_parquet(finished.run / "radar_cells.parquet"))
    assert cells["tile"].tolist() == [TILE]
    assert cells["radar_density"].tolist() == [pytest.approx(0.64, abs=1e-4)]
    assert (cells["n_px"].tolist(), cells["hidden_share"].tolist()) == ([2500], [1.0])
    box = shapely.box(699960 + 500, 5200000 - 2000, 699960 + 1000, 5200000 - 1500)
    assert cells.to_crs(32718).geometry[0].symmetric_difference(box).area < 1
    listed = gpd.read_parquet(finished.run / "inventory.parquet").to_crs(32718)
    assert not listed[listed["tile"] == TILE].intersects(box).any()
    density = read(finished, "radar_density")
    assert density[3, 1] == 6400
    # Where optics saw all, radar is not asked, whatever it saw.
    assert (density[2, 3], density[0, 0]) == (65535, 65535)
    assert read(finished, "hidden_share")[0, 4] == 0


def test_gaps_say_what_radar_saw_of_them(finished) -> None:
    gaps = gpd.read_parquet(finished.run / "unobserved.parquet").set_index(["tile", "reason"])
    assert list(gaps.columns)[-4:-1] == ["area_m2", *UNOBSERVED_BY_RADAR]
    cloud = gaps.loc[(TILE, "cloud")]
    assert cloud["radar_seen_share"] == 1
    assert cloud["radar_changed_share"] == pytest.approx(1600 / (np.pi * 45**2), rel=0.05)


def test_the_stored_backscatter_is_that_of_the_files(finished) -> None:
    cut = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    for orbit, short in (("ascending", "asc"), ("descending", "desc")):
        for side in ("before", "after"):
            decibels = 10 * np.log10(power_of(orbit, side)[cut])
            codes = read(finished, f"vv_{side}_{short}")
            assert (codes != CUBE_NODATA).all()
            assert np.abs(codes * 0.002 - decibels).max() < 0.002
    opened = lspipe.open_run(finished.run)[TILE]
    assert opened["vv_after_asc"].attrs["units"] == "dB"
    np.testing.assert_allclose(
        opened["vv_after_asc"], read(finished, "vv_after_asc") * 0.002, atol=1e-4
    )
    assert opened["radar_density"].dims == ("cell_y", "cell_x")
    assert "vv_after_asc" not in lspipe.open_run(finished.run)[EAST]


# --- what people see ----------------------------------------------------------------------------


def test_the_run_and_its_report_say_what_radar_saw(finished) -> None:
    record = json.loads((finished.run / "run.json").read_text("utf-8"))
    seen = record["seen_by_radar"]
    hidden = np.count_nonzero(store.read(finished.run, store.DETECTIONS, TILE, "quality")[1])
    assert seen["hidden_km2"] == pytest.approx(hidden * 1e-4, rel=2e-3)
    assert seen["seen_km2"] == seen["hidden_km2"]
    assert seen["cells"] == 1
    assert seen["median_db"][TILE] == pytest.approx({"asc": 0, "desc": 0}, abs=2e-3)
    assert list(seen["median_db"][EAST]) == ["desc"]
    told = "km2 that optics missed on a date; cells of 500 m in which more than 20% changed: 1"
    assert told in seen["told"]
    summary = run(finished)  # nothing is left to do
    assert summary.seen_by_radar == seen
    assert told in " ".join(summary_text(summary, None).split())
    assert summary.outputs["radar_cells"] == str(finished.run / "radar_cells.parquet")
    page = (finished.run / "report.html").read_text("utf-8")
    assert told in page
    assert "median change of backscatter" in page
    assert "vv_change_asc_db" in page


def test_maps_of_both_zones_are_in_the_project(finished) -> None:
    with zipfile.ZipFile(finished.run / "project.qgz") as file:
        project = file.read("project.qgs").decode()
    assert "layername=radar_cells" in project
    for name in ("vv_change_asc_32718", "vv_change_desc_32718", "vv_change_desc_32719"):
        assert f"./layers/{name}.vrt" in project
        with rasterio.open(finished.run / "layers" / f"{name}.vrt") as file:
            codes = file.read(1)
            assert (file.scales[0], file.nodata) == (0.1, CUBE_NODATA)
        brighter = np.abs(codes[STEP] * 0.1 - 10 * np.log10(4))
        assert brighter.max() < 0.06
    assert "./layers/radar_density_32718.vrt" in project
    with rasterio.open(finished.run / "layers" / "radar_density_32718.vrt") as file:
        assert np.unique(file.read(1)[CELL]).tolist() == [6400]
    cells = gpd.read_file(finished.run / "inventory.gpkg", layer="radar_cells")
    assert cells["radar_density"].tolist() == [pytest.approx(0.64, abs=1e-4)]
    with closing(sqlite3.connect(finished.run / "inventory.gpkg")) as file:
        (style,) = file.execute(
            "SELECT styleQML FROM layer_styles WHERE f_table_name = 'radar_cells'"
        ).fetchone()
    assert 'attr="radar_density"' in style
    collection = json.loads((finished.run / "stac" / "collection.json").read_text("utf-8"))
    assert any("radar_cells" in one["href"] for one in collection["assets"].values())


# --- what is done again -------------------------------------------------------------------------


def without_files(world) -> None:
    """Take the files of radar away: nothing may read them again."""
    shutil.rmtree(world.folder / "radar")


def test_a_finished_run_writes_nothing_and_lists_never_read_radar_again(world) -> None:
    without_files(world)
    before = fingerprints(world.run)
    assert run(world).state == "finished"
    assert fingerprints(world.run) == before
    export(world.run, to=("geojson", "cog"))
    report(world.run)
    (world.run / "inventory.parquet").unlink()
    run(world)
    assert fingerprints(world.run)["inventory.parquet"] == before["inventory.parquet"]


def test_another_limit_redoes_the_list_and_neither_inference_nor_reading(
    world, monkeypatch
) -> None:
    without_files(world)
    monkeypatch.setattr(pipeline.stream, "compute", None)  # no block is computed
    before = fingerprints(world.run)
    change_workflow(world, radar={"collection": "sentinel-1-rtc", "change_db": 6.5})
    assert not len(gpd.read_parquet(run(world).outputs["radar_cells"]))
    after = fingerprints(world.run)
    changed = {name for name in before if before[name] != after[name]}
    assert {name for name in changed if "detections.zarr" in name} == set()
    assert {name for name in changed if "/vv_" in name} == set()
    assert before["inventory.parquet"] == after["inventory.parquet"]
    change_workflow(world, radar={"collection": "sentinel-1-rtc"})
    run(world)
    assert {
        name: print_ for name, print_ in fingerprints(world.run).items() if "gpkg" not in name
    } == {name: print_ for name, print_ in before.items() if "gpkg" not in name}


def test_radar_may_be_asked_for_when_all_is_computed_and_left_again(tmp_path, monkeypatch) -> None:
    made = make(tmp_path, radar={})
    run(made)
    plain, record = fingerprints(made.run), json.loads((made.run / "run.json").read_text("utf-8"))
    assert not set(record) & {"radar", "seen_by_radar"}
    assert set(plan_only(Workflow.from_file(made.workflow)).change_inputs) == {"change"}
    assert not list(made.run.glob("radar*"))
    assert not any("vv_" in name or "radar" in name for name in plain)
    monkeypatch.setattr(pipeline.stream, "compute", None)  # no block is computed
    change_workflow(made, radar={"collection": "sentinel-1-rtc"})
    summary = run(made)
    assert summary.seen_by_radar["cells"] == 1
    assert set(RADAR) <= set(gpd.read_parquet(made.run / "inventory.parquet").columns)
    change_workflow(made, radar={"collection": "sentinel-1-rtc", "orbit": "descending"})
    run(made)
    assert "vv_change_asc" not in lspipe.open_run(made.run)[TILE]
    export(made.run, to=("cog",))
    assert list((made.run / "layers").glob("*vv_change_desc*"))
    change_workflow(made, radar={})
    run(made)
    assert not {*lspipe.open_run(made.run)[TILE]} & {"vv_after_desc", "radar_density"}
    assert not [*(made.run / "layers").glob("*vv_*"), *(made.run / "layers").glob("*radar*")]
    again = fingerprints(made.run)
    assert all(again[name] == print_ for name, print_ in plain.items())
    assert not list(made.run.glob("radar*"))


def test_gentle_ground_is_left_out_where_the_run_knows_the_terrain(tmp_path) -> None:
    from tests.integration.test_terrain_runs import write_valley

    # A plain up to column 100, and a flank of 24 degrees in the east.
    write_valley(tmp_path / "dem.tif")
    made = make(tmp_path, terrain={"dem": "dem.tif"})
    summary = run(made)
    assert summary.seen_by_radar["cells"] == 0
    assert summary.seen_by_radar["seen_km2"] < summary.seen_by_radar["hidden_km2"]
    # Allowed, the plain counts again.
    radar = {"collection": "sentinel-1-rtc", "flat_deg": 0}
    change_workflow(made, radar=radar)
    assert run(made).seen_by_radar["cells"] == 1
