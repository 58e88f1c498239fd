"""Objects of overlapping tiles are listed once, and nothing is lost."""

from __future__ import annotations

from itertools import permutations

import geopandas as gpd
import numpy as np
import pytest
import rioxarray  # noqa: F401  # registers the .rio accessor
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from pandas.testing import assert_frame_equal
from xarray import DataArray

from lspipe.change.compare import compare
from lspipe.change.inventory import Provenance, delineate
from lspipe.change.joining import TileMap, join_tiles
from lspipe.schema import CODE_NODATA, INVENTORY_COLUMNS
from tests.properties import examples

HEIGHT, WIDTH = 20, 30
WORLD = GeoBox((HEIGHT, WIDTH), Affine(10, 0, 600_000, 0, -10, 4_400_000), "EPSG:32633")
LEFT, RIGHT = np.s_[:, :18], np.s_[:, 12:]


def part(name: str, before, after, cut, world: GeoBox = WORLD) -> tuple[gpd.GeoDataFrame, TileMap]:
    """What a tile that covers `cut` of the world sees of it."""
    geobox = world[cut]
    maps = [DataArray(c[cut], dims=("y", "x"), coords=xr_coords(geobox)) for c in (before, after)]
    who = Provenance(
        tile=name, date_after="2018-02-01", items_before=(f"{name}_a",), items_after=(f"{name}_b",)
    )
    return delineate(compare(*maps), provenance=who), TileMap(name, geobox)


def join(*parts: tuple[gpd.GeoDataFrame, TileMap], **rules: float) -> gpd.GeoDataFrame:
    return join_tiles([table for table, _ in parts], [tile for _, tile in parts], **rules)


def scene() -> tuple[np.ndarray, np.ndarray]:
    before, after = np.zeros((2, HEIGHT, WIDTH), np.uint16)
    return before, after


def outline(found: gpd.GeoDataFrame) -> shapely.Geometry:
    # To the millimetre: corners that met before they went to degrees and back meet again.
    moved = shapely.set_precision(found.to_crs(32633).geometry.to_numpy(), 1e-3)
    return shapely.union_all(moved, grid_size=1e-3)


def pixels(mask: np.ndarray) -> float:
    return 100.0 * np.count_nonzero(mask)


def test_an_object_of_the_overlap_is_listed_once_with_the_nearest_tiles_outline() -> None:
    before, after = scene()
    after[5:9, 13:16] = 9000  # nearer to the centre of the left tile (column 9) than 21
    other = after.copy()
    other[5:9, 16] = 9000  # the right tile sees a larger one
    left, right = part("A", before, after, LEFT), part("B", before, other, RIGHT)
    found = join(left, right)
    assert found["tile"].tolist() == ["A"]
    assert outline(found).area == pytest.approx(pixels(after))
    assert found.crs.to_epsg() == 4326
    assert not found["tile_edge"].any()


def test_an_object_cut_by_one_tile_has_the_outline_of_the_tile_that_saw_it_whole() -> None:
    before, after = scene()
    after[5:9, 14:24] = 9000
    found = join(part("A", before, after, LEFT), part("B", before, after, RIGHT))
    assert found["tile"].tolist() == ["B"]
    assert found["n_px"].tolist() == [40]


def test_an_object_longer_than_the_overlap_is_joined_from_its_parts() -> None:
    before, after = scene()
    after[5:9, 2:28] = 9000
    after[6, 8] = 7000
    found = join(part("A", before, after, LEFT), part("B", before, after, RIGHT))
    assert len(found) == 1
    row = found.iloc[0]
    assert row["n_px"] == 104
    assert outline(found).area == pytest.approx(pixels(after))
    assert (row["length_m"], row["width_m"], row["perimeter_m"]) == pytest.approx((260, 40, 600))
    assert 0.89 < row["probability_mean"] < 0.9
    assert row["items_before"] == "A_a,B_a"
    assert not row["tile_edge"]


def test_parts_that_only_touch_at_the_edge_are_joined() -> None:
    before, after = scene()
    after[5:9, 8:20] = 9000
    found = join(part("A", before, after, np.s_[:, :15]), part("B", before, after, np.s_[:, 15:]))
    assert found["n_px"].tolist() == [48]
    assert found.geometry.iloc[0].geom_type == "Polygon"


