"""`search.acquisitions`: each piece of ground once per pass; frozen and thawed unchanged."""

from __future__ import annotations

import json
import socket
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box, mapping

from lspipe.errors import CatalogError
from lspipe.search.acquisitions import deduplicate, footprint_of, freeze, gather, thaw, to_item
from lspipe.search.areas import read_area
from lspipe.search.dates import DateRange, DatesSpec
from lspipe.search.find import find_tiles
from lspipe.search.spec import AreaSpec, SearchSpec

WHOLE = box(11.0, 46.0, 12.0, 47.0)
WEST, EAST = box(11.0, 46.0, 11.55, 47.0), box(11.45, 46.0, 12.0, 47.0)


def item(
    id_,
    *,
    when="2018-06-01T10:00:00Z",
    ground=WHOLE,
    baseline="02.14",
    made=None,
    tile="32TPS",
    platform="sentinel-2a",
    corner=600000,
    **facts,
):
    known = {
        "datetime": when,
        "platform": platform,
        "grid:code": f"MGRS-{tile}",
        "s2:processing_baseline": baseline,
        "s2:generation_time": made,
        "proj:epsg": 32632,
        **facts,
    }
    asset = {
        "href": f"https://host/{id_}.tif?sig=hunter2",
        "proj:shape": [80, 120],
        "proj:transform": [10, 0, corner, 0, -10, 5200020],
        "alternate": {"s3": {"href": "https://user:hunter2@host/x?key=hunter2"}},
    }
    return to_item({
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": id_,
        "collection": "sentinel-2-l2a",
        "geometry": None if ground is None else mapping(ground),
        "bbox": list(ground.bounds) if ground is not None else None,
        "properties": {key: value for key, value in known.items() if value is not None},
        "assets": {"B04": asset},
        "links": [
            {"rel": "self", "href": "https://host/item?token=hunter2"},
            {"rel": "root", "href": "https://host/"},
        ],
    })  # fmt: skip


def ids(items):
    return [one.id for one in items]


# --- the same acquisition twice -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"baseline": "02.14"}, {"baseline": "05.00"}),  # reprocessed
        ({"baseline": "04.00"}, {"baseline": "10.00"}),  # numbers, not words
        ({"baseline": "99.99"}, {"baseline": "02.14"}),  # 99.99 is no baseline
        ({"baseline": None}, {"baseline": "02.14"}),
        ({"made": "2018-06-01T12:00:00Z"}, {"made": "2020-01-01T12:00:00.5Z"}),
        ({"s2:sequence": "0"}, {"s2:sequence": "1"}),
        ({"s2:sequence": "9"}, {"s2:sequence": "10"}),
        (
            {"baseline": "05.00", "made": "2018-01-01T00:00:00Z"},
            {"baseline": "05.00", "made": "2023-01-01T00:00:00Z"},
        ),
        (
            {"baseline": "02.14", "made": "2024-01-01T00:00:00Z"},
            {"baseline": "05.00", "made": "2023-01-01T00:00:00Z"},
        ),
        # a slightly other footprint is still the same ground
        ({"ground": box(11.0, 46.0, 12.01, 47.0)}, {"baseline": "05.00"}),
    ],
)
def test_the_newest_processing_of_an_acquisition_stays(worse, better):
    for pair in (
        [item("a", **worse), item("b", **better)],
        [item("b", **better), item("a", **worse)],
    ):
        assert ids(deduplicate(pair)) == ["b"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"when": "2018-06-06T10:00:00Z"}),
        ({}, {"platform": "sentinel-2b"}),
        ({}, {"tile": "32TPT"}),
        ({}, {"when": "2018-06-01T10:00:01Z"}),  # another second, and no datatake to tell more
    ],
)
def test_other_acquisitions_stay(first, second):
    assert sorted(ids(deduplicate([item("a", **first), item("b", **second)]))) == ["a", "b"]


