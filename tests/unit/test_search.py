"""`search`: dates, what matches, and items in files, which are filtered as a server's are."""

from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

from lspipe.errors import CatalogError, NothingFound, WorkflowError
from lspipe.search.areas import read_area
from lspipe.search.dates import DateRange, DatesSpec
from lspipe.search.find import find_items, find_tiles, matches
from lspipe.search.spec import OPERATORS, AreaSpec, SearchSpec
from lspipe.spec import SpecError, read
from tests.stac_server import serving

YEAR = DateRange(start=date(2018, 1, 1), end=date(2018, 12, 31))


def range_(start, end):
    return DateRange(start=date.fromisoformat(start), end=date.fromisoformat(end))


def area(*bbox):
    return read_area(AreaSpec(bbox=bbox or (11.0, 46.0, 12.0, 47.0)), folder=None)


def item(id_="S2A_32TPS_20180601_0_L2A", *, when="2018-06-01T10:00:00Z", lon=11.0, **facts):
    ring = [[lon, 46.0], [lon + 1, 46.0], [lon + 1, 47.0], [lon, 47.0], [lon, 46.0]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": id_,
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [lon, 46.0, lon + 1, 47.0],
        "properties": {"datetime": when, "platform": "sentinel-2a", **facts},
        "assets": {"red": {"href": "./bands/B04.tif", "roles": ["data"]}},
        "links": [],
    }


# --- dates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "is_within"),
    [
        ("2018-01-01T00:00:00Z", True),
        ("2018-03-31T23:59:59.999Z", True),  # the end is inclusive, to its last moment
        ("2018-03-31T23:59:59.999999Z", True),
        ("2018-04-01T00:00:00Z", False),
        ("2017-12-31T23:59:59.999999Z", False),
        ("2018-04-01T01:59:59+02:00", True),  # UTC counts
        ("2017-12-31T23:30:00-01:00", True),
    ],
)
def test_a_range_holds_its_last_day_whole(moment, is_within):
    assert (datetime.fromisoformat(moment) in range_("2018-01-01", "2018-03-31")) == is_within


def test_a_range_of_one_day_is_a_day():
    first, too_late = range_("2018-01-01", "2018-01-01").moments
    assert too_late - first == timedelta(days=1)


def test_dates_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="start 2018-03-31 after end 2018-01-01"):
        range_("2018-03-31", "2018-01-01")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("2018-01-01", "2018-03-31"), ("2018-03-31", "2018-06-30")),  # one shared day
        (("2018-01-01", "2018-12-31"), ("2018-03-01", "2018-04-01")),
        (("2018-03-01", "2018-04-01"), ("2018-01-01", "2018-12-31")),
    ],
)
def test_overlapping_dates_are_refused(before, after):
    with pytest.raises(ValueError, match="overlapping"):
        DatesSpec(before=range_(*before), after=range_(*after))


def test_dates_that_touch_are_fine():
    spec = DatesSpec(
        before=range_("2018-01-01", "2018-03-31"), after=range_("2018-04-01", "2018-06-30")
    )
    assert list(spec.ranges()) == ["before", "after"]
    assert not spec.is_swapped


def test_swapped_dates_are_allowed_and_said_so():
    early, late = range_("2017-01-01", "2017-03-31"), range_("2018-01-01", "2018-03-31")
    assert DatesSpec(before=late, after=early).is_swapped
    assert list(DatesSpec(after=late).ranges()) == ["after"]
    assert not DatesSpec(after=late).is_swapped


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({}, "found no after"),
        ({"before": range_("2018-01-01", "2018-02-01")}, "found no after"),
        ({"event": date(2018, 1, 1), "after": YEAR}, "event beside before or after"),
    ],
)
def test_dates_that_cannot_be_meant_are_refused(given_, message):
    with pytest.raises(ValueError, match=message):
        DatesSpec(**given_)


def test_an_event_becomes_the_season_after_it_and_the_same_season_a_year_earlier():
    ranges = DatesSpec(event=date(2017, 12, 16)).ranges()
    assert str(ranges["before"]) == "2016-12-17 to 2017-03-16"
    assert str(ranges["after"]) == "2017-12-17 to 2018-03-16"