def test_an_object_that_only_one_tile_saw_is_kept() -> None:
    before, after = scene()
    after[5:9, 13:16] = 9000
    clouded = after.copy()
    clouded[:, :17] = CODE_NODATA
    for parts in (
        (part("A", before, clouded, LEFT), part("B", before, after, RIGHT)),
        (part("A", before, before, LEFT), part("B", before, after, RIGHT)),
        (part("B", before, after, RIGHT),),
    ):
        found = join(*parts)
        assert found["tile"].tolist() == ["B"]
        assert found["status"].tolist() == ["new"]
        assert found["n_px"].tolist() == [12]


def test_a_tile_that_did_not_observe_the_date_before_does_not_decide() -> None:
    before, after = scene()
    after[5:9, 13:16] = 9000
    clouded = before.copy()
    clouded[:, 11:17] = CODE_NODATA
    found = join(part("A", clouded, after, LEFT), part("B", before, after, RIGHT))
    assert found[["tile", "status"]].to_numpy().tolist() == [["B", "new"]]
    alone = join(part("A", clouded, after, LEFT))
    assert alone["status"].tolist() == ["undetermined"]


def test_tiles_that_each_saw_a_half_give_the_whole() -> None:
    before, after = scene()
    after[4:12, 13:17] = 9000
    upper, lower = before.copy(), before.copy()
    upper[9:] = lower[:7] = CODE_NODATA
    found = join(part("A", upper, after, LEFT), part("B", lower, after, RIGHT))
    new = found[found["status"] == "new"]
    assert outline(new).area == pytest.approx(pixels(after))


def test_an_object_dated_differently_has_the_status_of_the_nearest_tile() -> None:
    before, after = scene()
    after[5:9, 13:16] = 9000
    found = join(part("A", before, after, LEFT), part("B", after, after, RIGHT))
    assert found[["tile", "status"]].to_numpy().tolist() == [["A", "new"]]


def test_the_nearest_tile_is_nearest_to_the_pixels_and_not_to_the_parts() -> None:
    world = GeoBox((HEIGHT, 40), WORLD.affine, WORLD.crs)
    before, after = np.zeros((2, HEIGHT, 40), np.uint16)
    # Most of it is in the left tile; the middle of the two parts is in the right one.
    after[4:12, 2:22] = after[6, 22:40] = 9000
    cuts = {"A": np.s_[:, :22], "B": np.s_[:, 22:]}
    found = join(*(part(name, before, after, cut, world) for name, cut in cuts.items()))
    assert found[["tile", "n_px"]].to_numpy().tolist() == [["A", 160 + 18]]


def test_where_no_tile_saw_all_the_status_of_most_pixels_comes_first() -> None:
    before, after = scene()
    after[5:9, 11:17] = 9000
    after[4, 13] = CODE_NODATA
    there_before, there_after = scene()
    there_before[5:9, 13:18] = there_after[5:9, 13:18] = 9000
    there_after[4, 13] = CODE_NODATA
    found = join(part("A", before, after, LEFT), part("B", there_before, there_after, RIGHT))
    assert found.set_index("status")["n_px"].to_dict() == {"new": 24, "persistent": 4}
    # What has another status overlaps nothing.
    assert outline(found).area == pytest.approx(found.to_crs(32633).area.sum(), abs=1)


def test_a_tile_whose_grid_ends_within_an_object_did_not_see_all_of_it() -> None:
    before, after = scene()
    after[5:9, 2:17] = 9000
    after[4, 5] = CODE_NODATA
    there = scene()[1]
    there[5:9, 14:18] = 9000
    found = join(part("A", before, after, LEFT), part("B", before, there, RIGHT))
    assert found["n_px"].tolist() == [16 * 4]


def test_a_small_object_within_a_large_one_of_another_status_is_not_it() -> None:
    before, after = scene()
    after[6:8, 14:16] = 9000
    there = scene()[0]
    there[4:10, 13:18] = 9000
    found = join(part("A", before, after, LEFT), part("B", there, there, RIGHT))
    assert found.set_index("status")["n_px"].to_dict() == {"grown": 4, "persistent": 30}


