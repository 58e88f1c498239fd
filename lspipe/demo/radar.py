"""A landscape to the scenes of Sentinel-1 that the archive holds: COGs and STAC items of RTC.

Terrain-corrected gamma0 in linear power as Planetary Computer's `sentinel-1-rtc` has it: float32
in UTM, pixels of 10 m that begin anywhere, -32768 where nothing was seen. Two orbits, on each of
them three dates before and three after.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer
from scipy import ndimage

from lspipe.demo.backscatter import Look, mean_power, speckled
from lspipe.demo.files import write_cog, write_json
from lspipe.demo.grid import CRS, EPSG, NORTH, WEST
from lspipe.demo.landscape import PIXEL_M

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.demo.landscape import Landscape

COLLECTION = "sentinel-1-rtc"

NODATA = -32768.0

REPEAT = timedelta(days=12)
"""One satellite sees a place from the same orbit again."""

DATES = 3
"""Acquisitions on each side."""

FIRST = {
    Look("descending", 83, 282.0): ("2021-01-20T10:01:12+00:00", "2022-01-27T10:01:18+00:00"),
    Look("ascending", 135, 78.0): ("2021-01-23T23:29:40+00:00", "2022-01-30T23:29:46+00:00"),
}
"""First acquisition of each side, by orbit."""

AROUND_PX = 16
"""How far a scene goes beyond the landscape, pixels."""

OFFSET_M = {"descending": (6.3, 3.8), "ascending": (1.7, 8.2)}
"""Where its pixels begin, metres east and south of those of the optical scenes."""

KEPT_BITS = 6
"""Of each number: a step of 1 %, far below speckle, so that files are small."""


def write_radar(folder: Path, landscape: Landscape, *, seed: int) -> None:
    """Write COGs and items of every acquisition.

    Args:
        folder: gets `items/ID.json` and `assets/ID/vv.tif`.
        landscape: what lies on the ground.
        seed: of speckle and of how wet the ground is.
    """
    for number, (look, sides) in enumerate(FIRST.items()):
        for date, first in enumerate(sides):
            power = _on_grid(mean_power(landscape, date, look), look)
            for count in range(DATES):
                rng = np.random.default_rng((seed, 1, number, date, count))
                # Wet ground is brighter: 0.3 dB from date to date.
                seen = speckled(power, rng) * np.float32(10 ** rng.normal(0, 0.03))
                _write_item(folder, look, datetime.fromisoformat(first) + count * REPEAT, seen)


def _on_grid(power: NDArray[np.float32], look: Look) -> NDArray[np.float32]:
    """Resample to the pixels of the radar, which cover the landscape and a little around it."""
    wide = np.pad(power, AROUND_PX, mode="reflect")
    east, south = (metres / PIXEL_M for metres in OFFSET_M[look.state])
    # A linear mean of four pixels, unknown where one of them is.
    moved = ndimage.shift(wide, (-south, -east), order=1, mode="nearest", prefilter=False)
    return np.asarray(moved[:-1, :-1], np.float32)


def _transform(look: Look) -> Affine:
    east, south = OFFSET_M[look.state]
    left, top = WEST - AROUND_PX * PIXEL_M + east, NORTH + AROUND_PX * PIXEL_M - south
    return Affine(PIXEL_M, 0, left, 0, -PIXEL_M, top)


def _write_item(folder: Path, look: Look, time: datetime, power: NDArray[np.float32]) -> None:
    name = f"S1A_SIMULATED_RTC_{time:%Y%m%dT%H%M%S}_{look.relative_orbit:03d}"
    pixels = np.where(np.isnan(power), np.float32(NODATA), _rounded(power))
    path = folder / "assets" / name / "vv.tif"
    write_cog(path, pixels, _transform(look), crs=CRS, nodata=NODATA, has_overviews=False)
    item = _describe(name, look, time, (pixels.shape[0], pixels.shape[1]))
    write_json(folder / "items" / f"{name}.json", item)


def _rounded(power: NDArray[np.float32]) -> NDArray[np.float32]:
    mantissa, exponent = np.frexp(power)
    kept = np.round(mantissa * 2**KEPT_BITS) / 2**KEPT_BITS
    return np.asarray(np.ldexp(kept, exponent), np.float32)


def _describe(name: str, look: Look, time: datetime, shape: tuple[int, int]) -> dict[str, Any]:
    """STAC item of one acquisition, as JSON values."""
    transform, said = _transform(look), f"{time:%Y-%m-%dT%H:%M:%SZ}"
    footprint = _footprint(shape, transform)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/sar/v1.0.0/schema.json",
            "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": COLLECTION,
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": said,
            "start_datetime": said,
            "end_datetime": said,
            "description": "Simulated by lspipe for its demo; no product of ESA.",
            "platform": "SENTINEL-1A",
            "constellation": "Sentinel-1",
            "sat:orbit_state": look.state,
            "sat:relative_orbit": look.relative_orbit,
            "sar:product_type": "GRD",  # as Planetary Computer calls its RTC
            "sar:instrument_mode": "IW",
            "sar:frequency_band": "C",
            "sar:polarizations": ["VV"],
            "sar:observation_direction": "right",
            "s1:product_timeliness": "Fast-24h",
            "proj:epsg": EPSG,
            "proj:shape": list(shape),
            "proj:transform": list(transform)[:6],
        },
        "links": [],
        "assets": {
            "vv": {
                "href": f"../assets/{name}/vv.tif",
                "title": "VV: gamma0, terrain corrected, linear power",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "raster:bands": [{"nodata": NODATA, "data_type": "float32"}],
            }
        },
    }


def _footprint(shape: tuple[int, int], transform: Affine) -> shapely.Polygon:
    """Outline of a scene, longitude and latitude."""
    rows, columns = shape
    left, top = transform.c, transform.f
    box = shapely.box(left, top - rows * PIXEL_M, left + columns * PIXEL_M, top)
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    corners = to_degrees.transform(*np.asarray(box.exterior.coords).T)
    outline = shapely.Polygon(np.round(np.stack(corners, axis=1), 7))
    return shapely.geometry.polygon.orient(outline)
