"""The terrain of a tile: on its pixels, from any files, however it is cut."""

from __future__ import annotations

import json
from dataclasses import replace

import dask
import numpy as np
import pystac
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from lspipe.cube import canvas, dem, height_file, heights, surface
from lspipe.cube.beside import both
from lspipe.cube.terrain import HILLSIDE, Terrain, layers, read
from lspipe.cube.terrain_spec import TerrainSpec
from lspipe.errors import LoadError, WorkflowError
from lspipe.schema import CHANNELS, CUBE_NODATA, relative
from tests.ground import SECOND, hills, places, write_raster, write_square
from tests.properties import examples

ALL = ("elevation", "slope", "curvature", "plan_curvature", "profile_curvature")
WHOLE = (slice(0, 150), slice(0, 170))


def grid(epsg: int, longitude: float, latitude: float, shape=(150, 170)) -> GeoBox:
    """A grid of 10 m whose middle is near a place."""
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    corner = 60 * round(x / 60) - 5 * shape[1] // 10 * 10, 60 * round(y / 60) + 5 * shape[0]
    return GeoBox(shape, Affine(10, 0, corner[0], 0, -10, corner[1]), f"EPSG:{epsg}")


def looked(path):
    return height_file.look_at(str(path), key="terrain.dem", name=path.name, unit="auto")


def of_files(paths, **options) -> Terrain:
    """The terrain of files that lie on this machine."""
    return Terrain(name="test", files=tuple(map(looked, paths)), **options)


def squares(folder, geobox, *, edge=0.05, around=1, **options):
    """Write the squares that lie under a grid and beside it, numbered from south-west."""
    longitude, latitude = places(geobox)
    middle = longitude.flat[0] + ((longitude - longitude.flat[0] + 180) % 360 - 180).mean()
    west = edge * np.floor(middle / edge)
    south = edge * np.floor(latitude.mean() / edge)
    steps = range(-around, around + 1)
    found = []
    for row in steps:
        for column in steps:
            # As archives have them: a square east of 180 begins at -180.
            left = (west + column * edge + 180) % 360 - 180
            found.append(
                write_square(
                    folder / f"{row}_{column}.tif", west=left, south=south + row * edge,
                    edge=edge, **options,
                )
            )  # fmt: skip
    return found


GRIDS = {
    "18 south": grid(32718, -72.45, -43.4),
    "19 south, the same ground": grid(32719, -72.45, -43.4),
    "32 north": grid(32632, 10.02, 46.02),
    "60, at the date line": grid(32760, 179.998, -16.9),
    "1, at the date line": grid(32701, -179.999, -16.9),
    "at the equator": grid(32736, 33.001, 0.001),
    "69 degrees north": grid(32634, 21.01, 69.02),
}


@pytest.fixture(scope="module", params=GRIDS)
def placed(request, tmp_path_factory):
    """A grid somewhere, and the terrain of squares of hills around it."""
    geobox = GRIDS[request.param]
    return geobox, of_files(squares(tmp_path_factory.mktemp("dem"), geobox))


def true_ground(geobox, rim):
    """Heights at the centres of the pixels of a grid and of a rim, from the formula alone."""
    shape = tuple(length + 2 * rim for length in geobox.shape)
    return hills(
        *places(GeoBox(shape, geobox.transform * Affine.translation(-rim, -rim), geobox.crs))
    )


def test_heights_and_slope_lie_on_their_pixels(placed) -> None:
    geobox, terrain = placed
    elevation, slope = read(terrain, geobox, WHOLE, ("elevation", "slope")).astype(float)
    true = true_ground(geobox, 1)
    np.testing.assert_allclose(elevation / 2, true[1:-1, 1:-1], atol=0.5)
    # One pixel off would be metres: no other place fits as well.
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        other = true[1 + down : 151 + down, 1 + right : 171 + right]
        assert np.abs(elevation / 2 - other).max() > 2
    expected = surface.slope(true.astype(np.float32), 10)
    assert expected.max() > 15
    np.testing.assert_allclose(slope / 100, expected, atol=0.3)


