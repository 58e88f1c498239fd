"""Runs in the object stores of Google and Azure: as in a folder, and as in S3.

What all kinds share is tested with S3, by processes that are killed and a server that fails
(`test_object_store.py`); here is what each kind does in its own way. Blocks are computed in this
process.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lspipe as library
from lspipe.cli import main
from lspipe.errors import StoreError
from lspipe.machine import remote
from lspipe.runs import store
from lspipe.runs.store import locks
from lspipe.samples.chips import chips
from lspipe.samples.decisions import reviewed
from tests.services.buckets import bucket_of_kind, contents, digests, results
from tests.stored import IN_THIS_PROCESS
from tests.worlds import World, change_workflow, quick_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITTEN = ["geoparquet", "gpkg", "cog", "report"]


@pytest.fixture(scope="module", params=["gs", "az"])
def root(request) -> Iterator[str]:
    """The address of a bucket."""
    with bucket_of_kind(request.param):
        yield f"{request.param}://maps"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """An archive, whose run in a folder is finished."""
    made = quick_world(
        tmp_path_factory.mktemp("archive"),
        output={"path": "run", "write": WRITTEN},
        cluster=IN_THIS_PROCESS,
    )
    assert main(["run", str(made.workflow)]) == 0
    return made


@pytest.fixture(scope="module")
def earlier(world, tmp_path_factory) -> Path:
    """The finished run of the date before, in a folder."""
    folder = tmp_path_factory.mktemp("earlier")
    copy = World(world.folder, world.folder / "earlier.yaml", folder / "run")
    copy.workflow.write_text(world.workflow.read_text(encoding="utf-8"), encoding="utf-8")
    change_workflow(copy, dates={"after": {"start": "2017-01-01", "end": "2017-03-31"}})
    assert main(["run", str(copy.workflow), "--output", str(copy.run)]) == 0
    return copy.run


@pytest.fixture(scope="module")
def there(root, world) -> str:
    """The address of the same run in the store, which was begun and then gone on with."""
    address = f"{root}/runs/whole"
    assert main(["run", str(world.workflow), "--output", address, "--limit", "1"]) == 0
    assert library.open_run(address).record["counts"]["done"] == 2
    assert main(["run", str(world.workflow), "--output", address]) == 0
    return address


@pytest.fixture(scope="module")
def decided(world, root, tmp_path_factory) -> str:
    """The address of a list in which a person said yes to every object."""
    file = tmp_path_factory.mktemp("decided") / "mine.geojson"
    library.open_run(world.run).inventory.assign(reviewed="true").to_file(file, driver="GeoJSON")
    remote.place(f"{root}/mine.geojson").upload(file)
    return f"{root}/mine.geojson"


def test_a_run_in_the_store_goes_on_and_has_the_bytes_of_one_in_a_folder(world, there):
    found, expected = contents(there), contents(world.run)
    assert set(found) == set(expected)
    assert digests(found) == digests(expected)
    assert len(digests(found)) > 50


def test_an_open_run_and_the_verbs_read_what_is_there(world, there, decided, capsys):
    here, also = library.open_run(world.run), library.open_run(there)
    assert also["18GYS"]["probability"].equals(here["18GYS"]["probability"])
    capsys.readouterr()
    assert main(["status", there, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["state"], status["done"], status["is_running"]) == ("finished", 8, False)
    assert main(["export", there, "--to", "geojson"]) == 0
    assert (remote.place(there) / "inventory.geojson").is_file()
    assert main(["review", there, decided]) == 0
    assert set(library.open_run(there).inventory["reviewed"]) == {"true"}


def test_a_run_there_is_compared_with_another(world, earlier, there, root, tmp_path):
    more = ("--set", "output.write=[geoparquet]")
    for run, output in ((world.run, tmp_path / "compared"), (there, f"{root}/compared")):
        assert main(["change", str(earlier), str(run), "--output", str(output), *more]) == 0
    assert results(f"{root}/compared") == results(tmp_path / "compared")


def test_a_run_there_is_learnt_from(world, there, decided):
    known = library.open_run(world.run).inventory
    here, also = (chips(run, known, window=32) for run in (world.run, there))
    assert also.names == here.names
    for mine, theirs in zip(here, also, strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])
    assert reviewed(there, decided).right == len(known)


def test_one_process_at_a_time_has_the_directory(there, monkeypatch):
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_BEATS", 0.2)
    run = remote.place(there)
    with store.lock(run):
        assert store.holder(run).process == os.getpid()
        message = f"{there}: in use by process {os.getpid()} on "
        with pytest.raises(StoreError, match=message), store.lock(run):
            pass
    assert store.holder(run) is None


def test_a_bucket_that_is_not_there_is_said_before_anything_is_computed(root, world, capsys):
    gone = root.replace("maps", "nothing")
    assert main(["run", str(world.workflow), "--output", f"{gone}/run"]) == 2
    assert f"{gone}/run: cannot be written" in capsys.readouterr().err


def test_items_and_scenes_in_the_store_give_the_maps_of_those_in_a_folder(root, world, tmp_path):
    archive = remote.place(f"{root}/archive")
    for file in sorted((world.folder / "scenes").rglob("*.tif")):
        (archive / file.relative_to(world.folder).as_posix()).upload(file)
    for file in sorted((world.folder / "items").glob("*.json")):
        text = file.read_text(encoding="utf-8").replace(str(world.folder), str(archive))
        (archive / "items" / file.name).write_text(text)
    copy = World(tmp_path, tmp_path / "workflow.yaml", tmp_path / "run")
    copy.workflow.write_text(world.workflow.read_text(encoding="utf-8"), encoding="utf-8")
    search = {"catalog": f"{archive}/items", "collection": "sentinel-2-c1-l2a"}
    change_workflow(copy, search=search, output={"path": "run", "write": ["geoparquet"]})
    assert main(["run", str(copy.workflow), "--limit", "1"]) == 0
    found, expected = results(copy.run), results(world.run)
    maps = [name for name in found if name.startswith(("detections", "evidence")) and "/c/" in name]
    assert len(maps) > 10
    assert {name: found[name] for name in maps} == {name: expected[name] for name in maps}
