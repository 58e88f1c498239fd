"""The list and what was not observed as a GeoPackage, EPSG:4326, with styles: for QGIS and ArcGIS.

Its bytes hold the time of writing (`gpkg_contents.last_change`); the content is the same. Version
1.2, which GDAL reads without a warning from 2.2 on.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pyogrio

from lspipe.outputs.credit import credit
from lspipe.outputs.qgis_styles import as_qml, gaps_style, list_style
from lspipe.outputs.rounded import rounded
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd

    from lspipe.outputs import Run

FILE = "inventory.gpkg"

LAYER, GAPS = "inventory", "unobserved"

STYLES = {LAYER: list_style, GAPS: gaps_style}
"""What makes the style of each layer, from the names of its columns."""

_STYLES_TABLE = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
  f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
  styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT,
  owner TEXT(30), ui TEXT(30), update_time DATETIME)
"""
"""Of QGIS: where it looks for the style of a layer when it opens a GeoPackage."""

_REGISTER = """
INSERT INTO gpkg_contents (table_name, data_type, identifier, description)
VALUES ('layer_styles', 'attributes', 'layer_styles', 'styles of QGIS')
"""

_INSERT = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column,
  styleName, styleQML, styleSLD, useAsDefault, description, owner, update_time)
VALUES ('', '', ?, 'geom', ?, ?, '', 1, ?, '', '2000-01-01T00:00:00.000Z')
"""


def write(run: Run, path: Path) -> None:
    """Write the list; see the contract in `lspipe.outputs`. Polygons become MultiPolygons."""
    tables = {LAYER: rounded(run.inventory), GAPS: rounded(run.unobserved)}
    for name, table in tables.items():
        _write_layer(in_degrees(table), path, name, told=credit(run))
    with closing(sqlite3.connect(path)) as file:
        file.execute(_STYLES_TABLE)
        file.execute(_REGISTER)
        for name, table in tables.items():
            columns = [str(column) for column in table.columns.drop("geometry")]
            style = as_qml(STYLES[name](columns))
            file.execute(_INSERT, (name, "lspipe", style, f"how lspipe shows {name}"))
        file.commit()


def _write_layer(table: gpd.GeoDataFrame, path: Path, layer: str, *, told: str) -> None:
    pyogrio.write_dataframe(
        table,
        path,
        layer=layer,
        driver="GPKG",
        geometry_type="MultiPolygon",
        promote_to_multi=True,
        append=path.exists(),
        layer_options={"DESCRIPTION": told},
        dataset_options={"VERSION": "1.2"} if not path.exists() else {},
    )
