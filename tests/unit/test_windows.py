import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lspipe.inference import windows

LENGTHS = st.integers(1, 300)


@st.composite
def lattices(draw):
    window = draw(st.integers(1, 60))
    return draw(LENGTHS), window, draw(st.integers(1, window))


@pytest.mark.parametrize(
    ("length", "window", "stride", "expected"),
    [
        (10, 4, 3, [0, 3, 6]),  # ends by itself
        (11, 4, 3, [0, 3, 6, 7]),  # the last one moves back
        (4, 4, 2, [0]),
        (5, 4, 4, [0, 1]),
        (3, 4, 2, [0]),  # shorter than the window
        (1, 1, 1, [0]),
        (8, 4, 4, [0, 4]),
    ],
)
def test_origins_are_those_of_the_definition(length, window, stride, expected):
    assert windows.origins(length, window, stride).tolist() == expected


def test_the_papers_setting_has_490_windows_per_axis_of_a_sentinel_2_tile():
    assert windows.stride_of(224, 0.9) == 22
    assert len(windows.origins(10980, 224, 22)) == 490


@given(lattices())
def test_every_pixel_is_covered_and_no_window_leaves_the_axis(lattice):
    length, window, stride = lattice
    starts = windows.origins(length, window, stride)
    assert windows.coverage(length, window, stride).min() >= 1
    assert starts[0] == 0
    assert starts[-1] == max(0, length - window)
    assert (np.diff(starts) >= 1).all()
    assert (np.diff(starts) <= stride).all()


@given(lattices())
def test_coverage_is_what_counting_gives(lattice):
    length, window, stride = lattice
    expected = np.zeros(max(length, window), int)
    for start in windows.origins(length, window, stride):
        expected[start : start + window] += 1
    np.testing.assert_array_equal(windows.coverage(length, window, stride), expected[:length])


@given(lattices(), st.data())
def test_windows_of_a_core_are_those_that_touch_it_and_fit_in_core_plus_halo(lattice, data):
    length, window, stride = lattice
    first = data.draw(st.integers(0, length - 1))
    last = data.draw(st.integers(first + 1, length))
    expected = [
        start
        for start in windows.origins(length, window, stride).tolist()
        if set(range(start, start + window)) & set(range(first, last))
    ]
    found = windows.windows_of(slice(first, last), length, window, stride).tolist()
    assert found == expected
    assert found[0] >= max(0, first - window + 1)
    assert min(length, found[-1] + window) <= last + window - 1


@given(st.integers(1, 300), st.sampled_from(["uniform", "hann"]))
def test_weights_are_positive_symmetric_and_at_most_1(window, blend):
    weights = windows.weights_1d(window, blend)
    assert (weights > 0).all()
    assert (weights <= 1).all()
    np.testing.assert_allclose(weights, weights[::-1], atol=1e-15)


@given(lattices())
def test_weight_sums_of_a_uniform_blend_are_the_coverage(lattice):
    np.testing.assert_array_equal(
        windows.weight_sums(*lattice, "uniform"), windows.coverage(*lattice)
    )


def test_hann_windows_at_half_overlap_add_up_to_1_inside():
    np.testing.assert_allclose(windows.weight_sums(40, 8, 4, "hann")[4:-4], 1, atol=1e-12)


@given(LENGTHS, LENGTHS, st.integers(0, 40), st.integers(0, 80))
def test_cores_partition_the_tile_and_outers_are_cores_plus_halo(rows, columns, halo, more):
    block = halo + 1 + more
    seen = np.zeros((rows, columns), int)
    cut = windows.blocks((rows, columns), block, halo)
    for one in cut:
        seen[one.core] += 1
        for core, outer, length in zip(one.core, one.outer, seen.shape, strict=True):
            assert outer.start == max(0, core.start - halo)
            assert outer.stop == min(length, core.stop + halo)
            assert core.start % block == 0
            # A neighbour can fill a halo, unless there is none.
            assert core.stop - core.start >= min(halo, length)
    assert (seen == 1).all()
    assert [one.index for one in cut] == sorted(one.index for one in cut)


@pytest.mark.parametrize(
    ("length", "block", "expected"),
    [
        (10980, 3660, (0, 3660, 7320, 10980)),
        (10980, 5490, (0, 5490, 10980)),
        (3660, 3660, (0, 3660)),
        (3800, 3660, (0, 3800)),  # a tail of 140 px cannot fill a halo of 223
        (3883, 3660, (0, 3660, 3883)),
        (100, 3660, (0, 100)),
    ],
)
def test_a_tail_that_cannot_fill_a_halo_joins_its_neighbour(length, block, expected):
    assert windows.block_edges(length, block, 223) == expected


def test_a_block_smaller_than_its_halo_is_refused():
    with pytest.raises(ValueError, match=r"block of 100 pixels: expected at least 223"):
        windows.block_edges(1000, 100, 223)
    with pytest.raises(ValueError, match=r"block of 0 pixels: expected at least 1"):
        windows.block_edges(1000, 0, 0)
    assert windows.block_edges(446, 223, 223) == (0, 223, 446)
    assert windows.block_edges(3, 1, 0) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("block", "chunk"),
    [
        (3660, 610), (1830, 610), (1220, 610), (610, 610), (5490, 610), (300, 300),
        (3666, 282),  # six times 611, which is too large
        (617, 1),  # a prime
    ],
)  # fmt: skip
def test_the_chunk_of_a_block_divides_it(block, chunk):
    assert windows.chunk_of(block) == chunk


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(0, 60))
def test_merged_chunks_keep_old_cuts_and_are_long_enough(chunks, minimum):
    merged = windows.merge_chunks(chunks, minimum)
    assert set(np.cumsum(merged)) <= set(np.cumsum(chunks))
    assert sum(merged) == sum(chunks)
    assert len(merged) == 1 or min(merged) >= minimum


def test_enough_chunks_are_left_alone():
    assert windows.merge_chunks((30, 40, 50), 30) == (30, 40, 50)


@pytest.mark.parametrize("stride", [0, -1, 9, 2.0, 2.5, "2", True, None])
def test_a_stride_that_leaves_gaps_or_is_no_whole_number_is_refused(stride):
    with pytest.raises(ValueError, match="stride"):
        windows.origins(20, 8, stride)


@pytest.mark.parametrize("window", [0, -3, 8.0, False])
def test_a_window_that_is_no_whole_number_is_refused(window):
    with pytest.raises(ValueError, match="window"):
        windows.origins(20, window, 1)


def test_an_empty_axis_is_refused():
    with pytest.raises(ValueError, match="axis of 0 pixels"):
        windows.origins(0, 8, 2)


@pytest.mark.parametrize("overlap", [-0.1, 1, 1.5, float("nan")])
def test_an_overlap_outside_0_to_1_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap"):
        windows.stride_of(224, overlap)


@pytest.mark.parametrize(("overlap", "stride"), [(0, 224), (0.5, 112), (0.7, 67), (0.999, 1)])
def test_stride_of_an_overlap(overlap, stride):
    assert windows.stride_of(224, overlap) == stride


def test_an_unknown_blend_is_refused():
    with pytest.raises(ValueError, match="'gauss': expected 'uniform' or 'hann'"):
        windows.weights_1d(8, "gauss")
