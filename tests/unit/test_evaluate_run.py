"""A run compared with an inventory: counts that were worked out by hand, on made-up maps."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

import lspipe
from lspipe.errors import StoreError, UsageError
from lspipe.evaluate.ground import counted_share, ground_of
from lspipe.evaluate.metrics import Confusion, confusion
from lspipe.evaluate.objects import Rule
from lspipe.evaluate.pixels import pixel_scores
from lspipe.evaluate.run_scores import score_run
from lspipe.evaluate.scored_table import SCORED
from lspipe.evaluate.shapes import read_shapes
from lspipe.search.degrees import in_degrees
from tests.properties import examples
from tests.scored import EPSG, NORTH, SIZE, WEST, geobox, inventory, make_run, square, table

ALL = np.ones((2, SIZE, SIZE), bool)


def write(folder, *shapes, name="known.gpkg"):
    path = folder / name
    table(*shapes).to_file(path)
    return path


def scored(folder, listed, known, *, run=None, **options):
    """Scores of a run of one tile with these lists of squares."""
    made = make_run(folder, inventory(listed), **(run or {}))
    return score_run(made, write(folder, *known), **options)


# --- ground -------------------------------------------------------------------------------------


def seen_but(*parts):
    """All pixels of both dates but these (step, rows, columns)."""
    mask = ALL.copy()
    for step, rows, columns in parts:
        mask[step, rows, columns] = False
    return mask


def grounds(folder, tiles=None, *, roles=("before", "after"), **options):
    run = make_run(folder, inventory([square(0, 0, 1)]), tiles=tiles, roles=roles)
    return ground_of(lspipe.open_run(run), **options)


def test_a_pixel_counts_where_both_dates_observed_it(tmp_path):
    seen = seen_but((0, slice(0, 10), slice(None)), (1, slice(5, 15), slice(None)))
    (ground,) = grounds(tmp_path, {"A": (geobox(), seen)})
    assert ground.pixels == 25 * SIZE
    assert not ground.mask[:15, :].any()
    assert ground.mask[15:, :].all()
    # 100 m2 each, but for the scale of the projection.
    assert ground.km2 == pytest.approx(25 * SIZE * 1e-4, rel=1e-3)
    assert ground.km2 != 25 * SIZE * 1e-4


def test_any_acquisition_of_a_date_is_enough(tmp_path):
    seen = np.ones((3, SIZE, SIZE), bool)
    seen[0, :10] = seen[1, 5:20] = seen[2, 30:] = False
    (ground,) = grounds(tmp_path, {"A": (geobox(), seen)}, roles=("before", "before", "after"))
    # Rows 5 to 9 by neither date before, 30 to 39 not after.
    assert ground.pixels == 25 * SIZE


def test_a_date_without_a_scene_on_a_tile_observes_nothing(tmp_path):
    run = make_run(tmp_path, inventory([square(0, 0, 1)]))
    record = lspipe.runs.store.read_json(run / "run.json")
    record["tiles"]["A"]["steps"] = [{"role": "after"}, {"role": "after"}]
    lspipe.runs.store.write_json(run / "run.json", record)
    assert ground_of(lspipe.open_run(run))[0].pixels == 0


def test_a_place_in_two_tiles_counts_once_in_the_first_that_observed_it(tmp_path):
    # B begins 20 columns further east; A saw nothing of its last 10 columns before.
    seen = seen_but((0, slice(None), slice(30, 40)))
    first, second = grounds(tmp_path, {"A": (geobox(), seen), "B": (geobox(west=WEST + 200), ALL)})
    assert (first.pixels, second.pixels) == (30 * SIZE, 30 * SIZE)
    assert not second.mask[:, :10].any()
    assert second.mask[:, 10:].all()


def test_what_is_left_out_of_a_tile_does_not_count_in_the_next(tmp_path):
    path = write(tmp_path, square(0, 20, 40, 20), name="towns.gpkg")
    first, second = grounds(
        tmp_path,
        {"A": (geobox(), ALL), "B": (geobox(west=WEST + 200), ALL)},
        without=[read_shapes(path)],
    )
    assert (first.pixels, second.pixels) == (20 * SIZE, 20 * SIZE)


def test_a_seam_between_zones_counts_each_place_about_once(tmp_path):
    middle = gpd.GeoSeries([shapely.Point(WEST + 200, NORTH - 200)], crs=EPSG).to_crs(32719)[0]
    other = geobox(west=round(middle.x, -1) - 200, north=round(middle.y, -1) + 200, epsg=32719)
    first, second = grounds(tmp_path, {"A": (geobox(), ALL), "B": (other, ALL)})
    outlines = [
        gpd.GeoSeries([shapely.box(*one.extent.boundingbox)], crs=one.crs.epsg).to_crs(6933)[0]
        for one in (geobox(), other)
    ]
    whole = shapely.union_all(outlines).area / 1e6
    assert first.pixels == SIZE * SIZE
    assert 0 < second.pixels < SIZE * SIZE / 4
    assert first.km2 + second.km2 == pytest.approx(whole, rel=0.01)


def test_lines_are_left_out_with_ground_on_both_sides(tmp_path):
    x = WEST + 200
    path = write(tmp_path, shapely.LineString([(x, NORTH + 99), (x, NORTH - 999)]), name="r.gpkg")
    (ground,) = grounds(tmp_path, without=[read_shapes(path)])
    assert ground.pixels == SIZE * (SIZE - 6)
    assert not ground.mask[:, 17:23].any()
    (wider,) = grounds(tmp_path / "wider", without=[read_shapes(path)], line_buffer_m=100)
    assert wider.pixels == SIZE * (SIZE - 20)


def test_layers_that_leave_nothing_out_are_refused(tmp_path):
    path = write(tmp_path, shapely.Point(WEST, NORTH), name="towns.gpkg")
    with pytest.raises(UsageError, match=r"towns\.gpkg: found points, expected polygons or lines"):
        grounds(tmp_path, without=[read_shapes(path)])
    with pytest.raises(UsageError, match="line_buffer_m 0: expected"):
        grounds(tmp_path / "zero", line_buffer_m=0)


def test_the_share_of_an_object_that_counts_is_over_all_tiles(tmp_path):
    seen = seen_but((1, slice(0, 20), slice(None)))
    made = grounds(tmp_path, {"A": (geobox(), seen), "B": (geobox(west=WEST + 400), ALL)})
    objects = table(
        square(15, 0, 10),  # 5 of 10 rows were seen
        square(30, 35, 10),  # half in each tile
        square(35, 0, 10),  # half of it beyond the south of the tile
        square(30.2, 10.2, 0.1),  # in one pixel, without its centre
        square(100, 0, 10),
    )
    shares, tiles = counted_share(objects, made)
    assert shares.tolist() == [0.5, 1, 0.5, 1, 0]
    assert tiles.tolist() == [0, 0, 0, 0, -1]


# --- pixels -------------------------------------------------------------------------------------


def test_pixels_are_counted_as_by_hand(tmp_path):
    scores = scored(tmp_path, [square(0, 0, 10)], [square(0, 5, 10)]).pixels
    assert scores.counts == Confusion(50, 50, 50, SIZE * SIZE - 150)
    assert scores.scores.precision == 0.5
    assert scores.scores.iou == pytest.approx(1 / 3)
    assert scores.scores.mcc == pytest.approx((50 * 1450 - 50 * 50) / (100 * 1500))
    # One block has no spread.
    assert (scores.blocks, scores.intervals.f1) == (1, None)


def test_what_was_not_observed_or_is_left_out_is_no_error(tmp_path):
    listed, known = [square(0, 0, 10)], [square(0, 5, 10)]
    road = write(tmp_path, square(0, 0, 2, 40), name="road.gpkg")
    seen = seen_but((0, slice(5, 10), slice(None)))
    scores = scored(
        tmp_path, listed, known, run={"tiles": {"A": (geobox(), seen)}}, without=[road]
    ).pixels
    # Rows 2 to 4 of the ten are left.
    assert scores.counts == Confusion(15, 15, 15, 33 * SIZE - 45)


def test_a_place_in_two_tiles_is_one_error(tmp_path):
    tiles = {"A": (geobox(), ALL), "B": (geobox(west=WEST + 200), ALL)}
    scores = scored(tmp_path, [square(0, 25, 5)], [square(20, 50, 5)], run={"tiles": tiles}).pixels
    assert scores.counts == Confusion(0, 25, 25, 60 * SIZE - 50)
    assert scores.blocks == 2
    assert scores.intervals.recall == (0, 0)


def test_a_known_one_too_small_to_locate_is_neither_right_nor_wrong(tmp_path):
    tiny = square(20.1, 20.1, 0.3)
    scores = scored(tmp_path, [square(20, 20, 1)], [tiny, square(0, 0, 10)]).pixels
    assert scores.counts == Confusion(0, 0, 100, SIZE * SIZE - 101)


def test_the_pixels_of_a_list_are_those_of_its_outlines(tmp_path):
    made = grounds(tmp_path)
    rng = np.random.default_rng(0)
    masks = rng.random((2, SIZE, SIZE)) < 0.3
    ours, theirs = (
        table(*(square(row, column, 1) for row, column in np.argwhere(mask))) for mask in masks
    )
    counts = pixel_scores(made, ours.to_crs(4326), theirs).counts
    both, one, other = (masks[0] & masks[1]).sum(), masks[0].sum(), masks[1].sum()
    assert counts == Confusion(both, one - both, other - both, SIZE**2 - one - other + both)


@examples(5)
@given(st.integers(0, 10_000), st.integers(1, SIZE))
def test_the_scores_do_not_depend_on_how_tiles_are_cut(tmp_path_factory, seed, step):
    rng = np.random.default_rng(seed)
    whole = SIZE + step
    masks = rng.random((4, SIZE, whole)) < np.array([0.8, 0.8, 0.1, 0.1])[:, None, None]
    seen, ours, theirs = masks[:2], masks[2], masks[3]
    tiles = {
        "A": (geobox(), seen[:, :, :SIZE]),
        "B": (geobox(west=WEST + 10 * step), seen[:, :, step:]),
    }
    made = grounds(tmp_path_factory.mktemp("tiles"), tiles)
    shapes = [
        table(*(square(row, column, 1) for row, column in np.argwhere(mask)))
        for mask in (ours, theirs)
    ]
    expected = confusion(ours, theirs, counted=seen.all(axis=0))
    assert pixel_scores(made, *shapes).counts == expected


# --- objects ------------------------------------------------------------------------------------


LISTED = [square(0, 0, 10, 12), square(0, 20, 10, 4), square(20, 0, 10, 12), square(34, 0, 6, 5)]
KNOWN = [square(0, 3, 10, 12), square(20, 25, 10, 12), square(34, 0, 12, 5)]
"""The last known one is half beyond the tile: it counts."""


def test_objects_are_counted_by_the_rule_and_by_size(tmp_path):
    scores = scored(tmp_path, LISTED, KNOWN)
    objects = scores.objects.scores
    assert (objects.right, objects.wrong, objects.found, objects.missed) == (2, 2, 2, 1)
    # Of the first 90 of 150 pixels are common, of the last 30 of 60; together 120 of 210.
    assert objects.jaccard_mean == pytest.approx((0.6 + 0.5) / 2, rel=1e-5)
    assert objects.jaccard == pytest.approx(120 / 210, rel=1e-5)
    sizes = {
        size.size: (size.right, size.wrong, size.found, size.missed)
        for size in scores.objects.sizes
    }
    assert sizes == {
        "under 1 000": (0, 0, 0, 0),
        "1 000 to 10 000": (1, 1, 1, 0),
        "10 000 to 100 000": (1, 1, 1, 1),
        "from 100 000": (0, 0, 0, 0),
    }
    facts = scores.as_json()["objects"]
    assert (facts["precision"], facts["recall"]) == (0.5, pytest.approx(2 / 3))
    assert facts["precision_interval"] == pytest.approx((0.15003898915214947, 0.8499610108478506))


def test_the_table_names_each_object_right_wrong_or_missed(tmp_path):
    rows = scored(tmp_path, LISTED, KNOWN).table
    assert tuple(rows.columns) == SCORED
    assert rows.crs.to_epsg() == 4326
    assert rows["match"].tolist() == ["tp", "fp", "fp", "tp", "fn"]
    assert rows["feature"].fillna(0).tolist() == [0, 0, 0, 0, 2]
    missed = rows.iloc[-1]
    assert missed["area_m2"] == pytest.approx(12_000, rel=1e-3)
    assert missed["area_perimeter_ratio_m"] == pytest.approx(12_000 / 440, rel=1e-3)
    assert missed["length_width_ratio"] == pytest.approx(1.2, rel=1e-6)
    assert rows["iou"].round(4).tolist()[:4] == [0.6, 0, 0, 0.5]


def test_known_ones_less_than_half_observed_are_left_out_and_counted(tmp_path):
    seen = seen_but((0, slice(0, 6), slice(None)))
    scores = scored(
        tmp_path,
        [square(20, 0, 10)],
        [square(0, 0, 10), square(0, 20, 12, 10), square(20, 0, 10), square(90, 0, 9)],
        run={"tiles": {"A": (geobox(), seen)}},
    )
    # 4 of 10 rows of the first, 6 of 12 of the second; the last lies elsewhere.
    assert (scores.known, scores.known_left_out) == (4, 2)
    assert (scores.objects.scores.found, scores.objects.scores.missed) == (1, 1)


def test_a_listed_one_in_a_town_is_no_false_alarm(tmp_path):
    town = write(tmp_path, square(20, 0, 20), name="town.gpkg")
    scores = scored(
        tmp_path, [square(0, 0, 10), square(22, 2, 10)], [square(0, 0, 10)], without=[town]
    )
    assert (scores.listed, scores.listed_left_out) == (2, 1)
    assert (scores.objects.scores.right, scores.objects.scores.wrong) == (1, 0)
    (layer,) = scores.without
    assert (layer.file, layer.km2) == (str(town), pytest.approx(0.04, rel=1e-3))


def test_another_rule_decides_otherwise(tmp_path):
    strict = scored(tmp_path, LISTED, KNOWN, rule=Rule(iou=0.55, share=0.99))
    # The last listed one lies wholly in a known one.
    assert strict.objects.scores.right == 2
    stricter = scored(tmp_path / "more", LISTED[:3], KNOWN, rule=Rule(iou=0.7, share=0.99))
    assert stricter.objects.scores.right == 0
    assert "at least 0.7" in stricter.objects.rule
    with pytest.raises(UsageError, match="share 1.5: expected more than 0, and at most 1"):
        Rule(share=1.5)


@pytest.mark.parametrize(("roles", "status", "right"), [
    (("before", "after"), "new", 1), (("after",), "detected", 1),
    (("before", "after"), "persistent", 0), (("before", "after"), "vanished", 0),
])  # fmt: skip
def test_new_ones_are_scored_of_two_dates_and_detected_ones_of_one(tmp_path, roles, status, right):
    listed = inventory([square(0, 0, 10)], status=status)
    run = make_run(tmp_path, listed, roles=roles)
    scores = score_run(run, write(tmp_path, square(0, 0, 10)))
    assert scores.scored == ("new" if len(roles) == 2 else "detected")
    assert scores.objects.scores.right == right
    assert scores.pixels.counts.true_positive == 100 * right


def test_an_empty_list_has_recall_nothing_and_no_precision(tmp_path):
    scores = scored(tmp_path, [], [square(0, 0, 10)])
    facts = scores.as_json()
    assert (facts["objects"]["precision"], facts["objects"]["recall"]) == (None, 0)
    assert facts["pixels"]["scores"]["precision"] is None
    assert scores.table["match"].tolist() == ["fn"]


def test_an_object_on_the_date_line_is_scored_as_any_other(tmp_path):
    # 180 degrees lie at an easting of 180.37 km there.
    grid = geobox(west=180_200, north=8_130_000, epsg=32701)
    across, beside = (
        shapely.box(west, 8_129_800, west + 100, 8_129_950) for west in (180_330, 180_480)
    )
    rows = gpd.GeoDataFrame(geometry=[across, beside], crs=32701)
    bounds = rows.to_crs(4326).bounds
    assert (bounds["maxx"] - bounds["minx"]).iloc[0] > 359
    listed = in_degrees(inventory([square(0, 0, 10)] * 2).set_geometry(rows.geometry))
    run = make_run(tmp_path, listed, tiles={"A": (grid, ALL)})
    in_degrees(rows).to_file(tmp_path / "known.gpkg")
    scores = score_run(run, tmp_path / "known.gpkg")
    assert scores.pixels.counts == Confusion(300, 0, 0, SIZE * SIZE - 300)
    assert scores.objects.scores.right == 2
    assert scores.objects.scores.jaccard_mean == pytest.approx(1, abs=1e-6)


# --- points -------------------------------------------------------------------------------------


def centre(row, column):
    return shapely.Point(WEST + 10 * column, NORTH - 10 * row)


POINTS = [
    centre(5, 5), centre(5, 13), centre(5, 16), centre(30, 30), centre(80, 80), centre(2, 39.5),
]  # fmt: skip
"""In the first listed one, 30 and 60 m beside it, far away, outside, and where nothing was seen."""


def point_scores(folder, **options):
    seen = seen_but((1, slice(None), slice(38, 40)))
    listed = [square(0, 0, 10), square(20, 0, 10)]
    return scored(folder, listed, POINTS, run={"tiles": {"A": (geobox(), seen)}}, **options)


@pytest.mark.parametrize(("radius", "hit"), [(0, 1), (50, 2), (100, 3)])
def test_points_are_hit_within_a_radius(tmp_path, radius, hit):
    scores = point_scores(tmp_path, radius_m=radius)
    found = scores.points
    assert (found.points, found.counted, found.hit, found.near) == (6, 4, hit, 1)
    assert (found.hit_rate, scores.known_left_out) == (hit / 4, 2)
    assert found.listed_per_km2 == pytest.approx(2 / (38 * SIZE * 1e-4), rel=1e-3)
    if radius == 0:
        assert found.by_chance == 200 / (38 * SIZE)
    assert (scores.pixels, scores.objects) == (None, None)


def test_a_point_that_does_not_count_is_not_hit(tmp_path):
    seen = seen_but((1, slice(None), slice(38, 40)))
    found = scored(
        tmp_path,
        [square(0, 30, 10, 8)],
        [centre(5, 39), centre(5, 35)],
        run={"tiles": {"A": (geobox(), seen)}},
    ).points
    assert (found.points, found.counted, found.hit) == (2, 1, 1)


def test_by_chance_is_the_ground_near_listed_ones(tmp_path):
    scores = point_scores(tmp_path, radius_m=50)
    rows, columns = np.mgrid[:SIZE, :38] + 0.5
    outside = [
        np.hypot(
            np.maximum(0, columns - 10), np.maximum(0, np.maximum(top - rows, rows - top - 10))
        )
        for top in (0, 20)
    ]
    expected = (np.min(outside, axis=0) <= 5).mean()
    # Round corners are drawn with 16 chords.
    assert scores.points.by_chance == pytest.approx(expected, abs=3 / (38 * SIZE))


def test_points_are_taken_from_a_mixed_file_or_from_polygons_when_asked(tmp_path):
    run = make_run(tmp_path, inventory([square(0, 0, 10)]))
    mixed = write(tmp_path, square(0, 0, 10), centre(5, 5), centre(30, 30), name="mixed.geojson")
    found = score_run(run, mixed, points=True).points
    assert (found.points, found.hit) == (2, 1)
    with pytest.raises(UsageError, match=r"mixed\.geojson: found 2 points and 1 polygon.*points="):
        score_run(run, mixed)
    polygons = write(tmp_path, square(0, 0, 10), square(30, 30, 5), name="polygons.gpkg")
    found = score_run(run, polygons, points=True).points
    assert (found.points, found.hit) == (2, 1)


# --- what cannot be scored ----------------------------------------------------------------------


def test_an_inventory_of_another_place_is_refused_with_both_places(tmp_path):
    with pytest.raises(UsageError) as caught:
        scored(tmp_path, [square(0, 0, 10)], [square(300, 0, 10)])
    message = str(caught.value)
    assert "known.gpkg: found 1 polygon within W -72.5" in message
    assert "none lies on ground that" in message
    assert "tiles A within W -72.5" in message
    with pytest.raises(UsageError, match="found 1 point within"):
        scored(tmp_path / "points", [square(0, 0, 10)], [centre(300, 0)])


def test_a_run_that_observed_nothing_is_refused(tmp_path):
    tiles = {"A": (geobox(), np.zeros((2, SIZE, SIZE), bool))}
    with pytest.raises(UsageError, match="no pixel counts: nothing was observed on every date"):
        scored(tmp_path, [square(0, 0, 10)], [square(0, 0, 10)], run={"tiles": tiles})


def test_a_run_without_a_list_is_refused(tmp_path):
    run = make_run(tmp_path, inventory([square(0, 0, 1)]))
    (run / "inventory.parquet").unlink()
    with pytest.raises(StoreError, match="run its workflow to the end first"):
        score_run(run)


def test_nothing_is_written(tmp_path):
    run = make_run(tmp_path, inventory(LISTED))
    known = write(tmp_path, *KNOWN)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    score_run(run, known)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
