"""Outlines are valid and hold exactly their pixels; measures agree with known shapes."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyproj import CRS, Geod, Transformer
from scipy import ndimage

from lspipe.change import outlines as module
from lspipe.change.components import label
from lspipe.change.outlines import (
    measures,
    minimum_rectangle,
    outline,
    outlines,
    outlines_by_value,
    polygons_of,
)
from lspipe.errors import UsageError
from tests.properties import examples

GRID = Affine(10, 0, 455655, 0, -10, 4428465)
# Every pixel is drawn: left to itself, hypothesis fills most of an array with one value.
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
MASKS = hnp.arrays(bool, SHAPES, fill=st.nothing())


def pixels(mask: np.ndarray) -> shapely.Geometry:
    rows, columns = np.nonzero(mask)
    x, y = GRID.c + 10 * columns, GRID.f - 10 * rows
    return shapely.union_all(shapely.box(x, y - 10, x + 10, y))


@examples(300)
@given(MASKS)
def test_an_outline_is_valid_and_equals_the_union_of_its_pixels(mask) -> None:
    mask[0, 0] = True
    found = outline(mask, GRID)
    assert found.is_valid
    assert found.equals(pixels(mask))
    assert found.area == 100 * mask.sum()
    assert found.length == pytest.approx(pixels(mask).length)
    assert all(part.exterior.is_ccw for part in shapely.get_parts([found]))


@given(hnp.arrays(np.uint8, (7, 6), elements=st.integers(0, 3), fill=st.nothing()))
def test_each_value_of_a_raster_has_its_own_outline(values) -> None:
    found = outlines_by_value(values, GRID)
    assert set(found) == set(np.unique(values)) - {0}
    for value, polygon in found.items():
        assert polygon.is_valid
        assert polygon.equals(pixels(values == value))


def alone(mask, transform):
    """The outline of one object, asked of GDAL by itself."""
    if mask.all():
        (west, north), (east, south) = transform * (0, 0), transform * mask.shape[::-1]
        return shapely.box(west, south, east, north)
    pieces = []
    for geometry, _ in rasterio.features.shapes(
        mask.astype(np.uint8), mask=mask, connectivity=4, transform=transform
    ):
        piece = shapely.geometry.shape(geometry)
        pieces += polygons_of(piece if piece.is_valid else shapely.make_valid(piece))
    return shapely.orient_polygons(pieces[0] if len(pieces) == 1 else shapely.MultiPolygon(pieces))


@examples(100)
@given(
    hnp.arrays(bool, (8, 9), fill=st.nothing()),
    st.sampled_from([GRID, Affine(9.87, 0, 0.1, 0, -10.03, 1 / 3)]),
    st.integers(1, 9),
)
def test_objects_traced_together_have_the_outlines_of_each_alone_to_the_bit(
    mask, grid, rows
) -> None:
    objects = label(mask)
    labels = objects.labels
    spans = ndimage.find_objects(labels)
    with patch.object(module, "ROWS", rows):
        found = outlines(objects, grid)
    for number, span in enumerate(spans):
        corner = grid * Affine.translation(span[1].start, span[0].start)
        expected = alone(labels[span] == number + 1, corner)
        assert shapely.to_wkb(found[number]) == shapely.to_wkb(expected)


def test_holes_and_corner_contacts_are_kept() -> None:
    ring = np.ones((5, 5), bool)
    ring[1, 1] = ring[2, 2] = False  # two holes that touch at a corner
    assert len(outline(ring, GRID).interiors) == 2
    pair = np.eye(2, dtype=bool)
    assert outline(pair, GRID).geom_type == "MultiPolygon"


def test_the_l_shape_of_the_handbook_has_its_measures() -> None:
    shape = shapely.Polygon([(0, 0), (100, 0), (100, 20), (20, 20), (20, 60), (0, 60)])
    moved = shapely.transform(shape, lambda xy: xy + np.array([500000, 4649776]))
    row = measures(np.array([moved]), CRS(32613)).iloc[0]
    # k = 0.9996 on the central meridian: geodesic areas are larger than those of the map.
    assert row["area_m2"] == pytest.approx(2800 / 0.9996**2, rel=1e-6)
    assert row["perimeter_m"] == pytest.approx(320)
    assert (row["length_m"], row["width_m"]) == pytest.approx((100, 60))
    assert row["area_perimeter_ratio_m"] == pytest.approx(8.75, rel=1e-3)
    assert row["length_width_ratio"] == pytest.approx(100 / 60)
    assert row["lon"] == pytest.approx(-105, abs=1e-3)


def test_a_turned_box_has_the_sides_of_the_box() -> None:
    turned = shapely.affinity.rotate(shapely.box(5e5, 5e6, 5e5 + 200, 5e6 + 50), 30)
    assert minimum_rectangle(turned) == pytest.approx((200, 50))


def test_the_rectangle_has_the_smallest_area_where_qgis_found_a_larger_one() -> None:
    # The polygon of QGIS issue 33532, for which QGIS 3.10 gave 444 x 361.
    corners = (
        "264 -525, 248 -521, 244 -519, 233 -508, 231 -504, 210 -445, 196 -396, 180 -332, 178 -322,"
        "176 -310, 174 -296, 174 -261, 176 -257, 178 -255, 183 -251, 193 -245, 197 -243, 413 -176,"
        "439 -168, 447 -166, 465 -164, 548 -164, 552 -166, 561 -175, 567 -187, 602 -304, 618 -379,"
        "618 -400, 616 -406, 612 -414, 606 -420, 587 -430, 575 -436, 547 -446, 451 -474, 437 -478,"
        "321 -511, 283 -521, 275 -523, 266 -525, 264 -525"
    )
    polygon = shapely.from_wkt(f"POLYGON (({corners}))")
    assert minimum_rectangle(polygon) == pytest.approx((415.80, 297.12), abs=0.01)


@given(MASKS)
def test_the_rectangle_agrees_with_geos(mask) -> None:
    mask[0, 0] = True
    length, width = minimum_rectangle(outline(mask, GRID))
    other = shapely.oriented_envelope(outline(mask, GRID))
    assert length * width == pytest.approx(other.area)
    assert length >= width > 0


@pytest.mark.parametrize("easting", [200_000, 350_000, 500_000, 790_000])
@pytest.mark.parametrize("northing", [100_000, 5_000_000, 8_000_000])
def test_areas_are_geodesic(easting: float, northing: float) -> None:
    mask = np.random.default_rng(0).random((60, 80)) < 0.9
    place = Affine(10, 0, easting, 0, -10, northing)
    polygon = outline(mask, place)
    to_degrees = Transformer.from_crs(32633, 4326, always_xy=True)
    degrees = shapely.transform(polygon, to_degrees.transform, interleaved=False)
    oriented = shapely.get_parts(shapely.orient_polygons([degrees]))
    expected = sum(Geod(ellps="WGS84").geometry_area_perimeter(part)[0] for part in oriented)
    found = measures(np.array([polygon]), CRS(32633))["area_m2"].iloc[0]
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("epsg", "place", "message"),
    [
        (4326, (10.0, 45.0), "is in degree: expected a projected CRS in metres"),
        (2263, (1e6, 2e5), "US survey foot: expected a projected CRS in metres"),
        (3857, (1e6, 5e6), "areas are off by"),
    ],
)
def test_a_grid_that_cannot_be_measured_is_refused(epsg, place, message) -> None:
    box = shapely.box(place[0], place[1], place[0] + 100, place[1] + 100)
    with pytest.raises(UsageError, match=message):
        measures(np.array([box]), CRS(epsg))


def test_nothing_to_measure_gives_an_empty_table() -> None:
    assert len(measures(np.array([], dtype=object), CRS(32633))) == 0
