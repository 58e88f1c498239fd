"""Tables in longitude and latitude: cut at the date line, and nothing else is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from pyproj import CRS, Geod, Transformer
from xarray import DataArray

from lspipe import outputs
from lspipe.change.compare import compare
from lspipe.change.coverage import counted, observed_share, outside_of_tiles
from lspipe.change.inventory import delineate
from lspipe.change.joining import TileMap, join_tiles
from lspipe.change.unobserved import unobserved
from lspipe.outputs.qgis import _bounds
from lspipe.schema import Quality
from lspipe.search.areas import Area, centres_on_grid, footprint, split_at_date_line
from lspipe.search.degrees import in_degrees
from tests.open_runs import run_of
from tests.properties import examples

if TYPE_CHECKING:
    from pathlib import Path

ZONE_1, ZONE_60 = 32701, 32760
GEOD = Geod(ellps="WGS84")
LINE = {
    epsg: Transformer.from_crs(4326, epsg, always_xy=True).transform(180, -16.9)
    for epsg in (ZONE_1, ZONE_60)
}


def grid(epsg: int, *, west_of_line: int = 150, rows: int = 100, columns: int = 300) -> GeoBox:
    """Pixels of 10 m; the date line runs `west_of_line` columns right of its edge."""
    x, y = (10 * round(value / 10) for value in LINE[epsg])
    return GeoBox((rows, columns), Affine(10, 0, x - 10 * west_of_line, 0, -10, y), f"EPSG:{epsg}")


def map_of(geobox: GeoBox, *scars: tuple[slice, slice]) -> DataArray:
    codes = np.zeros(geobox.shape, np.uint16)
    for scar in scars:
        codes[scar] = 9000
    return DataArray(codes, dims=("y", "x"), coords=xr_coords(geobox))


def new_in(geobox: GeoBox, *scars: tuple[slice, slice]) -> gpd.GeoDataFrame:
    return delineate(compare(map_of(geobox), map_of(geobox, *scars)))


def geodesic(geometry: shapely.Geometry) -> float:
    return abs(GEOD.geometry_area_perimeter(shapely.orient_polygons(geometry))[0])


def is_cut(geometry: shapely.Geometry) -> bool:
    """Whether each part lies on one side of the date line, and none is a belt."""
    parts = shapely.get_parts(geometry)
    west, _, east, _ = shapely.bounds(parts).T
    return bool(shapely.is_valid(geometry)) and bool(((east - west) < 1).all())


ACROSS = np.s_[20:60, 140:165]
WEST, EAST = np.s_[70:80, 10:30], np.s_[70:80, 250:280]


@examples(40)
@given(
    st.sampled_from([ZONE_1, ZONE_60]),
    st.lists(
        st.tuples(st.integers(-300, 300), st.integers(1, 200), st.integers(1, 90)),
        min_size=1,
        max_size=5,
    ),
)
def test_a_polygon_near_the_line_keeps_its_area_and_lies_within_180(epsg, boxes) -> None:
    x, y = LINE[epsg]
    shapes = [
        shapely.box(x + 10 * left, y, x + 10 * (left + wide), y + 10 * high)
        for left, wide, high in boxes
    ]
    table = gpd.GeoDataFrame({"n": range(len(shapes))}, geometry=shapes, crs=epsg)
    found = in_degrees(table)
    assert found["n"].tolist() == table["n"].tolist()
    assert found.crs.to_epsg() == 4326
    for before, after in zip(shapes, found.geometry, strict=True):
        assert is_cut(after)
        west, _, east, _ = after.bounds
        assert -180 <= west <= east <= 180
        # Edges of UTM bend in degrees: 1e-4 of the area over 2 km.
        assert geodesic(after) == pytest.approx(before.area * 0.9992, rel=1e-2)


def test_elsewhere_nothing_is_touched() -> None:
    table = gpd.GeoDataFrame(geometry=[shapely.box(500_000, 0, 501_000, 900), None], crs=32633)
    found = in_degrees(table)
    assert found.geometry[0].equals_exact(table.to_crs(4326).geometry[0], 0)
    assert found.geometry[1] is None


def test_a_landslide_on_the_line_is_listed_once_with_its_true_area() -> None:
    geobox = grid(ZONE_1)
    found = join_tiles([new_in(geobox, ACROSS, WEST, EAST)], [TileMap("01KAB", geobox)])
    assert len(found) == 3
    across = found[found["n_px"] == 40 * 25].iloc[0]
    assert across.geometry.geom_type == "MultiPolygon"
    assert all(is_cut(shape) for shape in found.geometry)
    assert geodesic(across.geometry) == pytest.approx(across["area_m2"], rel=1e-4)
    assert abs(across["lon"]) == pytest.approx(180, abs=1e-3)


@pytest.mark.parametrize("scar", [ACROSS, np.s_[5:15, 100:148]])
def test_tiles_of_zones_60_and_1_list_an_object_they_both_see_once(scar) -> None:
    one, sixty = grid(ZONE_1, west_of_line=150), grid(ZONE_60, west_of_line=150)
    left = new_in(sixty, scar)
    # The same ground in the other zone, by its pixels' centres.
    rows, columns = (np.arange(length) for length in one.shape)
    x, y = np.meshgrid(one.affine.c + 10 * columns + 5, one.affine.f - 10 * rows - 5)
    there = np.stack(Transformer.from_crs(ZONE_1, ZONE_60, always_xy=True).transform(x, y))
    column, row = (there[0] - sixty.affine.c) // 10, (sixty.affine.f - there[1]) // 10
    mask = (row >= scar[0].start) & (row < scar[0].stop)
    mask &= (column >= scar[1].start) & (column < scar[1].stop)
    codes = map_of(one)
    codes.data[mask] = 9000
    right = delineate(compare(map_of(one), codes))
    found = join_tiles([left, right], [TileMap("60KZG", sixty), TileMap("01KAB", one)])
    assert len(found) == 1
    assert is_cut(found.geometry[0])
    assert geodesic(found.geometry[0]) == pytest.approx(left["area_m2"][0], rel=0.05)


def test_what_was_not_observed_and_its_share_of_the_area_are_right_on_the_line() -> None:
    geobox = grid(ZONE_1)
    quality = np.zeros(geobox.shape, np.uint8)
    quality[:50] = Quality.CLOUD
    gaps = unobserved({"before": quality, "after": quality}, geobox=geobox)
    assert all(is_cut(shape) for shape in gaps.geometry)
    area = Area(footprint(geobox), None, "the grid")
    count = counted(geobox, lambda part: quality[part] > 0, area=centres_on_grid(area, geobox))
    no_scene = outside_of_tiles(area, [geobox])
    assert observed_share([count], 0, no_scene) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("name", ["geojson", "geoparquet", "gpkg"])
def test_every_format_holds_the_landslide_in_two_parts(name: str, tmp_path: Path) -> None:
    path = tmp_path / outputs.file_of(name)
    table = new_in(grid(ZONE_1), ACROSS, WEST)  # of one tile, in its UTM
    outputs.write(name, run_of(table), path)
    reader = gpd.read_parquet if name == "geoparquet" else gpd.read_file
    read = reader(path, layer="inventory") if name == "gpkg" else reader(path)
    assert all(is_cut(shape) for shape in read.geometry)
    for before, after in zip(table["area_m2"], read.geometry, strict=True):
        assert geodesic(after) == pytest.approx(before, rel=1e-3)


def test_a_project_of_qgis_opens_on_the_landslide_and_not_on_the_globe() -> None:
    listed = in_degrees(new_in(grid(ZONE_1), ACROSS, WEST))
    west, south, east, north = _bounds(run_of(listed), CRS.from_epsg(ZONE_1))
    assert max(east - west, north - south) < 20_000


def test_a_belt_from_elsewhere_is_cut_where_a_list_is_written(tmp_path: Path) -> None:
    ring = [(179.99, -17), (-179.99, -17), (-179.99, -16.99), (179.99, -16.99)]
    table = gpd.GeoDataFrame(geometry=[shapely.Polygon(ring)], crs=4326)
    path = outputs.write("gpkg", run_of(table), tmp_path / "list.gpkg")
    (found,) = gpd.read_file(path, layer="inventory").geometry
    assert is_cut(found)
    assert found.equals(
        shapely.MultiPolygon(shapely.get_parts(split_at_date_line(table.geometry[0])))
    )