@given(st.dates(date(2015, 6, 23), date(2035, 1, 1)))
def test_an_event_lies_between_its_windows_which_share_a_season(day):
    ranges = DatesSpec(event=day).ranges()
    before, after = ranges["before"], ranges["after"]
    assert before.end < day < after.start
    for early, late in ((before.start, after.start), (before.end, after.end)):
        assert 364 <= (late - early).days <= 366
    DatesSpec(before=before, after=after)


def test_a_workflow_file_may_say_all_that():
    spec = read(DatesSpec, {"after": {"start": "2018-01-01", "end": date(2018, 3, 31)}})
    assert spec == DatesSpec(after=range_("2018-01-01", "2018-03-31"))
    with pytest.raises(SpecError, match="^after: found start 2018-03-31 after end"):
        read(DatesSpec, {"after": {"start": "2018-03-31", "end": "2018-01-01"}})
    with pytest.raises(SpecError, match=r"^after\.strat: unknown key \(did you mean 'start'"):
        read(DatesSpec, {"after": {"strat": "2018-01-01", "end": "2018-03-01"}})


# --- queries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "wanted", "expected"),
    [
        ("eq", 20, [20]),
        ("neq", 20, [10, 30, None]),
        ("lt", 20, [10]),
        ("lte", 20, [10, 20]),
        ("gt", 20, [30]),
        ("gte", 20, [20, 30]),
        ("in", [10, 30], [10, 30]),
        ("startsWith", "2", [20]),
    ],
)
def test_query_operators(operator, wanted, expected, tmp_path):
    for value in (10, 20, 30, None):
        facts = {} if value is None else {"cloud": value}
        (tmp_path / f"{value}.json").write_text(json.dumps(item(f"item-{value}", **facts)))
    spec = SearchSpec(catalog=".", query={"cloud": {operator: wanted}})
    found = find_items(spec, area(), YEAR, tmp_path)
    assert [i.id for i in found] == sorted(f"item-{value}" for value in expected)


@pytest.mark.parametrize(
    ("written", "query", "is_met"),
    [
        ("12.4", {"lt": 80}, True),
        (" 90 ", {"lt": 80}, False),
        ("1.2e1", {"gte": 12}, True),
        ("12.4", {"eq": 12.4}, True),
        ("12", {"neq": 12}, False),
        ("12", {"in": [12, 13]}, True),
        ("12", {"startsWith": "1"}, True),
        (None, {"lt": 80}, False),
        (float("nan"), {"lt": 80}, False),
        (float("nan"), {"neq": 80}, True),
    ],
)
@pytest.mark.parametrize("name", ["eo:cloud_cover", "mine:share"])
def test_a_number_that_is_written_as_text_is_that_number(name, written, query, is_met, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(item("a", **{name: written})))
    spec = SearchSpec(catalog=".", query={name: query})
    assert [i.id for i in find_items(spec, area(), YEAR, tmp_path)] == (["a"] if is_met else [])


@pytest.mark.parametrize("written", ["n/a", "", "12,4", "12 %", "nan", "inf", True, [12], {"a": 1}])
def test_what_is_no_number_is_refused_by_name(written, tmp_path):
    content = item("the-item", **{"eo:cloud_cover": written})
    (tmp_path / "a.json").write_text(json.dumps(content))
    spec = SearchSpec(catalog=".", query={"eo:cloud_cover": {"lt": 80}})
    with pytest.raises(CatalogError) as failure:
        find_items(spec, area(), YEAR, tmp_path)
    assert str(failure.value).startswith(f"the-item: eo:cloud_cover: found {written!r}, expected a")
    equal = SearchSpec(catalog=".", query={"eo:cloud_cover": {"neq": 80}})
    with pytest.raises(CatalogError, match="the-item: eo:cloud_cover: found"):
        find_items(equal, area(), YEAR, tmp_path)
    assert find_items(SearchSpec(catalog="."), area(), YEAR, tmp_path)  # without the condition
    elsewhere = area(30, 46, 31, 47)
    assert find_items(spec, elsewhere, YEAR, tmp_path) == []  # nor where it is of no matter


def test_a_number_is_not_compared_with_a_word(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(item("a", cloud=10)))
    spec = SearchSpec(catalog=".", query={"cloud": {"lt": "a word"}})
    with pytest.raises(CatalogError, match=r"a: cloud: found 10, expected text.*'a word'"):
        find_items(spec, area(), YEAR, tmp_path)


