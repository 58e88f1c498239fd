"""A function of the pixels of a block -> what it gives of whole arrays, lazy or at hand.

A tile is opened lazily, in chunks. A block that is read by one task is opened at hand, in one
piece: a graph of thirty layers for one chunk takes longer than its pixels where these are few. Both
go through the same functions, so that their pixels are the same.

NumPy's own functions (`np.where`, `np.stack`) take both kinds, and give what they got.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from dask.core import flatten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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


def with_room(shape: tuple[int, int, int], more: int) -> NDArray[np.int16]:
    """Return an array of channels, not filled, behind which others have room.

    Memory that nothing was written to is not taken yet.

    Args:
        shape: (channel, y, x).
        more: channels that `followed_by` may put behind them.
    """
    return np.empty((shape[0] + more, *shape[1:]), np.int16)[: shape[0]]


def followed_by(channels: Layers, more: Sequence[Layers]) -> Layers:
    """Put layers behind the channels of an array.

    Args:
        channels: (channel, y, x); at hand it must be used by nobody else, as the layers are put
            where it has room (`with_room`). Without room it grows where it is, which takes longer:
            copied, it would be in memory twice.
        more: (y, x) each.

    Returns:
        (channel, y, x), all channels in one chunk.

    Example:
        >>> followed_by(np.zeros((2, 1, 1)), [np.ones((1, 1))])[:, 0, 0]
        array([0., 0., 1.])
    """
    if is_lazy(channels):
        return da.concatenate([channels, da.stack(more)]).rechunk({0: -1})
    count = len(channels)
    shape = (count + len(more), *channels.shape[1:])
    whole = channels.base
    if whole is None or whole.shape != shape or whole.dtype != channels.dtype:
        # A part of an array cannot grow.
        whole = channels if channels.flags.owndata else channels.copy()
        whole.resize(shape, refcheck=False)
    for layer, given in zip(whole[count:], more, strict=True):
        layer[:] = given
    return whole
