"""An area of interest: a box, a file or tile names -> one geometry, and its pixels on a grid."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import Geod, Transformer
from shapely import STRtree
from shapely.affinity import translate
from shapely.geometry import box

from lspipe.search.area_files import SEGMENT_METRES, read_polygons
from lspipe.search.grids import tile_grid
from lspipe.search.spec import checked_tile

if TYPE_CHECKING:
    from pathlib import Path

    from affine import Affine
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from lspipe.schema import Part
    from lspipe.search.spec import AreaSpec

_SEGMENT_DEGREES = 0.01  # about 1 km, see SEGMENT_METRES


@dataclass(frozen=True)
class Area:
    """Where to look."""

    geometry: BaseGeometry
    """Polygons in longitude and latitude (EPSG:4326), split at the date line."""
    tiles: tuple[str, ...] | None
    """Tiles that were asked for by name, whole; None = every tile that the geometry meets."""
    source: str
    """How it was given, for messages."""

    @cached_property
    def parts(self) -> STRtree:
        """Its polygons, to be found by where they are."""
        return STRtree(shapely.get_parts(self.geometry))

    @property
    def is_of_polygons(self) -> bool:
        """Whether it is nothing but polygons, which may be taken one by one."""
        return self.geometry.geom_type in {"Polygon", "MultiPolygon"}

    @property
    def km2(self) -> float:
        """Size of the ground, geodesic square kilometres."""
        ground = shapely.orient_polygons(self.geometry)
        return abs(float(Geod(ellps="WGS84").geometry_area_perimeter(ground)[0])) / 1e6

    def facts(self) -> dict[str, Any]:
        """Return plain JSON that is equal exactly when the area is, to about 1 cm."""
        text = shapely.to_wkt(shapely.normalize(self.geometry), rounding_precision=7)
        return {
            "bounds": [round(value, 7) for value in self.geometry.bounds],
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "tiles": None if self.tiles is None else list(self.tiles),
        }


def read_area(spec: AreaSpec, folder: Path) -> Area:
    """Return the area a workflow asks for.

    Args:
        spec: box, file or tiles.
        folder: what a relative file name starts from.

    Raises:
        AreaError: the file cannot be read, has no CRS or several layers, or holds what is no
            polygon.
    """
    if spec.bbox is not None:
        west, south, east, north = spec.bbox
        # Only a box from east to west crosses the date line, however wide another one is.
        ground = (
            box(west, south, east, north)
            if west < east
            else split_at_date_line(box(west, south, east + 360, north))
        )
        return Area(ground, None, f"bbox {list(spec.bbox)}")
    if spec.tiles is not None:
        names = tuple(dict.fromkeys(checked_tile(name) for name in spec.tiles))
        footprints = [footprint(tile_grid(name)) for name in names]
        return Area(shapely.union_all(footprints), names, f"tiles {', '.join(names)}")
    path = folder / str(spec.file)
    return Area(
        split_at_date_line(read_polygons(path, spec.layer)), None, _source(path, spec.layer)
    )


def _source(path: Path, layer: str | None) -> str:
    return str(path) if layer is None else f"{path}, layer {layer}"


# --- the date line ------------------------------------------------------------------------------


def split_at_date_line(geometry: BaseGeometry) -> BaseGeometry:
    """Return a geometry within -180..180, cut at the date line where it crosses it.

    A polygon wider than half the globe whose corners lie on both sides is taken to cross the
    date line: no Sentinel-2 scene and no area of a run is that wide otherwise.
    """
    parts: list[BaseGeometry] = []
    for part in getattr(geometry, "geoms", [geometry]):
        west, _, east, _ = part.bounds
        is_whole_globe = west <= -180 and east >= 180
        if east - west > 180 and not is_whole_globe and west >= -180 and east <= 180:
            part = shapely.transform(part, _eastward)  # noqa: PLW2901 the same part, unrolled
        parts += _wrapped(part)
    return parts[0] if len(parts) == 1 else shapely.union_all(parts)


def _eastward(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move western longitudes to 180..360."""
    return np.column_stack(
        (np.where(corners[:, 0] < 0, corners[:, 0] + 360, corners[:, 0]), corners[:, 1])
    )


def _wrapped(part: BaseGeometry) -> list[BaseGeometry]:
    """Cut a polygon at -180 and 180 and move what is outside back."""
    west, _, east, _ = part.bounds
    if west >= -180 and east <= 180:
        return [part]
    pieces = []
    for turn in (-360, 0, 360):
        piece = part.intersection(box(turn - 180, -90, turn + 180, 90))
        if piece.area > 0:
            pieces.append(translate(piece, xoff=-turn))
    return pieces


# --- on a grid ----------------------------------------------------------------------------------


def footprint(geobox: GeoBox) -> BaseGeometry:
    """Return the outline of a grid in longitude and latitude, split at the date line."""
    outline = shapely.segmentize(box(*geobox.extent.boundingbox), SEGMENT_METRES)
    return split_at_date_line(_projected(outline, _code(geobox), "EPSG:4326"))