def test_of_copies_under_one_id_the_same_one_stays_in_any_order():
    pair = [item("a"), item("a")]
    pair[1].assets["B04"].href = "https://host/copy.tif"
    kept = [deduplicate(order)[0].assets["B04"].href for order in (pair, pair[::-1])]
    assert kept[0] == kept[1]


def test_fractions_of_a_second_do_not_make_an_acquisition():
    pair = [item("a", when="2018-06-01T10:00:00.024Z"), item("b", when="2018-06-01T10:00:00.5Z")]
    assert ids(deduplicate(pair)) == ["b"]


def test_one_datatake_over_one_tile_is_one_acquisition():
    """Two stations: complementary halves whose own times differ by seconds."""
    datatake = {"s2:datatake_id": "GS2A_20180601T095500_015000_N02.14"}
    halves = [
        item("west", when="2018-06-01T10:00:00Z", ground=WEST, **datatake),
        item("east", when="2018-06-01T10:00:07Z", ground=EAST, **datatake),
    ]
    [tile] = gather({"after": halves})
    [acquisition] = tile.acquisitions["after"]
    assert sorted(ids(acquisition.items)) == ["east", "west"]
    assert acquisition.time.isoformat() == "2018-06-01T10:00:00+00:00"


def test_complementary_halves_stay_and_their_copies_go():
    parts = [
        item("west-old", ground=WEST),
        item("east-old", ground=EAST),
        item("west-new", ground=WEST, baseline="05.00"),
    ]
    assert ids(deduplicate(parts)) == ["east-old", "west-new"]
    assert ids(deduplicate([*parts, item("all-new", baseline="05.10")])) == ["all-new"]
    [tile] = gather({"after": parts})
    [acquisition] = tile.acquisitions["after"]
    assert ids(acquisition.items) == ["west-new", "east-old"]  # newest processing first


def test_items_without_any_footprint_are_not_taken_for_new_ground():
    pair = [item("a"), item("b", baseline="05.00", ground=None)]
    assert footprint_of(pair[1]) is None
    assert ids(deduplicate(pair)) == ["b"]


kinds = st.tuples(
    st.sampled_from(["2018-06-01T10:00:00Z", "2018-06-06T10:00:00Z"]),
    st.sampled_from([WHOLE, WEST, EAST]),
    st.sampled_from(["02.14", "05.00", "99.99"]),
)


@given(st.lists(kinds, max_size=6), st.data())
def test_order_never_matters_and_a_second_time_changes_nothing(chosen, data):
    items = [
        item(f"i{n}", when=when, ground=ground, baseline=baseline)
        for n, (when, ground, baseline) in enumerate(chosen)
    ]
    expected = deduplicate(items)
    shuffled = data.draw(st.permutations(items)) if items else []
    assert ids(deduplicate(shuffled)) == ids(deduplicate(expected)) == ids(expected)
    for when in {one.properties["datetime"] for one in items}:
        same = [footprint_of(one) for one in items if one.properties["datetime"] == when]
        kept = [footprint_of(one) for one in expected if one.properties["datetime"] == when]
        lost = box(*WHOLE.bounds).intersection(_union(same)).difference(_union(kept))
        assert lost.area <= 0.05 * WHOLE.area  # no ground is lost


def _union(shapes):
    found = shapes[0]
    for one in shapes[1:]:
        found = found.union(one)
    return found


def test_footprints_over_the_date_line_are_split():
    jumping = item("a", ground=box(-179.9, -17, 179.9, -16))
    assert footprint_of(jumping).area == pytest.approx(0.2)
    boxed = item("b")
    boxed.geometry, boxed.bbox = None, [179.9, -17.0, -179.9, -16.0]
    assert footprint_of(boxed).area == pytest.approx(0.2)
    boxed.bbox = [179.9, -17.0, 0.0, -179.9, -16.0, 100.0]  # with heights
    assert footprint_of(boxed).area == pytest.approx(0.2)


# --- tiles --------------------------------------------------------------------------------------


