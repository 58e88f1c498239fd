"""A network as a CUDA graph: all its kernels start at once, so a GPU does not wait for Python.

Convolutions are channels-last, batch normalisation is folded into them where one follows the other,
and bf16 is a cast of the whole network. The kernels are those that cuDNN chooses without timing:
a window has the same bits in every process on one kind of GPU.

Written from the documentation of torch.cuda.graphs. Not run on a GPU yet: tests/gpu is the check.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lspipe.errors import ModelError
from lspipe.inference.runtimes.capture import capturing, casting, folded, snapshot
from lspipe.inference.runtimes.devices import reproducible

if TYPE_CHECKING:
    from collections.abc import Callable

# Calls before the capture, in which cuDNN and cuBLAS allocate memory, as a capture must not: the
# number in the example of PyTorch (docs, "CUDA Graphs", whole-network capture).
_WARM_UPS = 3

_capturing = threading.Lock()


def check(device: torch.device, precision: str) -> None:  # noqa: ARG001 - both are computed
    """Raise ModelError on a CPU."""
    if device.type != "cuda":
        raise ModelError("needs a GPU, the device is 'cpu'")


def prepare(
    network: Callable[[torch.Tensor], Any], *, device: torch.device, precision: str
) -> Callable[[torch.Tensor], Any]:
    """Capture a copy of the network at the first batch of each shape.

    Functions are accepted too; they are not folded, and bf16 is autocast. Every shape keeps its
    input, output and workspace on the GPU. One thread calls at a time; all must use one CUDA
    stream, as they do by default.
    """
    frozen = snapshot(network)
    ready: Callable[[torch.Tensor], Any] | None = None
    graphs: dict[tuple[int, ...], _Graph] = {}

    def call(batch: torch.Tensor) -> torch.Tensor:
        nonlocal ready
        shape = tuple(batch.shape)
        with torch.inference_mode(), _capturing:
            if shape not in graphs:
                with capturing("cudagraph"), reproducible(device):
                    # The layout in which windows are cut on a GPU, and which convolutions need.
                    given = batch.float().contiguous(memory_format=torch.channels_last)
                    if ready is None:
                        ready = casting(
                            folded(frozen, given[:1]) if isinstance(frozen, nn.Module) else frozen,
                            device=device,
                            precision=precision,
                            memory_format=torch.channels_last,
                        )
                    graphs[shape] = _capture(ready, given)
            return graphs[shape](batch)

    return call


@dataclass(frozen=True)
class _Graph:
    """A recorded graph, with the memory that it reads and the memory that it writes."""

    graph: torch.cuda.CUDAGraph
    given: torch.Tensor
    answer: torch.Tensor

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.given.copy_(batch)
        self.graph.replay()
        # The next batch will overwrite it.
        return self.answer.clone()


def _capture(forward: Callable[[torch.Tensor], Any], batch: torch.Tensor) -> _Graph:
    """Record what the network does with a batch of this shape.

    Raises:
        ModelError: it waits for the GPU (`.item()`, `if tensor:`), or does not return a tensor.
            The allocator of older torch then treats the capture as unfinished: continue in a new
            process.
    """
    given = batch.clone()
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            forward(given)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    outside = torch.cuda.current_stream()
    try:
        # Other threads of this process may allocate meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            answer = forward(given)
    finally:
        # A capture that fails leaves its own stream as the current one.
        torch.cuda.set_stream(outside)
    if not isinstance(answer, torch.Tensor):
        raise ModelError(f"the network returned a {type(answer).__name__}: expected a tensor")
    return _Graph(graph, given, answer)
