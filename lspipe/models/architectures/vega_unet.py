"""U-Net of Vega and Hidalgo: 3x3 convolutions, 2x2 max-pooling, 2x2 up-sampling; 16 to 64 filters.

A 2x2 up-sampling is followed by a 3x3 convolution. The paper does not give the number of levels:
four are taken. With transposed 2x2 convolutions instead, as in the classic U-Net, there are 31.03 M
weights with 64 filters, 7.76 M with 32 and 1.94 M with 16. Both choices are arguments.

Source: paper 004, section 2.3; Ronneberger et al. 2015; docs/method.md, Networks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, cut

Upsampling = Literal["nearest", "transposed"]


class VegaUNet(nn.Module):
    """Contracting and expanding path with skips by concatenation; sigmoid inside.

    Any window size works: pooling rounds up, and what was raised is cut to the size of its skip.

    Args:
        in_channels: number of channels C; 3, 5 or 7 in the paper.
        filters: feature maps of the first level; the best of the paper were 64 (3 and 5 channels)
            and 32 (7 channels).
        levels: how often the window is halved.
        upsampling: "nearest" followed by a 3x3 convolution, or "transposed" (2x2, learnt).

    Raises:
        ValueError: a number below 1, or another way of up-sampling.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        filters: int = 64,
        levels: int = 4,
        upsampling: Upsampling = "nearest",
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, filters=filters, levels=levels)
        if upsampling not in get_args(Upsampling):
            raise ValueError(f"upsampling: found {upsampling!r}, expected nearest or transposed")
        widths = [filters * 2**level for level in range(levels + 1)]
        self.encoder = nn.ModuleList(
            _double(before, after) for before, after in pairwise((in_channels, *widths))
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.up = nn.ModuleList(_up(width, upsampling) for width in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(_double(2 * width, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(filters, 1, kernel_size=1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        features, skips = windows, []
        for level, block in enumerate(self.encoder):
            features = block(features if level == 0 else self.pool(features))
            skips.append(features)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips[:-1]), strict=True):
            features = block(torch.cat([skip, cut(up(features), skip)], dim=1))
        return torch.sigmoid(self.head(features))


def _double(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
    )


def _up(width: int, upsampling: Upsampling) -> nn.Module:
    if upsampling == "transposed":
        return nn.ConvTranspose2d(2 * width, width, kernel_size=2, stride=2)
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, width, kernel_size=3, padding=1)
    )
