"""`lspipe summarize`: landslides per unit, as text and as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    facts = {"units": plain(units), "files": [str(path) for path in files]}
    show(options, facts, lambda: units_text(units, files))
    return 0


def plain(units: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """Return the units as plain values, None where a cell is empty."""
    table = units.drop(columns="geometry").astype(object)
    return list(table.where(table.notna(), None).to_dict("records"))


def units_text(units: gpd.GeoDataFrame, files: list[Path]) -> str:
    """Return the units with most landslides for people."""
    first = units.sort_values("landslides", ascending=False, kind="stable").head(MOST_ROWS)
    rows = [["unit", "landslides", "per km2", "hectares", "observed"]]
    rows += [_row(row) for row in plain(first)]
    more = len(units) - len(first)
    lines = table(rows)
    if more:
        lines.append(f"and {counted(more, 'unit')} more")
    return "\n".join([*lines, *(f"wrote {path}" for path in files)])


def _row(row: dict[str, Any]) -> list[str]:
    return [
        str(row["name"] or row["unit"]),
        str(row["landslides"]),
        "" if row["per_km2"] is None else f"{row['per_km2']:.3g}",
        f"{row['landslide_m2'] / 1e4:.1f}",
        f"{row['observed_share']:.0%}",
    ]
