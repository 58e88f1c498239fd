"""Write whole blocks, and report which are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from lspipe.runs.store.layers import CHANGE, DETECTIONS, EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Slices = tuple[slice, slice]


def write_block(
    run: Path,
    tile: str,
    step: int,
    index: tuple[int, int],
    core: Slices,
    *,
    detections: Mapping[str, NDArray[Any]],
    evidence: Mapping[str, NDArray[Any]],
) -> None:
    """Write one block of one step; its cell of `done` is the last write of all.

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
        group = zarr.open_group(run / store / tile, mode="r+", zarr_format=3)
        for name, values in arrays.items():
            # An all-fill chunk is written too: a missing file never stands for a result.
            target = group[name].with_config({"write_empty_chunks": True})
            target[(step, ..., *core)] = values
    group["done"][(step, *index)] = 1


def done(run: Path, tile: str) -> NDArray[np.bool_]:
    """Which blocks of a tile are done: bool (time, block_y, block_x)."""
    group = zarr.open_group(run / DETECTIONS / tile, mode="r", zarr_format=3)
    return np.asarray(group["done"][...]).astype(bool)


def block_size(run: Path, tile: str) -> int | None:
    """Edge of a block as the store was laid out, pixels; None if the tile is not in the store."""
    try:
        group = zarr.open_group(run / DETECTIONS / tile, mode="r", zarr_format=3)
        return int(group["done"].attrs["block"])
    except (FileNotFoundError, KeyError):
        return None


def read(run: Path, store: str, tile: str, name: str) -> NDArray[Any]:
    """Read one whole array of a tile's group, as stored."""
    return np.asarray(zarr.open_group(run / store / tile, mode="r", zarr_format=3)[name][...])


def write_change(run: Path, tile: str, state: NDArray[np.uint8], gain: NDArray[np.int16]) -> None:
    """Write the change arrays (y, x) of one tile."""
    group = zarr.open_group(run / CHANGE / tile, mode="r+", zarr_format=3)
    group["state"][...] = state
    group["gain"][...] = gain
