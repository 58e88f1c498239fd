"""`search.server`: paging, retries, tokens, and errors without credentials, on a real socket."""

from __future__ import annotations

import json
import socket
from datetime import date
from pathlib import Path

import pytest
from urllib3.util.retry import Retry

from lspipe.errors import CatalogError, NothingFound
from lspipe.search import server
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
    monkeypatch.setattr(server, "MAX_ITEMS", 5)
    groups = pages(*[[feature(f"{page}-{n}") for n in range(3)] for page in range(3)])
    with serving(groups) as api, pytest.raises(CatalogError, match="more than 5 items"):
        found(api.url)


def test_a_feature_that_is_no_item_is_named():
    broken = feature("broken")
    broken["properties"] = {"datetime": "yesterday"}
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
