"""The maps of a tile -> small pictures of both dates in Web Mercator, and their gaps.

A map of the web stretches a picture between its four corners in Mercator's projection: in degrees,
the middle of a tile of 110 km would lie 250 m off.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import shapely
from PIL import Image
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.features import shapes as traced
from rasterio.transform import from_bounds
from rasterio.warp import reproject, transform_bounds

from lspipe.errors import StoreError
from lspipe.outputs.report.outlines import Bounds  # noqa: TC001  # dataclasses read it
from lspipe.schema.maps import is_clear

if TYPE_CHECKING:
    from collections.abc import Iterator

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

    from lspipe.outputs import Run
    from lspipe.schema import Part

PIXELS = 10_000_000
"""Of all pictures of a report together: a few MB."""

LARGEST = 1600
"""Pixels along the longer edge of a picture."""

_OUTSIDE = 64
"""Bit of the quality: outside the area of interest."""

GAMMA = 0.65
"""Lightens the dark: a forest reflects 3 % of red light, and the brightest stored pixel 30 %."""


@dataclass(frozen=True)
class Picture:
    """One tile on one date."""

    tile: str
    role: str
    """`before` or `after`."""
    day: str
    bounds: Bounds
    image: str
    """Address that holds the image itself (data:)."""
    gaps: shapely.Geometry
    """Where the tile was not observed, degrees, along the pixels of the picture; empty = nowhere,
    or not known."""
    metres: int
    """Edge of a pixel."""


def pictures_of(run: Run) -> list[Picture]:
    """Return the pictures of a run; those of tiles that nothing was computed of are left out."""
    gaps = _gaps(run)
    tiles = {tile: maps for tile in run.tiles if (maps := opened(run, tile)) is not None}
    edge = _edge(2 * len(tiles))
    return [
        picture
        for tile, maps in tiles.items()
        for picture in _pictures(run, tile, maps, gaps, edge=edge)
    ]


def steps_of(run: Run, tile: str) -> dict[str, int]:
    """Return the step of each date that is shown: the last one before, the first one after."""
    found: dict[str, int] = {}
    for index, step in enumerate(run.record["tiles"][tile]["steps"]):
        if step["role"] == "before" or step["role"] not in found:
            found[step["role"]] = index
    return found


def lightened(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return true colour (..., band) as a person sees it best; 0 stays 0."""
    table = np.rint(255 * (np.arange(256) / 255) ** GAMMA).astype(np.uint8)
    return table[pixels]


def webp(pixels: NDArray[np.uint8], *, quality: int) -> bytes:
    """Return an image (y, x, band) as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", method=3, quality=quality)
    return buffer.getvalue()


def data_uri(pixels: NDArray[np.uint8], *, quality: int) -> str:
    """Return an image (y, x, band) as an address that holds it."""
    return "data:image/webp;base64," + base64.b64encode(webp(pixels, quality=quality)).decode()


def opened(run: Run, tile: str) -> xr.Dataset | None:
    """Return the maps of a tile; None where the run has no pictures of it."""
    if tile not in run.tiles:
        return None
    try:
        maps = run[tile]
    except StoreError:
        return None
    return maps if "true_colour" in maps else None


def _gaps(run: Run) -> gpd.GeoDataFrame | None:
    try:
        return run.unobserved
    except StoreError:
        return None


def _edge(pictures: int) -> int:
    return min(LARGEST, math.isqrt(PIXELS // max(1, pictures)))


def _pictures(
    run: Run, tile: str, maps: xr.Dataset, gaps: gpd.GeoDataFrame | None, *, edge: int
) -> Iterator[Picture]:
    steps = run.record["tiles"][tile]["steps"]
    for role, index in steps_of(run, tile).items():
        part = _part(maps["quality"].isel(time=index))
        if part is None:
            continue
        colours = maps["true_colour"].isel(time=index, y=part[0], x=part[1])
        factor = max(1, math.ceil(max(colours.sizes["y"], colours.sizes["x"]) / edge))
        image, frame = _turned(colours, factor)
        rows = None if gaps is None else gaps[_is_of(gaps, tile, role)].geometry
        yield Picture(
            tile,
            role,
            steps[index]["time"][:10],
            frame.bounds,
            data_uri(image, quality=80),
            shapely.MultiPolygon() if rows is None else gaps_on(frame, rows),
            round(factor * abs(float(colours.rio.resolution()[0]))),
        )


@dataclass(frozen=True)
class Frame:
    """Where a picture lies: a grid in Web Mercator, turned so that its tile is in the middle."""

    lon: float
    """Of the middle, degrees: no date line is near."""
    box: Bounds
    """West, south, east, north, metres."""
    shape: tuple[int, int]
    """Rows and columns."""

    @property
    def crs(self) -> str:
        """The projection: a sphere of 6378137 m, on latitudes of WGS 84 as they are."""
        return _mercator(self.lon)

    @property
    def transform(self) -> Any:
        """Pixel corners to metres."""
        return from_bounds(*self.box, self.shape[1], self.shape[0])

    @property
    def bounds(self) -> Bounds:
        """West, south, east, north, degrees; east may be beyond 180."""
        west, south, east, north = self.in_degrees(np.reshape(self.box, (2, 2))).ravel()
        return float(west), float(south), float(east), float(north)

    def in_degrees(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return metres (n, 2) as degrees, which go on where the date line is."""
        there = Transformer.from_crs(self.crs, 4326, always_xy=True)
        lon, lat = there.transform(*corners.T)
        return np.column_stack([self.lon + (np.asarray(lon) - self.lon + 180) % 360 - 180, lat])


