"""What this machine gives to a process: processor cores, memory, instructions, environment.

A container or a batch system may allow less than the machine has; what is allowed counts.
"""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
