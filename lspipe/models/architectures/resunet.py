"""Residual U-Net of Ghorbanzadeh et al. 2021: strided residual blocks instead of pooling.

Source: paper 003, Table 3 and text. The table lists the 15 convolutions of the main path and leaves
open how features are raised and shortcuts are made; here they are 2x2 transposed convolutions that
halve the feature maps, and 1x1 projections: 8 049 153 parameters with 4 channels. Paper 001 names
Zhang et al. 2018, who raise features without weights: bilinearly, 8 221 633 with 4 channels. All
eight forms that agree with Table 3 can be built (`upsampling`, `is_plain`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, cut, resized

Upsampling = Literal["transposed", "transposed-keep", "transposed-3x3", "bilinear"]

DEPTH = 4
"""Levels of the encoder: `filters` doubled three times."""


class ResUNet(nn.Module):
    """Encoder and decoder of residual units with skips by concatenation; sigmoid inside.

    Any window size works: strides round up, and what was raised is cut to the size of its skip. For
    multiples of 8 the sizes are those of Table 3.

    Args:
        in_channels: number of channels C.
        filters: feature maps of the first level; 64 in the paper.
        upsampling: "transposed" (2x2 convolutions that halve the maps), "transposed-keep" (2x2,
            as many maps as before), "transposed-3x3" (that halve the maps) or "bilinear".
        is_plain: shortcuts without weights and nothing normalised, as only the listed layers.

    Raises:
        ValueError: in_channels or filters below 1, or another way of up-sampling.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        filters: int = 64,
        upsampling: Upsampling = "transposed",
        is_plain: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels, filters=filters)
        if upsampling not in get_args(Upsampling):
            expected = ", ".join(get_args(Upsampling))
            raise ValueError(f"upsampling: found {upsampling!r}, expected one of {expected}")
        unit = _PlainUnit if is_plain else _ResidualUnit
        widths = [filters * 2**level for level in range(DEPTH)]
        self.encoder = nn.ModuleList([unit(in_channels, filters, is_first=True)])
        self.encoder.extend(unit(before, after, stride=2) for before, after in pairwise(widths))
        raised = list(reversed(widths[:-1]))
        self.up = nn.ModuleList(_up(upsampling, width) for width in raised)
        # Together with those of the skip, which has half as many maps as what is raised.
        joined = 3 if upsampling in ("bilinear", "transposed-keep") else 2
        self.decoder = nn.ModuleList(unit(joined * width, width) for width in raised)
        self.head = nn.Conv2d(filters, 1, kernel_size=1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        features = windows
        skips = []
        for block in self.encoder:
            features = block(features)
            skips.append(features)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips[:-1]), strict=True):
            features = block(torch.cat([skip, up(features, skip)], dim=1))
        return torch.sigmoid(self.head(features))


def l4s_resunet(in_channels: int) -> ResUNet:
    """Build the ResU-Net of paper 001."""
    return ResUNet(in_channels, upsampling="bilinear")


def _up(upsampling: Upsampling, width: int) -> nn.Module:
    if upsampling == "bilinear":
        return _Bilinear()
    if upsampling == "transposed-3x3":
        return _Transposed(2 * width, width, kernel_size=3, stride=2, padding=1, output_padding=1)
    after = 2 * width if upsampling == "transposed-keep" else width
    return _Transposed(2 * width, after, kernel_size=2, stride=2)


class _Transposed(nn.ConvTranspose2d):
    """Twice the size, cut to that of the skip."""

    def forward(self, features: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return cut(super().forward(features), skip)


class _Bilinear(nn.Module):
    def forward(self, features: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return resized(features, skip)


class _ResidualUnit(nn.Module):
    """y = h(x) + F(x): normalised before each convolution, h a 1x1 projection (equations 1, 2).

    The first unit of the network takes raw channels, so nothing is normalised before its first
    convolution (Zhang et al. 2018, the ResU-Net that the paper follows).
    """

    def __init__(self, before: int, after: int, *, stride: int = 1, is_first: bool = False) -> None:
        super().__init__()
        ready: list[nn.Module] = [] if is_first else [nn.BatchNorm2d(before), nn.ReLU()]
        self.residual = nn.Sequential(
            *ready,
            nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, kernel_size=3, padding=1),
        )
        self.shortcut = nn.Conv2d(before, after, kernel_size=1, stride=stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.shortcut(features) + self.residual(features)
        return output


class _PlainUnit(nn.Module):
    """y = x + F(x) without normalisation; x is strided, and padded with zeros or cut to the maps.

    He et al. 2016, shortcut A. In the decoder what is kept by cutting is the skip, which is first.
    """

    def __init__(self, before: int, after: int, *, stride: int = 1, is_first: bool = False) -> None:
        super().__init__()
        ready: list[nn.Module] = [] if is_first else [nn.ReLU()]
        self.residual = nn.Sequential(
            *ready,
            nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1),
            nn.ReLU(),
            nn.Conv2d(after, after, kernel_size=3, padding=1),
        )
        self.stride = stride
        self.more_maps = after - before

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        kept = features[:, :, :: self.stride, :: self.stride]
        # A negative number of maps to pad with cuts the last ones off.
        kept = nn.functional.pad(kept, (0, 0, 0, 0, 0, self.more_maps))
        output: torch.Tensor = kept + self.residual(features)
        return output
