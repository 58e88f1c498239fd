"""Evidence of an object is what a person would count by hand, however the tile is cut."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401  # registers the .rio accessor
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from pandas.testing import assert_frame_equal
from shapely import contains_xy
from xarray import DataArray

from lspipe.change.compare import compare
from lspipe.change.evidence import EVIDENCE
from lspipe.change.inventory import delineate
from lspipe.change.joining import TileMap, join_tiles
from lspipe.change.neighbours import FARTHEST_PX
from lspipe.change.reductions import Median
from lspipe.schema import CODE_NODATA, CUBE_NODATA
from lspipe.schema.columns import COLUMNS, RADAR, TERRAIN
from lspipe.schema.columns import EVIDENCE as DESCRIBED
from tests.properties import examples

SHAPE = (9, 8)
ROLES = ("before", "after")


def grid(shape):
    return GeoBox(shape, Affine(10, 0, 600_000, 0, -10, 4_400_000), "EPSG:32633")


def change(pair, geobox=None):
    coords = xr_coords(geobox or grid(pair.shape[1:]))
    return compare(*(DataArray(codes, coords, ("y", "x")) for codes in pair))


def reading(layers, cut=np.s_[:, :]):
    """Layers as a run gives them, by date and name."""

    def read(role, name, rows):
        layer = layers.get((role, name))
        return None if layer is None else layer[..., *cut][..., rows, :]

    return read


def any_layers(seed, shape=SHAPE):
    """Any evidence, with gaps, water and snow."""
    random = np.random.default_rng(seed)
    layers = {}
    for role in ROLES:
        ndvi = random.integers(-10000, 10001, shape).astype(np.int16)
        ndvi[random.random(shape) < 0.1] = CUBE_NODATA
        layers |= {
            (role, "ndvi"): ndvi,
            (role, "true_colour"): random.integers(0, 256, (3, *shape)).astype(np.uint8),
            (role, "scl"): random.choice([0, 0, 4, 4, 4, 6, 11], shape).astype(np.uint8),
            (role, "acquired"): random.choice([0, 17000, 17005, 17010], shape).astype(np.uint16),
        }
    for name, highest in (("elevation", 40), ("slope", 9000)):
        codes = random.integers(0, highest + 1, shape).astype(np.int16)
        codes[random.random(shape) < 0.1] = CUBE_NODATA
        layers["ground", name] = codes
    for role in ROLES:
        for orbit in ("asc", "desc"):
            codes = random.integers(-14000, 4000, shape).astype(np.int16)
            codes[random.random(shape) < 0.2] = CUBE_NODATA
            layers["radar", f"vv_{role}_{orbit}"] = codes
        codes = random.integers(0, 5001, shape).astype(np.uint16)
        codes[random.random(shape) < 0.1] = CODE_NODATA
        layers[role, "spread"] = codes
    return layers


SEEDS = st.integers(0, 2**32 - 1)
CODES = st.sampled_from([0, 0, 0, 9000, 9000, 6000, CODE_NODATA])
PAIRS = hnp.arrays(np.uint16, (2, *SHAPE), elements=CODES, fill=st.nothing())
AREAS = hnp.arrays(bool, SHAPE, elements=st.sampled_from([True, True, False]), fill=st.nothing())


# --- a second way to count ----------------------------------------------------------------------


def by_hand(pixels, pair, layers, area, persistent):
    """Evidence of the object with these pixels, one pixel after the other."""

    def mean(values):
        return sum(values) / len(values) if values else None

    def ndvi(role, at):
        value = int(layers[role, "ndvi"][at])
        is_seen = pair[ROLES.index(role)][at] != CODE_NODATA and value != CUBE_NODATA
        return value / 1e4 if is_seen else None

    def brightness(role, at):
        codes = [int(band[at]) for band in layers[role, "true_colour"]]
        is_seen = pair[ROLES.index(role)][at] != CODE_NODATA and 0 not in codes
        return sum(code - 1 for code in codes) * 0.3 / 254 / 3 if is_seen else None

    def changes(number, first, second):
        pairs = [(number(first, at), number(second, at)) for at in sorted(pixels)]
        return [one - other for one, other in pairs if None not in (one, other)]

    def middle(role):
        days = sorted(
            int(layers[role, "acquired"][at])
            for at in pixels
            if pair[ROLES.index(role)][at] != CODE_NODATA and layers[role, "acquired"][at]
        )
        return pd.Timestamp(days[(len(days) - 1) // 2], unit="D", tz="UTC") if days else None

    def classes(at):
        return {int(layers[role, "scl"][at]) for role in ROLES} - {0}

    def to(targets):
        distances = [np.hypot(r - y, c - x) for r, c in pixels for y, x in targets]
        return 10 * min([*distances, FARTHEST_PX])

    def known(name, at):
        code = int(layers["ground", name][at]) if at in everywhere else CUBE_NODATA
        return None if code == CUBE_NODATA else code

    def falls_to(at):
        codes = [
            [known("elevation", (at[0] + i, at[1] + j)) for j in (-1, 0, 1)] for i in (-1, 0, 1)
        ]
        if any(None in row for row in codes):
            return None
        (a, b, c), (d, _, f), (g, h, i) = codes
        east, south = (c + 2 * f + i) - (a + 2 * d + g), (g + 2 * h + i) - (a + 2 * b + c)
        if not (east or south):
            return None
        # Whole tenths of a degree, as they are added.
        return np.round(np.degrees(np.arctan2(-east, south)), 1)

    def powers(orbit):
        codes = [
            [int(layers["radar", f"vv_{role}_{orbit}"][at]) for role in ROLES] for at in pixels
        ]
        return [10 ** (np.array(both) * 0.0002) for both in codes if CUBE_NODATA not in both]

    def gain(orbit):
        seen = powers(orbit)
        return np.diff(10 * np.log10(sum(seen)))[0] if seen else None

    def is_seen(at):
        return any(
            CUBE_NODATA not in [layers["radar", f"vv_{role}_{orbit}"][at] for role in ROLES]
            for orbit in ("asc", "desc")
        )

    def mean_direction(degrees):
        units = [np.exp(1j * np.radians(value)) for value in degrees]
        return np.degrees(np.angle(sum(units))) % 360 if abs(sum(units)) > 1e-3 else None

    def spread(at):
        codes = [int(layers[role, "spread"][at]) for role in ROLES]
        return max((code / 1e4 for code in codes if code != CODE_NODATA), default=None)

    height, width = SHAPE
    everywhere = [(r, c) for r in range(height) for c in range(width)]
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    around = {(r + i, c + j) for r, c in pixels for i, j in steps} & set(everywhere)
    sides = [
        (r + i, c + j)
        for r, c in pixels
        for i, j in steps
        if abs(i) + abs(j) == 1 and (r + i, c + j) in everywhere and (r + i, c + j) not in pixels
    ]
    outside = [(r, c) for r in (-1, height) for c in range(width)]
    outside += [(r, c) for r in range(height) for c in (-1, width)]
    classed = [at for at in around if classes(at)]
    slopes = sorted(code for at in pixels if (code := known("slope", at)) is not None)
    ups = [code / 2 for at in pixels if (code := known("elevation", at)) is not None]
    falls = [value for at in pixels if (value := falls_to(at)) is not None]
    water = [at for at in everywhere if 6 in classes(at)]
    return {
        "ndvi_before": mean([v for at in pixels if (v := ndvi("before", at)) is not None]),
        "ndvi_after": mean([v for at in pixels if (v := ndvi("after", at)) is not None]),
        "ndvi_drop": mean(changes(ndvi, "before", "after")),
        "brightness_change": mean(changes(brightness, "after", "before")),
        "persistent_edge": mean([persistent[at] for at in sides]),
        "snow_share": mean([11 in classes(at) for at in classed]),
        "water_m": to(water) if any(map(classes, pixels)) or to(water) < 500 else None,
        "tile_edge_m": to(outside),
        "aoi_edge_m": to([at for at in everywhere if not area[at]]),
        "acquired_before": middle("before"),
        "acquired_after": middle("after"),
        "slope_mean": mean(slopes) and mean(slopes) / 100,
        "slope_p90": slopes[-(-9 * len(slopes) // 10) - 1] / 100 if slopes else None,
        "elevation_min": min(ups, default=None),
        "elevation_max": max(ups, default=None),
        "relief_m": max(ups) - min(ups) if ups else None,
        "aspect": mean_direction(falls),
        "vv_change_asc_db": gain("asc"),
        "vv_change_desc_db": gain("desc"),
        "vv_seen_share": mean([is_seen(at) for at in pixels]),
        "spread_mean": mean([v for at in pixels if (v := spread(at)) is not None]),
    }


@examples(25)
@given(PAIRS, SEEDS, AREAS)
def test_evidence_is_what_is_counted_pixel_by_pixel(pair, seed, area) -> None:
    layers = any_layers(seed)
    found = delineate(change(pair), area=area, layers=reading(layers))
    inside = objects_on_grid(found)
    persistent = sum(
        (mask for mask, status in zip(inside, found["status"], strict=True)
         if status == "persistent"), np.zeros(SHAPE, bool),
    )  # fmt: skip
    for mask, row in zip(inside, found.to_dict("records"), strict=True):
        pixels = {(int(r), int(c)) for r, c in np.argwhere(mask)}
        for name, value in by_hand(pixels, pair, layers, area, persistent).items():
            if name == "aspect":
                assert is_direction(row[name], value)
            elif value is None:
                assert pd.isna(row[name]), name
            else:
                is_time = isinstance(value, pd.Timestamp)
                # Power is added in steps of 2.4e-7, a thousandth of the darkest pixel here.
                near = 5e-3 if name.endswith("_db") else 1e-12
                assert row[name] == (value if is_time else pytest.approx(value, abs=near)), name


def is_direction(found, expected):
    """Whether two directions are the same; none where unit vectors cancel out, but for rounding."""
    if expected is None:
        return True
    return abs((found - expected + 180) % 360 - 180) < 0.1


def objects_on_grid(found):
    """The pixels of each object, by their centres."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    centres = 600_005 + 10 * x, 4_399_995 - 10 * y
    return [contains_xy(shape, *centres) for shape in found.geometry]


