"""Elevation models for tests: rasters of a made-up ground, whose height is known everywhere.

write_square(folder / "a.tif", west=-72.5, south=-43.4, height_of=hills)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    HeightOf = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]

SECOND = 1 / 3600


def hills(longitude: NDArray[Any], latitude: NDArray[Any]) -> NDArray[Any]:
    """Hills of 1 to 3 km, up to 40 degrees steep: a shift of half a pixel is metres."""
    return np.asarray(
        900
        + 150 * np.sin(np.deg2rad(longitude) * 19000 + 0.3)
        + 120 * np.cos(np.deg2rad(latitude) * 16000)
    )


def places(geobox: GeoBox) -> tuple[NDArray[Any], NDArray[Any]]:
    """Longitude and latitude of the centres of a grid's pixels."""
    rows, columns = np.mgrid[: geobox.shape[0], : geobox.shape[1]] + 0.5
    to = geobox.transform
    x, y = to.c + columns * to.a, to.f + rows * to.e
    found = Transformer.from_crs(geobox.crs.to_wkt(), 4326, always_xy=True).transform(x, y)
    return found[0], found[1]


def write_raster(
    path: Path,
    heights: NDArray[Any],
    transform: Affine,
    *,
    crs: Any = 4326,
    nodata: float | None = None,
    unit: str | None = None,
) -> Path:
    """Write heights (y, x) as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=heights.shape[0], width=heights.shape[1],
        dtype=heights.dtype, crs=crs, transform=transform, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(heights, 1)
        if unit is not None:
            file.units = [unit]
    return path


def write_square(
    path: Path,
    *,
    west: float,
    south: float,
    height_of: HeightOf = hills,
    edge: float = 0.05,
    pixel: tuple[float, float] = (SECOND, SECOND),
    **options: Any,
) -> Path:
    """Write a square of heights in degrees, its pixels centred on whole ones as Copernicus has."""
    width, height = pixel
    columns, rows = round(edge / width), round(edge / height)
    left, top = west - width / 2, south + edge + height / 2
    longitude = left + (np.arange(columns) + 0.5) * width
    latitude = top - (np.arange(rows) + 0.5) * height
    wrapped = (longitude + 180) % 360 - 180
    heights = height_of(wrapped[None, :], latitude[:, None]) + np.zeros((rows, columns))
    transform = Affine(width, 0, left, 0, -height, top)
    return write_raster(path, heights.astype(np.float32), transform, **options)


def write_item(
    path: Path, raster: Path, *, collection: str = "cop-dem-glo-30", name: str | None = None
) -> Path:
    """Write the STAC item of a raster of heights in degrees."""
    with rasterio.open(raster) as file:
        west, south, east, north = file.bounds
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    content = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name or raster.stem,
        "collection": collection,
        "properties": {"datetime": "2021-04-22T00:00:00Z"},
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "bbox": [west, south, east, north],
        "links": [],
        "assets": {"data": {"href": str(raster), "roles": ["data"]}},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
