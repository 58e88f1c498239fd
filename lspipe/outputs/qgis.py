"""A project of QGIS that opens the list, what was not observed, and the layers, all styled.

Paths are relative, so the run directory can be moved or zipped as a whole. It opens what the
outputs `gpkg` and `cog` write; what is not there is left out.
"""

from __future__ import annotations

import uuid
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pyogrio
from pyproj import CRS

from lspipe.machine.copies import beside, local
from lspipe.outputs import colours, gpkg, layers, qgis_styles
from lspipe.outputs.credit import credit
from lspipe.schema import State
from lspipe.schema.maps import REASON_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lspipe.outputs import Run

FILE = "project.qgz"

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shown:
    """A layer of the project."""

    name: str
    source: str
    """Relative to the project."""
    crs: CRS
    style: list[ET.Element]
    is_raster: bool
    is_on: bool
    """Whether it is shown when the project opens."""

    @property
    def id(self) -> str:
        """The same for the same source, so that the same run gives the same project."""
        return f"{self.name.replace(' ', '_')}_{uuid.uuid5(uuid.NAMESPACE_URL, self.source).hex}"


def write(run: Run, path: Path) -> None:
    """Write the project; see the contract in `lspipe.outputs`."""
    shown = list(_layers(beside(path)))
    text = ET.tostring(_project(run, shown), encoding="unicode")
    inside = f"{FILE.removesuffix('.qgz')}.qgs"
    # A fixed time: the same run gives the same bytes.
    entry = zipfile.ZipInfo(inside, date_time=(1980, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(entry, f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}")


def _layers(folder: Path) -> Iterator[Shown]:
    """Yield the layers from the uppermost to the lowest."""
    degrees = CRS.from_epsg(4326)
    if (folder / gpkg.FILE).exists():
        with local(folder / gpkg.FILE) as file:
            fields = {
                table: list(pyogrio.read_info(file, layer=table)["fields"])
                for table in pyogrio.list_layers(file)[:, 0]
                if table in gpkg.STYLES
            }
        for table, style in gpkg.STYLES.items():
            # Of radar only where the run reads it.
            if table not in fields:
                continue
            columns = fields[table]
            for name, rows in _PARTS.get(table, {table: ""}).items():
                source = f"./{gpkg.FILE}|layername={table}{rows}"
                yield Shown(name, source, degrees, style(columns), is_raster=False, is_on=True)
    for name, renderer, is_on in _MAPS:
        for file in sorted((folder / layers.FILE).glob(f"{name}*.vrt")):
            stem, _, zone = file.stem.rpartition("_")
            # "before_20170115" where a date has several acquisitions; never "probability_before".
            if stem == name or stem.removeprefix(f"{name}_").isdigit():
                source = f"./{layers.FILE}/{file.name}"
                title = stem.replace("_", " ")
                yield Shown(
                    title, source, CRS.from_epsg(int(zone)), [_pipe(renderer())],
                    is_raster=True, is_on=is_on,
                )  # fmt: skip


_PARTS = {
    gpkg.LAYER: {
        gpkg.LAYER: "|subset=\"status\" <> 'undetermined'",
        "candidates": "|subset=\"status\" = 'undetermined'",
    }
}
"""Layers of one table, and their rows: what lies under cloud or shadow on a date is no landslide
yet, and is not lost."""


def _change() -> ET.Element:
    states = (State.GAIN, State.LOSS, State.BOTH, State.WEAK_GAIN, State.WEAK_LOSS)
    names = {int(state): state.name.lower().replace("_", " ") for state in states}
    return qgis_styles.classes(colours.STATES, names)


def _quality() -> ET.Element:
    names = {number: name.replace("_", " ") for number, name in enumerate(REASON_NAMES, start=1)}
    return qgis_styles.classes(layers.QUALITY.colours or {}, names)


_MAPS: tuple[tuple[str, Callable[[], ET.Element], bool], ...] = (
    ("change", _change, False),
    ("probability_after", qgis_styles.probability, False),
    ("probability_before", qgis_styles.probability, False),
    ("quality_after", _quality, False),
    ("quality_before", _quality, False),
    ("radar_density", qgis_styles.density, False),
    ("vv_change_asc", qgis_styles.backscatter, False),
    ("vv_change_desc", qgis_styles.backscatter, False),
    ("slope", qgis_styles.slope, False),
    ("after", qgis_styles.picture, True),
    ("before", qgis_styles.picture, True),
)
"""Layers from above: name, renderer, whether it is on. To see what is new, switch `after` off."""


# --- the file -----------------------------------------------------------------------------------


def _project(run: Run, shown: list[Shown]) -> ET.Element:
    crs = next((one.crs for one in shown if one.is_raster), CRS.from_epsg(3857))
    root = ET.Element("qgis", version="3.22", projectname=run.name)
    _sub(root, "title", run.name)
    root.append(_crs("projectCrs", crs))
    tree = ET.SubElement(root, "layer-tree-group")
    for one in shown:
        told = {"id": one.id, "name": one.name, "source": one.source}
        state = {"checked": "Qt::Checked" if one.is_on else "Qt::Unchecked", "expanded": "0"}
        told["providerKey"] = "gdal" if one.is_raster else "ogr"
        ET.SubElement(tree, "layer-tree-layer", told | state)
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas")
    _sub(canvas, "units", "meters")
    canvas.append(_extent(_bounds(run, crs)))
    canvas.append(_crs("destinationsrs", crs))
    order = ET.SubElement(root, "layerorder")
    listed = ET.SubElement(root, "projectlayers")
    for one in shown:
        ET.SubElement(order, "layer", id=one.id)
        listed.append(_map_layer(one, credit(run)))
    properties = ET.SubElement(root, "properties")
    paths = ET.SubElement(properties, "Paths")
    _sub(paths, "Absolute", "false").set("type", "bool")
    # Else QGIS 3.22 takes the project for one without a CRS.
    system = ET.SubElement(properties, "SpatialRefSys")
    _sub(system, "ProjectionsEnabled", "1").set("type", "int")
    return root


def _map_layer(one: Shown, credit: str) -> ET.Element:
    layer = ET.Element("maplayer", type="raster" if one.is_raster else "vector")
    if not one.is_raster:
        layer.set("geometry", "Polygon")
    _sub(layer, "id", one.id)
    _sub(layer, "datasource", one.source)
    _sub(layer, "layername", one.name)
    layer.append(_crs("srs", one.crs))
    _sub(ET.SubElement(layer, "resourceMetadata"), "rights", credit)
    if one.is_raster:
        _sub(layer, "provider", "gdal")
    else:
        _sub(layer, "provider", "ogr").set("encoding", "UTF-8")
    layer.extend(one.style)
    return layer


def _pipe(renderer: ET.Element) -> ET.Element:
    pipe = ET.Element("pipe")
    pipe.append(renderer)
    return pipe


def _crs(tag: str, crs: CRS) -> ET.Element:
    element = ET.Element(tag)
    system = ET.SubElement(element, "spatialrefsys")
    _sub(system, "wkt", crs.to_wkt())
    _sub(system, "srid", str(crs.to_epsg()))
    _sub(system, "authid", f"EPSG:{crs.to_epsg()}")
    return element


def _extent(bounds: Bounds) -> ET.Element:
    element = ET.Element("extent")
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
        _sub(element, name, f"{value:.6f}")
    return element


def _bounds(run: Run, crs: CRS) -> Bounds:
    """Return what is shown first: the objects of the list, else all that was not observed."""
    for table in (run.inventory, run.unobserved):
        # In metres: what lies on both sides of 180 degrees is close together there.
        edges = table.to_crs(crs).total_bounds if len(table) else np.array([np.nan])
        if np.isfinite(edges).all():
            margin = 0.05 * max(edges[2] - edges[0], edges[3] - edges[1]) + 100
            west, south, east, north = (edges + np.array([-1, -1, 1, 1]) * margin).tolist()
            return west, south, east, north
    return crs.area_of_use.bounds if crs.area_of_use else (-180.0, -90.0, 180.0, 90.0)


def _sub(parent: ET.Element, tag: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, tag)
    element.text = text
    return element
