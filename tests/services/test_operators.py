"""What an operator meets: workers that differ, fail, vanish or never come, as real processes.

Each case ends with the bytes of an undisturbed run, or with one line that says what is missing.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time

import numpy as np
import pytest

import lspipe
from lspipe.clusters import ClusterSpec
from lspipe.errors import ClusterError
from lspipe.models import read_item
from lspipe.models.statistics import Statistics
from lspipe.runs import hiring
from lspipe.runs.events import Stage
from lspipe.workflow import Workflow
from tests.services.dask_processes import NO_LSPIPE, Processes, edited_copy, events, patched
from tests.services.servers import free_port
from tests.worlds import (
    NEW_SCAR,
    OLD_SCAR,
    add_scene,
    command,
    environment,
    fingerprints,
    ground,
    make_world,
)

CUT = {"block": 80, "retries": 2, "patience": 30}
BLOCKS = 18

BROKEN_DISK = patched(
    "lspipe.runs.store",
    "def write_block(*_, **__): raise OSError(5, 'Input/output error')",
)
SLOW = patched(
    "lspipe.inference.block",
    "original = run_block\n"
    "def run_block(*pixels, **asked):\n"
    "    import time\n"
    "    time.sleep(0.3)\n"
    "    return original(*pixels, **asked)",
)
"""So that a run is in its middle when something is killed, however fast the machine is."""

NEVER_READS = patched(
    "lspipe.cube.loaders.source",
    "def read_numbers(*_, **__):\n"
    "    import time\n"
    "    print('I read', flush=True)\n"
    "    time.sleep(600)",
)

BROKEN_GPU = patched(
    "lspipe.inference.block",
    "def run_block(*_, **__): raise RuntimeError('CUDA error: an illegal memory access')",
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cluster):
    world = make_world(tmp_path_factory.mktemp("whole"), cluster=cluster, execution=CUT)
    assert lspipe.run(world.workflow).done == BLOCKS
    return fingerprints(world.run)


@pytest.fixture
def dask(tmp_path):
    (tmp_path / "dask").mkdir()
    with Processes(tmp_path / "dask") as running:
        yield running


def world_on(dask, folder, **execution):
    return make_world(folder, cluster=dask.cluster, execution={**CUT, **execution})


def left_out(world):
    return {each["worker"].split(" ")[0]: each["reason"] for each in events(world.run, "worker")
            if each["role"] == "left out"}  # fmt: skip


def in_background(world):
    """Start a run in a thread, and return it with a list that gets its outcome."""
    ended = []

    def work():
        try:
            ended.append(lspipe.run(world.workflow))
        except ClusterError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, ended


def until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def blocks_of(world):
    return len(events(world.run, "block"))


def test_workers_with_another_lspipe_or_none_are_left_out_by_name(tmp_path, dask, undisturbed):
    dask.worker("fit")
    until(lambda: "Registered to" in dask.said("fit"))
    dask.worker("edited", code=edited_copy(tmp_path / "edited"))
    dask.worker("bare", startup=NO_LSPIPE)
    world = world_on(dask, tmp_path)
    assert lspipe.run(world.workflow).exit_code == 0
    assert fingerprints(world.run) == undisturbed
    # Those that were still starting as the run ended are not in its log.
    reasons = left_out(world)
    assert reasons.keys() <= {"edited", "bare"}
    assert "has another lspipe" in reasons.get("edited", "has another lspipe")
    assert "has no lspipe" in reasons.get("bare", "has no lspipe")


@pytest.mark.parametrize(
    ("startup", "says"), [(NO_LSPIPE, "has no lspipe; install the same one there")]
)
def test_a_run_is_refused_where_every_worker_differs(tmp_path, dask, startup, says):
    dask.worker("bare", startup=startup)
    until(lambda: "Registered to" in dask.said("bare"))
    with pytest.raises(ClusterError, match=f"no worker can compute: bare .* {says}"):
        lspipe.run(world_on(dask, tmp_path).workflow)


def test_a_strict_run_ends_at_the_first_worker_that_differs(tmp_path, dask):
    dask.worker("fit")
    dask.worker("edited", code=edited_copy(tmp_path / "edited"))
    until(lambda: all("Registered to" in dask.said(name) for name in ("fit", "edited")))
    with pytest.raises(ClusterError, match="worker edited .* has another lspipe"):
        lspipe.run(world_on(dask, tmp_path, strict=True).workflow)


def test_a_scheduler_without_lspipe_is_named(tmp_path):
    (tmp_path / "dask").mkdir()
    with Processes(tmp_path / "dask", startup=NO_LSPIPE) as dask:
        dask.worker("fit")
        with pytest.raises(ClusterError, match="the scheduler has no lspipe"):
            lspipe.run(world_on(dask, tmp_path).workflow)


def test_a_worker_that_sees_another_disk_is_left_out(tmp_path, dask, undisturbed):
    world = world_on(dask, tmp_path)
    world.run.mkdir(parents=True)
    # A machine of its own name, with an empty disk where the run directory is.
    hide = f'hostname elsewhere && mount -t tmpfs none {world.run} && exec "$@"'
    dask.worker("elsewhere", within=["unshare", "-Urmu", "sh", "-c", hide, "sh"])
    dask.worker("fit")
    until(lambda: all("Registered to" in dask.said(name) for name in ("fit", "elsewhere")))
    assert lspipe.run(world.workflow).exit_code == 0
    assert fingerprints(world.run) == undisturbed
    assert "mount the same folder under this path" in left_out(world)["elsewhere"]
    left = [each for each in events(world.run, "worker") if each["role"] == "left out"]
    assert {each["host"] for each in left} == {"elsewhere"}


@pytest.fixture
def many_scenes(tmp_path, dask):
    """A world of two scenes after, of which one has a cloud; its model knows its training."""
    scenes = {"time": "2018-02-20T14:37:51Z", "values": ground(OLD_SCAR), "baseline": "04.00"}
    model = tmp_path / "model" / "item.json"
    model.parent.mkdir()
    model.write_text(json.dumps(trained_on_the_ground()), encoding="utf-8")
    world = make_world(tmp_path, cluster=dask.cluster, execution=CUT, model={"item": str(model)})
    add_scene(tmp_path, clouds=((60, 80, 30),), **scenes)
    return world


def trained_on_the_ground():
    """Return the item of the shipped formula, as if it had been trained on these worlds."""
    rows, columns = np.mgrid[:240, :240] + 0.5
    values = ground(OLD_SCAR, NEW_SCAR)
    images = [np.stack([values(band, rows, columns) for band in ("B02", "B04", "B08", "B11")])]
    document = json.loads(read_item("shipped:bare-ground").path.read_text())
    document["properties"]["lspipe:statistics"] = Statistics.of(images).as_json()
    return document


def test_workers_choose_scenes_of_many_tiles_and_look_at_them(monkeypatch, dask, many_scenes):
    dask.worker("fit")
    monkeypatch.setattr(hiring, "FEW_TILES", 0)

    def forbidden(*_, **__):
        raise AssertionError("this process reads pixels")

    monkeypatch.setattr("lspipe.cube.loaders.odc._Reader.read", forbidden)
    told = []
    assert lspipe.run(many_scenes.workflow, report=told.append).exit_code == 0
    assert [each for each in told if isinstance(each, Stage) and "on the cluster" in each.text]
    looks = events(many_scenes.run, "look")
    assert looks
    assert all(each["pixels"] for each in looks)
    (tile,) = json.loads((many_scenes.run / "run.json").read_text())["tiles"].values()
    after = [each for each in tile["candidates"] if each["role"] == "after"]
    assert [each["chosen"] for each in after] == [True, False]
    assert after[0]["masked_share"] == 0 < after[1]["masked_share"]


def test_workers_that_vanish_while_scenes_are_chosen_are_said(monkeypatch, dask, many_scenes):
    monkeypatch.setattr(hiring, "FEW_TILES", 0)
    dask.worker("slow", startup=NEVER_READS)
    until(lambda: "Registered to" in dask.said("slow"))
    given = ("execution.patience=2",)
    workflow = Workflow.from_file(many_scenes.workflow, overrides=given)

    def kill_as_it_reads():
        until(lambda: "I read" in dask.said("slow"))
        dask.kill("slow")

    threading.Thread(target=kill_as_it_reads).start()
    with pytest.raises(ClusterError, match=r"no worker is connected.*waited 2 s"):
        lspipe.run(workflow)
    assert not (many_scenes.run / "run.json").exists()


def test_a_worker_without_the_slot_that_comes_first_only_reads(tmp_path, dask, undisturbed):
    dask.worker("reader", slot=False)
    dask.worker("fit")
    until(lambda: all("Registered to" in dask.said(name) for name in ("fit", "reader")))
    world = world_on(dask, tmp_path)
    assert lspipe.run(world.workflow).exit_code == 0
    roles = {each["worker"].split(" ")[0]: each["role"] for each in events(world.run, "worker")}
    assert roles == {"reader": "reads", "fit": "computes"}
    assert fingerprints(world.run) == undisturbed


def test_a_cluster_without_workers_says_so_and_ends(tmp_path, dask):
    world = world_on(dask, tmp_path, patience=2)
    with pytest.raises(
        ClusterError, match=r"no worker is connected.*waited 2 s .execution.patience"
    ):
        lspipe.run(world.workflow)
    assert [each["reason"] for each in events(world.run, "waiting")]


def test_a_worker_that_comes_late_does_the_run(tmp_path, dask, undisturbed):
    world = world_on(dask, tmp_path, patience=60)
    thread, ended = in_background(world)
    until(lambda: (world.run / "log.jsonl").exists() and events(world.run, "waiting"))
    dask.worker("late")
    thread.join(timeout=120)
    assert ended[0].done == BLOCKS
    assert fingerprints(world.run) == undisturbed


def test_all_workers_killed_is_said_and_the_same_command_goes_on(tmp_path, dask, undisturbed):
    dask.worker("only", startup=SLOW)
    world = world_on(dask, tmp_path, patience=2)
    thread, ended = in_background(world)
    until(lambda: (world.run / "log.jsonl").exists() and blocks_of(world) >= 3)
    dask.kill("only")
    thread.join(timeout=60)
    assert "no worker is connected" in str(ended[0])
    dask.worker("another")
    assert lspipe.run(world.workflow).skipped >= 3
    assert fingerprints(world.run) == undisturbed


def test_a_killed_scheduler_is_said_and_the_same_command_goes_on(tmp_path, dask, undisturbed):
    dask.worker("one", startup=SLOW)
    world = world_on(dask, tmp_path)
    thread, ended = in_background(world)
    until(lambda: (world.run / "log.jsonl").exists() and blocks_of(world) >= 2)
    dask.kill("scheduler")
    thread.join(timeout=90)
    assert "the cluster went away; the same command resumes the run" in str(ended[0])
    (tmp_path / "second").mkdir()
    with Processes(tmp_path / "second") as other:
        other.worker("one")
        asked = ClusterSpec(**other.cluster)
        workflow = Workflow.from_file(world.workflow).model_copy(update={"cluster": asked})
        assert lspipe.run(workflow).skipped >= 2
    assert fingerprints(world.run) == undisturbed


@pytest.mark.parametrize(
    ("startup", "says"),
    [(BROKEN_DISK, "blocks that others did"), (BROKEN_GPU, "CUDA error")],
    ids=["disk", "gpu"],
)
def test_a_worker_that_fails_fast_is_retired_and_spoils_nothing(
    tmp_path, dask, undisturbed, startup, says
):
    dask.worker("broken", startup=startup)
    dask.worker("fit")
    until(lambda: all("Registered to" in dask.said(name) for name in ("fit", "broken")))
    world = world_on(dask, tmp_path)
    assert lspipe.run(world.workflow).exit_code == 0
    assert fingerprints(world.run) == undisturbed
    (left,) = events(world.run, "retired")
    assert left["worker"].startswith("broken ")
    assert says in left["reason"]


def test_a_disk_that_is_full_for_all_stops_the_run_early(tmp_path, dask):
    full = "def write_block(*_, **__): raise OSError(28, 'No space left on device')"
    for name in ("one", "two"):
        dask.worker(name, startup=patched("lspipe.runs.store", full))
    until(lambda: all("Registered to" in dask.said(name) for name in ("one", "two")))
    summary = lspipe.run(world_on(dask, tmp_path, retries=0).workflow)
    assert (summary.done, summary.exit_code) == (0, 3)
    assert 6 <= len(summary.failures) < BLOCKS
    assert "blocks in a row failed alike" in summary.warnings[0]


HAS_BF16 = patched(
    "lspipe.inference.runtimes.devices",
    "import torch\n"
    "def resolve_precision(asked, device): return 'bf16' if asked == 'auto' else asked",
)


def test_a_worker_decides_what_the_run_computes_on_and_not_the_client(tmp_path, dask):
    dask.worker("unlike the client", startup=HAS_BF16)
    world = world_on(dask, tmp_path)
    plan = lspipe.plan(world.workflow)
    assert not plan.is_settled
    assert lspipe.run(world.workflow).done == BLOCKS
    record = json.loads((world.run / "run.json").read_text(encoding="utf-8"))
    assert record["settled"]
    assert record["detection_inputs"]["inference"]["precision"] == "bf16"
    # The same numbers as where it is asked for.
    asked = make_world(
        tmp_path / "asked", execution=CUT, inference={"precision": "bf16"}, cluster=dask.cluster
    )
    lspipe.run(asked.workflow)
    one, two = (
        {name: value for name, value in fingerprints(run).items() if "/c/" in name}
        for run in (world.run, asked.run)
    )
    assert one == two
    # What is settled stays, whatever the next worker would decide.
    dask.kill("unlike the client")
    dask.worker("plain")
    assert lspipe.run(world.workflow).skipped == BLOCKS


NANNY = ("--nanny",)

POISON = patched(
    "lspipe.inference.block",
    "original = run_block\n"
    "def run_block(*pixels, core, **asked):\n"
    "    import os, signal\n"
    "    if core[0].start == 80 and core[1].start == 80: os.kill(os.getpid(), signal.SIGKILL)\n"
    "    return original(*pixels, core=core, **asked)",
)


def test_a_block_that_kills_its_workers_fails_alone(tmp_path, dask):
    dask.worker("one", startup=POISON, options=NANNY)
    world = world_on(dask, tmp_path, patience=60)
    summary = lspipe.run(world.workflow)
    # On each date.
    assert (summary.done, len(summary.failures), summary.exit_code) == (BLOCKS - 2, 2, 3)
    assert all("its worker died repeatedly" in each for each in summary.failures)


def test_a_worker_with_too_little_memory_is_said(tmp_path, dask):
    dask.worker("small", options=(*NANNY, "--memory-limit", "300MB"))
    world = world_on(dask, tmp_path, patience=20)
    with pytest.raises(ClusterError, match="no worker .*memory"):
        lspipe.run(world.workflow)


def test_a_worker_that_comes_back_at_the_same_address_computes_again(tmp_path, dask, undisturbed):
    # As in containers, whose ports are fixed.
    options = ("--no-nanny", "--worker-port", str(free_port()))
    dask.worker("one", options=options, startup=SLOW)
    world = world_on(dask, tmp_path, patience=60)
    thread, ended = in_background(world)
    until(lambda: (world.run / "log.jsonl").exists() and blocks_of(world) >= 2)
    dask.kill("one")
    dask.worker("one again", options=options)
    thread.join(timeout=90)
    assert ended[0].exit_code == 0
    assert fingerprints(world.run) == undisturbed


def test_one_of_two_workers_that_is_killed_changes_no_byte(tmp_path, dask, undisturbed):
    dask.worker("one", startup=SLOW)
    dask.worker("two", startup=SLOW)
    world = world_on(dask, tmp_path)
    thread, ended = in_background(world)
    until(lambda: (world.run / "log.jsonl").exists() and blocks_of(world) >= 3)
    dask.kill("one")
    thread.join(timeout=90)
    assert ended[0].exit_code == 0
    assert fingerprints(world.run) == undisturbed


def test_sigterm_ends_a_run_in_order(tmp_path, dask, undisturbed):
    dask.worker("one", startup=SLOW)
    world = world_on(dask, tmp_path)
    with subprocess.Popen(
        command("run", world.workflow), stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        until(lambda: (world.run / "log.jsonl").exists() and blocks_of(world) >= 2)
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "the same command continues" in told
    assert json.loads((world.run / "run.json").read_text())["state"] == "interrupted"
    assert lspipe.run(world.workflow).exit_code == 0
    assert fingerprints(world.run) == undisturbed


def test_a_client_that_is_killed_leaves_a_cluster_that_others_can_use(tmp_path, dask, undisturbed):
    dask.worker("one", startup=SLOW)
    world = world_on(dask, tmp_path)
    with subprocess.Popen(
        command("run", world.workflow), stderr=subprocess.DEVNULL, env=environment()
    ) as process:
        until(lambda: (world.run / "log.jsonl").exists() and blocks_of(world) >= 2)
        # One that joins now is held by the run that is about to be gone.
        dask.worker("two")
        until(lambda: "Registered to" in dask.said("two"))
        process.kill()
    assert lspipe.run(world.workflow).skipped >= 2
    assert fingerprints(world.run) == undisturbed
