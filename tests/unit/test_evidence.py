"""The pictures beside a detection: what each reflectance becomes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lspipe.cube.evidence import ndvi, true_colour
from lspipe.schema import CUBE_NODATA


def pixel(value):
    return np.array([[value]], dtype=np.int16)


@pytest.mark.parametrize(
    ("reflectance", "shown"),
    [
        # Reflectance x 1e4; 1..255 is 0..0.3, and 0 stays for no data.
        (-999, 1),
        (0, 1),
        (11, 1),
        (12, 2),  # 12 * 254 / 3000 = 1.02
        (1500, 128),
        (2999, 254),
        (3000, 255),
        (31767, 255),
        (CUBE_NODATA, 0),
    ],
)
def test_true_colour_stretches_0_to_03_and_keeps_0_for_no_data(reflectance, shown):
    bands = dict.fromkeys(("B04", "B03", "B02"), pixel(reflectance))
    picture = true_colour(bands)
    assert (picture.dtype, picture.shape) == (np.uint8, (3, 1, 1))
    assert picture.ravel().tolist() == [shown] * 3


def test_true_colour_is_red_green_blue_and_black_where_any_band_is_missing():
    bands = {
        "B02": np.array([[300, CUBE_NODATA]], np.int16),
        "B03": np.array([[600, 600]], np.int16),
        "B04": np.array([[900, 900]], np.int16),
        "B08": np.array([[CUBE_NODATA, 900]], np.int16),
    }
    picture = true_colour(bands)
    assert picture[:, 0, 0].tolist() == [77, 51, 26]
    assert picture[:, 0, 1].tolist() == [0, 0, 0]


def test_true_colour_of_every_code_is_its_reflectance_stretched():
    codes = np.arange(-(2**15) + 1, 2**15, dtype=np.int64)
    # A part of a larger array, as the core of a block is.
    band = np.repeat(codes.astype(np.int16), 2)[None, ::2]
    picture = true_colour(dict.fromkeys(("B04", "B03", "B02"), band))
    np.testing.assert_array_equal(picture[0, 0], 1 + codes.clip(0, 3000) * 254 // 3000)


@pytest.mark.parametrize(
    ("red", "near", "expected"),
    [
        (300, 3500, 8421),  # forest
        (1400, 2000, 1765),  # soil
        (400, 200, -3333),  # water
        (0, 2000, 10000),
        (2000, 0, -10000),
        # Noise below zero counts as zero, so the index stays within -1..1.
        (-50, 2000, 10000),
        (2000, -999, -10000),
        (0, 0, CUBE_NODATA),
        (-5, -5, CUBE_NODATA),
        (CUBE_NODATA, 2000, CUBE_NODATA),
        (2000, CUBE_NODATA, CUBE_NODATA),
        (31767, 31767, 0),
    ],
)
def test_ndvi_table(red, near, expected):
    found = ndvi(pixel(red), pixel(near))
    assert found.dtype == np.int16
    assert int(found[0, 0]) == expected


REFLECTANCE = arrays.arrays(
    np.int16, (3, 5), elements=st.one_of(st.just(CUBE_NODATA), st.integers(-999, 31767))
)


@given(red=REFLECTANCE, near=REFLECTANCE)
def test_ndvi_is_within_its_range_and_changes_sign_when_the_bands_are_swapped(red, near):
    found, swapped = ndvi(red, near), ndvi(near, red)
    missing = found == CUBE_NODATA
    assert ((found >= -10000) & (found <= 10000) | missing).all()
    np.testing.assert_array_equal(swapped[~missing], -found[~missing])
    assert (missing == (swapped == CUBE_NODATA)).all()
    assert missing[(red == CUBE_NODATA) | (near == CUBE_NODATA)].all()
