"""The backscatter of a tile: on its pixels, averaged in power, however it is cut."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from lspipe.catalogs import CATALOGS, GENERIC
from lspipe.cube import radar_file
from lspipe.cube.loaders.source import Source
from lspipe.cube.power import ENOUGH_DATES, LOOKS, lee
from lspipe.cube.radar import Radar, RadarPass, layers, read, to_codes
from lspipe.cube.radar_file import HiddenFile
from lspipe.errors import LoadError, UnfitAsset
from lspipe.schema import CUBE_NODATA
from tests.backscatter import decibels, speckled, write_power
from tests.ground import places
from tests.properties import examples

BOTH = ("before:VV", "after:VV")
WHOLE = (slice(0, 150), slice(0, 170))


def grid(epsg: int, longitude: float, latitude: float, shape=(150, 170)) -> GeoBox:
    """A grid of 10 m whose middle is near a place."""
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    corner = 60 * round(x / 60) - 5 * shape[1] // 10 * 10, 60 * round(y / 60) + 5 * shape[0]
    return GeoBox(shape, Affine(10, 0, corner[0], 0, -10, corner[1]), f"EPSG:{epsg}")


def waves(longitude, latitude):
    """Power that goes up and down every 300 m: one pixel off is up to 0.7 dB."""
    turn = 2 * np.pi * 133_500 / 360  # a whole number around the Earth, so no seam at 180
    return 0.2 + 0.1 * np.sin(turn * longitude) * np.cos(turn * latitude)


def looked(path: Path, day: str = "2017-01-03T10:00:00", hidden: HiddenFile | None = None):
    source = Source(
        item=path.stem, band="VV", asset="vv", href=str(path), catalog=GENERIC,
        on_read_error="fail",
    )  # fmt: skip
    return radar_file.read_header(source, day=day, platform="sentinel-1a", hidden=hidden)


def on_days(files, count, *, year=2017):
    """The same files on several dates."""
    return tuple(
        replace(file, day=f"{year}-01-{number + 1:02d}T10:00:00")
        for number in range(count)
        for file in files
    )


def radar_of(before, after=None, **fields) -> Radar:
    sides = {"before": tuple(before), "after": tuple(before if after is None else after)}
    one = RadarPass(orbit_state="descending", relative_orbit=83, sides=sides, **fields)
    return Radar(name="test", passes=(one,))


# --- on the pixel -------------------------------------------------------------------------------

PLACES = {
    "18 south": (grid(32718, -72.45, -43.4), 32718),
    "18 south, a slice of 19": (grid(32718, -72.05, -43.4), 32719),
    "32 north": (grid(32632, 10.02, 46.02), 32632),
    "32 north, a slice of 33": (grid(32632, 11.9, 46.02), 32633),
    "60 south, at the date line, a slice of 1": (grid(32760, 179.998, -16.9), 32701),
    "1 south, at the date line, a slice of 60": (grid(32701, -179.998, -16.9), 32760),
}


def write_waves(path: Path, geobox: GeoBox, epsg: int, *, off=(3.7, -4.2), around=60) -> Path:
    """Write waves on a lattice of another corner, and perhaps another zone, around a grid."""
    left, bottom, right, top = geobox.extent.boundingbox
    to = Transformer.from_crs(geobox.crs.epsg, epsg, always_xy=True)
    x, y = to.transform([left, right, left, right], [bottom, bottom, top, top])
    corner = round(min(x), -1) - 10 * around + off[0], round(max(y), -1) + 10 * around + off[1]
    shape = (
        round((max(y) - min(y)) / 10) + 2 * around,
        round((max(x) - min(x)) / 10) + 2 * around,
    )
    lattice = GeoBox(shape, Affine(10, 0, corner[0], 0, -10, corner[1]), f"EPSG:{epsg}")
    return write_power(path, waves(*places(lattice)), corner=corner, crs=epsg)


@pytest.mark.parametrize("where", PLACES)
def test_backscatter_lies_on_its_pixels(where, tmp_path) -> None:
    geobox, epsg = PLACES[where]
    file = looked(write_waves(tmp_path / "slice.tif", geobox, epsg))
    found = read(radar_of(on_days([file], 3)), geobox, WHOLE, BOTH) * 0.002
    rim = GeoBox((152, 172), geobox.transform * Affine.translation(-1, -1), geobox.crs)
    true = decibels(waves(*places(rim)))
    for side in found:
        np.testing.assert_allclose(side, true[1:-1, 1:-1], atol=0.15)
        # One pixel off is much more: no other place fits as well.
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            other = true[1 + down : 151 + down, 1 + right : 171 + right]
            assert np.abs(side - other).max() > 0.5


def test_pixels_on_the_lattice_of_the_tile_are_those_of_the_file(tmp_path) -> None:
    geobox, epsg = PLACES["18 south"]
    power = speckled(np.full((150, 170), 0.1), 0)
    corner = (geobox.transform.c, geobox.transform.f)
    file = looked(write_power(tmp_path / "a.tif", power, corner=corner, crs=epsg))
    before, after = read(radar_of(on_days([file], 3)), geobox, WHOLE, BOTH)
    expected = to_codes(power, "VV")
    assert np.abs(before - expected.astype(int)).max() <= 1  # the mean of three equal floats
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("right", "down"), [(5, 0), (0, 5), (5, 5)])
def test_between_pixels_it_is_their_mean_along_each_axis_by_itself(tmp_path, right, down) -> None:
    geobox, epsg = PLACES["18 south"]
    power = speckled(np.full((150, 170), 0.1), 0)
    corner = (geobox.transform.c - right, geobox.transform.f + down)
    file = looked(write_power(tmp_path / "a.tif", power, corner=corner, crs=epsg))
    found, _ = read(radar_of(on_days([file], 3)), geobox, WHOLE, BOTH)
    lines = (power[:-1] + power[1:]) / 2 if down else power[:-1]
    means = (lines[:, :-1] + lines[:, 1:]) / 2 if right else lines[:, :-1]
    assert np.abs(found[:149, :169] - to_codes(means, "VV").astype(int)).max() <= 1


def test_the_side_after_is_moved_back_by_the_shift(tmp_path) -> None:
    geobox, epsg = PLACES["32 north"]
    one = looked(write_waves(tmp_path / "one.tif", geobox, epsg))
    width, _, left, _, height, top = one.transform
    # What lies 0.7 px farther east and 0.4 px farther south.
    off = replace(one, transform=(width, 0, left + 7, 0, height, top - 4))
    radar = radar_of(on_days([one], 3), on_days([off], 3), shift=(0.7, 0.4))
    before, after = read(radar, geobox, WHOLE, BOTH)
    assert np.abs(before - after.astype(int)).max() <= 1
    before, after = read(replace(radar, passes=(replace(radar.passes[0], shift=None),)),
                         geobox, WHOLE, BOTH)  # fmt: skip
    assert np.abs(before - after.astype(int)).max() > 150  # 0.3 dB


@pytest.mark.parametrize(
    ("shift", "spread", "moved"),
    [
        ((0.4, 0.0), 0.05, (0.4, 0.0)),
        ((0.06, 0.06), 0.01, (0.0, 0.0)),  # a metre
        ((0.4, 0.3), 0.3, (0.0, 0.0)),  # of windows that do not agree
        (None, 0.0, (0.0, 0.0)),
    ],
)
def test_a_shift_is_undone_where_it_is_sure(shift, spread, moved) -> None:
    one = RadarPass(
        orbit_state="ascending", relative_orbit=1, sides={}, shift=shift, spread_px=spread
    )
    assert one.moved_px == moved


# --- however it is cut --------------------------------------------------------------------------

PARTS = st.tuples(
    st.integers(0, 1300), st.integers(1, 400), st.integers(0, 1300), st.integers(1, 400)
)
SHAPE = (1400, 1500)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A grid of nine cells; slices of two zones with holes and noise, one date after, moved."""
    geobox = grid(32718, -72.05, -43.4, SHAPE)
    folder = tmp_path_factory.mktemp("wide")
    corner = (geobox.transform.c - 203.7, geobox.transform.f + 196.1)
    files = []
    for number in range(3):
        power = speckled(np.full((1000, 1600), 0.1), number)
        power[300:330, 400:460] = np.nan
        power[:30] = 1e-5
        files.append(write_power(folder / f"{number}.tif", power, corner=corner, crs=32718))
    path = write_waves(folder / "other.tif", geobox, 32719)
    before = [looked(file, f"2017-01-0{n + 1}T10:00:00") for n, file in enumerate(files)]
    after = (replace(before[0], day="2018-01-01"), replace(looked(path), day="2018-01-01"))
    radar = radar_of(before, after, shift=(0.31, -0.62))
    return geobox, radar, read(radar, geobox, (slice(0, SHAPE[0]), slice(0, SHAPE[1])), BOTH)


