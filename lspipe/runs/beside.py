"""What a run knows beside its scenes -> layers of a tile, kept with its evidence, block by block.

Each is read once, when the tile is ended, and again only where what it is made of has changed.

See also: `ground.py` (heights), `backscatter.py` (radar).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.runs import store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.runs.store import Beside, Grid
    from lspipe.schema import Part


def keep(
    run: Path,
    grid: Grid,
    kept: Beside,
    *,
    facts: Any,
    layers: Callable[[Part], Mapping[str, NDArray[np.int16]]],
) -> None:
    """Write layers of the blocks of a tile that are done on all dates and lack them.

    Args:
        run: a run directory in which the blocks of the tile are all, or in part, done.
        grid: of the tile.
        kept: which layers; those made of something else are replaced.
        facts: plain JSON of what they are made of.
        layers: reads the codes (y, x) of some rows and columns, by name.
    """
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    written = store.beside_done(run, grid.tile, kept, key)
    if written is None:
        store.create_beside(run, grid, kept, key)
        written = np.zeros(grid.blocks, bool)
    wanted = store.done(run, grid.tile).all(axis=0) & ~written
    for row, column in np.argwhere(wanted).tolist():
        core = _core(grid, row, column)
        found = layers(core)
        store.write_beside(run, grid.tile, kept, (row, column), core, layers=found)


def _core(grid: Grid, *index: int) -> Part:
    """Return the pixels of a block; the last one of an axis takes a short tail."""
    rows, columns = (
        slice(number * grid.block, length if number == count - 1 else (number + 1) * grid.block)
        for number, length, count in zip(index, grid.geobox.shape, grid.blocks, strict=True)
    )
    return rows, columns
