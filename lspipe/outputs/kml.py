"""The list as KMZ (OGC KML 2.3), in folders by status: for Google Earth, phones and GPS devices."""

from __future__ import annotations

import html
import zipfile
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pandas as pd
import shapely

from lspipe.outputs import colours
from lspipe.outputs.credit import notice
from lspipe.outputs.for_people import for_people
from lspipe.schema.columns import COLUMNS, STATUSES
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.outputs import Run
    from lspipe.outputs.colours import Colour

FILE = "inventory.kmz"

_NAMESPACE = "http://www.opengis.net/kml/2.2"

_HIDDEN = {"geometry", "status", "model_sha256", "items_before", "items_after", "utm_epsg"}
"""Columns that a balloon leaves out."""


def write(run: Run, path: Path) -> None:
    """Write the list; see the contract in `lspipe.outputs`."""
    text = ET.tostring(_document(run), encoding="unicode", xml_declaration=True)
    # A fixed time: the same list gives the same bytes.
    entry = zipfile.ZipInfo("doc.kml", date_time=(1980, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(entry, text, zipfile.ZIP_DEFLATED)


def _document(run: Run) -> ET.Element:
    root = ET.Element("kml", xmlns=_NAMESPACE)
    document = ET.SubElement(root, "Document")
    _sub(document, "name", run.name)
    _sub(document, "description", notice(run))
    for status, colour in colours.STATUSES.items():
        document.append(_style(status, colour))
    table = for_people(in_degrees(run.inventory))
    for status in STATUSES:
        rows = table[table["status"] == status]
        if len(rows):
            folder = ET.SubElement(document, "Folder")
            _sub(folder, "name", f"{status} ({len(rows)})")
            for row in rows.to_dict("records"):
                folder.append(_placemark(row))
    return root


def _style(status: str, colour: Colour) -> ET.Element:
    """A line in the colour of the status, and a breath of it inside, where a finger can tap."""
    style = ET.Element("Style", id=status)
    line = ET.SubElement(style, "LineStyle")
    _sub(line, "color", _kml_colour(colour, 255))
    _sub(line, "width", "2")
    fill = ET.SubElement(style, "PolyStyle")
    _sub(fill, "color", _kml_colour(colour, 50))
    return style


def _kml_colour(colour: Colour, opacity: int) -> str:
    """KML has opacity, blue, green, red, each as two hexadecimal digits."""
    red, green, blue, _ = colour
    return f"{opacity:02x}{blue:02x}{green:02x}{red:02x}"


def _placemark(row: dict[str, Any]) -> ET.Element:
    mark = ET.Element("Placemark")
    _sub(mark, "name", f"{row['status']}, {row['area_m2'] / 1e4:.2f} ha")
    _sub(mark, "description", _balloon(row))
    _sub(mark, "styleUrl", f"#{row['status']}")
    data = ET.SubElement(mark, "ExtendedData")
    for name, value in row.items():
        if name != "geometry":
            _sub(ET.SubElement(data, "Data", name=str(name)), "value", _text(value))
    many = ET.SubElement(mark, "MultiGeometry")
    for polygon in shapely.get_parts(row["geometry"]):
        many.append(_polygon(polygon))
    return mark


def _balloon(row: dict[str, Any]) -> str:
    """Return an HTML table of what a person in the field wants to know."""
    told = {name: _text(value) for name, value in row.items() if name not in _HIDDEN}
    lines = [
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)} {_unit(name)}</td></tr>"
        for name, text in told.items()
        if text
    ]
    return f"<table>{''.join(lines)}</table>"


def _unit(name: str) -> str:
    unit = COLUMNS[name].unit if name in COLUMNS else ""
    return unit if unit in {"m", "m²"} else ""


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e5 else str(value)


def _polygon(shape: Any) -> ET.Element:
    polygon = ET.Element("Polygon")
    for tag, ring in [
        ("outerBoundaryIs", shape.exterior),
        *(("innerBoundaryIs", hole) for hole in shape.interiors),
    ]:
        linear = ET.SubElement(ET.SubElement(polygon, tag), "LinearRing")
        # 7 decimals are 1 cm.
        _sub(linear, "coordinates", " ".join(f"{x:.7f},{y:.7f}" for x, y in ring.coords))
    return polygon


def _sub(parent: ET.Element, tag: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, tag)
    element.text = text
    return element
