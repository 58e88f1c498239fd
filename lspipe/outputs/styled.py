"""Tables as layers of one GeoPackage, EPSG:4326, with the styles in which QGIS shows them.

Version 1.2, which GDAL reads without a warning from 2.2 on. Its bytes hold the time of writing
(`gpkg_contents.last_change`); the content is the same.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pyogrio

from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import geopandas as gpd

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


def write_styled(
    tables: Mapping[str, gpd.GeoDataFrame],
    path: Path,
    *,
    styles: Mapping[str, str],
    told: str = "",
) -> None:
    """Write tables of polygons of any CRS, which become MultiPolygons.

    Args:
        tables: by the name of their layer; the first is the one that readers take by themselves.
        path: of the file, which does not exist.
        styles: a style file of QGIS (QML) by layer.
        told: description of the layers.
    """
    for name, table in tables.items():
        pyogrio.write_dataframe(
            in_degrees(table),
            path,
            layer=name,
            driver="GPKG",
            geometry_type="MultiPolygon",
            promote_to_multi=True,
            append=path.exists(),
            layer_options={"DESCRIPTION": told} if told else {},
            dataset_options={} if path.exists() else {"VERSION": "1.2"},
        )
    with closing(sqlite3.connect(path)) as file:
        file.execute(_STYLES_TABLE)
        file.execute(_REGISTER)
        for name, style in styles.items():
            file.execute(_INSERT, (name, "lspipe", style, f"how lspipe shows {name}"))
        file.commit()
