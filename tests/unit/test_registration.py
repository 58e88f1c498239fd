"""The shift between two pictures is found to a fraction of a pixel, or said not to be known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lspipe.change.registration import Shift, estimate, places, window_shift

EDGE = 128
RIM = 32
"""Of the texture around a window, so that what moves in is not what moves out."""

shifts = st.tuples(*[st.integers(-250, 250).map(lambda hundredths: hundredths / 100)] * 2)


def texture(seed=0, *, edge=EDGE, grain=1.0):
    """Random ground of the brightness of a picture, with a rim around it."""
    noise = np.random.default_rng(seed).standard_normal((edge + 2 * RIM,) * 2)
    ground = ndimage.gaussian_filter(noise, grain, mode="wrap")
    return 100 + 20 * ground / ground.std()


def moved_by(ground, down, right):
    """Move whole waves: exact for any fraction of a pixel."""
    spectrum = ndimage.fourier_shift(np.fft.fft2(ground), (down, right))
    return np.fft.ifft2(spectrum).real


def window(ground):
    return ground[RIM:-RIM, RIM:-RIM].astype(np.float32)


def pair(down, right, **kind):
    ground = texture(**kind)
    return window(ground), window(moved_by(ground, down, right))


@settings(deadline=None, max_examples=25)
@given(shift=shifts, seed=st.integers(0, 1000), grain=st.sampled_from([0.7, 1.0, 2.0]))
def test_a_shift_is_found_to_a_twentieth_of_a_pixel(shift, seed, grain):
    before, after = pair(*shift, seed=seed, grain=grain)
    np.testing.assert_allclose(window_shift(before, after), shift, atol=0.05)


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -1), (3, -2), (-12, 9)])
def test_whole_pixels_are_found_also_where_they_are_many(shift):
    before, after = pair(*shift)
    np.testing.assert_allclose(window_shift(before, after), shift, atol=0.03)


@settings(deadline=None, max_examples=10)
@given(shift=shifts, seed=st.integers(0, 1000))
def test_exchanging_the_pictures_exchanges_the_sign(shift, seed):
    before, after = pair(*shift, seed=seed)
    there, back = window_shift(before, after), window_shift(after, before)
    np.testing.assert_allclose(there, np.negative(back), atol=1e-3)


def test_noise_haze_and_another_brightness_do_not_move_a_shift():
    before, after = pair(0.4, -1.6)
    random = np.random.default_rng(1)
    slope = np.linspace(0, 60, EDGE, dtype=np.float32)
    after = 0.5 * after + slope + random.normal(0, 3, after.shape).astype(np.float32)
    np.testing.assert_allclose(window_shift(before, after), (0.4, -1.6), atol=0.1)


def test_a_picture_of_whole_numbers_is_enough():
    before, after = (np.rint(np.clip(each, 1, 255)) for each in pair(0.4, -1.6))
    np.testing.assert_allclose(window_shift(before, after), (0.4, -1.6), atol=0.05)


def test_a_cloud_on_one_date_does_not_move_a_shift():
    before, after = pair(0.4, -1.6)
    rows, columns = np.ogrid[:EDGE, :EDGE]
    after[(rows - 50) ** 2 + (columns - 80) ** 2 < 30**2] = np.nan
    np.testing.assert_allclose(window_shift(before, after), (0.4, -1.6), atol=0.05)


@pytest.mark.parametrize(("grain", "within"), [(1, 0.02), (2, 0.15)])
def test_the_edge_of_the_area_which_stays_in_place_does_not_pull_a_shift_to_zero(grain, within):
    found = []
    rows, columns = np.ogrid[:EDGE, :EDGE]
    for seed in range(6):
        before, after = pair(0.4, -1.6, seed=seed, grain=grain)
        noise = np.random.default_rng(seed).normal(0, 2, (2, EDGE, EDGE)).astype(np.float32)
        noisy = np.stack([before, after]) + noise
        before, after = np.where(rows + columns < 95, np.nan, noisy)
        found.append(window_shift(before, after))
    np.testing.assert_allclose(np.median(found, axis=0), (0.4, -1.6), atol=within)


def test_a_window_full_of_edges_that_stay_in_place_tells_nothing():
    before, after = pair(0.4, -1.6, grain=2)
    rows, _ = np.indices(before.shape)
    for picture in (before, after):
        picture[rows % 20 < 4] = np.nan
    assert window_shift(before, after) is None


def half_hidden(picture):
    picture = picture.copy()
    picture[: EDGE // 2 + 1] = np.nan
    return picture


@pytest.mark.parametrize(
    "spoil",
    [
        lambda before, after: (np.full_like(before, 100), after),
        # A slope has no detail, and what rounding leaves of it is none either.
        lambda before, after: (before, np.broadcast_to(np.arange(EDGE), after.shape) / 3),
        lambda before, after: (half_hidden(before), after),
        lambda before, after: (before, half_hidden(after)),
        lambda before, after: (before, np.full_like(after, np.nan)),
        lambda before, _: (before, window(texture(99))),
        # Beyond what is looked for.
        lambda before, _: (before, pair(0, 40)[1]),
    ],
    ids=["flat", "a slope", "hidden before", "hidden after", "nothing", "elsewhere", "too far"],
)
def test_no_shift_is_made_up(spoil):
    before, after = spoil(*pair(0.4, -1.6))
    assert window_shift(before.astype(np.float32), after.astype(np.float32)) is None


# --- many windows -------------------------------------------------------------------------------


def windows(*wanted):
    return [pair(*shift, seed=number) for number, shift in enumerate(wanted)]


def test_one_window_that_is_wrong_does_not_move_a_tile():
    found = estimate(windows(*[(0.5, -1)] * 6, (9, 9)))
    assert (found.dx_px, found.dy_px) == pytest.approx((-1, 0.5), abs=0.02)
    assert (found.windows, found.spread_px) == (6, pytest.approx(0, abs=0.02))
    assert found.length_px == pytest.approx(np.hypot(0.5, 1), abs=0.03)


def test_the_spread_is_that_of_the_windows():
    rights = (-0.4, -0.2, 0, 0.2, 0.4)
    found = estimate(windows(*[(0, right) for right in rights]))
    assert (found.dx_px, found.dy_px) == pytest.approx((0, 0), abs=0.02)
    assert found.spread_px == pytest.approx(1.4826 * 0.2, abs=0.02)


def test_too_few_windows_tell_nothing():
    assert estimate([]) is None
    assert estimate(windows(*[(0, 1)] * 4)) is None
    assert estimate(windows(*[(0, 1)] * 5)) is not None


def test_windows_that_do_not_agree_tell_nothing():
    # Five agree, which would be enough, of eleven, whose median they are.
    others = [(0, right) for right in (-9, -7, -5, 7, 9, 11)]
    assert estimate(windows(*[(0, 1)] * 5, *others)) is None


def test_a_shift_seen_from_the_other_date_has_the_other_sign():
    shift = Shift(1.5, 0.0, 0.1, 9)
    assert shift.reversed() == Shift(-1.5, 0.0, 0.1, 9)
    assert str(shift.reversed().dy_px) == "0.0"


# --- where windows lie --------------------------------------------------------------------------


@settings(deadline=None)
@given(
    starts=st.tuples(*[st.integers(0, 5000)] * 2), lengths=st.tuples(*[st.integers(0, 11000)] * 2)
)
def test_windows_reach_from_edge_to_edge_of_an_area(starts, lengths):
    area = tuple(slice(a, a + n) for a, n in zip(starts, lengths, strict=True))
    found = places(area)
    assert len(found) <= 64
    if min(lengths) >= 256:
        assert len(found) >= 9
    for axis in (0, 1) if found else ():
        spans = {(place[axis].start, place[axis].stop) for place in found}
        assert min(spans)[0] == area[axis].start
        assert max(spans)[1] == area[axis].stop
        assert {stop - start for start, stop in spans} <= {128, 256, 512}


@pytest.mark.parametrize(
    ("length", "edge"), [(100, None), (255, None), (256, 128), (600, 256), (1024, 512)]
)
def test_windows_are_as_large_as_an_area_holds_enough_of(length, edge):
    found = places((slice(0, length), slice(0, length)))
    assert {place[0].stop - place[0].start for place in found} == ({edge} if edge else set())