def test_items_that_lack_what_is_asked_for_are_said(tmp_path):
    for name, facts in (("a", {}), ("b", {"eo:cloud_cover": None}), ("c", {"eo:cloud_cover": 5})):
        (tmp_path / f"{name}.json").write_text(json.dumps(item(name, **facts)))
    notes: list[str] = []
    spec = SearchSpec(catalog=".", query={"eo:cloud_cover": {"lt": 80}})
    found = find_items(spec, area(), YEAR, tmp_path, note=notes.append)
    assert [i.id for i in found] == ["c"]
    assert notes == [
        "search.query: 2 of 3 items have no eo:cloud_cover, such as a: they do not meet it"
    ]
    spec = SearchSpec(catalog=".", query={"eo:cloud_cover": {"neq": 80}})
    assert len(find_items(spec, area(), YEAR, tmp_path, note=notes.append)) == 3
    assert len(notes) == 1


def test_several_conditions_hold_together(tmp_path):
    for value in (10, 20, 30):
        (tmp_path / f"{value}.json").write_text(json.dumps(item(f"{value}", cloud=value, x=1)))
    query = {"cloud": {"gt": 10, "lt": 30}, "x": {"eq": 1}}
    spec = SearchSpec(catalog=str(tmp_path), query=query)
    assert [i.id for i in find_items(spec, area(), YEAR, tmp_path)] == ["20"]


def test_an_unknown_operator_is_refused():
    with pytest.raises(ValueError, match=r"operator 'below' on x, expected one of eq, neq"):
        SearchSpec(catalog="cdse", query={"x": {"below": 1}})
    assert set(OPERATORS) == {"eq", "neq", "lt", "lte", "gt", "gte", "in", "startsWith"}


# --- items in files -----------------------------------------------------------------------------

ARCHIVE = [
    item("S2A_32TPS_20180601_0_L2A", **{"eo:cloud_cover": 10.0}),
    item("S2A_32TPS_20180611_0_L2A", when="2018-06-11T10:00:00Z", **{"eo:cloud_cover": 90.0}),
    item("S2A_32TPS_20170601_0_L2A", when="2017-06-01T10:00:00Z", **{"eo:cloud_cover": 10.0}),
    item("S2A_36TPS_20180601_0_L2A", lon=40.0, **{"eo:cloud_cover": 10.0}),
]
WANTED = ["S2A_32TPS_20180601_0_L2A"]
SPEC = {"query": {"eo:cloud_cover": {"lt": 80}}}


def as_folder(path):
    (path / "deep/er").mkdir(parents=True)
    for number, content in enumerate(ARCHIVE):
        (path / f"deep/er/{number}.json").write_text(json.dumps(content))
    # what else lies in such folders
    (path / "collection.json").write_text(json.dumps({"type": "Collection", "id": "x"}))
    (path / "truth.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {}, "geometry": None}]}))  # fmt: skip
    (path / "list.json").write_text("[1, 2]")
    (path / "notes.txt").write_text("hello")
    return path


def as_collection(path):
    file = path / "items.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": ARCHIVE}))
    return file


def as_ndjson(path):
    file = path / "items.ndjson"
    file.write_text("\n".join(json.dumps(content) for content in ARCHIVE) + "\n\n")
    return file


def as_parquet(path):
    file = path / "items.parquet"
    to_parquet(parse_stac_items_to_arrow(copy.deepcopy(ARCHIVE)), file)
    return file


FORMS = [as_folder, as_collection, as_ndjson, as_parquet]


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_of_file_gives_what_a_server_would(form, tmp_path):
    place = form(tmp_path)
    with serving([{"type": "FeatureCollection", "features": ARCHIVE}]) as api:
        served = find_items(SearchSpec(catalog=api.url, **SPEC), area(), YEAR, tmp_path)
    for catalog in (str(place), place.relative_to(tmp_path).as_posix()):
        items = find_items(SearchSpec(catalog=catalog, **SPEC), area(), YEAR, tmp_path)
        assert [i.id for i in items] == [i.id for i in served] == WANTED


@pytest.mark.parametrize("form", FORMS)
def test_relative_addresses_start_from_the_items_file(form, tmp_path):
    place = form(tmp_path)
    folder = tmp_path / "deep/er" if form is as_folder else tmp_path
    [found] = find_items(SearchSpec(catalog=str(place), **SPEC), area(), YEAR, tmp_path)
    assert found.assets["red"].href == str(folder / "bands/B04.tif")


