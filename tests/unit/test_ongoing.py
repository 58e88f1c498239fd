"""A run that goes on in another process: what is ended of it is listed, and said to be partial."""

from __future__ import annotations

import json
import shutil
import sqlite3

import geopandas as gpd
import pyarrow.parquet as pq
import pytest

from lspipe.errors import StoreError
from lspipe.runs import pipeline, store
from lspipe.runs.export import export
from lspipe.runs.opened import open_run
from lspipe.runs.reporting import report
from tests.readers import columns_of
from tests.stored import compute_here
from tests.worlds import NEW_SCAR, OLD_SCAR, add_scene, ground, make_world

FIRST, SECOND = "18GYS", "18GYT"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two tiles, on each of which is a new scar."""
    made = make_world(
        tmp_path_factory.mktemp("world"),
        size=120,
        aoi={"tiles": [FIRST, SECOND]},
        cluster={"kind": "tests.stored:here"},
        execution={"block": 60},
        inference={"window": 32, "stride": 32, "tta": "none"},
    )
    for time, scars in (("2017-01-15", (OLD_SCAR,)), ("2018-01-20", (OLD_SCAR, NEW_SCAR))):
        add_scene(
            made.folder, tile=SECOND, size=120, time=f"{time}T14:37:51Z", values=ground(*scars)
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        pipeline.run(made.workflow)
    return made.run


@pytest.fixture
def going_on(finished, tmp_path):
    """The same run as it was when only its first tile was ended, and somebody works in it."""
    run = shutil.copytree(finished, tmp_path / "run")
    for name in ("inventory.parquet", "unobserved.parquet", f"objects/{SECOND}.json"):
        (run / name).unlink()
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(content | {"state": "running", "outputs": {}}))
    with store.lock(run):
        yield run


def test_a_list_has_the_objects_of_the_tiles_that_are_ended(finished, going_on, tmp_path):
    export(going_on, to=["geoparquet", "gpkg", "geojson"], folder=tmp_path / "out")
    listed = gpd.read_parquet(tmp_path / "out" / "inventory.parquet")
    whole = open_run(finished).inventory
    assert set(whole["tile"]) == {FIRST, SECOND}
    assert sorted(listed["id"]) == sorted(whole.loc[whole["tile"] == FIRST, "id"])
    gaps = gpd.read_file(tmp_path / "out" / "inventory.gpkg", layer="unobserved")
    of_second = gaps[gaps["tile"] == SECOND]
    assert set(of_second["reason"]) == {"not_processed"}
    assert len(of_second) == 2  # one for each date


def test_every_list_says_that_it_is_partial(finished, going_on, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    for run, folder in ((going_on, out), (finished, whole)):
        export(run, to=["geoparquet", "gpkg", "geojson"], folder=folder)

    def told(folder):
        metadata = pq.read_schema(folder / "inventory.parquet").metadata
        with sqlite3.connect(folder / "inventory.gpkg") as file:
            layers = str(file.execute("select description from gpkg_contents").fetchall())
        return [str(metadata), layers, (folder / "inventory.geojson").read_text()]

    credited = ["Copernicus" in text for text in told(whole)]
    assert sum(credited) >= 2  # GeoParquet keeps attributes only with a newer geopandas
    assert ["PARTIAL: the run is running" in text for text in told(out)] == credited
    assert not any("PARTIAL" in text for text in told(whole))


def test_a_report_shows_what_is_listed_so_far(going_on, tmp_path):
    file = report(going_on, file=tmp_path / "so-far.html")
    assert set(columns_of(file)["tile"]) == {FIRST}
    assert "the run is running" in file.read_text()


def test_its_own_directory_is_not_written(going_on):
    with pytest.raises(StoreError, match="in use"):
        export(going_on, to=["gpkg"])
    assert not (going_on / "inventory.gpkg").exists()


def test_without_an_ended_tile_there_is_no_list_yet(going_on, tmp_path):
    (going_on / "objects" / f"{FIRST}.json").unlink()
    with pytest.raises(StoreError, match="the run is running"):
        export(going_on, to=["gpkg"], folder=tmp_path / "out")
