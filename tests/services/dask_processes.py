"""A dask scheduler and its workers as processes of their own, some of them unfit for a run.

    with Processes(folder) as dask:
        dask.worker("one")
        dask.worker("another lspipe", code=edited_copy(folder))

All listen on loopback only, and are killed at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lspipe
from tests.services.servers import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS_TO_START = 60

NO_LSPIPE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lspipe":
            raise ModuleNotFoundError(f"No module named {name!r}", name="lspipe")
sys.meta_path.insert(0, Absent())
"""
"""What Python runs as it starts, so that lspipe is not installed for it."""

PATCHED = """
import importlib.abc, importlib.machinery, sys
class Patched(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != {module!r}:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            exec({change!r}, vars(module))
        spec.loader.exec_module = exec_module
        return spec
sys.meta_path.insert(0, Patched())
"""
"""What Python runs as it starts, so that a module of lspipe is changed once it is imported: this
imitates a machine whose disk or GPU is broken, with the same lspipe as the others."""


class Processes:
    """A scheduler and workers, by the names they are given."""

    def __init__(self, folder: Path, *, startup: str = "") -> None:
        self._folder = folder
        self.address = f"tcp://127.0.0.1:{_free_port()}"
        self._startup = startup
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        port = self.address.rpartition(":")[2]
        words = ["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
        self._start("scheduler", words, startup=self._startup)
        until = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < until:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", int(port))) == 0:
                    return self
            time.sleep(0.05)
        raise AssertionError(self.said("scheduler"))

    def __exit__(self, *_: object) -> None:
        for name in list(self._started):
            self.kill(name)

    @property
    def cluster(self) -> dict[str, str]:
        """The section of a workflow."""
        return {"kind": "address", "address": self.address}

    def worker(
        self,
        name: str,
        *,
        slot: bool = True,
        code: Path | None = None,
        startup: str = "",
        within: Sequence[str] = (),
        options: Sequence[str] = ("--no-nanny",),
    ) -> None:
        """Start a worker.

        Args:
            name: of it.
            slot: whether it declares the slot for inference.
            code: folder of another lspipe.
            startup: Python that it runs first.
            within: words before its command, such as those of `unshare`.
            options: more of `dask worker`.
        """
        words = ["worker", self.address, "--host", "127.0.0.1", "--nthreads", "2", "--name", name]
        words += ["--no-dashboard", "--local-directory", str(self._folder), *options]
        words += ["--resources", "inference=1"] if slot else []
        self._start(name, words, code=code, startup=startup, within=within)

    def kill(self, name: str) -> None:
        """SIGKILL a process, and those that it started."""
        process = self._started.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def said(self, name: str) -> str:
        """Return what a process wrote on its terminal."""
        return (self._folder / f"{name}.txt").read_text(encoding="utf-8")

    def _start(
        self,
        name: str,
        words: Sequence[str],
        *,
        code: Path | None = None,
        startup: str = "",
        within: Sequence[str] = (),
    ) -> None:
        first = [self._startup_folder(name, startup)] if startup else []
        path = [*first, str(code or ROOT), str(ROOT)]
        with (self._folder / f"{name}.txt").open("wb") as said:
            self._started[name] = subprocess.Popen(
                [*within, sys.executable, "-m", "dask", *words],
                # Not the project's folder, which Python would look into first.
                cwd=self._folder,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path),
                    "OMP_NUM_THREADS": "1",
                    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
                },
                start_new_session=True,
            )

    def _startup_folder(self, name: str, text: str) -> str:
        folder = self._folder / f"startup of {name}"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
        return str(folder)


def edited_copy(folder: Path) -> Path:
    """Copy lspipe, and change a number that decides pixels; its version stays."""
    shutil.copytree(
        Path(lspipe.__file__).parent,
        folder / "lspipe",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    path = folder / "lspipe" / "schema" / "maps.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    return folder


def patched(module: str, change: str) -> str:
    """Return what changes a module of lspipe in a process that imports it."""
    return PATCHED.format(module=module, change=change)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind in the log of a run."""
    from lspipe.runs.log import read_log

    return [event for event in read_log(run / "log.jsonl") if event["event"] == kind]
