"""The list as a GeoPackage, EPSG:4326, one layer: for QGIS and ArcGIS.

Its bytes hold the time of writing (`gpkg_contents.last_change`); the content is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyogrio

from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.outputs import Run

FILE = "inventory.gpkg"

LAYER = "inventory"


def write(run: Run, path: Path) -> None:
    """Write the list; see the contract in `lspipe.outputs`. Polygons become MultiPolygons."""
    pyogrio.write_dataframe(
        in_degrees(run.inventory),
        path,
        layer=LAYER,
        driver="GPKG",
        geometry_type="MultiPolygon",
        promote_to_multi=True,
    )
