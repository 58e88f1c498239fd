"""Files of a person's own -> polygons around an area, and the share of each object inside of them.

A raster stands for the polygons of its pixels that are neither zero nor no data.

See also: `flag_spec.py` (the keys), `flags.py` (the columns).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import rasterio
import rasterio.features
import rasterio.windows
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError

from lspipe.errors import WorkflowError, first_few

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from lspipe.change.flag_spec import FlagLayer, FlagsSpec

METRES_PER_DEGREE = 111_320
"""Of latitude, and of longitude at the equator."""

PIXEL_M = 15
"""Pixels that an outline touches may reach this far beyond it, metres."""

MOST_PIXELS = 4e8
"""Of a raster within the area: three tiles of 10 m; more would not fit into memory as polygons."""

_TABLES = {".parquet", ".geoparquet"}
_AREAL = {"Polygon", "MultiPolygon", "GeometryCollection"}


@dataclass(frozen=True)
class ReadLayer:
    """A layer of the workflow."""

    shapes: gpd.GeoSeries
    """Valid shapes that lie near the area, in the CRS of the file."""
    buffer_m: float


def read_layers(spec: FlagsSpec, folder: Path, area: BaseGeometry) -> dict[str, ReadLayer]:
    """Read the layers of a workflow, as far as they lie near its area.

    Args:
        spec: the section `flags:`.
        folder: what relative paths start from.
        area: polygons in longitude and latitude.

    Raises:
        WorkflowError: a file is not there or cannot be read, has no CRS, no shapes, lines without a
            buffer, or nothing near the area; names the key and the file.
    """
    return {
        layer.name: _read_layer(layer, f"flags.layers.{number}", folder / layer.path, area)
        for number, layer in enumerate(spec.layers)
    }


def digests(spec: FlagsSpec, folder: Path) -> dict[str, str]:
    """Return the sha256 (hex) of the file of each layer.

    Raises:
        WorkflowError: a file is not there.
    """
    found = {}
    for number, layer in enumerate(spec.layers):
        path = folder / layer.path
        _check_file(path, f"flags.layers.{number}.path")
        with path.open("rb") as file:
            found[layer.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def shares(
    inventory: gpd.GeoDataFrame, layers: Mapping[str, ReadLayer]
) -> dict[str, NDArray[np.float64]]:
    """Return the share of each object's area that lies in each layer, 0..1.

    Args:
        inventory: outlines in any CRS, and `utm_epsg`, in which areas and buffers are measured.
        layers: of `read_layers`.
    """
    found = {name: np.zeros(len(inventory)) for name in layers}
    zones = inventory["utm_epsg"].to_numpy(int)
    for zone in np.unique(zones):
        rows = np.flatnonzero(zones == zone)
        objects = inventory.geometry.iloc[rows].to_crs(int(zone)).to_numpy()
        objects = np.where(shapely.is_valid(objects), objects, shapely.make_valid(objects))
        for name, layer in layers.items():
            found[name][rows] = _share(objects, _in_zone(layer, int(zone)))
    return found


# --- reading ------------------------------------------------------------------------------------


def _read_layer(layer: FlagLayer, key: str, path: Path, area: BaseGeometry) -> ReadLayer:
    _check_file(path, f"{key}.path")
    table = _read(layer, key, path, area)
    shapes = table[~(table.is_empty | table.isna())].force_2d().make_valid()
    others = sorted(set(shapes.geom_type) - _AREAL)
    if others and not layer.buffer_m:
        raise WorkflowError(
            f"{key}.buffer_m: found 0 and {', '.join(others)} in {path}, expected a buffer in "
            "metres: lines and points have no area"
        )
    bounds = _near(area, layer.buffer_m)
    is_near = shapes.to_crs(4326).intersects(shapely.box(*bounds)) if len(shapes) else []
    if not np.any(is_near):
        raise WorkflowError(
            f"{key}.path: {path}: nothing in it lies in the area of the workflow, "
            f"{_told(area.bounds)} in degrees; is its CRS right, and does it cover the area?"
        )
    return ReadLayer(shapes[is_near], layer.buffer_m)


def _check_file(path: Path, key: str) -> None:
    if not path.is_file():
        raise WorkflowError(f"{key}: found {path}, which is no file; name the file of the layer")


def _read(layer: FlagLayer, key: str, path: Path, area: BaseGeometry) -> gpd.GeoSeries:
    """Return the shapes of a file within the bounds of the area, or of all of it."""
    if path.suffix in _TABLES:
        return _read_table(key, path)
    import pyogrio

    try:
        names = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    except pyogrio.errors.DataSourceError:
        return _read_raster(key, path, area, layer.buffer_m)
    chosen = _chosen(layer, key, path, names)
    return _read_vectors(key, path, chosen, _near(area, layer.buffer_m))


def _chosen(layer: FlagLayer, key: str, path: Path, names: list[str]) -> str:
    """Return the layer of the file to read: the named one, or the only one."""
    if layer.layer is None and len(names) == 1:
        return names[0]
    if layer.layer in names:
        return str(layer.layer)
    found = f"no layer {layer.layer!r} with shapes" if layer.layer else f"{len(names)} layers"
    raise WorkflowError(
        f"{key}.layer: {path}: found {found}, expected one of {first_few(names) or 'none'}"
    )


def _read_vectors(
    key: str, path: Path, name: str, bounds: tuple[float, float, float, float]
) -> gpd.GeoSeries:
    import pyogrio

    try:
        facts = pyogrio.read_info(path, layer=name)
        _check_crs(facts["crs"], key, path)
        if not pyogrio.read_info(path, layer=name, force_feature_count=True)["features"]:
            raise WorkflowError(f"{key}.path: {path}: found no features, expected shapes")
        box = _in_crs(bounds, facts["crs"])
        table = gpd.read_file(path, layer=name, columns=[], bbox=box, engine="pyogrio")
    except (RuntimeError, ValueError, OSError, shapely.errors.ShapelyError) as error:
        raise _unreadable(key, path, error) from error
    return table.geometry


def _read_table(key: str, path: Path) -> gpd.GeoSeries:
    try:
        table = gpd.read_parquet(path)
    except (RuntimeError, ValueError, OSError) as error:
        raise _unreadable(key, path, error) from error
    _check_crs(table.crs, key, path)
    if not len(table):
        raise WorkflowError(f"{key}.path: {path}: found no features, expected shapes")
    return table.geometry


def _read_raster(key: str, path: Path, area: BaseGeometry, buffer_m: float) -> gpd.GeoSeries:
    try:
        with rasterio.open(path) as file:
            _check_crs(file.crs, key, path)
            window = _window(file, _in_crs(_near(area, buffer_m), file.crs.to_wkt()))
            if window.width * window.height > MOST_PIXELS:
                raise WorkflowError(
                    f"{key}.path: {path}: found {window.width:.0f} x {window.height:.0f} pixels in "
                    f"the area, expected at most {MOST_PIXELS:.0e}; make it coarser"
                )
            if not window.width * window.height:
                return gpd.GeoSeries([], crs=file.crs)
            pixels = file.read(1, window=window)
            is_set = (pixels != 0) & (file.read_masks(1, window=window) > 0)
            crs, transform = file.crs, file.window_transform(window)
    except (RasterioError, OSError) as error:
        raise _unreadable(key, path, error) from error
    found = rasterio.features.shapes(is_set.astype(np.uint8), mask=is_set, transform=transform)
    return gpd.GeoSeries([shapely.geometry.shape(one) for one, _ in found], crs=crs)


def _window(file: Any, bounds: tuple[float, float, float, float] | None) -> Any:
    """Return the window of a raster that meets the bounds; it may be empty."""
    whole = rasterio.windows.Window(0, 0, file.width, file.height)
    if bounds is None:
        return whole
    west, south, east, north = bounds
    corners = [~file.transform * (x, y) for x in (west, east) for y in (south, north)]
    left, top = (max(0, math.floor(min(side))) for side in zip(*corners, strict=True))
    right, bottom = (math.ceil(max(side)) for side in zip(*corners, strict=True))
    width, height = min(right, file.width) - left, min(bottom, file.height) - top
    return rasterio.windows.Window(left, top, max(width, 0), max(height, 0))


def _check_crs(crs: Any, key: str, path: Path) -> None:
    known = CRS.from_user_input(crs) if crs else None
    # GeoPackage has words of its own for what nobody set.
    if (
        known is None
        or known.name.lower().startswith("undefined")
        or not (known.is_projected or known.is_geographic)
    ):
        raise WorkflowError(f"{key}.path: {path}: has no CRS, expected one that says where it lies")


def _unreadable(key: str, path: Path, error: Exception) -> WorkflowError:
    reason = " ".join(str(error).split())
    return WorkflowError(f"{key}.path: {path}: cannot be read as vectors or as a raster: {reason}")


def _near(area: BaseGeometry, buffer_m: float) -> tuple[float, float, float, float]:
    """Return the bounds of an area and its pixels, widened by a buffer, in degrees."""
    west, south, east, north = area.bounds
    tall = (buffer_m + PIXEL_M) / METRES_PER_DEGREE
    broad = tall / math.cos(math.radians(min(max(abs(south), abs(north)), 89)))
    return west - broad, south - tall, east + broad, north + tall


def _in_crs(bounds: tuple[float, float, float, float], crs: Any) -> Any:
    """Return bounds in degrees in another CRS; None where it has no place for them."""
    try:
        moved = Transformer.from_crs(4326, crs, always_xy=True).transform_bounds(*bounds)
    except ProjError:
        return None
    return moved if np.isfinite(moved).all() else None


def _told(bounds: tuple[float, float, float, float]) -> list[float]:
    return [round(value, 4) for value in bounds]


# --- measuring ----------------------------------------------------------------------------------


def _in_zone(layer: ReadLayer, epsg: int) -> NDArray[Any]:
    """Return the shapes of a layer in UTM, with their buffer."""
    moved = layer.shapes.to_crs(epsg).to_numpy()
    if layer.buffer_m:
        return np.asarray(shapely.buffer(moved, layer.buffer_m))
    return np.asarray(shapely.make_valid(moved))


def _share(objects: NDArray[Any], shapes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the share of each object's area that the shapes cover together."""
    one, other = shapely.STRtree(shapes).query(objects, predicate="intersects")
    pieces = shapely.intersection(objects[one], shapes[other])
    covered = np.bincount(one, shapely.area(pieces), minlength=len(objects))
    # Shapes may overlap, as the buffers of roads that meet do.
    order = np.argsort(one, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(one[order])) + 1):
        if len(rows) > 1:
            covered[one[rows[0]]] = shapely.area(shapely.union_all(pieces[rows]))
    return np.clip(covered / shapely.area(objects), 0, 1)
