"""Chunks of a lazy cube -> a function of each, with the pixels around it.

What dask's `map_overlap` with `boundary="none"` does, for chunks that fill memory. dask lends the
rims of a chunk as views, each of which keeps all of the chunk; it joins them into a second array of
that size; and its order of tasks begins anywhere, so that chunks wait for others not yet read.

Here a chunk is read into an array that has room for the rims of its neighbours (`room`), and lends
copies of its own (`rims`). Chunks are taken one after the other along the shorter side of the cube,
as each waits for the `turn` of the one before: also on a cluster, where a chunk that is read slowly
holds up those after it. So a chunk is in memory once, and until it is computed, with the next line
of chunks: what is held grows with the shorter side of a cube, not with the longer one.

Does not cover: which chunks there are, and what is done with them (`detect.py`). A run reads its
halos again instead, and holds one block (`runs/steps.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import dask.array as da
    from dask.delayed import Delayed
    from numpy.typing import NDArray

    Layers = tuple[NDArray[Any], ...]
    """Arrays of one chunk, (1, band, y, x) each."""
    Side = tuple[int, int]
    """Where a neighbour lies: -1, 0 or 1 down, and to the right."""

_SIDES: tuple[Side, ...] = tuple(
    (down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right
)


@dataclass(frozen=True)
class _Place:
    """A chunk among those of its time."""

    index: tuple[int, int, int]
    """Of time, row and column."""
    sides: tuple[Side, ...]
    """Where it has neighbours."""
    depth: int
    """Pixels of a rim."""

    @classmethod
    def of(cls, index: tuple[int, int, int], numblocks: tuple[int, int, int], depth: int) -> _Place:
        def is_there(side: Side) -> bool:
            place = (index[1] + side[0], index[2] + side[1])
            return all(0 <= at < count for at, count in zip(place, numblocks[1:], strict=True))

        return cls(index, tuple(side for side in _SIDES if depth and is_there(side)), depth)

    def neighbour(self, side: Side) -> tuple[int, int, int]:
        time, row, column = self.index
        return time, row + side[0], column + side[1]

    @property
    def room(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixels above and below, left and right of the chunk."""
        above, below, left, right = (
            self.depth * (side in self.sides) for side in ((-1, 0), (1, 0), (0, -1), (0, 1))
        )
        return (above, below), (left, right)

    def part(self, side: Side, array: NDArray[Any]) -> tuple[slice, slice]:
        """Return the rows and columns of an array with room: of the chunk (0, 0), or on a side."""
        spans = []
        for at, (before, after), length in zip(side, self.room, array.shape[-2:], strict=True):
            end = length - after
            spans.append((slice(before, end), slice(end, length), slice(0, before))[at])
        return spans[0], spans[1]


