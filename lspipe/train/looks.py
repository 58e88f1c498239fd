"""What a window would look like elsewhere: in other air, other light, or seen by a softer sensor.

Ground of another place differs in ways that no landslide has: so a network that is shown each
window with more or less haze, softer, larger or smaller, and with other colours learns less of one
scene. Each function takes and returns windows (N, C, w, w) float32 in model units, finite, and
draws from the generator that it is given. Made for reflectance: a channel that is standardised, or
a slope, has no haze and no gamma.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import affine_grid, avg_pool2d, conv2d, grid_sample, interpolate, pad

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from lspipe.train.spec import TrainSpec

MOST_SHIFT = 0.1
"""Largest shift of a zoomed window, of half of its edge."""

SOFTEST = 0.5, 1.2
"""Standard deviations of the blur, pixels, from and to."""

_REACH = 3
"""Pixels that a blur reaches: 2.5 of its largest standard deviation."""


def is_drawn(spec: TrainSpec) -> bool:
    """Return whether a training changes the look of its windows at all."""
    return any((spec.haze, spec.zoom, spec.soft, spec.gain, spec.gamma, spec.noise))


def cleared(windows: Tensor, share: Tensor) -> Tensor:
    """Remove a share of the haze, the darkest value of each channel of each window.

    Args:
        windows: (N, C, w, w) float32, finite.
        share: (N, 1, 1, 1), 0..1.

    Returns:
        Windows with the same highest value as before. A window of a single colour, which would be
        only haze, is not changed, nor is a channel that is dark (0) or has no data anywhere.
    """
    clear = windows - share * windows.amin((2, 3), keepdim=True).clamp(min=0)
    highest, left = (image.amax((1, 2, 3), keepdim=True) for image in (windows, clear))
    return torch.where(left > 0, clear * (highest / left), windows)


def zoomed(
    windows: Tensor, labels: Tensor, most: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Show half of the batches larger or smaller, and shifted by parts of a pixel.

    Args:
        windows: bilinear; what lies outside is a mirror of what is inside.
        labels: (N, w, w); nearest.
        most: ground is shown at 1 / (1 + most) to 1 / (1 - most) of its size.
        generator: of random numbers.
    """
    if torch.rand(1, generator=generator) >= 0.5:
        return windows, labels
    count = len(windows)
    matrix = torch.zeros(count, 2, 3)
    size = 1 + most * _both_ways(generator, count)
    matrix[:, 0, 0] = matrix[:, 1, 1] = size
    matrix[:, :, 2] = MOST_SHIFT * _both_ways(generator, count, 2)
    grid = affine_grid(matrix, list(windows.shape), align_corners=False)
    shown = grid_sample(windows, grid, padding_mode="reflection", align_corners=False)
    marked = grid_sample(
        labels.float()[:, None], grid, "nearest", padding_mode="reflection", align_corners=False
    )
    return shown, marked[:, 0].to(labels.dtype)


def softened(windows: Tensor, share: float, generator: Generator) -> Tensor:
    """Soften this share of the batches: as bands of half the resolution, or by a Gaussian."""
    if torch.rand(1, generator=generator) >= share:
        return windows
    if torch.rand(1, generator=generator) < 1 / 3:
        halved = avg_pool2d(windows, 2, ceil_mode=True)
        return interpolate(halved, size=windows.shape[-2:], mode="bilinear", align_corners=False)
    least, most = SOFTEST
    return blurred(windows, least + (most - least) * float(torch.rand(1, generator=generator)))


def blurred(windows: Tensor, deviation: float) -> Tensor:
    """Blur each channel by a Gaussian; edges are mirrored.

    Args:
        windows: (N, C, w, w) float32, w of 4 or more.
        deviation: standard deviation, pixels, up to 1.2.
    """
    places = torch.arange(-_REACH, _REACH + 1, dtype=torch.float32)
    weights = torch.exp(-(places**2) / (2 * deviation**2))
    weights /= weights.sum()
    count, channels, height, width = windows.shape
    framed = pad(windows, (_REACH,) * 4, mode="reflect")
    each = framed.reshape(count * channels, 1, height + 2 * _REACH, width + 2 * _REACH)
    across = conv2d(each, weights[None, None, None, :])
    return conv2d(across, weights[None, None, :, None]).reshape(windows.shape)


def coloured(windows: Tensor, gain: float, gamma: float, generator: Generator) -> Tensor:
    """Multiply each channel by 1 plus or minus `gain`; bend brightness by exponents around 1.

    The exponent of a window is between exp(-gamma) and exp(gamma), and its highest value stays.
    """
    if gain:
        windows = windows * (1 + gain * _both_ways(generator, *windows.shape[:2], 1, 1))
    if gamma:
        exponent = torch.exp(gamma * _both_ways(generator, len(windows), 1, 1, 1))
        highest = windows.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
        bent = highest * (windows.clamp(min=1e-6) / highest) ** exponent
        windows = torch.where(windows > 0, bent, windows)
    return windows


def noisy(windows: Tensor, most: float, generator: Generator) -> Tensor:
    """Add noise to a third of the batches, of this standard deviation; nothing is below 0 then."""
    if torch.rand(1, generator=generator) >= 1 / 3:
        return windows
    noise = most * torch.randn(windows.shape, generator=generator)
    return torch.where(windows > 0, (windows + noise).clamp(min=0), windows)


def _both_ways(generator: Generator, *shape: int) -> Tensor:
    return 2 * torch.rand(shape, generator=generator) - 1
