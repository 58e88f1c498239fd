"""A map is moved by a shift, pixel by pixel the same however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from lspipe.change import moving
from lspipe.change.moving import moved
from lspipe.change.registration import Shift
from lspipe.schema import CODE_NODATA

hundredths = st.integers(-400, 400).map(lambda number: number / 100)


def by(dx, dy):
    return Shift(dx_px=dx, dy_px=dy, spread_px=0.1, windows=9)


def codes(shape=(23, 31), *, hidden=0.1, seed=0):
    random = np.random.default_rng(seed)
    found = random.integers(0, 10001, shape).astype(np.uint16)
    found[random.random(shape) < hidden] = CODE_NODATA
    return found


def by_scipy(values, shift):
    """Bilinear, and which pixels come from hidden ones: a second implementation."""
    offset = (-shift.dy_px, -shift.dx_px)
    options = {"order": 1, "mode": "constant", "prefilter": False}
    hidden = values == CODE_NODATA
    smooth = ndimage.shift(np.where(hidden, 0, values).astype(float), offset, cval=0, **options)
    touched = ndimage.shift(hidden.astype(float), offset, cval=1, **options) > 1e-9
    # SciPy does not mix the outermost pixels with what lies outside, as it is not observed here.
    rows, columns = np.indices(values.shape)
    for place, length, step in zip(
        (rows, columns), values.shape, (-offset[0], -offset[1]), strict=True
    ):
        at = np.round(place + step, 6)
        touched |= (at < 0) | (at > length - 1)
    return smooth, touched


@given(dx=hundredths, dy=hundredths, seed=st.integers(0, 99))
def test_a_moved_map_is_bilinear_and_hidden_where_any_source_is(dx, dy, seed):
    values = codes(seed=seed)
    found = moved(values, by(dx, dy))
    smooth, hidden = by_scipy(values, by(dx, dy))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found == CODE_NODATA, hidden)
    np.testing.assert_allclose(found[~hidden], smooth[~hidden], atol=0.51)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (-2, 1), (0, -1)])
def test_whole_pixels_are_copied(dx, dy):
    values = codes()
    expected = np.full_like(values, CODE_NODATA)
    for row, column in np.ndindex(values.shape):
        at = row + dy, column + dx
        if 0 <= at[0] < values.shape[0] and 0 <= at[1] < values.shape[1]:
            expected[row, column] = values[at]
    np.testing.assert_array_equal(moved(values, by(dx, dy)), expected)


@given(dx=hundredths, dy=hundredths, strip=st.integers(1, 30))
def test_strips_never_change_a_pixel(dx, dy, strip):
    values = codes()
    whole = moved(values, by(dx, dy))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "STRIP", strip)
        np.testing.assert_array_equal(moved(values, by(dx, dy)), whole)


def test_one_hidden_pixel_hides_the_four_that_are_made_of_it():
    values = np.full((9, 9), 5000, np.uint16)
    values[4, 4] = CODE_NODATA
    found = moved(values, by(0.5, 0.5))[:-1, :-1]
    rows, columns = np.nonzero(found == CODE_NODATA)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (3, 3),
        (3, 4),
        (4, 3),
        (4, 4),
    }
    # Moved along one axis, it hides two.
    assert (moved(values, by(0.5, 0))[:, :-1] == CODE_NODATA).sum() == 2


def test_a_map_smaller_than_its_shift_shows_nothing():
    assert (moved(np.zeros((2, 3), np.uint16), by(7, -9)) == CODE_NODATA).all()