# --- cuts, and the order of dates ---------------------------------------------------------------


@examples(20)
@given(PAIRS, SEEDS, AREAS, st.integers(1, 9))
def test_evidence_does_not_depend_on_blocks(pair, seed, area, block) -> None:
    layers = any_layers(seed)
    given_ = {"area": area, "layers": reading(layers)}
    assert_frame_equal(
        delineate(change(pair), block=block, **given_), delineate(change(pair), **given_)
    )


def swapped(name):
    """The name of a layer of the other date; only those of radar name their date."""
    parts = {"before": "after", "after": "before"}
    return "_".join(parts.get(part, part) for part in name.split("_"))


@examples(20)
@given(PAIRS, SEEDS, AREAS)
def test_swapping_the_dates_mirrors_the_evidence(pair, seed, area) -> None:
    layers = any_layers(seed)
    other = {"before": "after", "after": "before", "ground": "ground", "radar": "radar"}
    mirrored = {(other[role], swapped(name)): layer for (role, name), layer in layers.items()}
    there = delineate(change(pair), area=area, layers=reading(layers))
    back = delineate(change(pair[::-1]), area=area, layers=reading(mirrored))
    names = {"ndvi_before": "ndvi_after", "acquired_before": "acquired_after"}
    back = back.rename(columns=names | {after: before for before, after in names.items()})
    back[["ndvi_drop", "brightness_change", "vv_change_asc_db", "vv_change_desc_db"]] *= -1
    there["status"] = there["status"].replace({"grown": "new"})
    back["status"] = back["status"].replace(
        {"new": "vanished", "grown": "vanished", "vanished": "new"}
    )
    key = ["status", "lon", "lat", "n_px"]
    one, two = (
        pd.DataFrame(table)[[*key, *EVIDENCE]].sort_values(key, ignore_index=True)
        for table in (there, back)
    )
    assert_frame_equal(one, two)