@pytest.mark.parametrize("kind", ["total", "profile", "plan"])
def test_curvature_lies_on_its_pixel(placed, kind) -> None:
    geobox, terrain = placed
    name = "curvature" if kind == "total" else f"{kind}_curvature"
    (codes,) = read(terrain, geobox, WHOLE, (name,)).astype(float)
    true = true_ground(geobox, 1 + surface.reach(10))
    expected = surface.curvature(surface.smoothed(true, 10), 10, kind)
    is_steep = surface.slope(true[9:-9, 9:-9], 10) > 3  # else plan and profile have no direction
    np.testing.assert_allclose(codes[is_steep] / 100, expected[is_steep], atol=0.03)


@pytest.mark.parametrize(("place", "crs", "is_turned"), [
    ("69 degrees north", 3413, True),  # polar, its north is in the west
    ("18 south", 32719, False),
    ("32 north", 3035, False),
])  # fmt: skip
def test_a_raster_of_another_projection_lies_on_its_pixels(tmp_path, place, crs, is_turned) -> None:
    geobox = GRIDS[place]
    to = Transformer.from_crs(geobox.crs.epsg, crs, always_xy=True)
    x, y = to.transform(*(geobox.transform * (85, 75)))
    corner = Affine(30, 0, x - 3000, 0, -30, y + 3000)
    there = GeoBox((200, 200), corner, f"EPSG:{crs}")
    path = write_raster(
        tmp_path / "dem.tif", hills(*places(there)).astype(np.float32), corner, crs=crs
    )
    terrain = of_files([path])
    assert heights._is_turned(geobox, canvas.lattice_of(terrain.files, geobox)) is is_turned
    (elevation,) = read(terrain, geobox, WHOLE, ("elevation",))
    np.testing.assert_allclose(elevation / 2, hills(*places(geobox)), atol=0.6)


def test_longitude_and_latitude_are_not_turned_anywhere(placed) -> None:
    geobox, terrain = placed
    lattice = canvas.lattice_of(canvas.meeting(terrain.files, geobox), geobox)
    assert not heights._is_turned(geobox, lattice)


def test_columns_cross_rows_of_the_canvas_beyond_the_cell_too() -> None:
    # Of a geoid, whose pixels are kilometres, a cell is one row, and twelve are on each side.
    y, x = np.mgrid[:13, :13] / 12.0
    found = heights._Places(12 + y - 0.1 * x, 12 + x + 0.1 * y).crossings(26, slice(0, 600, 3))
    at = np.arange(0, 600, 3) / (12 * 53)
    expected = 12 + at + 0.1 * (np.arange(26)[:, None] - 12 + 0.1 * at)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


