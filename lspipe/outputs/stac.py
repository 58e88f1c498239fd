"""A run as a STAC Collection with an Item per tile: for catalogues and archives.

A folder beside the files that it describes, with relative links: what `cog` and the formats of the
list wrote is an asset; what is not there is left out. Items say from which scenes and which model
they were made: scenes of a server by their address there, others in `items.json` of the run.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pystac
import rasterio
import shapely

from lspipe.machine.copies import beside, local
from lspipe.outputs import geoparquet, gpkg, layers
from lspipe.outputs.credit import credit, notice
from lspipe.schema import State
from lspipe.schema.maps import REASON_NAMES
from lspipe.search.degrees import in_degrees
from lspipe.search.places import api_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lspipe.outputs import Run

FILE = "stac"

_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
EXTENSIONS = {
    name: _EXTENSION.format(f"{name}/{version}")
    for name, version in {
        "projection": "v2.0.0", "raster": "v2.0.0", "file": "v2.1.0", "processing": "v1.2.0",
        "classification": "v2.0.0", "grid": "v1.1.0",
    }.items()
}  # fmt: skip
"""Addresses that say which fields an Item has; nothing is read from there."""

LISTS = {
    geoparquet.FILE: ("application/vnd.apache.parquet", "landslides"),
    "unobserved.parquet": ("application/vnd.apache.parquet", "what was not observed"),
    "radar_cells.parquet": (
        "application/vnd.apache.parquet",
        "cells in which radar saw change where optics was blind",
    ),
    gpkg.FILE: ("application/geopackage+sqlite3", "landslides, with styles for QGIS"),
    "inventory.geojson": ("application/geo+json", "landslides"),
}
"""Files of the run that belong to the Collection: media type, title."""


def write(run: Run, path: Path) -> None:
    """Write the Collection; see the contract in `lspipe.outputs`."""
    path.mkdir()
    folder = beside(path)
    items = [_item(run, tile, files) for tile in run.tiles if (files := _files(folder, tile))]
    collection = _collection(run, items, folder)
    for item in items:
        collection.add_link(_link("item", f"./{item.id}.json", "application/geo+json"))
        for relation in ("collection", "parent", "root"):
            item.add_link(_link(relation, "./collection.json"))
        item.collection_id = collection.id
        _save(item.to_dict(include_self_link=False, transform_hrefs=False), path, item.id)
    _save(collection.to_dict(include_self_link=False, transform_hrefs=False), path, "collection")


def _save(content: Mapping[str, Any], folder: Path, name: str) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _link(relation: str, href: str, kind: str = "application/json", title: str = "") -> pystac.Link:
    return pystac.Link(relation, href, media_type=kind, title=title or None)


def _files(folder: Path, tile: str) -> list[Path]:
    return sorted((folder / layers.FILE).glob(f"{tile}_*.tif"))


def _collection(run: Run, items: list[pystac.Item], folder: Path) -> pystac.Collection:
    boxes = [[*item.bbox] for item in items if item.bbox is not None]
    collection = pystac.Collection(
        id=run.name,
        title=f"Landslides: {run.name}",
        description=f"Landslides mapped by lspipe. {notice(run)}.",
        extent=pystac.Extent(
            pystac.SpatialExtent(boxes or [[-180.0, -90.0, 180.0, 90.0]]),
            pystac.TemporalExtent([[*_interval(run, run.tiles)]]),
        ),
        license="other",
        keywords=["landslide", "Sentinel-2"],
        stac_extensions=[EXTENSIONS["file"]],
    )
    for name, (kind, title) in LISTS.items():
        if (folder / name).exists():
            asset = pystac.Asset(
                f"../{name}", title, media_type=kind, roles=["data"],
                extra_fields=_checksum(folder / name),
            )  # fmt: skip
            collection.add_asset(name, asset)
    return collection


def _item(run: Run, tile: str, files: list[Path]) -> pystac.Item:
    with local(files[0]) as file, rasterio.open(file) as first:
        grid = gpd.GeoSeries([shapely.box(*first.bounds)], crs=first.crs)
        place = {
            "proj:code": f"EPSG:{first.crs.to_epsg()}",
            "proj:shape": [*first.shape],
            "proj:transform": [*first.transform][:6],
            "proj:bbox": [*first.bounds],
        }
    (outline,) = in_degrees(gpd.GeoDataFrame(geometry=grid)).geometry
    start, end = _interval(run, (tile,))
    item = pystac.Item(
        id=f"{run.name}_{tile}",
        geometry=shapely.geometry.mapping(outline),
        bbox=_bbox(outline),
        datetime=None,
        start_datetime=start,
        end_datetime=end,
        properties=place | _made(run) | {"grid:code": f"MGRS-{tile}", "attribution": credit(run)},
        stac_extensions=[*EXTENSIONS.values()],
    )
    for file in files:
        name = file.stem.removeprefix(f"{tile}_")
        with local(file) as read:
            facts = _bands(read, name) | _checksum(read)
        asset = pystac.Asset(
            f"../{layers.FILE}/{file.name}", name.replace("_", " "),
            media_type=str(pystac.MediaType.COG), roles=_roles(name), extra_fields=facts,
        )  # fmt: skip
        item.add_asset(name, asset)
    for link in _origins(run, tile):
        item.add_link(link)
    return item


def _bbox(outline: Any) -> list[float]:
    """Return west, south, east, north; west is larger than east over 180 degrees (RFC 7946)."""
    west, south, east, north = outline.bounds
    if outline.geom_type == "MultiPolygon" and east - west > 180:
        longitudes = [part.bounds for part in outline.geoms]
        west = min(bounds[0] for bounds in longitudes if bounds[0] > 0)
        east = max(bounds[2] for bounds in longitudes if bounds[2] < 0)
    return [west, south, east, north]


def _interval(run: Run, tiles: tuple[str, ...]) -> tuple[datetime, datetime]:
    """Return the times of the first and the last scene."""
    times = [
        datetime.fromisoformat(step["time"])
        for tile in tiles
        for step in run.record["tiles"][tile]["steps"]
    ]
    return min(times), max(times)


def _made(run: Run) -> dict[str, Any]:
    """Return how it was made: extension `processing`."""
    version = run.record["versions"]["lspipe"]
    return {
        "processing:level": "L4",
        "processing:software": {"lspipe": version},
        "processing:lineage": f"model {run.model_title}, sha256 {run.model['sha256']}",
    }


def _origins(run: Run, tile: str) -> Iterator[pystac.Link]:
    """Yield a link to each scene and to the model."""
    search = run.workflow["search"]
    server = api_url(search["catalog"])
    for step in run.record["tiles"][tile]["steps"]:
        for scene in (item for acquisition in step["acquisitions"] for item in acquisition):
            href = f"../items.json#{scene}"
            if server is not None:
                href = f"{server.rstrip('/')}/collections/{search['collection']}/items/{scene}"
            yield _link("derived_from", href, "application/geo+json", f"{step['role']}: {scene}")
    yield _link("derived_from", "../run.json#model", title=f"model: {run.model_title}")


def _roles(name: str) -> list[str]:
    if name.startswith("quality"):
        return ["data", "data-mask"]
    return ["visual"] if name.startswith(("before", "after")) else ["data"]


def _bands(file: Path, name: str) -> dict[str, Any]:
    """Return the bands: no data, kind, scale, and classes with their names."""
    with rasterio.open(file) as opened:
        band: dict[str, Any] = {"nodata": opened.nodata, "data_type": opened.dtypes[0]}
        if opened.scales[0] != 1:
            band |= {"raster:scale": opened.scales[0]}
        names = [{"name": colour.name} for colour in opened.colorinterp]
    classes = _classes(name)
    if classes:
        band["classification:classes"] = [
            {"value": value, "name": text, "description": text.replace("_", " ")}
            for value, text in classes.items()
        ]
    return {"bands": [band | (one if len(names) > 1 else {}) for one in names]}


def _classes(name: str) -> dict[int, str]:
    if name == "change":
        return {int(state): state.name.lower() for state in State}
    if name.startswith("quality"):
        return {0: "observed", **dict(enumerate(REASON_NAMES, start=1))}
    return {}


def _checksum(file: Path) -> dict[str, Any]:
    """Return the size and the sha256 as a multihash: 12 = sha256, 20 = 32 bytes follow."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"file:size": file.stat().st_size, "file:checksum": f"1220{digest}"}
