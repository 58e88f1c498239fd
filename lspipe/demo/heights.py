"""The relief of the landscape to a DEM and its STAC item, as Copernicus GLO-30 has them.

One arc second in longitude and latitude, pixels centred on whole seconds, heights above the geoid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer
from scipy import ndimage

from lspipe.demo.files import write_cog, write_json
from lspipe.demo.grid import EPSG, NORTH, SHAPE, WEST
from lspipe.demo.landscape import PIXEL_M

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CRS = "EPSG:9518"
"""Longitude and latitude (WGS 84), heights above EGM2008."""

SECOND = 1 / 3600

AROUND_SECONDS = 10
"""How far the file goes beyond the landscape: slope at the edge of a tile needs heights behind."""

BEYOND_PX = 100
"""Ground that is made up around the landscape, pixels of 10 m: what is around it in degrees, which
are turned by one degree against UTM here."""

BLUR_PX = 1.3
"""A pixel of 30 m is a mean: the standard deviation of a bell of that width, pixels of 10 m."""

ERROR_M = 0.4
"""Noise of the heights, standard deviation. GLO-30 is better than 2 m from pixel to pixel."""


COLLECTION = "cop-dem-glo-30"

NAME = "DEM_SIMULATED_S43_30"


def write_dem(folder: Path, elevation: NDArray[np.float32], *, seed: int) -> None:
    """Write the heights of the landscape and a little around it as a GeoTIFF, float32 metres.

    Args:
        folder: gets `dem.tif` and `items/ID.json`.
        elevation: (y, x) metres, on the landscape's grid (`grid.SHAPE`).
        seed: of the noise.
    """
    longitude, latitude = _centres()
    heights = _at(elevation, *np.meshgrid(longitude, latitude))
    heights += ERROR_M * np.random.default_rng(seed).standard_normal(heights.shape)
    corner = longitude[0] - SECOND / 2, latitude[0] + SECOND / 2
    transform = Affine(SECOND, 0, corner[0], 0, -SECOND, corner[1])
    # Centimetres: what is finer is noise, and makes the file larger.
    rounded = np.round(heights, 2).astype(np.float32)
    write_cog(folder / "dem.tif", rounded, transform, crs=CRS, nodata=None)
    write_json(folder / "items" / f"{NAME}.json", _describe(rounded.shape, transform))


def _describe(shape: tuple[int, ...], transform: Affine) -> dict[str, Any]:
    """STAC item of the DEM, as JSON values."""
    rows, columns = shape
    left, top = transform.c, transform.f
    footprint = shapely.box(left, top - rows * SECOND, left + columns * SECOND, top)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": NAME,
        "collection": COLLECTION,
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": "2021-04-22T00:00:00Z",
            "description": "Simulated by lspipe for its demo; no product of Copernicus.",
            "gsd": 30,
            "proj:epsg": 4326,
            "proj:shape": list(shape),
            "proj:transform": list(transform)[:6],
        },
        "links": [],
        "assets": {
            "data": {
                "href": "../dem.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
            }
        },
    }


def _centres() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitudes from west to east, and latitudes from north to south, whole arc seconds."""
    rows, columns = SHAPE
    east, south = WEST + columns * PIXEL_M, NORTH - rows * PIXEL_M
    corners = Transformer.from_crs(EPSG, 4326, always_xy=True).transform_bounds(
        WEST, south, east, NORTH
    )
    west, south, east, north = (degrees / SECOND for degrees in corners)
    longitude = np.arange(np.floor(west) - AROUND_SECONDS, np.ceil(east) + AROUND_SECONDS + 1)
    latitude = np.arange(np.floor(south) - AROUND_SECONDS, np.ceil(north) + AROUND_SECONDS + 1)
    return longitude * SECOND, latitude[::-1] * SECOND


def _at(
    elevation: NDArray[np.float32], longitude: NDArray[np.float64], latitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Heights at places; beyond the landscape its slopes go on as they came."""
    wide = np.pad(elevation.astype(np.float64), BEYOND_PX, mode="reflect", reflect_type="odd")
    wide = ndimage.gaussian_filter(wide, BLUR_PX)
    x, y = Transformer.from_crs(4326, EPSG, always_xy=True).transform(longitude, latitude)
    row = (NORTH - y) / PIXEL_M - 0.5 + BEYOND_PX
    column = (x - WEST) / PIXEL_M - 0.5 + BEYOND_PX
    return np.asarray(ndimage.map_coordinates(wide, [row, column], order=1, mode="nearest"))