def area_on_grid(area: Area, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return which pixels of a grid the area touches.

    Args:
        area: where to look; tiles asked for by name are inside as a whole.
        geobox: grid of a tile.

    Returns:
        Bool (y, x), True where the area touches the pixel at all.
    """
    return _burned(area, geobox, all_touched=True)


def centres_on_grid(area: Area, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return the pixels whose centre is in the area; arguments are those of `area_on_grid`.

    Their number is right on average, where all that are touched would be half a rim too many.
    """
    return _burned(area, geobox, all_touched=False)


def near_grid(area: Area, geobox: GeoBox) -> Area:
    """Return the part of an area that decides the pixels of a grid, and some more around it."""
    # Far from its zone a transverse Mercator has no value.
    around = shapely.buffer(footprint(geobox), 0.1)
    # Of a thousand islands few are here, and all would be looked at for each of as many tiles.
    here = area.geometry
    if area.is_of_polygons:
        here = shapely.MultiPolygon([*area.parts.geometries[np.sort(area.parts.query(around))]])
    return replace(area, geometry=here.intersection(around))


def outline_on_grid(area: Area, geobox: GeoBox) -> BaseGeometry:
    """Return the part of an area near a grid, in the CRS of the grid; may be empty."""
    bent = shapely.segmentize(near_grid(area, geobox).geometry, _SEGMENT_DEGREES)
    return _projected(bent, "EPSG:4326", _code(geobox))


def burned(
    outline: BaseGeometry, shape: tuple[int, int], transform: Affine, *, all_touched: bool
) -> NDArray[np.bool_]:
    """Return which pixels an outline in their CRS touches, or whose centres it holds: (y, x)."""
    from rasterio.features import rasterize

    if outline.is_empty:
        return np.zeros(shape, dtype=bool)
    pixels = rasterize(
        [(outline, 1)],
        out_shape=shape,
        transform=transform,
        all_touched=all_touched,
        dtype="uint8",
    )
    return np.asarray(pixels, np.uint8).view(np.bool_)


def _burned(area: Area, geobox: GeoBox, *, all_touched: bool) -> NDArray[np.bool_]:
    if area.tiles is not None:
        return np.ones(geobox.shape, dtype=bool)
    rows, columns = geobox.shape
    return burned(
        outline_on_grid(area, geobox),
        (int(rows), int(columns)),
        geobox.transform,
        all_touched=all_touched,
    )


@dataclass(frozen=True)
class PackedMask:
    """Which pixels of a tile are inside an area, a bit each: 15 MB for 10980 x 10980 pixels.

    A block unpacks its own part. A plan of many tiles does not hold them all: `on_grid.py`.
    """

    bits: NDArray[np.uint8]
    """Rows x bytes of eight columns, as `numpy.packbits` writes them."""
    shape: tuple[int, int]
    """Rows and columns of the tile."""

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> PackedMask:
        """Pack a bool (y, x)."""
        return cls(np.packbits(mask, axis=1), (mask.shape[0], mask.shape[1]))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel compressed: the edge of an area is a few kB, all bits of a tile are 15 MB."""
        packed = zlib.compress(np.ascontiguousarray(self.bits).tobytes(), 1)
        return _unpacked, (packed, self.bits.shape, self.shape)

    def __getitem__(self, part: Part) -> NDArray[np.bool_]:
        """Return rows and columns as bool (y, x), a copy; slices without a step, as of a block."""
        rows, columns = part
        start, stop, step = columns.indices(self.shape[1])
        if step != 1:
            raise ValueError(f"step {step}: expected 1")
        first = start // 8
        whole = np.unpackbits(self.bits[rows, first : -(-stop // 8)], axis=1)
        return whole[:, start - 8 * first : max(start, stop) - 8 * first].view(np.bool_)


def _unpacked(packed: bytes, bits: tuple[int, int], shape: tuple[int, int]) -> PackedMask:
    """Return a mask that travelled; see `PackedMask.__reduce__`."""
    return PackedMask(np.frombuffer(zlib.decompress(packed), np.uint8).reshape(bits), shape)


def _code(geobox: GeoBox) -> str:
    return f"EPSG:{geobox.crs.epsg}"


@lru_cache(maxsize=128)
def _transformer(source: str, target: str) -> Transformer:
    # Kept: a new one takes longer than what it does for a tile.
    return Transformer.from_crs(source, target, always_xy=True)


def _projected(geometry: BaseGeometry, source: str, target: str) -> BaseGeometry:
    transformer = _transformer(source, target)

    def move(corners: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(corners[:, 0], corners[:, 1]))

    return shapely.transform(geometry, move)


def bounding_window(mask: NDArray[np.bool_]) -> Part:
    """Return the smallest rows and columns that hold every True pixel; empty slices if none."""
    if not mask.any():
        return slice(0, 0), slice(0, 0)
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
