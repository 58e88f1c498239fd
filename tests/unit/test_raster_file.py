"""Reading over a network never holds Python's lock while it waits for the server."""

from __future__ import annotations

import subprocess
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags
from rasterio.windows import Window

from lspipe.catalogs import GENERIC
from lspipe.cube import height_file, loaders, radar_file
from lspipe.cube.loaders.raster_file import open_raster
from lspipe.cube.loaders.source import Source, look
from tests import cog_server
from tests.scenes import TILES, make_scene
from tests.worlds import environment

EDGE = 512
CORNER = TILES["18GYS"]
GRID = GeoBox((EDGE, EDGE), Affine(10, 0, CORNER.left, 0, -10, CORNER.top), f"EPSG:{CORNER.epsg}")
PART = (slice(100, 228), slice(100, 228))


def write_spread(path: Path, dtype: str = "uint16") -> np.ndarray:
    """Write a file whose overview is described far behind what GDAL reads of it at first."""
    numbers = np.random.default_rng(0).integers(100, 3000, (EDGE, EDGE)).astype(dtype)
    with rasterio.open(
        path, "w", driver="GTiff", height=EDGE, width=EDGE, count=1, dtype=dtype, tiled=True,
        crs=GRID.crs, transform=GRID.affine, nodata=0, blockxsize=256, blockysize=256,
    ) as file:  # fmt: skip
        file.write(numbers, 1)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    return numbers


def of_a_loader(name: str, folder: Path, address: str) -> np.ndarray:
    item = make_scene(folder / "scene", size=EDGE, bands=("B04",))
    item.assets["red"].href = address
    assert look(_source(address), GRID) is not None
    read = loaders.loader(name)(
        item, {"B04": "red"}, GRID, chunk=EDGE, resampling={}, on_read_error="fail"
    )
    return read[0][PART].compute(scheduler="synchronous").to_numpy()


def of_heights(address: str) -> np.ndarray:
    file = height_file.HeightFile(
        item="dem", asset="data", href=address, crs=str(GRID.crs),
        transform=tuple(GRID.affine)[:6], shape=(EDGE, EDGE), metres=1.0,
    )  # fmt: skip
    return height_file.read_pixels(file, PART, 1)


def of_radar(address: str) -> np.ndarray:
    file = radar_file.RadarFile(
        item="pass", asset="vv", href=address, day="2018-01-15T00:00:00Z", platform="sentinel-1a",
        crs=str(GRID.crs), transform=tuple(GRID.affine)[:6], shape=(EDGE, EDGE),
    )  # fmt: skip
    return radar_file.read_power(file, PART)


def _source(address: str) -> Source:
    return Source(
        item="scene", band="B04", asset="red", href=address, catalog=GENERIC, on_read_error="fail"
    )


def read_from_itself(folder: Path) -> None:
    """Read files from a thread of this process, which answers only while the lock is free."""
    cog_server._Handler.folder, cog_server._Handler.log = folder, folder / "requests.log"
    server = ThreadingHTTPServer(("127.0.0.1", 0), cog_server._Handler)
    Thread(target=server.serve_forever, daemon=True).start()

    def at(name: str) -> str:
        return f"http://127.0.0.1:{server.server_port}/{name}"

    numbers = write_spread(folder / "heights.tif")
    power = write_spread(folder / "vv.tif", "float32")
    for name in loaders.LOADERS:
        write_spread(folder / f"{name}.tif")
        np.testing.assert_array_equal(of_a_loader(name, folder, at(f"{name}.tif")), numbers[PART])
    np.testing.assert_array_equal(of_heights(at("heights.tif")), numbers[PART])
    np.testing.assert_array_equal(of_radar(at("vv.tif")), power[PART])
    sys.stdout.write("read\n")


def test_no_thread_holds_the_lock_while_it_waits_for_a_server(tmp_path):
    # In a process of its own, as one that waits for itself cannot be ended from inside.
    answer = subprocess.run(
        [sys.executable, "-m", "tests.unit.test_raster_file", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=120,
        env={**environment(), "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert answer.stdout == "read\n", answer.stderr


@pytest.mark.parametrize(
    ("nodata", "has_mask", "flag"),
    [
        (0, False, MaskFlags.nodata),
        (None, False, MaskFlags.all_valid),
        (None, True, MaskFlags.per_dataset),
    ],
)
def test_a_file_says_of_itself_what_it_says_to_rasterio(tmp_path, nodata, has_mask, flag):
    path = tmp_path / "band.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", height=EDGE, width=EDGE, count=1, dtype="uint16",
            nodata=nodata, crs=GRID.crs, transform=GRID.affine, tiled=True, compress="deflate",
        ) as file,
    ):  # fmt: skip
        file.write(np.arange(EDGE * EDGE, dtype=np.uint16).reshape(EDGE, EDGE), 1)
        file.scales, file.offsets = (0.5,), (3.0,)
        if has_mask:
            file.write_mask(np.tri(EDGE, dtype=bool))
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    window = Window(3, 5, 200, 100)
    with rasterio.open(path) as usual, open_raster(str(path)) as ours:
        assert ours.mask_flag_enums == usual.mask_flag_enums == ([flag],)
        for name in ("crs", "transform", "shape", "dtypes", "nodata", "scales", "offsets", "count"):
            assert getattr(ours, name) == getattr(usual, name)
        assert ours.block_shapes == usual.block_shapes
        found, expected = (each.read(1, window=window, masked=True) for each in (ours, usual))
        np.testing.assert_array_equal(found.filled(0), expected.filled(0))
        np.testing.assert_array_equal(found.mask, expected.mask)


if __name__ == "__main__":
    read_from_itself(Path(sys.argv[1]))
