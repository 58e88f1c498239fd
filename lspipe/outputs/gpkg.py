"""The list, what was not observed, and what radar saw of it, as a GeoPackage with styles.

For QGIS and ArcGIS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.outputs.credit import notice
from lspipe.outputs.for_people import for_people
from lspipe.outputs.qgis_styles import as_qml, cells_style, gaps_style, list_style
from lspipe.outputs.styled import write_styled

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.outputs import Run

FILE = "inventory.gpkg"

LAYER, GAPS, CELLS = "inventory", "unobserved", "radar_cells"

STYLES = {LAYER: list_style, CELLS: cells_style, GAPS: gaps_style}
"""What makes the style of each layer, from the names of its columns; the uppermost first."""


def write(run: Run, path: Path) -> None:
    """Write the list; see the contract in `lspipe.outputs`."""
    tables = {LAYER: for_people(run.inventory), GAPS: for_people(run.unobserved)}
    if run.radar_cells is not None:
        tables[CELLS] = run.radar_cells
    styles = {
        name: as_qml(STYLES[name]([str(column) for column in table.columns.drop("geometry")]))
        for name, table in tables.items()
    }
    write_styled(tables, path, styles=styles, told=notice(run))
