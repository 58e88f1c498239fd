"""U-Net of Ghorbanzadeh et al. 2021: 23 convolutions, no batch normalisation.

Source: paper 003, Table 2. Its text speaks of 512 feature maps after the last block, its table of
256: the table is what is built here, 2 158 849 parameters with 4 channels.
"""

from __future__ import annotations

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes

DEPTH = 5
"""Levels of the encoder: `filters` doubled four times."""


class GhorbUNet(nn.Module):
    """Contracting and expanding path with skips by concatenation; sigmoid inside.

    Any window size works: pooling rounds up, and each up-convolution aims at the size of its skip.
    For multiples of 16 the sizes are those of Table 2.

    Args:
        in_channels: number of channels C.
        filters: feature maps of the first level; 16 in the paper.

    Raises:
        ValueError: in_channels or filters below 1.
    """

    def __init__(self, in_channels: int, *, filters: int = 16) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, filters=filters)
        widths = [filters * 2**level for level in range(DEPTH)]
        self.encoder = nn.ModuleList(
            _double_convolution(before, after)
            for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        # Rounding up keeps the last row and column of an odd size.
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, kernel_size=3, stride=2, padding=1)
            for width in reversed(widths[:-1])
        )
        self.decoder = nn.ModuleList(
            _double_convolution(2 * width, width) for width in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(filters, 1, kernel_size=1)
        self.apply(_initialise)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        features = windows
        skips = []
        for level, block in enumerate(self.encoder):
            features = block(features if level == 0 else self.pool(features))
            skips.append(features)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips[:-1]), strict=True):
            raised = up(features, output_size=skip.shape[-2:])
            features = block(torch.cat([skip, raised], dim=1))
        return torch.sigmoid(self.head(features))


def _double_convolution(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(after, after, kernel_size=3, padding=1),
        nn.ReLU(),
    )


def _initialise(layer: nn.Module) -> None:
    """Keep the variance through a deep network without normalisation (He et al. 2015)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.bias is not None:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