WHOLE = (20, 30)


@examples(15)
@given(SEEDS, st.integers(3, 14), st.integers(15, 27))
def test_an_object_that_lies_in_a_tile_has_the_evidence_of_the_whole(seed, start, stop) -> None:
    random = np.random.default_rng(seed)
    pair = random.choice([0, 0, 0, 0, 0, 9000], (2, *WHOLE)).astype(np.uint16)
    layers = any_layers(seed, WHOLE)
    whole = delineate(change(pair), layers=reading(layers)).to_crs(4326)
    parts, tiles = [], []
    for name, cut in (("A", np.s_[:, :stop]), ("B", np.s_[:, start:])):
        geobox = grid(WHOLE)[cut]
        codes = np.ascontiguousarray(pair[:, *cut])
        parts.append(delineate(change(codes, geobox), layers=reading(layers, cut)))
        tiles.append(TileMap(name, geobox))
    found = join_tiles(parts, tiles)
    names = [name for name in EVIDENCE if not name.endswith("_m")]
    west, _, east, _ = whole.to_crs(32633).bounds.sub(600_000).div(10).to_numpy().T
    # Those that a tile shows with their rim; the others may be joined of parts.
    is_clear = ((east < stop - 1) & (east < start)) | ((west > start + 1) & (west > stop))
    for index in whole.index[is_clear]:
        point = whole.geometry[index].representative_point()
        (same,) = found.index[found.geometry.intersects(point)]
        one, other = found.loc[[same], names], whole.loc[[index], names]
        assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


