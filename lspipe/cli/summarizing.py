"""`lspipe summarize`: landslides per unit, as text and as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lspipe.cli.text import counted, show, table

if TYPE_CHECKING:
    import argparse

    import geopandas as gpd

MOST_ROWS = 20


def summarize(options: argparse.Namespace) -> int:
    """Count landslides per district, catchment or square."""
    from lspipe.evaluate.unit_files import write_units
    from lspipe.evaluate.units import summarise
    from lspipe.machine import check_folder

    if options.output:
        check_folder(options.output)
    units = summarise(
        options.run, by=options.by, layer=options.layer, name=options.name, grid_km=options.grid
    )
    files = write_units(options.run, units, Path(options.output)) if options.output else []
    facts = {
        "units": units.drop(columns="geometry").astype(object).where(units.notna(), None)
        .to_dict("records"),
        "files": [str(path) for path in files],
    }  # fmt: skip
    show(options, facts, lambda: units_text(units, files))
    return 0


def units_text(units: gpd.GeoDataFrame, files: list[Path]) -> str:
    """Return the units with most landslides for people."""
    first = units.sort_values("landslides", ascending=False, kind="stable").head(MOST_ROWS)
    rows = [["unit", "landslides", "per km2", "hectares", "observed"]]
    rows += [_row(row) for row in first.to_dict("records")]
    more = len(units) - len(first)
    lines = table(rows)
    if more:
        lines.append(f"and {counted(more, 'unit')} more")
    return "\n".join([*lines, *(f"wrote {path}" for path in files)])


def _row(row: dict[str, Any]) -> list[str]:
    return [
        str(row["unit"] if pd.isna(row["name"]) else row["name"]),
        str(row["landslides"]),
        "" if pd.isna(row["per_km2"]) else f"{row['per_km2']:.3g}",
        f"{row['landslide_m2'] / 1e4:.1f}",
        f"{row['observed_share']:.0%}",
    ]
