"""A file of polygons, lines or points -> shapes in longitude and latitude, of one kind or several.

Covers: every format that GDAL reads, GeoParquet, KMZ, and files inside a zip; geometry that crosses
itself is repaired and counted. Does not cover: which of the shapes lie in a run (`ground.py`).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from lspipe.errors import UsageError, first_few
from lspipe.machine import check_file
from lspipe.search.area_files import fault_of_crs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

POINTS, LINES, POLYGONS = "points", "lines", "polygons"

_KINDS = {0: POINTS, 4: POINTS, 1: LINES, 2: LINES, 5: LINES, 3: POLYGONS, 6: POLYGONS}
"""By shapely's numbers of geometry types; collections (7) are looked into."""

_TABLES = {".parquet", ".geoparquet"}
_ARCHIVES = {".zip", ".kmz"}
_IN_ARCHIVES = {".shp", ".gpkg", ".geojson", ".json", ".kml", ".fgb", ".gml"}

_FOLDERS_ARE_LAYERS = {".kml", ".kmz"}
"""Formats whose layers are folders of one map: all are read."""


@dataclass(frozen=True)
class Shapes:
    """What a file holds."""

    source: str
    """The file, for messages."""
    geometry: gpd.GeoSeries
    """Valid, in EPSG:4326, without heights; the index counts the features of the file from 1."""
    attributes: pd.DataFrame
    """The other columns of the file, with the same index."""
    kinds: NDArray[Any]
    """`POINTS`, `LINES` or `POLYGONS` of each."""
    repaired: int
    """Polygons that crossed themselves, and were repaired."""
    empty: int
    """Features without a geometry, which are left out."""

    def of(self, kind: str) -> gpd.GeoSeries:
        """Return the shapes of one kind."""
        return self.geometry[self.kinds == kind]

    def counts(self) -> dict[str, int]:
        """Return how many shapes there are of each kind."""
        names, counts = np.unique(self.kinds.astype(str), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


def read_shapes(path: Path | str, *, layer: str | None = None) -> Shapes:
    """Read the shapes of a file.

    Args:
        path: GeoPackage, shapefile, GeoJSON, GeoParquet, KML, KMZ, whatever else GDAL reads, or one
            of these in a zip.
        layer: where the file holds several; in a zip, the name of the inner file. All folders of a
            KML are read where none is named.

    Raises:
        UsageError: no such file, it cannot be read, has several layers, no CRS or no geometry, or
            holds a shape that lies nowhere on the globe or is broken beyond repair; names the file,
            the feature, what was found and what to do.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "known.geojson"
        >>> bow = '{"type": "Polygon", "coordinates": [[[0,0],[1,1],[1,0],[0,1],[0,0]]]}'
        >>> _ = path.write_text(bow)
        >>> shapes = read_shapes(path)
        >>> shapes.counts(), shapes.repaired, shapes.geometry[1].geom_type
        ({'polygons': 1}, 1, 'MultiPolygon')
    """
    check_file(path)
    path = Path(path)
    table = _read(path, layer)
    fault = fault_of_crs(table.crs)
    if fault:
        raise UsageError(f"{path}: {fault}")
    shapes = table.geometry.to_numpy()
    is_there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    if not is_there.any():
        raise UsageError(
            f"{path}: found no geometry in {len(table)} features; expected polygons or points"
        )
    numbers = np.flatnonzero(is_there) + 1
    plain = [
        _plain(shape, f"{path}: feature {n}")
        for n, shape in zip(numbers, shapes[is_there], strict=True)
    ]
    kinds = np.array([_KINDS[shapely.get_type_id(shape)] for shape in plain], dtype=object)
    whole, repaired = _repaired(plain, kinds, numbers, path)
    return Shapes(
        source=str(path) if layer is None else f"{path}, layer {layer}",
        geometry=_in_degrees(whole, table.crs, numbers, path),
        attributes=pd.DataFrame(table.drop(columns=table.geometry.name))[is_there].set_axis(
            numbers
        ),
        kinds=kinds,
        repaired=repaired,
        empty=len(table) - len(plain),
    )


def numbered(count: int, kind: str) -> str:
    """Return a number of shapes in words.

    Examples:
        >>> numbered(1, POINTS), numbered(2, POLYGONS)
        ('1 point', '2 polygons')
    """
    return f"{count} {kind.removesuffix('s') if count == 1 else kind}"


# --- reading ------------------------------------------------------------------------------------


def _read(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    import geopandas as gpd

    if not path.exists():
        raise UsageError(
            f"{path}: no such file; expected GeoPackage, shapefile, GeoJSON, GeoParquet or KML"
        )
    try:
        is_parquet = path.suffix.lower() in _TABLES
        table = gpd.read_parquet(path) if is_parquet else _layers(path, layer)
    except UsageError:
        raise
    # GDAL, pyarrow, pyogrio and shapely have no common error of their own.
    except (RuntimeError, ValueError, OSError, shapely.errors.ShapelyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path}: cannot be read as polygons or points: {reason}") from error
    if not hasattr(table, "geometry"):
        raise UsageError(f"{path}: found a table without geometry; expected polygons or points")
    return table


def _layers(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    """Read the layer that was named, the only one, or all folders of a KML."""
    import geopandas as gpd
    import pyogrio

    inner, layer = _inside(path, layer)
    # Tables without geometry are passed over, such as the styles that QGIS keeps in a GeoPackage.
    names = [str(name) for name, kind in pyogrio.list_layers(inner) if kind is not None]
    if layer is not None and layer not in names:
        raise UsageError(f"{path}: found no layer {layer!r}, expected one of {first_few(names)}")
    if layer is None and len(names) > 1 and path.suffix.lower() not in _FOLDERS_ARE_LAYERS:
        raise _several(path, names)
    if not names:
        return gpd.read_file(inner)
    wanted = names if layer is None else [layer]
    tables = [gpd.read_file(inner, layer=name) for name in wanted]
    filled = [table for table in tables if len(table)] or tables[:1]
    return filled[0] if len(filled) == 1 else pd.concat(filled, ignore_index=True)


def _inside(path: Path, layer: str | None) -> tuple[str, str | None]:
    """Return the address of a file inside an archive, for GDAL; other files as they are."""
    if path.suffix.lower() not in _ARCHIVES:
        return str(path), layer
    try:
        with zipfile.ZipFile(path) as archive:
            files = [PurePosixPath(name) for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise UsageError(f"{path}: cannot be read: {error}; is the download complete?") from error
    files = [file for file in files if file.suffix.lower() in _IN_ARCHIVES]
    named = [file for file in files if layer in (file.stem, file.name, str(file))]
    if len(named or files) > 1:
        raise _several(path, [file.stem for file in named or files])
    if not files:
        raise UsageError(
            f"{path}: found no file of shapes in it, expected one of "
            f"{', '.join(sorted(_IN_ARCHIVES))}"
        )
    return f"/vsizip/{path}/{(named or files)[0]}", None if named else layer


def _several(path: Path, names: Sequence[str]) -> UsageError:
    return UsageError(
        f"{path}: found {len(names)} layers ({first_few(names)}), expected one; name it (layer=...)"
    )


# --- one shape ----------------------------------------------------------------------------------


def _plain(shape: Any, where: str) -> Any:
    """Return a shape without heights; a collection of one kind as one shape."""
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise UsageError(f"{where}: found coordinates that are no finite numbers; mend the file")
    shape = shapely.force_2d(shape)
    if shapely.get_type_id(shape) in _KINDS:
        return shape
    parts = _parts(shape)
    kinds = {_KINDS.get(shapely.get_type_id(part), part.geom_type) for part in parts}
    if len(kinds) == 1 and kinds <= set(_KINDS.values()):
        return shapely.union_all(shapely.make_valid(np.array(parts, dtype=object)))
    raise UsageError(
        f"{where}: found a {shape.geom_type} of {' and '.join(sorted(kinds))}; expected polygons "
        "or points"
    )


def _parts(shape: Any) -> list[Any]:
    """Return the single shapes of a collection, however deep they lie."""
    if hasattr(shape, "geoms"):
        return [part for one in shape.geoms for part in _parts(one)]
    return [shape]


def _repaired(
    shapes: list[Any], kinds: NDArray[Any], numbers: NDArray[Any], path: Path
) -> tuple[NDArray[Any], int]:
    """Repair polygons that cross themselves, and refuse those of which no area is left."""
    whole = np.array(shapes, dtype=object)
    is_polygon = kinds == POLYGONS
    broken = np.flatnonzero(is_polygon & ~shapely.is_valid(whole))
    for place in broken:
        parts = [one for one in _parts(shapely.make_valid(whole[place])) if one.area > 0]
        whole[place] = shapely.union_all(np.array(parts, dtype=object))
    flat = numbers[is_polygon & (shapely.area(whole) == 0)]
    if len(flat):
        raise UsageError(
            f"{path}: {len(flat)} of {len(whole)} polygons have no area (features "
            f"{first_few(flat.tolist())}, counted from 1); remove them"
        )
    return whole, len(broken)


def _in_degrees(shapes: NDArray[Any], crs: Any, numbers: NDArray[Any], path: Path) -> gpd.GeoSeries:
    import geopandas as gpd

    from lspipe.search.degrees import in_degrees

    table = gpd.GeoDataFrame(geometry=shapes, crs=crs).set_axis(numbers)
    _check_on_globe(_bounds(table, path), path)
    return in_degrees(table).geometry


def _bounds(table: gpd.GeoDataFrame, path: Path) -> gpd.GeoDataFrame:
    from pyproj.exceptions import ProjError

    try:
        return table.to_crs(4326).bounds
    except ProjError as error:
        raise UsageError(
            f"{path}: its CRS, {table.crs.name!r}, cannot be turned into degrees: {error}"
        ) from error


def _check_on_globe(bounds: Any, path: Path) -> None:
    is_outside = ~(
        (bounds["miny"] >= -90)
        & (bounds["maxy"] <= 90)
        & (bounds["minx"] >= -360)
        & (bounds["maxx"] <= 360)
    )
    if is_outside.any():
        number = bounds.index[is_outside][0]
        found = [round(value, 6) for value in bounds.loc[number].tolist()]
        raise UsageError(
            f"{path}: feature {number}: found bounds {found}, expected longitude and latitude; is "
            "the file's CRS right, or are latitude and longitude exchanged?"
        )
