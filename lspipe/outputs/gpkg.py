"""The list and what was not observed as a GeoPackage with styles: for QGIS and ArcGIS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.outputs.credit import notice
from lspipe.outputs.for_people import for_people
from lspipe.outputs.qgis_styles import as_qml, gaps_style, list_style
from lspipe.outputs.styled import write_styled

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.outputs import Run

FILE = "inventory.gpkg"

LAYER, GAPS = "inventory", "unobserved"

STYLES = {LAYER: list_style, GAPS: gaps_style}
"""What makes the style of each layer, from the names of its columns."""


def write(run: Run, path: Path) -> None:
    """Write the list; see the contract in `lspipe.outputs`."""
    tables = {LAYER: for_people(run.inventory), GAPS: for_people(run.unobserved)}
    styles = {
        name: as_qml(STYLES[name]([str(column) for column in table.columns.drop("geometry")]))
        for name, table in tables.items()
    }
    write_styled(tables, path, styles=styles, told=notice(run))