PARTS = st.tuples(
    st.integers(0, 1300), st.integers(1, 400), st.integers(0, 1300), st.integers(1, 400)
)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A grid of nine cells on two lattices, with a void, and all of its terrain."""
    geobox = grid(32718, -72.45, -43.4, (1400, 1500))
    folder = tmp_path_factory.mktemp("wide")
    paths = squares(folder, geobox, edge=0.1, around=1)
    write_square(paths[-1], west=-72.4, south=-43.3, edge=0.1, pixel=(1.5 * SECOND, SECOND))
    terrain = of_files(paths)
    whole = read(terrain, geobox, (slice(0, 1400), slice(0, 1500)), (*ALL, HILLSIDE))
    return geobox, terrain, whole


@examples(50)
@given(PARTS, st.sampled_from([(*ALL, HILLSIDE), ("slope", "elevation"), (HILLSIDE,)]))
def test_a_part_of_a_tile_equals_the_whole_bit_for_bit(wide, part, names) -> None:
    geobox, terrain, whole = wide
    row, height, column, width = part
    rows = slice(row, min(row + height, 1400))
    columns = slice(column, min(column + width, 1500))
    expected = [whole[(*ALL, HILLSIDE).index(name), rows, columns] for name in names]
    np.testing.assert_array_equal(read(terrain, geobox, (rows, columns), names), expected)


@examples(20)
@given(PARTS)
def test_heights_of_a_part_of_a_cell_are_those_of_the_whole_cell_with_what_is_around(wide, part):
    geobox, terrain, _ = wide
    row, height, column, width = part
    part = (slice(row, min(row + height, 1400)), slice(column, min(column + width, 1500)))
    cells = heights.heights(terrain.files, geobox, part)
    parts = heights.heights(terrain.files, geobox, part, takes_whole_cells=False)
    for (cell, whole), (extent, found) in zip(cells, parts, strict=True):
        assert extent == both(cell, part)
        rows, columns = relative(extent, (cell[0].start, cell[1].start))
        around = 2 * heights.HALO
        np.testing.assert_array_equal(
            found, whole[rows.start : rows.stop + around, columns.start : columns.stop + around]
        )


@pytest.mark.parametrize("turned", [False, True])
@examples(20)
@given(
    st.tuples(st.integers(0, 600), st.integers(1, 60), st.integers(590, 640), st.integers(1, 40))
)
def test_so_it_does_of_files_as_fine_as_the_tile(fine, turned, part) -> None:
    geobox, terrain, whole = fine[turned]
    row, height, column, width = part
    part = (slice(row, row + height), slice(column, column + width))
    np.testing.assert_array_equal(read(terrain, geobox, part, ("slope",))[0], whole[part])


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    """Two files of 10 m, along the tile and across it, and their slopes."""
    geobox, found = grid(32718, -72.45, -43.4, (700, 700)), []
    heights = np.random.default_rng(5).normal(500, 30, (1200, 1200)).astype(np.float32)
    for crs in ("EPSG:32718", "+proj=laea +lat_0=-90 +lon_0=-30"):
        into = Transformer.from_crs(geobox.crs, crs, always_xy=True)
        x, y = into.transform(*(geobox.affine * (350, 350)))
        corner = Affine(10, 0, x - 6000, 0, -10, y + 6000)
        path = write_raster(tmp_path_factory.mktemp("fine") / "dem.tif", heights, corner, crs=crs)
        terrain = of_files([path])
        found.append((geobox, terrain, read(terrain, geobox, (slice(0, 700),) * 2, ("slope",))[0]))
    return found


@pytest.mark.parametrize(
    "chunks", [((1400,), (1500,)), ((610, 790), (305, 1195)), ((700, 700), (500,) * 3)]
)
def test_chunks_never_change_a_pixel(wide, chunks) -> None:
    geobox, terrain, whole = wide
    opened = layers(terrain, geobox, ("slope", "dem"), chunks)
    slope, elevation = dask.compute(opened["slope"], opened["dem"])
    assert opened["slope"].chunks == chunks
    np.testing.assert_array_equal(slope, whole[1])
    np.testing.assert_array_equal(elevation, whole[0])


def test_which_channels_are_asked_for_changes_none(wide) -> None:
    geobox, terrain, whole = wide
    part = (slice(0, 200), slice(0, 200))
    for number, name in enumerate((*ALL, HILLSIDE)):
        (alone,) = read(terrain, geobox, part, (name,))
        np.testing.assert_array_equal(alone, whole[number][part])


# --- the slope of a hillside --------------------------------------------------------------------


def test_the_noise_of_a_dem_on_a_plain_is_no_hillside(tmp_path) -> None:
    # Of whole metres and 1.5 m, as SRTM has it: one pixel in six is steeper than 5 degrees.
    noise = np.random.default_rng(5).normal(0, 1.5, (900, 900)).round()

    def plain(x, y):
        return 30 + noise[: y.shape[0], : x.shape[1]]

    path = write_square(tmp_path / "dem.tif", west=-72.5, south=-43.45, edge=0.1, height_of=plain)
    slope, hillside = read(of_files([path]), GRIDS["18 south"], WHOLE, ("slope", HILLSIDE))
    assert (slope > 500).mean() > 0.1
    assert hillside.max() < 500


@pytest.mark.parametrize(("degrees", "length", "is_one"), [
    (30, 30, True), (20, 60, True), (10, 70, True), (8, 100, True), (10, 30, False),
])  # fmt: skip
def test_a_short_slope_is_a_hillside_where_it_rises_enough(
    tmp_path, degrees, length, is_one
) -> None:
    geobox = GRIDS["18 south"]
    x = 10 * (np.arange(-60, 230) + 0.5) - 900
    ground = 100 + np.clip(x, -length / 2, length / 2) * np.tan(np.deg2rad(degrees))
    corner = geobox.transform * (-60, -60)
    path = write_raster(
        tmp_path / "dem.tif", np.tile(ground, (270, 1)).astype(np.float32),
        Affine(10, 0, corner[0], 0, -10, corner[1]), crs=32718,
    )  # fmt: skip
    (hillside,) = read(of_files([path]), geobox, WHOLE, (HILLSIDE,))
    assert bool(hillside[75].max() > 500) is is_one
    assert hillside[75, [0, 60, 120, 169]].max() < 10  # the plains beside it


# --- files --------------------------------------------------------------------------------------


def test_files_side_by_side_are_as_one(tmp_path) -> None:
    geobox = GRIDS["18 south"]
    one = write_square(tmp_path / "one.tif", west=-72.5, south=-43.45, edge=0.1)
    four = [
        write_square(tmp_path / f"{x}{y}.tif", west=-72.5 + x * 0.05, south=-43.45 + y * 0.05)
        for x in (0, 1) for y in (0, 1)
    ]  # fmt: skip
    found = [read(of_files(paths), geobox, WHOLE, ALL) for paths in ([one], four, four[::-1])]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_where_lattices_meet_there_is_no_gap_and_no_step(tmp_path) -> None:
    geobox = grid(32632, 10.02, 50.0)
    south = write_square(tmp_path / "s.tif", west=10.0, south=49.95)
    north = write_square(tmp_path / "n.tif", west=10.0, south=50.0, pixel=(1.5 * SECOND, SECOND))
    elevation, slope = read(of_files([south, north]), geobox, WHOLE, ("elevation", "slope"))
    assert (elevation != CUBE_NODATA).all()
    np.testing.assert_allclose(elevation / 2, hills(*places(geobox)), atol=1.5)
    assert np.abs(np.diff(slope.astype(int), axis=0)).max() < 300


def test_a_raster_in_metres_and_finer_than_the_tile_is_averaged(tmp_path) -> None:
    geobox = GRIDS["18 south"]
    corner = geobox.transform * (-40, -40)
    fine = GeoBox((1150, 1250), Affine(2, 0, corner[0], 0, -2, corner[1]), geobox.crs)
    # A pattern of single pixels, which no mean of five by five shows.
    checks = np.where(np.add.outer(np.arange(1150), np.arange(1250)) % 5 < 1, 50, 0)
    ground = hills(*places(fine)) + checks
    path = write_raster(
        tmp_path / "lidar.tif", ground.astype(np.float32), fine.transform, crs=32718
    )
    (elevation,) = read(of_files([path]), geobox, WHOLE, ("elevation",))
    np.testing.assert_allclose(elevation / 2, hills(*places(geobox)) + 10, atol=0.6)


def void_at(geobox, row, column, metres):
    """Whether a place is within so many metres of a pixel."""
    longitude, latitude = places(geobox)
    scale = np.cos(np.deg2rad(latitude[row, column]))

    def is_near(x, y):
        east, north = (x - longitude[row, column]) * scale, y - latitude[row, column]
        return np.hypot(east, north) * 111_320 < metres

    return is_near


@pytest.mark.parametrize("nodata", [-9999.0, None])
def test_a_void_is_not_known_and_nothing_else_is_lost(tmp_path, nodata) -> None:
    geobox = GRIDS["18 south"]
    is_void = void_at(geobox, 80, 90, 100)

    def holed(x, y):
        return np.where(is_void(x, y), np.nan if nodata is None else nodata, hills(x, y))

    path = write_square(
        tmp_path / "dem.tif", west=-72.5, south=-43.45, edge=0.1, height_of=holed, nodata=nodata
    )
    codes = read(of_files([path], is_sea_left_out=True), geobox, WHOLE, ALL)
    inside, near = is_void(*places(geobox)), void_at(geobox, 80, 90, 160)(*places(geobox))
    assert (codes[:2, inside] == CUBE_NODATA).all()
    assert (codes[:2, ~near] != CUBE_NODATA).all()
    far = void_at(geobox, 80, 90, 330)(*places(geobox))
    assert (codes[:, ~far] != CUBE_NODATA).all()
    # What is known beside it is what it would be without.
    known = codes[0] != CUBE_NODATA
    np.testing.assert_allclose(codes[0][known] / 2, hills(*places(geobox))[known], atol=3)


def test_ground_without_a_file_is_sea_only_where_the_collection_leaves_it_out(tmp_path) -> None:
    geobox = GRIDS["18 south"]
    longitude, _ = places(geobox)

    def coast(x, y):
        return np.maximum(0, (x + 72.45) * 8000 + 0 * y)

    # The square west of -72.45 is sea.
    path = write_square(tmp_path / "e.tif", west=-72.45, south=-43.45, edge=0.1, height_of=coast)
    (sea,) = read(of_files([path], is_sea_left_out=True), geobox, WHOLE, ("elevation",))
    (void,) = read(of_files([path]), geobox, WHOLE, ("elevation",))
    west = longitude < -72.4505
    assert west.any()
    assert not west.all()
    assert (np.abs(sea[west]) <= 1).all()
    assert (void[west] == CUBE_NODATA).all()
    east = longitude > -72.4495
    np.testing.assert_array_equal(
        sea[east & (longitude > -72.44)], void[east & (longitude > -72.44)]
    )


def test_a_gap_of_the_public_copernicus_is_no_sea(tmp_path) -> None:
    geobox = grid(32638, 45.0, 40.0)
    path = write_square(tmp_path / "e.tif", west=45.0, south=39.95, edge=0.1)
    (codes,) = read(of_files([path], is_sea_left_out=True), geobox, WHOLE, ("elevation",))
    longitude, _ = places(geobox)
    assert (codes[longitude < 44.9995] == CUBE_NODATA).all()
    assert (codes[longitude > 45.0005] != CUBE_NODATA).all()


def test_a_tile_without_any_file_is_sea_or_not_known(tmp_path) -> None:
    path = write_square(tmp_path / "far.tif", west=0.0, south=0.0)
    geobox = GRIDS["18 south"]
    sea = read(of_files([path], is_sea_left_out=True), geobox, WHOLE, ("elevation", "slope"))
    assert (sea == 0).all()
    assert (read(of_files([path]), geobox, WHOLE, ALL) == CUBE_NODATA).all()


# --- units and the datum ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "asked", "metres"),
    [
        (None, "auto", 1.0), ("metre", "auto", 1.0), ("ft", "auto", 0.3048),
        ("US survey foot", "auto", 1200 / 3937), (None, "ft", 0.3048), ("ft", "m", 1.0),
    ],
)  # fmt: skip
def test_heights_in_feet_become_metres(tmp_path, unit, asked, metres) -> None:
    write_square(
        tmp_path / "dem.tif", west=-72.5, south=-43.45, edge=0.1, unit=unit,
        height_of=lambda x, y: 1000 + 0 * x + 0 * y,
    )  # fmt: skip
    found = dem.from_file(TerrainSpec(dem="dem.tif", unit=asked), tmp_path)
    assert found.files[0].metres == pytest.approx(metres)
    (codes,) = read(found, GRIDS["18 south"], WHOLE, ("elevation",))
    assert (codes == round(1000 * metres * 2)).all()


def test_a_unit_of_another_name_is_asked_for(tmp_path) -> None:
    write_square(tmp_path / "dem.tif", west=-72.5, south=-43.45, unit="ell")
    with pytest.raises(WorkflowError, match=r"in 'ell'; name their unit in terrain\.unit"):
        dem.from_file(TerrainSpec(dem="dem.tif"), tmp_path)
    assert dem.from_file(TerrainSpec(dem="dem.tif", unit="m"), tmp_path).files[0].metres == 1


@pytest.mark.parametrize(
    ("crs", "asked", "datum", "name"),
    [
        (4326, "auto", "", ""),
        (4326, "geoid", "geoid", ""),
        ("EPSG:4326+3855", "auto", "geoid", "EGM2008 height"),
        ("EPSG:4326+3855", "ellipsoid", "ellipsoid", "EGM2008 height"),
        ("EPSG:4979", "auto", "ellipsoid", "WGS 84"),
    ],
)
def test_the_datum_is_named_by_the_crs_or_by_the_workflow(
    tmp_path, crs, asked, datum, name
) -> None:
    write_square(tmp_path / "dem.tif", west=-72.5, south=-43.45, edge=0.1, crs=crs)
    found = dem.from_file(TerrainSpec(dem="dem.tif", datum=asked), tmp_path)
    assert (found.datum, found.datum_name) == (datum, name)
    assert CRS(found.files[0].crs).is_geographic
    codes = read(found, GRIDS["18 south"], WHOLE, ("elevation",))
    assert (codes != CUBE_NODATA).all()


@pytest.mark.parametrize(("datum", "sign"), [("ellipsoid", 1), ("geoid", -1)])
def test_the_height_of_the_geoid_is_added_or_taken_off(tmp_path, datum, sign) -> None:
    geobox = GRIDS["18 south"]
    ground = write_square(tmp_path / "dem.tif", west=-72.5, south=-43.45, edge=0.1)
    write_square(
        tmp_path / "geoid.tif", west=-73, south=-44, edge=1, pixel=(0.05, 0.05),
        height_of=lambda x, y: 20 + (x + 72.45) * 30 + 0 * y,
    )  # fmt: skip
    geoid = looked(tmp_path / "geoid.tif")
    plain = of_files([ground])
    moved = replace(plain, datum=datum, geoid=geoid)
    before, after = (
        read(one, geobox, WHOLE, ("elevation",))[0].astype(int) for one in (plain, moved)
    )
    longitude, _ = places(geobox)
    np.testing.assert_allclose(
        (after - before) / 2, sign * (20 + (longitude + 72.45) * 30), atol=0.6
    )


# --- what is refused ----------------------------------------------------------------------------


def flat(value):
    return lambda x, y: value + 0 * x + 0 * y


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crs": None}, "it has no CRS"),
        ({"height_of": flat(-32767.0)}, "found a height of -32767 m, expected -500 to 9000"),
        ({"height_of": flat(14000.0)}, r"feet \(terrain.unit: ft\)"),
        ({"crs": 'LOCAL_CS["mine",UNIT["metre",1]]'}, "expected a geographic or a projected"),
    ],
)
def test_a_file_that_holds_no_heights_is_refused(tmp_path, options, said) -> None:
    write_square(tmp_path / "dem.tif", west=-72.5, south=-43.45, **options)
    with pytest.raises(WorkflowError, match=r"terrain\.dem: dem\.tif: .*" + said):
        dem.from_file(TerrainSpec(dem="dem.tif"), tmp_path)


def test_a_raster_that_is_turned_or_has_several_bands_is_refused(tmp_path) -> None:
    heights_ = np.zeros((9, 9), np.float32)
    write_raster(tmp_path / "turned.tif", heights_, Affine.rotation(20) * Affine.scale(9, -9))
    with pytest.raises(WorkflowError, match="do not run from west to east"):
        dem.from_file(TerrainSpec(dem="turned.tif"), tmp_path)
    with pytest.raises(WorkflowError, match=r"terrain\.dem: none\.tif: .*No such file"):
        dem.from_file(TerrainSpec(dem="none.tif"), tmp_path)


def test_numbers_that_are_no_heights_are_an_error_where_they_are_read(tmp_path) -> None:
    def one_wrong(x, y):
        return np.where((np.abs(x + 72.45) < SECOND) & (np.abs(y + 43.4) < SECOND), 3e38, 100.0)

    path = write_square(
        tmp_path / "dem.tif", west=-72.5, south=-43.45, edge=0.1, height_of=one_wrong
    )
    # As of a collection, whose files are not looked into before a run.
    write_square(tmp_path / "whole.tif", west=-72.5, south=-43.45, edge=0.1)
    (whole,) = of_files([tmp_path / "whole.tif"]).files
    terrain = Terrain(name="test", files=(replace(whole, item=path.name, href=str(path)),))
    with pytest.raises(LoadError, match=r"dem\.tif: found a height of .*e\+38 m"):
        read(terrain, GRIDS["18 south"], WHOLE, ("slope",))


def test_a_file_that_is_gone_is_an_error_and_never_a_void(tmp_path) -> None:
    path = write_square(tmp_path / "dem.tif", west=-72.5, south=-43.45, edge=0.1)
    terrain = of_files([path], is_sea_left_out=True)
    path.unlink()
    with pytest.raises(LoadError, match=r"or take another terrain\.dem"):
        read(terrain, GRIDS["18 south"], WHOLE, ("slope",))


@pytest.mark.parametrize("key", ["min_slope_deg", "unit", "datum", "geoid", "shift_to"])
def test_keys_about_heights_need_heights(key) -> None:
    values = {
        "min_slope_deg": 5.0,
        "unit": "m",
        "datum": "geoid",
        "geoid": "g.tif",
        "shift_to": "none",
    }
    with pytest.raises(ValueError, match=f"found {key} without dem"):
        TerrainSpec(**{key: values[key]})


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cop-dem-glo-30", True), ("nasadem", True), ("dem.tif", False), ("a/dem", False),
     ("https://x.org/dem.vrt", False), (None, False)],
)  # fmt: skip
def test_a_name_without_dot_and_slash_is_a_collection(name, expected) -> None:
    assert TerrainSpec(dem=name).is_collection is expected


def test_terrain_is_the_same_after_it_was_frozen(wide) -> None:
    _, terrain, _ = wide
    assert Terrain.from_json(terrain.as_json()) == terrain


def test_heights_that_are_made_otherwise_are_other_terrain(wide, monkeypatch) -> None:
    _, terrain, _ = wide
    before = terrain.facts()
    assert before["method"] == heights.METHOD
    monkeypatch.setattr("lspipe.cube.terrain.METHOD", heights.METHOD + 1)
    assert terrain.facts() != before


@pytest.mark.parametrize("archive", ["earth-search-v1", "planetary-computer"])
def test_heights_of_real_items_have_an_address_and_a_datum(real_data, archive, monkeypatch) -> None:
    folder = real_data / "stac_items" / archive / "cop-dem-glo-30"
    asked = []

    def header(source, **_):
        asked.append(source)
        return height_file.HeightFile(
            item=source.item, asset=source.asset, href=source.href, crs="EPSG:4326",
            transform=(1, 0, 0, 0, -1, 0), shape=(1, 1),
        )  # fmt: skip

    monkeypatch.setattr(dem, "read_header", header)
    known = dem.COLLECTIONS["cop-dem-glo-30"]
    for path in sorted(folder.glob("*.json")):
        item = pystac.Item.from_dict(json.loads(path.read_text("utf-8")))
        file = dem._of_item(item, TerrainSpec(dem="cop-dem-glo-30"), known)
        assert (file.asset, file.datum, file.datum_name) == ("data", "geoid", "EGM2008")
        assert file.href.startswith("https://")
    assert asked
    assert {source.catalog.signs for source in asked} == {archive == "planetary-computer"}


def test_files_are_looked_for_on_both_sides_of_the_date_line() -> None:
    ground = dem._around(GRIDS["60, at the date line"])
    sides = [shapely.Point(longitude, -16.9) for longitude in (179.95, -179.95)]
    assert all(ground.contains(side) for side in sides)
    west, _, east, _ = ground.bounds
    assert (west, east) == (-180, 180)
    assert ground.area < 0.2


def test_codes_are_those_of_the_channels() -> None:
    assert heights.HALO == 10
    assert {CHANNELS[name].source for name in ALL} == {"terrain"}
