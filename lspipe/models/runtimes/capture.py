"""A network -> one graph of tensor operations: what the runtimes that need one have in common."""

from __future__ import annotations

import copy
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lspipe.errors import LspipeError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A sentence or two of what a library says; the rest is its own stack.
_REASON_LENGTH = 300


def snapshot(network: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    """Copy a module, without gradients, so that it may be cast or folded; a function is kept.

    The weights of a graph are constants. A copy says so: a module that is trained on does not
    change half of what was compiled from it.
    """
    if not isinstance(network, nn.Module):
        return network
    # Parameters that are copied in inference mode could not be captured.
    with torch.inference_mode(mode=False):
        return copy.deepcopy(network).eval().requires_grad_(requires_grad=False)


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
        except (LspipeError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # A network is anybody's code, and none of the libraries lists what it raises.
            reason = " ".join(str(error).split())[:_REASON_LENGTH]
            raise ModelError(
                f"runtime {runtime!r} cannot take this network ({type(error).__name__}: {reason}); "
                "use runtime 'eager'"
            ) from error
