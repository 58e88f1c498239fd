"""Scenes whose links must be signed, as Planetary Computer's, by its own package."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from tests.services.archive import (
    files_with,
    items_of,
    results,
    served,
    told,
    workflow_for,
    write_items,
)
from tests.services.servers import ROOT, missing, web_server
from tests.services.signing import Signer, signer
from tests.worlds import World, environment, lspipe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIFE = 25
"""Requests: less than a worker asks for while it reads a block or two."""

RETRIES = 3

SHORT_LIVED = RETRIES + 1
"""Signatures that expire. A try of a block fails where one of its reads was refused with one that
it had, and then with a new one: no block can fail as often as it is tried, however the reads of a
worker fall together."""


@pytest.fixture
def signing(finished_world) -> Iterator[Signer]:
    with web_server(finished_world.folder / "scenes") as web, signer(web.url) as made:
        yield made


def signed_world(signing: Signer, archive: World, folder: Path) -> World:
    items = write_items(folder / "items.ndjson", served(items_of(archive), signing.root))
    return workflow_for(archive, folder, items, execution={"block": 80, "retries": RETRIES})


def run(world: World, signing: Signer):
    """Run as a person who installed the package that signs."""
    found = next(ROOT.glob(".venv-signing/lib/python3*/site-packages"), None)
    if found is None:
        missing("no planetary-computer here; `.ci/run` installs it into .venv-signing")
    usual = environment()
    path = os.pathsep.join((usual["PYTHONPATH"], str(found)))
    own = {**usual, **signing.environment, "PYTHONPATH": path}
    return lspipe("run", world.workflow, "--verbose", env=own)


def test_links_that_expire_within_a_block_are_signed_anew(finished_world, signing, tmp_path):
    signing.life, signing.short_lived = LIFE, SHORT_LIVED
    world = signed_world(signing, finished_world, tmp_path)
    answer = run(world, signing)
    assert answer.returncode == 0, answer.stderr
    assert results(world.run) == results(finished_world.run)
    assert signing.expired > 0
    # One for each that expired, and one that holds for each of two workers and for the plan.
    assert len(signing.given) <= SHORT_LIVED + 3
    assert signing.unsigned == 0
    assert files_with(world.run, signing.key) == []
    assert signing.key not in told(answer)


def test_a_signer_that_stops_fails_the_blocks_by_name_and_the_same_command_goes_on(
    finished_world, signing, tmp_path
):
    signing.life, signing.most = LIFE, 3
    world = signed_world(signing, finished_world, tmp_path)
    answer = run(world, signing)
    assert answer.returncode == 3, answer.stderr
    assert signing.refused > 0
    failed = [line for line in answer.stderr.splitlines() if "failed: block" in line]
    assert failed
    for line in failed:
        assert re.search(r"\) of 18GYS: \w+ of S2A_18GYS_\d{8}_0_L2A: ", line), line
        assert "its link cannot be signed: the signer answers HTTP 403" in line
        assert "check your access to this archive and its signing" in line
    assert files_with(world.run, signing.key) == []
    assert signing.key not in told(answer)
    signing.life = signing.most = 1_000_000
    again = run(world, signing)
    assert again.returncode == 0, again.stderr
    assert results(world.run) == results(finished_world.run)
