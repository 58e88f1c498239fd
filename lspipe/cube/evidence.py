"""Pixels of one block -> the evidence that a person checks a detection with: true colour, NDVI.

The task that reads a block makes them, as it holds the pixels: reports and exports never read the
archive again.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from lspipe.cube.kernels import strips
from lspipe.schema import CUBE_NODATA, TRUE_COLOUR_WHITE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

BANDS = ("B04", "B03", "B02", "B08")
"""Bands that the evidence needs, where the item has them."""

BRIGHTEST = round(TRUE_COLOUR_WHITE * 10000)
"""Reflectance x 1e4 that becomes white."""


@cache
def _shades() -> NDArray[np.uint8]:
    """Return the shade of every int16, at its place as a uint16: a look-up, not arithmetic."""
    codes = np.arange(2**16, dtype=np.uint16).view(np.int16).astype(np.int32)
    return (1 + np.clip(codes, 0, BRIGHTEST) * 254 // BRIGHTEST).astype(np.uint8)


def true_colour(bands: Mapping[str, NDArray[np.int16]]) -> NDArray[np.uint8]:
    """Make a picture of red, green and blue.

    Args:
        bands: B04, B03 and B02, int16 (y, x), reflectance x 1e4, -32768 = no data.

    Returns:
        uint8 (3, y, x): 1..255 is reflectance 0..0.3, clipped; 0 = no data.
    """
    seen = [bands[name] for name in ("B04", "B03", "B02")]
    shown = np.empty((3, *seen[0].shape), np.uint8)
    for rows in strips(len(seen[0])):
        strip = [band[rows] for band in seen]
        for shade, band in zip(shown, strip, strict=True):
            np.take(_shades(), band.view(np.uint16), out=shade[rows], mode="clip")
        missing = np.logical_or.reduce([band == CUBE_NODATA for band in strip])
        if missing.any():
            shown[:, rows][:, missing] = 0
    return shown


def ndvi(red: NDArray[np.int16], nir: NDArray[np.int16]) -> NDArray[np.int16]:
    """Compute the normalised difference vegetation index.

    Args:
        red: B04, int16 (y, x), reflectance x 1e4, -32768 = no data.
        nir: B08, likewise.

    Returns:
        int16 (y, x), NDVI x 1e4, -10000..10000; -32768 where a band has no data or both are zero.

    Source: Rouse et al. 1974, (NIR - red) / (NIR + red).
    """
    found = np.empty(red.shape, np.int16)
    for rows in strips(len(found)):
        found[rows] = _index(red[rows], nir[rows])
    return found


def _index(red: NDArray[np.int16], nir: NDArray[np.int16]) -> NDArray[np.int16]:
    # Small negative reflectances are noise around zero; left in, they push the index beyond 1.
    r = np.maximum(red, 0).astype(np.float32)
    n = np.maximum(nir, 0).astype(np.float32)
    total = r + n
    missing = (red == CUBE_NODATA) | (nir == CUBE_NODATA) | (total == 0)
    index = (n - r) / np.where(missing, 1, total)
    return np.where(missing, CUBE_NODATA, np.rint(index * 10000)).astype(np.int16)
