"""Pictures of a run for QGIS: GeoTIFFs that any GDAL opens, written window by window."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import geopandas as gpd
import jsonschema
import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import rioxarray  # noqa: F401  # adds .rio
import shapely
import xarray as xr
from packaging.version import Version
from pystac.validation import validate_dict

import lspipe
from lspipe import models, outputs
from lspipe.cli import main
from lspipe.demo import write_archive
from lspipe.errors import StoreError, UsageError
from lspipe.models.pack import pack
from lspipe.outputs.cog import Look, write_map
from lspipe.outputs.colours import STATES
from lspipe.outputs.coolr import COLUMNS
from lspipe.outputs.layers import OUTSIDE, PICTURE, QUALITY, _unseen, layers_of
from lspipe.outputs.mosaic import piece_of, write_mosaic
from lspipe.runs import pipeline, review, store
from lspipe.runs.export import export
from lspipe.runs.opened import Run, open_run
from lspipe.runs.prepare import prepare
from lspipe.runs.summary import note_state
from lspipe.schema import CODE_NODATA, Quality, State, quantise
from lspipe.schema.maps import REASON_NAMES
from lspipe.workflow import Workflow
from tests import stac_fields
from tests.reviewing import decide, shown
from tests.stored import compute_here, store_run
from tests.worlds import make_world

GDAL = Path(__file__).parent.parent / "gdal_raster.py"

SMALL = {"window": 16, "stride": 16, "tta": "none"}

FIELDS = {
    "id": "tiny-unet",
    "architecture": "ghorb-unet",
    "arguments": {"filters": 2},
    "bands": ("B02", "B03", "B04", "B08"),
    "window": 32,
    "description": "random weights",
    "not_for": "anything but tests",
}


def a_map(bands: int, dtype: str, *, shape: tuple[int, int] = (700, 900)) -> xr.DataArray:
    numbers = np.random.default_rng(0).integers(0, 200, (bands, *shape)).astype(dtype)
    coords = {
        "y": 5_200_000 - 5 - 10.0 * np.arange(shape[0]),
        "x": 700_005 + 10.0 * np.arange(shape[1]),
    }
    array = xr.DataArray(
        da.from_array(numbers, chunks=(bands, 256, 256)), coords, ("band", "y", "x")
    )
    return array.assign_attrs(_FillValue=0).rio.write_crs("EPSG:32718")


@pytest.mark.parametrize(("bands", "dtype"), [(3, "uint8"), (1, "uint8"), (1, "uint16")])
def test_a_map_is_a_cog_with_the_same_pixels_grid_and_nodata(
    bands: int, dtype: str, tmp_path: Path
) -> None:
    array = a_map(bands, dtype)
    path = write_map(
        array, tmp_path / "map.tif", look=Look(overviews="average"), tags={"WHO": "me"}
    )
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), array.to_numpy())
        assert file.crs.to_epsg() == 32718
        assert file.transform == array.rio.transform()
        assert file.nodata == 0
        assert file.overviews(1) == [2]
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags()["WHO"] == "me"
        kinds = [kind.name for kind in file.colorinterp]
        assert kinds == (["red", "green", "blue"] if bands == 3 else ["gray"])
    assert [one.name for one in tmp_path.iterdir()] == ["map.tif"]


def test_classes_are_not_averaged(tmp_path: Path) -> None:
    array = a_map(1, "uint8")
    array.data = da.from_array(np.tile(np.uint8([[3, 9], [9, 9]]), (1, 350, 450)))
    path = write_map(array, tmp_path / "classes.tif", look=Look(overviews="mode"))
    with rasterio.open(path, overview_level=0) as file:
        assert set(np.unique(file.read())) == {9}


def test_what_fails_leaves_an_earlier_file_as_it_was(tmp_path: Path) -> None:
    path = write_map(a_map(1, "uint8"), tmp_path / "map.tif", look=Look(overviews="average"))
    before = path.read_bytes()
    broken = a_map(1, "uint8")

    def fail(_: np.ndarray) -> np.ndarray:
        raise RuntimeError("no pixels")

    broken.data = da.from_array(np.zeros((1, 700, 900), np.uint8)).map_blocks(
        fail, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    with pytest.raises(RuntimeError, match="no pixels"):
        write_map(broken, path, look=Look(overviews="average"))
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["map.tif"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with pictures of two dates."""
    world = make_world(
        tmp_path_factory.mktemp("world"),
        size=240,
        inference=SMALL,
        execution={"block": 120},
        cluster={"kind": "tests.stored:here"},
        output={"path": "run"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        lspipe.run(world.workflow)
    return world.run


def layers(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "layers").iterdir())


LAYERS = [
    f"{place}{name}{suffix}"
    for place, suffix in (("", "_32718.vrt"), ("18GYS_", ".tif"))
    for name in (
        "after", "before", "change", "probability_after", "probability_before", "quality_after",
        "quality_before",
    )
]  # fmt: skip
LAYERS += [f"18GYS_{name}.tif.aux.xml" for name in ("change", "quality_after", "quality_before")]


def test_a_run_writes_its_layers_unless_it_is_told_otherwise(run: Path) -> None:
    assert layers(run) == sorted(LAYERS)
    assert store.read_json(run / "run.json")["outputs"]["cog"] == "layers"


def test_a_run_in_a_relative_folder_names_its_files_and_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(
        tmp_path / "world",
        size=96,
        inference=SMALL,
        execution={"block": 48},
        cluster={"kind": "tests.stored:here"},
        output={"path": "run"},
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)
    summary = lspipe.run(world.workflow, output="runs/mine")
    assert all(Path(path).exists() for path in summary.outputs.values())
    assert store.read_json(Path("runs/mine/run.json"))["outputs"]["gpkg"] == "inventory.gpkg"
    before = {path: path.stat().st_mtime_ns for path in Path("runs/mine").rglob("*")}
    assert lspipe.run(world.workflow, output="runs/mine").done == 0
    assert {path: path.stat().st_mtime_ns for path in Path("runs/mine").rglob("*")} == before


def test_the_layers_are_what_the_run_stored(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert export(run, folder=folder) == [folder / "layers" / name for name in sorted(LAYERS)]
    maps = open_run(run)["18GYS"]
    for index, (role, scene) in enumerate((("before", "20170115"), ("after", "20180120"))):
        with rasterio.open(folder / "layers" / f"18GYS_{role}.tif") as file:
            np.testing.assert_array_equal(file.read(), maps["true_colour"].isel(time=index))
            assert file.crs.to_epsg() == 32718
            assert f"S2A_18GYS_{scene}" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
            assert file.tags()["TIFFTAG_COPYRIGHT"] == (
                "Contains modified Copernicus Sentinel data 2017, 2018, processed by lspipe"
            )
        with rasterio.open(folder / "layers" / f"18GYS_probability_{role}.tif") as file:
            np.testing.assert_array_equal(file.read(1), quantise(maps["probability"][index].values))
            assert (file.nodata, file.scales) == (CODE_NODATA, (1e-4,))
    with rasterio.open(folder / "layers" / "18GYS_change.tif") as file:
        np.testing.assert_array_equal(file.read(1), maps["state"])
        assert file.nodata == State.UNDETERMINED
        assert file.colormap(1)[State.GAIN] == STATES[State.GAIN]


def test_why_a_pixel_was_not_observed_is_a_class_with_a_colour() -> None:
    bits = np.zeros((8, 8), np.uint8)
    bits[0, :4] = Quality.CLOUD, Quality.CLOUD | Quality.DILATED, Quality.OUTSIDE, 255
    quality = xr.DataArray(bits, dims=("y", "x"))
    found = _unseen(quality)
    names = ["", *REASON_NAMES]
    assert [names[value] if value < OUTSIDE else "outside" for value in found.values[0, :5]] == [
        "cloud", "cloud", "outside", "not_processed", "",
    ]  # fmt: skip
    assert set(QUALITY.colours) == set(range(len(names)))


@pytest.mark.parametrize("file", ["18GYS_{}.tif", "{}_32718.vrt"])
def test_gdal_names_the_classes_of_a_map(run: Path, file: str) -> None:
    states = ["none", "gain", "loss", "both", "weak_gain", "weak_loss"]
    expected = {"change": states, "quality_after": ["observed", *REASON_NAMES], "before": []}
    for layer, names in expected.items():
        # Another GDAL than that which wrote them.
        words = [sys.executable, str(GDAL), str(run / "layers" / file.format(layer))]
        answer = subprocess.run(words, capture_output=True, text=True, check=True)
        assert json.loads(answer.stdout)["classes"] == names


def test_a_mosaic_shows_the_tiles_of_a_zone_as_one_map(tmp_path: Path) -> None:
    west, east = a_map(3, "uint8", shape=(60, 80)), a_map(3, "uint8", shape=(60, 80))
    east = east.assign_coords(x=east.x + 500, y=east.y - 100)
    # Where both lie, what has data is shown.
    east.data = da.where(east.x.data < east.x.data[40], 0, east.data)
    files = [
        write_map(array, tmp_path / f"{name}.tif", look=PICTURE)
        for name, array in (("west", west), ("east", east))
    ]
    path = write_mosaic([piece_of(file) for file in files], tmp_path / "both.vrt")
    with rasterio.open(path) as file:
        whole = file.read()
        assert file.shape == (70, 130)
        assert file.nodata == 0
        assert [kind.name for kind in file.colorinterp] == ["red", "green", "blue"]
    expected = np.zeros((3, 70, 130), np.uint8)
    expected[:, :60, :80] = west
    part = expected[:, 10:, 50:]
    part[east.values > 0] = east.values[east.values > 0]
    np.testing.assert_array_equal(whole, expected)
    moved = shutil.move(tmp_path, tmp_path.with_name("moved"))
    with rasterio.open(Path(moved) / "both.vrt") as file:
        np.testing.assert_array_equal(file.read(), expected)


def test_maps_of_different_zones_are_no_mosaic(tmp_path: Path) -> None:
    one = write_map(a_map(1, "uint8"), tmp_path / "one.tif", look=PICTURE)
    other = a_map(1, "uint8").rio.write_crs("EPSG:32719")
    two = write_map(other, tmp_path / "two.tif", look=PICTURE)
    with pytest.raises(ValueError, match="differ in CRS"):
        write_mosaic([piece_of(one), piece_of(two)], tmp_path / "both.vrt")


def test_the_command_writes_beside_the_lists_and_names_its_files(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "layers")
    assert main(["export", str(copy), "--to", "cog,geojson"]) == 0
    written = [copy / "inventory.geojson", *(copy / "layers" / name for name in sorted(LAYERS))]
    assert capsys.readouterr().out.split("\n")[:-1] == [f"wrote {path}" for path in written]
    assert all(path.exists() for path in written)


def test_what_a_person_decided_in_a_list_stands_in_what_is_exported(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    name = open_run(copy).inventory["id"].iloc[0]
    decide(copy / "inventory.gpkg", {name: "true"})
    assert main(["export", str(copy), "--to", "gpkg,geojson"]) == 0
    assert "note:" not in capsys.readouterr().err
    assert shown(copy / "inventory.gpkg") == shown(copy / "inventory.geojson") == {name: "true"}


def test_a_review_writes_its_decisions_into_what_was_exported_before(
    run: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    export(copy, to=("shapefile", "geojson"))
    outputs = store.read_json(copy / "run.json")["outputs"]
    assert outputs.keys() == {"geoparquet", "gpkg", "cog", "qgis", "report", "unobserved"} | {
        "shapefile", "geojson",
    }  # fmt: skip
    name = open_run(copy).inventory["id"].iloc[0]
    decide(copy / "inventory.gpkg", {name: "unsure"})
    assert main(["review", str(copy)]) == 0
    rows = gpd.read_file(f"/vsizip/{copy}/inventory.shp.zip/inventory.shp").set_index("id")
    assert rows["reviewed"].dropna().to_dict() == {name: "unsure"}
    assert shown(copy / "inventory.geojson") == {name: "unsure"}


def test_a_run_is_finished_without_what_was_exported(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (written,) = export(copy, to=("shapefile",))
    written.unlink()
    workflow = Workflow.from_file(run.parent / "workflow.yaml")
    assert prepare(workflow, copy).is_finished
    (copy / "inventory.gpkg").unlink()
    assert not prepare(workflow, copy).is_finished


def test_what_was_exported_follows_when_the_list_is_made_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.stream, "compute", compute_here)
    copy = shutil.copytree(run, tmp_path / "run")
    (written,) = export(copy, to=("geojson",))
    before = len(gpd.read_file(written))
    largest = open_run(copy).inventory["area_m2"].max()
    workflow = Workflow.from_file(
        run.parent / "workflow.yaml", overrides=(f"change.min_area_m2={largest}",)
    )
    lspipe.run(workflow, output=copy)
    assert len(gpd.read_file(written)) == len(open_run(copy).inventory) < before
    assert "geojson" in store.read_json(copy / "run.json")["outputs"]
    # Nor is a run that was stopped meanwhile taken for one that never had it.
    note_state(prepare(workflow, copy), "interrupted")
    assert store.read_json(copy / "run.json")["outputs"] == {"geojson": "inventory.geojson"}
    written.unlink()
    lspipe.run(workflow, output=copy)
    assert "geojson" not in store.read_json(copy / "run.json")["outputs"]


def test_an_export_elsewhere_is_none_of_the_run(run: Path, tmp_path: Path) -> None:
    before = (run / "run.json").read_bytes()
    export(run, to=("shapefile",), folder=tmp_path / "elsewhere")
    assert (run / "run.json").read_bytes() == before


def test_a_file_that_a_person_changed_is_kept_and_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    export(copy, to=("qgis",))
    (copy / "project.qgz").write_bytes(b"my own styles")
    assert main(["export", str(copy), "--to", "qgis"]) == 0
    (kept,) = copy.glob("project.edited-*.qgz")
    assert kept.read_bytes() == b"my own styles"
    assert f"kept as {kept.name}" in capsys.readouterr().err


def test_what_cannot_be_exported_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown output 'kml2': expected one of cog"):
        export(run, to=("kml2",))
    with pytest.raises(StoreError, match=r"run\.json"):
        export(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UsageError, match="which is not a folder; choose another"):
        export(run, folder=blocked / "layers")


def test_a_fresh_start_removes_what_the_run_wrote_and_no_other_file(
    run: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    export(copy, to=("cog", "geojson", "tests.unit.test_export:write"))
    (copy / "layers" / "mine.tif").touch()
    assert (copy / "notes.txt").read_text() == "2 rows"
    store.clear(copy)
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*")) == [
        ".lock", "layers", "layers/mine.tif",
    ]  # fmt: skip


FILE = "notes.txt"


def write(run: Run, path: Path) -> None:
    """An output of one's own."""
    path.write_text(f"{len(run.inventory)} rows")


def test_a_run_is_a_valid_stac_collection_of_what_it_wrote(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    files = export(copy, to=("stac", "geojson"))
    assert [path.name for path in files if path.parent.name == "stac"] == [
        "collection.json", "world_18GYS.json",
    ]  # fmt: skip
    collection = pystac.Collection.from_file(str(copy / "stac" / "collection.json"))
    (item,) = collection.get_items()
    assert item.get_collection().id == collection.id == "world"
    for one in (collection, item):
        # The schemas of extensions are on the network: those of the core come with pystac.
        validate_dict({**one.to_dict(), "stac_extensions": []})
        for name, asset in one.assets.items():
            content = Path(asset.get_absolute_href()).read_bytes()
            assert asset.extra_fields["file:size"] == len(content), name
            digest = hashlib.sha256(content).hexdigest()
            assert asset.extra_fields["file:checksum"] == f"1220{digest}"
    assert {"inventory.parquet", "inventory.gpkg", "inventory.geojson"} <= set(collection.assets)
    assert len(item.assets) == 7
    assert item.properties["proj:code"] == "EPSG:32718"
    assert item.properties["proj:transform"] == [10, 0, 699960, 0, -10, 5200000]
    footprint = shapely.geometry.shape(item.geometry)
    assert footprint.contains(open_run(copy).inventory.geometry).all()
    classes = item.assets["change"].extra_fields["bands"][0]["classification:classes"]
    assert {one["value"]: one["name"] for one in classes}[State.GAIN] == "gain"
    origins = [link for link in item.links if link.rel == "derived_from"]
    scenes = {scene["id"] for scene in store.read_json(copy / "items.json")["features"]}
    assert {link.href.partition("#")[2] for link in origins} == {*scenes, "model"}
    assert str(tmp_path) not in (copy / "stac" / "world_18GYS.json").read_text()


def test_checksums_of_the_collection_are_those_of_the_lists_after_a_review(
    run: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    export(copy, to=("stac",))
    before = (copy / "inventory.parquet").read_bytes()
    sampled = open_run(copy).inventory.head(1)[["id", "geometry"]].assign(reviewed="true")
    sampled.to_file(tmp_path / "decisions.geojson")
    review.review(copy, tmp_path / "decisions.geojson")
    assert (copy / "inventory.parquet").read_bytes() != before
    collection = pystac.Collection.from_file(str(copy / "stac" / "collection.json"))
    for asset in collection.assets.values():
        digest = hashlib.sha256(Path(asset.get_absolute_href()).read_bytes()).hexdigest()
        assert asset.extra_fields["file:checksum"] == f"1220{digest}"


def test_fields_of_extensions_are_what_their_extensions_ask_for(run: Path, tmp_path: Path) -> None:
    outputs.write("cog", open_run(run), tmp_path / "layers")
    outputs.write("geoparquet", open_run(run), tmp_path / "inventory.parquet")
    outputs.write("stac", open_run(run), tmp_path / "stac")
    item, collection = (
        store.read_json(tmp_path / "stac" / f"{name}.json")
        for name in ("world_18GYS", "collection")
    )
    assert stac_fields.check(item) == {name for one in stac_fields.FIELDS.values() for name in one}
    assert stac_fields.check(collection) == {"file:size", "file:checksum"}
    for asset in (*item["assets"].values(), *collection["assets"].values()):
        assert {"file:size", "file:checksum"} <= asset.keys()
    scaled = {name for name, one in item["assets"].items() if "raster:scale" in one["bands"][0]}
    assert scaled == {"probability_before", "probability_after"}
    classified = {
        name for name, one in item["assets"].items() if "classification:classes" in one["bands"][0]
    }
    assert classified == {"change", "quality_before", "quality_after"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("proj:code", 32718), ("proj:shape", [240]), ("proj:transform", [10, 0, 0]),
        ("grid:code", "18GYS"), ("processing:software", {}), ("eo:cloud_cover", 3),
    ],
)  # fmt: skip
def test_a_field_that_its_extension_does_not_allow_is_found(
    field: str, value: Any, run: Path, tmp_path: Path
) -> None:
    outputs.write("cog", open_run(run), tmp_path / "layers")
    outputs.write("stac", open_run(run), tmp_path / "stac")
    item = store.read_json(tmp_path / "stac" / "world_18GYS.json")
    item["properties"][field] = value
    with pytest.raises((AssertionError, jsonschema.ValidationError)):
        stac_fields.check(item)


def test_scenes_of_a_server_are_linked_there(run: Path, tmp_path: Path) -> None:
    opened = open_run(run)
    search = {"catalog": "earth-search", "collection": "sentinel-2-c1-l2a"}
    record = {**opened.record, "workflow": {**opened.workflow, "search": search}}
    outputs.write("cog", opened, tmp_path / "layers")
    outputs.write("stac", replace(opened, record=record), tmp_path / "stac")
    content = store.read_json(tmp_path / "stac" / "world_18GYS.json")
    hrefs = [link["href"] for link in content["links"] if link["rel"] == "derived_from"]
    address = "https://earth-search.aws.element84.com/v1/collections/sentinel-2-c1-l2a/items/S2A_"
    assert sum(href.startswith(address) for href in hrefs) == 2


def test_the_table_for_nasa_has_its_columns_and_invents_nothing(run: Path, tmp_path: Path) -> None:
    (path,) = export(run, to=("coolr",), folder=tmp_path)
    table = pd.read_csv(path, dtype="string")
    new = open_run(run).inventory.query("status == 'new'")
    assert len(table) == len(new) > 0
    assert tuple(table.columns) == COLUMNS
    assert table["event_import_id"].tolist() == new["id"].tolist()
    assert table["event_date"].str.match(r"01/20/2018 \d\d:\d\d:\d\d [AP]M").all()
    assert table["event_description"].str.startswith("between 2017-01-15 and 2018-01-20").all()
    unknown = ["landslide_trigger", "landslide_category", "fatality_count", "country_name"]
    assert table[unknown].isna().all(axis=None)


def test_every_output_carries_the_notice_of_copernicus(run: Path, tmp_path: Path) -> None:
    notice = b"Contains modified Copernicus Sentinel data 2017, 2018"
    every = [name for name in outputs.OUTPUTS if name != "cog"]
    export(run, to=every, folder=tmp_path)
    for path in tmp_path.iterdir():
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                assert any(notice in archive.read(name) for name in archive.namelist()), path
        elif path.suffix == ".parquet" and Version(gpd.__version__) < Version("1.1"):
            continue  # an older geopandas leaves such attributes out
        elif path.is_file():
            # A PDF has its texts as UTF-16.
            wide = notice.decode().encode("utf-16-be")
            assert notice in path.read_bytes() or wide in path.read_bytes(), path


def test_layers_hold_only_the_part_that_was_computed(run: Path, tmp_path: Path) -> None:
    # The last block takes the tail of 4 px.
    world = make_world(tmp_path / "world", size=100, inference=SMALL, execution={"block": 48})
    made = store_run(world, world.run, probability=np.full((2, 100, 100), 5000, np.uint16), only=2)
    store.write_json(world.run / "run.json", store.read_json(run / "run.json"))
    assert [layer.array.shape for layer in layers_of(open_run(world.run), "18GYS")] == [
        (3, 48, 100), (48, 100), (48, 100), (3, 48, 100), (48, 100), (48, 100),
    ]  # fmt: skip
    empty = store_run(
        world, tmp_path / "none", probability=np.zeros((2, 100, 100), np.uint16), only=0
    )
    nothing = Run(empty.run, store.read_json(run / "run.json"))
    assert list(layers_of(nothing, "18GYS")) == []
    assert made.plan.tiles


def test_layers_that_a_run_does_not_have_any_more_are_removed(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    store.note_written(copy, "layers", [*store.written(copy)["layers"], "layers/18GYT_before.tif"])
    (copy / "layers" / "18GYT_before.tif").touch()
    export(copy)
    assert layers(copy) == sorted(LAYERS)


def test_a_record_that_names_files_elsewhere_removes_nothing_there(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "mine.txt").touch()
    (run / "run.json").write_text("{}")
    record = {"layers": ["layers/../../mine.txt", "../mine.txt"], "..": ["../mine.txt"]}
    (run / ".written.json").write_text(json.dumps(record))
    (run / ".lists.json").write_text(json.dumps({"../mine.txt": []}))
    store.clear(run)
    assert (tmp_path / "mine.txt").exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda run, place: export(run, folder=place),
        lambda _, place: write_archive(Path(place)),
        lambda _, place: pack(models.build("ghorb-unet", 4, filters=2), place, item_fields=FIELDS),
    ],
    ids=["export", "demo", "pack"],
)
def test_an_address_is_no_folder_wherever_something_is_written(
    write: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="found an address, expected a folder"):
        write(run.absolute(), "ftp://host/place")
    assert list(tmp_path.iterdir()) == []
