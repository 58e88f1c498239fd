"""Maps become whole objects with every promised column, whatever the block cut."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import rasterio.features
import rioxarray  # noqa: F401  # registers the .rio accessor
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pandas.testing import assert_frame_equal
from scipy import ndimage

from lspipe.change.compare import compare
from lspipe.change.inventory import Provenance, delineate
from lspipe.errors import UsageError
from lspipe.schema import CODE_NODATA, INVENTORY_COLUMNS, dequantise
from tests.properties import examples

if TYPE_CHECKING:
    import geopandas as gpd

CODES = st.sampled_from([0, 0, 0, 4000, 9000, 9000, 6000, CODE_NODATA])
# Every pixel is drawn: left to itself, hypothesis fills most of an array with one value.
PAIRS = hnp.arrays(np.uint16, (2, 9, 8), elements=CODES, fill=st.nothing())
WHO = Provenance(
    tile="18GYS",
    date_before=datetime(2017, 2, 1, 14, 30, tzinfo=UTC),
    date_after=datetime(2018, 2, 1, 14, 30, tzinfo=UTC),
    model_id="bare-ground",
    model_sha256="ab" * 32,
    items_before=("S2A_1", "S2A_2"),
    items_after=("S2B_1",),
)
PLACE_COLUMNS = ["n_px", "area_m2", "length_m", "width_m", "lon", "lat", "geometry"]


def dataarray(values: np.ndarray, epsg: int = 32719) -> xr.DataArray:
    height, width = values.shape
    axes = {"y": 5_190_035.0 - 10 * np.arange(height), "x": 700_005.0 + 10 * np.arange(width)}
    return xr.DataArray(values, dims=("y", "x"), coords=axes).rio.write_crs(epsg)


def changes(pair: np.ndarray, **rules: object) -> xr.Dataset:
    return compare(*(dataarray(np.ascontiguousarray(codes)) for codes in pair), **rules)


def burn(found: gpd.GeoDataFrame, like: xr.DataArray) -> np.ndarray:
    """How many objects hold each pixel."""
    counts = np.zeros(like.shape, int)
    for geometry in found.geometry:
        grid = like.rio.transform()
        counts += rasterio.features.rasterize([geometry], like.shape, transform=grid)
    return counts


@examples(50)
@given(PAIRS, st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_the_inventory_does_not_depend_on_blocks(pair, block) -> None:
    change = changes(pair)
    assert_frame_equal(delineate(change, block=block), delineate(change))


@examples(30)
@given(PAIRS, st.sampled_from([4, 8]))
def test_every_pixel_above_the_threshold_is_in_exactly_one_object(pair, connectivity) -> None:
    change = changes(pair)
    found = delineate(change, connectivity=connectivity)
    above = ((pair > 5000) & (pair != CODE_NODATA)).any(axis=0)
    np.testing.assert_array_equal(burn(found, change["after"]), above)
    assert found["n_px"].sum() == above.sum()
    assert found.geometry.is_valid.all()


@examples(30)
@given(PAIRS)
def test_swapping_the_dates_turns_new_and_grown_into_vanished_and_keeps_the_rest(pair) -> None:
    forward, backward = delineate(changes(pair)), delineate(changes(pair[::-1]))
    for side in (forward, backward):
        side["status"] = side["status"].replace({"grown": "new"})
    backward["status"] = backward["status"].replace({"new": "vanished", "vanished": "new"})
    backward["gain_mean"] *= -1
    key = ["status", "lon", "lat", "n_px"]
    names = [*PLACE_COLUMNS[:-1], "status", "probability_mean", "gain_mean", "confidence"]
    sides = (forward, backward)
    tables = [pd.DataFrame(side)[names].sort_values(key, ignore_index=True) for side in sides]
    assert_frame_equal(*tables)


@examples(30)
@given(PAIRS, st.sampled_from(["hysteresis", "subtract"]))
def test_a_map_and_itself_list_nothing_new(pair, method) -> None:
    found = delineate(changes(pair[[0, 0]], method=method))
    assert set(found["status"]) <= {"persistent"}


@examples(30)
@given(PAIRS)
def test_codes_floats_and_lazy_maps_give_the_same_objects(pair) -> None:
    maps = [dataarray(dequantise(codes)) for codes in pair]
    expected = delineate(changes(pair))
    assert_frame_equal(delineate(compare(*maps)), expected)
    lazy = compare(*(da.chunk(y=4, x=3) for da in maps))
    assert_frame_equal(delineate(lazy), expected)


def test_all_columns_are_there_in_order_and_filled() -> None:
    before, after = np.zeros((2, 8, 9), np.uint16)
    after[2:5, 3:7] = 8000
    after[3, 4] = 6000
    before[2:5, 3] = 1000
    before[1, 1] = CODE_NODATA
    before[1, 3] = CODE_NODATA
    found = delineate(changes(np.stack([before, after])), provenance=WHO)
    assert tuple(found.columns) == (*INVENTORY_COLUMNS, "tile_edge")
    assert found.crs.to_epsg() == 32719
    row = found.iloc[0]
    assert row["id"] == "18GYS_20180201_new_700030_5190020"
    assert (row["tile"], row["status"], row["n_px"]) == ("18GYS", "new", 12)
    assert row["date_before"] == row["event_date_min"] == WHO.date_before
    assert row["date_after"] == row["event_date_max"] == WHO.date_after
    assert row["probability_mean"] == pytest.approx((11 * 0.8 + 0.6) / 12)
    assert row["probability_max"] == 0.8
    assert row["gain_mean"] == pytest.approx((11 * 0.8 + 0.6 - 3 * 0.1) / 12)
    assert row["undetermined_fraction"] == pytest.approx(1 / 30)
    independent = (8 * 0.8 + 3 * 0.8 * 0.9 + 0.6) / 12
    assert row["confidence"] == pytest.approx(independent * 29 / 30)
    assert (row["length_m"], row["width_m"], row["perimeter_m"]) == (40, 30, 140)
    assert row["area_m2"] == pytest.approx(1200, rel=2e-3)
    assert row["utm_epsg"] == 32719
    assert (row["items_before"], row["items_after"]) == ("S2A_1,S2A_2", "S2B_1")
    assert (row["model_id"], row["model_sha256"]) == ("bare-ground", "ab" * 32)
    assert row["reviewed"] is pd.NA
    assert not row["tile_edge"]


def test_an_empty_inventory_has_the_same_types() -> None:
    full = np.zeros((2, 8, 9), np.uint16)
    full[1, 2:5, 3:7] = 8000
    some = delineate(changes(full), provenance=WHO)
    none = delineate(changes(full * 0), provenance=WHO)
    assert len(none) == 0
    assert none.dtypes.to_dict() == some.dtypes.to_dict()
    assert none.crs == some.crs


def test_event_dates_bracket_what_the_dates_can_tell() -> None:
    before, after = np.zeros((2, 5, 20), np.uint16)
    after[1:4, 1:4] = 9000  # new
    before[1:4, 6:9] = after[1:4, 6:9] = 9000  # persistent
    before[1:4, 11:14] = 9000  # vanished
    before[1:4, 16:19] = CODE_NODATA
    after[1:4, 16:19] = 9000  # undetermined
    found = delineate(changes(np.stack([before, after])), provenance=WHO).set_index("status")
    assert found["event_date_min"].notna().to_dict() == {
        "new": True,
        "persistent": False,
        "undetermined": False,
        "vanished": False,
    }
    old, late = WHO.date_before, WHO.date_after
    expected = {"new": late, "persistent": old, "undetermined": late, "vanished": old}
    assert found["event_date_max"].to_dict() == expected
    assert found.loc["undetermined", "confidence"] < found["confidence"].drop("undetermined").min()
    assert np.isnan(found.loc["undetermined", "gain_mean"])


def test_the_id_is_of_the_first_pixel_and_not_of_the_corner_of_the_box() -> None:
    codes = np.zeros((2, 8, 9), np.uint16)
    # An L around a pixel: the box of one begins where the other lies.
    codes[1, 2:6, 5], codes[1, 5, 2:5], codes[1, 2, 2] = 9000, 9000, 9000
    found = delineate(changes(codes), provenance=WHO)
    assert sorted(found["id"]) == [
        "18GYS_20180201_new_700020_5190020",
        "18GYS_20180201_new_700050_5190020",
    ]


def test_a_later_date_that_was_given_first_is_no_earlier_bound_of_an_event() -> None:
    codes = np.zeros((2, 8, 9), np.uint16)
    codes[1, 2:6, 2:6] = 9000
    who = Provenance(date_before=WHO.date_after, date_after=WHO.date_before)
    (row,) = delineate(changes(codes), provenance=who).to_dict("records")
    assert row["status"] == "new"
    assert pd.isna(row["event_date_min"])
    assert row["event_date_max"] == WHO.date_before


def test_a_map_of_one_date_lists_detections_above_its_threshold() -> None:
    values = np.zeros((6, 6), np.float32)
    values[1, 1:3], values[4, 4], values[4, 1] = 0.9, 0.6, np.nan
    one = dataarray(values)
    found = delineate(one, provenance=Provenance(tile="18GYS", date_after="2018-02-01T14:30:00Z"))
    assert found["status"].tolist() == ["detected", "detected"]
    assert found["id"].str.startswith("18GYS_20180201_detected_").all()
    assert found["gain_mean"].isna().all()
    assert found["date_before"].isna().all()
    assert len(delineate(one, threshold=0.7)) == 1
    assert len(delineate(one.assign_attrs(threshold=0.7))) == 1
    dated = one.assign_coords(time=np.datetime64("2018-02-01T14:30:00", "ns"))
    assert delineate(dated)["date_after"].iloc[0] == pd.Timestamp("2018-02-01T14:30:00Z")


def test_the_smallest_area_counts_whole_objects() -> None:
    codes = np.zeros((2, 12, 12), np.uint16)
    codes[1, 1:4, 1:4] = 9000  # 9 pixels
    codes[1, 6, 1:9] = 9000  # 8 pixels
    least = delineate(changes(codes))["area_m2"].max()
    assert delineate(changes(codes), min_area_m2=least)["n_px"].tolist() == [9]
    assert delineate(changes(codes), min_area_m2=least - 50, block=2)["n_px"].tolist() == [9]
    assert len(delineate(changes(codes), min_area_m2=1e6)) == 0


def test_connectivity_decides_about_corner_contacts() -> None:
    codes = np.zeros((2, 6, 6), np.uint16)
    codes[1, 1, 1] = codes[1, 2, 2] = 9000
    whole = delineate(changes(codes))
    assert whole["n_px"].tolist() == [2]
    assert whole.geometry.iloc[0].geom_type == "MultiPolygon"
    assert delineate(changes(codes), connectivity=4)["n_px"].tolist() == [1, 1]


def test_objects_cut_by_the_map_or_the_area_are_flagged() -> None:
    codes = np.zeros((2, 8, 12), np.uint16)
    codes[1, 0:2, 1:3] = codes[1, 4:6, 4:6] = codes[1, 4:6, 9:11] = 9000
    area = np.ones((8, 12), bool)
    area[:, 11] = False
    found = delineate(changes(codes), area=area).sort_values("lon")
    assert found["tile_edge"].tolist() == [True, False, False]
    assert found["aoi_edge"].tolist() == [False, False, True]


@examples(25)
@given(
    PAIRS,
    hnp.arrays(bool, (9, 8), elements=st.sampled_from([False, *[True] * 15]), fill=st.nothing()),
)
def test_flags_and_gaps_are_those_of_the_pixels_and_their_neighbours(pair, area) -> None:
    change = changes(pair)
    unseen = (pair == CODE_NODATA).any(axis=0)
    found = delineate(change, area=area)
    for number, row in enumerate(found.to_dict("records")):
        pixels = burn(found.iloc[[number]], change["after"]) > 0
        near = ndimage.binary_dilation(pixels, np.ones((3, 3)))
        assert row["undetermined_fraction"] == pytest.approx(unseen[near].mean())
        assert row["aoi_edge"] == (not area[near].all())
        within = np.zeros_like(pixels)
        within[1:-1, 1:-1] = True
        assert row["tile_edge"] == bool((pixels & ~within).any())


def test_rows_are_numbered_in_the_order_of_their_ids() -> None:
    codes = np.zeros((2, 8, 12), np.uint16)
    codes[1, 1, 9] = codes[1, 4, 1] = codes[1, 6, 5] = 9000
    found = delineate(changes(codes), provenance=WHO)
    assert found["id"].is_monotonic_increasing
    assert found["lat"].argmax() == 2, "not in the order of the pixels"
    assert found.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("place", "is_cut"),
    [
        (np.s_[0:2, 3:5], True), (np.s_[6:8, 3:5], True), (np.s_[3:5, 0:2], True),
        (np.s_[3:5, 10:12], True), (np.s_[1:3, 1:3], False), (np.s_[5:7, 9:11], False),
    ],
)  # fmt: skip
def test_every_edge_of_a_map_cuts(place, is_cut) -> None:
    codes = np.zeros((2, 8, 12), np.uint16)
    codes[1][place] = 9000
    assert delineate(changes(codes))["tile_edge"].tolist() == [is_cut]


def test_the_smallest_area_is_geodesic_and_not_of_the_grid() -> None:
    codes = np.zeros((2, 12, 12), np.uint16)
    codes[1, 1:4, 1:4] = 9000
    (area,) = delineate(changes(codes))["area_m2"]
    assert area != 900
    for least, count in ((area - 0.01, 1), (area, 1), (area + 0.01, 0)):
        assert len(delineate(changes(codes), min_area_m2=least)) == count


def test_a_slice_of_a_map_keeps_its_place() -> None:
    codes = np.zeros((2, 8, 12), np.uint16)
    codes[1, 4:6, 4:6] = 9000
    whole = changes(codes)
    part = delineate(whole.isel(y=slice(2, 8), x=slice(3, 12)))
    assert_frame_equal(part, delineate(whole))
    # A file says where its first pixel lies, and a slice of it still says so.
    stored = whole["after"].rio.write_transform()
    assert_frame_equal(delineate(stored[2:, 3:]), delineate(stored))


def test_maps_that_cannot_be_listed_are_refused() -> None:
    good = dataarray(np.zeros((4, 5), np.uint16))
    refused = {
        "has no CRS": good.drop_vars("spatial_ref"),
        r"dimensions \('time', 'y', 'x'\)": good.expand_dims("time"),
        "expected north up": good.isel(y=slice(None, None, -1)),
        "holds 7": good.astype(np.float32) + 7,
        "no before, state, threshold, tolerance_px": good.to_dataset(name="after"),
    }
    for message, bad in refused.items():
        with pytest.raises(UsageError, match=message):
            delineate(bad)
    geographic = good.assign_coords(y=45 - 1e-4 * np.arange(4), x=10 + 1e-4 * np.arange(5))
    with pytest.raises(UsageError, match="expected a projected CRS in metres"):
        delineate(geographic.rio.write_crs(4326))
    with pytest.raises(UsageError, match=r"to lspipe\.compare instead"):
        delineate(changes(np.zeros((2, 4, 5), np.uint16)), threshold=0.4)
