"""The blocks that one call of `run` does: not done yet, and within the selection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe.errors import UsageError
from lspipe.search.areas import read_area
from lspipe.search.on_grid import AreaOnGrid
from lspipe.search.spec import AreaSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lspipe.inference.windows import Block
    from lspipe.runs.plan import TilePlan
    from lspipe.runs.prepare import Prepared

Todo = dict[tuple[str, int], list["Block"]]
"""Blocks by name of the tile and number of the step."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A part of a run; None = all of it."""

    tiles: tuple[str, ...] | None = None
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north, degrees: only blocks that touch it."""
    limit: int | None = None
    """At most this many places: a block of a tile, on all its dates, so that it can be compared."""
    only_failed: bool = False
    """Only blocks that failed last time."""


def select(prepared: Prepared, selection: Selection) -> Todo:
    """Return the blocks of a selection that are not done.

    Raises:
        UsageError: a tile is not in the run, or limit or bounds are impossible.
    """
    known = [tile.tile.name for tile in prepared.plan.tiles]
    for name in selection.tiles or ():
        if name not in known:
            raise UsageError(f"tiles={name}: not in this run; it has {', '.join(known)}")
    if selection.limit is not None and selection.limit < 1:
        raise UsageError(
            f"limit={selection.limit}: expected 1 or more places, each a block with all its dates"
        )
    again = prepared.failed if selection.only_failed else None
    todo: Todo = {}
    for tile in prepared.plan.tiles:
        if selection.tiles is None or tile.tile.name in selection.tiles:
            todo |= _of_tile(prepared, tile, selection, again)
    if selection.bounds is not None and not any(
        _within(selection.bounds, tile).any() for tile in prepared.plan.tiles
    ):
        raise UsageError(f"bounds={selection.bounds}: touches no block of this run")
    return todo if selection.limit is None else _first(todo, selection.limit)


def _of_tile(
    prepared: Prepared,
    tile: TilePlan,
    selection: Selection,
    again: set[tuple[Any, ...]] | None,
) -> Todo:
    name = tile.tile.name
    inside = None if selection.bounds is None else _within(selection.bounds, tile)
    is_done = prepared.done[name]
    return {
        (name, step): [
            block
            for number, block in enumerate(tile.blocks)
            if not is_done[step, number]
            and (inside is None or inside[number])
            and (again is None or (name, step, *block.index) in again)
        ]
        for step in range(len(tile.steps))
    }


def _within(bounds: tuple[float, float, float, float], tile: TilePlan) -> NDArray[np.bool_]:
    """Return which blocks of a tile touch west, south, east, north."""
    try:
        spec = AreaSpec(bbox=bounds)
    except ValueError as error:
        raise UsageError(f"bounds={bounds}: {error}") from error
    known = AreaOnGrid(read_area(spec, Path()), tile.tile.geobox).known()
    return known.touched([block.core for block in tile.blocks])


def _first(todo: Todo, limit: int) -> Todo:
    """Keep the blocks of the first places, tile by tile and row by row."""
    order = {tile: number for number, (tile, _) in enumerate(todo)}
    places = {(tile, block.index) for (tile, _), blocks in todo.items() for block in blocks}
    kept = set(sorted(places, key=lambda place: (order[place[0]], place[1]))[:limit])
    return {
        (tile, step): [block for block in blocks if (tile, block.index) in kept]
        for (tile, step), blocks in todo.items()
    }