def test_the_whole_is_what_the_properties_need(wide) -> None:
    _, _, (before, after) = wide
    for side in (before, after):
        assert (side != CUBE_NODATA).mean() > 0.1
    assert (before == CUBE_NODATA).any()
    assert not np.array_equal(before, after)


@examples(15)
@given(PARTS)
def test_a_part_of_a_tile_equals_the_whole_bit_for_bit(wide, part) -> None:
    geobox, radar, whole = wide
    row, height, column, width = part
    rows = slice(row, min(row + height, SHAPE[0]))
    columns = slice(column, min(column + width, SHAPE[1]))
    found = read(radar, geobox, (rows, columns), BOTH[::-1])
    np.testing.assert_array_equal(found, whole[::-1, rows, columns])


@pytest.mark.parametrize("chunks", [((1400,), (1500,)), ((700, 700), (999, 501))])
def test_lazy_layers_equal_the_whole_whatever_the_chunks(wide, chunks) -> None:
    geobox, radar, whole = wide
    opened = layers(radar, geobox, BOTH, chunks)
    with dask.config.set(scheduler="synchronous"):
        for name, expected in zip(BOTH, whole, strict=True):
            assert opened[name].chunks == chunks
            np.testing.assert_array_equal(opened[name].compute(), expected)


def test_layers_of_a_part_have_names_of_the_date_at_hand(wide) -> None:
    geobox, radar, whole = wide
    part = (slice(100, 120), slice(200, 260))
    for role, expected in zip(("before", "after"), whole, strict=True):
        opened = layers(
            radar, geobox, ("VV",), ((20,), (40, 20)), role=role, origin=(100, 200)
        )["VV"]  # fmt: skip
        np.testing.assert_array_equal(opened.compute(scheduler="synchronous"), expected[part])


