"""Full-resolution residual networks A and B: one stream keeps every pixel, the other pools.

A unit of the pooled stream reads the pooled full-resolution stream beside its maps, and writes back
by a raised 1x1 convolution. Paper 001 names the networks and gives no layers: those are of Pohlen
et al. 2017, table 1, as in the implementation whose weights are known: 16 571 442 (A) and
23 580 338 (B) with 14 channels and two outputs, 49 less with the one output here. In it the units
of a stage do not follow each other: all read the same pooled maps, and the last one's go on.
`chained=True` has each read what the one before made, as the authors describe.

Source: paper 001, section III-G; Pohlen, Hermans, Mathias and Leibe 2017;
github.com/meetps/pytorch-semseg (frrn.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from lspipe.models.architectures.layers import check_sizes, convolution, resized

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL = 48
"""Feature maps of the residual units at full resolution."""

STREAM = 32
"""Feature maps of the stream that is never pooled."""

Stage = tuple[int, int, int]
"""(units, feature maps, scale)."""

A_DOWN: tuple[Stage, ...] = ((3, 96, 2), (4, 192, 4), (2, 384, 8), (2, 384, 16))
A_UP: tuple[Stage, ...] = ((2, 192, 8), (2, 192, 4), (2, 48, 2))
B_DOWN: tuple[Stage, ...] = (*A_DOWN, (2, 384, 32))
B_UP: tuple[Stage, ...] = ((2, 192, 16), *A_UP)


def frrn_a(in_channels: int, *, chained: bool = False) -> FRRN:
    """Build FRRN-A, whose windows are multiples of 16 pixels."""
    return FRRN(in_channels, down=A_DOWN, up=A_UP, chained=chained)


def frrn_b(in_channels: int, *, chained: bool = False) -> FRRN:
    """Build FRRN-B, one scale deeper, whose windows are multiples of 32 pixels."""
    return FRRN(in_channels, down=B_DOWN, up=B_UP, chained=chained)


class FRRN(nn.Module):
    """Two-stream network; sigmoid inside.

    Args:
        in_channels: number of channels C; 14 in the paper.
        down: stages of the encoder, each at half the resolution of the one before.
        up: stages of the decoder.
        chained: whether a unit reads the maps of the one before it in its stage.

    Raises:
        ValueError: in_channels below 1; when called, a window that the deepest scale does not
            divide.
    """

    def __init__(
        self, in_channels: int, *, down: Sequence[Stage], up: Sequence[Stage], chained: bool
    ) -> None:
        super().__init__()
        check_sizes(in_channels=in_channels)
        self.deepest = max(scale for _, _, scale in down)
        self.stem = convolution(in_channels, FULL, 5, bias=True)
        self.first = nn.Sequential(*(_ResidualUnit(FULL) for _ in range(3)))
        self.split = nn.Conv2d(FULL, STREAM, kernel_size=1, bias=False)
        maps = FULL
        self.stages = nn.ModuleList()
        for units, width, scale in (*down, *up):
            self.stages.append(_Stage(maps, width, units, scale, chained=chained))
            maps = width
        self.merge = nn.Conv2d(maps + STREAM, FULL, kernel_size=1, bias=False)
        self.last = nn.Sequential(*(_ResidualUnit(FULL) for _ in range(3)))
        self.head = nn.Conv2d(FULL, 1, kernel_size=1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, 1, h, w) probabilities."""
        height, width = windows.shape[-2:]
        if height % self.deepest or width % self.deepest:
            raise ValueError(
                f"window of {height} x {width} px: expected a multiple of {self.deepest}"
            )
        pooled = self.first(self.stem(windows))
        stream = self.split(pooled)
        for stage in self.stages:
            pooled, stream = stage(pooled, stream)
        raised = resized(pooled, stream)
        features = self.last(self.merge(torch.cat([raised, stream], dim=1)))
        return torch.sigmoid(self.head(features))


class _Stage(nn.Module):
    """Units of one scale; the first brings the pooled maps there."""

    def __init__(self, before: int, width: int, units: int, scale: int, *, chained: bool) -> None:
        super().__init__()
        self.scale, self.chained = scale, chained
        self.units = nn.ModuleList(
            _FullResolutionUnit(width if chained and number else before, width, scale)
            for number in range(units)
        )

    def forward(
        self, pooled: torch.Tensor, stream: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        here = stream.shape[-1] // self.scale
        if pooled.shape[-1] > here:
            pooled = nn.functional.max_pool2d(pooled, 2)
        elif pooled.shape[-1] < here:
            pooled = nn.functional.interpolate(pooled, scale_factor=2, mode="bilinear")
        made = pooled
        for unit in self.units:
            made, stream = unit(made if self.chained else pooled, stream)
        return made, stream


class _FullResolutionUnit(nn.Module):
    """Two convolutions over both streams, whose result is also added to the full-size one."""

    def __init__(self, before: int, width: int, scale: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(scale)
        self.body = nn.Sequential(convolution(before + STREAM, width), convolution(width, width))
        self.back = nn.Conv2d(width, STREAM, kernel_size=1)

    def forward(
        self, pooled: torch.Tensor, stream: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = self.body(torch.cat([pooled, self.pool(stream)], dim=1))
        return pooled, stream + _raised(self.back(pooled), stream)


class _ResidualUnit(nn.Module):
    """Two convolutions with a shortcut around them; the last is not rectified."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(width, width),
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = features + self.body(features)
        return output


def _raised(features: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(features, size=like.shape[-2:])
