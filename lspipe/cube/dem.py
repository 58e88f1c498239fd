"""The section `terrain:` -> the heights of a run: files found, headers read, the datum decided.

Of a collection the files are searched once, and what was found is frozen beside the scenes; a file
of a person's own is looked at again by every plan. Either way nothing here reads more than headers,
and a small picture of a file on this machine.

Does not cover: pixels (`heights.py`), channels (`terrain.py`).
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry import box

from lspipe import catalogs
from lspipe.cube.heights import HeightFile, refuse_no_heights
from lspipe.cube.loaders.declared import UnfitFile
from lspipe.cube.loaders.source import Source
from lspipe.cube.loaders.source import read as read_source
from lspipe.cube.terrain import Datum, Terrain
from lspipe.errors import LoadError, NothingFound, WorkflowError, without_query
from lspipe.models.recipes import base_of
from lspipe.schema import split_channel
from lspipe.search.areas import Area, footprint, split_at_date_line
from lspipe.search.dates import DateRange
from lspipe.search.find import find_items
from lspipe.search.spec import SearchSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pystac
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from lspipe.cube.terrain_spec import TerrainSpec
    from lspipe.models import ModelItem

AROUND_DEGREES = 0.1
"""How far around a tile files are looked for: a cell, and what the spline reaches."""

ANY_TIME = DateRange(start=date(1900, 1, 1), end=date(2099, 12, 31))
"""A DEM is of no date; its items have some."""


@dataclass(frozen=True)
class Known:
    """What is known of a collection of heights, and not in its files."""

    datum: Datum
    datum_name: str
    is_sea_left_out: bool = False
    """Whether squares of sea have no file."""


COLLECTIONS: Mapping[str, Known] = {
    "cop-dem-glo-30": Known("geoid", "EGM2008", is_sea_left_out=True),
    "cop-dem-glo-90": Known("geoid", "EGM2008", is_sea_left_out=True),
    "nasadem": Known("geoid", "EGM96"),
    "alos-dem": Known("geoid", "EGM96"),
    "3dep-seamless": Known("geoid", "NAVD88"),
}
"""Source: Copernicus DEM product handbook, version 4; NASADEM user guide; AW3D30 product
description; USGS 3DEP."""

TRAINED_ABOVE: Mapping[str, Datum] = {
    "l4s14": "ellipsoid",
    "yali14": "ellipsoid",
    "yali6": "ellipsoid",
}
"""What the heights of a recipe were counted from. Landslide4Sense and the thesis that uses it took
the DEM of ALOS PALSAR, which ASF converts to heights above the ellipsoid (docs/terrain.md)."""

METRES = {
    **dict.fromkeys(("", "m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet", "international foot"), 0.3048),
    **dict.fromkeys(("us-ft", "us survey foot", "us_survey_foot", "ftus"), 1200 / 3937),
}
"""Metres of a unit of height, by the names that files have for it."""

PUBLIC = {
    f"s3://copernicus-dem-{name}/": f"https://copernicus-dem-{name}.s3.eu-central-1.amazonaws.com/"
    for name in ("30m", "90m")
}
"""Public buckets, which need no account by this address. Source: registry.opendata.aws."""

HEADERS_AT_ONCE = 8
"""Files whose headers are read at the same time."""

_SMALL = 256
"""Edge of the picture of a file that is looked at before a run."""


def from_file(spec: TerrainSpec, folder: Path) -> Terrain:
    """Look at a raster of heights.

    Raises:
        WorkflowError: it is not there, or is no raster of heights with a CRS.
    """
    name = str(spec.dem)
    path = _path(name, folder)
    file = look_at(path, key="terrain.dem", name=name, unit=spec.unit)
    return Terrain(
        name=name,
        files=(file,),
        datum=_datum(spec, file.datum),
        datum_name=file.datum_name,
        digest=_digest(path),
    )


def search(spec: TerrainSpec, where: SearchSpec, grids: Sequence[GeoBox], folder: Path) -> Terrain:
    """Search the files of a collection that lie on tiles or near them, and read their headers.

    Raises:
        NothingFound: the catalogue has none.
        CatalogError: the catalogue cannot be reached or read.
        WorkflowError: an item has no raster of heights.
    """
    name = str(spec.dem)
    asked = SearchSpec(catalog=where.catalog, collection=name, page_size=where.page_size)
    ground = shapely.union_all([_around(grid) for grid in grids])
    found = find_items(asked, Area(ground, None, f"{len(grids)} tiles"), ANY_TIME, folder)
    # Items in files that name no collection are scenes.
    items = [item for item in found if catalogs.collection_of(item) == name]
    if not items:
        raise NothingFound(
            f"terrain.dem: no item of {name} over the tiles in {without_query(where.catalog)}\n"
            "check the name of the collection, or give a file of heights"
        )
    known = COLLECTIONS.get(name, Known("", ""))
    # Each is a header over the network, and a run of a thousand tiles has as many.
    with ThreadPoolExecutor(HEADERS_AT_ONCE) as pool:
        files = tuple(pool.map(lambda item: _of_item(item, spec, known), items))
    return Terrain(
        name=name,
        files=files,
        is_sea_left_out=known.is_sea_left_out,
        datum=_datum(spec, files[0].datum),
        datum_name=files[0].datum_name,
    )


def _around(grid: GeoBox) -> BaseGeometry:
    """Return the ground of a tile and around it; near the date line on both sides."""
    ground = footprint(grid)
    parts = getattr(ground, "geoms", [ground])
    wide = [split_at_date_line(shapely.buffer(part, AROUND_DEGREES)) for part in parts]
    return shapely.union_all(wide)


def _datum(spec: TerrainSpec, said: str) -> Datum:
    found = said if spec.datum == "auto" else spec.datum
    return "geoid" if found == "geoid" else "ellipsoid" if found == "ellipsoid" else ""


def _of_item(item: pystac.Item, spec: TerrainSpec, known: Known) -> HeightFile:
    keys = [key for key in ("data", "elevation", "dem") if key in item.assets] or [
        key for key, asset in item.assets.items() if "data" in (asset.roles or ())
    ]
    if not keys:
        raise WorkflowError(
            f"terrain.dem: {item.id} has no asset of heights: it has {', '.join(item.assets)}; "
            "give a file of heights"
        )
    href = str(item.assets[keys[0]].href)
    for bucket, address in PUBLIC.items():
        href = href.replace(bucket, address)
    file = _header(
        Source(
            item=item.id,
            band="elevation",
            asset=keys[0],
            href=href,
            catalog=catalogs.catalog_of(item),
            on_read_error="fail",
            otherwise="or take another terrain.dem",
        ),
        unit=spec.unit,
    )
    return replace(
        file,
        datum=file.datum or known.datum,
        datum_name=file.datum_name or known.datum_name,
    )


def _path(name: str, folder: Path) -> str:
    return name if "://" in name or name.startswith("/vsi") else str((folder / name).absolute())


def look_at(path: str, *, key: str, name: str, unit: str) -> HeightFile:
    """Read the header of a file, and a small picture of one that lies on this machine.

    Args:
        path: of the file, or its address.
        key: of the workflow, for errors.
        name: as the workflow writes it.
        unit: of its heights; "auto" = as it says.

    Raises:
        WorkflowError: it cannot be read, or is no raster of heights with a CRS.
    """
    source = Source(
        item=name,
        band="elevation",
        asset=key,
        href=path,
        catalog=catalogs.GENERIC,
        on_read_error="fail",
        otherwise=f"or take another {key}",
    )
    try:
        return _header(source, unit=unit, is_looked_into="://" not in path)
    except LoadError as error:
        raise WorkflowError(f"{key}: {name}: {error.reason}") from error


def _header(source: Source, *, unit: str, is_looked_into: bool = False) -> HeightFile:
    """Return what the header of a file says.

    Raises:
        LoadError: it cannot be read, or is no raster of heights with a CRS.
    """

    def facts(href: str) -> HeightFile:
        # Beside a local file there may be one with its CRS.
        is_local = "://" not in href
        side_files = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE"} if is_local else {}
        with rasterio.Env(**side_files), rasterio.open(href, sharing=False) as file:
            found = _facts(file, source, unit)
            if is_looked_into:
                _check_heights(file, found.metres)
            return found

    found = read_source(source, facts)
    if found is None:  # cannot be, as a failed read is an error
        raise AssertionError(source.href)
    return found


def _facts(file: rasterio.DatasetReader, source: Source, unit: str) -> HeightFile:
    horizontal, datum, datum_name, axis_unit = _systems(file)
    a, b, c, d, e, f = tuple(file.transform)[:6]
    if b or d or a <= 0 or e >= 0:
        raise UnfitFile("its rows do not run from west to east; warp it first: gdalwarp")
    if file.count != 1:
        raise UnfitFile(f"found {file.count} bands, expected one, of heights")
    said = (file.units[0] or "").strip().lower() or axis_unit
    if unit == "auto" and said not in METRES:
        raise UnfitFile(f"its heights are in {said!r}; name their unit in terrain.unit")
    return HeightFile(
        item=source.item,
        asset=source.asset,
        href=source.href,
        crs=horizontal.to_wkt(),
        transform=(a, b, c, d, e, f),
        shape=(file.height, file.width),
        metres=METRES[said if unit == "auto" else unit],
        datum=datum,
        datum_name=datum_name,
        catalog=source.catalog.name,
        bytes_per_pixel=np.dtype(file.dtypes[0]).itemsize,
    )


def _systems(file: rasterio.DatasetReader) -> tuple[CRS, Datum, str, str]:
    """Return the horizontal CRS of a file, its datum of heights and its name, and their unit.

    Raises:
        UnfitFile: it has none, or one whose coordinates are no places on the Earth.
    """
    if file.crs is None:
        raise UnfitFile(
            "it has no CRS; name it: gdal_edit -a_srs EPSG:4326 FILE, if that is what it is"
        )
    try:
        whole = CRS.from_wkt(file.crs.to_wkt(version="WKT2_2019"))
    except CRSError as error:
        raise UnfitFile(f"its CRS is not understood: {error}") from error
    datum: Datum = ""
    name = unit = ""
    horizontal = whole
    if whole.is_compound:
        horizontal, vertical = whole.sub_crs_list[:2]
        datum, name = "geoid", vertical.name
        unit = vertical.axis_info[0].unit_name.lower()
    elif len(whole.axis_info) == 3:
        datum, name = "ellipsoid", whole.name
        unit = whole.axis_info[2].unit_name.lower()
        horizontal = whole.to_2d()
    if not (horizontal.is_geographic or horizontal.is_projected):
        raise UnfitFile(f"its CRS is {whole.name}, expected a geographic or a projected one")
    return horizontal, datum, name, unit


def _check_heights(file: rasterio.DatasetReader, metres: float) -> None:
    """Refuse numbers that no ground has, as far as a small picture of the file shows them."""
    shape = min(_SMALL, file.height), min(_SMALL, file.width)
    found = file.read(1, out_shape=shape, masked=True).compressed().astype(np.float64)
    refuse_no_heights((found * file.scales[0] + file.offsets[0]) * metres)


def _digest(path: str) -> str:
    """Return the sha256 of a file on this machine; "" of an address."""
    if "://" in path or path.startswith("/vsi"):
        return ""
    with open(path, "rb") as file:  # noqa: PTH123  # a path that GDAL takes too
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- what is asked of them ----------------------------------------------------------------------


def uncovered(files: Sequence[HeightFile], area: BaseGeometry, grids: Sequence[GeoBox]) -> float:
    """Return the share of an area, on tiles, that lies on no file: 0..1, by degrees.

    Args:
        files: of heights.
        area: longitude and latitude.
        grids: of the tiles.
    """
    ground = shapely.intersection(area, shapely.union_all([footprint(grid) for grid in grids]))
    if ground.area == 0:
        return 0.0
    covered = shapely.union_all([_ground_of(file) for file in files])
    return float(ground.difference(covered).area / ground.area)


def _ground_of(file: HeightFile) -> BaseGeometry:
    """Return the outline of a file in longitude and latitude."""
    outline = box(*file.bounds)
    if not file.is_geographic:
        outline = shapely.segmentize(outline, max(file.shape) * abs(file.transform[0]) / 64)
    to = Transformer.from_crs(file.crs, "EPSG:4326", always_xy=True)
    corners = shapely.transform(outline, lambda xy: np.stack(to.transform(*xy.T), axis=1))
    return split_at_date_line(corners)


def shifted(terrain: Terrain, spec: TerrainSpec, item: ModelItem, folder: Path) -> Terrain:
    """Return heights as the model wants them: as they are, or shifted by the height of the geoid.

    Only the channel `elevation` depends on it.

    Raises:
        WorkflowError: they are counted from something else than the model was trained with, and no
            geoid is named; or the datum is not known.
    """
    wanted = _wanted(spec, item)
    if wanted in ("", terrain.datum):
        return terrain
    what = f"terrain.dem: heights of {terrain.name}"
    why = f"{item.id} wants them above the {wanted}"
    if spec.shift_to != "auto":
        why = f"terrain.shift_to asks for the {wanted}"
    if not terrain.datum:
        raise WorkflowError(
            f"{what}: their datum is not known, and {why}; name it in terrain.datum (geoid or "
            "ellipsoid), or take them as they are with terrain.shift_to: none"
        )
    if spec.geoid is None:
        raise WorkflowError(
            f"{what} are above the {terrain.datum} ({terrain.datum_name or 'terrain.datum'}), and "
            f"{why}: up to 100 m apart; name a raster of the height of the geoid in terrain.geoid, "
            "or take them as they are with terrain.shift_to: none"
        )
    path = _path(spec.geoid, folder)
    geoid = look_at(path, key="terrain.geoid", name=spec.geoid, unit="auto")
    digest = hashlib.sha256(f"{terrain.digest} {_digest(path)}".encode()).hexdigest()
    return replace(terrain, datum=wanted, geoid=geoid, digest=digest)


def _wanted(spec: TerrainSpec, item: ModelItem) -> Datum:
    """Return the datum that the channel `elevation` is to have; "" where nothing depends on it."""
    if not any(split_channel(band)[1] == "elevation" for band in item.channels_from("terrain")):
        return ""
    if spec.shift_to == "auto":
        return TRAINED_ABOVE.get(base_of(item.recipe), "")
    return "" if spec.shift_to == "none" else spec.shift_to


def bytes_on(terrain: Terrain, grids: Sequence[GeoBox]) -> int:
    """Return the uncompressed bytes of heights on some tiles, of the finest files there."""
    ground = shapely.union_all([footprint(grid) for grid in grids])
    total = 0.0
    for file in terrain.files:
        outline = _ground_of(file)
        if outline.area > 0:
            share = outline.intersection(ground).area / outline.area
            total += share * file.shape[0] * file.shape[1] * file.bytes_per_pixel
    return int(total)


def said(terrain: Terrain) -> dict[str, Any]:
    """Return plain facts of the heights of a run, for people."""
    return {
        "dem": terrain.name,
        "files": len(terrain.files),
        "datum": terrain.datum or "not known",
        "datum_name": terrain.datum_name,
        "is_shifted": terrain.geoid is not None,
        "metres_per_unit": terrain.files[0].metres,
    }