def map_overlap(
    function: Callable[..., NDArray[Any]],
    layers: Sequence[da.Array],
    *,
    depth: int,
    name: str,
    dtype: type,
    extra: Mapping[str, Delayed | None],
) -> da.Array:
    """Apply a function to each chunk with the pixels around it.

    Args:
        function: `function(*layers, index=, **extra)`: arrays (1, band, y, x) of a chunk with its
            halo, index of time, row and column of the chunk -> array (1, y, x) of the chunk.
        layers: (time, band, y, x), in equal chunks along time (1), y and x; all bands in one. No
            chunk along y or x is smaller than `depth`, unless it is the only one.
        depth: pixels of the halo; none beyond the edge of the cube.
        name: of the result, unique.
        dtype: of the result.
        extra: what is computed once for all chunks, or None.

    Returns:
        (time, y, x) in the chunks of the layers, lazy.

    Example:
        >>> import dask.array
        >>> cube = dask.array.ones((1, 1, 4, 4), chunks=(1, 1, 2, 2))
        >>> def seen(cube, index):
        ...     rows, columns = (slice(at, at + 2) for at in index[1:])
        ...     return np.full((1, 2, 2), cube.sum())
        >>> found = map_overlap(seen, [cube], depth=1, name="seen", dtype=float, extra={})
        >>> float(found.min().compute()), float(found.max().compute())
        (9.0, 9.0)
    """
    import dask.array
    from dask.highlevelgraph import HighLevelGraph

    first = layers[0]
    numblocks = first.numblocks[0], first.numblocks[2], first.numblocks[3]
    given = {key: value for key, value in extra.items() if value is not None}
    room, rims, turn = (f"{part}-{name}" for part in ("room", "rims", "turn"))
    graph: dict[Any, Any] = {}
    before: list[Any] = []
    # From line to line of chunks, each along the shorter side.
    onward = 0 if numblocks[1] >= numblocks[2] else 1
    for time, line, at in np.ndindex(numblocks[0], numblocks[1 + onward], numblocks[2 - onward]):
        row, column = (line, at) if onward == 0 else (at, line)
        index = time, row, column
        place = _Place.of(index, numblocks, depth)
        chunks = [(layer.name, time, 0, row, column) for layer in layers]
        graph[room, *index] = (partial(_with_room, place), *chunks)
        # By line, as the next one needs its own longest.
        for sides in _grouped(place.sides, onward):
            lend = partial(_rims, place, sides)
            graph[rims, sides[0][onward], *index] = (lend, (room, *index), *before)
        lent = [(rims, -side[onward], *place.neighbour(side)) for side in place.sides]
        graph[name, *index] = (
            partial(_apply, function, place, tuple(given)),
            (room, *index),
            lent,
            *(value.key for value in given.values()),
        )
        graph[turn, *index] = (_nothing, (room, *index), *before)
        before = [(turn, *index)]
    dependencies = [*layers, *given.values()]
    return dask.array.Array(
        HighLevelGraph.from_collections(name, graph, dependencies=dependencies),
        name,
        chunks=(first.chunks[0], *first.chunks[2:]),
        dtype=dtype,
    )


def _with_room(place: _Place, *chunks: NDArray[Any]) -> Layers:
    """Copy the layers of a chunk into arrays that have room for the rims of its neighbours."""
    if not place.sides:
        return chunks
    found = []
    for chunk in chunks:
        sizes = (
            length + sum(room) for length, room in zip(chunk.shape[-2:], place.room, strict=True)
        )
        array = np.empty((*chunk.shape[:-2], *sizes), chunk.dtype)
        array[..., *place.part((0, 0), array)] = chunk
        found.append(array)
    return tuple(found)


def _grouped(sides: Sequence[Side], axis: int) -> Iterator[tuple[Side, ...]]:
    """Yield the sides of equal place along an axis."""
    for at in (-1, 0, 1):
        if found := tuple(side for side in sides if side[axis] == at):
            yield found


def _rims(place: _Place, sides: Sequence[Side], layers: Layers, *_: None) -> dict[Side, Layers]:
    """Copy what the neighbours on some sides of a chunk need of it."""
    ends = {-1: slice(0, place.depth), 0: slice(None), 1: slice(-place.depth, None)}
    cores = [layer[..., *place.part((0, 0), layer)] for layer in layers]
    return {
        side: tuple(core[..., ends[side[0]], ends[side[1]]].copy() for core in cores)
        for side in sides
    }


def _nothing(*_: Any) -> None:
    """Say that a chunk has been read."""


def _apply(
    function: Callable[..., NDArray[Any]],
    place: _Place,
    names: tuple[str, ...],
    layers: Layers,
    rims: Sequence[Mapping[Side, Layers]],
    *extra: Any,
) -> NDArray[Any]:
    """Put the rims of its neighbours into the room of a chunk, and apply the function.

    In place: the arrays are of this chunk alone, which lends no more than its core, and a second
    try puts the same there. Those that come from another worker may be read-only.
    """
    if place.sides:
        layers = tuple(layer if layer.flags.writeable else layer.copy() for layer in layers)
    for side, lent in zip(place.sides, rims, strict=True):
        for layer, rim in zip(layers, lent[-side[0], -side[1]], strict=True):
            layer[..., *place.part(side, layer)] = rim
    return function(*layers, index=place.index, **dict(zip(names, extra, strict=True)))
