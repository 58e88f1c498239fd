"""Runs on a real SLURM, by the scripts of deploy/slurm: the same bytes, whoever is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.services.servers import ROOT
from tests.services.slurm import said, slurm
from tests.worlds import (
    change_workflow,
    command,
    environment,
    fingerprints,
    lspipe,
    make_world,
)

SCRIPTS = ROOT / "deploy" / "slurm"

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


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the programs of a Python environment, as the scripts expect one."""
    folder = tmp_path_factory.mktemp("environment")
    (folder / "bin").mkdir()
    for name, module in (("lspipe", "lspipe.cli"), ("dask", "dask")):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return folder


def submit(script, installed, workflow, output, *options):
    """Submit a script of deploy/slurm, with less than it asks for; returns its number."""
    told = subprocess.run(
        ["sbatch", "--parsable", "--cpus-per-task=1", "--mem=2G", "--gres=none",
         f"--output={output}.txt", *options, SCRIPTS / script, installed, workflow,
         "--output", output],
        capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def wait_until(is_so, output, *, seconds=120):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, printed(output)
        time.sleep(0.1)


def is_over(job):
    return lambda: not said("squeue", "--noheader", f"--jobs={job}").strip()


def printed(output):
    """What the jobs printed, for a test that fails."""
    files = [output.with_name(f"{output.name}.txt"), *Path.home().glob(".lspipe/slurm/*.err")]
    return "\n".join(path.read_text() for path in files if path.exists())


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


def test_a_workers_job_that_is_cancelled_half_way_changes_nothing(
    world, expected, installed, tmp_path
):
    output = tmp_path / "run"
    client = submit("client.sbatch", installed, world.workflow, output)
    wait_until(lambda: blocks_done(output) >= 1, output)
    assert workers() == {"127.0.0.1"}
    before = jobs()
    assert len(before) == 2
    said("scancel", before[0])
    assert blocks_done(output) < 18
    wait_until(is_over(client), output)
    assert "blocks 18: done 18, skipped 0, failed 0" in printed(output)
    assert fingerprints(output) == expected
    # It stops what it started.
    wait_until(lambda: not jobs(), output, seconds=15)
    assert list(Path.home().rglob("*key*")) == []


def test_a_client_that_is_killed_leaves_no_job(world, installed, tmp_path):
    output = tmp_path / "run"
    client = submit("client.sbatch", installed, world.workflow, output)
    wait_until(lambda: blocks_done(output) >= 1, output)
    said("scancel", "--signal=KILL", "--full", client)
    wait_until(lambda: not jobs(), output, seconds=60)


def test_an_array_whose_task_is_queued_again_ends_in_the_same_bytes(
    world, expected, installed, tmp_path
):
    output = tmp_path / "run"
    array = submit("array.sbatch", installed, world.workflow, output, "--array=0-2")
    wait_until(lambda: blocks_done(output) >= 1, output)
    place = world.workflow.parent / f".cluster-{array}"
    assert [path.stat().st_mode & 0o77 for path in (place, *place.glob("*.pem"))] == [0, 0, 0]
    said("scontrol", "requeue", f"{array}_1")
    wait_until(is_over(f"{array}_0,{array}_2"), output)
    # It waits some minutes to be queued again, beside the tests to come.
    said("scancel", array)
    assert "blocks 18: done 18, skipped 0, failed 0" in printed(output)
    assert fingerprints(output) == expected
    assert sorted(path.name for path in place.iterdir()) == ["done", "openssl.log"]


@pytest.mark.parametrize("script", ["client.sbatch", "array.sbatch"])
def test_slurm_takes_the_scripts_as_they_are(script):
    told = subprocess.run(
        ["sbatch", "--test-only", SCRIPTS / script, "env", "my.yaml"],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr


def test_a_partition_that_is_not_there_is_told_and_nothing_is_left(world, tmp_path):
    change_workflow(world, cluster={**CLUSTER, "queue": "nowhere"})
    told = lspipe("run", world.workflow, "--output", tmp_path / "run")
    change_workflow(world, cluster=CLUSTER)
    assert told.returncode == 2
    assert "SLURM refuses the job: invalid partition specified: nowhere" in told.stderr
    assert jobs() == []


def test_jobs_that_are_gone_and_not_started_again_end_the_run_with_a_line(
    world, expected, tmp_path
):
    output = tmp_path / "run"
    words = command("run", world.workflow, "--output", output, "--set", "execution.patience=5")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment()) as run:
        wait_until(lambda: blocks_done(output) >= 1, output)
        said("scontrol", "update", "PartitionName=main", "State=DOWN")
        try:
            said("scancel", "--name=lspipe")
            _, told = run.communicate(timeout=120)
        finally:
            said("scontrol", "update", "PartitionName=main", "State=UP")
    assert run.returncode == 1, told
    assert "no worker is connected: look at the queue" in told
    assert jobs() == []
    told = lspipe("run", world.workflow, "--output", output)
    assert "failed 0" in told.stdout, told.stderr
    assert fingerprints(output) == expected
