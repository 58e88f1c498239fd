"""A model item or a callable -> a `Runtime`: float windows in, float32 probabilities out.

The rest of lspipe uses a network only as a `Runtime`. A run sends a path and a sha256 to its
workers, never a module: each worker loads the weights itself, once.

A runtime, which executes a network, is one file here and one line of `RUNTIMES`. The file has two
functions:

    check(device, precision)                        raises a UsageError if it cannot work here
    prepare(network, *, device, precision)          (N, C, w, w) float32 -> (N, 1, w, w)

`prepare` may be called from any thread, is quick, and never modifies the network; slow work
(compiling, capturing) is done at the first batch of each shape. The function that it returns may
be called from any thread, and gives a window the same bits at every place in a batch.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from lspipe.errors import InferenceError, ModelError, UsageError
from lspipe.inference.runtimes.devices import (
    DEVICES,
    PRECISIONS,
    resolve_device,
    resolve_precision,
    use_threads,
)
from lspipe.inference.temperature import tempered
from lspipe.models.item import ModelItem, Scaling, digest
from lspipe.models.mlm import read_item
from lspipe.models.weights import build_network
from lspipe.spec.plugins import resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "AUTO",
    "DEVICES",
    "PRECISIONS",
    "RUNTIMES",
    "PreparedRuntime",
    "Runtime",
    "available",
    "from_callable",
    "load",
    "resolve_device",
    "resolve_precision",
    "use_threads",
]

RUNTIMES = {
    "eager": "lspipe.inference.runtimes.eager",
    "compiled": "lspipe.inference.runtimes.compiled",
    "openvino": "lspipe.inference.runtimes.openvino",
    "cudagraph": "lspipe.inference.runtimes.cudagraph",
}
"""Runtimes by name, and their modules."""

AUTO = "eager"
"""The runtime for "auto" where nobody knows how much there is to do (`choice` does): it needs no
preparing and takes any network."""

# Two models: the present one and, in a notebook, the one before; more would fill a GPU.
_CACHE_SIZE = 2

_IDENTITY = Scaling()


class Runtime(Protocol):
    """A network that is ready to be called on batches of windows."""

    @property
    def bands(self) -> tuple[str, ...] | None:
        """Channels it needs, in order, canonical names; None = any."""

    @property
    def scaling(self) -> Scaling:
        """How reflectance becomes model units."""

    @property
    def fill(self) -> tuple[float, ...] | float:
        """Value that replaces no data, model units, one per channel or one for all."""

    @property
    def device(self) -> torch.device:
        """The device of the batches."""

    @property
    def precision(self) -> str:
        """Either "fp32" or "bf16"; inputs and outputs are float32 in both."""

    @property
    def name(self) -> str:
        """How the network is executed, a name of `RUNTIMES`."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, w, w) float32 in model units into (N, w, w) float32 probabilities."""


@dataclass(frozen=True, kw_only=True)
class PreparedRuntime:
    """A network made ready by `prepare` of a runtime, and how its input is made.

    Raises on call:
        InferenceError: the network did not return one tensor of shape (N, 1, w, w).
        ModelError: the runtime cannot take this network; found at its first batch.
    """

    network: Callable[[torch.Tensor], Any]
    device: torch.device
    precision: str
    name: str
    bands: tuple[str, ...] | None = None
    scaling: Scaling = _IDENTITY
    fill: tuple[float, ...] | float = 0.0
    temperature: float | None = None
    """Of the model item; None = probabilities stay as the network returns them."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, w, w) float32 in model units into (N, w, w) float32 probabilities."""
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
        return tempered(output[:, 0].float(), self.temperature)


def from_callable(
    model: Callable[[torch.Tensor], Any],
    *,
    device: str = "auto",
    precision: str = "fp32",
    runtime: str = "auto",
) -> Runtime:
    """Make a runtime of any callable (N, C, w, w) -> (N, 1, w, w) probabilities.

    A module is never modified: it is copied first if it is in training mode, or on another device.
    No data becomes 0, and nothing is scaled: floats of the caller are in model units already.

    Args:
        model: a torch module, or any callable; with "openvino" one that `torch.export` can take.
        device: "auto" takes the GPU if there is one.
        precision: "auto" is bf16 on a GPU that has it, else fp32.
        runtime: "auto" ("eager") or a name of `RUNTIMES`; all but "eager" keep a copy of the
            present weights.

    Raises:
        ModelError: not callable, or a device, precision or runtime that this machine does not have.
        MissingExtra: the runtime needs a package that is not installed.
    """
    if not callable(model):
        raise ModelError(
            f"model is a {type(model).__name__}: expected the path of a model item, a torch module "
            "or a callable (N, C, w, w) -> (N, 1, w, w)"
        )
    target = _Target.of(device=device, precision=precision, runtime=runtime)
    settled = _settled(model, target.device) if isinstance(model, nn.Module) else model
    return PreparedRuntime(
        network=target.prepare(settled),
        device=target.device,
        precision=target.precision,
        name=target.runtime,
    )