def test_tiles_and_acquisitions_are_sorted():
    items = [
        item("late", when="2018-06-11T10:00:00Z"),
        item("early"),
        item("north", tile="32TPT"),
    ]
    tiles = gather({"before": [], "after": items})
    assert [tile.name for tile in tiles] == ["32TPS", "32TPT"]
    assert [ids(a.items) for a in tiles[0].acquisitions["after"]] == [["early"], ["late"]]
    assert tiles[0].acquisitions["before"] == ()


def test_an_item_without_a_tile_is_refused_by_name():
    nameless = item("nameless")
    del nameless.properties["grid:code"]
    with pytest.raises(CatalogError, match="nameless: found no MGRS tile"):
        gather({"after": [nameless]})


def test_two_grids_in_one_tile_are_refused():
    pair = [item("a"), item("b", when="2018-06-06T10:00:00Z", corner=600010)]
    with pytest.raises(CatalogError, match=r"tile 32TPS: b and a lie on different grids"):
        gather({"after": pair})


# --- frozen -------------------------------------------------------------------------------------


def both_dates():
    return gather({
        "before": [item("b1", when="2017-06-01T10:00:00Z"), item("bn", tile="32TPT")],
        "after": [
            item("west", ground=WEST), item("east", ground=EAST, baseline="05.00"),
            item("later", when="2018-06-06T10:00:00Z"),
        ],
    })  # fmt: skip


def described(tiles):
    return [
        (tile.name, tile.geobox, {
            role: [(a.time, ids(a.items)) for a in group]
            for role, group in tile.acquisitions.items()
        })
        for tile in tiles
    ]  # fmt: skip


def test_what_is_frozen_thaws_unchanged():
    tiles = both_dates()
    frozen = freeze(tiles)
    assert frozen["type"] == "FeatureCollection"
    as_written = json.loads(json.dumps(frozen))
    assert as_written == frozen
    thawed = thaw(as_written)
    assert described(thawed) == described(tiles)
    assert freeze(thawed) == frozen


def test_frozen_items_say_their_date_and_tile():
    facts = {
        feature["id"]: tuple(feature["properties"][f"lspipe:{key}"] for key in ("tile", "date"))
        for feature in freeze(both_dates())["features"]
    }
    assert facts["b1"] == ("32TPS", "before")
    assert facts["bn"] == ("32TPT", "before")
    assert facts["east"] == ("32TPS", "after")


def test_nothing_secret_is_frozen():
    text = json.dumps(freeze(both_dates()))
    assert "hunter2" not in text
    assert "https://host/west.tif" in text


def test_freezing_never_reaches_for_the_catalogue(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    tiles = both_dates()
    freeze(tiles)
    # other libraries turn items into dicts with pystac's defaults, which follow a root link
    tiles[0].acquisitions["before"][0].items[0].to_dict()


@pytest.mark.parametrize("content", [{}, {"lspipe:dates": ["after"], "features": [{}]}])
def test_a_damaged_file_is_named(content):
    with pytest.raises(CatalogError, match="items.json: found no"):
        thaw(content)


@pytest.mark.real
def test_real_items_thaw_unchanged(real_data):
    world = read_area(AreaSpec(bbox=(-180, -90, 180, 90)), real_data)
    dates = DatesSpec(after=DateRange(start=date(2015, 1, 1), end=date(2030, 1, 1)))
    for folder, collection in (
        ("planetary-computer", "sentinel-2-l2a"),
        ("earth-search-v1", "sentinel-2-c1-l2a"),
        ("earth-search-v0", "sentinel-s2-l2a-cogs"),
        ("cdse/sentinel-2-l2a", "sentinel-2-l2a"),
    ):
        spec = SearchSpec(catalog=f"stac_items/{folder}", collection=collection)
        tiles = find_tiles(spec, world, dates, real_data)
        frozen = json.loads(json.dumps(freeze(tiles)))
        assert described(thaw(frozen)) == described(tiles)
        assert freeze(thaw(frozen)) == frozen
