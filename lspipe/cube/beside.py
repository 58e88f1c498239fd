"""Channels that are read beside the scenes, terrain and radar: opened lazily, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.base import tokenize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from lspipe.cube.scene import Chunks
    from lspipe.schema import Part

    Read = Callable[[Part], NDArray[np.int16]]


def opened(
    read: Read,
    names: Sequence[str],
    chunks: Chunks,
    *,
    origin: tuple[int, int],
    decided_by: Any,
) -> dict[str, da.Array]:
    """Open channels of a tile, or of a part of it; nothing is read.

    Args:
        read: rows and columns of the tile -> int16 codes (channel, y, x); is sent to workers.
        names: of the channels, in the order of the result of `read`.
        chunks: chunk sizes along y and along x, pixels.
        origin: row and column in the tile of the first pixel.
        decided_by: all that decides the codes, for dask's names.

    Returns:
        By name int16 codes (y, x); all channels of a chunk are read at once.
    """
    if not names:
        return {}
    together = da.map_blocks(
        _chunk,
        read=read,
        origin=origin,
        chunks=((len(names),), *chunks),
        dtype=np.int16,
        meta=np.empty((0, 0, 0), np.int16),
        name=f"beside-{tokenize(decided_by, tuple(names), chunks, origin)}",
    )
    return {name: together[number] for number, name in enumerate(names)}


def _chunk(
    *, read: Read, origin: tuple[int, int], block_info: Mapping[Any, Any] | None = None
) -> NDArray[np.int16]:
    (_, *place) = (block_info or {})[None]["array-location"]
    rows, columns = (
        slice(first + start, first + stop)
        for first, (start, stop) in zip(origin, place, strict=True)
    )
    return read((rows, columns))


def both(one: Part, other: Part) -> Part:
    """Return the pixels that are in both of two parts."""
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
    return rows, columns
