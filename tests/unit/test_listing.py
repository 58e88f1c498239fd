"""Maps of several acquisitions of one date become one."""

from __future__ import annotations

import numpy as np
import pytest

from lspipe.runs.listing import STRIP, middle
from lspipe.schema import CODE_NODATA


def by_hand(layers):
    """Lower median of the observed codes, pixel by pixel."""
    merged = np.full(layers.shape[1:], CODE_NODATA, np.uint16)
    for place in np.ndindex(merged.shape):
        seen = sorted(code for code in layers[:, *place].tolist() if code != CODE_NODATA)
        if seen:
            merged[place] = seen[(len(seen) - 1) // 2]
    return merged


@pytest.mark.parametrize("rows", [1, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP + 7])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_middle_is_the_lower_median_in_every_strip(rows, count):
    random = np.random.default_rng(rows * 10 + count)
    layers = random.integers(0, 10001, (count, rows, 9)).astype(np.uint16)
    layers[random.random(layers.shape) < 0.4] = CODE_NODATA
    found = middle(layers)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, by_hand(layers))
