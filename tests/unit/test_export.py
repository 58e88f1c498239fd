"""Pictures of a run for QGIS: GeoTIFFs that any GDAL opens, written window by window."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # adds .rio
import xarray as xr

import lspipe
from lspipe import models
from lspipe.cli import main
from lspipe.demo import write_archive
from lspipe.errors import StoreError, UsageError
from lspipe.models.pack import pack
from lspipe.outputs.cog import write_map
from lspipe.runs import pipeline, store
from lspipe.runs.export import export
from lspipe.runs.opened import open_run
from tests.stored import compute_here
from tests.worlds import make_world

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
    path = write_map(array, tmp_path / "map.tif", overviews="average", tags={"WHO": "me"})
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
    path = write_map(array, tmp_path / "classes.tif", overviews="mode")
    with rasterio.open(path, overview_level=0) as file:
        assert set(np.unique(file.read())) == {9}


def test_what_fails_leaves_an_earlier_file_as_it_was(tmp_path: Path) -> None:
    path = write_map(a_map(1, "uint8"), tmp_path / "map.tif", overviews="average")
    before = path.read_bytes()
    broken = a_map(1, "uint8")

    def fail(_: np.ndarray) -> np.ndarray:
        raise RuntimeError("no pixels")

    broken.data = da.from_array(np.zeros((1, 700, 900), np.uint8)).map_blocks(
        fail, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    with pytest.raises(RuntimeError, match="no pixels"):
        write_map(broken, path, overviews="average")
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["map.tif"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with pictures of two dates."""
    world = make_world(
        tmp_path_factory.mktemp("world"),
        size=96,
        inference={"window": 16, "stride": 16, "tta": "none"},
        execution={"block": 48},
        cluster={"kind": "tests.stored:here"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        lspipe.run(world.workflow)
    return world.run


def test_the_pictures_are_those_that_the_run_stored(run: Path, tmp_path: Path) -> None:
    files = export(run, folder=tmp_path / "new" / "folder")
    assert [path.name for path in files] == ["18GYS_before.tif", "18GYS_after.tif"]
    pictures = open_run(run)["18GYS"]["true_colour"]
    for index, (path, scene) in enumerate(zip(files, ("20170115", "20180120"), strict=True)):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(), pictures.isel(time=index).to_numpy())
            assert file.crs.to_epsg() == 32718
            assert f"S2A_18GYS_{scene}" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]


def test_the_command_writes_beside_the_lists_and_names_its_files(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run)]) == 0
    written = [run / "layers" / f"18GYS_{role}.tif" for role in ("before", "after")]
    assert capsys.readouterr().out.split("\n")[:2] == [f"wrote {path}" for path in written]
    assert all(path.exists() for path in written)


def test_what_cannot_be_exported_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="to: found kml: expected cog"):
        export(run, to=("kml",))
    with pytest.raises(StoreError, match=r"run\.json"):
        export(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UsageError, match="which is not a folder; choose another"):
        export(run, folder=blocked / "layers")


def test_a_fresh_start_leaves_no_picture_of_the_run_before(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    export(copy)
    (copy / "layers" / "mine.tif").touch()
    store.clear(copy)
    assert [path.name for path in (copy / "layers").iterdir()] == ["mine.tif"]


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
        write(run.absolute(), "s3://bucket/place")
    assert list(tmp_path.iterdir()) == []
