"""DeepLab-v2: ResNet-101 at 1/8 of the resolution, and four atrous convolutions added up.

42.68 M weights with 14 channels and two outputs. The fully connected random field that the original
puts behind the network is left out: it looks at the colours of a photograph, and paper 001 does not
say that it was used.

Source: paper 001, section III-D; Chen et al. 2018 (DeepLab-v2, ASPP-L: rates 6, 12, 18, 24).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, resized
from lspipe.models.architectures.smp import encoder

if TYPE_CHECKING:
    from collections.abc import Sequence


class DeepLabV2(nn.Module):
    """Dilated ResNet-101 with ASPP; sigmoid inside; windows of a multiple of 8 pixels.

    Args:
        in_channels: number of channels C; 14 in the paper.
        atrous_rates: dilation of each of the convolutions that are added.

    Raises:
        ValueError: in_channels or a rate below 1.
    """

    def __init__(self, in_channels: int, *, atrous_rates: Sequence[int] = (6, 12, 18, 24)) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, **{f"rate_{rate}": rate for rate in atrous_rates})
        self.encoder = encoder("resnet101", in_channels, output_stride=8)
        self.heads = nn.ModuleList(
            nn.Conv2d(self.encoder.out_channels[-1], 1, 3, padding=rate, dilation=rate)
            for rate in atrous_rates
        )

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        features = self.encoder(windows)[-1]
        score = torch.stack([head(features) for head in self.heads]).sum(0)
        return torch.sigmoid(resized(score, windows))
