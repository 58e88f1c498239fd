"""A function of the pixels of a block -> what it gives of whole arrays, lazy or at hand.

A tile is opened lazily, in chunks. A block that is read by one task is opened at hand, in one
piece: a graph of thirty layers for one chunk takes longer than its pixels where these are few. Both
go through the same functions, so that their pixels are the same.

NumPy's own functions (`np.where`, `np.stack`) take both kinds, and give what they got.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from dask.core import flatten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray


Layers = Any
"""Pixels of dask, or of NumPy: lazy, or at hand. No closer, as dask ships no types."""


STRIP = 64
"""Rows that are looked at together: what is made of them stays in the cache of a processor."""


def strips(length: int) -> Iterator[slice]:
    """Yield the rows of strips, from the first.

    >>> list(strips(100))
    [slice(0, 64, None), slice(64, 128, None)]
    """
    return (slice(top, top + STRIP) for top in range(0, length, STRIP))


def is_lazy(layers: Layers) -> bool:
    """Return whether pixels are still to be computed."""
    return isinstance(layers, da.Array)


def in_one_piece(lazy: da.Array) -> NDArray[Any]:
    """Compute an array in this thread, as the pool of a worker is for blocks.

    Of one chunk, the chunk itself: dask would hand out a copy, as a graph may hold what others use.
    """
    if lazy.npartitions > 1:
        computed: NDArray[Any] = lazy.compute(scheduler="synchronous")
        return computed
    (chunk,) = dask.get(lazy.dask, list(flatten(lazy.__dask_keys__())))
    found: NDArray[Any] = chunk
    return found


def of_blocks(kernel: Callable[..., NDArray[Any]], *layers: Layers, **how: Any) -> Layers:
    """Apply a function to each block of arrays with the same blocks; now if they are at hand.

    Args:
        kernel: a block of each array -> a block of the result.
        layers: all lazy, or all at hand.
        how: what `dask.array.map_blocks` is to know of the result: dtype, chunks, drop_axis, meta.
    """
    if is_lazy(layers[0]):
        return da.map_blocks(kernel, *layers, **how)
    return kernel(*layers)


def in_order(layers: Sequence[Layers], order: Sequence[int]) -> Layers:
    """Put channels of several arrays into one, in an order.

    At hand they are copied once; but not where all are in one array, in this order: they would be
    in memory twice.

    Args:
        layers: (channel, y, x) each.
        order: numbers of channels, counted through all arrays.

    Returns:
        (channel, y, x), all channels in one chunk.

    Example:
        >>> one, other = np.zeros((2, 1, 1)), np.ones((1, 1, 1))
        >>> in_order([one, other], [2, 0])[:, 0, 0]
        array([1., 0.])
    """
    if is_lazy(layers[0]):
        # By one index, not channel by channel: a tile has many chunks.
        return da.concatenate(layers).rechunk({0: -1})[list(order)]
    (first, *others) = [each for each in layers if len(each)]
    if not others and list(order) == list(range(len(first))):
        return first
    channels = [channel for each in layers for channel in each]
    return np.stack([channels[number] for number in order])


SPARE = 8
"""Channels that a model may have beside its bands: five of terrain, two of radar, and one more."""


def with_room(layers: int, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return an array for raw numbers, not filled, behind which `SPARE` layers have room.

    Memory that nothing was written to is not taken yet.

    Args:
        layers: how many.
        shape: (y, x).
    """
    return np.empty((layers + SPARE, *shape), np.uint16)[:layers]


def in_place_of(numbers: NDArray[np.uint16], count: int, room: int) -> NDArray[np.int16]:
    """Turn raw numbers into channels where they lie, with room for others behind them.

    New memory is not free: with arrays of their own, a third of the time that a block took to be
    read was the system's.

    Args:
        numbers: uint16 (layer, y, x), of `with_room`; used by nobody else, and not any more: what
            lies behind the first layers goes. Others, and those with too little room, are copied.
        count: of layers that become channels.
        room: channels that `followed_by` may put behind them.

    Returns:
        int16 (count, y, x), the bits of the layers.

    Example:
        >>> numbers = with_room(3, (1, 1))
        >>> numbers[:] = 7
        >>> in_place_of(numbers, 2, room=1)[:, 0, 0]
        array([7, 7], dtype=int16)
    """
    shape = (count + room, *numbers.shape[1:])
    whole = numbers.base
    if whole is not None and whole.shape == (len(numbers) + SPARE, *shape[1:]):
        whole.resize(shape, refcheck=False)
    else:
        whole = np.empty(shape, np.uint16)
        whole[:count] = numbers[:count]
    return whole.view(np.int16)[:count]


@dataclass(frozen=True)
class Unread:
    """Layers that are not read yet, and will be where they are to lie."""

    names: tuple[str, ...]
    fill: Callable[[NDArray[np.int16]], None]
    """Reads all of them into (layer, y, x)."""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)


def followed_by(channels: Layers, more: Mapping[str, Layers] | Unread) -> Layers:
    """Put layers behind the channels of an array.

    Args:
        channels: (channel, y, x); at hand it must be used by nobody else, as the layers are put
            where it has room (`in_place_of`). Without room it grows where it is, which takes
            longer: copied, it would be in memory twice.
        more: (y, x) each, by name.

    Returns:
        (channel, y, x), all channels in one chunk.

    Example:
        >>> followed_by(np.zeros((2, 1, 1)), {"slope": np.ones((1, 1))})[:, 0, 0]
        array([0., 0., 1.])
    """
    if is_lazy(channels) and not isinstance(more, Unread):
        return da.concatenate([channels, da.stack(list(more.values()))]).rechunk({0: -1})
    count = len(channels)  # grown in place, it has more
    whole = _grown(channels, len(more))
    behind = whole[count:]
    if isinstance(more, Unread):
        more.fill(behind)
    else:
        for layer, given in zip(behind, more.values(), strict=True):
            layer[:] = given
    return whole


def _grown(channels: NDArray[Any], more: int) -> NDArray[Any]:
    """Return the array that channels are the first of, with more behind them."""
    shape = (len(channels) + more, *channels.shape[1:])
    whole = channels.base
    if whole is None or whole.shape != shape or whole.itemsize != channels.itemsize:
        # A part of an array cannot grow.
        whole = channels if channels.flags.owndata else channels.copy()
        whole.resize(shape, refcheck=False)
    return whole.view(channels.dtype)
