"""The contract of every loader in the table: the same pixels, the same failures."""

from __future__ import annotations

import logging
import pickle
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import dask.array as da
import numpy as np
import pystac
import pytest
import rasterio
import rioxarray  # noqa: F401  # adds .rio
from affine import Affine
from distributed import Client, LocalCluster
from odc.geo.geobox import GeoBox

from lspipe import catalogs
from lspipe.cube import loaders
from lspipe.cube.loaders.declared import Declared
from lspipe.cube.loaders.source import Source, read
from lspipe.errors import LoadError, UnfitAsset, UsageError
from tests.cog_server import serve
from tests.scenes import TILES, left_of, make_scene, write_cog

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

# rasterio's warper silences this warning of its own in a way that is not safe between threads.
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

ASSETS = {"B04": "red", "B11": "swir16"}
BILINEAR = {"B04": "bilinear", "B11": "bilinear"}
every_loader = pytest.mark.parametrize("name", sorted(loaders.LOADERS))


def grid_of(tile: str, rows: int = 240, columns: int = 240, *, row: int = 0, column: int = 0):
    corner = TILES[tile]
    affine = Affine(10, 0, corner.left + 10 * column, 0, -10, corner.top - 10 * row)
    return GeoBox((rows, columns), affine, f"EPSG:{corner.epsg}")


def opened(name: str, item: pystac.Item, geobox: GeoBox, **settings) -> xr.DataArray:
    asked = {
        "assets": ASSETS,
        "chunk": 100,
        "resampling": BILINEAR,
        "on_read_error": "fail",
        **settings,
    }
    return loaders.loader(name)(item, asked.pop("assets"), geobox, **asked)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> pystac.Item:
    folder = tmp_path_factory.mktemp("scene")
    return make_scene(folder, wedge=left_of(60), clouds=[(120, 150, 20)], declare_nodata=False)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": None}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


def stored(item: pystac.Item, key: str) -> np.ndarray:
    with rasterio.open(item.assets[key].href) as file:
        return file.read(1)


def upsampled(pixels: np.ndarray) -> np.ndarray:
    """Bilinear 20 m to 10 m by hand: nested pixels, weights 3/4 and 1/4, no data left out."""
    valid = np.pad((pixels != 0).astype(float), 1)
    values = np.pad(pixels.astype(float), 1)
    total, weight = np.zeros((2, *(2 * length for length in pixels.shape)))
    for down in (0, 1):
        for right in (0, 1):
            for near_y, near_x in ((0, 0), (0, 1), (1, 0), (1, 1)):
                share = (0.75, 0.25)[near_y] * (0.75, 0.25)[near_x]
                rows = 1 + near_y * (2 * down - 1)
                columns = 1 + near_x * (2 * right - 1)
                part = np.s_[rows : rows + pixels.shape[0], columns : columns + pixels.shape[1]]
                total[down::2, right::2] += share * (values * valid)[part]
                weight[down::2, right::2] += share * valid[part]
    result = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    result[np.repeat(np.repeat(pixels == 0, 2, 0), 2, 1)] = 0
    return result


# --- pixels -------------------------------------------------------------------------------------


@every_loader
def test_bands_on_the_grid_are_the_stored_numbers(name: str, scene: pystac.Item) -> None:
    expected = stored(scene, "red")
    cube = opened(name, scene, grid_of("18GYS"))
    assert cube.dtype == np.uint16
    assert cube.dims == ("band", "y", "x")
    assert list(cube["band"].values) == ["B04", "B11"]
    np.testing.assert_array_equal(cube.sel(band="B04"), expected)


@every_loader
def test_20_m_bands_are_interpolated_between_centres_and_no_data_is_left_out(
    name: str, scene: pystac.Item
) -> None:
    expected = upsampled(stored(scene, "swir16"))
    found = opened(name, scene, grid_of("18GYS")).sel(band="B11").to_numpy()
    # Where the pixel itself has data, every stored neighbour with data has its share.
    both = (expected > 0) & (found > 0)
    assert both.mean() > 0.7
    assert np.abs(found - expected)[both].max() <= 0.5 + 1e-6
    # No mixture of data and no data: without the file saying so, 0 is no data.
    assert found[found > 0].min() >= stored(scene, "swir16")[stored(scene, "swir16") > 0].min()


