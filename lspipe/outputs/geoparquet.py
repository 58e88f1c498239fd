"""A table as GeoParquet 1.1, EPSG:4326, with a bounding-box column: for DuckDB, geopandas, QGIS.

The same table gives the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.outputs.credit import notice
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd

    from lspipe.outputs import Run

FILE = "inventory.parquet"


def write(run: Run, path: Path) -> None:
    """Write the list; see the contract in `lspipe.outputs`."""
    write_table(run.inventory, path, told=notice(run))


def write_table(table: gpd.GeoDataFrame, path: Path, *, told: str = "") -> None:
    """Write a table of any CRS; `told` is kept as its attribute `credit`.

    Geometry is WKB in lon, lat order; `bbox` is a struct of xmin, ymin, xmax, ymax per row, named
    as the covering in the metadata, so that readers skip row groups outside a window.
    """
    plain = in_degrees(table)
    if told:
        plain.attrs = {**plain.attrs, "credit": told}
    plain.to_parquet(
        path,
        index=False,
        compression="zstd",
        geometry_encoding="WKB",
        schema_version="1.1.0",
        write_covering_bbox=True,
    )
