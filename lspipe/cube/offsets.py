"""Pixels of an item whose metadata cannot decide -> its radiometric offset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask
import numpy as np

from lspipe import preprocess
from lspipe.catalogs import band_assets
from lspipe.cube import loaders, scene
from lspipe.cube.masked import CHUNK
from lspipe.preprocess import MaskSpec
from lspipe.search.areas import bounding_window

if TYPE_CHECKING:
    import pystac
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.spec import CubeSpec
    from lspipe.preprocess import Radiometry

# Shortest and longest edge of the window that is read, pixels of 10 m: enough for the statistics,
# and at most a ninth of a tile.
_SHORTEST = 1830

_LONGEST = 3660


def radiometry_of_pixels(
    item: pystac.Item, geobox: GeoBox, spec: CubeSpec, *, area_mask: NDArray[np.bool_]
) -> Radiometry:
    """Decide an item's offset from the clear pixels of its red band around the area's centre.

    Args:
        item: of baseline 04.00 or later, see `preprocess.radiometry_from_pixels`.
        geobox: the tile's grid.
        spec: the loader.
        area_mask: bool (y, x) of the tile, True inside the area.

    Raises:
        UsageError: the item has no red band.
        RadiometryError: the pixels cannot decide either.
        LoadError: a read failed.
    """
    scene.require(item, ("B04",))
    window = tuple(
        _around_centre(span, length)
        for span, length in zip(bounding_window(area_mask), area_mask.shape, strict=True)
    )
    bands = tuple(band for band in ("B04", "SCL") if band in band_assets(item))
    red, *classes = dask.compute(
        *scene.load_bands(item, bands, geobox[window], spec=spec, chunk=CHUNK)
    )
    hidden = red == loaders.READ_FAILED
    for scl in classes:
        hidden |= scene.class_bits(scl, MaskSpec().scl) != 0
    return preprocess.radiometry_from_pixels(np.where(hidden, 0, red).astype(np.uint16))


def _around_centre(span: slice, length: int) -> slice:
    """Return a span with the same centre, inside the axis, with a length between the limits."""
    edge = min(max(span.stop - span.start, _SHORTEST), _LONGEST, length)
    start = min(max((span.start + span.stop - edge) // 2, 0), length - edge)
    return slice(start, start + edge)
