"""Whole runs in an object store: S3 as moto serves it, on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pandas as pd
import pytest

import lspipe as library
from lspipe.machine import bucket, remote
from lspipe.runs import store
from tests.services.buckets import bucket_of_kind, contents, results, use
from tests.services.flaky import flaky
from tests.worlds import World, change_workflow, command, environment, lspipe, quick_world

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "hunter2-of-the-store"  # noqa: S105 of nothing

EVERY_FORMAT = [
    "geoparquet", "geojson", "gpkg", "kml", "shapefile", "cog", "qgis", "stac", "coolr", "report",
    "sheet",
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with bucket_of_kind("s3", secret=SECRET) as url:
        yield url


@pytest.fixture(scope="module")
def world(tmp_path_factory, server) -> World:
    """An archive, whose run in a folder is finished."""
    del server
    made = quick_world(
        tmp_path_factory.mktemp("archive"), output={"path": "run", "write": EVERY_FORMAT}
    )
    answer = lspipe("run", made.workflow)
    assert answer.returncode == 0, answer.stderr
    return made


@pytest.fixture(scope="module")
def there(world) -> str:
    """The address of the same run in the store."""
    answer = lspipe("run", world.workflow, "--output", "s3://maps/whole")
    assert answer.returncode == 0, answer.stderr
    return "s3://maps/whole"


LIST_ONLY = ("--set", "output.write=[geoparquet]")
"""Where what is written of the list is not the question."""


def has_what_a_folder_has(output: str, world: World) -> bool:
    """Whether all results are those of the run in a folder, which wrote more formats."""
    found, expected = results(output), results(world.run)
    return "inventory.parquet" in found and found.items() <= expected.items()


def start(world: World, output: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("run", world.workflow, "--output", output, *LIST_ONLY),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for_blocks(output: str, count: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = store.layout(remote.place(output), "18GYS")
        if found is not None and found.done.sum() >= count:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError(f"no {count} blocks within two minutes")


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


# --- the same as in a folder ----------------------------------------------------------------------


def test_a_run_in_the_store_has_the_files_and_the_bytes_of_one_in_a_folder(world, there):
    assert set(contents(there)) == set(contents(world.run))
    assert results(there) == results(world.run)
    assert len(results(there)) > 50


def test_its_tables_for_people_are_those_of_a_folder(world, there, tmp_path):
    copy = tmp_path / "inventory.gpkg"
    (remote.place(there) / "inventory.gpkg").download(copy)
    for layer in ("inventory", "unobserved"):
        here, also = (
            gpd.read_file(file, layer=layer) for file in (world.run / "inventory.gpkg", copy)
        )
        pd.testing.assert_frame_equal(here, also)


def test_credentials_are_in_nothing_that_is_written(there):
    held = contents(there)
    assert held
    assert not [name for name, content in held.items() if SECRET.encode() in content]


def test_a_run_that_is_finished_is_not_begun_again(world, there):
    before = {name: fact for name, fact in contents(there).items() if name != ".lock"}
    answer = lspipe("run", world.workflow, "--output", there)
    assert answer.returncode == 0, answer.stderr
    assert {name: fact for name, fact in contents(there).items() if name != ".lock"} == before


# --- verbs ----------------------------------------------------------------------------------------


def test_the_verbs_of_a_run_take_its_address(world, there, tmp_path):
    status = json.loads(lspipe("status", there, "--json").stdout)
    assert (status["state"], status["done"], status["is_running"]) == ("finished", 8, False)
    exported = lspipe("export", there, "--to", "qgis,stac", "--output", tmp_path / "out")
    assert exported.returncode == 0, exported.stderr
    again = lspipe("export", there, "--to", "kml,stac", "--json")
    assert again.returncode == 0, again.stderr
    assert f"{there}/stac/collection.json" in again.stdout
    scored = lspipe("evaluate", there, "--truth", world.run / "inventory.geojson", "--json")
    assert scored.returncode == 0, scored.stderr
    report = lspipe("report", there)
    assert report.returncode == 0, report.stderr
    summed = lspipe("summarize", there, "--grid", "1", "--json")
    assert summed.returncode == 0, summed.stderr
    assert sum(unit["landslides"] for unit in json.loads(summed.stdout)["units"]) == 1


def test_an_open_run_reads_its_maps_and_lists_from_the_store(world, there):
    here, also = library.open_run(world.run), library.open_run(there)
    assert also.inventory.equals(here.inventory)
    assert also["18GYS"]["probability"].equals(here["18GYS"]["probability"])
    assert "s3://maps/whole" in repr(also)


def test_decisions_are_taken_from_the_list_in_the_store_and_from_another_object(there, tmp_path):
    kept = remote.place(there) / "inventory.gpkg"
    file = tmp_path / "inventory.gpkg"
    kept.download(file)
    table = gpd.read_file(file, layer="inventory")
    table["reviewed"] = "true"
    table.to_file(file, layer="inventory", driver="GPKG")
    kept.upload(file)
    answer = lspipe("review", there, "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["taken_in"] == len(table)
    assert set(library.open_run(there).inventory["reviewed"]) == {"true"}
    table.assign(reviewed="false").to_file(file, layer="inventory", driver="GPKG")
    remote.place("s3://maps/mine.gpkg").upload(file)
    answer = lspipe("review", there, "s3://maps/mine.gpkg", "--json")
    assert answer.returncode == 0, answer.stderr
    assert set(library.open_run(there).inventory["reviewed"]) == {"false"}


# --- interruptions --------------------------------------------------------------------------------


def test_a_run_that_is_killed_goes_on_and_ends_in_the_same_bytes(world):
    output = "s3://maps/killed"
    for blocks in (1, 4):
        process = start(world, output)
        wait_for_blocks(output, blocks, process)
        kill(process)
    facts = library.open_run(output)
    assert facts.state == "running"
    answer = lspipe("run", world.workflow, "--output", output, *LIST_ONLY, "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["blocks"]["skipped"] >= 4
    assert has_what_a_folder_has(output, world)


def test_a_second_process_is_refused_while_the_first_one_works(there):
    with store.lock(remote.place(there)):
        second = lspipe("review", there)
        status = json.loads(lspipe("status", there, "--json").stdout)
    assert second.returncode == 2
    assert f"{there}: in use by process {os.getpid()} on " in second.stderr
    assert status["is_running"]
    assert status["holder"].startswith(f"process {os.getpid()} on ")
    assert store.holder(remote.place(there)) is None


def test_a_fresh_start_removes_what_the_run_wrote_and_no_other_object(world):
    output = remote.place("s3://maps/fresh")
    answer = lspipe("run", world.workflow, "--output", output, "--limit", "1")
    assert answer.returncode == 0, answer.stderr
    (output / "layers" / "mine.tif").write_text("a file of a person")
    store.clear(output)
    assert sorted(contents(output)) == [".lock", "layers/mine.tif"]


# --- faults ---------------------------------------------------------------------------------------


@pytest.fixture
def shaky(server, monkeypatch) -> Iterator[Any]:
    with flaky(server) as proxy:
        use(monkeypatch, proxy.url)
        yield proxy
    monkeypatch.undo()
    bucket.bucket_of.cache_clear()


def test_a_server_that_fails_now_and_then_is_asked_again(world, shaky):
    asked = iter(range(1_000_000))
    shaky.refuses = lambda *_: 503 if next(asked) % 10 == 9 else None
    output = "s3://maps/shaky"
    answer = lspipe("run", world.workflow, "--output", output, *LIST_ONLY)
    assert answer.returncode == 0, answer.stderr
    assert len(shaky.refused) > 20
    shaky.refuses = lambda *_: None
    assert has_what_a_folder_has(output, world)


def test_a_block_whose_last_chunk_is_refused_is_not_done_and_said(world, shaky):
    output = "s3://maps/refused"
    shaky.refuses = lambda method, path: (
        403 if method == "PUT" and "/probability/c/0/1/1" in path else None
    )
    answer = lspipe("run", world.workflow, "--output", output, *LIST_ONLY)
    assert answer.returncode == 1, answer.stderr
    assert f"{output}/detections.zarr/18GYS/probability/c/0/1/1: cannot be w" in answer.stderr
    assert SECRET not in answer.stderr + answer.stdout
    found = store.layout(remote.place(output), "18GYS")
    assert not found.done[0].all()
    assert found.done[0, 1, 1] == (found.block > 120)
    shaky.refuses = lambda *_: None
    again = lspipe("run", world.workflow, "--output", output, *LIST_ONLY, "--json")
    assert again.returncode == 0, again.stderr
    assert has_what_a_folder_has(output, world)


def test_a_store_that_takes_no_list_leaves_none_that_looks_complete(world, shaky):
    output = "s3://maps/no-list"
    shaky.refuses = lambda method, path: 403 if method == "PUT" and "inventory" in path else None
    answer = lspipe("run", world.workflow, "--output", output, *LIST_ONLY)
    assert answer.returncode == 1, answer.stderr
    assert "s3://maps/no-list/" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert library.open_run(output).state == "running"
    shaky.refuses = lambda *_: None
    again = lspipe("run", world.workflow, "--output", output, *LIST_ONLY)
    assert again.returncode == 0, again.stderr
    assert has_what_a_folder_has(output, world)


def test_a_store_that_ignores_conditions_is_refused(shaky, world):
    # As stores do that do not know If-None-Match: it is not in the request any more.
    shaky.drops = ("If-Match", "If-None-Match")
    answer = lspipe("plan", world.workflow, "--output", "s3://maps/careless")
    assert answer.returncode == 2
    assert "does not keep to If-None-Match" in answer.stderr


def test_a_bucket_that_is_not_there_is_said_before_anything_is_computed(world):
    answer = lspipe("run", world.workflow, "--output", "s3://nothing/run")
    assert answer.returncode == 2
    assert "s3://nothing/run: cannot be written" in answer.stderr
    assert "NoSuchBucket" in answer.stderr


# --- scenes ---------------------------------------------------------------------------------------


def test_items_and_scenes_in_the_store_give_the_run_of_those_in_a_folder(world, tmp_path):
    archive = remote.place("s3://maps/archive")
    for file in sorted((world.folder / "scenes").rglob("*.tif")):
        (archive / file.relative_to(world.folder).as_posix()).upload(file)
    for file in sorted((world.folder / "items").glob("*.json")):
        item = json.loads(file.read_text(encoding="utf-8"))
        for asset in item["assets"].values():
            asset["href"] = f"../{os.path.relpath(asset['href'], world.folder)}"
        (archive / "items" / file.name).write_text(json.dumps(item))
    copy = World(tmp_path, tmp_path / "workflow.yaml", tmp_path / "run")
    copy.workflow.write_text(world.workflow.read_text(encoding="utf-8"), encoding="utf-8")
    search = {"catalog": "s3://maps/archive/items", "collection": "sentinel-2-c1-l2a"}
    change_workflow(copy, search=search)
    answer = lspipe("run", copy.workflow)
    assert answer.returncode == 0, answer.stderr
    arrays = [name for name in results(world.run) if "/c/" in name]
    assert {name: results(copy.run)[name] for name in arrays} == {
        name: results(world.run)[name] for name in arrays
    }
