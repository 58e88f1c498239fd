"""Which share of the area was observed, and where no scene lies."""

from __future__ import annotations

from unittest.mock import patch

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox

from lspipe.change import coverage
from lspipe.change.coverage import (
    NO_SCENE,
    counted,
    observed_share,
    outside_of_tiles,
    seen_by_others,
    with_no_scene,
)
from lspipe.change.unobserved import unobserved
from lspipe.schema import Quality
from lspipe.schema.columns import UNOBSERVED
from lspipe.search.areas import Area, centres_on_grid, footprint
from tests.properties import examples

LEFT, TOP, SIZE = 500_000, 4_400_000, 100


def grid(column=0, columns=SIZE, row=0):
    corner = Affine(10, 0, LEFT + 10 * column, 0, -10, TOP - 10 * row)
    return GeoBox((SIZE, columns), corner, "EPSG:32633")


def area(column=0, columns=SIZE, row=0, rows=SIZE):
    """Pixels of the grid as an area of interest."""
    west, north = LEFT + 10 * column, TOP - 10 * row
    shape = shapely.box(west, north - 10 * rows, west + 10 * columns, north)
    degrees = gpd.GeoSeries([shapely.segmentize(shape, 100)], crs=32633).to_crs(4326)
    return Area(degrees.iloc[0], None, "a box")


def gaps(geobox, *, before=(), after=()):
    """Clouds on either date, as slices of the grid."""
    bits = {role: np.zeros(geobox.shape, np.uint8) for role in ("before", "after")}
    for role, clouds in (("before", before), ("after", after)):
        for cloud in clouds:
            bits[role][cloud] = Quality.CLOUD
    return unobserved(bits, geobox=geobox, tile="33TWE")


def clouds(geobox, *slices):
    mask = np.zeros(geobox.shape, bool)
    for cloud in slices:
        mask[cloud] = True
    return mask


def reader(mask):
    return lambda part: mask[part]


def share(where, grids, unseen):
    """Count every tile, and let the later ones tell what they saw, as a run does."""
    counts, by_others = [], 0.0
    for number, (geobox, mask) in enumerate(zip(grids, unseen, strict=True)):
        asked = {
            "area": centres_on_grid(where, geobox),
            "earlier": grids[:number],
        }
        others = list(zip(grids, map(reader, unseen), strict=True))[number + 1 :]
        counts.append(counted(geobox, reader(mask), **asked))
        by_others += seen_by_others(geobox, reader(mask), others, **asked)
    return observed_share(counts, by_others, outside_of_tiles(where, grids))


def test_a_small_area_under_a_cloud_was_not_observed_however_clear_the_tile():
    cloud = clouds(grid(), np.s_[:40, :40])
    assert share(area(10, 10, 10, 10), [grid()], [cloud]) == pytest.approx(0, abs=1e-6)
    assert share(area(60, 10, 10, 10), [grid()], [cloud]) == pytest.approx(1, abs=1e-6)
    assert share(area(30, 20, 0, 10), [grid()], [cloud]) == pytest.approx(0.5, abs=1e-4)


def test_what_one_tile_missed_and_its_neighbour_saw_was_observed():
    # Tiles of 100 columns that share 40 of them; the first is cloudy in half of those.
    grids = [grid(), grid(60)]
    unseen = [clouds(grids[0], np.s_[:, 80:]), clouds(grids[1], np.s_[:, 30:])]
    assert share(area(0, 160), grids, unseen) == pytest.approx(90 / 160, abs=1e-4)
    assert outside_of_tiles(area(0, 160), grids).area == pytest.approx(0, abs=1e-8)
    # Each tile's gaps are its own.
    swapped = [clouds(grids[0], np.s_[:, 30:]), clouds(grids[1], np.s_[:, 80:])]
    assert share(area(0, 160), grids, swapped) == pytest.approx((30 + 80) / 160, abs=1e-4)


@examples(50)
@given(
    hnp.arrays(bool, (3, 24, 24), fill=st.nothing()),
    st.lists(st.tuples(st.integers(-30, 30), st.integers(-30, 30)), min_size=2, max_size=2),
    st.integers(1, 30),
)
def test_tiles_of_one_zone_observed_what_their_union_shows(unseen, moves, strip):
    whole = np.zeros((2, 90, 90), bool)
    grids = []
    for mask, (down, right) in zip(unseen, [(0, 0), *moves], strict=True):
        place = np.s_[33 + down : 57 + down, 33 + right : 57 + right]
        whole[0][place] = True
        whole[1][place] |= ~mask
        corner = Affine(10, 0, LEFT + 10 * right, 0, -10, TOP - 10 * down)
        grids.append(GeoBox((24, 24), corner, "EPSG:32633"))
    where = Area(shapely.union_all([footprint(each) for each in grids]), None, "all")
    with patch.object(coverage, "STRIP", strip):
        found = share(where, grids, list(unseen))
    expected = np.count_nonzero(whole[1]) / np.count_nonzero(whole[0])
    # Edges bend between the tiles and the area.
    assert found == pytest.approx(expected, abs=1e-4)