@every_loader
def test_scene_classes_are_nearest(name: str, scene: pystac.Item) -> None:
    expected = np.repeat(np.repeat(stored(scene, "scl"), 2, 0), 2, 1)
    found = opened(
        name, scene, grid_of("18GYS"), assets={"SCL": "scl"}, resampling={"SCL": "nearest"}
    )
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("chunk", [240, 61, 37, ((100, 140), (37, 203))])
def test_both_loaders_give_the_same_pixels_for_any_chunking(
    chunk: loaders.Chunk, scene: pystac.Item
) -> None:
    expected = opened("odc", scene, grid_of("18GYS"), chunk=240).to_numpy()
    for name in loaders.LOADERS:
        cube = opened(name, scene, grid_of("18GYS"), chunk=chunk)
        np.testing.assert_array_equal(cube.to_numpy(), expected)
        if isinstance(chunk, tuple):
            assert cube.chunks[1:] == chunk


@every_loader
def test_a_part_of_the_tile_equals_the_same_part_of_the_whole(
    name: str, scene: pystac.Item
) -> None:
    whole = opened(name, scene, grid_of("18GYS")).to_numpy()
    part = opened(name, scene, grid_of("18GYS", 75, 101, row=33, column=47)).to_numpy()
    np.testing.assert_array_equal(part, whole[:, 33 : 33 + 75, 47 : 47 + 101])


@every_loader
def test_beyond_the_file_there_is_no_data(name: str, scene: pystac.Item) -> None:
    beyond = opened(name, scene, grid_of("18GYS", 60, 60, row=210, column=210)).to_numpy()
    np.testing.assert_array_equal(beyond[0, :30, :30], stored(scene, "red")[210:, 210:])
    assert not beyond[:, 31:].any()


@every_loader
def test_what_the_item_claims_of_its_files_changes_no_pixel(name: str, scene: pystac.Item) -> None:
    expected = opened(name, scene, grid_of("18GYS")).to_numpy()
    wrong = scene.clone()
    wrong.geometry, wrong.bbox = {"type": "Point", "coordinates": [0, 0]}, [0, 0, 0, 0]
    for asset in wrong.assets.values():
        asset.extra_fields = {
            "proj:shape": [3, 3],
            "proj:transform": [1, 0, 0, 0, -1, 0],
            "raster:bands": [{"scale": 7, "offset": -3, "nodata": 5}],
        }
    np.testing.assert_array_equal(opened(name, wrong, grid_of("18GYS")), expected)


@every_loader
def test_coordinates_are_those_of_the_grid(name: str, scene: pystac.Item) -> None:
    geobox = grid_of("18GYS")
    cube = opened(name, scene, geobox)
    assert cube.rio.crs == "EPSG:32718"
    assert cube.rio.transform() == geobox.affine
    assert float(cube["x"][0]) == TILES["18GYS"].left + 5
    assert float(cube["y"][0]) == TILES["18GYS"].top - 5


# --- laziness -----------------------------------------------------------------------------------


@every_loader
def test_opening_reads_nothing_and_a_corner_reads_one_chunk(
    name: str, scene: pystac.Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda *a, **k: asked.append(a[0]) or real(*a, **k))
    cube = opened(name, scene, grid_of("18GYS"), chunk=60)
    assert isinstance(cube.data, da.Array)
    assert asked == []
    cube[:, :50, :50].compute(scheduler="synchronous")
    assert set(asked) == {scene.assets[key].href for key in ASSETS.values()}


@every_loader
def test_the_graph_of_a_whole_tile_is_made_in_a_second(name: str, scene: pystac.Item) -> None:
    began = time.process_time()
    cube = opened(name, scene, grid_of("18GYS", 10980, 10980), chunk=3660)
    dict(cube.data.__dask_graph__())
    assert time.process_time() - began < 1


@every_loader
@pytest.mark.parametrize(
    "file", ["my band.tif", "100%.tif", "a%20b.tif", "a#1.tif", "a?b.tif", "ü.tif"]
)
def test_a_path_is_read_as_it_is_whatever_web_page_the_item_links_to(
    name: str, file: str, scene: pystac.Item, tmp_path: Path
) -> None:
    copied = scene.clone()
    copied.add_link(pystac.Link("self", "https://stac.example.org/items/copied"))
    shutil.copy(scene.assets["red"].href, tmp_path / file)
    copied.assets["red"].href = str(tmp_path / file)
    cube = opened(name, copied, grid_of("18GYS"), assets={"B04": "red"})
    np.testing.assert_array_equal(cube[0].to_numpy(), stored(scene, "red"))


# --- failures -----------------------------------------------------------------------------------


