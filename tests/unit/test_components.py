"""Components are those of the whole raster, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from lspipe.change.components import group, label
from tests.properties import examples

BLOCKS = st.tuples(st.integers(1, 9), st.integers(1, 9))
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=17)


@examples(200)
@given(
    # Every pixel is drawn: left to itself, hypothesis fills most of an array with one value.
    values=hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, 2), fill=st.nothing()),
    block=BLOCKS,
    connectivity=st.sampled_from([4, 8]),
)
def test_equal_values_form_the_components_of_the_whole_raster(values, block, connectivity) -> None:
    structure = np.ones((3, 3)) if connectivity == 8 else None
    regions = []
    for value in (1, 2):
        whole, count = ndimage.label(values == value, structure)
        regions += [np.flatnonzero(whole == number) for number in range(1, count + 1)]
    expected = np.zeros(values.size, int)
    for number, region in enumerate(sorted(regions, key=lambda region: region[0]), start=1):
        expected[region] = number

    found = label(values, block=block, connectivity=connectivity)

    np.testing.assert_array_equal(found.labels, expected.reshape(values.shape))
    assert found.count == len(regions)
    assert found.first.tolist() == sorted(region[0] for region in regions)


def test_a_component_that_winds_through_every_block_stays_one() -> None:
    spiral = np.zeros((9, 9), bool)
    spiral[0, :] = spiral[:, 8] = spiral[8, :] = spiral[2:, 0] = spiral[2, :7] = True
    spiral[2:7, 6] = spiral[6, 2:7] = True
    assert label(spiral, block=2, connectivity=4).count == 1


@pytest.mark.parametrize("block", [1, 2, 3, (1, 4)])
def test_a_diagonal_contact_across_a_block_corner_joins_only_with_eight_neighbours(block) -> None:
    for anti in (False, True):
        pair = np.zeros((4, 4), bool)
        pair[1, 2 if anti else 1] = pair[2, 1 if anti else 2] = True
        assert label(pair, block=block).count == 1
        assert label(pair, block=block, connectivity=4).count == 2


def test_an_empty_raster_has_no_components() -> None:
    found = label(np.zeros((5, 7), bool), block=3)
    assert found.count == 0
    assert not found.labels.any()


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="connectivity 6: expected 4 or 8"):
        label(np.ones((2, 2)), connectivity=6)
    for block in (0, (0, 2), (2, 0)):
        with pytest.raises(ValueError, match="at least one pixel"):
            label(np.ones((2, 2)), block=block)


def test_things_linked_by_pairs_share_a_group() -> None:
    groups = group(6, np.array([[0, 3], [3, 5], [1, 1], [0, 3]]))
    assert groups[0] == groups[3] == groups[5]
    assert len(set(groups)) == 4
    assert group(0, np.zeros((0, 2), int)).size == 0