def _mercator(lon: float) -> str:
    """Return Web Mercator (EPSG:3857) with another meridian in its middle.

    `nadgrids=@null` takes degrees of the ellipsoid for those of the sphere, as EPSG:3857 does.
    """
    return (
        f"+proj=merc +a=6378137 +b=6378137 +lon_0={lon} +units=m +nadgrids=@null +no_defs +type=crs"
    )


def _part(quality: xr.DataArray) -> Part | None:
    """Return the smallest part of a tile with all pixels that were computed; None = no pixel."""
    values = quality.to_numpy()
    # Of a pixel that is not processed all bits are set.
    is_there = ((values & _OUTSIDE) == 0) | is_clear(values)
    if not is_there.any():
        return None
    spans = [np.flatnonzero(is_there.any(axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return rows, columns


def _turned(colours: xr.DataArray, factor: int) -> tuple[NDArray[np.uint8], Frame]:
    """Return a picture (y, x, RGBA), `factor` times smaller, and where it lies; transparent = none.

    As many rows as there were, and pixels that are square.
    """
    small = shrunk(colours, factor)
    rows, columns = small.shape[1:]
    origin = colours.rio.transform(recalc=True) * rasterio.Affine.scale(factor)
    crs = colours.rio.crs
    box = rasterio.transform.array_bounds(rows, columns, origin)
    middle = Transformer.from_crs(crs, 4326, always_xy=True).transform(
        (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    )
    lon = round(middle[0], 3)
    turned_box = transform_bounds(crs, _mercator(lon), *box)
    step = (turned_box[3] - turned_box[1]) / rows
    frame = Frame(lon, turned_box, (rows, max(1, round((turned_box[2] - turned_box[0]) / step))))
    turned = np.zeros((4, *frame.shape), np.uint8)
    reproject(
        small, turned, src_transform=origin, src_crs=crs, dst_crs=frame.crs,
        dst_transform=frame.transform,
        resampling=Resampling.nearest if factor == 1 else Resampling.bilinear,
    )  # fmt: skip
    turned[3] = np.where(turned[3] > 127, 255, 0)
    turned[:3] = lightened(turned[:3]) * (turned[3] > 0)
    return np.ascontiguousarray(np.moveaxis(turned, 0, -1)), frame


def gaps_on(frame: Frame, shapes: gpd.GeoSeries) -> shapely.Geometry:
    """Return polygons as a picture shows them: degrees, along its pixels.

    Args:
        frame: of the picture.
        shapes: EPSG:4326, what was not observed; cut at the date line.
    """
    here = [part for part in shapes.to_crs(frame.crs) if not part.is_empty]
    if not here:
        return shapely.MultiPolygon()
    is_gap = rasterize(here, out_shape=frame.shape, transform=frame.transform, dtype="uint8")
    found = traced(is_gap, mask=is_gap > 0, connectivity=4, transform=frame.transform)
    rings = [part["coordinates"] for part, _ in found]
    outline = shapely.MultiPolygon([(outer, holes) for outer, *holes in rings])
    return shapely.transform(outline, frame.in_degrees)


def shrunk(colours: xr.DataArray, factor: int) -> NDArray[np.uint8]:
    """Return means of `factor` x `factor` pixels that have data: (RGBA, y, x).

    Args:
        colours: (band, y, x) uint8, lazy, 0 = no data; read some rows at a time.
        factor: how many times smaller; beyond the lower and right edge there is no data.
    """
    at_a_time = max(1, 1024 // factor) * factor
    parts = [
        _means(colours.isel(y=slice(top, top + at_a_time)).to_numpy(), factor)
        for top in range(0, colours.sizes["y"], at_a_time)
    ]
    return np.concatenate(parts, axis=1)


def _means(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    beyond = [(0, -length % factor) for length in pixels.shape[1:]]
    whole = np.pad(pixels, [(0, 0), *beyond])
    count = _sums((whole != 0).any(axis=0)[None], factor)
    means = _sums(whole, factor) / np.maximum(count, 1)
    is_seen = np.where(count * 2 >= factor * factor, 255, 0)
    return np.concatenate([np.rint(means), is_seen]).astype(np.uint8)


def _sums(pixels: NDArray[Any], factor: int) -> NDArray[np.uint32]:
    """Return sums of cells; first along columns: three times as fast as both at once."""
    bands, height, width = pixels.shape
    rows = pixels.reshape(bands, -1, factor, width).sum(axis=2, dtype=np.uint32)
    sums: NDArray[np.uint32] = rows.reshape(bands, height // factor, -1, factor).sum(axis=3)
    return sums.astype(np.uint32)


def _is_of(gaps: gpd.GeoDataFrame, tile: str, role: str) -> Any:
    return (gaps["date"] == role) & ((gaps["tile"] == tile) | gaps["tile"].isna())
