"""Whole runs against real servers: items of a STAC API (rustac), COGs over HTTP (nginx)."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import pytest
import yaml

from tests.services.archive import (
    AFTER,
    BEFORE,
    at_hours,
    files_with,
    items_of,
    results,
    served,
    told,
    workflow_for,
    write_items,
)
from tests.services.servers import (
    WebServer,
    address,
    free_port,
    stac_server,
    web_server,
)
from tests.worlds import World, lspipe

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE = "hunter2"

PAGE = 100
"""Items lspipe asks for at once."""


@dataclass(frozen=True)
class Archive:
    """One archive, on disk and on the two servers."""

    world: World
    """Its workflow reads the item folder, and its run is finished."""
    web: WebServer
    catalog: str
    """URL of the STAC API."""


@pytest.fixture(scope="module")
def archive(finished_world) -> Iterator[Archive]:
    world = finished_world
    with web_server(world.folder / "scenes") as web:
        items = write_items(world.folder / "items.ndjson", served(items_of(world), web.url))
        with stac_server(items) as url:
            yield Archive(world, web, url)


# --- the same landslides ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(archive, tmp_path_factory) -> tuple[World, list]:
    """A finished run against servers of which the catalogue is gone by now, and what it asked."""
    folder = tmp_path_factory.mktemp("from-the-api")
    earlier = len(archive.web.requests)
    with stac_server(archive.world.folder / "items.ndjson") as catalog:
        world = workflow_for(archive.world, folder, catalog)
        answer = lspipe("run", world.workflow)
    assert answer.returncode == 0, answer.stderr
    assert "blocks 18: done 18, skipped 0, failed 0" in answer.stdout
    return world, archive.web.requests[earlier:]


def test_servers_give_the_bytes_of_the_item_folder(archive, finished):
    world, _ = finished
    expected = results(archive.world.run)
    assert {name.split("/")[0] for name in expected} >= {
        "detections.zarr",
        "change.zarr",
        "inventory.parquet",
    }
    assert results(world.run) == expected


def test_pixels_are_read_by_ranges_and_nothing_else_is_asked_for(finished):
    _, requests = finished
    assert {request.status for request in requests} <= {200, 206}
    assert any(request.status == 206 for request in requests)
    # HEAD tells the size; a GET without a range would fetch whole scenes.
    assert [r for r in requests if r.method == "GET" and r.byte_range == "-"] == []
    assert [r for r in requests if not r.address.endswith(".tif")] == []


def test_a_finished_run_asks_no_server_again(archive, finished):
    world, _ = finished
    earlier = len(archive.web.requests)
    before = {path: path.stat().st_mtime_ns for path in world.run.rglob("*")}
    answer = lspipe("run", world.workflow)
    assert answer.returncode == 0, answer.stderr
    assert "done 0, skipped 18" in answer.stdout
    assert {path: path.stat().st_mtime_ns for path in world.run.rglob("*")} == before
    assert len(archive.web.requests) == earlier


# --- many items ---------------------------------------------------------------------------------


def test_all_pages_are_read(archive, tmp_path):
    before, after = served(items_of(archive.world), archive.web.url)
    # Two and a half pages: one scene each two hours of three weeks.
    count = PAGE * 5 // 2
    copies = at_hours(after, count)
    items = write_items(tmp_path / "items.ndjson", [before, *copies])
    frozen = {}
    with stac_server(items) as url:
        # The server does cut: lspipe's own question has more than one page.
        assert len(ask(url, limit=PAGE)["features"]) == PAGE
        for name, catalog in {"api": url, "file": str(items)}.items():
            folder = tmp_path / name
            folder.mkdir()
            world = workflow_for(archive.world, folder, catalog, cube={"composite": "latest"})
            answer = lspipe("plan", world.workflow, "--json")
            assert answer.returncode == 0, answer.stderr
            facts = json.loads(answer.stdout)
            features = json.loads((world.run / "items.json").read_text(encoding="utf-8"))
            frozen[name] = [item["id"] for item in features["features"]]
            steps = facts["tiles"][0]["steps"]
            assert [step["items"] for step in steps] == [[BEFORE], [f"{AFTER}_{count - 1:03d}"]]
    assert frozen["api"] == frozen["file"]
    assert len(set(frozen["api"])) == count + 1


def ask(url: str, **body) -> dict:
    request = urllib.request.Request(
        f"{url}/search", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


# --- what fails ---------------------------------------------------------------------------------


def test_a_missing_cog_fails_its_blocks_and_the_same_command_completes_the_run(
    archive, tmp_path, cluster
):
    # The workers live on between the two commands, and GDAL in them has seen the 404.
    world = workflow_for(archive.world, tmp_path, archive.catalog, cluster=cluster)
    path = archive.world.folder / "scenes" / AFTER / "B11.tif"
    hidden = path.rename(tmp_path / "B11.tif")
    try:
        answer = lspipe("run", world.workflow)
    finally:
        hidden.rename(path)
    assert answer.returncode == 3, answer.stderr
    assert f"swir16 of {AFTER}" in answer.stderr
    assert "404" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout.splitlines()[-1] == "blocks 18: done 9, skipped 0, failed 9"
    listed = gpd.read_parquet(world.run / "inventory.parquet")
    assert set(listed["status"]) == {"undetermined"}
    again = lspipe("run", world.workflow)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == "blocks 18: done 9, skipped 9, failed 0"
    assert results(world.run) == results(archive.world.run)


def test_a_cog_that_the_plan_needs_and_is_missing_is_named(archive, tmp_path):
    # Scene classes are read to choose between scenes: two on the later date.
    before, after = served(items_of(archive.world), archive.web.url)
    other = json.loads(json.dumps(after))
    other["id"] = f"{AFTER}_later"
    other["properties"]["datetime"] = "2018-02-20T14:37:51Z"
    other["assets"]["scl"]["href"] += ".gone.tif"
    items = write_items(tmp_path / "items.ndjson", [before, after, other])
    with stac_server(items) as url:
        world = workflow_for(archive.world, tmp_path, url)
        answer = lspipe("run", world.workflow)
    # No block was tried: exit 2, not 3.
    assert answer.returncode == 2, answer.stderr
    assert f"scl of {AFTER}_later" in answer.stderr
    assert "404" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not world.run.exists()


def test_a_catalogue_that_is_down_is_said_without_the_query(archive, tmp_path):
    url = f"http://{address(free_port())}"
    world = workflow_for(archive.world, tmp_path, f"{url}/?token={PRIVATE}")
    answer = lspipe("run", world.workflow)
    assert answer.returncode == 1, answer.stderr
    assert f"CatalogError: {url}" in answer.stderr
    assert "cannot be reached" in answer.stderr
    assert PRIVATE not in told(answer)
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.splitlines()) <= 3, answer.stderr
    assert not world.run.exists()


# --- credentials --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed(archive, tmp_path_factory):
    """A run of which every address is signed, and one cannot be read; and what it printed.

    With `--verbose`, which also shows what the libraries log.
    """
    folder = tmp_path_factory.mktemp("signed")
    query = f"?sig={PRIVATE}"
    items = served(items_of(archive.world), archive.web.url, query)
    after = items[1]
    after["assets"]["swir16"]["href"] = f"{archive.web.url}/{AFTER}/gone.tif{query}"
    after["links"] = [{"rel": "via", "href": f"{archive.web.url}/{AFTER}.json{query}"}]
    with stac_server(write_items(folder / "items.ndjson", items)) as url:
        world = workflow_for(archive.world, folder, f"{url}/?token={PRIVATE}")
        answer = lspipe("run", world.workflow, "--verbose")
    return world, answer


def test_signed_addresses_are_read_and_a_failed_one_is_named(signed):
    _, answer = signed
    assert answer.returncode == 3, answer.stderr
    assert answer.stdout.splitlines()[-1] == "blocks 18: done 9, skipped 0, failed 9"
    assert f"swir16 of {AFTER}" in answer.stderr
    assert "/gone.tif)" in answer.stderr


def test_nothing_of_a_query_is_kept(signed):
    world, _ = signed
    assert (world.run / "items.json").exists()
    assert [files_with(world.run, text) for text in (PRIVATE, "sig=", "token=")] == [[], [], []]


def test_nothing_of_a_query_is_said(signed):
    _, answer = signed
    lines = [line for line in told(answer).splitlines() if PRIVATE in line]
    assert lines == []


def test_a_renewed_token_is_the_same_workflow(signed):
    world, _ = signed
    content = yaml.safe_load(world.workflow.read_text(encoding="utf-8"))
    catalog = content["search"]["catalog"].replace(PRIVATE, "RENEWED")
    answer = lspipe("plan", world.workflow, "--set", f"search.catalog={catalog}", "--json")
    assert answer.returncode == 0, answer.stderr
    (tile,) = json.loads(answer.stdout)["tiles"]
    # Those that failed are to be done again.
    assert (tile["done"], tile["new"], tile["redo"]) == (9, 0, 9)
    assert PRIVATE not in told(answer)
    assert "RENEWED" not in told(answer)
