"""FCN-8s: VGG-16 without its classifier's flattening, and scores of three depths added up.

The fully connected layers of VGG-16 are convolutions of 4096 maps; scores at 1/32 are raised to
1/16 and 1/8 by transposed convolutions and added to scores of pools 4 and 3, then raised by 8.
134.28 M weights with 14 channels.

Source: paper 001, section III-A; Shelhamer, Long and Darrell 2017. Their padding of the input by
100 pixels is left out, as every convolution keeps the size here.
"""

from __future__ import annotations

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, cut

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Feature maps of the convolutions of VGG-16 (configuration D) before each pooling."""

HIDDEN = 4096


class FCN8s(nn.Module):
    """Fully convolutional VGG-16 with skips from pools 3 and 4; sigmoid inside.

    Any window size works: poolings round up, and what was raised is cut to the size of its skip.

    Args:
        in_channels: number of channels C; 14 in the paper.

    Raises:
        ValueError: in_channels below 1.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels)
        self.stages = nn.ModuleList()
        before = in_channels
        for widths in STAGES:
            self.stages.append(_stage(before, widths))
            before = widths[-1]
        self.classifier = nn.Sequential(
            nn.Conv2d(before, HIDDEN, kernel_size=7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
            nn.Conv2d(HIDDEN, HIDDEN, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
            nn.Conv2d(HIDDEN, 1, kernel_size=1),
        )
        self.score4 = nn.Conv2d(STAGES[3][-1], 1, kernel_size=1)
        self.score3 = nn.Conv2d(STAGES[2][-1], 1, kernel_size=1)
        self.up5, self.up4 = (
            nn.ConvTranspose2d(1, 1, kernel_size=4, stride=2, padding=1, bias=False)
            for _ in range(2)
        )
        self.up3 = nn.ConvTranspose2d(1, 1, kernel_size=16, stride=8, padding=4, bias=False)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        features, pools = windows, []
        for stage in self.stages:
            features = stage(features)
            pools.append(features)
        score4, score3 = self.score4(pools[3]), self.score3(pools[2])
        score = score4 + cut(self.up5(self.classifier(features)), score4)
        score = score3 + cut(self.up4(score), score3)
        return torch.sigmoid(cut(self.up3(score), windows))


def _stage(before: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for after in widths:
        layers += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
        before = after
    return nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True))
