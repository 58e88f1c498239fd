"""U-Net on an EfficientNet-Lite0: small, quick on a processor, and with an encoder to start from.

In no paper here: it is the network of `shipped:l4s-rgb`. The encoder is that of Tan and Le 2019
(arXiv 1905.11946) in its "Lite" form: inverted residuals (Sandler et al. 2018, arXiv 1801.04381)
with ReLU6, without squeeze-and-excitation, and without its last convolution. Its layers are called
as in timm, so that `tf_efficientnet_lite0` fits as encoder weights. TensorFlow, where these weights
come from, pads strided convolutions on one side; here both sides are padded.

The first convolution halves the resolution, which a slide of three pixels does not survive: so a
branch of one convolution at full resolution joins the decoder at its end.
"""

from __future__ import annotations

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, convolution, resized

STEM = 32

STAGES = (
    # blocks, kernel, stride, expansion, maps
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Source: Tan and Le 2019, Table 1 (EfficientNet-B0)."""

ENDS = {
    # at 1/n of the resolution: stages, and those before the last whose outputs join the decoder
    32: (7, (0, 1, 2, 4)),
    16: (5, (0, 1, 2)),
}
"""Where the encoder may end."""

MAPS = (96, 64, 40, 24)
"""Feature maps of the decoder at 1/16 to 1/2 of the resolution."""

FINE = 16
"""Feature maps at full resolution."""

MOMENT = 127 / 255, 128 / 255
"""Mean and deviation that the encoder was trained with, of brightness 0..1. Source: the code of
EfficientNet-Lite (github.com/tensorflow/tpu, models/official/efficientnet/lite)."""


class LiteUNet(nn.Module):
    """EfficientNet-Lite0, raised bilinearly with skips by concatenation; sigmoid inside.

    Any window size works: strides round up, and what is raised takes the size of its skip.

    Args:
        in_channels: number of channels C, of brightness 0..1 where encoder weights are loaded.
        coarsest: the encoder ends at this part of the resolution, 1/32 or 1/16. At 1/16 a pixel is
            judged by less ground around it, and 1.07 of 3.60 million weights are left.

    Raises:
        ValueError: in_channels below 1, or another `coarsest`.

    Example:
        >>> LiteUNet(3, coarsest=16)(torch.rand(1, 3, 128, 128)).shape
        torch.Size([1, 1, 128, 128])
    """

    def __init__(self, in_channels: int, coarsest: int = 32) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels)
        self.encoder = Lite0(in_channels, coarsest)
        *skips, features = self.encoder.maps
        # Without features at 1/32, the first ones that it gets are at 1/16 already.
        joined = [0] * (len(MAPS) - len(skips)) + skips[::-1]
        self.decoder = nn.ModuleList(
            nn.Sequential(convolution(below + skip, maps), convolution(maps, maps))
            for below, skip, maps in zip([features, *MAPS], joined, MAPS, strict=False)
        )
        self.fine = convolution(in_channels, FINE)
        self.last = convolution(MAPS[-1] + FINE, FINE)
        self.head = nn.Conv2d(FINE, 1, kernel_size=1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        mean, deviation = MOMENT
        windows = (windows - mean) / deviation
        *skips, features = self.encoder(windows)
        blocks = list(self.decoder)
        if len(blocks) > len(skips):
            features = blocks.pop(0)(features)
        for block, skip in zip(blocks, reversed(skips), strict=True):
            features = block(torch.cat([resized(features, skip), skip], dim=1))
        fine = self.fine(windows)
        features = self.last(torch.cat([resized(features, fine), fine], dim=1))
        return torch.sigmoid(self.head(features))


class Lite0(nn.Module):
    """The encoder: skips and the coarsest features, at 1/2, 1/4, 1/8, 1/16 and perhaps 1/32."""

    def __init__(self, in_channels: int, coarsest: int = 32) -> None:
        super().__init__()
        if coarsest not in ENDS:
            raise ValueError(f"coarsest: found {coarsest!r}, expected one of {list(ENDS)}")
        stages, self.skips = ENDS[coarsest]
        self.maps = [STAGES[stage][-1] for stage in (*self.skips, stages - 1)]
        self.leaves_out = tuple(f"blocks.{stage}." for stage in range(stages, len(STAGES)))
        self.conv_stem = nn.Conv2d(in_channels, STEM, 3, stride=2, padding=1, bias=False)
        self.bn1 = _normalised(STEM)
        self.act = nn.ReLU6(inplace=True)
        self.blocks = nn.ModuleList()
        before = STEM
        for blocks, kernel, stride, expansion, maps in STAGES[:stages]:
            stage = nn.Sequential()
            for number in range(blocks):
                step = stride if number == 0 else 1
                stage.append(_block(before, maps, kernel, step, expansion))
                before = maps
            self.blocks.append(stage)

    def forward(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """Turn (N, C, h, w) into features of each resolution, from fine to coarse."""
        features = self.act(self.bn1(self.conv_stem(windows)))
        found = []
        for number, stage in enumerate(self.blocks):
            features = stage(features)
            if number in self.skips:
                found.append(features)
        return [*found, features]


def _block(before: int, after: int, kernel: int, stride: int, expansion: int) -> nn.Module:
    if expansion == 1:
        return _Separable(before, after, kernel, stride)
    return _Inverted(before, after, kernel, stride, expansion)


class _Separable(nn.Module):
    """A depthwise and a pointwise convolution."""

    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _depthwise(before, kernel, stride)
        self.bn1 = _normalised(before)
        self.act = nn.ReLU6(inplace=True)
        self.conv_pw = nn.Conv2d(before, after, 1, bias=False)
        self.bn2 = _normalised(after)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        deep = self.act(self.bn1(self.conv_dw(features)))
        output: torch.Tensor = self.bn2(self.conv_pw(deep))
        return output


class _Inverted(nn.Module):
    """Widened, filtered depthwise, narrowed; added to its input where the shapes agree."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.conv_pw = nn.Conv2d(before, wide, 1, bias=False)
        self.bn1 = _normalised(wide)
        self.conv_dw = _depthwise(wide, kernel, stride)
        self.bn2 = _normalised(wide)
        self.conv_pwl = nn.Conv2d(wide, after, 1, bias=False)
        self.bn3 = _normalised(after)
        self.act = nn.ReLU6(inplace=True)
        self.adds = stride == 1 and before == after

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        wide = self.act(self.bn1(self.conv_pw(features)))
        wide = self.act(self.bn2(self.conv_dw(wide)))
        output: torch.Tensor = self.bn3(self.conv_pwl(wide))
        return features + output if self.adds else output


def _depthwise(maps: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(
        maps, maps, kernel, stride=stride, padding=kernel // 2, groups=maps, bias=False
    )


def _normalised(maps: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(maps, eps=1e-3)  # that of TensorFlow
