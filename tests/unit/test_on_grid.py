"""An area on the grid of a tile: what the outline tells is what the pixels tell."""

from __future__ import annotations

import pickle

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely.geometry import Point, box

from lspipe.search import on_grid
from lspipe.search.areas import Area, PackedMask, area_on_grid, near_grid
from lspipe.search.on_grid import PROBES, ROUGH_CELLS, AreaOnGrid, RoughMask

GRID = GeoBox((80, 120), Affine(10, 0, 600000, 0, -10, 5200020), "EPSG:32632")
TILE = GeoBox((10980, 10980), Affine(10, 0, 600000, 0, -10, 5200020), "EPSG:32632")
WHOLE = (slice(0, 80), slice(0, 120))


def area_of(*shapes, grid=GRID):
    """An area of polygons in columns and rows of a grid."""
    forward = grid.transform
    metres = [
        shapely.transform(shape, lambda xy: np.column_stack(forward * (xy[:, 0], xy[:, 1])))
        for shape in shapes
    ]
    ground = gpd.GeoSeries(metres, crs=grid.crs.epsg).to_crs(4326)
    return Area(shapely.union_all(ground.to_numpy()), None, "a test")


# Whole numbers lie on edges of pixels, where the rounding of a projection decides.
PLACES = st.one_of(st.integers(-10, 130), st.floats(-10, 130, allow_subnormal=False))


@st.composite
def shapes(draw):
    """A box on or off the edges of pixels, or a disk."""
    x, y = draw(PLACES), draw(PLACES)
    if draw(st.booleans()):
        return Point(x, y).buffer(draw(st.floats(0.05, 90)))
    width, height = (draw(st.one_of(st.integers(1, 140), st.floats(0.05, 140))) for _ in "xy")
    return box(x, y, x + width, y + height)


@st.composite
def parts(draw):
    """A part of the grid that is not empty."""
    top, left = draw(st.integers(0, 79)), draw(st.integers(0, 119))
    bottom, right = draw(st.integers(top + 1, 80)), draw(st.integers(left + 1, 120))
    return slice(top, bottom), slice(left, right)


@given(st.lists(shapes(), min_size=1, max_size=3), st.lists(parts(), min_size=1, max_size=8))
def test_the_outline_tells_what_the_pixels_tell(some, asked):
    area = area_of(*some)
    pixels = area_on_grid(area, GRID)
    known = AreaOnGrid(area, GRID).known()
    assert known.touched(asked).tolist() == [bool(pixels[part].any()) for part in asked]
    assert known.is_everywhere() == pixels.all()


def test_an_area_that_ends_on_the_edge_of_a_block_touches_what_is_burned():
    for x in range(5, 110, 3):
        y = x % 60 + 5
        area = area_of(box(x, y, x + 6, y + 4))
        rows = [slice(y - 3, y), slice(y, y + 4), slice(y + 4, y + 7)]
        columns = [slice(x - 3, x), slice(x, x + 6), slice(x + 6, x + 9)]
        around = [(row, column) for row in rows for column in columns]
        pixels = area_on_grid(area, GRID)
        expected = [bool(pixels[part].any()) for part in around]
        assert AreaOnGrid(area, GRID).known().touched(around).tolist() == expected


def test_a_hole_between_the_probes_is_seen():
    step = 119 / (PROBES - 1)
    hole = box(step + 2.2, 20.3, step + 3.4, 21.6)
    # Of 1.2 pixels, of which none is left, and of 3, which leave one.
    for grown, is_everywhere in ((0, True), (1, False)):
        area = area_of(box(-9, -9, 130, 90).difference(hole.buffer(grown, join_style="mitre")))
        assert AreaOnGrid(area, GRID).known().is_everywhere() is is_everywhere
        assert area_on_grid(area, GRID).all() == is_everywhere


def test_an_area_far_away_touches_nothing_and_one_by_name_everything():
    far = AreaOnGrid(Area(box(100, 10, 101, 11), None, "far"), GRID).known()
    assert not far.touched([WHOLE])[0]
    assert far.rough().cells.size == 0
    named = AreaOnGrid(Area(box(9, 46, 10, 47), ("32TNS",), "by name"), GRID).known()
    assert named.touched([WHOLE])[0]
    assert named.is_everywhere()


