"""Other machines, played by processes of this one: a SLURM that runs a job at once, and pods."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from pathlib import Path

SBATCH = """\
#!/bin/sh
# Takes the script's name last, as dask-jobqueue gives it, and runs a copy of it.
for script; do :; done
number=$$
cp "$script" "{folder}/job$number"
setsid bash "{folder}/job$number" > "{folder}/said$number" 2>&1 < /dev/null &
echo $! > "{folder}/pid$number"
echo "Submitted batch job $number"
"""

SCANCEL = """\
#!/bin/bash
kill -TERM -- -"$(cat "{folder}/pid$1")"
"""

REFUSES = """\
#!/bin/sh
echo "sbatch: error: invalid partition specified: nowhere" >&2
echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2
exit 1
"""


def write_slurm(folder: Path, *, sbatch: str = SBATCH) -> None:
    """Write `sbatch` and `scancel` into a folder, which comes first in PATH."""
    for name, text in (("sbatch", sbatch), ("scancel", SCANCEL)):
        program = folder / name
        program.write_text(text.format(folder=folder), encoding="utf-8")
        program.chmod(0o755)


def processes_of(folder: Path, *, seconds: float = 10) -> list[int]:
    """Processes of jobs that still run after some time to end."""
    groups = {int(path.read_text()) for path in folder.glob("pid*")}
    until = time.monotonic() + seconds
    while found := [p.pid for p in psutil.process_iter() if _group(p.pid) in groups]:
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return found


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


class Pods:
    """A scheduler and workers started by commands and variables, as containers would."""

    def __init__(
        self, folder: Path, scheduler: dict[str, str], worker: dict[str, str], command: list[str],
        count: int,
    ) -> None:  # fmt: skip
        file = folder / "scheduler.json"
        # On loopback and any port: a pod has an address of its own.
        where = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        run = [sys.executable, "-m", "dask"]
        self.processes = [
            _start([*run, "scheduler", *where, "--scheduler-file", str(file)], scheduler)
        ]
        named = [{**worker, "DASK_WORKER_NAME": f"pod-{n}"} for n in range(count)]
        for variables in named:
            filled = [
                part.replace("$(DASK_WORKER_NAME)", variables["DASK_WORKER_NAME"])
                for part in command[2:]
            ]
            self.processes.append(
                _start([*run, "worker", "--scheduler-file", str(file), *filled], variables)
            )
        self.file = file
        self.is_closed = False

    def close(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        self.is_closed = True


def _start(command: list[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def variables_of(container: dict[str, Any]) -> dict[str, str]:
    """Variables of a container, as a manifest has them."""
    return {one["name"]: one["value"] for one in container["env"]}
