"""U-Net ("vanilla") of Yali Samaniego 2024: one batch normalisation per block.

A block is conv-ReLU-conv-BN-ReLU. Encoder 64-128-256-512 with max-pooling, a bridge 512-1024-512;
transposed 2x2 convolutions keep the number of maps; decoder blocks give 256, 128, 64, 64 maps.
23 375 233 weights with 3 channels, 23 376 961 with 6, 23 381 569 with 14: the "~23.4M" of Table 5.

Source: paper 002, Table 5 and section on models; github.com/ryali93/lanslide4sat_pl
(scripts/model.py).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, cut

WIDTHS = (64, 128, 256, 512)


class YaliUNet(nn.Module):
    """Contracting and expanding path with skips by concatenation; sigmoid inside.

    Any window size works: pooling rounds up, and what was raised is cut to the size of its skip.

    Args:
        in_channels: number of channels C; 6 or 14 in the paper.

    Raises:
        ValueError: in_channels below 1.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels)
        self.encoder = nn.ModuleList(
            _block(before, after, after) for before, after in pairwise((in_channels, *WIDTHS))
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        deepest = WIDTHS[-1]
        self.bridge = _block(deepest, 2 * deepest, deepest)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width, width, kernel_size=2, stride=2) for width in reversed(WIDTHS)
        )
        self.decoder = nn.ModuleList(
            _block(2 * width, width, max(WIDTHS[0], width // 2)) for width in reversed(WIDTHS)
        )
        self.head = nn.Conv2d(WIDTHS[0], 1, kernel_size=1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        features, skips = windows, []
        for block in self.encoder:
            skips.append(block(features))
            features = self.pool(skips[-1])
        features = self.bridge(features)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips), strict=True):
            features = block(torch.cat([skip, cut(up(features), skip)], dim=1))
        return torch.sigmoid(self.head(features))


def _block(before: int, between: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, between, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(between, after, kernel_size=3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
