"""Open runs whose lists are in memory, for what writes outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd

from lspipe.runs.opened import Run
from lspipe.schema.columns import UNOBSERVED

if TYPE_CHECKING:
    import pandas as pd


def run_of(inventory: gpd.GeoDataFrame, unobserved: gpd.GeoDataFrame | None = None) -> Run:
    """A run without tiles, with a list and, unless it is given, nothing that was not observed."""
    columns: dict[str, list[pd.Series]] = {name: [] for name in UNOBSERVED}
    nothing = gpd.GeoDataFrame(columns, geometry="geometry", crs=4326)
    record = {"name": "valley", "state": "finished", "tiles": {}, "workflow": {}}
    lists = {"inventory": inventory, "unobserved": nothing if unobserved is None else unobserved}
    return Run(Path("valley"), record, lists)
