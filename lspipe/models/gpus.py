"""The GPUs that torch sees on this machine."""

from __future__ import annotations

from typing import Any

import torch


def gpus() -> list[dict[str, Any]]:
    """Return name, memory (bytes) and compute capability of each GPU; an empty list without one."""
    if not torch.cuda.is_available():
        return []
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [
        {
            "name": gpu.name,
            "memory_bytes": gpu.total_memory,
            "capability": f"{gpu.major}.{gpu.minor}",
        }
        for gpu in found
    ]
