"""A runtime -> how many windows go through its network at once, found by trying.

Not run on a GPU yet: tests/gpu is the check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lspipe.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lspipe.models.runtimes import Runtime

SIZES = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""Batch sizes to try. Powers of two, so that two GPUs of one kind find the same one even if
something small lies on one of them."""


def largest_batch(
    runtime: Runtime,
    channels: int,
    window: int,
    *,
    reserve_bytes: int = 0,
    sizes: Sequence[int] = SIZES,
) -> int:
    """Return the largest batch whose forward pass fits into the memory of the GPU.

    Depends on nothing but the memory that is free; freeze what it returns, as another batch size
    may change the last bit. Every size tried is compiled: for "compiled", probe "eager" instead.

    Args:
        runtime: of the network.
        channels: C of a window.
        window: edge of a window, pixels.
        reserve_bytes: kept free while trying, for the block itself (pixels, sums).
        sizes: what to try, largest first.

    Raises:
        ModelError: not even the smallest fits.
        ValueError: not on a GPU; on a CPU memory is not what limits a batch.
    """
    if runtime.device.type != "cuda":
        raise ValueError(f"the network is on the device {runtime.device.type!r}: expected 'cuda'")
    for size in sizes:
        if _fits(runtime, (size, channels, window, window), reserve_bytes):
            return size
    raise ModelError(
        f"out of GPU memory with {min(sizes)} windows of {channels} x {window} x {window} and "
        f"{reserve_bytes / 2**30:.1f} GiB for the block: use smaller blocks, or device 'cpu'"
    )


def _fits(runtime: Runtime, shape: tuple[int, ...], reserve_bytes: int) -> bool:
    """Whether a batch of this shape goes through the network; leaves no memory taken."""
    try:
        reserve = torch.empty(reserve_bytes, dtype=torch.uint8, device=runtime.device)
        runtime(torch.zeros(shape, device=runtime.device))
        torch.cuda.synchronize(runtime.device)
        del reserve
    except torch.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()
    return True