def test_half_of_the_larger_in_common_makes_one_object_of_two_statuses() -> None:
    there = scene()[0]
    there[4:8, 13:17] = 9000
    for width, count in ((2, 1), (1, 2)):  # 8 and 4 of its 16 pixels
        before, after = scene()
        after[4:8, 13 : 13 + width] = 9000
        found = join(part("A", before, after, LEFT), part("B", there, there, RIGHT))
        assert len(found) == count


@pytest.mark.parametrize(("shift", "count"), [(4, 1), (6, 2)])
def test_less_than_half_a_pixel_in_common_is_a_sliver(shift, count) -> None:
    before, after = scene()
    after[5, 14] = 9000
    # Grids that do not coincide, as those of two zones.
    moved = GeoBox(WORLD.shape, Affine.translation(shift, 0) * WORLD.affine, WORLD.crs)
    found = join(part("A", before, after, LEFT), part("B", before, after, RIGHT, moved))
    assert len(found) == count


def test_each_pair_of_parts_is_measured_by_its_own_sizes() -> None:
    before, after = scene()
    clouded, there_before, there_after = before.copy(), *scene()
    # Dated differently, and the same pixels: one object, however large others are.
    after[0:2, 13:15] = there_before[0:2, 13:15] = there_after[0:2, 13:15] = 9000
    # Large and new; an old one within it is too small to be the same.
    after[4:12, 12:18] = 9000
    there_before[7:9, 14:16] = there_after[7:9, 14:16] = 9000
    # Undetermined in one tile, new in the other.
    after[15:19, 12:17] = 9000
    clouded[14:20, 11:18] = CODE_NODATA
    there_after[15:19, 13:17] = 9000
    found = join(part("A", clouded, after, LEFT), part("B", there_before, there_after, RIGHT))
    assert sorted(zip(found["status"], found["n_px"], strict=True)) == [
        ("new", 4), ("new", 16), ("new", 48), ("persistent", 4),
    ]  # fmt: skip


def test_parts_that_touch_where_only_one_is_cut_are_two() -> None:
    before, after = scene()
    after[5:9, 14:18] = 9000  # up to the edge of the left tile
    there = scene()[1]
    there[5:9, 18:21] = 9000  # in the midst of the right one, which saw nothing of the other
    found = join(part("A", before, after, LEFT), part("B", before, there, RIGHT))
    assert sorted(found["n_px"]) == [12, 16]


def test_what_is_undetermined_gives_way_to_what_another_tile_knows() -> None:
    before, after = scene()
    after[5:9, 12:18] = 9000
    clouded = before.copy()
    clouded[4:10, 11:] = CODE_NODATA
    there = scene()[1]
    there[5:9, 13:17] = 9000
    there[4, 14] = CODE_NODATA  # so that no tile saw all of it and its rim
    found = join(part("A", clouded, after, LEFT), part("B", before, there, RIGHT))
    assert found.set_index("status")["n_px"].to_dict() == {"new": 16}


def test_the_smallest_area_counts_after_joining() -> None:
    before, after = scene()
    after[5, 8:20] = 9000
    parts = part("A", before, after, np.s_[:, :15]), part("B", before, after, np.s_[:, 15:])
    assert join(*parts, min_area_m2=900)["n_px"].tolist() == [12]
    assert len(join(*parts, min_area_m2=1300)) == 0


@st.composite
def separate_objects(draw: st.DrawFn) -> np.ndarray:
    """Two dates of long rectangles, each of one status and apart from the others."""
    pair = np.zeros((2, HEIGHT, WIDTH), np.uint16)
    for row in range(0, HEIGHT, 6):
        column = draw(st.integers(0, 5))
        while column < WIDTH:
            length = draw(st.integers(1, 20))
            dates = draw(st.sampled_from([[0], [1], [0, 1]]))
            pair[dates, row : row + draw(st.integers(1, 3)), column : column + length] = 9000
            column += length + draw(st.integers(3, 9))
    return pair


