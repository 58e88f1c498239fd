import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lspipe.inference import dihedral

SHAPES = st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple)
ELEMENTS = st.sampled_from(dihedral.ELEMENTS)


def numbered(shape):
    return np.arange(np.prod(shape)).reshape(shape)


@given(ELEMENTS, SHAPES)
def test_each_element_is_undone_by_its_inverse_on_any_shape(element, shape):
    image = numbered(shape)
    turned = dihedral.apply(element, image)
    np.testing.assert_array_equal(dihedral.invert(element, turned), image)
    np.testing.assert_array_equal(dihedral.apply(element, dihedral.invert(element, image)), image)


@given(ELEMENTS, SHAPES)
def test_tensors_turn_as_arrays_do(element, shape):
    image = numbered(shape)
    for turn in (dihedral.apply, dihedral.invert):
        np.testing.assert_array_equal(
            turn(element, torch.from_numpy(image)).numpy(), turn(element, image)
        )


def test_the_elements_are_the_four_rotations_and_their_mirror_images():
    image = numbered((3, 5))
    rotations = [np.rot90(image, turns) for turns in range(4)]
    expected = {(a.shape, a.tobytes()) for r in rotations for a in (r, r[:, ::-1])}
    found = {(a.shape, a.tobytes()) for a in (dihedral.apply(k, image) for k in range(8))}
    assert len(expected) == 8
    assert found == expected


def test_element_0_leaves_the_image_alone():
    image = numbered((2, 3, 4))
    assert dihedral.apply(0, image) is image
    assert dihedral.invert(0, image) is image


def test_two_elements_one_after_the_other_are_an_element():
    image = numbered((4, 4))
    known = [dihedral.apply(k, image).tolist() for k in dihedral.ELEMENTS]
    for first in dihedral.ELEMENTS:
        for second in dihedral.ELEMENTS:
            both = dihedral.apply(second, dihedral.apply(first, image))
            assert both.tolist() in known


def test_there_is_no_ninth_element():
    with pytest.raises(IndexError):
        dihedral.apply(8, numbered((2, 2)))
