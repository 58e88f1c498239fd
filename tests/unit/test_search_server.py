"""`search.server`: paging, retries, tokens, and errors without credentials, on a real socket."""

from __future__ import annotations

import json
import socket
from datetime import date
from pathlib import Path

import pytest
from urllib3.util.retry import Retry

from lspipe.errors import CatalogError, NothingFound
from lspipe.search import paging, server
from lspipe.search.areas import read_area
from lspipe.search.dates import DateRange, DatesSpec
from lspipe.search.find import find_items, find_tiles
from lspipe.search.spec import AreaSpec, SearchSpec
from tests.stac_server import serving

HERE = Path()
WORLD = read_area(AreaSpec(bbox=(-180, -90, 180, 90)), HERE)
ALWAYS = DateRange(start=date(2000, 1, 1), end=date(2100, 1, 1))
ALPS = read_area(AreaSpec(bbox=(11.0, 46.5, 11.5, 47.0)), HERE)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Retry at once."""
    quick = Retry(
        total=2, backoff_factor=0, status_forcelist=server.RETRIES.status_forcelist,
        allowed_methods=None, raise_on_status=False,
    )  # fmt: skip
    monkeypatch.setattr(server, "RETRIES", quick)


def feature(id_, *, when="2020-06-01T10:00:00Z", lon=11.0, collection="sentinel-2-l2a", **facts):
    ring = [[lon, 46.0], [lon + 1, 46.0], [lon + 1, 47.0], [lon, 47.0], [lon, 46.0]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": id_,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [lon, 46.0, lon + 1, 47.0],
        "properties": {"datetime": when, **facts},
        "assets": {"B04": {"href": "../B04.tif"}},
        "links": [{"rel": "self", "href": "https://host/items/a/item.json"}],
    }


def pages(*groups):
    return [{"type": "FeatureCollection", "features": list(group)} for group in groups]


def found(url, *, area=ALPS, dates=ALWAYS, **spec):
    return [item.id for item in find_items(SearchSpec(catalog=url, **spec), area, dates, HERE)]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_every_page_is_read(method):
    expected = [f"item-{n}" for n in range(7)]
    groups = pages(*[[feature(f"item-{n}") for n in part] for part in ((0, 1, 2), (3, 4, 5), (6,))])
    with serving(groups, next_method=method) as api:
        assert found(api.url) == expected
    searches = [request for request in api.requests if request["path"] == "/search"]
    assert len(searches) == 3


def test_an_item_on_two_pages_comes_once():
    with serving(pages([feature("a"), feature("b")], [feature("b"), feature("c")])) as api:
        assert found(api.url) == ["a", "b", "c"]


def test_the_server_is_asked_for_what_is_wanted():
    spec = {"query": {"eo:cloud_cover": {"lt": 80}}}
    dates = DateRange(start=date(2018, 1, 1), end=date(2018, 3, 31))
    with serving(pages([])) as api:
        found(api.url, dates=dates, **spec)
    asked = api.requests[-1]["asked"]
    assert asked["collections"] == ["sentinel-2-l2a"]
    assert asked["query"] == spec["query"]
    # to the first moment of the next day: some servers read 23:59:59 to the second
    assert asked["datetime"] == "2018-01-01T00:00:00Z/2018-04-01T00:00:00Z"
    assert asked["intersects"]["type"] == "Polygon"
    assert "bbox" not in asked


def test_what_a_careless_server_adds_is_filtered_out():
    wanted = feature("wanted", **{"eo:cloud_cover": 10})
    unwanted = [
        feature("cloudy", **{"eo:cloud_cover": 90}),
        feature("no-cloud-told"),
        feature("elsewhere", lon=40.0, **{"eo:cloud_cover": 10}),
        feature("too-late", when="2021-01-01T00:00:00Z", **{"eo:cloud_cover": 10}),
        feature("another", collection="landsat-c2-l2", **{"eo:cloud_cover": 10}),
    ]
    dates = DateRange(start=date(2020, 1, 1), end=date(2020, 12, 31))
    with serving(pages([*unwanted, wanted])) as api:
        ids = found(api.url, dates=dates, query={"eo:cloud_cover": {"lt": 80}})
    assert ids == ["wanted"]


def test_relative_addresses_start_from_the_item_itself():
    with serving(pages([feature("a")])) as api:
        [item] = find_items(SearchSpec(catalog=api.url), ALPS, ALWAYS, HERE)
    assert item.assets["B04"].href == "https://host/items/B04.tif"


def test_files_of_a_shared_disk_stay_files(tmp_path):
    """A server of an institute names paths; those of its own web addresses are not there."""
    (tmp_path / "my band.tif").write_bytes(b"")
    hrefs = {
        str(tmp_path / "my band.tif"): str(tmp_path / "my band.tif"),
        str(tmp_path / "my%20band.tif"): str(tmp_path / "my band.tif"),
        (tmp_path / "my band.tif").as_uri(): str(tmp_path / "my band.tif"),
        "/elsewhere/B04.tif": "https://host/elsewhere/B04.tif",
        "/vsis3/bucket/B04.tif": "/vsis3/bucket/B04.tif",
        "s3://bucket/B04.tif": "s3://bucket/B04.tif",
    }
    content = feature("a")
    content["assets"] = {f"asset {n}": {"href": href} for n, href in enumerate(hrefs)}
    with serving(pages([content])) as api:
        [item] = find_items(SearchSpec(catalog=api.url), ALPS, ALWAYS, HERE)
    assert [asset.href for asset in item.assets.values()] == list(hrefs.values())


def test_a_busy_server_is_asked_again():
    with serving(pages([feature("a")]), failures=2, status=503) as api:
        assert found(api.url) == ["a"]


def test_a_server_that_stays_busy_is_an_error():
    with (
        serving(pages([]), failures=99, status=503) as api,
        pytest.raises(CatalogError, match=f"{api.url}: HTTP 503"),
    ):
        found(api.url)


def test_a_token_goes_with_every_request_and_into_no_message():
    with serving(pages([feature("a")], [feature("b")])) as api:
        assert found(f"{api.url}/?token2=hunter2") == ["a", "b"]
        assert all("token2=hunter2" in request["full"] for request in api.requests)
        with pytest.raises(CatalogError) as failure:
            found(f"{api.url}/missing?token2=hunter2")
    assert "HTTP 404" in str(failure.value)
    assert "hunter2" not in str(failure.value)


def test_a_closed_port_is_an_error_of_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CatalogError) as failure:
        found(f"http://user:hunter2@127.0.0.1:{port}/stac?token=hunter2")
    message = str(failure.value)
    assert f"http://127.0.0.1:{port}/stac: cannot be reached" in message
    assert "refused" in message
    assert "hunter2" not in message
    assert "\n" not in message


# --- pages --------------------------------------------------------------------------------------


def noted(url, **spec):
    """Return the ids that are found, and what is said of those that may be missing."""
    notes: list[str] = []
    items = find_items(SearchSpec(catalog=url, **spec), ALPS, ALWAYS, HERE, note=notes.append)
    return [item.id for item in items], notes


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_empty_page_is_followed_to_a_full_one(method, place):
    groups = pages([feature("a")], [feature("b")])
    groups[place:place] = pages([], [])
    with serving(groups, next_method=method) as api:
        assert noted(api.url) == (["a", "b"], [])


@pytest.mark.parametrize(
    "counted", [{"numberMatched": 3}, {"context": {"matched": 3}}, {"numberMatched": 3.0}]
)
def test_items_that_a_server_counts_and_does_not_give_are_said(counted):
    groups = pages([feature("a"), feature("b")], [])
    groups[0] |= counted
    with serving(groups) as api:
        ids, notes = noted(api.url + "/?token=hunter2")
        assert ids == ["a", "b"]
        if isinstance(counted.get("numberMatched"), float):  # no count
            assert notes == []
            return
        assert notes == [
            f"{api.url}/, sentinel-2-l2a, {ALWAYS}: the server counts 3 items and gave 2; scenes "
            "may be missing; plan again later, or with another page_size"
        ]


def test_an_item_that_came_twice_does_not_stand_for_one_that_never_came():
    groups = pages([feature("a"), feature("b")], [feature("b")])
    groups[0]["numberMatched"] = 3
    with serving(groups) as api:
        ids, [note] = noted(api.url)
    assert ids == ["a", "b"]
    assert "counts 3 items and gave 2" in note


def test_a_server_that_counts_rightly_or_too_few_is_believed():
    for count in (1, 2):
        groups = pages([feature("a")], [feature("b")])
        groups[0]["numberMatched"] = count
        with serving(groups) as api:
            assert noted(api.url) == (["a", "b"], [])


def test_links_to_empty_pages_without_end_end():
    with serving(pages([feature("a")], []), next_of_last=1) as api:
        assert noted(api.url) == (["a"], [])  # the same link again
    empty = pages(*[[] for _ in range(paging.MAX_EMPTY_PAGES + 5)])
    with serving([*pages([feature("a")]), *empty]) as api:
        ids, [note] = noted(api.url)
        assert ids == ["a"]
        assert f"gave {paging.MAX_EMPTY_PAGES} empty pages in a row" in note
    counted = pages([feature("a")])
    counted[0]["numberMatched"] = 1
    with serving([*counted, *empty]) as api:
        assert noted(api.url) == (["a"], [])
        searches = [request for request in api.requests if request["path"] == "/search"]
    assert len(searches) == 1 + paging.FEW_EMPTY_PAGES


def test_full_pages_that_link_to_each_other_are_read_once_and_said():
    with serving(pages([feature("a")], [feature("b")]), next_of_last=0) as api:
        ids, [note] = noted(api.url)
    assert ids == ["a", "b"]
    assert "go round in circles" in note


def test_what_is_not_given_is_said_where_nothing_is_found():
    counted = pages([])
    counted[0]["numberMatched"] = 7
    dates = DatesSpec(after=ALWAYS)
    with serving(counted) as api, pytest.raises(NothingFound, match="counts 7 items and gave 0"):
        find_tiles(SearchSpec(catalog=api.url), ALPS, dates, HERE)


LIMIT = {"code": "BadRequest", "description": "limit must be between 1 and 30"}
OF_FASTAPI = {
    "detail": [{"loc": ["body", "limit"], "msg": "ensure it is less than or equal to 30"}]
}


def asked_sizes(api):
    return [r["asked"]["limit"] for r in api.requests if "limit" in r["asked"]]


@pytest.mark.parametrize(
    ("status", "content", "limit", "sizes"),
    [
        (400, LIMIT, 30, [100, 50, 25]),
        (422, OF_FASTAPI, 30, [100, 50, 25]),
        (400, b"the page size is too large", 1, [100, 50, 25, 12, 6, 3, 1]),
        (413, b"", 60, [100, 50]),
        (502, b"<html>Bad Gateway</html>", 60, [100, 100, 100, 50]),  # after its retries
        (504, {"message": "Endpoint request timed out"}, 60, [100, 100, 100, 50]),
    ],
)
def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(status, content, limit, sizes):
    def refuse(asked):
        return (status, content) if asked.get("limit", 0) > limit else None

    with serving(pages([feature("a")], [feature("b")]), refuse=refuse) as api:
        assert noted(api.url) == (["a", "b"], [])
        assert asked_sizes(api)[: len(sizes)] == sizes
        assert set(asked_sizes(api)[len(sizes) :]) <= {sizes[-1]}


def test_the_page_size_of_a_workflow_is_asked_for():
    with serving(pages([feature("a")])) as api:
        assert noted(api.url, page_size=7) == (["a"], [])
        assert asked_sizes(api) == [7]
    for size in (0, -1, 10_001):
        with pytest.raises(
            ValueError, match=f"page_size: found {size}, expected a whole number, 1 to 10000"
        ):
            SearchSpec(catalog="x", page_size=size)


def test_a_server_that_never_answers_is_not_asked_for_single_items():
    with (
        serving(pages([]), refuse=lambda _asked: (504, b"timed out")) as api,
        pytest.raises(CatalogError, match=r"HTTP 504, 'timed out'; try again later"),
    ):
        found(api.url)
    assert min(asked_sizes(api)) >= paging.LEAST_PAGE


def asked_conditions(api):
    return [one["asked"]["query"] for one in api.requests if "query" in one["asked"]]


@pytest.mark.parametrize("status", [400, 422])
def test_conditions_that_a_server_refuses_are_met_here(status):
    # As stac-fastapi does, behind many servers.
    query = {"platform": {"in": ["sentinel-2a"]}, "eo:cloud_cover": {"lt": 80, "gte": 0}}

    def refuse(asked):
        operators = {name for each in asked.get("query", {}).values() for name in each}
        return (status, {"detail": "Input should be 'eq'"}) if "in" in operators else None

    facts = {"eo:cloud_cover": 10}
    page = [feature("a", **facts, platform="sentinel-2a"), feature("b", **facts, platform="other")]
    with serving(pages(page), refuse=refuse) as api:
        assert noted(api.url, query=query) == (["a"], [])
        assert asked_conditions(api) == [query, {"eo:cloud_cover": {"lt": 80, "gte": 0}}]


def test_conditions_that_every_server_knows_are_not_asked_again():
    query = {"eo:cloud_cover": {"lt": 80}}
    with (
        serving(pages([]), refuse=lambda _asked: (400, {"detail": "odd"})) as api,
        pytest.raises(CatalogError, match="HTTP 400, 'odd'"),
    ):
        noted(api.url, query=query)
    assert asked_conditions(api) == [query]


# --- a server's own words -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"code": "X", "description": "no such collection"}, "'no such collection'"),
        ({"title": "Bad", "detail": "datetime is odd"}, "'Bad; datetime is odd'"),
        ({"message": "Forbidden"}, "'Forbidden'"),
        ({"errors": [{"message": "one"}, {"message": "two"}]}, "'one; two'"),
        ({"error": {"code": 3, "message": "inner"}}, "'inner'"),
        (OF_FASTAPI["detail"], "'ensure it is less than or equal to 30; body limit'"),
        (b"plain words\n\tof two lines", "'plain words of two lines'"),
        (b"<html><style>p {}</style><h1>Not</h1><p>here</p></html>", "'Not here'"),
        (b"\x1b[31mred\x07\xe2\x80\xaebackwards", "'[31mred backwards'"),
        ({"description": ""}, "expected a STAC API"),
        (b"", "expected a STAC API"),
        (b"\xff\xfe", "HTTP 403"),
    ],
)
def test_a_refusal_repeats_what_the_server_says(content, expected):
    with (
        serving(pages([]), refuse=lambda _asked: (403, content)) as api,
        pytest.raises(CatalogError) as failure,
    ):
        found(api.url)
    message = str(failure.value)
    assert message.startswith(f"{api.url}: HTTP 403")
    assert expected in message
    assert "check the URL and your access" in message
    assert message.isprintable()


@pytest.mark.parametrize(
    "said",
    [
        "no token hunter2 here",
        "GET /search?token=hunter2&limit=3",
        "see https://anna:hunter2@host/search",
        "Authorization: Bearer abc.hunter2",
        'headers {"x-api-key": "hunter2"}',
        "password=hunter2",
        "SharedAccessSignature: hunter2",
    ],
)
def test_a_refusal_never_repeats_what_is_secret(said):
    with (
        serving(pages([]), refuse=lambda _asked: (400, {"description": said})) as api,
        pytest.raises(CatalogError) as failure,
    ):
        found(f"{api.url}/?token=hunter2" if "no token" in said else api.url)
    assert "hunter2" not in str(failure.value)
    assert "HTTP 400, '" in str(failure.value)


def test_a_long_refusal_is_cut():
    content = {"description": "all " * 5000}
    with (
        serving(pages([]), refuse=lambda _asked: (400, content)) as api,
        pytest.raises(CatalogError) as failure,
    ):
        found(api.url)
    assert 200 < len(str(failure.value)) < 400


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"description": "the index is being built"}, "'the index is being built' and no items"),
        ({"type": "FeatureCollection"}, "no list of items"),
        ([], "no list of items"),
        ({"features": None}, "no list of items"),
    ],
)
def test_a_success_without_a_list_of_items_is_an_error(content, expected):
    with (
        serving(pages([]), refuse=lambda _asked: (200, content)) as api,
        pytest.raises(CatalogError, match=expected),
    ):
        found(api.url)


# --- answers of another kind --------------------------------------------------------------------


@pytest.mark.parametrize(
    "landing",
    [
        b"<html>a login page</html>",
        b"[]",
        {"hello": "world"},
        {"type": "Feature", "stac_version": "1.0.0", "id": "x"},
    ],
)
def test_an_answer_that_is_no_stac_is_an_error(landing):
    with (
        serving(pages([]), landing=landing) as api,
        pytest.raises(CatalogError, match="STAC API"),
    ):
        found(api.url)


def test_a_static_catalogue_is_named_as_such():
    static = {
        "type": "Catalog", "stac_version": "1.0.0", "id": "x", "description": "x", "links": [],
    }  # fmt: skip
    with (
        serving(pages([]), landing=static) as api,
        pytest.raises(CatalogError, match=r"offers no item search.*download the items"),
    ):
        found(api.url)


def test_pages_that_go_round_in_circles_end(monkeypatch):
    monkeypatch.setattr(paging, "MAX_ITEMS", 5)
    groups = pages(*[[feature(f"{page}-{n}") for n in range(3)] for page in range(3)])
    with serving(groups) as api, pytest.raises(CatalogError, match="more than 5 items"):
        found(api.url)


def test_a_feature_that_is_no_item_is_named():
    broken = feature("broken")
    broken["assets"] = {"B04": "no asset"}
    with serving(pages([broken])) as api, pytest.raises(CatalogError, match="broken: not a STAC"):
        found(api.url)


def test_a_long_outline_is_sent_as_its_hull(tmp_path):
    import shapely

    star = shapely.Point(11.2, 46.7).buffer(0.1, quad_segs=400).difference(
        shapely.Point(11.2, 46.7).buffer(0.05, quad_segs=400)
    )  # fmt: skip
    (tmp_path / "star.geojson").write_text(shapely.to_geojson(star))
    area = read_area(AreaSpec(file="star.geojson"), tmp_path)
    with serving(pages([feature("a")])) as api:
        assert found(api.url, area=area) == ["a"]
    sent = shapely.geometry.shape(api.requests[-1]["asked"]["intersects"])
    assert shapely.get_num_coordinates(sent) <= server.MAX_CORNERS
    assert sent.buffer(1e-9).covers(star)


def test_nothing_found_names_the_date():
    dates = DatesSpec(
        before=DateRange(start=date(2019, 1, 1), end=date(2019, 12, 31)),
        after=DateRange(start=date(2020, 1, 1), end=date(2020, 12, 31)),
    )
    groups = pages([feature("S2A_32TPS_20200601_0_L2A", platform="sentinel-2a")])
    with serving(groups) as api, pytest.raises(NothingFound) as failure:
        find_tiles(SearchSpec(catalog=api.url + "?token=hunter2"), ALPS, dates, HERE)
    assert "no item on the before date: 2019-01-01 to 2019-12-31 over bbox" in str(failure.value)
    assert "hunter2" not in str(failure.value)
    assert failure.value.exit_code == 4


# --- captured answers ---------------------------------------------------------------------------


@pytest.mark.real
def test_every_captured_answer_goes_through(real_data):
    """Each captured page, for each collection in it, gives exactly the items it holds."""
    files = sorted((real_data / "stac_items/search_responses").glob("*.json"))
    assert len(files) == 12
    for file in files:
        answer = json.loads(file.read_text())["response"]
        with serving([answer]) as api:
            for collection in {feature["collection"] for feature in answer["features"]}:
                expected = [f for f in answer["features"] if f["collection"] == collection]
                spec = SearchSpec(catalog=api.url, collection=collection)
                items = find_items(spec, WORLD, ALWAYS, HERE)
                assert {i.id for i in items} == {f["id"] for f in expected}, file.name


@pytest.mark.real
def test_captured_pages_follow_each_other(real_data):
    folder = real_data / "stac_items/search_responses"
    answers = [json.loads((folder / f"{n:02d}_es.json").read_text())["response"] for n in (1, 2)]
    expected = {
        feature["id"]
        for answer in answers
        for feature in answer["features"]
        if feature["collection"] == "sentinel-2-l2a"
    }
    with serving(answers) as api:
        items = find_items(SearchSpec(catalog=api.url), WORLD, ALWAYS, HERE)
    assert {item.id for item in items} == expected
    assert len(expected) == 6
    spec = SearchSpec(catalog=api.url)
    with serving(answers) as api:
        spec = SearchSpec(catalog=api.url)
        tiles = find_tiles(spec, WORLD, DatesSpec(after=ALWAYS), HERE)
    assert [tile.name for tile in tiles] == ["20EPT", "24MUA", "24MUV", "24MVV", "24MWV", "24MXV"]
    assert all(tile.geobox.shape == (10980, 10980) for tile in tiles)