# --- where something lacks ----------------------------------------------------------------------


def small():
    """An object of three by four pixels, and its evidence."""
    pair = np.zeros((2, *SHAPE), np.uint16)
    pair[1, 3:6, 2:6] = 9000
    layers = {
        (role, name): np.full((*bands, *SHAPE), value, kind)
        for role in ROLES
        for name, value, kind, bands in (
            ("ndvi", 5000, np.int16, ()),
            ("true_colour", 100, np.uint8, (3,)),
            ("scl", 4, np.uint8, ()),
            ("acquired", 17000, np.uint16, ()),
            ("spread", 250, np.uint16, ()),
        )
    }
    # Ground that falls to the west, 10 m in 10 m.
    layers["ground", "elevation"] = 20 * np.indices(SHAPE, np.int16)[1]
    layers["ground", "slope"] = np.full(SHAPE, 4500, np.int16)
    # 3 dB brighter from the one orbit, 1 dB darker from the other.
    for orbit, after in (("asc", -3500), ("desc", -5500)):
        layers["radar", f"vv_before_{orbit}"] = np.full(SHAPE, -5000, np.int16)
        layers["radar", f"vv_after_{orbit}"] = np.full(SHAPE, after, np.int16)
    return pair, layers


OF_LAYER = {
    "ndvi": {"ndvi_before", "ndvi_after", "ndvi_drop"},
    "true_colour": {"brightness_change"},
    "scl": {"snow_share", "water_m"},
    "acquired": {"acquired_before", "acquired_after"},
}


