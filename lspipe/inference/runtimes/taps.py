"""Dilated convolutions without the taps that see nothing but padding.

A window of 224 px is 14 x 14 features where an atrous pyramid looks at it. A tap that lies 24
features away from the middle one then multiplies zeros, at every place: of a kernel of 3 x 3 the
one in the middle is left, and the convolution is a product. The others are not computed, which
changes nothing but the order of a sum of finite numbers. Libraries compute them, those of depthwise
convolutions by their slowest way: what it costs in DeepLabv3+ with a ResNet-50 (rates 12, 24, 36)
is in benchmarks/pipeline_cpu.py.

Which taps are left depends on the size of the features, and is found when the network is called;
what is captured for one shape computes nothing of it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def without_dead_taps(network: nn.Module) -> nn.Module:
    """Let every dilated convolution of a network leave out what sees nothing; changed in place."""
    for part in network.modules():
        if _may_have_dead_taps(part):
            # As torch's own lazy modules become what they are.
            part.__class__ = _Trimmed
    return network


def _may_have_dead_taps(part: nn.Module) -> bool:
    """Whether it is a dilated convolution, padded with a number of zeros; a subclass may differ."""
    return (
        type(part) is nn.Conv2d
        and max(part.dilation) > 1
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
    )


def dead_taps(features: int, *, taps: int, dilation: int, stride: int, padding: int) -> int:
    """Count the taps at either end of an axis of a kernel that see padding only, at every place.

    Not those whose steps jump over all features, which only a stride longer than them can.

    Args:
        features: length of the axis.
        taps: length of the kernel.
        dilation: features from one tap to the next.
        stride: features from one place to the next.
        padding: zeros at either end.

    Returns:
        The smaller count of the two ends, as what is left must lie in the middle, and as many as
        there is padding to take away with them.
    """
    reach = dilation * (taps - 1)
    last = (features + 2 * padding - reach - 1) // stride * stride
    first_end = sum(last + tap * dilation < padding for tap in range(taps // 2))
    other_end = sum(reach - tap * dilation - padding >= features for tap in range(taps // 2))
    return min(first_end, other_end, padding // dilation)


class _Trimmed(nn.Conv2d):
    """A convolution that looks at the size of its features first."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, y, x) to (N, K, v, u), as of all taps."""
        kept, padded = [], []
        for axis, length in enumerate(features.shape[-2:]):
            taps, dilation = self.kernel_size[axis], self.dilation[axis]
            padding = int(self.padding[axis])
            dead = dead_taps(
                length, taps=taps, dilation=dilation, stride=self.stride[axis], padding=padding
            )
            kept.append(slice(dead, taps - dead))
            padded.append(padding - dead * dilation)
        weight = self.weight[:, :, *kept]
        return functional.conv2d(
            features, weight, self.bias, self.stride, padded, self.dilation, self.groups
        )
