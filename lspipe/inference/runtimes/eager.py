"""A network called as plain PyTorch, without gradients and without autotuning.

Takes any callable. bf16 is autocast: convolutions compute in bf16, and weights stay as they are.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lspipe.inference.runtimes.devices import reproducible

if TYPE_CHECKING:
    from collections.abc import Callable


def check(device: torch.device, precision: str) -> None:
    """Refuse nothing: plain PyTorch works on every device."""


def prepare(
    network: Callable[[torch.Tensor], Any], *, device: torch.device, precision: str
) -> Callable[[torch.Tensor], Any]:
    """Call the network itself; later changes of its weights count."""
    return _Eager(network, device, precision)


@dataclass(frozen=True)
class _Eager:
    # A class, not a closure: dask may have to send a caller's network to its workers.
    network: Callable[[torch.Tensor], Any]
    device: torch.device
    precision: str

    def __call__(self, batch: torch.Tensor) -> Any:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(reproducible(self.device))
            if self.precision == "bf16":
                stack.enter_context(torch.autocast(self.device.type, dtype=torch.bfloat16))
            return self.network(batch)
