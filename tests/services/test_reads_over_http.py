"""Scenes over HTTP: by ranges, from a server without ranges, through a proxy that spoils reads."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import geopandas as gpd
import pytest

from tests.services.archive import AFTER, items_of, results, served, workflow_for, write_items
from tests.services.flaky import FAULTS, Flaky, flaky, now_and_then
from tests.services.servers import web_server
from tests.worlds import World, environment, lspipe, make_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 96
BLOCKS = 60
ASSETS = 6

CHUNK = 16 * 1024
"""Bytes that GDAL asks for at least."""

SHARE = 0.05
READS = 1000


@pytest.fixture(scope="module")
def archive(tmp_path_factory, cluster) -> World:
    """An archive whose files are larger than what is read of them at once; its run is finished."""
    world = make_world(
        tmp_path_factory.mktemp("wide"),
        size=(480, 576),
        inference={"window": 64, "stride": 64, "tta": "none"},
        execution={"block": BLOCK, "retries": 0},
        cluster=cluster,
    )
    answer = lspipe("run", world.workflow)
    assert answer.returncode == 0, answer.stderr
    assert f"blocks {BLOCKS}: done {BLOCKS}" in answer.stdout
    return world


def reading_from(root: str, archive: World, folder: Path, **sections) -> World:
    """A workflow whose items are files, and whose scenes are on a server."""
    items = write_items(folder / "items.ndjson", served(items_of(archive), root))
    return workflow_for(archive, folder, items, **sections)


@pytest.fixture
def shaky(archive) -> Iterator[Flaky]:
    with web_server(archive.folder / "scenes") as web, flaky(web.url) as proxy:
        yield proxy


def test_a_block_is_read_by_a_few_ranges_and_no_file_as_a_whole(archive, tmp_path, cluster):
    scenes = archive.folder / "scenes"
    with web_server(scenes) as web:
        world = reading_from(web.url, archive, tmp_path, cluster=cluster)
        answer = lspipe("run", world.workflow)
        asked = web.requests
    assert answer.returncode == 0, answer.stderr
    assert results(world.run) == results(archive.run)
    reads = [request for request in asked if request.method == "GET"]
    assert {request.status for request in reads} == {206}
    sizes = {r.address: (scenes / r.address.lstrip("/")).stat().st_size for r in reads}
    assert len(sizes) == 2 * ASSETS
    large = [r for r in reads if sizes[r.address] > 2 * CHUNK]
    assert large
    assert [r for r in large if r.size >= sizes[r.address]] == []
    # Measured: 5 to 10 per block, by what the two workers read before.
    assert BLOCKS <= len(asked) <= BLOCKS * ASSETS * 4


def test_a_server_without_ranges_fails_with_what_to_do(archive, tmp_path, cluster):
    with web_server(archive.folder / "scenes", ranges=False) as web:
        world = reading_from(web.url, archive, tmp_path, cluster=cluster)
        answer = lspipe("run", world.workflow)
    assert answer.returncode == 3, answer.stderr
    (line, *_) = [line for line in answer.stderr.splitlines() if "failed: block" in line]
    assert "Range downloading not supported" in line
    assert "serve the files by a server that sends parts of them" in line
    assert "Traceback" not in answer.stderr


def test_a_thousand_reads_of_which_many_are_spoilt_end_in_the_same_bytes(archive, shaky, tmp_path):
    luck, reads = now_and_then(SHARE, seed=11), Counter[str]()

    def spoils(method, *what):
        reads[method] += 1
        return luck(method, *what)

    shaky.spoils = spoils
    world = reading_from(shaky.url, archive, tmp_path, execution={"block": BLOCK, "retries": 5})
    # Each read is one of the server, and none of what GDAL keeps of earlier ones.
    uncached = {"CPL_VSIL_CURL_NON_CACHED": f"/vsicurl/{shaky.url}"}
    answer = lspipe("run", world.workflow, env={**environment(), **uncached})
    assert answer.returncode == 0, answer.stderr
    assert results(world.run) == results(archive.run)
    assert set(shaky.spoilt) == set(FAULTS)
    assert reads["GET"] >= READS
    assert shaky.spoilt.total() > READS * SHARE / 2
    assert shaky.served + shaky.spoilt.total() == reads.total()


def test_a_file_that_comes_short_fails_its_blocks_by_name_and_is_read_once_it_is_whole(
    archive, shaky, tmp_path, cluster
):
    short = f"/{AFTER}/B11.tif"
    shaky.spoils = lambda method, path, _: "short" if (method, path) == ("GET", short) else None
    world = reading_from(shaky.url, archive, tmp_path, cluster=cluster)
    answer = lspipe("run", world.workflow)
    assert answer.returncode == 3, answer.stderr
    counts = re.fullmatch(
        rf"blocks {BLOCKS}: done (\d+), skipped 0, failed (\d+)", answer.stdout.splitlines()[-1]
    )
    done, lost = map(int, counts.groups())
    assert done + lost == BLOCKS
    # Where all that a block needs is in what came, it is done, and rightly, as the end shows.
    assert BLOCKS // 4 < lost <= BLOCKS // 2
    failed = [line for line in answer.stderr.splitlines() if "failed: block" in line]
    assert failed
    for line in failed:
        assert f") of 18GYS: swir16 of {AFTER}: " in line
        assert f"{short})" in line
    assert (
        "PARTIAL: the run is" in gpd.read_parquet(world.run / "inventory.parquet").attrs["credit"]
    )
    shaky.spoils = lambda *_: None
    again = lspipe("run", world.workflow)
    assert again.returncode == 0, again.stderr
    assert results(world.run) == results(archive.run)
