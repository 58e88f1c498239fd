"""Maps as people have them: other names, other orders, other places of the CRS, broken grids."""

from __future__ import annotations

import numpy as np
import pytest
import rioxarray  # noqa: F401  # registers the .rio accessor
import xarray as xr
from geopandas.testing import assert_geodataframe_equal
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from lspipe.change.compare import compare
from lspipe.change.grids import on_grid
from lspipe.change.inventory import delineate
from lspipe.errors import UsageError

UTM = CRS.from_epsg(32718)
WEST, NORTH = 700000, 5201000


def plain(rows: int = 30, columns: int = 40, *, scar: bool = True) -> xr.DataArray:
    """A map without a CRS, with one object of 4 by 6 pixels."""
    values = np.full((rows, columns), 0.05, np.float32)
    if scar:
        values[3:7, 4:10] = 0.9
    coords = {
        "y": NORTH - 10 * np.arange(rows) - 5.0,
        "x": WEST + 10 * np.arange(columns) + 5.0,
    }
    return xr.DataArray(values, coords, ("y", "x"))


def probability(**options) -> xr.DataArray:
    return plain(**options).rio.write_crs(UTM)


def with_crs(array: xr.DataArray, name: str, attrs: dict, *, said: str = "") -> xr.DataArray:
    array = array.assign_coords({name: xr.DataArray(0, attrs=attrs)})
    if said:
        getattr(array, said)["grid_mapping"] = name
    return array


WKT = {"crs_wkt": UTM.to_wkt()}
CF = UTM.to_cf() | {"crs_wkt": ""}
WAYS = {
    "written by rioxarray": lambda da: da.rio.write_crs(UTM),
    "rioxarray, another name": lambda da: da.rio.write_crs(UTM, grid_mapping_name="crs"),
    "encoding": lambda da: with_crs(da, "UTM_projection", WKT, said="encoding"),
    "attribute": lambda da: with_crs(da, "transverse_mercator", WKT, said="attrs"),
    "nothing says so": lambda da: with_crs(da, "crs", WKT),
    "as GDAL has it": lambda da: with_crs(da, "crs", {"spatial_ref": UTM.to_wkt("WKT1_GDAL")}),
    "CF without WKT": lambda da: with_crs(
        da, "utm", {key: value for key, value in CF.items() if key != "crs_wkt"}
    ),
    "attribute crs": lambda da: da.assign_attrs(crs="epsg:32718"),
}
"""Ways in which files and libraries say the same CRS."""


@pytest.mark.parametrize("way", WAYS)
def test_a_crs_is_kept_whatever_its_coordinate_is_called(way) -> None:
    before, after = WAYS[way](plain(scar=False)), WAYS[way](plain())
    change = compare(before, after)
    for name in change.data_vars:
        assert CRS(change[name].rio.crs).equals(UTM, ignore_axis_order=True), name
    found = delineate(change, min_area_m2=900)
    assert CRS(found.crs).equals(UTM, ignore_axis_order=True)
    assert found.total_bounds.tolist() == [WEST + 40, NORTH - 70, WEST + 100, NORTH - 30]
    # In arithmetic a variable forgets where its CRS is.
    assert delineate(change["after"] * 1, threshold=0.5)["n_px"].tolist() == [24]


@pytest.mark.parametrize("way", WAYS)
def test_two_crs_are_refused_and_two_ways_to_say_one_are_not(way) -> None:
    one = WAYS[way](plain())
    assert (compare(probability(), one)["state"] == 3).sum() == 24
    assert (compare(one, probability())["state"] == 3).sum() == 24
    with pytest.raises(UsageError, match="their CRS differ, .* and WGS 84 / UTM zone 19S"):
        compare(one, plain().rio.write_crs(32719))


