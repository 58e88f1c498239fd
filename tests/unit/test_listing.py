"""Maps of several acquisitions of one date become one."""

from __future__ import annotations

import numpy as np
import pytest

from lspipe.runs.listing import lower_median
from lspipe.schema import CODE_NODATA


def by_hand(layers):
    """Lower median of the observed codes, pixel by pixel."""
    merged = np.full(layers.shape[1:], CODE_NODATA, np.uint16)
    for place in np.ndindex(merged.shape):
        seen = sorted(code for code in layers[:, *place].tolist() if code != CODE_NODATA)
        if seen:
            merged[place] = seen[(len(seen) - 1) // 2]
    return merged


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_acquisitions_of_a_date_become_the_lower_median_of_what_each_pixel_showed(rows, count):
    random = np.random.default_rng(rows * 10 + count)
    layers = random.integers(0, 10001, (count, rows, 9)).astype(np.uint16)
    layers[random.random(layers.shape) < 0.4] = CODE_NODATA
    found = lower_median(layers)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, by_hand(layers))
