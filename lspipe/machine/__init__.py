"""What this machine gives to a process: cores, memory, instructions, environment, folders.

A container or a batch system may allow less than the machine has; what is allowed counts.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import warnings
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lspipe.errors import UsageError
from lspipe.machine import remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CGROUP = Path("/sys/fs/cgroup")

LIMITS = ("memory/memory.limit_in_bytes", "memory.max", "memory.high")
"""Files of a memory limit, bytes, below `CGROUP`. Source: Linux kernel, admin guide: cgroup v1
(memory.txt) and v2 (cgroup-v2.rst); without a limit v1 holds a number near 2^63, v2 "max"."""

PROCESSOR = Path("/proc/cpuinfo")

INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""Instructions that decide how fast a network runs, as the Linux kernel spells them; `asimd` and
`bf16` are those of ARM."""


def cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Return the memory this process may use, bytes: the machine's, or a container's limit."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(installed, *(limit or installed for limit in map(_limit, LIMITS)))


def _limit(name: str) -> int | None:
    """Return a limit of the control group, bytes; None where there is none."""
    try:
        return int((CGROUP / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def processor() -> dict[str, object]:
    """Return the processor's model, cores that may be used, and `INSTRUCTIONS` that it has."""
    try:
        text = PROCESSOR.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    lines = [line.partition(":") for line in text.splitlines()]
    found = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    has = set(found.get("flags", found.get("Features", "")).split())
    return {
        "model": found.get("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "instructions": [name for name in INSTRUCTIONS if name in has],
    }


@contextmanager
def kept_environment(names: Iterable[str]) -> Iterator[None]:
    """Leave environment variables as they were found, whatever sets or removes them meanwhile."""
    earlier = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# --- what other programs left in the environment --------------------------------------------------

DATA_FOLDERS = ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "GDAL_DRIVER_PATH")
"""Variables that name data of GDAL and PROJ. Those of another install (QGIS, conda, a database) are
of another version, with which rasterio reads no CRS."""


_FOR_DEVELOPERS = (
    DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning,
)  # fmt: skip
"""What Python by itself does not show."""

ignored: list[str] = []
"""What `ignore_what_others_left` did in this process, in words."""


def foreign_data() -> dict[str, str]:
    """Return the variables that name another install's data, where rasterio brings its own."""
    found = find_spec("rasterio")
    own = Path(found.origin).parent if found is not None and found.origin else None
    if own is None or not (own / "proj_data").is_dir():
        return {}
    return {name: os.environ[name] for name in DATA_FOLDERS if os.environ.get(name)}


def warnings_as_errors() -> bool:
    """Return whether this Python was told to take each warning for an error."""
    return any(option.partition(":")[0] == "error" for option in sys.warnoptions)


def ignore_what_others_left() -> None:
    """Make this process, and those that it starts, independent of settings for other programs.

    Before rasterio is imported: variables of `foreign_data` are removed. Warnings of libraries are
    no errors: they speak to those who write programs.
    """
    for name, folder in foreign_data().items():
        del os.environ[name]
        ignored.append(f"{name}={folder}: data of another install; rasterio brings its own")
    if warnings_as_errors():
        warnings.resetwarnings()
        for category in _FOR_DEVELOPERS:
            warnings.simplefilter("ignore", category)
        os.environ.pop("PYTHONWARNINGS", None)
        # Python hands these to the processes that it starts.
        sys.warnoptions[:] = [each for each in sys.warnoptions if not each.startswith("error")]
        ignored.append("warnings as errors (PYTHONWARNINGS, python -W)")


_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""s3://bucket, and s3:/bucket, which a Path makes of it; one letter is a drive of Windows."""


def check_place(path: Path | str) -> None:
    """Refuse a folder, or an address in an object store, that could not be written.

    Args:
        path: it need not be there yet.

    Raises:
        UsageError: a place that cannot be written; says why.
    """
    found = _ADDRESS.match(str(path))
    if remote.is_address(str(path)):
        remote.check(str(path))
    elif found is not None and found[1] in remote.SCHEMES:
        raise UsageError(f"{path}: an address was made a Path, which has no //; give it as a text")
    else:
        check_folder(path)


def check_file(path: Path | str) -> None:
    """Refuse an address where only a file of this machine can be read.

    Raises:
        UsageError: an address in an object store; says what to do.
    """
    if remote.is_address(str(path)):
        raise UsageError(f"{path}: found an address, expected a file of this machine; copy it here")


def check_folder(path: Path | str) -> None:
    """Refuse a folder that could not be written, before anything is computed.

    Args:
        path: it need not be there yet.

    Raises:
        UsageError: an address, or a place that cannot be written; says why.
    """
    address = _ADDRESS.match(str(path))
    if address is not None:
        advice = (
            "write the path without file://"
            if address[1].lower() == "file"
            else "give a folder of this machine, and copy it there afterwards"
        )
        raise UsageError(f"{path}: found an address, expected a folder; {advice}")
    try:
        absolute = Path(path).absolute()
        with suppress(FileNotFoundError, NotADirectoryError):
            absolute.stat()  # raises for names that no file can have
        place = next(part for part in (absolute, *absolute.parents) if part.exists())
        if place == absolute and place.is_dir() and os.access(place, os.W_OK | os.X_OK):
            return
        if not place.is_dir():
            raise UsageError(f"{path}: found {place}, which is not a folder; choose another")
        _try_to_write(place)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be written ({reason}); choose another folder") from error


def _try_to_write(place: Path) -> None:
    """Make a folder and remove it: some file systems say that they can be written and cannot."""
    trial = place / f".lspipe-{os.getpid()}"
    trial.mkdir()
    trial.rmdir()
