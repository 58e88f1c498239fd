"""How large a network is, without its weights being made: parameters, operations per window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from lspipe.models import build

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Size:
    """What a network costs."""

    parameters: int
    gflop: float
    """Floating-point operations of one window, 1e9; a multiplication and its addition are two."""


def size_of(name: str, channels: int, window: int) -> Size:
    """Count the weights and the operations of a network; takes no memory for either.

    Args:
        name: of an architecture, see `lspipe.models.build`.
        channels: number of channels C.
        window: edge, pixels.

    Raises:
        MissingExtra: it needs a package that is not installed.
    """
    network = _without_memory(name, channels).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, channels, window, window, device="meta"))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Size(parameters, counter.get_total_flops() / 1e9)


def _without_memory(name: str, channels: int) -> nn.Module:
    """Build on the device that holds no values; by way of the CPU where a network looks at some."""
    try:
        with torch.device("meta"):
            return build(name, channels)
    except RuntimeError:
        return build(name, channels).to("meta")
