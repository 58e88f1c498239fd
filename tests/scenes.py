"""Simulated Sentinel-2 scenes for tests: real COGs in a folder, and the STAC item of them.

    item = make_scene(tmp_path, time="2018-01-15T14:37:51Z", clouds=((60, 80, 9),))

A scene is a function of place: `values(band, rows, columns)` gives the reflectance at pixel centres
(in pixels of 10 m from the tile's corner), so 10 m and 20 m bands of one scene agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pystac
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import box, mapping

if TYPE_CHECKING:
    from pathlib import Path

Values = Callable[[str, NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

RESOLUTION = {
    "B02": 10, "B03": 10, "B04": 10, "B08": 10,
    "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B11": 20, "B12": 20, "SCL": 20,
    "B01": 60, "B09": 60, "B10": 60,
}  # fmt: skip
COMMON_NAMES = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1",
    "B06": "rededge2", "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09",
    "B10": "cirrus", "B11": "swir16", "B12": "swir22", "SCL": "scl",
}  # fmt: skip


@dataclass(frozen=True)
class TileGrid:
    """Corner (upper left) and CRS of a real MGRS tile."""

    name: str
    epsg: int
    left: float
    top: float


TILES = {
    tile.name: tile
    for tile in (
        TileGrid("18GYS", 32718, 699960, 5200000),
        TileGrid("18GYT", 32718, 699960, 5300020),
        TileGrid("19GBP", 32719, 199980, 5400040),
        TileGrid("32TPT", 32632, 600000, 5300040),
        # Not the tile's true corner: 180 degrees runs through column 146 of the test scenes.
        TileGrid("01KAB", 32701, 178920, 8129100),
    )
}


def rolling_hills(
    band: str, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Reflectance 0.02..0.4, smooth, different in every band, the same at every call."""
    seed = sum(map(ord, band))
    waves = np.sin(rows / 7 + seed) + np.cos(columns / 11 - seed) + np.sin((rows + columns) / 23)
    return 0.2 + 0.06 * waves


def make_scene(
    folder: Path,
    *,
    tile: str = "18GYS",
    time: str = "2018-01-15T14:37:51Z",
    name: str | None = None,
    size: int | tuple[int, int] = 240,
    bands: Sequence[str] = ("B02", "B03", "B04", "B08", "B11"),
    values: Values = rolling_hills,
    baseline: str | None = "02.06",
    offset: float | None = None,
    clouds: Sequence[tuple[int, int, int]] = (),
    scl: int | NDArray[np.uint8] | None = 4,
    wedge: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]] | None = None,
    keys: Literal["common", "bands"] = "common",
    declare_nodata: bool = True,
    collection: str = "sentinel-2-c1-l2a",
    properties: Mapping[str, Any] | None = None,
) -> pystac.Item:
    """Write the COGs of one scene and return its item, hrefs absolute.

    Args:
        folder: the files go into a folder of the item's name in it.
        tile: a name of `TILES`: corner and CRS.
        time: when it was acquired, RFC 3339 with Z.
        name: of the item; by default made of tile and date, as Earth Search does.
        size: edge, or (rows, columns), pixels of 10 m, even.
        bands: which assets there are.
        values: reflectance by place.
        baseline: processing baseline in the item; None = not said.
        offset: reflectance offset of the pixels, and in the item; None = by baseline, as ESA does.
        clouds: (row, column, radius) of discs of scene class 9 and reflectance 0.9, 10 m pixels.
        scl: scene class elsewhere, or all classes (20 m); None = no such asset.
        wedge: (rows, columns) at 10 m -> True where the swath does not reach.
        keys: asset keys of Earth Search ("red") or of ESA ("B04").
        declare_nodata: whether the files say that 0 is no data.
        collection: of the item.
        properties: further properties of the item.
    """
    grid = TILES[tile]
    shape = (size, size) if isinstance(size, int) else size
    name = name or f"S2A_{tile}_{time[:10].replace('-', '')}_0_L2A"
    if offset is None:
        offset = -0.1 if baseline is not None and float(baseline) >= 4 else 0.0
    item = _item(
        grid,
        name=name,
        time=time,
        shape=shape,
        baseline=baseline,
        collection=collection,
        properties=dict(properties or {}),
    )
    for band in (*bands, *(() if scl is None else ("SCL",))):
        factor = RESOLUTION[band] // 10
        rows, columns = _centres(shape, factor)
        under_cloud = _discs(rows, columns, clouds)
        if band == "SCL":
            pixels = np.broadcast_to(np.uint8(scl), rows.shape).copy()
            pixels[under_cloud] = 9
        else:
            reflectance = np.where(under_cloud, 0.9, values(band, rows, columns))
            numbers = np.rint((reflectance - offset) * 10000)
            pixels = np.clip(numbers, 1, 65533).astype(np.uint16)
        if wedge is not None:
            pixels[wedge(rows, columns)] = 0
        affine = Affine(10 * factor, 0, grid.left, 0, -10 * factor, grid.top)
        path = folder / name / f"{band}.tif"
        write_cog(path, pixels, affine, grid.epsg, nodata=0 if declare_nodata else None)
        key = COMMON_NAMES[band] if keys == "common" else band
        item.add_asset(key, _asset(path, band, pixels.shape, affine, offset))
    return item


