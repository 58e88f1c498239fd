"""ContextNet: a deep branch at a quarter of the resolution for context, a shallow one for detail.

0.88 M weights with 14 channels. Paper 001 names the network and gives no layers: those are of
Poudel et al. 2018 (tables 1 and 2), whose bottleneck is that of MobileNet V2. A last convolution of
the deep branch (3x3, 0.15 M weights) is left out, as in the implementation whose count is known.

Source: paper 001, section III-C; Poudel, Bonde, Liwicki and Zach 2018 (arXiv 1805.04554).
"""

from __future__ import annotations

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, convolution, resized

BOTTLENECKS = (
    (1, 32, 1, 1),
    (6, 32, 1, 1),
    (6, 48, 3, 2),
    (6, 64, 3, 2),
    (6, 96, 2, 1),
    (6, 128, 2, 1),
)
"""(expansion, feature maps, repeats, stride of the first) of the deep branch."""


class ContextNet(nn.Module):
    """Two branches added at 1/8 of the resolution; sigmoid inside; any window size works.

    Args:
        in_channels: number of channels C; 14 in the paper.

    Raises:
        ValueError: in_channels below 1.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels)
        self.shallow = nn.Sequential(
            convolution(in_channels, 32, stride=2),
            _separable(32, 64, stride=2),
            _separable(64, 128, stride=2),
            _separable(128, 128),
        )
        deep: list[nn.Module] = [convolution(in_channels, 32, stride=2)]
        before = 32
        for expansion, after, repeats, stride in BOTTLENECKS:
            for number in range(repeats):
                deep.append(_Bottleneck(before, after, expansion, stride if number == 0 else 1))
                before = after
        self.deep = nn.Sequential(*deep)
        self.context = nn.Sequential(
            convolution(128, 128, dilation=4, groups=128),
            _linear(128, 128),
        )
        self.detail = _linear(128, 128)
        self.head = nn.Sequential(
            _separable(128, 128),
            _separable(128, 128),
            nn.Dropout2d(0.1),
            nn.Conv2d(128, 1, kernel_size=1),
        )

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        detail = self.shallow(windows)
        quarter = nn.functional.interpolate(
            windows, size=[-(-edge // 4) for edge in windows.shape[-2:]], mode="bilinear"
        )
        context = self.context(resized(self.deep(quarter), detail))
        score = self.head(torch.relu(context + self.detail(detail)))
        return torch.sigmoid(resized(score, windows))


def _separable(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution of each channel for itself, then one over the channels."""
    return nn.Sequential(
        convolution(before, before, stride=stride, groups=before), convolution(before, after, 1)
    )


def _linear(before: int, after: int) -> nn.Sequential:
    """A 1x1 convolution and its normalisation, without ReLU."""
    return nn.Sequential(nn.Conv2d(before, after, kernel_size=1, bias=False), nn.BatchNorm2d(after))


class _Bottleneck(nn.Module):
    """Widen, convolve each channel for itself, narrow; with a shortcut where the shape stays."""

    def __init__(self, before: int, after: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = before * expansion
        self.has_shortcut = stride == 1 and before == after
        self.body = nn.Sequential(
            convolution(before, wide, 1),
            convolution(wide, wide, stride=stride, groups=wide),
            _linear(wide, after),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.body(features)
        return features + output if self.has_shortcut else output
