"""U-Net of Landslide4Sense: the only network of paper 001 whose code its authors published.

Four halvings by max-pooling, features raised bilinearly (corners aligned), skips by concatenation,
two convolutions with batch normalisation per level: 17 273 794 weights with 14 channels and the two
outputs of the original; here one output and a sigmoid, 65 weights less.

Source: paper 001, section III-I; github.com/iarai/Landslide4Sense-2022 (model/Networks.py).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, convolution

WIDTHS = (64, 128, 256, 512, 512)
"""Feature maps of each level; the deepest is not doubled, as nothing but its size is raised."""


class L4SUNet(nn.Module):
    """U-Net with bilinear up-sampling; sigmoid inside; any window size works.

    Args:
        in_channels: number of channels C; 14 in the paper.

    Raises:
        ValueError: in_channels below 1.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels)
        self.encoder = nn.ModuleList(
            _double(before, after, after) for before, after in pairwise((in_channels, *WIDTHS))
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        # Each level gives as many maps as the next higher one has: the skip doubles them again.
        joined = [2 * width for width in reversed(WIDTHS[:-1])]
        given = [256, 128, 64, 64]
        self.decoder = nn.ModuleList(
            _double(before, before // 2, after) for before, after in zip(joined, given, strict=True)
        )
        self.head = nn.Conv2d(WIDTHS[0], 1, kernel_size=1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        features, skips = windows, []
        for level, block in enumerate(self.encoder):
            features = block(features if level == 0 else self.pool(features))
            skips.append(features)
        for block, skip in zip(self.decoder, reversed(skips[:-1]), strict=True):
            raised = nn.functional.interpolate(
                features, size=skip.shape[-2:], mode="bilinear", align_corners=True
            )
            features = block(torch.cat([skip, raised], dim=1))
        return torch.sigmoid(self.head(features))


def _double(before: int, between: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(before, between, bias=True), convolution(between, after, bias=True)
    )
