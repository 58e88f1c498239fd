"""A network -> one graph of tensor operations: the code that graph runtimes share."""

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

# Largest change of a probability by folding; rounding changes it by 1e-6.
_FOLDED_MOVES = 1e-4

# Characters of a library's message: a sentence or two; the rest is its stack.
_REASON_LENGTH = 300


def snapshot(network: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    """Copy a module, without gradients, so that it may be cast or folded; a function is kept.

    The weights of a graph are constants. With a copy, training the module further cannot change a
    part of the graph. The copy has no dead taps (`taps`).
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

    A module is cast as a whole: as fast on a CPU as autocast, and ten times closer to fp32 when
    compiled, as the sigmoid is then computed before the result is rounded (DeepLabv3+, 10 bands:
    1.4e-4 against 2e-3). A function is autocast, as its weights cannot be reached.
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

    The pairs are found while a batch goes through: the output of the convolution is the input of
    the normalisation, and each is called once. Tracing is not possible, as networks read the size
    of their input in Python. If something else uses that output too, the result differs, which is
    checked at the end.

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
    """Return names of convolutions and of the normalisations after them, and the output."""
    made: dict[int, str] = {}
    calls: Counter[str] = Counter()
    pairs: list[tuple[str, str]] = []
    kept: list[torch.Tensor] = []  # an id is unique only while its tensor lives

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
    """Fold a normalisation into the weights of a convolution, and replace it by the identity."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    before: Any = module.get_submodule(convolution)
    after: Any = module.get_submodule(normalisation)
    module.set_submodule(convolution, fuse_conv_bn_eval(before, after))
    module.set_submodule(normalisation, nn.Identity())


def _float(output: Any) -> Any:
    """Return the output in float32; the shape check refuses what is no tensor."""
    return output.float() if isinstance(output, torch.Tensor) else output


@contextmanager
def capturing(runtime: str) -> Iterator[None]:
    """Turn every error of a library that captures a network into one, and silence its warnings.

    PyTorch 2.13 warns about deprecated parts that its own compiler uses. The filter holds for the
    whole process, so warnings of other threads may be lost meanwhile.

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
            # A network is foreign code, and no library lists the errors it raises.
            reason = " ".join(str(error).split())[:_REASON_LENGTH]
            raise ModelError(
                f"runtime {runtime!r} cannot take this network ({type(error).__name__}: {reason}); "
                "use runtime 'eager'"
            ) from error
