"""A run whose workers are jobs of a real SLURM: the same bytes, whoever is cancelled meanwhile."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.services.slurm import said, slurm
from tests.worlds import change_workflow, command, environment, fingerprints, lspipe, make_world

CLUSTER = {
    "kind": "slurm",
    "workers": 2,
    "queue": "main",
    "cores": 1,
    "gpus": 1,
    "memory_per_worker": "2GiB",
    "walltime": "00:20:00",
    "interface": "lo",
}

# Nine blocks on each date: some are done and some are not when a job is cancelled.
CUT = {"block": 80, "retries": 3}


@pytest.fixture(scope="module", autouse=True)
def _node(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # Certificates and what jobs print.
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        with slurm(tmp_path_factory.mktemp("slurm")):
            yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A world, and what a run on this machine makes of it."""
    made = make_world(
        tmp_path_factory.mktemp("world"), execution=CUT, cluster={"kind": "local", "workers": 1}
    )
    told = lspipe("run", made.workflow)
    assert told.returncode == 0, told.stderr
    change_workflow(made, cluster=CLUSTER)
    return made


@pytest.fixture(scope="module")
def expected(world):
    return fingerprints(world.run)


def jobs():
    """Numbers of the jobs that wait or run."""
    return said("squeue", "--noheader", "--name=lspipe", "--format=%i").split()


def start(world, output):
    return subprocess.Popen(
        command("run", world.workflow, "--output", output),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )


def wait_until(is_so, process, *, seconds=90):
    until = time.monotonic() + seconds
    while not is_so():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, printed()
        time.sleep(0.05)


def printed():
    """What the jobs printed, for a test that fails."""
    return "\n".join(path.read_text() for path in Path.home().glob(".lspipe/slurm/*.err"))


def workers():
    """Processes of workers on this machine; what they listen on."""
    found = [
        p for p in psutil.process_iter(["cmdline"]) if "--tls-key" in (p.info["cmdline"] or [])
    ]
    return {
        connection.laddr.ip
        for worker in found
        for process in (worker, *worker.children(recursive=True))
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


def blocks_done(output):
    log = output / "log.jsonl"
    return log.read_text(encoding="utf-8").count('"event": "block"') if log.exists() else 0


def test_a_job_that_is_cancelled_half_way_changes_nothing(world, expected, tmp_path):
    output = tmp_path / "run"
    process = start(world, output)
    wait_until(lambda: blocks_done(output) >= 1, process)
    assert workers() == {"127.0.0.1"}
    before = jobs()
    assert len(before) == 2
    said("scancel", before[0])
    assert blocks_done(output) < 18
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told + printed()
    assert "failed 0" in told
    assert fingerprints(output) == expected
    # It stops what it started.
    until = time.monotonic() + 15
    while jobs() and time.monotonic() < until:
        time.sleep(0.2)
    assert jobs() == []
    assert list(Path.home().rglob("*key*")) == []


def test_a_partition_that_is_not_there_is_told_and_nothing_is_left(world, tmp_path):
    change_workflow(world, cluster={**CLUSTER, "queue": "nowhere"})
    told = lspipe("run", world.workflow, "--output", tmp_path / "run")
    change_workflow(world, cluster=CLUSTER)
    assert told.returncode == 2
    assert "SLURM refuses the job: invalid partition specified: nowhere" in told.stderr
    assert jobs() == []
