"""SQNet: a SqueezeNet-like encoder with ELU, parallel dilated convolutions, refined skips.

16.24 M weights with 14 channels and two outputs. Paper 001 names the network and gives no layers:
those are of Treml et al. 2016, figure 2; what it leaves open is
chosen so that a refinement has as many maps as its skip has, twice.

Source: paper 001, section III-H; Treml et al. 2016; Iandola et al. 2016 for the fire module.
"""

from __future__ import annotations

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, cut

DILATIONS = (1, 2, 3, 4)
"""Of the convolutions in parallel, whose results are added."""


class SQNet(nn.Module):
    """Encoder of fire modules, decoder with refinement modules; sigmoid inside.

    Any window size works: poolings round up, and what was raised is cut to the size of its skip.

    Args:
        in_channels: number of channels C; 14 in the paper.

    Raises:
        ValueError: in_channels below 1.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels)
        self.encoder = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(in_channels, 96, kernel_size=3, stride=2, padding=1), nn.ELU()
                ),
                nn.Sequential(_Fire(96, 16, 128), _Fire(128, 16, 128)),
                nn.Sequential(_Fire(128, 32, 256), _Fire(256, 32, 256)),
                nn.Sequential(_Fire(256, 64, 512), _Fire(512, 64, 512), _Fire(512, 64, 512)),
            ]
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.context = _ParallelDilated(512)
        self.decoder = nn.ModuleList(
            [_Refinement(512, 256), _Refinement(512, 128), _Refinement(256, 96)]
        )
        self.head = nn.ConvTranspose2d(192, 1, kernel_size=3, stride=2, padding=1, output_padding=1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        features, skips = windows, []
        for level, stage in enumerate(self.encoder):
            features = stage(features if level == 0 else self.pool(features))
            skips.append(features)
        features = self.context(features)
        for refine, skip in zip(self.decoder, reversed(skips[:-1]), strict=True):
            features = refine(features, skip)
        return torch.sigmoid(cut(self.head(features), windows))


class _Fire(nn.Module):
    """Squeeze to few maps, then expand by 1x1 and by 3x3 convolutions side by side."""

    def __init__(self, before: int, squeezed: int, after: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(before, squeezed, kernel_size=1), nn.ELU())
        self.expand = nn.ModuleList(
            [
                nn.Conv2d(squeezed, after // 2, kernel_size=1),
                nn.Conv2d(squeezed, after // 2, kernel_size=3, padding=1),
            ]
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        squeezed = self.squeeze(features)
        expanded = torch.cat([branch(squeezed) for branch in self.expand], dim=1)
        return nn.functional.elu(expanded)


class _ParallelDilated(nn.Module):
    """Convolutions of several dilations, added up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, kernel_size=3, padding=rate, dilation=rate)
            for rate in DILATIONS
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        parts = [nn.functional.elu(branch(features)) for branch in self.branches]
        return torch.stack(parts).sum(0)


class _Refinement(nn.Module):
    """Raise features to the size of a skip, and convolve both together."""

    def __init__(self, before: int, skip: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(
            before, skip, kernel_size=3, stride=2, padding=1, output_padding=1
        )
        self.lateral = nn.Conv2d(skip, skip, kernel_size=3, padding=1)
        self.merge = nn.Conv2d(2 * skip, 2 * skip, kernel_size=3, padding=1)

    def forward(self, features: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        raised = nn.functional.elu(cut(self.up(features), skip))
        lateral = nn.functional.elu(self.lateral(skip))
        return nn.functional.elu(self.merge(torch.cat([lateral, raised], dim=1)))
