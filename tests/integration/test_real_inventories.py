"""Real inventories, in the formats they came in, against lists that are made up of them.

No scene is needed: a run directory with a made-up list is scored, and every number is computed a
second time, with plain loops in the zone of the inventory.
"""

from __future__ import annotations

from dataclasses import astuple

import geopandas as gpd
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from lspipe.errors import UsageError
from lspipe.evaluate.run_scores import score_run
from lspipe.evaluate.shapes import read_shapes
from tests.scored import geobox, inventory, make_run

pytestmark = pytest.mark.real

SIZE = 300

SCARS = "inventories/Cicatrizes_nova_area_inteira_CRS32723.geojson"
ALEX = "inventories/storm_alex/Predict_LS-Combined-filtered.shp"
PAPUA = "predicted_inventories_bhuyan/PNG.zip"
KAIKOURA = "kaikoura_2016_points/Landslides_Kaikoura_2016.kmz"

PLACES = {
    SCARS: (None, 32723, 451_000, 7_390_000),
    ALEX: (None, 32632, 402_000, 4_876_500),
    PAPUA: ("2018", 32754, 743_000, 9_318_000),
}
"""Layer, and zone and corner of a grid where landslides lie close."""


def made_of(known: gpd.GeoSeries, grid: GeoBox) -> list[shapely.Geometry]:
    """Three of four known ones, a little off, and each fifth of them far off."""
    near = known[known.intersects(shapely.box(*grid.extent.boundingbox))]
    listed = []
    for number, shape in enumerate(near):
        if number % 4:
            off = 400 if number % 5 == 0 else 10
            listed.append(shapely.affinity.translate(shape, off, -off))
    return listed


def as_list(shapes: list[shapely.Geometry], epsg: int, status: str) -> gpd.GeoDataFrame:
    rows = inventory(shapes, status=status)
    return gpd.GeoDataFrame(rows.drop(columns="geometry"), geometry=shapes, crs=epsg).to_crs(4326)


def burnt(shapes, grid: GeoBox, *, all_touched: bool = False) -> np.ndarray:
    if not len(shapes):
        return np.zeros(grid.shape, bool)
    return rasterio.features.rasterize(
        shapes, grid.shape, transform=grid.transform, all_touched=all_touched
    ).astype(bool)


def counts(shapes, counted: np.ndarray, grid: GeoBox) -> np.ndarray:
    """Which shapes have half of their pixels on ground that counts; the grid is 2 km wider."""
    wide = GeoBox(
        tuple(length + 400 for length in grid.shape),
        grid.transform * Affine.translation(-200, -200),
        grid.crs,
    )
    ground = np.pad(counted, 200)
    found = []
    for shape in shapes:
        pixels = burnt([shape], wide)
        if not pixels.any():
            pixels = burnt([shape], wide, all_touched=True)
        found.append((pixels & ground).sum() >= 0.5 * pixels.sum())
    return np.array(found)


def matched(listed, known) -> tuple[np.ndarray, np.ndarray]:
    """Which are right, and which known ones they touch, by a loop over all pairs."""
    right, found = np.zeros(len(listed), bool), np.zeros(len(known), bool)
    for place, shape in enumerate(listed):
        touched = [n for n, other in enumerate(known) if shape.intersection(other).area >= 50]
        whole = shapely.union_all([known[n] for n in touched])
        inside = shape.intersection(whole).area
        union = shape.area + whole.area - inside
        if inside and (inside >= 0.1 * union or inside >= 0.5 * shape.area):
            right[place] = True
            found[touched] = True
    return right, found


@pytest.mark.parametrize("name", PLACES)
def test_the_scores_of_a_real_inventory_are_those_of_plain_loops(real_data, tmp_path, name) -> None:
    layer, epsg, west, north = PLACES[name]
    grid = geobox(west=west, north=north, epsg=epsg, size=SIZE)
    seen = np.ones((1, SIZE, SIZE), bool)
    seen[:, :, 250:] = False
    shapes = read_shapes(real_data / name, layer=layer)
    known = shapes.geometry.to_crs(epsg)
    around = shapely.box(*grid.extent.boundingbox).buffer(1500)
    near = known[known.intersects(around)].tolist()
    listed = made_of(known, grid)
    run = make_run(
        tmp_path, as_list(listed, epsg, "detected"), tiles={"A": (grid, seen)}, roles=("after",)
    )
    scores = score_run(run, real_data / name, layer=layer)

    assert (scores.known, scores.repaired) == (len(known), 6 if name == PAPUA else 0)
    there, claimed = (burnt(one, grid) for one in (near, listed))
    small = [shape for shape in near if not burnt([shape], grid).any()]
    counted = seen[0] & ~(burnt(small, grid, all_touched=True) & ~there)
    found = scores.pixels.counts
    # The centre of a pixel on an edge may lie on either side, after degrees and back.
    expected = [(there & claimed), (claimed & ~there), (there & ~claimed), (~there & ~claimed)]
    for count, pixels in zip(astuple(found), expected, strict=True):
        assert count == pytest.approx((pixels & counted).sum(), abs=4)
    assert found.true_positive > 300

    right, touched = matched(listed, near)
    is_listed, is_known = counts(listed, seen[0], grid), counts(near, seen[0], grid)
    objects = scores.objects.scores
    assert (objects.right, objects.wrong) == ((right & is_listed).sum(), (~right & is_listed).sum())
    assert (objects.found, objects.missed) == (
        (touched & is_known).sum(),
        (~touched & is_known).sum(),
    )
    assert min(objects.right, objects.wrong, objects.found, objects.missed) > 0
    assert scores.known_left_out == len(known) - is_known.sum()


def test_real_points_are_hit_as_by_distances_one_by_one(real_data, tmp_path) -> None:
    points = read_shapes(real_data / KAIKOURA).geometry
    assert len(points) == 7355
    grid = geobox(west=709_000, north=5_312_000, epsg=32759, size=SIZE)
    moved = points.to_crs(32759)
    box = shapely.box(*grid.extent.boundingbox)
    near = moved[moved.within(box)]
    assert len(near) > 100
    outlines = [
        shapely.affinity.translate(p, 60, 0).buffer(30, cap_style="square") for p in near[::3]
    ]
    run = make_run(
        tmp_path,
        as_list(outlines, 32759, "new"),
        tiles={"A": (grid, np.ones((2, SIZE, SIZE), bool))},
    )
    found = score_run(run, real_data / KAIKOURA, radius_m=40).points
    distances = np.array([[shape.distance(p) for shape in outlines] for p in near])
    assert (found.points, found.counted) == (7355, len(near))
    assert found.hit == (distances.min(axis=1) <= 40).sum()
    assert found.near <= found.listed <= len(outlines)
    assert found.hit / found.counted > found.by_chance > 0


def test_an_inventory_by_year_is_read_one_year_at_a_time(real_data, tmp_path) -> None:
    run = make_run(tmp_path, inventory([shapely.box(0, 0, 1, 1)]))
    with pytest.raises(UsageError, match=r"PNG\.zip: found 4 layers \(2017, 2018, 2019, 2020\)"):
        score_run(run, real_data / PAPUA)
    with pytest.raises(
        UsageError, match=r"layer 2020: found \d+ polygons within W 14.*another place"
    ):
        score_run(run, real_data / PAPUA, layer="2020")
