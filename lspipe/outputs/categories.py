"""Names of classes -> the XML in which GDAL, and QGIS with it, looks for them.

A GeoTIFF has no place for them, so they stand in a file beside it, `NAME.tif.aux.xml`; a mosaic
holds them itself. Source: https://gdal.org/en/stable/drivers/raster/vrt.html (CategoryNames).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def category_names(names: Mapping[int, str]) -> ET.Element:
    """Return the names of classes; a name stands at the place of its value, from 0.

    >>> ET.tostring(category_names({0: "none", 2: "loss"}), encoding="unicode")
    '<CategoryNames><Category>none</Category><Category /><Category>loss</Category></CategoryNames>'
    """
    found = ET.Element("CategoryNames")
    for value in range(max(names, default=-1) + 1):
        ET.SubElement(found, "Category").text = names.get(value)
    return found


def write_category_names(names: Mapping[int, str], path: Path) -> Path:
    """Write the names of the classes of a GeoTIFF beside it; returns the file."""
    root = ET.Element("PAMDataset")
    ET.SubElement(root, "PAMRasterBand", band="1").append(category_names(names))
    beside = path.with_name(names_file(path.name))
    beside.write_text(ET.tostring(root, encoding="unicode"), encoding="utf-8")
    return beside


def names_file(name: str) -> str:
    """Return the name of the file that holds the names of the classes of a GeoTIFF."""
    return f"{name}.aux.xml"
