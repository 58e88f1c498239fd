"""Parts that several networks are made of."""

from __future__ import annotations

import torch
from torch import nn


def convolution(
    before: int,
    after: int,
    size: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Sequential:
    """Convolution that keeps the size (but for its stride), batch normalisation, ReLU.

    A bias before the normalisation has no effect; some published counts of weights hold one.
    """
    return nn.Sequential(
        nn.Conv2d(
            before,
            after,
            size,
            stride=stride,
            padding=dilation * (size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        ),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def resized(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Interpolate bilinearly to the height and width of another tensor."""
    return nn.functional.interpolate(
        features, size=like.shape[-2:], mode="bilinear", align_corners=False
    )


def cut(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Leave out the rows and columns that rounding up has added."""
    return features[..., : like.shape[-2], : like.shape[-1]]


def check_sizes(**counts: int) -> None:
    """Refuse numbers of channels or filters below 1.

    Raises:
        ValueError: names the first one.
    """
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}: found {count!r}, expected a whole number from 1")
