"""A runtime -> the largest batch that its GPU can hold, found by trying.

Not run on a GPU yet: tests/gpu is the check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lspipe.errors import ModelError
from lspipe.inference.runtimes.devices import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lspipe.inference.runtimes import Runtime

SIZES = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""Batch sizes to try. Powers of two, so that two GPUs of one kind find the same size even if
a little memory of one is taken."""


BYTES_PER_BATCH_PIXEL = 64
"""Kept free for each pixel of a batch, bytes: two int64 positions, answers of a view and of the
batch before, and their turned copies (counted, not measured)."""


def largest_batch(
    runtime: Runtime,
    channels: int,
    window: int,
    *,
    reserve_bytes: int = 0,
    sizes: Sequence[int] = SIZES,
) -> int:
    """Return the largest batch whose forward pass fits into the memory of the GPU.

    It depends only on the free memory. Store the result, as another batch size may change the last
    bit. Every size tried is compiled: for "compiled", probe "eager" instead.

    Args:
        runtime: of the network.
        channels: C of a window.
        window: edge of a window, pixels.
        reserve_bytes: kept free while trying, for the block itself (pixels, sums).
        sizes: to try, largest first.

    Raises:
        ModelError: not even the smallest fits.
        ValueError: not on a GPU; on a CPU memory does not limit a batch.
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
    """Return whether a batch of this shape fits; all memory is freed again."""
    try:
        count, _, height, width = shape
        taken = reserve_bytes + count * height * width * BYTES_PER_BATCH_PIXEL
        reserve = torch.empty(taken, dtype=torch.uint8, device=runtime.device)
        # In the layout of cut windows, by which cuDNN chooses its kernels.
        batch = torch.zeros(shape, device=runtime.device)
        runtime(batch.contiguous(memory_format=torch.channels_last))
        del batch
        torch.cuda.synchronize(runtime.device)
        del reserve
    except RuntimeError as error:
        # Some kernels have a limit of their own, with other errors.
        if is_out_of_memory(error) or "CUDNN" in str(error) or "CUBLAS" in str(error):
            return False
        raise
    finally:
        torch.cuda.empty_cache()
    return True
