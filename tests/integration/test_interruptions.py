"""Kills and interruptions: a run that was stopped anywhere ends in the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from lspipe.cli import main
from tests.worlds import command, environment, fingerprints, make_world

LOCAL = {"kind": "local", "workers": 2}

# Where what is tested does not need a second one: to start it takes as long as all of the blocks.
ALONE = {"kind": "local", "workers": 1}

# Enough blocks that a kill at a random moment nearly always falls between two of them.
CUT = {"block": 80, "retries": 0}

# The same command, whose workers import nothing anew.
FORKING = """
import sys
from lspipe.cli import main
from tests.forking import forking
with forking():
    sys.exit(main(sys.argv[1:]))
"""


def start(world, *, forks=False):
    """Start a run as the leader of its own process group, as a terminal or a scheduler does."""
    words = command("run", world.workflow)
    return subprocess.Popen(
        [sys.executable, "-c", FORKING, *words[-2:]] if forks else words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def wait_for_blocks(world, count, process, timeout=120):
    """Wait until a run has logged some blocks, or has ended."""
    log = world.run / "log.jsonl"
    until = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < until:
        if log.exists() and log.read_text(encoding="utf-8").count('"event": "block"') >= count:
            return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cluster):
    world = make_world(tmp_path_factory.mktemp("whole"), cluster=cluster, execution=CUT)
    assert main(["run", str(world.workflow)]) == 0
    return fingerprints(world.run)


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.timeout(600)
def test_three_kills_of_the_process_group_end_in_the_same_bytes(tmp_path, uninterrupted, capsys):
    world = make_world(tmp_path, cluster=LOCAL, execution=CUT)
    moment = random.Random(20240101)
    for kill in range(3):
        process = start(world, forks=True)
        wait_for_blocks(world, 1 + kill * 4, process)
        time.sleep(moment.uniform(0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    # In this process, as nothing is killed any more.
    assert main(["run", str(world.workflow)]) == 0
    said = capsys.readouterr().out
    # What was done before the kills was not done again.
    assert "skipped " in said
    assert "skipped 0," not in said
    assert fingerprints(world.run) == uninterrupted


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.timeout(300)
def test_a_killed_run_of_pairs_ends_in_the_same_bytes(tmp_path, cluster):
    pair = {"execution": CUT, "model": {"item": "shipped:bare-change"}}
    whole = make_world(tmp_path / "whole", cluster=cluster, **pair)
    assert main(["run", str(whole.workflow)]) == 0
    world = make_world(tmp_path / "killed", cluster=ALONE, **pair)
    process = start(world, forks=True)
    # After the last block of the date before, so among those of the pair.
    wait_for_blocks(world, 11, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert main(["run", str(world.workflow)]) == 0
    assert fingerprints(world.run) == fingerprints(whole.run)


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.timeout(300)
def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(tmp_path, uninterrupted):
    world = make_world(tmp_path, cluster=ALONE, execution=CUT)
    process = start(world)
    wait_for_blocks(world, 3, process)
    # A terminal sends the signal to the whole foreground group, workers included.
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "the same command continues" in told
    assert "Traceback" not in told
    # In this process, as nothing is interrupted any more.
    assert main(["run", str(world.workflow)]) == 0
    assert fingerprints(world.run) == uninterrupted


INTERRUPTED_WHILE_ASKING = """
import os, signal, sys, threading, time
from lspipe.cli import main

# Before dask is imported, as only then what is said of its messages counts.
assert main(["validate", sys.argv[1]]) == 0
from lspipe.runs.crew import Crew

connected = Crew._connected

def interrupted_meanwhile(crew):
    crew._client.loop.add_callback(time.sleep, 1)
    time.sleep(0.1)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    return connected(crew)

Crew._connected = interrupted_meanwhile
sys.exit(main(["run", sys.argv[1]]))
"""


@pytest.mark.timeout(120)
def test_ctrl_c_before_a_busy_loop_asks_the_scheduler_leaves_no_traceback(tmp_path):
    world = make_world(tmp_path, cluster=ALONE, execution=CUT)
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_ASKING, str(world.workflow)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=100,
    )
    assert process.returncode == 130, process.stderr
    assert "the same command continues" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_is_replaced_and_the_run_goes_on(tmp_path, uninterrupted):
    # Alone, so that the run goes on only if another takes its place.
    world = make_world(tmp_path, cluster=ALONE, execution={**CUT, "retries": 3})
    process = start(world)
    wait_for_blocks(world, 3, process)
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,pgid=,args="], capture_output=True, text=True, check=True
    ).stdout
    processes = [line.split(maxsplit=2) for line in listed.splitlines()]
    workers = [
        int(pid)
        for pid, group, arguments in processes
        if int(group) == process.pid and "spawn_main" in arguments
    ]
    os.kill(workers[0], signal.SIGKILL)
    # What a kill in the middle of a write leaves.
    next((world.run / "evidence.zarr").glob("*/ndvi")).joinpath("0.ab12.partial").touch()
    _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told
    assert fingerprints(world.run) == uninterrupted
