"""A file of polygons -> one geometry in longitude and latitude.

Covers: layers, coordinate reference systems, and whatever is no polygon, by the number of its
feature. Does not cover: the date line (`areas.py`).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from lspipe.errors import AreaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import geopandas as gpd
    from shapely.geometry.base import BaseGeometry

SEGMENT_METRES = 1000
"""A parallel bends by less than 3 cm from a straight line of UTM over this length."""

FARTHEST_METRES = 1e8
"""No projection puts the Earth, 4e7 m around, farther from its origin; some put the number of a
zone before the eastings (6e7)."""

# Geometries that shapely does not know. Source: OGC 06-103r4, table 7; ISO 19125 curves.
_NO_POLYGONS = {
    8: "CircularString", 9: "CompoundCurve", 10: "CurvePolygon", 11: "MultiCurve",
    12: "MultiSurface", 13: "Curve", 14: "Surface", 15: "PolyhedralSurface", 16: "TIN",
    17: "Triangle",
}  # fmt: skip

_TABLES = {".parquet", ".geoparquet"}


def read_polygons(path: Path, layer: str | None = None) -> BaseGeometry:
    """Return the union of a file's polygons in EPSG:4326, heights left out.

    Args:
        path: any format GDAL reads, or GeoParquet.
        layer: its name in a file with several; None = the only one.

    Raises:
        AreaError: the file cannot be read, has several layers or no usable CRS, or holds anything
            but polygons with an area on the globe; names the file, and the feature.
    """
    table = _read_table(path, layer)
    _check_crs(path, table)
    shapes = table.geometry.to_numpy()
    is_there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    shapes = table.geometry[is_there]
    if shapes.empty:
        raise AreaError(f"{path}: found no geometry in {len(table)} features; expected polygons")
    # Features are counted from 1, in the order of the file.
    places = [
        f"{path}: feature {number + 1} of {len(table)}" for number in np.flatnonzero(is_there)
    ]
    polygons = [_polygons(shape, where) for shape, where in zip(shapes, places, strict=True)]
    _check_distances(table.crs, polygons, places)
    turned = _in_degrees(path, table.crs, polygons)
    return shapely.union_all(
        [_valid(shape, where) for shape, where in zip(turned, places, strict=True)]
    )


# --- reading ------------------------------------------------------------------------------------


def _read_table(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    import geopandas as gpd

    if not path.exists():
        raise AreaError(f"{path}: no such file; expected GeoJSON, GeoPackage, shapefile or parquet")
    try:
        with warnings.catch_warnings():
            # Of coordinates that are no numbers, which are refused below.
            warnings.filterwarnings("ignore", "invalid value encountered", RuntimeWarning)
            if path.suffix in _TABLES:
                if layer is not None:
                    raise AreaError(
                        f"{path}: a table of Parquet has no layers; leave aoi.layer out"
                    )
                return gpd.read_parquet(path)
            table = gpd.read_file(path, layer=_chosen_layer(path, layer))
    except shapely.errors.ShapelyError as error:
        raise _unreadable_feature(path, layer, error) from error
    # GDAL, pyarrow and pyogrio have no common error of their own.
    except (RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise AreaError(f"{path}: cannot be read as polygons: {reason}") from error
    if not hasattr(table, "geometry"):
        raise AreaError(f"{path}: found a table without geometry; expected polygons")
    return table


def _chosen_layer(path: Path, layer: str | None) -> str | None:
    """Return the layer to read: the named one, or the only one with geometry."""
    import pyogrio

    # Tables without geometry are passed over, such as the styles that QGIS keeps in a GeoPackage.
    names = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    listed = ", ".join(names)
    if layer is not None and layer not in names:
        raise AreaError(
            f"{path}: found no layer {layer!r} with geometry, expected one of {listed or 'none'}"
        )
    if layer is None and len(names) > 1:
        raise AreaError(
            f"{path}: found {len(names)} layers ({listed}), expected one; name it: "
            f"aoi: {{file: {path.name}, layer: NAME}}"
        )
    return layer or (names[0] if names else None)


def _unreadable_feature(path: Path, layer: str | None, error: Exception) -> AreaError:
    """Say which feature shapely cannot read, and what kind of geometry it is."""
    from pyogrio.raw import read

    _, _, geometries, _ = read(path, layer=_chosen_layer(path, layer))
    for number, content in enumerate(geometries, 1):
        try:
            shapely.from_wkb(content)
        except shapely.errors.ShapelyError:
            kind = _NO_POLYGONS.get(_kind(content), "a geometry that cannot be read")
            return AreaError(
                f"{path}: feature {number} of {len(geometries)}: found {kind}; expected polygons"
            )
    return AreaError(f"{path}: cannot be read as polygons: {' '.join(str(error).split())}")


def _kind(content: bytes) -> int:
    """Return the number of a geometry's kind, without its marks of heights.

    Source: OGC 06-103r4; 2.5D of older programs sets the highest bits instead.
    """
    number = int.from_bytes(content[1:5], "little" if content[0] else "big")
    return (number & 0x0FFFFFFF) % 1000


# --- what is no area ----------------------------------------------------------------------------

_EXPECTED = (
    "expected one, for instance a .prj beside a shapefile, or GeoJSON in longitude and latitude"
)


def fault_of_crs(crs: Any) -> str:
    """Return why a CRS does not say where on the globe a file's shapes are; "" if it does.

    Args:
        crs: of a GeoDataFrame; None = the file names none.
    """
    if crs is None:
        return f"the file has no CRS; {_EXPECTED}"
    # GeoPackage has words of its own for what nobody set.
    is_undefined = crs.name.lower().startswith("undefined")
    if is_undefined or not (crs.is_projected or crs.is_geographic):
        return f"the file's CRS, {crs.name!r}, does not say where on the globe it is; {_EXPECTED}"
    return ""


def _check_crs(path: Path, table: gpd.GeoDataFrame) -> None:
    fault = fault_of_crs(table.crs)
    if fault:
        raise AreaError(f"{path}: {fault}")


def _polygons(shape: BaseGeometry, where: str) -> BaseGeometry:
    """Return a feature if it is polygons with numbers for coordinates; a collection as one."""
    try:
        parts = list(_parts(shape))
    except NotImplementedError as error:  # a curve within a collection, which GDAL leaves as it is
        raise AreaError(f"{where}: found {error}; expected polygons without curves") from error
    others = sorted({part.geom_type for part in parts} - {"Polygon"})
    if others:
        raise AreaError(f"{where}: found {', '.join(others)}; expected polygons")
    if not np.isfinite(shapely.get_coordinates(parts)).all():
        raise AreaError(f"{where}: found coordinates that are no finite numbers; mend the file")
    if shape.geom_type != "GeometryCollection":
        return shape
    whole: BaseGeometry = shapely.union_all(shapely.make_valid(parts))
    return whole


def _parts(shape: BaseGeometry) -> Iterator[BaseGeometry]:
    """Yield the single geometries of a collection, however deep they lie."""
    if hasattr(shape, "geoms"):
        for part in shape.geoms:
            yield from _parts(part)
    else:
        yield shape


def _check_distances(crs: Any, shapes: list[BaseGeometry], places: list[str]) -> None:
    """Refuse coordinates that no projection has, before long edges are cut into short ones."""
    if not crs.is_projected:
        return
    for shape, where in zip(shapes, places, strict=True):
        farthest = float(np.abs(shape.bounds).max()) * _metres(crs)
        if farthest > FARTHEST_METRES:
            raise AreaError(
                f"{where}: found a coordinate of {farthest:.3g} m in {crs.name}, expected at most "
                f"{FARTHEST_METRES:.0e}; is the file's CRS right?"
            )


def _metres(crs: Any) -> float:
    return float(crs.axis_info[0].unit_conversion_factor or 1)


def _in_degrees(path: Path, crs: Any, shapes: list[BaseGeometry]) -> Iterable[BaseGeometry]:
    import geopandas as gpd
    from pyproj.exceptions import ProjError

    series = gpd.GeoSeries(shapes, crs=crs)
    if crs.equals("EPSG:4326"):
        return list(series)
    # Long edges bend between projections; in degrees they are straight already.
    if not crs.is_geographic:
        series = series.segmentize(SEGMENT_METRES / _metres(crs))
    try:
        return list(series.to_crs("EPSG:4326"))
    except ProjError as error:
        raise AreaError(
            f"{path}: its CRS, {crs.name!r}, cannot be turned into degrees: {error}; {_EXPECTED}"
        ) from error


def _valid(shape: BaseGeometry, where: str) -> BaseGeometry:
    """Return polygons on the globe that do not cross themselves, without heights.

    What makes an outline valid may leave lines and points of it, which are no area.
    """
    west, south, east, north = shape.bounds
    valid = shapely.make_valid(shapely.force_2d(shape)) if np.isfinite(shape.bounds).all() else None
    # Not a number is outside too.
    is_on_globe = -90 <= south <= north <= 90 and -360 <= west <= east <= 360
    if valid is not None and is_on_globe and valid.area > 0:
        if valid.geom_type in {"Polygon", "MultiPolygon"}:
            return valid
        return shapely.union_all([part for part in _parts(valid) if part.geom_type == "Polygon"])
    is_exchanged = -90 <= west <= east <= 90 and -360 <= south <= north <= 360
    is_exchanged &= not is_on_globe
    question = "are latitude and longitude exchanged" if is_exchanged else "is the file's CRS right"
    raise AreaError(
        f"{where}: found bounds {[round(v, 6) for v in shape.bounds]} in degrees, expected "
        f"polygons with an area, in longitude and latitude; {question}?"
    )
