"""Dilated convolutions without the taps that see only padding.

A window of 224 px has 14 x 14 features in an atrous pyramid. A tap that lies 24 features away from
the middle one multiplies zeros at every place: of a 3 x 3 kernel only the middle tap is left, and
the convolution is a product. The other taps are left out here, which changes only the order of a
sum of finite numbers. Libraries compute them, and use their slowest kernels for depthwise
convolutions: benchmarks/pipeline_cpu.py has the cost in DeepLabv3+ with a ResNet-50 (rates 12, 24,
36).

Which taps are left depends on the size of the features, and is computed at each call of the
network; a graph captured for one shape has the result built in.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def without_dead_taps(network: nn.Module) -> nn.Module:
    """Make every dilated convolution of a network leave out its dead taps; changed in place."""
    for part in network.modules():
        if _may_have_dead_taps(part):
            # The lazy modules of torch change their class in the same way.
            part.__class__ = _Trimmed
    return network


def _may_have_dead_taps(part: nn.Module) -> bool:
    """Return whether this is a dilated convolution padded with zeros; subclasses may differ."""
    return (
        type(part) is nn.Conv2d
        and max(part.dilation) > 1
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
    )


def dead_taps(features: int, *, taps: int, dilation: int, stride: int, padding: int) -> int:
    """Count the taps at either end of a kernel axis that see only padding, at every place.

    Taps whose steps jump over all features (the stride is longer than the features) do not count.

    Args:
        features: length of the axis.
        taps: length of the kernel.
        dilation: features from one tap to the next.
        stride: features from one place to the next.
        padding: zeros at either end.

    Returns:
        The smaller count of the two ends, as the taps that are left must lie in the middle, and at
        most as many as there is padding to remove with them.
    """
    reach = dilation * (taps - 1)
    last = (features + 2 * padding - reach - 1) // stride * stride
    first_end = sum(last + tap * dilation < padding for tap in range(taps // 2))
    other_end = sum(reach - tap * dilation - padding >= features for tap in range(taps // 2))
    return min(first_end, other_end, padding // dilation)


class _Trimmed(nn.Conv2d):
    """A convolution that leaves out dead taps, by the size of its features."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, y, x) into (N, K, v, u), as with all taps."""
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
