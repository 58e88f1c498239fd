"""Slope and curvature are what their formulas say, and what gdaldem computes."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage

from lspipe.cube import banded
from lspipe.cube.surface import STRIP, curvature, reach, slope, smoothed
from tests.ground import write_raster

CENTRE = (0, 0)


def grid(length: float, half: int = 1):
    """Coordinates of pixels, metres: x east, y north, row 1 the northernmost."""
    y, x = length * np.mgrid[half : -half - 1 : -1, -half : half + 1].astype(np.float64)
    return x, y


@pytest.mark.parametrize(
    ("heights", "pixel_m", "degrees"),
    [
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], 10, 17.5484),
        ([[50, 45, 50], [30, 30, 30], [8, 10, 10]], 5, 75.2577),
        ([[7, 7, 7], [7, 7, 7], [7, 7, 7]], 10, 0.0),
    ],
)
def test_slope_is_that_of_horn(heights, pixel_m, degrees) -> None:
    found = slope(np.array(heights, np.float32), pixel_m)
    assert found.shape == (1, 1)
    assert found[CENTRE] == pytest.approx(degrees, abs=5e-5)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.0), (0.0, -1.2), (0.4, 0.9), (-2.5, 0.1)])
def test_a_plane_is_as_steep_as_its_gradient(a, b) -> None:
    x, y = grid(10, 4)
    found = slope((a * x + b * y).astype(np.float32), 10)
    np.testing.assert_allclose(found, np.rad2deg(np.arctan(np.hypot(a, b))), atol=1e-4)


@pytest.mark.parametrize(
    ("height_of", "total", "profile", "plan"),
    [
        (lambda x, y: 0.001 * (x**2 + y**2) + 0.3 * x, -0.4, 0.2, -0.2),
        (lambda x, y: -0.001 * x**2 + 0.2 * y, 0.2, 0.0, 0.2),
        (lambda x, y: -0.001 * x**2 + 0.2 * x + 0 * y, 0.2, -0.2, 0.0),
        (lambda x, y: 0.001 * x * y + 0.2 * x + 0.1 * y, 0.0, 0.08, 0.08),
        (lambda x, y: -0.002 * x**2 + 0 * y, 0.4, 0.0, 0.0),
    ],
)
def test_curvature_has_the_sign_and_the_scale_of_esri(height_of, total, profile, plan) -> None:
    heights = height_of(*grid(10)).astype(np.float64)
    found = [curvature(heights, 10, kind)[CENTRE] for kind in ("total", "profile", "plan")]
    np.testing.assert_allclose(found, [total, profile, plan], atol=1e-6)


def test_total_curvature_is_plan_minus_profile() -> None:
    heights = np.random.default_rng(1).normal(500, 3, (12, 15))
    total, profile, plan = (curvature(heights, 10, kind) for kind in ("total", "profile", "plan"))
    np.testing.assert_allclose(total, plan - profile, atol=1e-3)


@pytest.mark.parametrize("kind", ["total", "profile", "plan"])
def test_curvature_does_not_depend_on_the_strips_it_is_worked_out_in(kind) -> None:
    heights = np.random.default_rng(3).normal(100, 9, (2 * STRIP + 9, 20))
    whole = curvature(heights, 10, kind)
    for top in (0, STRIP - 1, STRIP, 2 * STRIP + 6):
        np.testing.assert_array_equal(curvature(heights[top : top + 3], 10, kind)[0], whole[top])


def test_smoothing_keeps_the_curvature_of_a_paraboloid() -> None:
    x, y = grid(10, 14)
    bowl = (0.001 * (x**2 + y**2) + 0.3 * x).astype(np.float32)
    rim = reach(10)
    assert rim == 9
    smooth = smoothed(bowl, 10)
    assert smooth.shape == (29 - 2 * rim,) * 2
    middle = smooth[4:7, 4:7]
    assert [curvature(middle, 10, kind)[CENTRE] for kind in ("total", "profile", "plan")] == (
        pytest.approx([-0.4, 0.2, -0.2], abs=1e-4)
    )


def gaussian(heights, sigma_px: float):
    rim = reach(10)
    found = ndimage.gaussian_filter(heights.astype(np.float64), sigma_px, truncate=rim / sigma_px)
    return found[rim:-rim, rim:-rim]


@pytest.mark.parametrize("sigma_px", [3, 4.5])
@pytest.mark.parametrize("shape", [(54, 72), (41, 48)])
def test_smoothing_is_a_gaussian_whatever_strips_it_is_worked_out_in(shape, sigma_px) -> None:
    assert 54 - 2 * reach(10) == 2 * banded.STRIP
    heights = np.random.default_rng(4).normal(0, 300, shape).astype(np.float32) + 4000
    found = smoothed(heights, 10, 10 * sigma_px)
    assert found.dtype == np.float32
    lowest = heights.min()
    np.testing.assert_allclose(found, gaussian(heights, sigma_px) - lowest, rtol=0, atol=1e-3)


def test_smoothing_keeps_a_tenth_of_a_step_of_curvature_on_high_ground() -> None:
    y, x = np.mgrid[:90, :90]
    heights = (5000 + 400 * np.sin(x / 9) * np.cos(y / 7)).astype(np.float32)
    found = curvature(smoothed(heights, 10), 10)
    assert np.abs(found).max() > 5
    np.testing.assert_allclose(found, curvature(gaussian(heights, 3), 10), rtol=0, atol=1e-3)


def test_what_a_gaussian_takes_from_heights_that_are_not_known_is_not_known() -> None:
    heights = np.random.default_rng(5).normal(100, 9, (60, 70)).astype(np.float32)
    heights[30, 20] = heights[0, 69] = np.nan
    found = smoothed(heights, 10)
    expected = np.isnan(gaussian(heights, 3))
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(np.isnan(found), expected)
    assert np.isnan(smoothed(np.full((30, 30), np.nan, np.float32), 10)).all()


@pytest.mark.parametrize("at", [(i, j) for i in range(3) for j in range(3)])
def test_a_height_that_is_not_known_makes_all_of_its_window_not_known(at) -> None:
    heights = np.random.default_rng(2).normal(500, 3, (3, 3)).astype(np.float32)
    heights[at] = np.nan
    assert np.isnan(slope(heights, 10)[CENTRE])
    assert all(np.isnan(curvature(heights, 10, k)[CENTRE]) for k in ("total", "profile", "plan"))


def test_slope_equals_that_of_gdaldem(tmp_path) -> None:
    if shutil.which("gdaldem") is None:
        pytest.skip("no gdaldem here: apt-get install gdal-bin")
    random = np.random.default_rng(3)
    rough = random.normal(0, 40, (60, 70)).cumsum(0).cumsum(1) / 20 + 1500
    heights = rough.astype(np.float32)
    heights[20:22, 30] = -9999
    path = write_raster(
        tmp_path / "dem.tif", heights, Affine(10, 0, 6e5, 0, -10, 5e6), crs=32632, nodata=-9999
    )
    asked = ["gdaldem", "slope", "-q", path, tmp_path / "slope.tif"]
    subprocess.run(asked, check=True)
    with rasterio.open(tmp_path / "slope.tif") as file:
        theirs = file.read(1, masked=True).filled(np.nan)
    ours = slope(np.where(heights == -9999, np.nan, heights).astype(np.float32), 10)
    assert np.nanmax(ours) > 60
    np.testing.assert_allclose(ours, theirs[1:-1, 1:-1], atol=2e-3)
    assert np.isnan(ours).sum() == 12


def test_slope_equals_a_published_map_of_a_steep_place(real_data) -> None:
    with rasterio.open(real_data / "dem_jiuzhaigou" / "DEM_030.tif") as file:
        heights, to = file.read(1).astype(np.float32), file.transform
    with rasterio.open(real_data / "dem_jiuzhaigou" / "DEM_030_SLOPE.tif") as file:
        published = file.read(1)[1:-1, 1:-1]
    heights[heights <= 0] = np.nan
    # Its pixels are no squares: 29.997 x 30.002 m.
    found = slope(heights, (to.a - to.e) / 2)
    both = np.isfinite(found) & (published >= 0)
    assert both.sum() > 200_000
    assert found[both].mean() > 30
    np.testing.assert_allclose(found[both], published[both], atol=3e-3)
