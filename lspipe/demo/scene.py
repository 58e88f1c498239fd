"""A landscape, a date and a sky to what Sentinel-2 would see: L2A reflectance per band, and SCL.

Light is Lambertian with a diffuse part, clouds are fractal with displaced shadows, the point spread
is a blur, 20 m bands are means of 2 x 2 pixels. Sensor noise and haze differ by scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lspipe.demo.landscape import PIXEL_M, Cover, noise, ramp
from lspipe.schema import SCL_CLASSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lspipe.demo.landscape import Landscape

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""Simulated bands, in the order of every spectrum below."""

FINE_BANDS = ("B02", "B03", "B04", "B08")
"""Bands of 10 m; the others, and SCL, are of 20 m."""

# Typical L2A reflectance per cover (rows in the order of `Cover`) and band, rounded by hand after
# published spectral libraries and common Sentinel-2 scenes; illustrative, not measured.
SPECTRA = np.array(
    [
        [0.022, 0.038, 0.024, 0.062, 0.18, 0.22, 0.235, 0.25, 0.115, 0.052],  # forest
        [0.035, 0.065, 0.045, 0.11, 0.26, 0.31, 0.33, 0.34, 0.21, 0.11],  # meadow
        [0.04, 0.065, 0.062, 0.11, 0.19, 0.22, 0.235, 0.25, 0.24, 0.145],  # heath
        [0.11, 0.125, 0.135, 0.142, 0.148, 0.153, 0.158, 0.162, 0.19, 0.17],  # rock
        [0.82, 0.82, 0.81, 0.80, 0.79, 0.78, 0.77, 0.75, 0.10, 0.09],  # snow
        [0.055, 0.065, 0.042, 0.03, 0.022, 0.02, 0.018, 0.016, 0.008, 0.006],  # water
        [0.14, 0.16, 0.175, 0.18, 0.185, 0.19, 0.195, 0.2, 0.21, 0.18],  # gravel
        [0.10, 0.115, 0.125, 0.135, 0.14, 0.145, 0.15, 0.155, 0.2, 0.18],  # road
        [0.03, 0.062, 0.035, 0.10, 0.33, 0.41, 0.44, 0.45, 0.2, 0.1],  # crop
        [0.07, 0.105, 0.135, 0.175, 0.22, 0.25, 0.275, 0.29, 0.33, 0.22],  # stubble
        [0.06, 0.08, 0.098, 0.118, 0.14, 0.155, 0.17, 0.185, 0.25, 0.20],  # soil
        [0.055, 0.075, 0.08, 0.115, 0.165, 0.195, 0.21, 0.225, 0.26, 0.18],  # logged
    ],
    np.float32,
)
# Fresh debris: mineral, so brighter than moist ploughed soil and flatter than stubble.
SCAR = np.array([0.1, 0.13, 0.165, 0.185, 0.195, 0.205, 0.215, 0.225, 0.3, 0.285], np.float32)
CLOUD = np.array([0.72, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77, 0.55, 0.45], np.float32)
HAZE = np.array([0.012, 0.009, 0.006, 0.005, 0.004, 0.003, 0.003, 0.003, 0.001, 0.001], np.float32)

# Contrast of the fixed texture per cover: crowns of a forest cast shadows, water and roads do not.
CONTRAST = np.array(
    [0.16, 0.07, 0.1, 0.13, 0.03, 0.03, 0.1, 0.04, 0.05, 0.06, 0.06, 0.14], np.float32
)

DIFFUSE = np.linspace(0.28, 0.12, len(BANDS), dtype=np.float32)
"""Share of diffuse light on level ground per band: more in the blue than in the infrared."""

CLOUD_BASE_M = 450.0
"""Height of the clouds over the ground, metres; sets how far their shadows fall."""


@dataclass(frozen=True, kw_only=True)
class Sky:
    """What differs between two acquisitions of one landscape, besides the landscape."""

    sun_azimuth: float = 58.0
    """Degrees, clockwise from north."""
    sun_elevation: float = 50.0
    """Degrees above the horizon."""
    cloud_share: float = 0.03
    """Share of the landscape under cloud."""
    clouds_over: tuple[tuple[float, float, float], ...] = ()
    """Further clouds: row, column and radius in pixels."""
    haze: float = 1.0
    """Path radiance over that of a clean summer sky."""
    shift_px: tuple[float, float] = (0.0, 0.0)
    """Misregistration along (y, x), pixels of 10 m."""


@dataclass(frozen=True)
class Scene:
    """One acquisition of the whole landscape."""

    bands: dict[str, NDArray[np.float32]]
    """Reflectance on each band's own grid, 10 or 20 m, (y, x)."""
    scl: NDArray[np.uint8]
    """Scene classes of 20 m."""


