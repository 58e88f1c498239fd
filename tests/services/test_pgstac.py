"""A catalogue on a database: stac-fastapi with pgstac on PostgreSQL and PostGIS, COGs by nginx."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lspipe.search.areas import read_area
from lspipe.search.dates import DateRange
from lspipe.search.find import find_items
from lspipe.search.spec import AreaSpec, SearchSpec
from tests.services.archive import (
    AFTER,
    COLLECTION,
    at_hours,
    files_with,
    items_of,
    results,
    served,
    told,
    workflow_for,
    write_items,
)
from tests.services.flaky import flaky
from tests.services.servers import WebServer, web_server
from tests.services.stac_database import database, execute, load, stac_api
from tests.worlds import lspipe

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = "many"
COUNT = 130
PAGE = 20

WORLD = (-180.0, -90.0, 180.0, 90.0)
ALL_DAYS = ("2015-06-23", "2026-12-31")


@dataclass(frozen=True)
class Catalogue:
    """The API, and the same items in files."""

    url: str
    there: dict[str, str]
    """Variables of the database."""
    web: WebServer
    files: dict[str, Path]
    """NDJSON by collection."""


@pytest.fixture(scope="module")
def catalogue(finished_world, tmp_path_factory) -> Iterator[Catalogue]:
    folder = tmp_path_factory.mktemp("items")
    with web_server(finished_world.folder / "scenes") as web, database() as there:
        scenes = served(items_of(finished_world), web.url)
        items = {COLLECTION: scenes}
        items[MANY] = [{**item, "collection": MANY} for item in at_hours(scenes[1], COUNT)]
        load(there, items, [item for group in items.values() for item in group])
        files = {
            name: write_items(folder / f"{name}.ndjson", group) for name, group in items.items()
        }
        with stac_api(there) as url:
            yield Catalogue(url, there, web, files)


def found(catalog: object, collection: str, **conditions: Any) -> list[Any]:
    """What a search finds: id, time, properties and addresses of each item, in order."""
    days, bbox = (
        conditions.pop(name, usual) for name, usual in (("days", ALL_DAYS), ("bbox", WORLD))
    )
    first, last = map(date.fromisoformat, days)
    items = find_items(
        SearchSpec(catalog=str(catalog), collection=collection, **conditions),
        read_area(AreaSpec(bbox=bbox), folder=Path()),
        DateRange(start=first, end=last),
        Path(),
        note=pytest.fail,
    )
    return [
        (item.id, item.datetime, item.properties, {k: a.href for k, a in item.assets.items()})
        for item in items
    ]


# --- the same landslides --------------------------------------------------------------------------


def test_a_run_from_the_database_ends_in_the_bytes_of_one_from_files(
    finished_world, catalogue, tmp_path
):
    earlier = len(catalogue.web.requests)
    world = workflow_for(finished_world, tmp_path, catalogue.url)
    answer = lspipe("run", world.workflow)
    assert answer.returncode == 0, answer.stderr
    assert "blocks 18: done 18, skipped 0, failed 0" in answer.stdout
    assert results(world.run) == results(finished_world.run)
    assert len(catalogue.web.requests) > earlier
    assert files_with(world.run, catalogue.there["PGPASSWORD"]) == []


# --- the same items -------------------------------------------------------------------------------


def test_a_search_follows_the_pages_to_the_last_item(catalogue):
    asked = []
    with flaky(catalogue.url) as counted:
        counted.spoils = lambda method, path, _: asked.append((method, path))
        items = found(counted.url, MANY, page_size=PAGE)
    assert [item[0] for item in items] == [f"{AFTER}_{number:03d}" for number in range(COUNT)]
    assert items == found(catalogue.files[MANY], MANY)
    # Six full pages, one of ten items, and maybe one that ends them.
    assert asked.count(("POST", "/search")) in {7, 8}


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ({"days": ("2018-02-02", "2018-02-02")}, 12),
        ({"days": ("2018-01-01", "2018-01-31")}, 0),
        ({"bbox": (10.0, 46.0, 11.0, 47.0)}, 0),
        ({"query": {"eo:cloud_cover": {"lt": 1}}}, None),
        ({"query": {"eo:cloud_cover": {"gte": 101}}}, 0),
        ({"query": {"platform": {"eq": "sentinel-2a"}}}, None),
        # Not known to this server, which refuses them.
        ({"query": {"platform": {"in": ["sentinel-2b"]}}}, 0),
        ({"query": {"s2:processing_baseline": {"startsWith": "04"}}}, COUNT),
    ],
)
def test_days_area_and_conditions_give_what_they_give_of_files(catalogue, conditions, count):
    items = found(catalogue.url, MANY, **conditions)
    assert items == found(catalogue.files[MANY], MANY, **conditions)
    if count is not None:
        assert len(items) == count


def test_a_server_that_knows_no_conditions_gives_the_same_items(catalogue):
    query = {"platform": {"eq": "sentinel-2b"}}
    with stac_api(catalogue.there, ENABLED_EXTENSIONS="fields,pagination") as url:
        assert found(url, MANY, query=query) == []
        assert len(found(url, MANY, page_size=PAGE)) == COUNT


@pytest.fixture(scope="module")
def real(catalogue, real_data, tmp_path_factory) -> Path:
    """Real items of three archives, of which one is the collection of all three; in a file."""
    read = (
        json.loads(p.read_text(encoding="utf-8")) for p in real_data.glob("stac_items/*/*/*.json")
    )
    items = {
        (item["collection"], item["id"]): item
        for item in read
        if str(item.get("collection")).startswith("sentinel-2")
    }
    load(catalogue.there, {name for name, _ in items}, items.values())
    return write_items(tmp_path_factory.mktemp("real") / "items.ndjson", items.values())


@pytest.mark.parametrize(
    ("collection", "conditions"),
    [
        ("sentinel-2-l2a", {}),
        ("sentinel-2-l2a", {"query": {"eo:cloud_cover": {"lt": 20}}}),
        ("sentinel-2-l2a", {"bbox": (1.0, 40.0, 15.0, 55.0)}),
        ("sentinel-2-l2a", {"days": ("2023-06-01", "2023-06-30")}),
        ("sentinel-2-c1-l2a", {"days": ("2025-07-31", "2025-07-31")}),
        ("sentinel-2-l1c", {"query": {"eo:cloud_cover": {"gt": 10}}}),
    ],
)
def test_real_items_come_out_of_the_database_as_they_went_in(
    catalogue, real, collection, conditions
):
    items = found(catalogue.url, collection, page_size=3, **conditions)
    expected = found(real, collection, **conditions)
    assert [item[:3] for item in items] == [item[:3] for item in expected]
    assert len(items) > 0
    for item, other in zip(items, expected, strict=True):
        # One has an address with a gap to be filled: relative, so each place resolves it its way.
        assert {
            k: href for k, href in item[3].items() if "{{" not in href and "%7B" not in href
        } == {k: href for k, href in other[3].items() if "{{" not in href}


# --- what fails -----------------------------------------------------------------------------------


def test_a_database_that_fails_under_the_server_is_said_without_what_is_secret(
    finished_world, catalogue, tmp_path
):
    secret = "hunter2"  # noqa: S105 of nothing
    world = workflow_for(finished_world, tmp_path, f"{catalogue.url}/?token={secret}")
    execute(catalogue.there, "ALTER SCHEMA pgstac RENAME TO elsewhere")
    try:
        answer = lspipe("plan", world.workflow)
    finally:
        execute(catalogue.there, "ALTER SCHEMA elsewhere RENAME TO pgstac")
    assert answer.returncode == 1, answer.stderr
    assert f"CatalogError: {catalogue.url}" in answer.stderr
    assert "try again later" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.splitlines()) <= 3
    for word in (secret, catalogue.there["PGPASSWORD"]):
        assert word not in told(answer)


def test_a_collection_that_is_not_there_is_said(finished_world, catalogue, tmp_path):
    world = workflow_for(finished_world, tmp_path, catalogue.url)
    answer = lspipe("plan", world.workflow, "--set", "search.collection=sentinel-2-l9z")
    assert answer.returncode == 4, answer.stderr
    assert "sentinel-2-l9z" in answer.stderr
