"""Sentinel-1 for tests: RTC rasters of a made-up ground, and their STAC items.

add_slice(folder, time="2017-01-03T10:00:00Z", power=0.1, crs=32718, corner=(690000, 5210000))
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    PowerOf = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]

LOOKS = 4.4
"""Independent looks in a pixel of one date, as Sentinel-1 has."""


def speckled(power: NDArray[Any], seed: int) -> NDArray[np.float32]:
    """Power as a radar sees it once: times a gamma variate of mean 1."""
    rng = np.random.default_rng(seed)
    return np.asarray(power * rng.gamma(LOOKS, 1 / LOOKS, power.shape), np.float32)


def write_power(
    path: Path,
    power: NDArray[Any],
    *,
    corner: tuple[float, float],
    crs: Any,
    pixel: float = 10.0,
    nodata: float | None = -32768.0,
    dtype: str = "float32",
) -> Path:
    """Write (y, x) as Planetary Computer stores RTC: tiled, with overviews; NaN = no data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    filled = np.where(np.isnan(power), np.nan if nodata is None else nodata, power)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=power.shape[0], width=power.shape[1],
        dtype=dtype, crs=crs, nodata=nodata, tiled=True, blockxsize=128, blockysize=128,
        transform=Affine(pixel, 0, corner[0], 0, -pixel, corner[1]),
    ) as file:  # fmt: skip
        file.write(filled.astype(dtype), 1)
    return path


def places(
    shape: tuple[int, int], corner: tuple[float, float], pixel: float = 10.0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Easting and northing of the centres of pixels."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return corner[0] + columns * pixel, corner[1] - rows * pixel


def add_slice(
    folder: Path,
    *,
    time: str,
    power: NDArray[Any],
    crs: int,
    corner: tuple[float, float],
    name: str | None = None,
    asset: str = "vv",
    collection: str | None = "sentinel-1-rtc",
    properties: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    **raster: Any,
) -> Path:
    """Write a slice and its item into `items/radar`; returns the file of the item.

    Args:
        folder: of the archive: rasters go into `radar`, items into `items/radar`.
        time: of the acquisition.
        power: (y, x), linear; NaN = no data.
        crs: EPSG code.
        corner: easting and northing of the upper left one, metres.
        name: id of the item; None = of the time.
        asset: key of the asset.
        collection: of the item; None = it names none.
        properties: that replace the usual ones; None in it = left out.
        fields: more fields of the asset.
        raster: as of `write_power`.
    """
    facts: dict[str, Any] = {
        "datetime": time,
        "platform": "SENTINEL-1A",
        "constellation": "Sentinel-1",
        "sar:instrument_mode": "IW",
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "GRD",  # as Planetary Computer calls its RTC
        "sat:orbit_state": "descending",
        "sat:relative_orbit": 83,
        # Of an earlier processing, 20 m off: the file is right.
        "proj:transform": [10, 0, corner[0] + 20, 0, -10, corner[1] + 20],
        **(properties or {}),
    }
    stamp = time.replace("-", "").replace(":", "").rstrip("Z")
    letter = str(facts["platform"])[-1].upper()
    name = name or f"S1{letter}_IW_GRDH_1SDV_{stamp}_{facts['sat:relative_orbit']}_rtc"
    path = write_power(folder / "radar" / f"{name}.tif", power, crs=crs, corner=corner, **raster)
    content = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "properties": {key: value for key, value in facts.items() if value is not None},
        **_outline(path),
        "links": [],
        "assets": {asset: {"href": str(path), "roles": ["data"], **(fields or {})}},
    }
    if collection is None:
        del content["collection"]
    item = folder / "items" / "radar" / f"{name}.json"
    item.parent.mkdir(parents=True, exist_ok=True)
    item.write_text(json.dumps(content), encoding="utf-8")
    return item


def _outline(path: Path) -> dict[str, Any]:
    with rasterio.open(path) as file:
        left, bottom, right, top = file.bounds
        crs = file.crs
    corners = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    if crs is None:
        corners = [(-73, -44), (-72, -44), (-72, -43), (-73, -43), (-73, -44)]
    else:
        to = Transformer.from_crs(crs, 4326, always_xy=True)
        corners = [to.transform(x, y) for x, y in corners]
    first = corners[0][0]
    ring = [[x + 360 * round((first - x) / 360), y] for x, y in corners]
    west, east = min(x for x, _ in ring), max(x for x, _ in ring)
    south, north = min(y for _, y in ring), max(y for _, y in ring)
    return {
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [_wrapped(west), south, _wrapped(east), north],
    }


def _wrapped(longitude: float) -> float:
    return math.remainder(longitude, 360)


def decibels(power: Any) -> Any:
    """Linear power in dB."""
    return 10 * np.log10(power)
