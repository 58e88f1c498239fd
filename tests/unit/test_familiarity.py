"""What is counted of a block: what the network sees, and the same however a tile is cut."""

import numpy as np
import pytest
import torch

from lspipe.inference import windows
from lspipe.inference.block import run_block
from lspipe.inference.familiarity import FARTHEST, STEP, channels, count, reach, sample
from lspipe.inference.observed import observed, observed_range
from lspipe.inference.runtimes import from_callable
from lspipe.inference.settings import Setting
from lspipe.models import Scaling
from lspipe.models.statistics import Statistics

SHAPE = (150, 117)
SETTING = Setting(window=16, stride=6, tta="none", batch_size=1)
BANDS = ("B02", "B04", "B08")


def tile():
    """Reflectance x 1e4 with gaps, a mask, and an area."""
    rng = np.random.default_rng(0)
    pixels = rng.normal([[[500]], [[900]], [[3000]]], 200, (3, *SHAPE)).astype(np.int16)
    pixels[1, 40:60, :30] = -32768
    mask = np.zeros(SHAPE, bool)
    mask[90:, 70:] = True
    area = np.ones(SHAPE, bool)
    area[:10] = False
    return pixels, mask, area


SCALINGS = {
    "identity": Scaling(),
    "affine": Scaling(kind="affine", scale=(4.0, 3, 2), offset=(0.1, 0, 0), clip=(0, 0.5)),
    "tile-minmax": Scaling(kind="tile-minmax"),
    "window-minmax": Scaling(kind="window-minmax"),
    "window-minmax-all": Scaling(kind="window-minmax-all"),
    "window-max": Scaling(kind="window-max", scale=(4.0, 3, 2)),
}


def counted(block, scaling):
    """What is counted of one block."""
    pixels, mask, area = tile()
    part = pixels[:, *block.outer]
    return sample(
        part,
        origin=(block.outer[0].start, block.outer[1].start),
        tile_shape=SHAPE,
        core=block.core,
        setting=SETTING,
        scaling=scaling,
        observed=observed(part, mask[block.outer]),
        area=area[block.outer],
        tile_range=observed_range(pixels, mask),
    )


def in_order(values):
    return values[:, np.lexsort(values)]


@pytest.mark.parametrize("kind", SCALINGS)
def test_the_same_is_counted_however_a_tile_is_cut(kind):
    scaling = SCALINGS[kind]
    (whole,) = windows.blocks(SHAPE, 200, SETTING.halo)
    expected = counted(whole, scaling)
    assert expected.shape[1] > 100
    for size in (24, 64):
        parts = [counted(b, scaling) for b in windows.blocks(SHAPE, size, SETTING.halo)]
        assert len(parts) > 3
        together = np.concatenate(parts, axis=1)
        np.testing.assert_array_equal(in_order(together), in_order(expected))


@pytest.mark.parametrize("kind", SCALINGS)
def test_what_is_counted_is_what_the_network_sees(kind):
    scaling = SCALINGS[kind]
    pixels, mask, area = tile()
    seen = set()

    def network(batch):
        for window in batch:
            seen.update(map(tuple, window.reshape(3, -1).T.numpy().tolist()))
        return torch.zeros_like(batch[:, :1])

    (whole,) = windows.blocks(SHAPE, 200, SETTING.halo)
    run_block(
        pixels,
        origin=(0, 0),
        tile_shape=SHAPE,
        core=whole.core,
        runtime=from_callable(network, device="cpu"),
        setting=SETTING,
        mask=mask,
        area=area,
        tile_range=observed_range(pixels, mask),
        scaling=scaling,
    )
    assert {tuple(pixel) for pixel in counted(whole, scaling).T.tolist()} <= seen


def test_pixels_that_were_not_observed_or_lie_outside_the_area_are_not_counted():
    pixels, mask, area = tile()
    (whole,) = windows.blocks(SHAPE, 200, SETTING.halo)
    wanted = (observed(pixels, mask) & area)[::STEP, ::STEP]
    values = counted(whole, Scaling())
    np.testing.assert_allclose(values, pixels[:, ::STEP, ::STEP][:, wanted] * 1e-4, rtol=1e-6)


@pytest.mark.parametrize("kind", ["identity", "window-max"])
def test_a_tile_smaller_than_a_window_is_counted(kind):
    scaling = SCALINGS[kind]
    pixels = np.full((3, 9, 12), 1000, np.int16)
    values = sample(
        pixels,
        origin=(0, 0),
        tile_shape=(9, 12),
        core=(slice(0, 9), slice(0, 12)),
        setting=SETTING,
        scaling=scaling,
        observed=np.ones((9, 12), bool),
    )
    assert values.shape[1] > 0


TRAINED = Statistics(
    pixels=100, mean=(0.5, 3.0), std=(0.1, 0.0), p01=(0.3, 3.0), p50=(0.5, 3.0), p99=(0.7, 3.0)
)


def test_shares_and_distances_are_those_of_the_definition():
    low, high = reach(TRAINED)
    np.testing.assert_allclose([low[0], high[0]], [0.2, 0.8])
    values = np.array([[0.1, 0.6, 0.9, 5.0], [3.0, 3.0, 3.0, 4.0]], np.float32)
    first, second = channels([count(values, TRAINED)], TRAINED, ("B02", "dem"))
    assert (first.name, first.outside, second.outside) == ("B02", 0.75, 0.25)
    # The mean of 0.2, 0.6, 0.8, 0.8 is 0.6.
    assert first.distance == pytest.approx(1)
    assert "B02 75% of pixels outside of what the model was trained on" in str(first)
    assert "(mean 1.0 standard deviations above)" in str(first)
    # A channel that never varied has no measure of its own.
    assert second.distance == FARTHEST


def test_counts_add_up():
    values = np.random.default_rng(0).normal(0.5, 0.3, (2, 90)).astype(np.float32)
    parts = [count(values[:, part], TRAINED) for part in (slice(30), slice(30, 90))]
    whole = count(values, TRAINED)
    assert sum(part["pixels"] for part in parts) == whole["pixels"]
    joined, at_once = (channels(each, TRAINED, ("B02", "dem")) for each in (parts, [whole]))
    for one, other in zip(joined, at_once, strict=True):
        assert one.outside == other.outside
        assert one.distance == pytest.approx(other.distance)


def test_where_nothing_was_observed_nothing_is_compared():
    nothing = count(np.empty((2, 0), np.float32), TRAINED)
    assert channels([nothing], TRAINED, ("B02", "dem")) == []
    assert channels([], TRAINED, ("B02", "dem")) == []
