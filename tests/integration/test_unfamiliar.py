"""Runs of a model that says what it was trained on, over a scene with an offset left in it."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pytest

import lspipe
from lspipe.cli import main
from lspipe.models import read_item
from lspipe.models.statistics import Statistics
from lspipe.runs import store
from lspipe.workflow import Workflow
from tests.stored import IN_THIS_PROCESS
from tests.worlds import NEW_SCAR, OLD_SCAR, fingerprints, ground, make_world

BANDS = ("B02", "B04", "B08", "B11")
SOUND = ground(OLD_SCAR, NEW_SCAR)


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """Blocks are computed in this process: nothing here is about workers."""
    return IN_THIS_PROCESS


def raised(band, rows, columns):
    return SOUND(band, rows, columns) + 0.1


@pytest.fixture
def item(tmp_path):
    """The shipped formula, as if it had been trained on this world."""
    rows, columns = np.mgrid[:240, :240] + 0.5
    images = [np.stack([SOUND(band, rows, columns) for band in BANDS])]
    document = json.loads(read_item("shipped:bare-ground").path.read_text())
    document["properties"]["lspipe:statistics"] = Statistics.of(images).as_json()
    path = tmp_path / "item.json"
    path.write_text(json.dumps(document))
    return path


def world_of(folder, item, cluster):
    return make_world(
        folder,
        # The baseline says that nothing was added.
        after={"values": raised, "baseline": "02.06"},
        model={"item": str(item)},
        inference={"window": 32, "stride": 32, "tta": "none"},
        cluster=cluster,
        execution={"block": 120, "retries": 0},
    )


def test_a_refused_run_leaves_nothing_that_looks_done(tmp_path, item, cluster, capsys):
    world = world_of(tmp_path / "world", item, cluster)
    assert main(["run", str(world.workflow)]) == 2
    refusal = capsys.readouterr().err
    assert "UsageError: 18GYS after (2018-01-20) is not like what" in refusal
    left = {path.name for path in world.run.iterdir()}
    assert left <= {"run.json", "items.json", "log.jsonl", ".lock"}
    assert store.read_json(world.run / "run.json")["state"] == "planned"

    # The command of the message, as it stands there, names the mistake, on its date alone.
    program, *words = shlex.split(re.search("hint: `(.*?)`", refusal)[1])
    assert program == "lspipe"
    assert main([*words, "--json"]) == 2
    before, after = json.loads(capsys.readouterr().out)["data"]
    assert before["folder"] == f"{world.run}: 18GYS before (2017-01-15)"
    assert before["slips"] == []
    assert after["folder"] == f"{world.run}: 18GYS after (2018-01-20)"
    assert after["slips"] == [
        "the optical channels lie 0.10 of reflectance above training: the offset of 2022 "
        "(processing baseline 04.00) was not subtracted"
    ]
    assert {path.name for path in world.run.iterdir()} == left


def test_a_warned_run_gives_the_same_bytes_and_says_what_is_unlike(tmp_path, item, cluster, capsys):
    plain = world_of(tmp_path / "plain", "shipped:bare-ground", cluster)
    assert lspipe.run(Workflow.from_file(plain.workflow)).warnings == ()
    assert store.read_json(plain.run / "run.json")["inputs"] == {}

    world = world_of(tmp_path / "warned", item, cluster)
    assert main(["run", str(world.workflow), "--set", "inference.unfamiliar=warn"]) == 0
    said = capsys.readouterr().out
    assert "warning        18GYS after: B02 100% of pixels outside of what the model was" in said
    assert "18GYS before" not in said
    assert fingerprints(world.run) == fingerprints(plain.run)
    before, after = store.read_json(world.run / "run.json")["inputs"]["18GYS"]
    assert (before["role"], after["role"]) == ("before", "after")
    # Every eighth row and column of 240, of four blocks.
    assert before["pixels"] == after["pixels"] == 30**2
    assert all(abs(channel["distance"]) < 0.2 for channel in before["channels"].values())
    assert all(channel["distance"] > 1 for channel in after["channels"].values())

    # A finished run computes nothing and forgets nothing, and there is nothing left to refuse.
    again = lspipe.run(Workflow.from_file(world.workflow))
    assert again.done == 0
    assert again.warnings[0].startswith("18GYS after: B02 100%")
