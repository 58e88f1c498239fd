"""`inference.map_overlap`: what dask's own gives, each chunk read once, and few in memory."""

import threading
import tracemalloc
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lspipe.inference.map_overlap import _apply, _Place, _rims, _with_room, map_overlap
from tests.properties import examples


def pieces(draw, depth):
    """Sizes of chunks along an axis, none smaller than the depth unless it is alone."""
    count = draw(st.integers(1, 4))
    least = max(1, depth if count > 1 else 1)
    return tuple(draw(st.integers(least, least + 4)) for _ in range(count))


@st.composite
def cases(draw):
    """A cube, a mask or none, and a depth."""
    depth = draw(st.integers(0, 4))
    rows, columns = pieces(draw, depth), pieces(draw, depth)
    times, bands = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    shape = (times, bands, sum(rows), sum(columns))
    generator = np.random.default_rng(draw(st.integers(0, 9)))
    dtype = draw(st.sampled_from([np.int16, np.float32]))
    cube = da.from_array(
        generator.integers(0, 1000, shape).astype(dtype),
        chunks=((1,) * times, (bands,), rows, columns),
    )
    if not draw(st.booleans()):
        return [cube], depth
    mask = generator.random((times, 1, *shape[2:])) < 0.3
    return [cube, da.from_array(mask, chunks=((1,) * times, (1,), rows, columns))], depth


def weighed(layers):
    """A number that tells which pixels an array holds, and where they lie in it."""
    total = 0.0
    for layer in layers:
        rows, columns = (np.arange(1, size + 1) ** 0.5 for size in layer.shape[-2:])
        total += float((layer * rows[:, None] * columns).sum())
    return total


@examples(60)
@given(cases())
def test_a_chunk_sees_what_it_sees_with_the_map_overlap_of_dask(case):
    layers, depth = case
    rows, columns = layers[0].chunks[2:]

    def seen(*arrays, index, extra):
        size = rows[index[1]], columns[index[2]]
        return np.full((1, *size), weighed(arrays) + extra)

    ours = map_overlap(
        seen, layers, depth=depth, name="ours", dtype=float, extra={"extra": dask.delayed(1000)}
    )
    theirs = da.map_overlap(
        lambda *arrays: np.full((1, 1, 1, 1), weighed(arrays) + 1000),
        *layers,
        # dask takes nothing from a neighbour that is not there, but refuses a depth beyond a chunk.
        depth={axis: depth if layers[0].numblocks[axis] > 1 else 0 for axis in (2, 3)},
        boundary="none",
        trim=False,
        align_arrays=False,
        allow_rechunk=False,
        dtype=float,
        meta=np.empty((0, 0, 0, 0)),
    )
    expected = theirs.compute(scheduler="synchronous")[:, 0]
    found = ours.compute(scheduler="synchronous")
    assert found.shape == ours.shape == (layers[0].shape[0], *layers[0].shape[2:])
    spread = [np.repeat(np.repeat(image, rows, axis=0), columns, axis=1) for image in expected]
    np.testing.assert_array_equal(found, np.stack(spread))


def cube_of_chunks(rows, columns, edge, made):
    """A cube whose chunks are made when they are asked for, and counted."""

    def chunk(block_id):
        made[block_id[2:]] += 1
        return np.full((1, 4, edge, edge), 7, np.int16)

    return da.map_blocks(
        chunk, chunks=((1,), (4,), (edge,) * rows, (edge,) * columns), dtype=np.int16,
        meta=np.empty((0, 0, 0, 0), np.int16),
    )  # fmt: skip


def core_of(edge):
    def core(array, **_):
        # At the edges of the cube there is no halo; the value is the same everywhere.
        return array[0, :1, :edge, :edge].astype(np.float32)

    return core


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_each_chunk_is_read_once(scheduler):
    made = Counter()
    cube = cube_of_chunks(4, 5, 16, made)
    lazy = map_overlap(core_of(16), [cube], depth=5, name="once", dtype=np.float32, extra={})
    assert (lazy.compute(scheduler=scheduler) == 7).all()
    assert set(made.values()) == {1}
    assert len(made) == 20


def most_chunks_held(rows, columns, edge=600, depth=30):
    """Peak of memory while a map is written, in chunks; one task at a time."""
    cube = cube_of_chunks(rows, columns, edge, Counter())
    lazy = map_overlap(core_of(edge), [cube], depth=depth, name="held", dtype=np.float32, extra={})

    class Nowhere:
        def __setitem__(self, place, value):
            pass

    tracemalloc.start()
    try:
        da.store(lazy, Nowhere(), lock=False, scheduler="synchronous")
        return tracemalloc.get_traced_memory()[1] / (4 * 2 * edge**2)
    finally:
        tracemalloc.stop()


def test_a_line_of_chunks_and_few_more_are_held_however_many_lines_there_are():
    most_chunks_held(2, 2)  # what is imported and kept counts once
    low, high, wide = (most_chunks_held(*shape) for shape in ((6, 4), (18, 4), (4, 18)))
    # Of a line of four chunks and of two of the next, each with a tenth of rims around, one that is
    # being read, and what is lent: 9, and what dask keeps of its tasks. All would be 24, and 72; by
    # dask's own map_overlap they are 15, and 32.
    assert low < 12
    assert high < low + 3
    assert wide < low + 3


@pytest.mark.parametrize(
    ("rows", "columns", "most"), [(slice(0, 1), slice(0, 1), 4), (slice(40, 41), slice(40, 41), 9)]
)
def test_a_part_of_a_map_reads_its_chunks_and_those_around(rows, columns, most):
    made = Counter()
    cube = cube_of_chunks(6, 6, 16, made)
    lazy = map_overlap(core_of(16), [cube], depth=5, name="part", dtype=np.float32, extra={})
    assert (lazy[:, rows, columns].compute(scheduler="synchronous") == 7).all()
    assert len(made) == most


def test_a_chunk_that_is_late_holds_up_its_neighbours_and_no_other():
    """The first chunk waits until all blocks are done that do not need it."""
    done, others = Counter(), threading.Event()

    def chunk(block_id):
        if block_id[2:] == (0, 0):
            assert others.wait(60), f"{len(done)} blocks done"
        return np.full((1, 4, 16, 16), 7, np.int16)

    def core(array, index):
        done[index] += 1
        if len(done) == 6 * 4 - 4:
            others.set()
        return array[0, :1, :16, :16].astype(np.float32)

    cube = da.map_blocks(
        chunk, chunks=((1,), (4,), (16,) * 6, (16,) * 4), dtype=np.int16,
        meta=np.empty((0, 0, 0, 0), np.int16),
    )  # fmt: skip
    lazy = map_overlap(core, [cube], depth=5, name="late", dtype=np.float32, extra={})
    assert (lazy.compute(scheduler="threads", num_workers=2) == 7).all()
    assert set(done.values()) == {1}


def test_an_array_that_may_not_be_written_is_filled_in_a_copy():
    places = list(_Place.all_of((1, 2, 1), 1))
    chunks = [np.full((1, 1, 2, 2), value) for value in (1, 2)]
    first, second = (_with_room(*pair) for pair in zip(places, chunks, strict=True))
    lent = _rims(places[1], -1, second)
    # As of another worker.
    first[0].flags.writeable = False

    def seen(layer, **_):
        return layer.copy()

    for _ in range(2):  # a second try finds what the first did
        found = _apply(seen, places[0], (), first, [lent], None)
        assert found.tolist() == [[[[1, 1], [1, 1], [2, 2]]]]