@pytest.mark.parametrize("name", OF_LAYER)
def test_a_run_without_a_layer_has_empty_cells_for_it_and_nothing_else(name) -> None:
    pair, layers = small()
    area = np.ones(SHAPE, bool)
    full = delineate(change(pair), area=area, layers=reading(layers))
    assert full[[*EVIDENCE]].notna().all(axis=None)
    for role in ROLES:
        del layers[role, name]
    found = delineate(change(pair), area=area, layers=reading(layers))
    assert set(found.columns[found.isna().any()]) & set(EVIDENCE) == OF_LAYER[name]
    rest = [column for column in found if column not in OF_LAYER[name]]
    assert_frame_equal(found[rest], full[rest])


def test_a_run_of_one_date_has_only_what_that_date_shows() -> None:
    pair, layers = small()
    one = DataArray(pair[1], xr_coords(grid(SHAPE)), ("y", "x"))
    only = {(role, name): layer for (role, name), layer in layers.items() if role == "after"}
    (row,) = delineate(one, area=np.ones(SHAPE, bool), layers=reading(only)).to_dict("records")
    assert row["ndvi_after"] == pytest.approx(0.5)
    assert (row["snow_share"], row["water_m"]) == (0, 500)
    assert row["acquired_after"] == pd.Timestamp("2016-07-18", tz="UTC")
    for name in (
        "ndvi_before", "ndvi_drop", "brightness_change", "persistent_edge", "acquired_before"
    ):  # fmt: skip
        assert pd.isna(row[name]), name


def test_ground_is_described_where_the_run_knows_it_and_has_no_columns_elsewhere() -> None:
    pair, layers = small()
    found = delineate(change(pair), layers=reading(layers))
    (row,) = found.to_dict("records")
    of_ground = {name: row[name] for name in TERRAIN}
    assert of_ground == {
        "slope_mean": 45.0, "slope_p90": 45.0, "elevation_min": 20.0, "elevation_max": 50.0,
        "relief_m": 30.0, "aspect": 270.0,
    }  # fmt: skip
    without = {key: layer for key, layer in layers.items() if key[0] != "ground"}
    rest = delineate(change(pair), layers=reading(without))
    assert set(found.columns) - set(rest.columns) == set(of_ground)
    assert_frame_equal(found[rest.columns], rest)


def test_ground_of_an_object_in_two_tiles_is_that_of_both() -> None:
    pair, layers = small()
    tables, maps = [], []
    for name, cut in (("A", np.s_[:, :5]), ("B", np.s_[:, 3:])):
        codes = np.ascontiguousarray(pair[:, *cut])
        tables.append(delineate(change(codes, grid(SHAPE)[cut]), layers=reading(layers, cut)))
        maps.append(TileMap(name, grid(SHAPE)[cut]))
    (row,) = join_tiles(tables, maps).to_dict("records")
    assert (row["elevation_min"], row["elevation_max"], row["relief_m"]) == (20, 50, 30)
    assert (row["slope_mean"], row["slope_p90"], row["aspect"]) == (45, 45, 270)


def test_backscatter_is_averaged_in_power_and_a_rise_is_above_zero() -> None:
    pair, layers = small()
    (row,) = delineate(change(pair), layers=reading(layers)).to_dict("records")
    assert row["vv_change_asc_db"] == pytest.approx(3, abs=1e-3)
    assert row["vv_change_desc_db"] == pytest.approx(-1, abs=1e-3)
    assert row["vv_seen_share"] == 1
    # Half of it 5 dB brighter and half 5 dB darker, which the mean of decibels calls no change.
    layers["radar", "vv_after_asc"][3:6, 2:4] = -2500
    layers["radar", "vv_after_asc"][3:6, 4:6] = -7500
    (row,) = delineate(change(pair), layers=reading(layers)).to_dict("records")
    assert row["vv_change_asc_db"] == pytest.approx(
        10 * np.log10((10**0.5 + 10**-0.5) / 2), abs=1e-3
    )


