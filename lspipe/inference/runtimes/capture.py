"""A network -> one graph of tensor operations: what the runtimes that need one have in common."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lspipe.errors import LspipeError, ModelError
from lspipe.inference.runtimes.devices import is_out_of_memory
from lspipe.inference.runtimes.taps import without_dead_taps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What folding may move a probability by; rounding moves it by 1e-6.
_FOLDED_MOVES = 1e-4

# A sentence or two of the message of a library; the rest is its own stack.
_REASON_LENGTH = 300


def snapshot(network: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    """Copy a module, without gradients, so that it may be cast or folded; a function is kept.

    The weights of a graph are constants, so a copy is taken: a module that is trained on does not
    change half of what was compiled from it. The copy leaves out what `taps` selects.
    """
    if not isinstance(network, nn.Module):
        return network
    # Parameters that are copied in inference mode could not be captured.
    with torch.inference_mode(mode=False):
        twin = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    return without_dead_taps(twin)


def casting(
    network: Callable[[torch.Tensor], Any],
    *,
    device: torch.device,
    precision: str,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Callable[[torch.Tensor], Any]:
    """Return float32 in, float32 out, computed in a precision; a module is cast in place.

    A module is cast whole rather than autocast: equally fast on a CPU, and ten times closer to
    fp32 when compiled, as the sigmoid is then computed before the result is rounded (DeepLabv3+,
    10 bands: 1.4e-4 against 2e-3). The weights of a function are out of reach: it is autocast.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if isinstance(network, nn.Module):
        # torch's stubs lack its memory format.
        network.to(dtype=dtype, memory_format=memory_format)  # type: ignore[call-overload]

        def cast(batch: torch.Tensor) -> Any:
            return _float(network(batch.to(dtype=dtype, memory_format=memory_format)))

        return cast

    def autocast(batch: torch.Tensor) -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            return _float(network(batch.to(memory_format=memory_format)))

    return autocast


def folded(module: nn.Module, batch: torch.Tensor) -> nn.Module:
    """Fold batch normalisations into the convolutions before them.

    Which convolution is before which normalisation is seen while a batch goes through: one whose
    output is what the normalisation is given, each called once. Tracing would not do: networks
    look at the size of their input in Python. That nothing else used that output is then checked
    by the result.

    Args:
        module: in eval mode, fp32; not modified.
        batch: (N, C, w, w) that it takes.

    Returns:
        A folded copy, or the module itself where nothing can be folded, or the result moved by more
        than `_FOLDED_MOVES`.
    """
    twin = copy.deepcopy(module)
    pairs, expected = _followers(twin, batch)
    for convolution, normalisation in pairs:
        _fold(twin, convolution, normalisation)
    if not pairs or not isinstance(expected, torch.Tensor):
        return module
    is_same = torch.allclose(twin(batch), expected, rtol=0, atol=_FOLDED_MOVES)
    return twin if is_same else module


def _followers(module: nn.Module, batch: torch.Tensor) -> tuple[list[tuple[str, str]], Any]:
    """Names of convolutions and of the normalisations that follow; and the network's answer."""
    made: dict[int, str] = {}
    calls: Counter[str] = Counter()
    pairs: list[tuple[str, str]] = []
    kept: list[torch.Tensor] = []  # an id is that of one tensor only while the tensor lives

    def made_by(name: str, output: torch.Tensor) -> None:
        calls[name] += 1
        made[id(output)] = name
        kept.append(output)

    def given_to(name: str, features: torch.Tensor) -> None:
        calls[name] += 1
        if id(features) in made:
            pairs.append((made[id(features)], name))

    hooks = []
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            hook = part.register_forward_hook(lambda _, __, out, name=name: made_by(name, out))
            hooks.append(hook)
        elif isinstance(part, nn.BatchNorm2d):
            hook = part.register_forward_hook(
                lambda _, given, __, name=name: given_to(name, *given)
            )
            hooks.append(hook)
    try:
        answer = module(batch)
    finally:
        for hook in hooks:
            hook.remove()
    once = [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]
    return once, answer


def _fold(module: nn.Module, convolution: str, normalisation: str) -> None:
    """Put a normalisation into the weights of a convolution, and nothing in its place."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    before: Any = module.get_submodule(convolution)
    after: Any = module.get_submodule(normalisation)
    module.set_submodule(convolution, fuse_conv_bn_eval(before, after))
    module.set_submodule(normalisation, nn.Identity())


def _float(output: Any) -> Any:
    """The output in float32; what is no tensor is left for the shape check to refuse."""
    return output.float() if isinstance(output, torch.Tensor) else output


@contextmanager
def capturing(runtime: str) -> Iterator[None]:
    """Turn whatever keeps a library from taking a network into one error, and keep it quiet.

    Source of the warnings: PyTorch 2.13 deprecates parts of itself that its own compiler uses. The
    filter is of the whole process, so warnings of other threads may be lost meanwhile.

    Raises:
        ModelError: the runtime cannot take the network.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(torch|openvino)(\.|$)")
        # Raised for torch's own calls, but attributed to the standard library (copyreg).
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        try:
            yield
        except LspipeError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # A network is foreign code, and none of the libraries lists what it raises.
            reason = " ".join(str(error).split())[:_REASON_LENGTH]
            raise ModelError(
                f"runtime {runtime!r} cannot take this network ({type(error).__name__}: {reason}); "
                "use runtime 'eager'"
            ) from error
