"""Products of small matrices are weighted sums of neighbours, whatever strips they come in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lspipe.cube.banded import STRIP, band, summed


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("length", [7, STRIP - 1, STRIP + 6, 3 * STRIP + 11])
def test_it_is_the_sum_of_the_neighbours_by_their_weights(axis, length) -> None:
    shape = (length, 40) if axis == 0 else (40, length)
    values = np.random.default_rng(length).normal(0, 9, shape).astype(np.float32)
    weights = np.arange(1.0, 8)  # of no symmetry
    expected = ndimage.correlate1d(values.astype(np.float64), weights, axis)
    inner = (slice(3, length - 3), slice(None))
    found = summed(values, band(weights), axis)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[inner[:: 1 - 2 * axis]], rtol=0, atol=1e-3)