def break_asset(item: pystac.Item, folder: Path, how: str) -> pystac.Item:
    """Return the item with a red band that cannot be read."""
    broken = item.clone()
    source = broken.assets["red"].href
    path = folder / "red.tif"
    if how == "truncated":
        content = Path(source).read_bytes()
        path.write_bytes(content[: int(len(content) * 0.7)])
    elif how == "not an image":
        path.write_text("<html>Service unavailable</html>")
    elif how == "other crs":
        with rasterio.open(source) as file:
            write_cog(path, file.read(1), file.transform, 32719, nodata=0)
    broken.assets["red"].href = str(path)
    return broken


@every_loader
@pytest.mark.parametrize("how", ["missing", "truncated", "not an image", "other crs"])
def test_a_failed_read_names_item_and_asset(
    name: str, how: str, scene: pystac.Item, tmp_path: Path
) -> None:
    cube = opened(name, break_asset(scene, tmp_path, how), grid_of("18GYS"))
    with pytest.raises(LoadError, match=rf"red of {scene.id}: .*red\.tif") as caught:
        cube.compute()
    assert (caught.value.item, caught.value.asset) == (scene.id, "red")
    assert "\n" not in str(caught.value)


@every_loader
def test_a_404_names_item_and_asset_and_heals_when_the_file_appears(
    name: str, scene: pystac.Item, tmp_path: Path
) -> None:
    missing = scene.clone()
    with serve(tmp_path) as server:
        missing.assets["red"].href = f"{server.url}/{name}/red.tif?signature=secret"
        cube = opened(name, missing, grid_of("18GYS"), assets={"B04": "red"})
        with pytest.raises(LoadError, match=rf"red of {scene.id}: .*404") as caught:
            cube.compute()
        assert "secret" not in str(caught.value)
        assert "secret" in server.requests[0]
        # GDAL would answer from its cache that there is nothing.
        (tmp_path / name).mkdir()
        shutil.copy(scene.assets["red"].href, tmp_path / name / "red.tif")
        np.testing.assert_array_equal(cube[0].to_numpy(), stored(scene, "red"))


@every_loader
def test_a_link_that_expired_is_signed_anew_and_read(
    name: str, scene: pystac.Item, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def sign(href: str, catalog: object, *, refused: str | None = None) -> str:
        del catalog
        # Reads of an earlier test may still be waiting for their second try.
        if href == signed.assets["red"].href:
            asked.append(refused)
        return f"{href}?signature={'fresh' if refused else 'expired'}"

    monkeypatch.setattr("lspipe.catalogs.sign", sign)
    signed = scene.clone()
    shutil.copy(scene.assets["red"].href, tmp_path / "red.tif")
    with serve(tmp_path) as server:
        signed.assets["red"].href = f"{server.url}/red.tif"
        cube = opened(name, signed, grid_of("18GYS"), assets={"B04": "red"}, chunk=240)
        np.testing.assert_array_equal(cube[0].to_numpy(), stored(scene, "red"))
        assert "signature=expired" in server.requests[0]
        assert "signature=fresh" in server.requests[-1]
    assert asked == [None, f"{signed.assets['red'].href}?signature=expired"]


@every_loader
def test_a_signer_that_fails_is_a_failed_read_of_an_item_and_an_asset(
    name: str, scene: pystac.Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def sign(href: str, catalog: object, *, refused: str | None = None) -> str:
        del href, catalog
        asked.append(refused)
        raise catalogs.UnsignedError("its link cannot be signed: the signer answers HTTP 403")

    monkeypatch.setattr("lspipe.catalogs.sign", sign)
    unsigned = scene.clone()
    unsigned.assets["red"].href = "https://a.blob.core.windows.net/c/red.tif"
    cube = opened(name, unsigned, grid_of("18GYS"), assets={"B04": "red"}, chunk=240)
    with pytest.raises(LoadError, match=rf"red of {scene.id}: .*HTTP 403.*check your access"):
        cube.compute()
    assert asked == [None, None]


@every_loader
def test_a_truncated_file_on_a_server_is_an_error(
    name: str, scene: pystac.Item, tmp_path: Path
) -> None:
    broken = break_asset(scene, tmp_path, "truncated")
    with serve(tmp_path) as server:
        broken.assets["red"].href = f"{server.url}/red.tif"
        with pytest.raises(LoadError, match=f"red of {scene.id}"):
            opened(name, broken, grid_of("18GYS")).compute()


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("HTTP response code: 404", "restore the file"),
        ("HTTP response code: 403", "check your access to this archive and its signing"),
        ("HTTP response code: 503", "run again when the server answers"),
        ("Range downloading not supported by this server!", "a server that sends parts of them"),
    ],
)
def test_a_failed_read_over_http_says_what_helps(said: str, advice: str) -> None:
    def pixels(href: str) -> None:
        del href
        raise rasterio.RasterioIOError(said)

    source = Source(
        item="scene",
        band="B04",
        asset="red",
        href="https://host/red.tif",
        catalog=catalogs.GENERIC,
        on_read_error="fail",
    )
    with pytest.raises(LoadError, match=f"red of scene: {said} .*{advice}"):
        read(source, pixels)


