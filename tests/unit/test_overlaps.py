"""Pixels of a tile are found where they lie in its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from lspipe.change.overlaps import inside

WEST = GeoBox((700, 1100), Affine(10, 0, 752_000, 0, -10, 4_850_000), "EPSG:32632")


def grid(epsg, left, top, shape=(700, 1100)):
    return GeoBox(shape, Affine(10, 0, left, 0, -10, top), f"EPSG:{epsg}")


def one_by_one(first, second, rows):
    """Rows and columns of every pixel, each projected by itself."""
    column, row = np.meshgrid(np.arange(first.shape[1]) + 0.5, np.arange(*rows) + 0.5)
    x, y = first.affine * (column, row)
    move = Transformer.from_crs(first.crs.epsg, second.crs.epsg, always_xy=True)
    column, row = ~second.affine * move.transform(x, y)
    height, width = second.shape
    return row, column, (row >= 0) & (row < height) & (column >= 0) & (column < width)


@pytest.mark.parametrize(
    "other",
    [
        grid(32633, 258_000, 4_850_000),
        grid(32632, 757_130, 4_848_000),
        grid(32632, 752_000, 4_843_100),
        grid(32632, 755_000, 4_849_000, (64, 65)),
    ],
)
@pytest.mark.parametrize("rows", [(0, 610), (610, 700), (333, 334)])
def test_places_in_another_grid_are_those_of_each_pixel_alone(other, rows):
    row, column, expected = one_by_one(WEST, other, rows)
    found = inside(WEST, other, slice(*rows))
    if found is None:
        assert not expected.any()
        return
    cut = np.s_[:, found.columns]
    assert not np.delete(expected, np.arange(found.columns.start, found.columns.stop), 1).any()
    # A tenth of a millimetre from the border of two pixels, either may be named.
    is_clear = np.all([np.abs(each - np.round(each)) > 1e-5 for each in (row, column)], axis=0)
    is_clear = is_clear[cut]
    np.testing.assert_array_equal(found.is_inside[is_clear], expected[cut][is_clear])
    compared = found.is_inside & is_clear
    assert compared.sum() > 0.99 * found.is_inside.sum()
    np.testing.assert_array_equal(found.row[compared], np.floor(row[cut])[compared])
    np.testing.assert_array_equal(found.column[compared], np.floor(column[cut])[compared])


def test_tiles_that_only_touch_share_no_pixel():
    assert inside(WEST, grid(32632, 763_000, 4_850_000), slice(0, 610)) is None
    assert inside(WEST, grid(32632, 752_000, 4_900_000), slice(0, 610)) is None
