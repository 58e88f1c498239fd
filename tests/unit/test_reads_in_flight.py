"""What a block needs over a network is asked for at once: all its bands, all parts of a file."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from lspipe.cube.kernels import in_one_piece
from lspipe.cube.loaders import loader, odc
from lspipe.errors import LoadError
from tests.cog_server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

EPSG = 32718
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", "SCL")
ELSEWHERE = "http://127.0.0.1:9"
"""Nothing answers there."""

EDGE, TILE = 2560, 512
"""Pixels of a file that holds more than the 10 MB that GDAL asks for at once, and of a part."""


def grid_of(rows: int, columns: int) -> GeoBox:
    return GeoBox((rows, columns), Affine(10, 0, 600000, 0, -10, 5200000), f"EPSG:{EPSG}")


def item_at(address: str, bands: tuple[str, ...] = BANDS) -> pystac.Item:
    moment = datetime(2018, 1, 15, tzinfo=UTC)
    item = pystac.Item("scene", None, [-72, -44, -71, -43], moment, {})
    for band in bands:
        item.add_asset(band, pystac.Asset(f"{address}/{band}.tif"))
    return item


def read(item: pystac.Item, grid: GeoBox) -> np.ndarray:
    names = dict.fromkeys(item.assets)
    opened = loader("odc")(
        item,
        {name: name for name in names},
        grid,
        chunk=((grid.shape[0],), (grid.shape[1],)),
        resampling={},
        on_read_error="fail",
    )
    return in_one_piece(opened.data)


def bands_are_read(monkeypatch, work: Callable[[str], None]) -> None:
    """Have each band call a function with its name, and be its number."""

    def made_up(source, grid, _):
        work(source.band)
        rows, columns = grid.shape
        number = BANDS.index(source.band)
        return (slice(0, rows), slice(0, columns)), np.full((rows, columns), number, np.uint16)

    monkeypatch.setattr(odc, "read_numbers", made_up)


def test_all_bands_of_a_block_are_read_together_over_a_network(monkeypatch):
    together = threading.Barrier(len(BANDS))
    # A band that came later would wait for others in vain.
    bands_are_read(monkeypatch, lambda _: together.wait(timeout=20) and None)
    found = read(item_at(ELSEWHERE), grid_of(3, 4))
    assert found[:, 0, 0].tolist() == list(range(len(BANDS)))


def test_files_of_this_machine_are_read_by_the_thread_that_asks(monkeypatch, tmp_path):
    threads = []
    bands_are_read(monkeypatch, lambda _: threads.append(threading.get_ident()))
    read(item_at(str(tmp_path)), grid_of(3, 4))
    assert threads == [threading.get_ident()] * len(BANDS)


def test_a_band_that_fails_is_named_and_leaves_no_thread(monkeypatch):
    before = threading.active_count()

    def fails(band):
        if band == "B05":
            raise LoadError("scene", band, "gone")

    bands_are_read(monkeypatch, fails)
    with pytest.raises(LoadError, match="B05 of scene"):
        read(item_at(ELSEWHERE), grid_of(3, 4))
    assert threading.active_count() == before


def test_what_is_needed_of_a_large_file_is_asked_for_at_once(tmp_path):
    numbers = np.random.default_rng(0).integers(1, 9000, (EDGE, EDGE), np.uint16)
    with rasterio.open(
        tmp_path / "B02.tif",
        "w",
        driver="COG",
        height=EDGE,
        width=EDGE,
        count=1,
        dtype="uint16",
        crs=f"EPSG:{EPSG}",
        transform=Affine(10, 0, 600000, 0, -10, 5200000),
        blocksize=TILE,
        compress="none",
        overviews="none",
    ) as file:
        file.write(numbers, 1)
    columns = EDGE - TILE
    with serve(tmp_path) as server:
        found = read(item_at(server.url, ("B02",)), grid_of(EDGE, columns))
        asked = server.requests
    np.testing.assert_array_equal(found[0], numbers[:, :columns])
    # The header, and one range for each row of parts; GDAL by itself asks for three rows together,
    # and for the others piece by piece.
    assert asked.count("GET /B02.tif") == 1 + EDGE // TILE
