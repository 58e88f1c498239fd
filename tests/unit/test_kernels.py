"""A function of blocks gives the same of arrays that are lazy and of those that are at hand."""

from __future__ import annotations

import threading
import tracemalloc

import dask
import dask.array as da
import numpy as np
import pytest

from lspipe.cube.kernels import followed_by, in_one_piece, in_order, is_lazy, of_blocks

PIXELS = np.arange(2 * 6 * 4, dtype=np.int16).reshape(2, 6, 4)


def lazily(pixels):
    return da.from_array(pixels, chunks=(1, 3, 2))


def test_a_function_sees_each_block_of_lazy_arrays_when_they_are_computed():
    seen = []

    def difference(one, other):
        seen.append(one.shape)
        return one - other

    whole = of_blocks(difference, PIXELS, PIXELS[::-1])
    assert seen == [PIXELS.shape]
    seen.clear()
    later = of_blocks(difference, lazily(PIXELS), lazily(PIXELS[::-1]), dtype=np.int16)
    assert (is_lazy(later), is_lazy(whole)) == (True, False)
    np.testing.assert_array_equal(later.compute(scheduler="synchronous"), whole)
    assert set(seen) >= {(1, 3, 2)}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0), (1, 1, 2)])
def test_channels_of_several_arrays_are_put_in_order(order):
    both = np.concatenate([PIXELS, -PIXELS])
    found = in_order([PIXELS, -PIXELS], order)
    np.testing.assert_array_equal(found, both[list(order)])
    assert not np.shares_memory(found, PIXELS)
    later = in_order([lazily(PIXELS), lazily(-PIXELS)], order)
    assert later.chunks[0] == (len(order),)
    np.testing.assert_array_equal(later.compute(scheduler="synchronous"), found)


def test_channels_that_are_in_order_already_are_not_copied():
    nothing = PIXELS[:0]
    assert in_order([PIXELS, nothing], (0, 1)) is PIXELS
    np.testing.assert_array_equal(in_order([nothing, PIXELS], (1, 0)), PIXELS[::-1])


def test_layers_follow_the_channels():
    more = {"one": PIXELS[0] + 100, "two": PIXELS[1] + 200}
    expected = np.concatenate([PIXELS, list(more.values())])
    np.testing.assert_array_equal(followed_by(PIXELS.copy(), more), expected)
    later = followed_by(
        lazily(PIXELS), {name: lazily(PIXELS)[0] * 0 + layer for name, layer in more.items()}
    )
    assert later.chunks[0] == (4,)
    np.testing.assert_array_equal(later.compute(scheduler="synchronous"), expected)


def test_channels_of_a_larger_array_are_copied_before_others_follow_them():
    larger = np.concatenate([PIXELS, PIXELS + 50])
    found = followed_by(larger[:2], {"one": PIXELS[0]})
    np.testing.assert_array_equal(found, np.concatenate([PIXELS, PIXELS[:1]]))
    np.testing.assert_array_equal(larger, np.concatenate([PIXELS, PIXELS + 50]))


def test_layers_that_follow_need_no_memory_but_their_own():
    layer = np.ones((1000, 1000), np.int16)
    tracemalloc.start()
    try:
        followed_by(np.zeros((10, *layer.shape), np.int16), {"one": layer})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 11.5 * layer.nbytes


def test_an_array_of_one_chunk_is_that_chunk_and_no_copy_of_it():
    made = []

    def block():
        made.append(PIXELS + 1)
        return made[0]

    lazy = da.from_delayed(dask.delayed(block)(), PIXELS.shape, PIXELS.dtype)
    assert in_one_piece(lazy) is made[0]


def test_an_array_of_several_chunks_is_put_together_in_this_thread():
    threads = set()

    def seen(block):
        threads.add(threading.get_ident())
        return block

    found = in_one_piece(da.map_blocks(seen, lazily(PIXELS), dtype=PIXELS.dtype))
    np.testing.assert_array_equal(found, PIXELS)
    assert threads == {threading.get_ident()}