def test_what_the_tile_of_the_next_zone_saw_was_observed():
    # The border of zones 32 and 33, at 12 degrees east; both tiles reach 5 km beyond it.
    west = GeoBox((300, 1000), Affine(10, 0, 755_000, 0, -10, 4_850_000), "EPSG:32632")
    near = gpd.GeoSeries([shapely.box(*west.extent.boundingbox)], crs=32632).to_crs(32633)
    left, _, _, top = (round(value / 10) * 10 for value in near.total_bounds)
    east = GeoBox((300, 1000), Affine(10, 0, left + 5000, 0, -10, top), "EPSG:32633")
    outlines = [footprint(west), footprint(east)]
    where = Area(shapely.union_all(outlines), None, "both")
    shared = shapely.intersection(*outlines)
    assert 0.2 < shared.area / outlines[0].area < 0.6
    # The first saw nothing, the second all: what is left is what only the first covers.
    unseen = [np.ones(west.shape, bool), np.zeros(east.shape, bool)]
    found = share(where, [west, east], unseen)
    assert found == pytest.approx(outlines[1].area / where.geometry.area, abs=1e-3)
    # The other way round.
    found = share(where, [west, east], [~mask for mask in unseen])
    assert found == pytest.approx(outlines[0].area / where.geometry.area, abs=1e-3)


def test_other_tiles_are_read_only_where_something_was_missed():
    grids = [grid(), grid(60)]
    cloud = clouds(grids[0], np.s_[20:23, 70:75])
    asked = []

    def read(part):
        asked.append(part)
        return np.zeros([span.stop - span.start for span in part], bool)

    found = seen_by_others(grids[0], reader(cloud), [(grids[1], read)])
    assert asked == [(slice(20, 23), slice(10, 15))]
    assert found == pytest.approx(15 * 100 / 0.9996**2, rel=1e-5)


def test_pixels_count_by_their_size_on_the_ground():
    # The western half of a tile at the edge of its zone, where a pixel is smaller.
    wide = GeoBox((2, 10980), Affine(10, 0, 209_760, 0, -10, TOP), "EPSG:32633")
    half = counted(wide, reader(clouds(wide, np.s_[:, : 10980 // 2])))
    west, _, east, _ = wide.extent.boundingbox
    parts = gpd.GeoSeries(
        [
            shapely.segmentize(shapely.box(left, TOP - 20, right, TOP), 500)
            for left, right in ((west, east), ((west + east) / 2, east))
        ],
        crs=32633,
    ).to_crs(4326)
    whole, seen = (coverage.square_metres(part) for part in parts)
    assert half.wanted_m2 == pytest.approx(whole, rel=1e-6)
    assert half.seen_m2 == pytest.approx(seen, rel=1e-6)
    assert abs(half.seen_m2 / half.wanted_m2 - 0.5) > 1e-5


def test_the_part_of_the_area_outside_every_tile_has_no_scene_on_either_date():
    where = area(50, 150)
    assert share(where, [grid()], [clouds(grid())]) == pytest.approx(50 / 150, abs=1e-4)
    no_scene = outside_of_tiles(where, [grid()])
    table = with_no_scene([gaps(grid())], no_scene, dates=("before", "after"))
    assert tuple(table.columns) == tuple(UNOBSERVED)
    assert table["date"].tolist() == ["before", "after"]
    assert table["reason"].tolist() == [NO_SCENE] * 2
    assert table["tile"].isna().all()
    # 100 columns of 100 pixels, each 100 m2 of the map; 0.9996 is the scale of UTM.
    np.testing.assert_allclose(table["area_m2"], 1e6 / 0.9996**2, rtol=1e-4)
    # A metre within: edges bend between the tile and the area.
    outside = table.to_crs(32633).geometry.iloc[0].buffer(-1)
    np.testing.assert_allclose(outside.bounds, [501e3, 4399e3, 502e3, 4400e3], atol=2)


def test_a_sliver_is_no_place_without_a_scene():
    shifted = shapely.transform(area().geometry, lambda xy: xy + np.array([1e-7, 0]))
    no_scene = outside_of_tiles(Area(shifted, None, "a box"), [grid()])
    table = with_no_scene([gaps(grid())], no_scene, dates=("after",))
    assert len(table) == 0
    assert tuple(table.columns) == tuple(UNOBSERVED)


def test_gaps_of_tiles_and_what_no_tile_covers_are_one_table():
    grids = [grid(), grid(60)]
    tables = [gaps(grids[0]), gaps(grids[1], after=[np.s_[:2, :3]])]
    no_scene = outside_of_tiles(area(0, 200), grids)
    found = with_no_scene(tables, no_scene, dates=("before", "after"))
    assert found[["date", "reason"]].to_numpy().tolist() == [
        ["after", "cloud"], ["before", NO_SCENE], ["after", NO_SCENE],
    ]  # fmt: skip
    assert found.crs.to_epsg() == 4326
    assert found.geometry.iloc[0].equals(tables[1].geometry.iloc[0])


def test_of_tiles_by_name_the_whole_tile_is_wanted_where_it_has_no_scene():
    half = tile_part()
    cloud = clouds(half, np.s_[:, 30:])
    # Its grid is what the items say, however small; that of the other tile is by its name.
    one = Area(footprint(half), ("18GYS",), "tiles 18GYS")
    assert share(one, [half], [cloud]) == pytest.approx(0.3, abs=1e-4)
    both = Area(footprint(half), ("18GYS", "19GBP"), "tiles 18GYS, 19GBP")
    found = share(both, [half], [cloud])
    assert found == pytest.approx(30 * SIZE / (SIZE**2 + 10980**2), rel=1e-2)
    assert not shapely.intersects(outside_of_tiles(both, [half]), footprint(half))


def tile_part():
    return GeoBox((SIZE, SIZE), Affine(10, 0, 699960, 0, -10, 5200000), "EPSG:32718")
