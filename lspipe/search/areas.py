"""An area of interest: a box, a file or tile names -> one geometry, and its pixels on a grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry import box

from lspipe.errors import AreaError
from lspipe.search.grids import tile_grid
from lspipe.search.spec import checked_tile

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from lspipe.search.spec import AreaSpec

# About 1 km: a parallel bends by less than 3 cm from a straight line of UTM over this length.
_SEGMENT_DEGREES = 0.01
_SEGMENT_METRES = 1000


@dataclass(frozen=True)
class Area:
    """Where to look."""

    geometry: BaseGeometry
    """Polygons in longitude and latitude (EPSG:4326), split at the date line."""
    tiles: tuple[str, ...] | None
    """Tiles that were asked for by name, whole; None = every tile that the geometry meets."""
    source: str
    """How it was given, for messages."""

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
        AreaError: the file cannot be read, has no CRS, or holds no polygon.
    """
    if spec.bbox is not None:
        west, south, east, north = spec.bbox
        wide = box(west, south, east if east > west else east + 360, north)
        return Area(split_at_date_line(wide), None, f"bbox {list(spec.bbox)}")
    if spec.tiles is not None:
        names = tuple(dict.fromkeys(checked_tile(name) for name in spec.tiles))
        footprints = [footprint(tile_grid(name)) for name in names]
        return Area(shapely.union_all(footprints), names, f"tiles {', '.join(names)}")
    path = folder / str(spec.file)
    return Area(_file_geometry(path), None, str(path))


def _file_geometry(path: Path) -> BaseGeometry:
    """Return the union of a file's polygons in EPSG:4326."""
    table = _read_table(path)
    if table.crs is None:
        raise AreaError(
            f"{path}: the file has no CRS; expected one, for instance a .prj beside a shapefile, "
            "or GeoJSON in longitude and latitude"
        )
    shapes = table.geometry.dropna()
    shapes = shapes[~shapes.is_empty]
    if shapes.empty:
        raise AreaError(f"{path}: found no geometry in {len(table)} features; expected polygons")
    kinds = set(shapes.geom_type) - {"Polygon", "MultiPolygon"}
    if kinds:
        raise AreaError(f"{path}: found {', '.join(sorted(kinds))}; expected polygons")
    if not table.crs.equals("EPSG:4326"):
        # Long edges bend between projections; in degrees they are straight already.
        if not table.crs.is_geographic:
            metres = table.crs.axis_info[0].unit_conversion_factor or 1
            shapes = shapes.segmentize(_SEGMENT_METRES / metres)
        shapes = shapes.to_crs("EPSG:4326")
    merged = shapely.union_all(shapely.make_valid(shapely.force_2d(shapes.to_numpy())))
    west, south, east, north = merged.bounds
    if not (merged.area > 0 and -90 <= south <= north <= 90 and -360 <= west <= east <= 360):
        raise AreaError(
            f"{path}: found bounds {[round(v, 6) for v in merged.bounds]} in degrees, expected "
            "polygons with an area, in longitude and latitude; is the file's CRS right?"
        )
    return split_at_date_line(merged)


def _read_table(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    if not path.exists():
        raise AreaError(f"{path}: no such file; expected GeoJSON, GeoPackage, shapefile or parquet")
    try:
        if path.suffix in {".parquet", ".geoparquet"}:
            return gpd.read_parquet(path)
        table = gpd.read_file(path)
    # GDAL, pyarrow and pyogrio have no common error of their own.
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise AreaError(f"{path}: cannot be read as polygons: {reason}") from error
    if not hasattr(table, "geometry"):
        raise AreaError(f"{path}: found a table without geometry; expected polygons")
    return table


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
    outline = shapely.segmentize(box(*geobox.extent.boundingbox), _SEGMENT_METRES)
    return split_at_date_line(_projected(outline, _code(geobox), "EPSG:4326"))


def area_on_grid(area: Area, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return which pixels of a grid the area touches.

    Args:
        area: where to look; tiles asked for by name are inside as a whole.
        geobox: grid of a tile.

    Returns:
        Bool (y, x), True where the area touches the pixel at all.
    """
    from rasterio.features import rasterize

    if area.tiles is not None:
        return np.ones(geobox.shape, dtype=bool)
    # Only what is near the tile: far from its zone a transverse Mercator has no value.
    near = area.geometry.intersection(shapely.buffer(footprint(geobox), 0.1))
    if near.is_empty:
        return np.zeros(geobox.shape, dtype=bool)
    bent = shapely.segmentize(near, _SEGMENT_DEGREES)
    projected = _projected(bent, "EPSG:4326", _code(geobox))
    burned = rasterize(
        [(projected, 1)],
        out_shape=tuple(geobox.shape),
        transform=geobox.transform,
        all_touched=True,
        dtype="uint8",
    )
    inside: NDArray[np.bool_] = burned.astype(bool)
    return inside


@dataclass(frozen=True)
class PackedMask:
    """Which pixels of a tile are inside an area, a bit each: 15 MB for 10980 x 10980 pixels.

    A plan holds one per tile, for as long as the run takes; a block unpacks its own part.
    """

    bits: NDArray[np.uint8]
    """Rows x bytes of eight columns, as `numpy.packbits` writes them."""
    shape: tuple[int, int]
    """Rows and columns of the tile."""

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> PackedMask:
        """Pack a bool (y, x)."""
        return cls(np.packbits(mask, axis=1), (mask.shape[0], mask.shape[1]))

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[np.bool_]:
        """Return rows and columns as bool (y, x), a copy; slices without a step, as of a block."""
        rows, columns = part
        start, stop, step = columns.indices(self.shape[1])
        if step != 1:
            raise ValueError(f"step {step}: expected 1")
        first = start // 8
        whole = np.unpackbits(self.bits[rows, first : -(-stop // 8)], axis=1)
        return whole[:, start - 8 * first : max(start, stop) - 8 * first].view(np.bool_)


def _code(geobox: GeoBox) -> str:
    return f"EPSG:{geobox.crs.epsg}"


def _projected(geometry: BaseGeometry, source: str, target: str) -> BaseGeometry:
    from pyproj import Transformer

    transformer = Transformer.from_crs(source, target, always_xy=True)

    def move(corners: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(corners[:, 0], corners[:, 1]))

    return shapely.transform(geometry, move)


def bounding_window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the smallest rows and columns that hold every True pixel; empty slices if none."""
    if not mask.any():
        return slice(0, 0), slice(0, 0)
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
