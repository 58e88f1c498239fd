"""The spline of two passes is the one on the surface, but for a grid that is turned a little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lspipe.cube.spline import STRIP, sampled

SHAPE = (90, 90)


def turned(by: float):
    """A grid whose columns move so many pixels of the lattice to the right in one down.

    Rows and columns of its pixels, and where its columns cross the rows of the lattice.
    """
    y, x = np.mgrid[: 2 * STRIP + 9, :110] / 3.0
    top, left = (20 - 30 * min(axis, 0) for axis in (-by, by))
    rows, columns = top + y - by * x, left + x + by * y
    down = (np.arange(SHAPE[0])[:, None] - top + by * x[:1]) * by
    return rows, columns, left + x[:1] + down


def on_the_surface(pixels, rows, columns):
    return ndimage.map_coordinates(pixels.astype(float), [rows, columns], order=3, mode="mirror")


@pytest.fixture
def noise():
    """Metres, at a height where float32 has steps of a quarter of a millimetre."""
    return np.random.default_rng(1).normal(4000, 1, SHAPE).astype(np.float32)


def test_along_the_same_axes_it_is_the_spline_on_the_surface(noise) -> None:
    rows, columns, crossings = turned(0)
    found = sampled(noise, crossings, rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, on_the_surface(noise, rows, columns), rtol=0, atol=3e-4)


@pytest.mark.parametrize("by", [0.05, -0.12])
def test_on_a_grid_that_is_turned_it_is_off_by_less_than_the_noise(noise, by) -> None:
    rows, columns, crossings = turned(by)
    off = sampled(noise, crossings, rows) - on_the_surface(noise, rows, columns)
    assert off.std() < 0.65 * abs(by)
    # One place to the side would be off by the noise itself.
    assert (sampled(noise, crossings + 1, rows) - on_the_surface(noise, rows, columns)).std() > 0.9


def test_hills_are_what_they_are_whatever_the_grid() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]

    def hills(y, x):
        return 1000 + 50 * np.sin(x / 3) * np.cos(y / 4)

    pixels = hills(y, x).astype(np.float32)
    for by in (0, 0.1, -0.2):
        rows, columns, crossings = turned(by)
        np.testing.assert_allclose(
            sampled(pixels, crossings, rows), hills(rows, columns), rtol=0, atol=0.06
        )


def test_at_a_pixel_it_is_the_pixel(noise) -> None:
    columns = np.tile(np.arange(20.0, 60.0), (SHAPE[0], 1))
    rows = np.tile(np.arange(20.0, 50.0)[:, None], (1, 40))
    np.testing.assert_allclose(
        sampled(noise, columns, rows), noise[20:50, 20:60], rtol=0, atol=3e-4
    )
