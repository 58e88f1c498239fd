"""Chunks of a lazy cube -> a function of each, with the pixels around it.

What dask's `map_overlap` with `boundary="none"` does, for chunks that fill memory. dask lends the
rims of a chunk as views, each of which keeps all of the chunk; it joins them into a second array of
that size; and its order of tasks begins anywhere, so that chunks wait for others not yet read.

Here a chunk is copied into an array that has room for the rims of its neighbours, and lends copies
of its own. Blocks are computed line by line, each along the shorter side of the cube. So a chunk is
held once, and until it is computed, with the next line of chunks: what is held grows with the
shorter side of a cube, not with the longer one. benchmarks/memory.py compares both.

Does not cover: which chunks there are, and what is done with them (`detect.py`). A run reads its
halos again instead, and holds one block (`runs/steps.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
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
    Index = tuple[int, int, int]
    """Of time, row and column of a chunk."""

_SIDES: tuple[Side, ...] = tuple(
    (down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right
)

_OF_A_CHUNK = 5
"""Tasks of a chunk here: its array, three for its rims, the function."""


@dataclass(frozen=True)
class _Place:
    """A chunk among those of its time."""

    index: Index
    sides: tuple[Side, ...]
    """Where it has neighbours."""
    depth: int
    """Pixels of a rim."""
    lines: int
    """Axis along which lines of chunks follow each other: 0 = down, 1 = to the right."""

    @classmethod
    def all_of(cls, numblocks: Index, depth: int) -> Iterator[_Place]:
        """Yield the chunks in the order in which they are computed: time by time, line by line."""
        times, *counts = numblocks
        lines = 0 if counts[0] >= counts[1] else 1
        for time, *at in np.ndindex(times, counts[lines], counts[1 - lines]):
            row, column = at if lines == 0 else reversed(at)
            sides = tuple(
                (down, right)
                for down, right in _SIDES
                if depth and 0 <= row + down < counts[0] and 0 <= column + right < counts[1]
            )
            yield cls((time, row, column), sides, depth, lines)

    def neighbour(self, side: Side) -> Index:
        time, row, column = self.index
        return time, row + side[0], column + side[1]

    def when(self, side: Side) -> int:
        """Return when a neighbour is computed: -1 before, 0 next after, 1 in the next line."""
        line, at = side[self.lines], side[1 - self.lines]
        return line or min(at, 0)

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
        (time, y, x) in the chunks of the layers, lazy. A part of it reads the chunks of that part,
        and those around.

    Example:
        >>> import dask.array
        >>> cube = dask.array.ones((1, 1, 4, 4), chunks=(1, 1, 2, 2))
        >>> def seen(cube, index):
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
    room, rims, ballast = (f"{part}-{name}" for part in ("room", "rims", "ballast"))
    places = list(_Place.all_of(numblocks, depth))
    weights = _weights(places, _OF_A_CHUNK + sum(map(_tasks_of_a_chunk, layers)))
    graph: dict[Any, Any] = _ladder(ballast, weights[0])
    for place, weight in zip(places, weights, strict=True):
        index = time, row, column = place.index
        chunks = [(layer.name, time, 0, row, column) for layer in layers]
        graph[room, *index] = (partial(_with_room, place), *chunks)
        for when in {place.when(side) for side in place.sides}:
            graph[rims, when, *index] = (partial(_rims, place, when), (room, *index))
        graph[name, *index] = (
            partial(_apply, function, place, tuple(given)),
            (room, *index),
            # A neighbour lends to this chunk as to one on its other side.
            [
                (rims, place.when((-side[0], -side[1])), *place.neighbour(side))
                for side in place.sides
            ],
            (ballast, weight),
            *(value.key for value in given.values()),
        )
    dependencies = [*layers, *given.values()]
    return dask.array.Array(
        HighLevelGraph.from_collections(name, graph, dependencies=dependencies),
        name,
        chunks=(first.chunks[0], *first.chunks[2:]),
        dtype=dtype,
    )


# --- the order of the blocks ----------------------------------------------------------------------


def _weights(places: Sequence[_Place], tasks: int) -> list[int]:
    """Return how much ballast each block needs, so that they are computed in order.

    Where a computation needs all blocks, dask reads first for the one that depends on most tasks,
    that with most neighbours, wherever it lies. A task that does nothing counts as any other, and
    nothing has to wait for it: a chunk that cannot be read does not hold up the next blocks.

    Source: `sort_key` in dask/order.py, dask 2025.4 to 2026.7.

    Args:
        places: in order.
        tasks: at most so many belong to a chunk.

    Example:
        >>> places = list(_Place.all_of((1, 1, 3), 1))  # the one in the middle has two neighbours
        >>> _weights(places, 10)
        [12, 1, 0]
    """
    found = [0]
    for later, earlier in pairwise(reversed(places)):
        found.append(found[-1] + 1 + tasks * max(0, len(later.sides) - len(earlier.sides)))
    return found[::-1]


def _tasks_of_a_chunk(layer: da.Array) -> int:
    """Return how many tasks make a chunk, rounded up."""
    return int(len(layer.dask) // max(1, layer.npartitions) + 1)


def _ladder(name: str, height: int) -> dict[Any, Any]:
    """Return tasks that do nothing: one at each height, which needs all below.

    Each needs two others, as dask makes one task of those that follow each other one by one.
    """
    steps = range(1, height + 1)
    return {(name, 0): (_nothing,)} | {
        (name, at): (_nothing, (name, at - 1), (name, max(0, at - 2))) for at in steps
    }


def _nothing(*_: None) -> None:
    """Do nothing, for ballast."""


# --- what tasks do --------------------------------------------------------------------------------


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


def _rims(place: _Place, when: int, layers: Layers) -> dict[Side, Layers]:
    """Return what the neighbours of a chunk that are computed at some time need of it.

    For those before it views, as the chunk is still there when they are done; for others copies.
    """
    ends = {-1: slice(0, place.depth), 0: slice(None), 1: slice(-place.depth, None)}
    cores = [layer[..., *place.part((0, 0), layer)] for layer in layers]
    found = {
        side: tuple(core[..., ends[side[0]], ends[side[1]]] for core in cores)
        for side in place.sides
        if place.when(side) == when
    }
    if when < 0:
        return found
    return {side: tuple(rim.copy() for rim in rims) for side, rims in found.items()}


def _apply(
    function: Callable[..., NDArray[Any]],
    place: _Place,
    names: tuple[str, ...],
    layers: Layers,
    rims: Sequence[Mapping[Side, Layers]],
    _: None,
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
