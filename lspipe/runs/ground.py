"""The heights of a run -> elevation and slope of a tile, kept with its evidence.

Written once, block by block, when the tile is ended: lists, reports and layers never read a DEM.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from lspipe.cube.terrain import STORED, read
from lspipe.runs import store

if TYPE_CHECKING:
    from pathlib import Path

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
    key = hashlib.sha256(json.dumps(terrain.facts(), sort_keys=True).encode()).hexdigest()[:16]
    written = store.terrain_done(run, grid.tile, key)
    if written is None:
        store.create_terrain(run, grid, key)
        written = np.zeros(grid.blocks, bool)
    wanted = store.done(run, grid.tile).any(axis=0) & ~written
    for row, column in np.argwhere(wanted).tolist():
        core = _core(grid, row, column)
        codes = read(terrain, grid.geobox, core, STORED)
        store.write_terrain(
            run, grid.tile, (row, column), core, dict(zip(STORED, codes, strict=True))
        )


def _core(grid: Grid, *index: int) -> Part:
    """Return the pixels of a block; the last one of an axis takes a short tail."""
    rows, columns = (
        slice(number * grid.block, length if number == count - 1 else (number + 1) * grid.block)
        for number, length, count in zip(index, grid.geobox.shape, grid.blocks, strict=True)
    )
    return rows, columns
