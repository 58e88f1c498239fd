"""Patches that continue others on the ground are found by their edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lspipe.errors import SamplesError
from lspipe.models.recipes import recipe_of
from lspipe.samples import Samples
from lspipe.samples.leaks import leak
from lspipe.samples.splits import blocks, random_split

EDGE = 80


def scene(seed, rows, columns):
    """One smooth scene of three channels, and its patches side by side, by row and column."""
    noise = np.random.default_rng(seed).normal(size=(3, rows * EDGE, columns * EDGE))
    ground = ndimage.gaussian_filter(noise, (0, 2, 2)).astype(np.float32)
    return {
        f"{seed}-{row}-{column}": ground[
            :, row * EDGE : (row + 1) * EDGE, column * EDGE : (column + 1) * EDGE
        ]
        for row in range(rows)
        for column in range(columns)
    }


def samples(patches, source="here"):
    empty = np.zeros((EDGE, EDGE), np.uint8)
    return Samples(
        source=source,
        recipe=recipe_of("l4s-rgb"),
        names=tuple(patches),
        read=lambda name: (patches[name], empty),
    )


def parts(patches, split):
    every = samples(patches)
    return replace(every, names=split.train), replace(every, names=split.test)


@pytest.mark.parametrize(
    ("row", "column"), [(1, 0), (1, 2), (0, 1), (2, 1)], ids=["left", "right", "above", "below"]
)
def test_a_neighbour_on_each_side_is_named(row, column):
    patches = scene(1, 3, 3)
    middle, beside = "1-1-1", f"1-{row}-{column}"
    found = leak(
        samples({beside: patches[beside], **scene(2, 1, 1)}), samples({middle: patches[middle]})
    )
    ((name, other, alike),) = found.continued
    assert (name, other) == (middle, beside)
    assert alike > 0.9
    assert found.share == 1
    assert f"{middle} continues {beside}" in found.text()


def test_a_patch_at_the_corner_is_no_neighbour():
    patches = scene(1, 2, 2)
    found = leak(samples({"a": patches["1-0-0"]}), samples({"b": patches["1-1-1"]}))
    assert found.share == 0
    assert not found.is_large


def test_how_each_patch_was_scaled_changes_nothing():
    patches = scene(1, 1, 2)
    one, other = patches.values()
    plain = leak(samples({"a": one}), samples({"b": other})).continued
    scaled = leak(samples({"a": 7 * one + 3}), samples({"b": other / 5})).continued
    assert scaled[0][2] == pytest.approx(plain[0][2], abs=2e-3)


def test_an_edge_of_one_value_is_like_no_other():
    flat = np.ones((3, EDGE, EDGE), np.float32)
    assert leak(samples({"a": flat}), samples({"b": 2 * flat})).share == 0


def test_a_patch_that_is_trained_on_under_another_name_is_refused_in_pairs():
    one, other, third = scene(1, 1, 3).values()
    training = samples({"a": one, "b": other}, source="training")
    copies = samples({"x": 3 * other + 1, "y": third}, source="validation")
    with pytest.raises(SamplesError, match=r"validation: x is b of training.*\(1 of 2 patches\)"):
        leak(training, copies)
    turned = samples({"x": other[:, ::-1], "y": third}, source="validation")
    assert leak(training, turned).patches == 2


def test_blocks_of_one_scene_leak_less_than_patches_drawn_at_random():
    patches = scene(3, 20, 5)
    names = tuple(patches)
    random = leak(*parts(patches, random_split(names)))
    block = leak(*parts(patches, blocks(names, fold=3)))
    assert random.share > 0.9
    assert random.is_large
    # Its first and its last row touch the other blocks.
    assert block.share <= 0.5 < random.share
    outer = {name for name in names if name.split("-")[1] in ("8", "11")}
    assert {name for name, _, _ in block.continued} <= outer


def test_a_patch_of_both_sets_is_refused_by_name():
    patches = scene(1, 1, 2)
    with pytest.raises(SamplesError, match="1-0-1: trained on and tested on"):
        leak(samples(patches), samples({"1-0-1": patches["1-0-1"]}))


def test_patches_of_unlike_sizes_are_refused():
    large = {"a": np.ones((3, EDGE, EDGE), np.float32)}
    small = {"b": np.ones((3, 16, 16), np.float32)}
    with pytest.raises(SamplesError, match="patches of 80 and 16 px: expected one size"):
        leak(samples(large), samples(small, source="there"))
    with pytest.raises(SamplesError, match="b: 16 x 16 px: expected square patches of one size"):
        leak(samples({**large, **small}), samples(large, source="there"))
