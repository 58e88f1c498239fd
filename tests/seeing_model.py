"""A network that sees directions and the rim of its window, for tests of how it is laid over.

A model item names it as "tests.seeing_model:Seeing"; it has no weights to be learnt or read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tests import pixel_models

if TYPE_CHECKING:
    from pathlib import Path


class Seeing(nn.Module):
    """Red against near infrared, mixed with what lies to the lower right."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(in_channels, 1, 3, padding=1)
        with torch.no_grad():
            self.mix.weight.zero_()
            self.mix.weight[0, 2, 1, 1] = 12.0
            self.mix.weight[0, 3, 1, 1] = -3.0
            self.mix.weight[0, 3, 2, 2] = -2.0
            self.mix.bias.fill_(0.3)

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4, w, w) surface reflectance into (N, 1, w, w) probabilities."""
        return torch.sigmoid(self.mix(reflectance))


def write_item(path: Path, *, window: int = 16, **properties: Any) -> Path:
    """Write the model item of `Seeing`, with further properties, such as "lspipe:threshold"."""
    pixel_models.write_item(path, window=window)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["id"] = path.stem
    document["properties"] |= {
        "mlm:name": path.stem,
        "lspipe:architecture": f"{__name__}:Seeing",
        **properties,
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