def test_a_tile_is_planned_without_its_pixels(monkeypatch):
    def burned(*_):
        raise AssertionError("pixels of a tile were made")

    monkeypatch.setattr(on_grid, "area_on_grid", burned)
    area = area_of(Point(5000, 6000).buffer(4000), grid=TILE)
    known = AreaOnGrid(area, TILE).known()
    corner, middle = (slice(0, 610), slice(0, 610)), (slice(3660, 7320), slice(3660, 7320))
    assert known.touched([corner, middle]).tolist() == [False, True]
    assert not known.is_everywhere()
    assert max(known.rough().cells.shape) <= ROUGH_CELLS


def test_pixels_are_made_once_for_the_blocks_of_a_tile(monkeypatch):
    made = []
    burn = area_on_grid
    monkeypatch.setattr(on_grid, "area_on_grid", lambda *given: made.append(1) or burn(*given))
    mask = AreaOnGrid(area_of(Point(40, 40).buffer(20)), GRID)
    for row in range(0, 80, 10):
        assert mask[slice(row, row + 10), slice(0, 120)].shape == (10, 120)
    np.testing.assert_array_equal(np.asarray(mask), burn(mask.area, GRID))
    assert len(made) == 1


def test_it_travels_as_the_pixels_of_this_process():
    mask = AreaOnGrid(area_of(Point(40, 40).buffer(20)), GRID)
    arrived = pickle.loads(pickle.dumps(mask))  # noqa: S301  # of our own
    assert isinstance(arrived, PackedMask)
    np.testing.assert_array_equal(arrived[WHOLE], mask[WHOLE])


@given(shapes())
def test_a_small_area_is_rough_to_the_pixel(shape):
    area = area_of(shape)
    rough = AreaOnGrid(area, GRID).known().rough()
    found = np.zeros(GRID.shape, bool)
    if rough.cells.size:
        (top, left), (rows, columns) = rough.origin, rough.cells.shape
        found[top : top + rows, left : left + columns] = rough.cells
    assert rough.size == 1
    np.testing.assert_array_equal(found, area_on_grid(area, GRID))


def test_a_wide_area_is_rough_by_cells_that_hold_it_all():
    area = area_of(Point(5000, 6000).buffer(4000), grid=TILE)
    rough = AreaOnGrid(area, TILE).known().rough()
    pixels = area_on_grid(area, TILE)
    assert rough.size == 21
    (top, left), (rows, columns) = rough.origin, rough.cells.shape
    wide = np.zeros(pixels.shape, bool)
    cells = rough.cells.repeat(21, axis=0).repeat(21, axis=1)
    wide[top : top + 21 * rows, left : left + 21 * columns] = cells
    assert not (pixels & ~wide).any()
    assert wide.sum() < 1.01 * pixels.sum()


@given(st.integers(1, 5), st.integers(0, 9), st.data())
def test_rectangles_that_meet_a_rough_mask_are_found(size, seed, data):
    cells = np.random.default_rng(seed).random((6, 7)) < 0.1
    top, left = data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    wide = np.zeros((60, 60), bool)
    shown = cells.repeat(size, axis=0).repeat(size, axis=1)
    wide[top : top + 6 * size, left : left + 7 * size] = shown
    first = [np.sort(data.draw(st.lists(st.integers(0, 50), min_size=1))) for _ in "yx"]
    spans = [(start, start + data.draw(st.integers(1, 9))) for start in first]
    # A rectangle meets whole cells, so it is as wide as those.
    rows, columns = (
        [slice(_out(a, size, at), _up(b, size, at)) for a, b in zip(*span, strict=True)]
        for span, at in zip(spans, (top, left), strict=True)
    )
    expected = [[wide[row, column].any() for column in columns] for row in rows]
    found = RoughMask(cells, size, (top, left)).touched(*spans)
    assert found.tolist() == expected


def _out(first, size, origin):
    return max(0, int(origin + (first - origin) // size * size))


def _up(behind, size, origin):
    return int(origin + -(-(behind - origin) // size) * size)


@pytest.mark.parametrize("count", [1, 40])
def test_of_many_islands_those_of_the_tile_count(count):
    islands = [Point(10 + 15 * (n % 8), 8 + 15 * (n // 8)).buffer(4) for n in range(count)]
    here = area_of(*islands)
    far = [box(x, 10, x + 0.5, 11) for x in range(100, 120)]
    both = Area(shapely.union_all([here.geometry, *far]), None, "islands")
    np.testing.assert_array_equal(area_on_grid(both, GRID), area_on_grid(here, GRID))
    assert near_grid(both, GRID).geometry.equals(here.geometry)