def load(
    item_path: str | Path,
    sha256: str | None,
    *,
    device: str = "auto",
    precision: str = "auto",
    runtime: str = "auto",
    item_sha256: str | None = None,
    beside: int = 0,
) -> Runtime:
    """Load the network of a model item; the weights are read once per process.

    Args:
        item_path: file of the item, or "shipped:NAME".
        sha256: expected `digest` of the item (a run records it in its plan); None = any.
        device: "auto" takes the GPU if there is one.
        item_sha256: expected sha256 of the item itself; None = any.
        beside: how many other networks are used in turn with it, and stay loaded too.
        precision: "auto" is bf16 on a GPU that has it, else fp32.
        runtime: "auto" ("eager") or a name of `RUNTIMES`.

    Raises:
        ModelError: another sha256, weights that do not fit the architecture, or a device,
            precision or runtime that this machine does not have.
        MissingExtra: the runtime needs a package that is not installed.
    """
    item = read_item(item_path)
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
    target = _Target.of(device=device, precision=precision, runtime=runtime)
    return _loaded(item, target, room=_CACHE_SIZE + beside)


def available(device: str = "auto", *, precision: str = "fp32") -> dict[str, str]:
    """Return which runtimes work on this machine: name -> "", or the reason why it does not.

    Nothing is compiled, and no GPU memory is taken.

    Args:
        device: "auto", "cpu" or "cuda".
        precision: "fp32" or "bf16".

    Raises:
        ModelError: no such device here.
    """
    place = resolve_device(device)
    return {name: _obstacle(name, place, precision) for name in RUNTIMES}


@dataclass(frozen=True)
class _Target:
    """Where and how a network is executed: every "auto" is resolved, and the choice is possible."""

    device: torch.device
    precision: str
    runtime: str

    @classmethod
    def of(cls, *, device: str, precision: str, runtime: str) -> _Target:
        if runtime not in ("auto", *RUNTIMES):
            raise ModelError(f"runtime {runtime!r}: expected one of auto, {', '.join(RUNTIMES)}")
        place = resolve_device(device)
        target = cls(
            place, resolve_precision(precision, place), AUTO if runtime == "auto" else runtime
        )
        try:
            _part(target.runtime, "check")(target.device, target.precision)
        except UsageError as error:
            others = [name for name in RUNTIMES if not _obstacle(name, place, target.precision)]
            raise type(error)(
                f"runtime {runtime!r}: {error} (on this {place.type}, {target.precision}, work: "
                f"{', '.join(others)})"
            ) from error
        return target

    def prepare(self, network: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
        """Hand the network to the runtime."""
        made: Callable[[torch.Tensor], Any] = _part(self.runtime, "prepare")(
            network, device=self.device, precision=self.precision
        )
        return made


def _part(runtime: str, function: str) -> Any:
    """Return a function of the module of a runtime, imported on demand."""
    return resolve(f"{RUNTIMES[runtime]}:{function}", {}, kind="runtime")


def _obstacle(runtime: str, device: torch.device, precision: str) -> str:
    """Return why a runtime does not work here; "" if it does."""
    try:
        _part(runtime, "check")(device, precision)
    except UsageError as error:
        return str(error)
    return ""


_runtimes: dict[tuple[str, str, str, _Target, int], Runtime] = {}
_runtimes_lock = threading.Lock()


def _loaded(item: ModelItem, target: _Target, room: int) -> Runtime:
    """Return the network of an item as a runtime, from the cache of this process if it is there.

    With a plain lru_cache two threads of a worker could load the same weights at once. The number
    of threads is part of the key, because compiled networks have it built in; so is the path, as a
    copy of a known model may have other weights than its item says.
    """
    known = (str(item.reference), item.item_sha256, digest(item))
    key = (*known, target, torch.get_num_threads())
    with _runtimes_lock:
        if key not in _runtimes:
            while len(_runtimes) >= room:
                del _runtimes[next(iter(_runtimes))]
            _runtimes[key] = PreparedRuntime(
                network=target.prepare(build_network(item).to(target.device)),
                device=target.device,
                precision=target.precision,
                name=target.runtime,
                bands=item.bands,
                scaling=item.scaling,
                fill=item.fill,
                temperature=item.temperature,
            )
        return _runtimes[key]


def _settled(module: nn.Module, device: torch.device) -> nn.Module:
    """Return the module in eval mode on the device: itself if it is so already, else a copy."""
    tensors = [*module.parameters(), *module.buffers()]
    in_place = all(tensor.device.type == device.type for tensor in tensors)
    if in_place and not any(part.training for part in module.modules()):
        return module
    return copy.deepcopy(module).eval().to(device)
