"""Landslides per unit -> files: a layer, a table, and how often landslides of a size are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.errors import MissingExtra, UsageError
from lspipe.evaluate import figures
from lspipe.evaluate.truth import CLAIMED
from lspipe.evaluate.units import frequency
from lspipe.outputs import whole
from lspipe.outputs.credit import credit
from lspipe.outputs.styled import write_styled
from lspipe.runs.opened import open_run

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd

LAYER = "units"


def write_units(run: Path | str, units: gpd.GeoDataFrame, folder: Path) -> list[Path]:
    """Write `units.gpkg`, `units.csv`, `frequency.csv`, and `frequency.png` if matplotlib is there.

    Args:
        run: run directory.
        units: of `units.summarise`.
        folder: made if it is not there; files of these names are replaced.

    Raises:
        UsageError: the folder cannot be written.
    """
    opened = open_run(run)
    listed = opened.inventory[opened.inventory["status"].isin(CLAIMED)]
    sizes = frequency(listed["area_m2"].to_numpy())
    title = f"{opened.name}: {len(listed)} landslides"
    names = ["units.gpkg", "units.csv", "frequency.csv"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole(folder / names[0]) as path:
            write_styled({LAYER: units}, path, styles={}, told=credit(opened))
        with whole(folder / names[1]) as path:
            units.drop(columns="geometry").to_csv(path, index=False)
        with whole(folder / names[2]) as path:
            sizes.to_csv(path, index=False)
        if len(sizes):
            with whole(folder / "frequency.png") as path:
                figures.draw_frequency(sizes, path, title=title)
            names.append("frequency.png")
    except MissingExtra:
        pass  # the table has the same numbers
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written: {error.strerror or error}; choose another folder"
        ) from error
    return [folder / name for name in names]