def test_a_larger_block_holds_more_only_by_its_own_pixels(tmp_path) -> None:
    geobox = grid(32718, -72.05, -43.4, (3660, 610))
    # Most rows that are kept for the next strip of cells are those behind the first.
    corner = (geobox.transform.c - 500, geobox.transform.f + 4000)
    path = write_power(tmp_path / "a.tif", np.full((4160, 710), 0.1), corner=corner, crs=32718)
    radar = radar_of(on_days([looked(path)], 3))
    peaks = []
    for rows in (1830, 1830, 3660):  # once for what is loaded only once
        tracemalloc.start()
        read(radar, geobox, (slice(0, rows), slice(0, 610)), BOTH)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 1.05 * 2 * len(BOTH) * 1830 * 610


@pytest.mark.parametrize("where", ["18 south", "18 south, a slice of 19"])
def test_no_row_of_a_file_is_unpacked_twice(where, tmp_path, monkeypatch) -> None:
    small, epsg = PLACES[where]
    geobox = GeoBox((2000, 700), small.transform, small.crs)
    file = looked(write_waves(tmp_path / "slice.tif", geobox, epsg))
    asked = []

    def read_power(file, part):
        asked.append(part[0])
        return radar_file.read_power(file, part)

    monkeypatch.setattr("lspipe.cube.power.read_power", read_power)
    read(radar_of([file]), geobox, (slice(0, 2000), slice(0, 700)), BOTH[:1])
    assert len(asked) > 2
    for one, other in pairwise(asked):
        assert one.stop == other.start
        assert one.stop % 512 == 0  # the end of a block


def test_it_travels_as_plain_json(wide) -> None:
    _, radar, _ = wide
    told = replace(radar, notes=("a note",), asked="abc")
    assert Radar.from_json(json.loads(json.dumps(told.as_json()))) == told
    facts = json.loads(json.dumps(radar.facts()))
    assert facts["passes"][0]["moved_px"] == [0.31, -0.62]
    assert [len(files) for files in facts["passes"][0]["sides"].values()] == [2, 3]


