"""The heights of a run -> elevation and slope of a tile, kept with its evidence.

Lists, reports and layers never read a DEM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.cube.terrain import STORED, read
from lspipe.runs import beside, store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from lspipe.cube.terrain import Terrain
    from lspipe.runs.store import Grid
    from lspipe.schema import Part


def write(run: Path, grid: Grid, terrain: Terrain) -> None:
    """Write the terrain of the blocks of a tile that are done on some date and lack it.

    Args:
        run: a run directory in which the blocks of the tile are all, or in part, done.
        grid: of the tile.
        terrain: the heights; those of others are replaced.

    Raises:
        LoadError: a file of heights cannot be read.
    """

    def layers(core: Part) -> Mapping[str, NDArray[np.int16]]:
        return dict(zip(STORED, read(terrain, grid.geobox, core, STORED), strict=True))

    beside.keep(run, grid, store.TERRAIN, facts=terrain.facts(), layers=layers)