@pytest.mark.parametrize(
    "href",
    ["https://host/a%20b.tif", "s3://bucket/a.tif", "/data/a.tif", "/vsizip/a.zip/a%20b.tif"],
)
def test_absolute_addresses_stay(href, tmp_path):
    content = item()
    content["assets"]["red"]["href"] = href
    (tmp_path / "a.json").write_text(json.dumps(content))
    [found] = find_items(SearchSpec(catalog="a.json"), area(), YEAR, tmp_path)
    assert found.assets["red"].href == href


def test_a_single_item_is_a_catalogue_too(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ARCHIVE[0]))
    spec = SearchSpec(catalog="a.json")
    assert [i.id for i in find_items(spec, area(), YEAR, tmp_path)] == WANTED


def test_collections_are_told_apart_and_items_without_one_are_taken(tmp_path):
    contents = [item("a"), {**item("b"), "collection": "landsat-c2-l2"}, {**item("c")}]
    del contents[2]["collection"]
    (tmp_path / "items.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": contents})
    )
    spec = SearchSpec(catalog="items.json")
    assert [i.id for i in find_items(spec, area(), YEAR, tmp_path)] == ["a", "c"]


def test_an_item_with_a_box_but_no_geometry_is_found_by_its_box(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({**item(), "geometry": None}))
    spec = SearchSpec(catalog="a.json")
    assert len(find_items(spec, area(), YEAR, tmp_path)) == 1
    assert find_items(spec, area(30, 46, 31, 47), YEAR, tmp_path) == []


def test_a_footprint_counts_and_not_its_box(tmp_path):
    content = item()
    content["geometry"]["coordinates"] = [[[11, 46], [12, 46], [11, 47], [11, 46]]]  # half of it
    (tmp_path / "a.json").write_text(json.dumps(content))
    spec = SearchSpec(catalog="a.json")
    assert find_items(spec, area(11.8, 46.8, 11.9, 46.9), YEAR, tmp_path) == []
    assert len(find_items(spec, area(11.1, 46.1, 11.2, 46.2), YEAR, tmp_path)) == 1


def test_tiles_are_searched_by_name_and_not_by_their_neighbours(tmp_path):
    contents = [item("S2A_32TPS_20180601_0_L2A"), item("S2A_32TPT_20180601_0_L2A")]
    for content in contents:
        (tmp_path / f"{content['id']}.json").write_text(json.dumps(content))
    named = read_area(AreaSpec(tiles=("T32TPS",)), folder=tmp_path)
    found = find_items(SearchSpec(catalog="."), named, YEAR, tmp_path)
    assert [i.id for i in found] == ["S2A_32TPS_20180601_0_L2A"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.json", b'{"type": "Feature", '),
        ("broken.ndjson", b'{"type": "Feature"}\n{"type": \n'),
        ("broken.parquet", b"PAR1 no"),
        ("latin.json", b"\xff\xfe\xe9"),
        ("report.json", b'{"hello": "world"}'),
        ("empty.ndjson", b""),
    ],
)
def test_a_file_that_holds_no_items_is_an_error_naming_it(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CatalogError, match=f"{name}: .*STAC item"):
        find_items(SearchSpec(catalog=name), area(), YEAR, tmp_path)