@pytest.mark.parametrize(
    ("href", "tried", "kind"),
    [("https://host/red.tif", 2, LoadError), ("/data/red.tif", 1, UnfitAsset)],
)
def test_a_header_without_a_crs_may_have_come_in_part_over_a_network(
    href: str, tried: int, kind: type[LoadError], tmp_path: Path
) -> None:
    path, asked = tmp_path / "red.tif", []
    write_cog(path, np.ones((8, 8), np.uint16), Affine(10, 0, 5e5, 0, -10, 5e6), None, nodata=0)

    def pixels(href: str) -> None:
        asked.append(href)
        with rasterio.open(path) as file:
            Declared.of(file, epsg=32718)

    source = Source(
        item="scene",
        band="B04",
        asset="red",
        href=href,
        catalog=catalogs.GENERIC,
        on_read_error="fail",
    )
    with pytest.raises(LoadError, match="red of scene: file is in no CRS, .*warp the") as failure:
        read(source, pixels)
    # A run tries a block again, but not one whose file is whole and unfit.
    assert type(failure.value) is kind
    assert len(asked) == tried


@every_loader
def test_the_error_survives_the_way_between_processes(
    name: str, scene: pystac.Item, tmp_path: Path, cluster: Client
) -> None:
    cube = opened(name, break_asset(scene, tmp_path, "missing"), grid_of("18GYS"))
    with pytest.raises(LoadError, match=f"red of {scene.id}") as caught:
        cluster.compute(cube.data, retries=1).result()
    assert (caught.value.item, caught.value.asset) == (scene.id, "red")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301
    sound = opened(name, scene, grid_of("18GYS"))
    np.testing.assert_array_equal(cluster.compute(sound.data).result(), sound.to_numpy())


@every_loader
def test_on_request_a_failed_read_marks_its_chunk(
    name: str, scene: pystac.Item, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = opened(name, scene, grid_of("18GYS")).to_numpy()
    expected[0] = loaders.READ_FAILED
    broken = break_asset(scene, tmp_path, "missing")
    strict = opened(name, broken, grid_of("18GYS"))
    cube = opened(name, broken, grid_of("18GYS"), on_read_error="nodata")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cube.to_numpy(), expected)
    assert f"red of {scene.id}" in caplog.text
    with pytest.raises(LoadError):  # the two graphs share no task
        dask.compute(cube, strict)


@every_loader
def test_nothing_signed_is_logged(
    name: str, scene: pystac.Item, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = break_asset(scene, tmp_path, "truncated")  # odc-loader logs what it opened in vain
    with serve(tmp_path) as server, caplog.at_level(logging.DEBUG):
        broken.assets["red"].href = f"{server.url}/red.tif?signature=secret"
        with pytest.raises(LoadError) as caught:
            opened(name, broken, grid_of("18GYS")).compute()
    assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text


# --- refusals -----------------------------------------------------------------------------------


@every_loader
@pytest.mark.parametrize("field", ["proj:epsg", "proj:code"])
def test_an_item_in_another_crs_is_refused(name: str, field: str, scene: pystac.Item) -> None:
    other = scene.clone()
    for known in ("proj:epsg", "proj:code"):
        other.properties.pop(known, None)
    other.properties[field] = 32719 if field == "proj:epsg" else "EPSG:32719"
    with pytest.raises(UsageError, match=rf"{scene.id} is in .*32719, the grid in EPSG:32718"):
        opened(name, other, grid_of("18GYS"))


@every_loader
def test_an_asset_that_the_item_lacks_is_named(name: str, scene: pystac.Item) -> None:
    with pytest.raises(UsageError, match=f"{scene.id} has no asset 'nir09' for band B09"):
        opened(name, scene, grid_of("18GYS"), assets={"B09": "nir09"})


def test_an_unknown_loader_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown loader 'odcc': expected one of odc, stackstac"):
        loaders.loader("odcc")
