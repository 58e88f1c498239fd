"""Names of devices and precisions -> those of this machine; threads, memory, reproducible GPUs."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from lspipe.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")


def use_threads(count: int) -> int:
    """Compute with this many threads per operation; return how many there were.

    A worker of a run calls it in the thread that computes, on any kind of cluster: the count
    decides the last bit of a result, and threads of several workers on one machine would compete
    for its cores. OpenMP stores the count per thread: threads that have computed before keep
    theirs.
    """
    earlier = torch.get_num_threads()
    if earlier != count:
        torch.set_num_threads(count)
    return earlier


def resolve_device(device: str) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into a device of this machine.

    Raises:
        ModelError: an unknown name, or "cuda" where PyTorch sees no GPU.
    """
    if device not in DEVICES:
        raise ModelError(f"device {device!r}: expected one of {', '.join(DEVICES)}")
    has_gpu = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        reason = (
            "this PyTorch is a CPU build"
            if torch.version.cuda is None
            else "PyTorch sees no GPU; check the driver and CUDA_VISIBLE_DEVICES"
        )
        raise ModelError(f"device 'cuda': {reason}; use 'auto' or 'cpu'")
    return torch.device("cuda" if has_gpu else "cpu")


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turn "auto", "fp32" or "bf16" into the precision that the device computes in.

    PyTorch computes bf16 on any CPU, slowly without the instructions; it is accepted here, so that
    a result can be checked anywhere. OpenVINO would silently compute in fp32, so its runtime
    refuses it.

    Raises:
        ModelError: an unknown name, or "bf16" on a GPU without it.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if device.type == "cpu":
        return "fp32" if precision == "auto" else precision
    # Emulated bf16 (before Ampere) is slower than fp32 and no closer to it.
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_bf16:
        raise ModelError(
            f"precision 'bf16': {torch.cuda.get_device_name(device)} has no bf16; use 'fp32'"
        )
    if precision == "auto":
        return "bf16" if has_bf16 else "fp32"
    return precision


_NO_MEMORY = (
    "allocate memory",  # a CPU's allocator
    "out of memory",  # CUDA outside of torch's allocator, for instance for a graph
    "unable to find an engine",  # cuDNN, once it has tried each in vain
    "ALLOC_FAILED",  # cuDNN and cuBLAS
)


_BROKEN = (
    "CUDA error",  # all that follows in this process fails too: its CUDA context is lost
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)


def is_broken(error: BaseException) -> bool:
    """Return whether a GPU failed, so that this process can compute nothing more on it."""
    return not is_out_of_memory(error) and any(words in str(error) for words in _BROKEN)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out in torch or Python; many errors of torch have no own type."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in _NO_MEMORY
    )


_on_a_gpu = threading.RLock()


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Switch off autotuning and TF32 on a GPU: equal batches give equal bits, fp32 stays fp32.

    One thread at a time: the flags belong to the whole process.
    """
    if device.type != "cuda":
        yield
        return
    with (
        _on_a_gpu,
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        yield


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