# --- the mean of a side -------------------------------------------------------------------------

SNAPPED = PLACES["18 south"][0]
CORNER = (SNAPPED.transform.c, SNAPPED.transform.f)


def written(folder: Path, *powers, **raster):
    """Files on the lattice of a tile, one a day."""
    raster = {"corner": CORNER, "crs": 32718, **raster}
    return [
        looked(write_power(folder / f"{n}.tif", np.asarray(power), **raster),
               f"2017-01-{n + 1:02d}T10:00:00")
        for n, power in enumerate(powers)
    ]  # fmt: skip


def test_dates_are_averaged_in_power_and_not_in_decibels(tmp_path) -> None:
    powers = [np.full((150, 170), value) for value in (0.01, 0.1, 1.0)]
    (before, _) = read(radar_of(written(tmp_path, *powers)), SNAPPED, WHOLE, BOTH)
    assert before[75, 85] * 0.002 == pytest.approx(decibels(0.37), abs=0.002)


@pytest.mark.parametrize(
    "names",
    [
        ("after:VV_amplitude", "before:VV_amplitude"),
        ("vv_amplitude_before", "vv_amplitude_after"),  # as recipes call them
    ],
)
def test_the_amplitude_is_the_root_of_the_mean_power(tmp_path, names) -> None:
    powers = [np.full((150, 170), value) for value in (0.01, 0.1, 1.0)]
    found = read(radar_of(written(tmp_path, *powers)), SNAPPED, WHOLE, names)
    assert found[:, 75, 85] * 1e-4 == pytest.approx([np.sqrt(0.37)] * 2, abs=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fewer_than_three_dates_are_filtered(tmp_path, count) -> None:
    powers = [speckled(np.full((150, 170), 0.1), seed) for seed in range(count)]
    radar = radar_of(written(tmp_path, *powers))
    assert radar.passes[0].is_filtered("before") is (count < ENOUGH_DATES)
    (before, _) = read(radar, SNAPPED, WHOLE, BOTH)
    mean = np.mean(powers, axis=0)
    if count >= ENOUGH_DATES:
        np.testing.assert_allclose(before * 0.002, decibels(mean), atol=0.002)
    else:
        assert (before * 0.002).std() < 0.5 * decibels(mean).std()
        assert 10 ** (before * 2e-4).mean() == pytest.approx(0.1, rel=0.03)


def test_speckle_is_what_the_number_of_looks_says() -> None:
    one = decibels(speckled(np.full((300, 300), 0.1), 0)).std()
    assert one == pytest.approx(4.34 * np.sqrt(1 / LOOKS), rel=0.15)


def test_the_filter_keeps_a_step_and_forgets_what_is_not_observed() -> None:
    power = np.full((40, 40), 0.05, np.float32)
    power[:, 20:] = 0.4
    power[5, 5] = np.nan
    found = lee(power, LOOKS)
    assert np.isnan(found[5, 5])
    np.testing.assert_allclose(found[4:7, 6:9], 0.05, rtol=1e-5)
    assert found[20, 19] < 0.12
    assert found[20, 20] > 0.3


def test_a_pixel_needs_three_dates_where_three_are_averaged(tmp_path) -> None:
    powers = [np.full((150, 170), 0.1) for _ in range(4)]
    powers[0][10:20] = np.nan  # seen three times
    powers[0][30:40] = powers[1][30:40] = np.nan  # seen twice
    (before, _) = read(radar_of(written(tmp_path, *powers)), SNAPPED, WHOLE, BOTH)
    assert (before[10:20] != CUBE_NODATA).all()
    assert (before[30:40] == CUBE_NODATA).all()


def test_slices_of_one_day_are_one_date(tmp_path) -> None:
    upper, lower = np.full((150, 170), 0.1), np.full((150, 170), 0.4)
    upper[80:] = np.nan
    lower[:70] = np.nan
    one, other = written(tmp_path, upper, lower)
    radar = radar_of(on_days([one, other], 3))
    assert len(radar.passes[0].dates("before")) == 3
    (before, _) = read(radar, SNAPPED, WHOLE, BOTH)
    assert before[79, 9] * 0.002 == pytest.approx(-10, abs=0.002)  # the first that saw it
    assert before[80, 9] * 0.002 == pytest.approx(decibels(0.4), abs=0.002)


@pytest.mark.real
def test_real_dates_have_less_speckle_together(real_data, tmp_path) -> None:
    path = real_data / "s1s2_timeseries_gfmap" / "cdse_sentinel1_grd.nc"
    with xr.open_dataset(path, engine="h5netcdf") as cube:
        # As its makers scale it: 20 log10(number) - 83 dB.
        numbers = cube["S1-SIGMA0-VV"].sel(t=["2023-04-03", "2023-04-15", "2023-04-27"])
        power = 10 ** ((20 * np.log10(numbers.values.astype(float)) - 83) / 10)
        corner = float(cube["x"][0]) - 5, float(cube["y"][0]) + 5
    files = written(tmp_path, *power, corner=corner, crs=32631)
    geobox = GeoBox(power.shape[1:], Affine(10, 0, corner[0], 0, -10, corner[1]), "EPSG:32631")
    part = tuple(slice(0, length) for length in geobox.shape)
    (three, one) = read(radar_of(files, files[:1]), geobox, part, BOTH) * 0.002
    np.testing.assert_allclose(three, decibels(power.mean(axis=0)), atol=0.003)
    alone, together, filtered = (
        looks_of(each) for each in (power[0], 10 ** (three / 10), 10 ** (one / 10))
    )
    assert together > 1.5 * alone
    assert filtered > 1.5 * alone


def looks_of(power) -> float:
    """Mean squared over variance in windows of 5 x 5, of the evenest tenth of them."""
    windows = np.lib.stride_tricks.sliding_window_view(power, (5, 5))
    return float(np.percentile(windows.mean((2, 3)) ** 2 / windows.var((2, 3)), 90))


# --- not observed -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, -32768.0, np.nan, -1e-6, np.inf])
def test_what_is_no_power_was_not_observed(tmp_path, value) -> None:
    power = np.full((150, 170), 0.1)
    power[50:60, 50:60] = value
    files = written(tmp_path, power, nodata=None)
    (before, _) = read(radar_of(on_days(files, 3)), SNAPPED, WHOLE, BOTH)
    is_hole = np.zeros((150, 170), bool)
    is_hole[50:60, 50:60] = True
    np.testing.assert_array_equal(before == CUBE_NODATA, is_hole)


@pytest.mark.parametrize("has_mask", [True, False])
def test_a_mask_in_the_file_and_a_positive_number_for_no_data_are_kept(tmp_path, has_mask) -> None:
    power = np.full((150, 170), 0.1)
    power[50:60, 50:60] = 9.0
    path = write_power(
        tmp_path / "a.tif", power, corner=CORNER, crs=32718, nodata=None if has_mask else 9.0
    )
    if has_mask:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(power < 1)
    (before, _) = read(radar_of(on_days([looked(path)], 3)), SNAPPED, WHOLE, BOTH)
    np.testing.assert_array_equal(before == CUBE_NODATA, power > 1)


def test_noise_along_the_rim_of_a_slice_was_not_observed(tmp_path) -> None:
    power = np.full((150, 170), 0.1)
    power[:, :20] = np.nan
    power[:, 20:40] = 2e-4  # -37 dB
    power[70:80, 100:110] = 2e-4  # in the middle: a runway, or a calm lake
    (before, _) = read(radar_of(on_days(written(tmp_path, power), 3)), SNAPPED, WHOLE, BOTH)
    assert (before[:, :40] == CUBE_NODATA).all()
    assert (before[:, 40:] != CUBE_NODATA).all()


def test_beyond_its_files_a_tile_was_not_observed(tmp_path) -> None:
    (file,) = written(tmp_path, np.full((100, 100), 0.1))
    (before, after) = read(radar_of(on_days([file], 3)), SNAPPED, WHOLE, BOTH)
    assert (before[:100, :100] != CUBE_NODATA).all()
    assert (before != CUBE_NODATA).sum() == 100 * 100
    np.testing.assert_array_equal(before, after)


def test_layover_and_shadow_were_not_observed_where_the_product_flags_them(tmp_path) -> None:
    power = np.full((150, 170), 0.1)
    flags = np.zeros((150, 170), np.uint8)
    flags[20:30, 20:30], flags[40:50, 40:50], flags[60:70, 60:70] = 1, 2, 3
    path = write_power(tmp_path / "a.tif", power, corner=CORNER, crs=32718)
    mask = write_power(
        tmp_path / "mask.tif", flags, corner=CORNER, crs=32718, nodata=None, dtype="uint8"
    )
    hidden = HiddenFile(asset="mask", href=str(mask), numbers=(1, 2))
    radar = radar_of(on_days([looked(path, hidden=hidden)], 3))
    (before, _) = read(radar, SNAPPED, WHOLE, BOTH)
    np.testing.assert_array_equal(before == CUBE_NODATA, (flags == 1) | (flags == 2))
    assert Radar.from_json(json.loads(json.dumps(radar.as_json()))) == radar
    other = write_power(
        tmp_path / "other.tif", flags, corner=(0, 0), crs=32718, nodata=None, dtype="uint8"
    )
    with pytest.raises(UnfitAsset, match=r"mask of a: its pixels are not those of VV"):
        looked(path, hidden=replace(hidden, href=str(other)))


# --- refused ------------------------------------------------------------------------------------


def test_decibels_are_refused_by_name(tmp_path) -> None:
    with pytest.raises(UnfitAsset, match=r"it holds decibels.* expected linear power"):
        written(tmp_path, decibels(speckled(np.full((150, 170), 0.1), 0)))


@pytest.mark.real
def test_a_real_file_of_decibels_is_refused(real_data) -> None:
    with pytest.raises(UnfitAsset, match="it holds decibels"):
        looked(next((real_data / "s1_vv_camargue").glob("*.tif")))


@pytest.mark.parametrize(
    ("raster", "reason"),
    [
        ({"dtype": "uint16"}, "it holds uint16, digital numbers as of GRD"),
        ({"crs": None}, "it has no CRS, as GRD has"),
        ({"crs": 4326, "corner": (-72.5, -43.4), "pixel": 1e-4}, "expected a projected one"),
    ],
)
def test_what_has_no_terrain_correction_is_refused_by_name(tmp_path, raster, reason) -> None:
    with pytest.raises(UnfitAsset, match=reason):
        written(tmp_path, np.full((150, 170), 300.0), nodata=0, **raster)


def test_digital_numbers_as_floats_are_refused(tmp_path) -> None:
    with pytest.raises(UnfitAsset, match="as digital numbers are"):
        written(tmp_path, np.full((150, 170), 300.0) ** 2)


def test_a_file_that_is_gone_fails_the_read_and_names_item_and_asset(tmp_path) -> None:
    (file,) = written(tmp_path, np.full((150, 170), 0.1))
    Path(file.href).unlink()
    with pytest.raises(LoadError, match=r"vv of 0: .*take another radar\.collection"):
        read(radar_of([file]), SNAPPED, WHOLE, BOTH)


def test_addresses_are_signed_just_before_each_read(tmp_path, monkeypatch) -> None:
    path = write_power(tmp_path / "a.tif", np.full((150, 170), 0.1), corner=CORNER, crs=32718)
    signed = []

    def sign(href, catalog, *, refused=None):
        signed.append((href, catalog.name, refused))
        return str(path)

    monkeypatch.setattr("lspipe.catalogs.sign", sign)
    address = "https://sentinel1euwestrtc.blob.core.windows.net/a.tif"
    source = Source(
        item="a", band="VV", asset="vv", href=address, catalog=CATALOGS["planetary-computer"],
        on_read_error="fail",
    )  # fmt: skip
    file = radar_file.read_header(source, day="2017-01-01", platform="sentinel-1a")
    assert file.href == address
    read(radar_of([file]), SNAPPED, WHOLE, ("before:VV",))
    assert signed == [(address, "planetary-computer", None)] * 2


def test_a_small_picture_is_looked_at_where_there_are_overviews(tmp_path) -> None:
    power = np.full((1500, 300), np.nan)
    power[:100] = -10.0  # the middle of the file is empty
    path = write_power(tmp_path / "a.tif", power, corner=CORNER, crs=32718)
    assert looked(path).shape == (1500, 300)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    with pytest.raises(UnfitAsset, match="it holds decibels"):
        looked(path)
