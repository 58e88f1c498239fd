"""A model item or a callable to a `Runtime`: float windows in, float32 probabilities out.

The rest of lspipe knows a network only as a `Runtime`. A run ships a path and a sha256 to its
workers, never a module: each worker loads the weights itself, once.
"""

from __future__ import annotations

import copy
import threading
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from lspipe.errors import InferenceError, ModelError
from lspipe.models.item import ModelItem, Scaling, digest
from lspipe.models.weights import build_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")
RUNTIMES = ("auto", "eager")

# Two models: that of this run and, in a notebook, the one before it; more would fill a GPU.
_CACHE_SIZE = 2

_IDENTITY = Scaling()


class Runtime(Protocol):
    """A network that is ready to be called on batches of windows."""

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Channels it wants, in order, canonical names; None = whatever it is given."""

    @property
    def scaling(self) -> Scaling:
        """How reflectance becomes model units."""

    @property
    def fill(self) -> tuple[float, ...] | float:
        """What stands for no data, model units, one per channel or one for all."""

    @property
    def device(self) -> torch.device:
        """Where batches must lie."""

    @property
    def precision(self) -> str:
        """Either "fp32" or "bf16"; inputs and outputs are float32 in both."""

    @property
    def name(self) -> str:
        """How the network is executed ("eager")."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, w, w) float32 in model units into (N, w, w) float32 probabilities."""


@dataclass(frozen=True, kw_only=True)
class EagerRuntime:
    """A network called as plain PyTorch, without gradients and without autotuning.

    Raises on call:
        InferenceError: the network did not return one tensor of shape (N, 1, w, w).
    """

    network: Callable[[torch.Tensor], Any]
    device: torch.device
    precision: str
    bands: tuple[str, ...] | None = None
    scaling: Scaling = _IDENTITY
    fill: tuple[float, ...] | float = 0.0
    name: str = "eager"

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, w, w) float32 in model units into (N, w, w) float32 probabilities."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(_reproducible(self.device))
            if self.precision == "bf16":
                stack.enter_context(torch.autocast(self.device.type, dtype=torch.bfloat16))
            output = self.network(batch)
        expected = (batch.shape[0], 1, *batch.shape[-2:])
        if not isinstance(output, torch.Tensor) or tuple(output.shape) != expected:
            found = (
                f"shape {tuple(output.shape)}"
                if isinstance(output, torch.Tensor)
                else f"a {type(output).__name__}"
            )
            raise InferenceError(
                f"the network returned {found} for a batch of shape {tuple(batch.shape)}: expected "
                f"probabilities of shape {expected}"
            )
        return output[:, 0].float()


def from_callable(
    model: Callable[[torch.Tensor], Any], *, device: str = "auto", precision: str = "fp32"
) -> Runtime:
    """Make a runtime of any callable (N, C, w, w) -> (N, 1, w, w) probabilities.

    A module is never modified: one that is in training mode, or on another device, is copied first.
    No data is 0, and nothing is scaled: the caller's floats are in model units already.

    Raises:
        ModelError: not callable, or a device or precision that this machine does not have.
    """
    if not callable(model):
        raise ModelError(
            f"model is a {type(model).__name__}: expected the path of a model item, a torch module "
            "or a callable (N, C, w, w) -> (N, 1, w, w)"
        )
    place = resolve_device(device)
    return EagerRuntime(
        network=_settled(model, place) if isinstance(model, nn.Module) else model,
        device=place,
        precision=resolve_precision(precision, place),
    )


def load(
    item_path: str | Path,
    sha256: str | None,
    *,
    device: str = "auto",
    precision: str = "auto",
    runtime: str = "auto",
    item_sha256: str | None = None,
) -> Runtime:
    """Load the network of a model item; the weights are read once per process.

    Args:
        item_path: file of the item, or "shipped:NAME".
        sha256: what `digest` of the item must be (a run records it in its plan); None = any.
        device: "auto" takes the GPU if there is one.
        item_sha256: what the sha256 of the item itself must be; None = any.
        precision: "auto" is bf16 on a GPU that has it, else fp32.
        runtime: "auto" or "eager".

    Raises:
        ModelError: another sha256, weights that do not fit the architecture, or a device,
            precision or runtime that this machine does not have.
    """
    item = ModelItem.from_file(item_path)
    if sha256 is not None and digest(item) != sha256:
        raise ModelError(
            f"{item.path}: the model has sha256 {digest(item)}, the run was planned with {sha256}; "
            "restore that model, or plan a new run"
        )
    if item_sha256 is not None and item.item_sha256 != item_sha256:
        raise ModelError(
            f"{item.path}: the item has changed since the run was planned; restore it, or plan a "
            "new run"
        )
    if runtime not in RUNTIMES:
        raise ModelError(f"runtime {runtime!r}: expected one of {', '.join(RUNTIMES)}")
    place = resolve_device(device)
    return EagerRuntime(
        network=_network(item, place),
        device=place,
        precision=resolve_precision(precision, place),
        bands=item.bands,
        scaling=item.scaling,
        fill=item.fill,
    )


def use_threads(count: int) -> None:
    """Compute with this many threads per operation, in this process.

    A worker of a run calls it, whoever started that worker: the count decides the last bit of a
    result, and threads of several workers on one machine would fight for its cores.
    """
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


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


_networks: dict[tuple[str, str, str], nn.Module] = {}
_networks_lock = threading.Lock()


def _network(item: ModelItem, device: torch.device) -> nn.Module:
    """Network of an item on a device, from memory if this process has it already.

    A plain lru_cache would let two threads of a worker load the same weights at once.
    """
    key = (item.item_sha256, digest(item), str(device))
    with _networks_lock:
        if key not in _networks:
            while len(_networks) >= _CACHE_SIZE:
                del _networks[next(iter(_networks))]
            _networks[key] = build_network(item).to(device)
        return _networks[key]


def _settled(module: nn.Module, device: torch.device) -> nn.Module:
    """The module in eval mode on the device: itself if it is so already, else a copy."""
    tensors = [*module.parameters(), *module.buffers()]
    in_place = all(tensor.device.type == device.type for tensor in tensors)
    if in_place and not any(part.training for part in module.modules()):
        return module
    return copy.deepcopy(module).eval().to(device)


def _reproducible(device: torch.device) -> AbstractContextManager[Any]:
    """No autotuning and no TF32 on a GPU: equal batches give equal bits, and fp32 is fp32."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
