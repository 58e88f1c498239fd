"""Which share of the area was observed, and where no scene lies."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from lspipe.change.coverage import NO_SCENE, coverage, with_no_scene
from lspipe.change.unobserved import unobserved
from lspipe.schema import Quality
from lspipe.schema.columns import UNOBSERVED
from lspipe.search.areas import Area, footprint

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


def share(where, grids, tables):
    return coverage(where, grids, tables).observed_share


def test_a_small_area_under_a_cloud_was_not_observed_however_clear_the_tile():
    cloud = gaps(grid(), after=[np.s_[:40, :40]])
    assert share(area(10, 10, 10, 10), [grid()], [cloud]) == pytest.approx(0, abs=1e-6)
    assert share(area(60, 10, 10, 10), [grid()], [cloud]) == pytest.approx(1, abs=1e-6)
    assert share(area(30, 20, 0, 10), [grid()], [cloud]) == pytest.approx(0.5, abs=1e-4)


def test_a_place_counts_that_was_observed_on_every_date():
    table = gaps(grid(), before=[np.s_[:, :20]], after=[np.s_[:, 10:50]])
    assert share(area(), [grid()], [table]) == pytest.approx(0.5, abs=1e-4)


def test_what_one_tile_missed_and_its_neighbour_saw_was_observed():
    # Tiles of 100 columns that share 40 of them; the first is cloudy in half of those.
    grids = [grid(), grid(60)]
    tables = [gaps(grids[0], after=[np.s_[:, 80:]]), gaps(grids[1], before=[np.s_[:, 30:]])]
    found = coverage(area(0, 160), grids, tables)
    assert found.observed_share == pytest.approx(90 / 160, abs=1e-4)
    assert found.no_scene.area == pytest.approx(0, abs=1e-8)
    # Each tile's gaps are its own.
    swapped = [gaps(grids[0], before=[np.s_[:, 30:]]), gaps(grids[1], after=[np.s_[:, 80:]])]
    assert share(area(0, 160), grids, swapped) == pytest.approx((30 + 80) / 160, abs=1e-4)


def test_the_part_of_the_area_outside_every_tile_has_no_scene_on_either_date():
    found = coverage(area(50, 150), [grid()], [gaps(grid())])
    assert found.observed_share == pytest.approx(50 / 150, abs=1e-4)
    table = with_no_scene([gaps(grid())], found, dates=("before", "after"))
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
    found = coverage(Area(shifted, None, "a box"), [grid()], [gaps(grid())])
    table = with_no_scene([gaps(grid())], found, dates=("after",))
    assert len(table) == 0
    assert tuple(table.columns) == tuple(UNOBSERVED)


def test_gaps_of_tiles_and_what_no_tile_covers_are_one_table():
    grids = [grid(), grid(60)]
    tables = [gaps(grids[0]), gaps(grids[1], after=[np.s_[:2, :3]])]
    found = with_no_scene(tables, coverage(area(0, 200), grids, tables), dates=("before", "after"))
    assert found[["date", "reason"]].to_numpy().tolist() == [
        ["after", "cloud"], ["before", NO_SCENE], ["after", NO_SCENE],
    ]  # fmt: skip
    assert found.crs.to_epsg() == 4326
    assert found.geometry.iloc[0].equals(tables[1].geometry.iloc[0])


def test_of_tiles_by_name_the_whole_tile_is_wanted_where_it_has_no_scene():
    half = tile_part()
    cloud = np.zeros(half.shape, np.uint8)
    cloud[:, 30:] = Quality.CLOUD
    table = unobserved({"after": cloud}, geobox=half, tile="18GYS")
    # Its grid is what the items say, however small; that of the other tile is by its name.
    one = Area(footprint(half), ("18GYS",), "tiles 18GYS")
    assert share(one, [half], [table]) == pytest.approx(0.3, abs=1e-4)
    both = Area(footprint(half), ("18GYS", "19GBP"), "tiles 18GYS, 19GBP")
    found = coverage(both, [half], [table])
    assert found.observed_share == pytest.approx(30 * SIZE / (SIZE**2 + 10980**2), rel=1e-2)
    assert not shapely.intersects(found.no_scene, footprint(half))


def tile_part():
    return GeoBox((SIZE, SIZE), Affine(10, 0, 699960, 0, -10, 5200000), "EPSG:32718")
