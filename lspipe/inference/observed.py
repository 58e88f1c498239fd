"""Pixels and a mask -> which pixels were observed, and the range of their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.schema import CUBE_NODATA, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_STRIP = 64
"""Rows that are looked at together, which stay in the cache of a processor."""


def observed(pixels: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Return where every band has data and no pixel is masked.

    Args:
        pixels: (band, y, x), int16 (-32768 = no data) or a float (NaN = no data).
        mask: bool (y, x), True = not observed.

    Returns:
        bool (y, x).
    """
    found = np.ones(pixels.shape[1:], bool) if mask is None else ~mask
    is_coded = pixels.dtype == np.int16
    for top in range(0, len(found), _STRIP):
        rows = slice(top, top + _STRIP)
        for band in pixels[:, rows]:
            found[rows] &= band != CUBE_NODATA if is_coded else ~np.isnan(band)
    return found


def observed_range(
    pixels: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    *,
    bands: Sequence[str] | None = None,
) -> NDArray[np.float32]:
    """Return the lowest and highest observed value of each band, for the scaling "tile-minmax".

    Ranges of parts of a tile join by `numpy.fmin` and `numpy.fmax`.

    Args:
        pixels: (band, y, x), int16 (code = value / step) or a float, as in `run_block`.
        mask: bool (y, x), True = not observed.
        bands: channels, for their steps (`schema.CHANNELS`); None = reflectance.

    Returns:
        float32 (band, 2), in the channels' units (or the floats' own); NaN if nothing was observed.
    """
    seen = observed(pixels, mask)
    if not seen.any():
        return np.full((len(pixels), 2), np.nan, np.float32)
    values = [band[seen] for band in pixels]
    ranges = np.array([[band.min(), band.max()] for band in values]).astype(np.float32)
    return ranges * steps_of(bands)[:, None] if pixels.dtype == np.int16 else ranges
