"""Write whole blocks, and read which are done."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.machine.remote import is_remote
from lspipe.runs.store.groups import open_group
from lspipe.runs.store.layers import (
    CHANGE,
    DETECTION_LAYERS,
    DETECTIONS,
    DOUBTED,
    EVIDENCE,
    EVIDENCE_LAYERS,
    SPREAD,
)
from lspipe.runs.store.template import read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lspipe.runs.store.layers import Beside
    from lspipe.schema import Part


def write_block(
    run: Path,
    tile: str,
    step: int,
    index: tuple[int, int],
    core: Part,
    *,
    detections: Mapping[str, NDArray[Any]],
    evidence: Mapping[str, NDArray[Any]],
) -> None:
    """Write one block of one step; its cell of `done` is written last.

    Args:
        run: the run directory.
        tile: name of the tile's group.
        step: index on the time axis.
        index: row and column of the block.
        core: the block's pixels in the tile.
        detections: arrays (y, x) of the core, by layer name.
        evidence: arrays (y, x) or (band, y, x) of the core, by layer name.
    """
    for store, arrays in ((EVIDENCE, evidence), (DETECTIONS, detections)):
        group = open_group(run / store / tile, "r+")
        for name, values in arrays.items():
            # Chunks of only fill values are written too: a missing file is never a result.
            target = group[name].with_config({"write_empty_chunks": True})
            target[(step, ..., *core)] = values
    group["done"][(step, *index)] = 1


def beside_done(run: Path, tile: str, beside: Beside, key: str) -> NDArray[np.bool_] | None:
    """Return which blocks of a tile have layers of no date; None if there is none of this key."""
    cells = run / EVIDENCE / tile / beside.done
    try:
        facts = read_metadata(cells)
    except FileNotFoundError:
        return None
    if facts["attributes"]["key"] != key:
        return None
    return _written(cells, tuple(facts["shape"]))


def write_beside(
    run: Path,
    tile: str,
    beside: Beside,
    index: tuple[int, int],
    core: Part,
    *,
    layers: Mapping[str, NDArray[Any]],
) -> None:
    """Write the layers of no date of one block; its cell is written last.

    Args:
        run: the run directory.
        tile: name of the tile's group.
        beside: the layers.
        index: row and column of the block.
        core: the block's pixels in the tile.
        layers: int16 codes (y, x) of the core, by layer name.
    """
    group = open_group(run / EVIDENCE / tile, "r+")
    for name, values in layers.items():
        group[name].with_config({"write_empty_chunks": True})[core] = values
    group[beside.done][index] = 1


def copy_step(source: Path, run: Path, tile: str, step: int, target: int) -> None:
    """Copy the maps and pictures of one time step of a tile from another run, but not `done`.

    Args:
        source: the other run directory, whose tile has the same grid.
        run: the run directory.
        tile: name of the tile's group.
        step: index on the time axis of the other run.
        target: index on the time axis of this one.
    """
    for name, layers in (
        (EVIDENCE, (*EVIDENCE_LAYERS, DOUBTED, SPREAD)),
        (DETECTIONS, DETECTION_LAYERS),
    ):
        old = open_group(source / name / tile, "r")
        new = open_group(run / name / tile, "r+")
        for layer in layers:
            if layer in (DOUBTED, SPREAD) and layer.name not in new:
                continue  # one mask was used, or no spread was asked for
            values = new[layer.name].with_config({"write_empty_chunks": True})
            height = values.chunks[-2]
            for top in range(0, values.shape[-2], height):
                part = (..., slice(top, top + height), slice(None))
                values[(target, *part)] = old[layer.name][(step, *part)]


def mark_done(run: Path, tile: str, blocks: Sequence[tuple[int, int]]) -> None:
    """Mark blocks (row, column) of every time step of a tile as written completely."""
    cells = open_group(run / DETECTIONS / tile, "r+")["done"]
    for step in range(cells.shape[0]):
        for index in blocks:
            cells[(step, *index)] = 1


def reopen(run: Path, tile: str, step: int, index: tuple[int, int]) -> None:
    """Mark a block as not done, of which more is asked; what was written of it stays."""
    (run / DETECTIONS / tile / "done" / "c").joinpath(*map(str, (step, *index))).unlink(
        missing_ok=True
    )


def done(run: Path, tile: str) -> NDArray[np.bool_]:
    """Return which blocks of a tile are done: bool (time, block_y, block_x)."""
    cells = run / DETECTIONS / tile / "done"
    return _written(cells, tuple(read_metadata(cells)["shape"]))


def _written(cells: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which cells of an array with a file for each, `c/TIME/ROW/COLUMN`, are written.

    Only 1 is ever written, and whole or not at all, so the file says it: to open the files of a
    thousand tiles takes half a minute. One that a loss of power left empty is none.
    """
    found = np.zeros(shape, bool)
    for index in _objects(cells / "c") if is_remote(cells) else _files(cells / "c"):
        if len(index) == len(shape) and all(map(str.isdecimal, index)):
            found[tuple(map(int, index))] = True
    return found


def _files(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the way to each file below a folder that is not empty."""
    depth = len(folder.parts)
    for place, _, files in os.walk(folder):
        for name in files:
            if (Path(place) / name).stat().st_size > 0:
                yield (*Path(place).parts[depth:], name)


def _objects(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the way to each object below a folder, by listing them: none is ever half there."""
    return (place.relative_to(folder).parts for place in folder.rglob("*"))


@dataclass(frozen=True)
class Layout:
    """The block size of a tile in the store, and its finished blocks."""

    block: int
    """Edge of a block, pixels."""
    done: NDArray[np.bool_]
    """(time, block_y, block_x)."""
    shape: tuple[int, int]
    """Of the tile: rows, columns. The last block of an axis is longer where its tail is short."""


def layout(run: Path, tile: str) -> Layout | None:
    """Read the block size and the finished blocks of a tile; None if it is not in the store yet."""
    group = run / DETECTIONS / tile
    try:
        cells, maps = (read_metadata(group / name) for name in ("done", "probability"))
    except FileNotFoundError:
        return None
    rows, columns = maps["shape"][1:]
    return Layout(
        int(cells["attributes"]["block"]),
        _written(group / "done", tuple(cells["shape"])),
        (rows, columns),
    )


def read(run: Path, store: str, tile: str, name: str, part: Any = ...) -> NDArray[Any]:
    """Read an array of a tile's group as stored, or a part of it."""
    return np.asarray(open_group(run / store / tile, "r")[name][part])


def write_change(
    run: Path, tile: str, rows: slice, *, state: NDArray[np.uint8], gain: NDArray[np.int16]
) -> None:
    """Write some rows of the change arrays (y, x) of one tile: whole rows of chunks."""
    group = open_group(run / CHANGE / tile, "r+")
    group["state"][rows] = state
    group["gain"][rows] = gain
