"""Every promised column of a list has its value: once as it is traced, once as it is joined.

All parts are unequal (dates, sizes, probabilities, gaps), so that no column can stand for another.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401  # registers the .rio accessor
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from pyproj import Transformer
from xarray import DataArray

from lspipe.change.compare import compare
from lspipe.change.inventory import Provenance, delineate
from lspipe.change.joining import TileMap, join_tiles
from lspipe.schema import CODE_NODATA, INVENTORY_COLUMNS
from lspipe.schema.columns import EVIDENCE, RADAR, SPREAD, TERRAIN

WEST, NORTH = 600_000, 4_400_000
WORLD = GeoBox((24, 40), Affine(10, 0, WEST, 0, -10, NORTH), "EPSG:32633")
K2 = 0.99972**2
"""Area of the map to that of the ellipsoid, about, 100 km east of the central meridian."""


def day(text):
    return pd.Timestamp(text, tz="UTC")


def degrees(x, y):
    return Transformer.from_crs(32633, 4326, always_xy=True).transform(x, y)


def near(value, rel=1e-9):
    return pytest.approx(value, rel=rel)


def maps(before, after, cut=np.s_[:, :]):
    coords = xr_coords(WORLD[cut])
    return compare(*(DataArray(c[cut], dims=("y", "x"), coords=coords) for c in (before, after)))


def stored(layers):
    """What a run stored, by date and name; it has no other layers."""

    def read(role, name, rows):
        layer = layers.get((role, name))
        return None if layer is None else layer[..., rows, :]

    return read


def filled(value, kind=np.uint8, *, bands=()):
    return np.full((*bands, *WORLD.shape), value, kind)


def who(tile, items_before, items_after):
    return Provenance(
        tile=tile,
        date_before="2017-02-01T14:30:00Z",
        date_after="2018-03-04T15:40:00Z",
        event_after="2017-01-02T14:30:00Z",
        event_by="2018-05-06T15:40:00Z",
        model_id="a-model",
        model_sha256="cd" * 32,
        items_before=items_before,
        items_after=items_after,
    )


def check(row, expected):
    """Compare column by column, and refuse a column that nobody expects anything of."""
    assert set(expected) == {*INVENTORY_COLUMNS, *EVIDENCE} - {*TERRAIN, *RADAR, *SPREAD}
    found = {name: row[name] for name in expected}
    for name, value in expected.items():
        if value is None:
            assert pd.isna(found[name]), name
        elif isinstance(value, shapely.Geometry):
            assert found[name].equals(value), name
        else:
            assert found[name] == value, name


# --- as it is traced ----------------------------------------------------------------------------

# An L of 5 x 2 and 2 x 3 pixels; its first pixel is not in the first column of its box.
L_SHAPE = (np.s_[4:6, 5:10], np.s_[6:9, 3:6])


NOT_INSIDE = (11, 14)
"""A pixel outside of the area: seven pixels from the L along a diagonal of 5 to 6."""


def seen_of_the_l():
    """Evidence of which each part of the L has its own."""
    layers = {
        (role, name): filled(value, kind, bands=bands)
        for role in ("before", "after")
        for name, value, kind, bands in (
            ("ndvi", -9999, np.int16, ()),
            ("true_colour", 255, np.uint8, (3,)),
            ("scl", 4, np.uint8, ()),
            ("acquired", 17000, np.uint16, ()),
        )
    }
    for role, name, *values in (
        ("before", "ndvi", 7000, 4000),
        ("after", "ndvi", 1000, 2500),
        ("before", "true_colour", [50, 60, 70], [50, 50, 50]),
        ("after", "true_colour", [150, 100, 80], [60, 80, 100]),
        ("before", "acquired", 17200, 17300),
        ("after", "acquired", 17600, 17500),
    ):
        for place, value in zip(L_SHAPE, values, strict=True):
            layers[role, name][..., *place] = np.reshape(value, (-1, 1, 1))
    # A pixel without NDVI, one without blue, and one without a class.
    layers["after", "ndvi"][8, 5] = -32768
    layers["before", "true_colour"][2, 4, 5] = 0
    layers["before", "scl"][5, 4] = layers["after", "scl"][5, 4] = 0
    # Two pixels of snow, on a date each, and one beyond the rim; water six rows below the L.
    layers["before", "scl"][3, 6] = layers["after", "scl"][9, 3] = layers["after", "scl"][2, 6] = 11
    layers["after", "scl"][14, 4] = 6
    return stored(layers)


def traced(status):
    """The L, new, persistent, vanished or undetermined, with three unseen pixels in its rim."""
    first, second = np.zeros((2, *WORLD.shape), np.uint16)
    for number, place in enumerate(L_SHAPE):
        first[place], second[place] = 1000 + 500 * number, 8000 + 1000 * number
    second[4, 5] = 9500
    if status == "vanished":
        first, second = second, first
    if status == "persistent":
        first[first > 0] += 6000
    if status == "undetermined":
        first[first > 0] = CODE_NODATA
    first[3, 6:9] = CODE_NODATA
    area = filled(True, bool)
    area[NOT_INSIDE] = False
    found = delineate(
        maps(first, second),
        provenance=who("33TWE", ("b1", "b2"), ("a1",)),
        area=area,
        layers=seen_of_the_l(),
    )
    (row,) = found[found["status"] == status].to_dict("records")
    return row


PIXELS = 10 + 9
TOP = (9 * 8000 + 9500 + 9 * 9000) / PIXELS / 1e4
"""Mean probability on the date on which the L is there."""

LOW = (10 * 1000 + 9 * 1500) / PIXELS / 1e4
"""And on the other."""


def rim():
    """The pixels of the L and their eight neighbours."""
    inside = np.zeros(WORLD.shape, bool)
    for place in L_SHAPE:
        inside[place] = True
    rows, columns = np.nonzero(inside)
    return {(r + i, c + j) for r, c in zip(rows, columns, strict=True)
            for i in (-1, 0, 1) for j in (-1, 0, 1)}  # fmt: skip


def outline():
    boxes = [
        shapely.box(
            WEST + 10 * place[1].start, NORTH - 10 * place[0].stop,
            WEST + 10 * place[1].stop, NORTH - 10 * place[0].start,
        )
        for place in L_SHAPE
    ]  # fmt: skip
    return shapely.union_all(boxes)


def mean_product(high, low):
    """Mean over the pixels of `high` x `low`, both of the pair of codes of each part."""
    pairs = [(8000, 1000)] * 9 + [(9500, 1000)] + [(9000, 1500)] * 9
    return float(np.mean([high(a / 1e4) * low(b / 1e4) for a, b in pairs]))


@pytest.mark.parametrize("status", ["new", "vanished", "persistent", "undetermined"])
def test_every_column_of_a_traced_object(status):
    row = traced(status)
    shape = outline()
    lon, lat = degrees(shape.centroid.x, shape.centroid.y)
    unseen = (3 if status != "undetermined" else 3 + PIXELS) / len(rim())
    likely = {
        "new": mean_product(lambda a: a, lambda b: 1 - b),
        "vanished": mean_product(lambda a: a, lambda b: 1 - b),
        "persistent": mean_product(lambda a: a, lambda b: b + 0.6),
        "undetermined": TOP,
    }[status]
    is_old = status in {"persistent", "vanished"}
    gain = {"new": TOP - LOW, "vanished": LOW - TOP, "persistent": TOP - LOW - 0.6}.get(status)
    # The smallest rectangle is along the axes: 7 x 5 pixels.
    expected = {
        "id": f"33TWE_20180304_{status}_600050_4399960",
        "tile": "33TWE",
        "status": status,
        "date_before": day("2017-02-01 14:30"),
        "date_after": day("2018-03-04 15:40"),
        "event_date_min": day("2017-01-02 14:30") if status == "new" else None,
        "event_date_max": day("2017-02-01 14:30") if is_old else day("2018-05-06 15:40"),
        "area_m2": near(100 * PIXELS / K2, 1e-4),
        "perimeter_m": near(240),
        "length_m": near(70),
        "width_m": near(50),
        "area_perimeter_ratio_m": near(100 * PIXELS / K2 / 240, 1e-4),
        "length_width_ratio": near(1.4),
        "probability_mean": near(TOP),
        "probability_max": near(0.95),
        "gain_mean": None if gain is None else near(gain),
        "n_px": PIXELS,
        "undetermined_fraction": near(unseen),
        "confidence": near(likely * (1 - unseen)),
        "lon": near(lon),
        "lat": near(lat),
        "utm_epsg": 32633,
        "model_id": "a-model",
        "model_sha256": "cd" * 32,
        "items_before": "b1,b2",
        "items_after": "a1",
        "reviewed": None,
        "geometry": shape,
    }
    is_seen = status != "undetermined"
    evidence = {
        "ndvi_before": near((10 * 0.7 + 9 * 0.4) / 19) if is_seen else None,
        "ndvi_after": near((10 * 0.1 + 8 * 0.25) / 18),
        "ndvi_drop": near((10 * 0.6 + 8 * 0.15) / 18) if is_seen else None,
        "brightness_change": near((9 * 150 + 9 * 90) / 18 / 3 * 0.3 / 254) if is_seen else None,
        "persistent_edge": 0,
        "snow_share": near(2 / (len(rim()) - 1)),
        "water_m": near(60),
        "tile_edge_m": near(40),
        "aoi_edge_m": near(10 * 61**0.5),
        "acquired_before": day("2017-02-03") if is_seen else None,
        "acquired_after": day("2018-03-10"),
    }
    check(row, expected | evidence)


def test_a_detection_of_one_date_has_no_gain_and_its_own_probability():
    codes = np.zeros(WORLD.shape, np.uint16)
    codes[4:6, 5:10], codes[4, 5], codes[3, 6:9] = 8000, 9500, CODE_NODATA
    one = DataArray(codes, dims=("y", "x"), coords=xr_coords(WORLD))
    late = Provenance(tile="33TWE", date_after="2018-03-04T15:40:00Z", event_by="2018-05-06")
    (row,) = delineate(one, provenance=late).to_dict("records")
    mean = (9 * 0.8 + 0.95) / 10
    assert row["status"] == "detected"
    assert (row["probability_mean"], row["probability_max"]) == (near(mean), 0.95)
    assert row["undetermined_fraction"] == near(3 / 28)
    assert row["confidence"] == near(mean * 25 / 28)
    for name in ("gain_mean", "date_before", "event_date_min", "items_before"):
        assert pd.isna(row[name]), name
    assert row["event_date_max"] == day("2018-05-06")


# --- as it is joined ----------------------------------------------------------------------------

A_CUT, B_CUT = np.s_[:, :18], np.s_[:, 12:32]


def seen_of_half(ndvi, colours, acquired, water, *, cut):
    """Evidence of a tile that looks the same everywhere, but for snow and water."""
    scl = filled(4)
    # In the rim of both halves.
    scl[7, 14] = 11
    if water is not None:
        scl[water, 10] = 6
    layers = {
        ("before", "ndvi"): filled(ndvi[0], np.int16),
        ("after", "ndvi"): filled(ndvi[1], np.int16),
        ("before", "true_colour"): filled(colours[0], bands=(3,)),
        ("after", "true_colour"): filled(colours[1], bands=(3,)),
        ("before", "scl"): scl,
        ("before", "acquired"): filled(acquired, np.uint16),
        ("after", "acquired"): filled(acquired + 400, np.uint16),
    }
    return stored({key: layer[..., *cut] for key, layer in layers.items()})


def joined(*, reverse=False):
    """A scar of 20 x 4 pixels: ten columns of it in one tile, sixteen in the other; none has all.

    The tiles disagree about it, and the smaller part has the higher probability.
    """
    before, after = np.zeros((2, *WORLD.shape), np.uint16)
    before[8:12, 8:28], after[8:12, 8:28] = 1000, 8000
    here_before, here_after = before.copy(), after.copy()
    here_before[8:12, 8:18], here_after[8:12, 8:18] = 500, 9000
    here_after[8, 9] = 9900
    # Not observed beside it: two pixels in one tile, five in the other.
    here_after[12, 9:11] = after[7, 20:25] = CODE_NODATA
    area = np.ones(WORLD.shape, bool)
    area[12, 9] = False
    parts = [
        (
            delineate(
                maps(b, a, cut),
                provenance=given,
                area=area[cut],
                layers=seen_of_half(*seen, cut=cut),
            ),
            TileMap(given.tile, WORLD[cut]),
        )
        for b, a, cut, given, seen in (
            (
                here_before,
                here_after,
                A_CUT,
                who("33TWE", ("b2", "b1"), ("a1",)),
                ((5000, -32768), (60, 80), 17200, 15),
            ),
            (
                before,
                after,
                B_CUT,
                who("33TXE", ("b1", "b3"), ("a0", "a2")),
                ((8000, 2000), (90, 190), 17300, None),
            ),
        )
    ]
    parts = parts[::-1] if reverse else parts
    return join_tiles([table for table, _ in parts], [tile for _, tile in parts])


@pytest.mark.parametrize("reverse", [False, True])
def test_every_column_of_a_joined_object(reverse):
    (row,) = joined(reverse=reverse).to_dict("records")
    # By pixels: 40 of one part, 64 of the other. The rim: 12 x 6 and 17 x 6 pixels within a tile.
    small, large = 40 / 104, 64 / 104
    tops = ((39 * 0.9 + 0.99) / 40, 0.8)
    unseen = (2 / 66, 5 / 102)
    likely = (tops[0] * 0.95, 0.8 * 0.9)
    shape = shapely.box(WEST + 80, NORTH - 120, WEST + 280, NORTH - 80)
    lon, lat = degrees(shape.centroid.x, shape.centroid.y)
    expected = {
        # Of the tile whose centre is nearest to the middle of all that was seen of it.
        "id": "33TXE_20180304_new_600120_4399920",
        "tile": "33TXE",
        "status": "new",
        "date_before": day("2017-02-01 14:30"),
        "date_after": day("2018-03-04 15:40"),
        "event_date_min": day("2017-01-02 14:30"),
        "event_date_max": day("2018-05-06 15:40"),
        "area_m2": near(8000 / K2, 1e-4),
        "perimeter_m": near(480, 1e-6),
        "length_m": near(200, 1e-6),
        "width_m": near(40, 1e-6),
        "area_perimeter_ratio_m": near(8000 / K2 / 480, 1e-4),
        "length_width_ratio": near(5, 1e-6),
        "probability_mean": near(small * tops[0] + large * tops[1]),
        "probability_max": near(0.99),
        "gain_mean": near(small * (tops[0] - 0.05) + large * 0.7),
        "n_px": 80,
        "undetermined_fraction": near(small * unseen[0] + large * unseen[1]),
        "confidence": near(
            small * likely[0] * (1 - unseen[0]) + large * likely[1] * (1 - unseen[1])
        ),
        "lon": near(lon, 1e-8),
        "lat": near(lat, 1e-8),
        "utm_epsg": 32633,
        "model_id": "a-model",
        "model_sha256": "cd" * 32,
        "items_before": "b1,b2,b3",
        "items_after": "a0,a1,a2",
        "reviewed": None,
        "geometry": row["geometry"],
    }
    evidence = {
        "ndvi_before": near(small * 0.5 + large * 0.8),
        # The smaller part has no NDVI after.
        "ndvi_after": near(0.2),
        "ndvi_drop": near(0.6),
        "brightness_change": near((small * 20 + large * 100) * 0.3 / 254),
        "persistent_edge": 0,
        "snow_share": near(small / 66 + large / 102),
        # Three pixels below the last row; the other tile does not reach there.
        "water_m": near(40),
        # To the east, where both tiles end.
        "tile_edge_m": near(50, 1e-6),
        "aoi_edge_m": near(10),
        "acquired_before": day("2017-05-14"),
        "acquired_after": day("2018-06-18"),
    }
    check(row, expected | evidence)
    assert shapely.area(row["geometry"].symmetric_difference(in_degrees(shape))) < 1e-10
    # The edge of the area is beside the smaller part only; both ends are seen by a tile.
    assert row["aoi_edge"]
    assert not row["tile_edge"]


def in_degrees(shape):
    return shapely.transform(shape, lambda xy: np.stack(degrees(*xy.T), axis=1))
