"""Before a worker gets tasks of a run: can it read pixels for it, and can it compute its blocks?

`crew.py` asks every worker, also one that joins later. Two workers read the same pixels only with
the same lspipe, and write the same numbers only with the same PyTorch, model and device. And they
must write into the run directory of the client, not into a folder of the same name on another disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from lspipe import machine
from lspipe.errors import LspipeError, MissingExtra
from lspipe.inference.settings import NUMERICS
from lspipe.machine.remote import is_remote
from lspipe.runs.record import versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lspipe.inference.reference import ModelReference

SECONDS_TO_SEE = 15.0
"""How long a file may take to be seen from another machine. An NFS client may take a folder for
unchanged for up to 60 s, and by default for 30 s at least (nfs(5), acdirmin), but looks again at
once for a name that it has not asked for before."""

READING = ("rasterio",)
"""Packages whose version decides pixels that are read: rasterio brings GDAL."""

COMPUTING = ("torch", "openvino")
"""Packages whose version decides probabilities."""


@dataclass(frozen=True)
class Greeting:
    """What a worker is asked."""

    run: Path
    """The run directory, absolute."""
    nonce: str
    model: ModelReference | None
    """Model to open, and where; None = not tried, as the worker is a process of this machine."""
    threads: int


@dataclass(frozen=True)
class Answer:
    """What a worker is, and can do."""

    host: str
    process: int
    code: str
    """Hash of the source of its lspipe."""
    numerics: int
    versions: Mapping[str, str]
    device: str
    """Name of the GPU or processor that computes."""
    memory: int
    """Of its machine, or its container's limit, bytes."""
    echo: str = ""
    """Name of the file that it wrote into the run directory; "" = it could not."""
    directory: str = ""
    """Why it cannot use the run directory; "" = it can."""
    model: str = ""
    """Why it cannot open the model; "" = it can, or was not asked to."""


@dataclass(frozen=True)
class Verdict:
    """What a worker may do in a run; "" = it may."""

    reading: str = ""
    """Why its pixels would not be those of the others."""
    computing: str = ""
    """Why its blocks would not be."""
    answer: Answer | None = field(default=None, compare=False)


# --- on a worker ----------------------------------------------------------------------------------


async def introduce(greeting: Greeting) -> Answer:
    """Answer a greeting; runs on a worker, whose other duties go on meanwhile."""
    return await asyncio.to_thread(answer, greeting)


def answer(greeting: Greeting) -> Answer:
    """Say what this process is, and whether it sees the run directory and can open the model."""
    echo, directory = _echo(greeting.run, greeting.nonce)
    model, device = _open(greeting.model, greeting.threads)
    return Answer(
        host=socket.gethostname(),
        process=os.getpid(),
        code=code(),
        numerics=NUMERICS,
        versions=versions(),
        device=device,
        memory=machine.memory(),
        echo=echo,
        directory=directory,
        model=model,
    )


@cache
@cache
def code() -> str:
    """Return the hash of lspipe's source in this process.

    Two installs of one version differ where somebody edited one of them.
    """
    folder, total = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(path.relative_to(folder).as_posix().encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


def _echo(run: Path, nonce: str) -> tuple[str, str]:
    """Read the client's file, and write one beside it: its name, and why that was not possible."""
    asked = run / _hello(nonce)
    try:
        if not _appears(asked):
            what = "does not have this run in it" if run.is_dir() else "is not there"
            return "", f"the run directory {run} {what}; {_advice(run)}"
        own = f"{_hello(nonce)}.{uuid4().hex}"
        (run / own).write_text(nonce, encoding="ascii")
    except (OSError, MissingExtra) as error:
        reason = getattr(error, "strerror", None) or error
        return "", f"the run directory {run} cannot be written: {reason}"
    return own, ""


def _advice(run: Path) -> str:
    if is_remote(run):
        return "give its environment the endpoint and the credentials that are used here"
    return "mount the same folder under this path"


def _open(model: ModelReference | None, threads: int) -> tuple[str, str]:
    """Open a model as a block does: why that is not possible, and the name of the device."""
    device = str(machine.processor()["model"])
    if model is None:
        return "", device
    from lspipe.inference.runtimes import use_threads
    from lspipe.inference.runtimes.devices import gpus

    use_threads(threads)
    try:
        model.open_each()
    except LspipeError as error:
        return str(error), device
    found = gpus() if model.device.startswith("cuda") else []
    return "", str(found[0]["name"]) if found else device


# --- on the client --------------------------------------------------------------------------------


@contextmanager
def greeting(run: Path, model: ModelReference | None, *, threads: int) -> Iterator[Greeting]:
    """Leave a file in the run directory for workers to find; it is removed afterwards."""
    nonce = uuid4().hex
    path = run / _hello(nonce)
    path.write_text(nonce, encoding="ascii")
    try:
        yield Greeting(run.resolve(), nonce, model, threads)
    finally:
        for left in run.glob(f"{_hello(nonce)}*"):
            left.unlink(missing_ok=True)


def judge(run: Path, answered: Answer | BaseException) -> Verdict:
    """Decide what a worker may do.

    Args:
        run: the run directory.
        answered: what it said, or why it said nothing.
    """
    if not isinstance(answered, Answer):
        return Verdict(*2 * (_no_answer(answered),))
    here = versions()
    other = _other_code(answered) or _other_package(READING, answered.versions, here)
    if other:
        return Verdict(other, other, answered)
    computing = (
        _other_package(COMPUTING, answered.versions, here)
        or answered.directory
        or answered.model
        or _unseen(run, answered)
    )
    return Verdict("", computing, answered)


def _other_code(answered: Answer) -> str:
    if answered.numerics != NUMERICS:
        found, own = f"NUMERICS {answered.numerics}", f"NUMERICS {NUMERICS}"
    else:
        found, own = (f"code {each}" for each in (answered.code, code()))
    if found == own:
        return ""
    theirs, ours = answered.versions.get("lspipe"), versions()["lspipe"]
    return f"has another lspipe ({theirs}, {found}; here {ours}, {own})"


def _other_package(
    names: tuple[str, ...], found: Mapping[str, str], here: Mapping[str, str]
) -> str:
    for name in names:
        # "2.13.0+cu130" and "2.13.0+cpu" are builds of one version.
        theirs, ours = (each.get(name, "").partition("+")[0] for each in (found, here))
        if theirs != ours:
            return f"has {name} {theirs} (here {ours})"
    return ""


def _unseen(run: Path, answered: Answer) -> str:
    """Say that what a worker wrote is not in the run directory of this process."""
    if _appears(run / answered.echo):
        return ""
    return f"writes {run} on another disk: what it wrote there is not seen here"


def _no_answer(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer"
    # By its text: dask hands on what fails before a function is called as a plain Exception.
    text = f"{type(error).__name__}: {error}"
    if "No module named 'lspipe'" in text:
        return "has no lspipe; install the same one there"
    if "ModuleNotFoundError" in text or "AttributeError" in text:
        return f"has another lspipe, which cannot answer ({text})"
    return f"does not answer ({text})"


def _appears(path: Path) -> bool:
    """Wait for a file of another machine."""
    until = time.monotonic() + SECONDS_TO_SEE
    while not path.exists():
        if time.monotonic() > until or not path.parent.is_dir():
            return False
        time.sleep(0.05)
    return True


def _hello(nonce: str) -> str:
    return f".hello-{nonce}"