def test_of_a_map_with_a_crs_and_one_without_the_known_one_holds() -> None:
    crs = with_crs(plain(), "utm", WKT)
    for maps in ((crs, plain()), (plain(), crs), (crs, plain().drop_vars(["x", "y"]))):
        change = compare(*maps)
        assert change.rio.crs.to_epsg() == 32718
        assert set(change.coords) == {"y", "x", "utm"}
    assert compare(plain(), plain()).rio.crs is None


def test_coordinates_that_disagree_about_the_crs_are_refused() -> None:
    other = with_crs(with_crs(plain(), "one", WKT), "two", CRS.from_epsg(32719).to_cf())
    with pytest.raises(UsageError, match="several coordinates, one, two, and they differ"):
        delineate(other)
    other.encoding["grid_mapping"] = "one"
    assert delineate(other).crs.to_epsg() == 32718


def test_a_file_that_was_opened_without_its_crs_is_told_how() -> None:
    array = plain()
    array.attrs["grid_mapping"] = "spatial_ref"
    with pytest.raises(UsageError, match="'spatial_ref': open its file with decode_coords='all'"):
        delineate(array)
    with pytest.raises(UsageError, match="a CRS that cannot be read"):
        delineate(with_crs(plain(), "crs", {"crs_wkt": "no such thing"}))


# --- spacing ------------------------------------------------------------------------------------


@given(
    st.integers(3, 60), st.sampled_from([10.0, -10.0, 0.25, 30.0, 8.983e-5]),
    st.sampled_from([0.0, 72.5, 699960.0, 5_200_000.0]), st.data(),
)  # fmt: skip
def test_a_gap_of_a_pixel_is_seen_anywhere_and_an_even_grid_never_refused(
    count, step, start, data
) -> None:
    even = start + step * np.arange(count)
    array = xr.DataArray(np.zeros((count, 2), np.float32), {"y": even}, ("y", "x"))
    xr.testing.assert_identical(on_grid(array, name="it"), array)
    at = data.draw(st.integers(1, count - 1))
    broken = array.assign_coords(y=even + step * (np.arange(count) >= at))
    with pytest.raises(UsageError, match="it has unevenly spaced `y` coordinates"):
        on_grid(broken, name="it")


@pytest.mark.parametrize("axis", ["x", "y"])
def test_joined_pieces_with_a_gap_are_refused(axis) -> None:
    whole = probability()
    gap = xr.concat([whole.isel({axis: slice(12)}), whole.isel({axis: slice(20, None)})], axis)
    first, second = whole[axis].values[[11, 20]]
    message = rf"`{axis}` coordinates: {first:.0f} is followed by {second:.0f}, where .*reindex"
    with pytest.raises(UsageError, match=message):
        delineate(gap)
    with pytest.raises(UsageError, match=message):
        compare(gap, gap)
    # What the message advises.
    filled = gap.reindex({axis: whole[axis].values})
    assert_geodataframe_equal(delineate(filled)[["geometry"]], delineate(whole)[["geometry"]])


@pytest.mark.parametrize(
    ("step", "dtype", "off", "is_even"),
    [
        # A hundredth of a pixel, for rounded decimals.
        (10, "float64", 0.09, True),
        (10, "float64", 0.11, False),
        (10, "float64", -0.11, False),
        # And the digits that float32 lacks, 0.62 m so far north, but never over a quarter pixel.
        (10, "float32", 0.5, True),
        (10, "float32", 1.0, False),
        (2, "float32", 0.5, True),
        (1, "float32", 0.5, False),
        (10, "int64", 1, False),
    ],
)
def test_a_coordinate_may_miss_its_place_by_what_was_rounded(step, dtype, off, is_even) -> None:
    y = NORTH - step * np.arange(30.0)
    y[12] += off
    array = plain(scar=False).assign_coords(y=y.astype(dtype))
    if is_even:
        assert on_grid(array, name="the map").shape == (30, 40)
    else:
        with pytest.raises(UsageError, match="unevenly spaced `y`"):
            on_grid(array, name="the map")