@examples(30)
@given(separate_objects(), st.integers(1, 14), st.integers(15, 28))
def test_clear_tiles_give_the_objects_of_the_whole(pair, start, stop) -> None:
    maps = [DataArray(codes, dims=("y", "x"), coords=xr_coords(WORLD)) for codes in pair]
    whole = delineate(compare(*maps))
    cuts = {"A": np.s_[:, :stop], "B": np.s_[:, start:], "C": np.s_[5:, 3:27]}
    found = join(*(part(name, *pair, cut) for name, cut in cuts.items()))
    key = ["lat", "lon"]
    names = ["status", "n_px", "area_m2", "perimeter_m", "length_m", "lon", "lat"]
    one, other = (t.sort_values(key, ignore_index=True)[names].round(6) for t in (found, whole))
    assert_frame_equal(one, other, check_exact=False, rtol=1e-6)
    assert outline(found).symmetric_difference(outline(whole)).area < 1


@examples(30)
@given(
    # Every pixel is drawn: left to itself, hypothesis fills most of an array with one value.
    hnp.arrays(
        np.uint16,
        (2, 8, WIDTH),
        elements=st.sampled_from([0, 0, 0, 9000]),
        fill=st.nothing(),
    ),
    st.integers(3, 14),
    st.integers(15, 27),
)
def test_no_pixel_is_lost_or_invented_where_statuses_meet_at_an_edge(pair, start, stop) -> None:
    cuts = {"A": np.s_[:, :stop], "B": np.s_[:, start:]}
    found = join(*(part(name, *pair, cut, WORLD[:8]) for name, cut in cuts.items()))
    above = (pair > 5000).any(axis=0)
    assert found.geometry.is_valid.all()
    assert outline(found).area == pytest.approx(pixels(above), abs=1)


def test_the_order_of_tiles_does_not_matter() -> None:
    before, after = scene()
    after[5:9, 2:28] = after[12:15, 14:17] = 9000
    cuts = {"A": LEFT, "B": RIGHT, "C": np.s_[3:, 10:22]}
    parts = [part(name, before, after, cut) for name, cut in cuts.items()]
    expected = join(*parts)
    assert len(expected) == 2
    for order in permutations(parts):
        assert_frame_equal(join(*order), expected)


def test_tiles_of_two_utm_zones_share_their_objects() -> None:
    before, after = np.zeros((2, 60, 60), np.uint16)
    east = GeoBox((60, 60), Affine(10, 0, 755_000, 0, -10, 5_000_000), "EPSG:32632")
    # The same place in the next zone; the grids are turned against each other by about 4 degrees.
    x, y = gpd.points_from_xy([755_300], [4_999_700], crs=32632).to_crs(32633)[0].coords[0]
    west = GeoBox((60, 60), Affine(10, 0, x - 300, 0, -10, y + 300), "EPSG:32633")
    after[26:36, 24:34] = 9000
    found = join(
        part("32TQR", before, after, np.s_[:, :], east),
        part("33TUL", before, after, np.s_[:, :], west),
    )
    assert len(found) == 1
    assert found["utm_epsg"].iloc[0] in {32632, 32633}
    assert found["area_m2"].iloc[0] == pytest.approx(10_000, rel=2e-3)


def test_an_inventory_of_one_tile_only_changes_its_crs() -> None:
    before, after = scene()
    after[5:9, 2:5] = after[12:15, 20:22] = 9000
    table, tile = part("A", before, after, np.s_[:, :])
    found = join((table, tile))
    assert_frame_equal(found.drop(columns="geometry"), table.drop(columns="geometry"))
    assert tuple(found.columns) == (*INVENTORY_COLUMNS, "tile_edge")


def test_tiles_without_objects_give_an_empty_inventory() -> None:
    before, _ = scene()
    found = join(part("A", before, before, LEFT), part("B", before, before, RIGHT))
    assert len(found) == 0
    assert found.crs.to_epsg() == 4326
    with pytest.raises(ValueError, match="1 inventories of 2 tiles"):
        join_tiles([found], [TileMap("A", WORLD)] * 2)


def test_a_landslide_grew_also_where_only_one_tile_shows_the_old_one() -> None:
    before, after = scene()
    after[5:9, 12:18] = 9000
    there_before, there_after = scene()
    there_before[5:9, 18:21] = there_after[5:9, 18:21] = 9000
    there_after[5:9, 12:18] = 9000
    found = join(part("A", before, after, LEFT), part("B", there_before, there_after, RIGHT))
    assert found.set_index("status")["n_px"].to_dict() == {"grown": 24, "persistent": 12}
    assert found["id"].str.contains("_grown_").tolist() == [True, False]
    assert found["id"].is_monotonic_increasing