def test_only_pixels_that_radar_saw_on_both_dates_count() -> None:
    pair, layers = small()
    layers["radar", "vv_before_asc"][3, 2:6] = CUBE_NODATA
    layers["radar", "vv_after_asc"][3, 2:6] = 20000
    layers["radar", "vv_after_asc"][4, 2:6] = CUBE_NODATA
    layers["radar", "vv_after_desc"][3, 2:6] = CUBE_NODATA
    (row,) = delineate(change(pair), layers=reading(layers)).to_dict("records")
    assert row["vv_change_asc_db"] == pytest.approx(3, abs=1e-3)
    assert row["vv_seen_share"] == pytest.approx(8 / 12)


def test_a_run_without_radar_has_no_columns_of_it() -> None:
    pair, layers = small()
    without = {key: layer for key, layer in layers.items() if key[0] != "radar"}
    found, rest = (delineate(change(pair), layers=reading(each)) for each in (layers, without))
    assert set(found.columns) - set(rest.columns) == set(RADAR)
    assert_frame_equal(found[rest.columns], rest)


def test_backscatter_of_an_object_in_two_tiles_is_that_of_its_largest_part() -> None:
    pair, layers = small()
    layers["radar", "vv_after_asc"][:, 5] = 0
    tables, maps = [], []
    for name, cut in (("A", np.s_[:, :5]), ("B", np.s_[:, 5:])):
        codes = np.ascontiguousarray(pair[:, *cut])
        tables.append(delineate(change(codes, grid(SHAPE)[cut]), layers=reading(layers, cut)))
        maps.append(TileMap(name, grid(SHAPE)[cut]))
    (row,) = join_tiles(tables, maps).to_dict("records")
    assert row["n_px"] == 12
    assert row["vv_change_asc_db"] == pytest.approx(3, abs=1e-3)


def test_a_map_without_evidence_has_the_columns_that_it_had() -> None:
    pair, _ = small()
    assert not set(delineate(change(pair)).columns) & set(EVIDENCE)


def test_an_object_beside_an_old_one_says_how_much_of_its_edge_they_share() -> None:
    pair, layers = small()
    # Of fourteen sides, the three to the west.
    pair[:, 3:6, 0:2] = 9000
    found = delineate(change(pair), layers=reading(layers)).set_index("status")
    assert found.loc["grown", "persistent_edge"] == pytest.approx(3 / 14)
    assert found.loc["persistent", "persistent_edge"] == 0


@pytest.mark.parametrize(
    ("pixel", "metres"),
    [((4, 4), 0), ((4, 6), 10), ((6, 6), 10 * 2**0.5), ((1, 2), 20), ((2, 0), 10 * 5**0.5)],
)
def test_water_is_measured_between_the_centres_of_pixels(pixel, metres) -> None:
    pair, layers = small()
    layers["after", "scl"][pixel] = 6
    (row,) = delineate(change(pair), layers=reading(layers)).to_dict("records")
    assert row["water_m"] == pytest.approx(metres)


def test_farther_than_500_m_is_500_m() -> None:
    pair = np.zeros((2, 4, 120), np.uint16)
    pair[1, 1:3, 0:4] = 9000
    scl = np.full(pair.shape[1:], 4, np.uint8)
    for column, metres in ((119, 500), (54, 500), (53, 500), (52, 490)):
        scl[1, column] = 6
        (row,) = delineate(change(pair), layers=reading({("after", "scl"): scl})).to_dict("records")
        assert row["water_m"] == metres


def test_half_of_the_pixels_had_the_day_or_an_earlier_one() -> None:
    median = Median(3)
    median.add(np.array([0, 0, 0, 1]), np.array([7, 5, 9, 4]))
    median.add(np.array([0, 1]), np.array([9, 3]))
    np.testing.assert_array_equal(median.result(), [7, 3, np.nan])


def test_every_column_is_described_in_the_order_it_has() -> None:
    assert list(EVIDENCE) == list(DESCRIBED)
    assert [name for name in COLUMNS if name in EVIDENCE] == list(EVIDENCE)
