"""What each output holds, as programs read it that lspipe did not write."""

from __future__ import annotations

import csv
import json
import sqlite3
import zipfile
from contextlib import closing
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import geopandas as gpd
import pyarrow.parquet
import pystac
import rasterio

from lspipe.outputs import OUTPUTS, file_of
from lspipe.runs.export import export
from tests import stac_fields

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _geopackage(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        return int(file.execute("SELECT count(*) FROM inventory").fetchone()[0])


def _kml(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        root = ElementTree.fromstring(archive.read("doc.kml"))
    return len(root.findall(".//{http://www.opengis.net/kml/2.2}Placemark"))


def _project(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        root = ElementTree.fromstring(archive.read("project.qgs"))
    return len(root.findall("projectlayers/maplayer"))


class _Page(HTMLParser):
    """Reads the list out of the data of a page."""

    def __init__(self) -> None:
        super().__init__()
        self._is_data = False
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_data = tag == "script" and ("type", "application/json") in attrs

    def handle_data(self, data: str) -> None:
        if self._is_data:
            self.text += data


def columns_of(report: Path) -> dict[str, list[Any]]:
    """The list of a report, by the names of its columns."""
    page = _Page()
    page.feed(report.read_text(encoding="utf-8"))
    return {column["name"]: _values(column) for column in json.loads(page.text)["columns"]}


def _values(column: dict[str, Any]) -> list[Any]:
    if "values" in column:
        return list(column["values"])
    # Words that repeat stand there once.
    return [column["words"][place] for place in column["places"]]


def _maps(path: Path) -> int:
    found = 0
    for file in sorted(file for file in path.iterdir() if file.suffix in {".tif", ".vrt"}):
        with rasterio.open(file) as opened:
            opened.read(1, out_shape=(1, 64, 64))
            found += 1
    return found


def _collection(path: Path) -> int:
    collection = pystac.Collection.from_file(str(path / "collection.json"))
    items = list(collection.get_items())
    for one in (collection, *items):
        stac_fields.check(one.to_dict())
    return len(items)


def _table(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        return len(list(csv.DictReader(file)))


def _pages(path: Path) -> int:
    content = path.read_bytes()
    assert content.startswith(b"%PDF-")
    return content.count(b"/Type /Page\n")


READERS: dict[str, Callable[[Path], int]] = {
    "geoparquet": lambda path: pyarrow.parquet.read_table(path).num_rows,
    "geojson": lambda path: len(json.loads(path.read_text(encoding="utf-8"))["features"]),
    "gpkg": _geopackage,
    "kml": _kml,
    "shapefile": lambda path: len(gpd.read_file(f"/vsizip/{path}/inventory.shp")),
    "cog": _maps,
    "qgis": _project,
    "stac": _collection,
    "coolr": _table,
    "pictures": lambda path: len(list(path.glob("*.webp"))),
    "report": lambda path: len(columns_of(path)["id"]),
    "sheet": _pages,
}
"""How many rows, maps, layers, items or pages an output has, by the name of the output."""


def read_every_output(run: Path, folder: Path) -> dict[str, int]:
    """Export a run to every format there is, and count what a reader of each finds."""
    export(run, to=tuple(OUTPUTS), folder=folder)
    return {name: READERS[name](folder / file_of(name)) for name in OUTPUTS}


def counts_of(listed: gpd.GeoDataFrame) -> dict[str, int]:
    """What the outputs of a run of one tile and two dates have to hold, by its list."""
    rows = ("geoparquet", "geojson", "gpkg", "kml", "shapefile", "report")
    new = int(listed["status"].isin(["new", "grown"]).sum())
    return dict.fromkeys(rows, len(listed)) | {
        # Seven maps of the tile and a mosaic of each; these with the list and the gaps.
        "cog": 14, "qgis": 10, "stac": 1, "coolr": new, "sheet": 1,
        # All are in the report itself.
        "pictures": 0,
    }  # fmt: skip