def write_cog(
    path: Path, pixels: NDArray[Any], affine: Affine, epsg: int | None, *, nodata: float | None
) -> None:
    """Write one band (y, x) as a cloud-optimised GeoTIFF of small blocks.

    One too small for overviews is stored alike by the plain driver, in a third of the time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    has_overviews = max(pixels.shape) > 512
    plain = {"driver": "GTiff", "tiled": True, "blockxsize": 128, "blockysize": 128}
    with rasterio.open(
        path,
        "w",
        **({"driver": "COG", "blocksize": 128} if has_overviews else plain),
        height=pixels.shape[0],
        width=pixels.shape[1],
        count=1,
        dtype=pixels.dtype,
        crs=None if epsg is None else f"EPSG:{epsg}",
        transform=affine,
        nodata=nodata,
        compress="deflate",
    ) as file:
        file.write(pixels, 1)


def left_of(column: float) -> Callable[..., NDArray[np.bool_]]:
    """Return a wedge that covers everything left of a column (10 m), slightly slanted."""
    return lambda rows, columns: columns + 0.1 * rows < column


def right_of(column: float) -> Callable[..., NDArray[np.bool_]]:
    """Return the wedge that is complementary to `left_of`."""
    return lambda rows, columns: columns + 0.1 * rows >= column


def _centres(
    shape: tuple[int, int], factor: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return row and column of the pixel centres, in pixels of 10 m."""
    rows, columns = (np.arange(-(-length // factor)) * factor + factor / 2 for length in shape)
    rows, columns = np.meshgrid(rows, columns, indexing="ij")
    return rows, columns


def _discs(
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    discs: Sequence[tuple[int, int, int]],
) -> NDArray[np.bool_]:
    inside = np.zeros(rows.shape, bool)
    for row, column, radius in discs:
        inside |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    return inside


def _item(
    grid: TileGrid,
    *,
    name: str,
    time: str,
    shape: tuple[int, int],
    baseline: str | None,
    collection: str,
    properties: dict[str, Any],
) -> pystac.Item:
    right, bottom = grid.left + 10 * shape[1], grid.top - 10 * shape[0]
    to_degrees = Transformer.from_crs(grid.epsg, 4326, always_xy=True).transform
    footprint = shapely.transform(
        box(grid.left, bottom, right, grid.top), to_degrees, interleaved=False
    )
    facts: dict[str, Any] = {
        "datetime": time,
        "platform": "sentinel-2a",
        "constellation": "sentinel-2",
        "proj:epsg": grid.epsg,
        "grid:code": f"MGRS-{grid.name}",
        "eo:cloud_cover": 10.0,
    }
    if baseline is not None:
        facts["s2:processing_baseline"] = baseline
    document = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": collection,
        "geometry": mapping(footprint),
        "bbox": list(footprint.bounds),
        "properties": {**facts, **properties},
        "assets": {},
        "links": [],
    }
    return pystac.Item.from_dict(document)


def _asset(
    path: Path, band: str, shape: tuple[int, ...], affine: Affine, offset: float
) -> pystac.Asset:
    fields: dict[str, Any] = {"proj:shape": list(shape), "proj:transform": list(affine)[:6]}
    if band != "SCL":
        fields["raster:bands"] = [
            {"data_type": "uint16", "nodata": 0, "scale": 0.0001, "offset": offset}
        ]
    return pystac.Asset(
        str(path),
        media_type=pystac.MediaType.COG,
        roles=["data"],
        extra_fields=fields,
    )
