"""The GPUs that this process may use, by names for `CUDA_VISIBLE_DEVICES`."""

from __future__ import annotations

import ctypes
import os

VARIABLE = "CUDA_VISIBLE_DEVICES"
"""What CUDA reads when it starts: numbers or UUIDs of GPUs, or UUIDs of slices of them (MIG).
Source: NVIDIA, CUDA C++ Programming Guide, CUDA environment variables; MIG User Guide."""


def visible() -> tuple[str, ...]:
    """Return the GPUs that CUDA sees, or those that the person names; none without a driver.

    A process sees one slice (MIG) at most, even where several are named: the names count.
    """
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    slices = tuple(name for name in named if name.startswith("MIG-"))
    count = _count()
    if not count:
        return ()
    if slices:
        return slices
    # CUDA takes names up to the first that is none.
    return tuple(named[:count] or map(str, range(count)))


def _count() -> int:
    """Ask the driver how many GPUs this process sees: torch belongs to other rooms."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