@pytest.mark.parametrize(("shift", "is_same"), [(0.09, True), (0.11, False), (-0.11, False)])
def test_two_grids_are_one_up_to_a_hundredth_of_a_pixel(shift, is_same) -> None:
    one, two = probability(), probability()
    two = two.assign_coords(x=two["x"] + shift)
    if is_same:
        assert compare(one, two).sizes == {"y": 30, "x": 40}
    else:
        with pytest.raises(UsageError, match="`x` coordinates differ, by up to 0.11"):
            compare(one, two)


def test_coordinates_in_float32_are_even_and_equal_to_the_same_in_float64() -> None:
    single = probability().assign_coords(
        x=plain().x.astype(np.float32), y=plain().y.astype(np.float32)
    )
    change = compare(single, probability())
    assert change.sizes == {"y": 30, "x": 40}
    assert delineate(single).total_bounds.tolist() == delineate(probability()).total_bounds.tolist()
    degrees = plain().assign_coords(
        y=(-43.33 - 9e-5 * np.arange(30)).astype(np.float32),
        x=(-72.35 + 9e-5 * np.arange(40)).astype(np.float32),
    )
    assert compare(degrees, degrees)["x"].dtype == np.float32
    # Half a metre in float32 this far north: the coordinates do not tell the pixels apart.
    fine = plain().assign_coords(y=(NORTH - 0.4 * np.arange(30)).astype(np.float32))
    with pytest.raises(UsageError, match="unevenly spaced `y`"):
        compare(fine, fine)


@pytest.mark.parametrize("values", [np.full(30, 7.0), np.r_[np.arange(29.0), np.nan]])
def test_coordinates_that_stand_still_or_are_missing_are_refused(values) -> None:
    with pytest.raises(UsageError, match="unevenly spaced `y`"):
        delineate(probability().assign_coords(y=values))


def test_one_row_of_pixels_does_not_tell_their_size() -> None:
    with pytest.raises(UsageError, match=r"from one row or column; .*write_transform"):
        delineate(probability().isel(y=[3]))
    assert delineate(probability().rio.write_transform().isel(y=[3]))["n_px"].tolist() == [6]


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [("latitude", "longitude"), ("lat", "lon")])
def test_other_names_and_orders_of_the_axes_mean_the_same(rows, columns) -> None:
    expected = compare(probability(scar=False), probability())
    for change in (
        compare(probability(scar=False).T, probability()),
        compare(probability(scar=False), probability().rename(y=rows, x=columns)),
    ):
        xr.testing.assert_identical(change, expected)
    listed = delineate(expected)
    assert_geodataframe_equal(delineate(expected.transpose("x", "y")), listed)
    assert_geodataframe_equal(delineate(expected.rename(y=rows, x=columns)), listed)


@pytest.mark.parametrize(
    ("dims", "advice"),
    [
        (("time", "y", "x"), r"\.isel\(time=0\)"),
        (("time", "band", "latitude", "longitude"), r"\.isel\(time=0, band=0\)"),
        (("row", "column"), r"use \.rename\(\)"),
    ],
)
def test_other_dimensions_are_refused_with_what_to_do(dims, advice) -> None:
    array = xr.DataArray(np.zeros((1,) * len(dims), np.float32), dims=dims)
    for refuses in (lambda: compare(array, array), lambda: delineate(array)):
        with pytest.raises(UsageError, match=rf"expected \('y', 'x'\); .*{advice}"):
            refuses()


def test_scalar_coordinates_stay_where_both_maps_agree() -> None:
    before = probability().assign_coords(band="landslide", orbit=53, time=np.datetime64("2017-03"))
    after = probability().assign_coords(band="landslide", orbit=96, time=np.datetime64("2018-03"))
    change = compare(before, after.assign_coords(platform="sentinel-2b"))
    assert set(change.coords) == {"y", "x", "spatial_ref", "band"}
    assert change.attrs["date_before"] == "2017-03-01T00:00:00Z"
    assert set(change["state"].coords) == {"y", "x", "spatial_ref", "band"}
    assert "time" in compare(before, before).coords