def test_another_parquet_table_holds_no_items(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(CatalogError, match="a.parquet: no STAC item"):
        find_items(SearchSpec(catalog="a.parquet"), area(), YEAR, tmp_path)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(CatalogError, match="no STAC item in 0 files"):
        find_items(SearchSpec(catalog="."), area(), YEAR, tmp_path)


def test_a_misspelt_catalogue_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(WorkflowError, match="'earthsearch': did you mean 'earth-search'"):
        find_items(SearchSpec(catalog="earthsearch"), area(), YEAR, tmp_path)


# --- tiles --------------------------------------------------------------------------------------

BOTH = DatesSpec(
    before=range_("2017-01-01", "2017-12-31"), after=range_("2018-01-01", "2018-12-31")
)


def test_tiles_come_by_name_with_acquisitions_per_date(tmp_path):
    as_folder(tmp_path)
    [tile] = find_tiles(SearchSpec(catalog="."), area(), BOTH, tmp_path)
    assert tile.name == "32TPS"
    assert tile.geobox.crs.epsg == 32632
    assert {role: [a.time.date().isoformat() for a in group] for role, group in
            tile.acquisitions.items()} == {
        "before": ["2017-06-01"], "after": ["2018-06-01", "2018-06-11"]
    }  # fmt: skip


def test_an_area_outside_every_item_finds_nothing(tmp_path):
    as_folder(tmp_path)
    with pytest.raises(NothingFound, match=r"no item on the before date.*bbox \[-72") as failure:
        find_tiles(SearchSpec(catalog="."), area(-72, -44, -71, -43), BOTH, tmp_path)
    assert failure.value.exit_code == 4


@pytest.mark.parametrize("role", ["before", "after"])
def test_a_date_without_an_item_is_named(role, tmp_path):
    as_folder(tmp_path)
    empty = {
        "before": range_("2016-01-01", "2016-12-31"),
        "after": range_("2019-01-01", "2019-12-31"),
    }
    dates = DatesSpec(**{**BOTH.ranges(), role: empty[role]})
    with pytest.raises(NothingFound, match=f"no item on the {role} date: {empty[role]}"):
        find_tiles(SearchSpec(catalog="."), area(), dates, tmp_path)


def test_dates_before_the_satellites_are_explained(tmp_path):
    as_folder(tmp_path)
    dates = DatesSpec(after=range_("2014-01-01", "2014-12-31"))
    with pytest.raises(NothingFound, match="Sentinel-2 started in June 2015"):
        find_tiles(SearchSpec(catalog="."), area(), dates, tmp_path)


def test_a_tile_seen_on_one_date_only_is_kept_and_warned_of(tmp_path, caplog):
    as_folder(tmp_path)
    (tmp_path / "n.json").write_text(json.dumps(item("S2A_32TPT_20180601_0_L2A")))
    tiles = find_tiles(SearchSpec(catalog="."), area(), BOTH, tmp_path)
    assert [tile.name for tile in tiles] == ["32TPS", "32TPT"]
    assert tiles[1].acquisitions["before"] == ()
    assert "tile 32TPT has no scene on the before date" in caplog.text


def as_tiles(tmp_path, *names, id_="same"):
    """One item of a tile in a folder of its own, all with the same id."""
    for number, name in enumerate(names):
        (tmp_path / str(number)).mkdir(exist_ok=True)
        content = item(id_, **{"grid:code": f"MGRS-{name}"})
        (tmp_path / str(number) / "item.json").write_text(json.dumps(content))


def test_one_id_in_two_tiles_is_two_scenes(tmp_path):
    as_tiles(tmp_path, "32TPS", "32TPT")
    dates = DatesSpec(after=BOTH.after)
    tiles = find_tiles(SearchSpec(catalog="."), area(), dates, tmp_path)
    assert [(t.name, len(t.acquisitions["after"])) for t in tiles] == [("32TPS", 1), ("32TPT", 1)]


def test_one_item_in_two_files_is_one_scene(tmp_path):
    as_tiles(tmp_path, "32TPS")
    (tmp_path / "copy.json").write_text((tmp_path / "0/item.json").read_text())
    # A copy beside its own bands has other addresses, and shows the same ground.
    assert len(find_items(SearchSpec(catalog="."), area(), YEAR, tmp_path)) == 2
    [tile] = find_tiles(SearchSpec(catalog="."), area(), DatesSpec(after=YEAR), tmp_path)
    [acquisition] = tile.acquisitions["after"]
    assert len(acquisition.items) == 1
    content = json.loads((tmp_path / "copy.json").read_text())
    content["assets"]["red"]["href"] = "0/bands/B04.tif"
    (tmp_path / "copy.json").write_text(json.dumps(content))
    assert len(find_items(SearchSpec(catalog="."), area(), YEAR, tmp_path)) == 1


def test_one_id_of_two_scenes_of_a_tile_is_refused(tmp_path):
    for day in ("01", "11"):
        (tmp_path / f"{day}.json").write_text(json.dumps(
            item("32TPS", when=f"2018-06-{day}T10:00:00Z", **{"grid:code": "MGRS-32TPS"})
        ))  # fmt: skip
    with pytest.raises(
        CatalogError, match=r"tile 32TPS: two scenes have the id '32TPS' \(2018-06-01.*2018-06-11"
    ):
        find_tiles(SearchSpec(catalog="."), area(), DatesSpec(after=YEAR), tmp_path)


def test_a_tile_asked_for_by_name_without_any_scene_is_said(tmp_path):
    as_tiles(tmp_path, "32TPS")
    named = read_area(AreaSpec(tiles=("32TPS", "32TPT")), folder=tmp_path)
    notes: list[str] = []
    spec, dates = SearchSpec(catalog="."), DatesSpec(after=YEAR)
    tiles = find_tiles(spec, named, dates, tmp_path, note=notes.append)
    assert [tile.name for tile in tiles] == ["32TPS"]
    assert notes == [
        "tile 32TPT was asked for and has no scene on the after date: nothing is done there"
    ]


# --- times --------------------------------------------------------------------------------------

ODD_TIMES = ["2018-06-01 10:00:00 UTC", "2018-06-01", "yesterday", "2018-13-01T10:00:00Z", 20180601]


@pytest.mark.parametrize("odd", ODD_TIMES)
def test_an_odd_time_of_sensing_is_refused_with_its_item_and_field(odd, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(item("the-item", when=odd)))
    with pytest.raises(CatalogError, match="the-item.*datetime") as failure:
        find_items(SearchSpec(catalog="."), area(), YEAR, tmp_path)
    assert repr(odd) in str(failure.value)


@pytest.mark.parametrize("field", ["created", "updated", "s2:generation_time"])
@pytest.mark.parametrize("odd", [*ODD_TIMES, "", None, "2018-06-01T12:00:00", {"a": 1}])
def test_an_odd_time_that_only_ranks_is_passed_over(field, odd, tmp_path):
    facts = {"grid:code": "MGRS-32TPS", field: odd}
    (tmp_path / "a.json").write_text(json.dumps(item("a", **facts)))
    [tile] = find_tiles(SearchSpec(catalog="."), area(), DatesSpec(after=YEAR), tmp_path)
    assert len(tile.acquisitions["after"]) == 1


def test_the_inclusive_end_reaches_the_last_scene_of_the_day(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(item(when="2018-03-31T23:59:59.999Z")))
    dates = DatesSpec(after=range_("2018-01-01", "2018-03-31"))
    [tile] = find_tiles(SearchSpec(catalog="."), area(), dates, tmp_path)
    [acquisition] = tile.acquisitions["after"]
    assert acquisition.time == datetime(2018, 3, 31, 23, 59, 59, 999000, tzinfo=UTC)


# --- real items ---------------------------------------------------------------------------------


@pytest.mark.real
def test_the_real_archive_is_searched_as_a_folder(real_data):
    """Every real Sentinel-2 L2A item of one collection and zone is found, and nothing else."""
    world = read_area(AreaSpec(bbox=(-180, -90, 180, 90)), folder=real_data)
    always = DatesSpec(after=range_("2015-01-01", "2030-01-01"))
    for folder, collection, expected in (
        ("planetary-computer", "sentinel-2-l2a", 14),
        ("earth-search-v1", "sentinel-2-c1-l2a", 6),
        ("earth-search-v1", "sentinel-2-l2a", 15),
        ("earth-search-v0", "sentinel-s2-l2a-cogs", 1),
        ("cdse/sentinel-2-l2a", "sentinel-2-l2a", 2),
    ):
        spec = SearchSpec(catalog=f"stac_items/{folder}", collection=collection)
        tiles = find_tiles(spec, world, always, real_data)
        items = [i for t in tiles for a in t.acquisitions["after"] for i in a.items]
        files = list((real_data / "stac_items").glob(f"{folder}/**/*.json"))
        of_it = [f for f in files if json.loads(f.read_text()).get("collection") == collection]
        assert len(items) == len(of_it) == expected, folder
        for tile in tiles:
            assert tile.geobox.shape == (10980, 10980)
            assert tile.geobox.resolution.xy == (10, -10)


@pytest.mark.real
def test_real_items_match_by_their_own_footprint(real_data):
    folder = real_data / "stac_items/planetary-computer/sentinel-2-l2a"
    everywhere = area(-180, -90, 180, 90)
    spec = SearchSpec(catalog=str(folder))
    always = range_("2015-01-01", "2030-01-01")
    for found in find_items(spec, everywhere, always, folder):
        west, south, east, north = found.bbox
        assert matches(found, spec, area(west, south, east, north), always)
        assert not matches(found, spec, area(-60, -20, -59, -19), always)
