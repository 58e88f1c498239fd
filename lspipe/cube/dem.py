"""The section `terrain:` -> the heights of a run: files found, headers read, the datum decided.

Of a collection the files are searched once, and what was found is frozen beside the scenes; a file
of a person's own is looked at again by every plan. Either way nothing here reads more than headers,
and a small picture of a file on this machine.

Does not cover: headers (`height_file.py`), pixels (`heights.py`), channels (`terrain.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry import box

from lspipe import catalogs
from lspipe.cube.height_file import digest_of, look_at, read_header
from lspipe.cube.loaders.source import Source
from lspipe.cube.loaders.together import read_together
from lspipe.cube.terrain import Terrain
from lspipe.errors import NothingFound, WorkflowError, without_query
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

    from lspipe.cube.height_file import Datum, HeightFile
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

PUBLIC = {
    f"s3://copernicus-dem-{name}/": f"https://copernicus-dem-{name}.s3.eu-central-1.amazonaws.com/"
    for name in ("30m", "90m")
}
"""Public buckets, which need no account by this address. Source: registry.opendata.aws."""


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
        digest=digest_of(path),
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
    hrefs = (str(asset.href) for item in items for asset in item.assets.values())
    files = tuple(read_together(lambda item: _of_item(item, spec, known), items, hrefs))
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
    file = read_header(
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
    digest = hashlib.sha256(f"{terrain.digest} {digest_of(path)}".encode()).hexdigest()
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
