"""A real SLURM of one node for a test: its own files, ports and keys, on loopback only.

    with slurm(folder): ...   # sbatch, scancel and squeue are this one's

Nothing of an installed SLURM is touched. Where it cannot be had, a test is skipped, or fails where
LSPIPE_SERVICES=required.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.services.servers import free_port, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATH = "/usr/sbin:/usr/bin"
SECONDS_TO_START = 30

# Four cores and two GPUs, whatever the machine has: nothing is computed on these GPUs.
_CONFIGURATION = """\
ClusterName=lspipe
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=3
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=32000 Gres=gpu:2
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """Run munged, slurmctld and slurmd until the block ends; jobs that are left are cancelled."""
    programs = {name: _program(name) for name in ("munged", "slurmctld", "slurmd", "sbatch")}
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(
            host=host, user=getpass.getuser(), folder=folder,
            controller_port=free_port(), node_port=free_port(),
        ),
        encoding="utf-8",
    )  # fmt: skip
    # Devices that every machine has stand for them.
    gpus = "".join(f"Name=gpu File=/dev/{name}\n" for name in ("zero", "full"))
    (folder / "gres.conf").write_text(gpus, encoding="utf-8")
    munged = ["--foreground", "--force", f"--socket={folder}/munge.socket"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PATH", f"{os.environ['PATH']}{os.pathsep}{PATH}")
        stack.enter_context(_running([programs["munged"], *munged]))
        _wait_for(folder, (folder / "munge.socket").exists)
        stack.enter_context(_running([programs["slurmctld"], "-D"]))
        stack.enter_context(_running([programs["slurmd"], "-D", "-N", host]))
        _wait_for(folder, lambda: "idle" in said("sinfo", "--noheader", "--format=%T"))
        try:
            yield
        finally:
            said("scancel", "--user", getpass.getuser())
            _wait_for(folder, lambda: not said("squeue", "--noheader"))


def said(*command: str) -> str:
    """Return what a command of SLURM prints; empty where it fails."""
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{PATH}{os.pathsep}{os.environ.get('PATH', '')}")
    return found or missing(f"no {name} here; install SLURM (Debian: slurm-wlm and munge)")


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(folder: Path, is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while not is_so():
        if time.monotonic() > until:
            logs = (f"{path.name}: {path.read_text()[-1000:]}" for path in folder.glob("*.log"))
            pytest.fail("SLURM does not start or end here:\n" + "\n".join(logs))
        time.sleep(0.1)
