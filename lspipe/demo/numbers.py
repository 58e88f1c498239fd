"""Reflectance to the digital numbers of a product, by its processing baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lspipe.schema import REFLECTANCE_SCALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

OFFSET_NUMBERS = 1000
"""Added by baselines 04.00 and later. Source: ESA, 2022."""

NOISE_NUMBERS = 3
"""Each tile is resampled and compressed on its own, so overlaps differ a little."""


def to_numbers(
    reflectance: NDArray[np.float32], baseline: str, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Digital numbers of one band, 1..32767; 0 is left for no data."""
    offset = OFFSET_NUMBERS if baseline >= "04.00" else 0
    signal = reflectance / REFLECTANCE_SCALE + offset
    numbers = np.rint(signal + NOISE_NUMBERS * rng.standard_normal(signal.shape))
    return np.asarray(np.clip(numbers, 1, 32767).astype(np.uint16))