def see(landscape: Landscape, date: int, sky: Sky, *, seed: int) -> Scene:
    """Simulate one acquisition.

    Args:
        landscape: what lies on the ground; its rows and columns must be even.
        date: 0 before, 1 after.
        sky: sun, clouds, haze, misregistration.
        seed: of what is random about this acquisition: clouds, yearly growth and sensor noise.
    """
    streams = np.random.default_rng(seed).spawn(3)
    light = _light(landscape.elevation, sky)
    cloud = _clouds(light.shape, sky, streams[0])
    shadow = _shadow(cloud, sky)
    growth = 1 + 0.04 * noise(light.shape, streams[1], scale_px=90)
    bands = {}
    for index, name in enumerate(BANDS):
        diffuse = DIFFUSE[index]
        lit = diffuse + (1 - diffuse) * light * (1 - shadow)
        band = _ground(landscape, date, index) * growth * lit + HAZE[index] * sky.haze
        band = (1 - cloud) * band + cloud * CLOUD[index] * (1 + 0.04 * landscape.texture)
        # 0.6 px: a modulation of about 0.2 at the Nyquist frequency, as of the instrument.
        band = ndimage.gaussian_filter(band, 0.6)
        if any(sky.shift_px):
            band = ndimage.shift(band, sky.shift_px, order=1, mode="nearest")
        if name not in FINE_BANDS:
            band = _halve(band)
        sensor = 0.0012 + 0.008 * np.abs(band)
        bands[name] = (band + sensor * streams[2].standard_normal(band.shape)).astype(np.float32)
    return Scene(bands, _classes(landscape, date, light, cloud, shadow))


def _light(elevation: NDArray[np.float32], sky: Sky) -> NDArray[np.float32]:
    """Direct light on the slope over that on level ground, 0 where turned away from the sun."""
    azimuth, height = np.radians((sky.sun_azimuth, sky.sun_elevation))
    south, east = np.gradient(ndimage.gaussian_filter(elevation, 1), PIXEL_M)
    towards_sun = -east * np.sin(azimuth) + south * np.cos(azimuth)
    cosine = (towards_sun * np.cos(height) + np.sin(height)) / np.sqrt(1 + south**2 + east**2)
    return np.asarray(np.maximum(cosine, 0) / np.sin(height), np.float32)


def _ground(landscape: Landscape, date: int, index: int) -> NDArray[np.float32]:
    """Reflectance of one band under even light and no sky."""
    cover = landscape.covers[date]
    ground = SPECTRA[cover, index] * (1 + CONTRAST[cover] * landscape.texture)
    for slide in landscape.slides(date):
        debris = SCAR[index] * slide.brightness * (1 + 0.1 * landscape.texture[slide.window])
        if slide in landscape.old:
            # A few years of shrubs.
            debris = 0.85 * debris + 0.15 * SPECTRA[Cover.HEATH, index]
        ground[slide.window] += slide.share * (debris - ground[slide.window])
    return np.asarray(np.maximum(ground, 0), np.float32)


def _clouds(shape: tuple[int, ...], sky: Sky, rng: np.random.Generator) -> NDArray[np.float32]:
    """Opacity of the clouds, 0..1."""
    heap = noise((shape[0], shape[1]), rng, scale_px=45, smoothness=2.3)
    edge = float(np.quantile(heap, 1 - sky.cloud_share))
    opacity = ramp(heap, edge - 0.15, edge + 0.35) if sky.cloud_share else np.zeros_like(heap)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for row, column, radius in sky.clouds_over:
        inside = radius - np.hypot(y - row, x - column) + 3 * heap
        np.maximum(opacity, ramp(inside, -3, 4), out=opacity)
    return opacity


def _shadow(cloud: NDArray[np.float32], sky: Sky) -> NDArray[np.float32]:
    """Share of the direct light that the clouds take away, 0..1."""
    azimuth, height = np.radians((sky.sun_azimuth, sky.sun_elevation))
    reach = CLOUD_BASE_M / np.tan(height) / PIXEL_M
    away = (reach * np.cos(azimuth), -reach * np.sin(azimuth))
    shifted = ndimage.shift(cloud, away, order=1, mode="constant")
    return np.asarray(np.clip(0.9 * shifted, 0, 1), np.float32)


def _halve(fine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of 2 x 2 pixels."""
    rows, columns = fine.shape
    return np.asarray(fine.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3)))


def _classes(
    landscape: Landscape,
    date: int,
    light: NDArray[np.float32],
    cloud: NDArray[np.float32],
    shadow: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Scene classes of 20 m, as good as those of Sen2Cor on an easy day."""
    cover = landscape.covers[date][::2, ::2]
    bare = (Cover.ROCK, Cover.GRAVEL, Cover.ROAD, Cover.STUBBLE, Cover.SOIL)
    scl = np.where(np.isin(cover, bare), SCL_CLASSES["bare"], SCL_CLASSES["vegetation"])
    for slide in landscape.slides(date):
        rows, columns = np.nonzero(slide.pixels)
        scar = (rows + slide.window[0].start) // 2, (columns + slide.window[1].start) // 2
        scl[scar] = SCL_CLASSES["bare"]
    scl[_halve(light) < 0.15] = SCL_CLASSES["dark"]
    scl[cover == Cover.WATER] = SCL_CLASSES["water"]
    scl[cover == Cover.SNOW] = SCL_CLASSES["snow"]
    scl[_halve(shadow) > 0.25] = SCL_CLASSES["shadow"]
    opacity = _halve(cloud)
    for name, least in (("cirrus", 0.08), ("cloud_medium", 0.3), ("cloud_high", 0.6)):
        scl[opacity > least] = SCL_CLASSES[name]
    return scl.astype(np.uint8)
