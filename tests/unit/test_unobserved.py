"""What was not observed is outlined, with date and reason."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox

from lspipe.change.unobserved import unobserved
from lspipe.schema import Quality
from lspipe.schema.columns import UNOBSERVED
from lspipe.schema.maps import LEFT_OUT, NOT_NEEDED, reasons

GRID = GeoBox((6, 8), Affine(10, 0, 500_000, 0, -10, 4_400_000), "EPSG:32633")


def test_each_date_and_reason_has_its_row() -> None:
    before, after = np.zeros((2, 6, 8), np.uint8)
    before[0, :3] = Quality.CLOUD | Quality.DILATED
    before[1, :2] = Quality.DILATED
    before[5, 7] = Quality.OUTSIDE | Quality.NODATA
    after[4:, :] = Quality.NODATA | Quality.READ_ERROR
    after[0, 0] = 255
    days = {"before": "2017-02-01T14:30:00Z", "after": "2018-02-01T14:30:00Z"}
    found = unobserved({"before": before, "after": after}, geobox=GRID, tile="33T", acquired=days)
    assert tuple(found.columns) == tuple(UNOBSERVED)
    assert found.crs.to_epsg() == 4326
    keys = found[["tile", "date", "reason"]].to_numpy().tolist()
    assert keys == [
        ["33T", "before", "cloud"],
        ["33T", "before", "dilated"],
        ["33T", "after", "read_error"],
        ["33T", "after", "not_processed"],
    ]
    areas = found["area_m2"].to_numpy() * 0.9996**2
    np.testing.assert_allclose(areas, [300, 200, 1600, 100], rtol=1e-5)
    assert found["acquired"].dt.year.tolist() == [2017, 2017, 2018, 2018]


# Every pixel is drawn: left to itself, hypothesis fills most of an array with one value.
BITS = st.sampled_from([0, 1, 4, 36, 64, 68, 128, 255])


@given(hnp.arrays(np.uint8, (6, 8), elements=BITS, fill=st.nothing()))
def test_the_rows_of_a_date_cover_what_was_not_observed_inside_the_area(bits) -> None:
    area = np.ones((6, 8), bool)
    area[:, 6:] = False
    found = unobserved({"after": bits}, geobox=GRID, area=area)
    missing = (bits == 255) | ((bits & ~np.uint8(Quality.READ_ERROR) > 0) & (bits & 64 == 0))
    expected = 100.0 * np.count_nonzero(missing & area)
    assert found.to_crs(32633).area.sum() == pytest.approx(expected, abs=1e-3)
    assert found.geometry.is_valid.all()


def test_a_failed_read_that_another_item_made_good_is_observed() -> None:
    assert reasons(np.array([[Quality.READ_ERROR]], np.uint8)).tolist() == [[0]]


def test_what_was_not_processed_has_the_value_that_is_said() -> None:
    bits = np.array([[0, 200, Quality.CLOUD]], np.uint8)
    assert reasons(bits, not_processed=200).tolist() == [[0, 8, 3]]
    small = GeoBox((1, 3), GRID.affine, GRID.crs)
    found = unobserved({"after": bits}, geobox=small, not_processed=200)
    assert found["reason"].tolist() == ["cloud", "not_processed"]


@given(hnp.arrays(np.uint8, (5, 5), elements=st.integers(0, 255), fill=st.nothing()))
def test_of_several_reasons_the_first_counts_and_none_outside(bits) -> None:
    # In the order of `NAMES`; 255 is what the run has not come to, 66 what it leaves out, 96
    # what is not needed.
    order = ["READ_ERROR", "NODATA", "CLOUD", "SHADOW", "SNOW", "DILATED", "OTHER"]
    expected = np.zeros(bits.shape, int)
    for pixel in np.ndindex(bits.shape):
        bit = Quality(int(bits[pixel]))
        set_ = [number for number, name in enumerate(order, start=1) if Quality[name] & bit]
        if bits[pixel] == 255:
            expected[pixel] = 8
        elif bits[pixel] in (LEFT_OUT, NOT_NEEDED):
            expected[pixel] = 9 if bits[pixel] == LEFT_OUT else 10
        elif set_ and bit != Quality.READ_ERROR and not bit & Quality.OUTSIDE:
            expected[pixel] = set_[0]
    np.testing.assert_array_equal(reasons(bits), expected)
