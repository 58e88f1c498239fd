"""Files whose pixels nest in a grid: read without a warp, and equal to GDAL's warp to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile
from rasterio.warp import Resampling, reproject

from lspipe.cube.loaders.nested import Nesting, raised_twice, read_onto

LEFT, TOP = 699960.0, 5200000.0
"""Corner of a Sentinel-2 tile."""


def stored(seed, shape, *, gaps, high=12_000):
    """Digital numbers, a share of which has no data."""
    generator = np.random.default_rng(seed)
    numbers = generator.integers(1, high, shape, np.uint16)
    numbers[generator.random(shape) < gaps] = 0
    return numbers


def grid_at(row, column, rows, columns, *, metres=10):
    affine = Affine(metres, 0, LEFT + 10 * column, 0, -metres, TOP - 10 * row)
    return GeoBox((rows, columns), affine, "EPSG:32718")


def opened(memory, numbers, metres, *, shift=0.0):
    with memory.open(
        driver="GTiff", height=numbers.shape[0], width=numbers.shape[1], count=1,
        dtype=numbers.dtype, crs="EPSG:32718",
        transform=Affine(metres, 0, LEFT + shift, 0, -metres, TOP),
    ) as file:  # fmt: skip
        file.write(numbers, 1)
    return memory.open()


def warped(file, grid, resampling):
    """What GDAL makes of a file; where it does not reach, 0."""
    found = np.zeros(tuple(grid.shape), np.uint16)
    reproject(
        rasterio.band(file, 1),
        found,
        src_nodata=0,
        dst_nodata=0,
        dst_transform=grid.affine,
        dst_crs=file.crs,
        resampling=Resampling[resampling],
    )
    return found


@given(
    seed=st.integers(0, 99),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    metres=st.sampled_from([10, 20, 60]),
    gaps=st.sampled_from([0, 0.02, 0.3, 1]),
    corner=st.tuples(st.integers(-9, 90), st.integers(-9, 90)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    resampling=st.sampled_from(["nearest", "bilinear"]),
)
def test_numbers_are_those_of_gdals_warp_wherever_the_grid_begins(
    seed, shape, metres, gaps, *, corner, size, resampling
):
    grid = grid_at(*corner, *size)
    out = np.full(size, 7, np.uint16)
    with MemoryFile() as memory, opened(memory, stored(seed, shape, gaps=gaps), metres) as file:
        is_read = read_onto(grid, file, resampling=resampling, out=out)
        assert is_read == (metres < 60 or resampling == "nearest")
        if is_read:
            np.testing.assert_array_equal(out, warped(file, grid, resampling))
        else:
            assert (out == 7).all()


@pytest.mark.parametrize("gaps", [0, 0.02])
@pytest.mark.parametrize("corner", [(2, 2), (3, 2), (2, 3), (5, 7)])
def test_inside_a_file_a_half_is_rounded_up_with_gaps_and_without(corner, gaps):
    # Nothing around a grid is missing here, where the sum is shifted and not divided.
    grid = grid_at(*corner, 300, 100)
    out = np.empty((300, 100), np.uint16)
    with MemoryFile() as memory, opened(memory, stored(2, (160, 60), gaps=gaps), 20) as file:
        assert read_onto(grid, file, resampling="bilinear", out=out)
        np.testing.assert_array_equal(out, warped(file, grid, "bilinear"))


def test_a_block_taller_than_a_strip_is_raised_without_a_seam():
    numbers = stored(1, (400, 30), gaps=0.01)
    grid = grid_at(3, 5, 790, 50)
    out = np.empty((790, 50), np.uint16)
    with MemoryFile() as memory, opened(memory, numbers, 20) as file:
        assert read_onto(grid, file, resampling="bilinear", out=out)
        np.testing.assert_array_equal(out, warped(file, grid, "bilinear"))


def test_the_largest_numbers_are_raised_without_running_over():
    numbers = np.full((6, 6), 65535, np.uint16)
    np.testing.assert_array_equal(raised_twice(numbers), np.full((8, 8), 65535))
    numbers[2, 2] = 0
    raised = raised_twice(numbers)
    assert set(np.unique(raised)) == {0, 65535}
    assert (raised[2:4, 2:4] == 0).all()


def test_8_bits_are_read_as_they_are():
    classes = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    out = np.empty((6, 8), np.uint16)
    with MemoryFile() as memory, opened(memory, classes, 20) as file:
        assert read_onto(grid_at(0, 0, 6, 8), file, resampling="nearest", out=out)
    np.testing.assert_array_equal(out, classes.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(("metres", "shift"), [(20, 5), (20, 0.001), (15, 0), (5, 0), (10.0001, 0)])
def test_pixels_that_do_not_nest_are_left_to_a_warp(metres, shift):
    out = np.full((8, 8), 7, np.uint16)
    with (
        MemoryFile() as memory,
        opened(memory, stored(0, (9, 9), gaps=0), metres, shift=shift) as f,
    ):
        assert Nesting.of(f, grid_at(0, 0, 8, 8)) is None
        assert not read_onto(grid_at(0, 0, 8, 8), f, resampling="nearest", out=out)
    assert (out == 7).all()


def test_a_file_that_is_not_north_up_is_left_to_a_warp():
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=5, width=5, count=1, dtype="uint16", crs="EPSG:32718",
            transform=Affine(10, 0, LEFT, 0, 10, TOP - 50),
        ) as file:  # fmt: skip
            file.write(stored(0, (5, 5), gaps=0), 1)
        with memory.open() as file:
            assert Nesting.of(file, grid_at(0, 0, 5, 5)) is None
