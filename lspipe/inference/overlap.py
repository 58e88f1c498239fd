"""The overlap average of a part of a tile; sums of integers, so the order does not matter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from lspipe.inference import windows
from lspipe.schema import relative

if TYPE_CHECKING:
    from lspipe.inference.batches import PreparedBlock
    from lspipe.inference.cut_and_add import CutAndAdd
    from lspipe.inference.settings import Setting
    from lspipe.schema import Part

# With fewer than 2^19 steps per unit an int32 sum rounds by more than 1e-6: then int64.
_COARSEST_INT32 = 2.0**19

_STRIP = 512
"""Rows of a sum that are averaged at a time."""


def _largest_power_of_2(limit: int) -> float:
    """Return 2 ^ floor(log2(limit)) by integers: a logarithm rounds 2^63 - 1 up and overflows."""
    return float(2 ** (limit.bit_length() - 1))


@dataclass(frozen=True)
class OverlapAverage:
    """Weighted average of windows over the core of a block, by sums of integers.

    A probability becomes round(p * weight * scale); the scale is the largest power of two with
    which no pixel of the tile can overflow. The summed weights of each pixel follow from the
    lattice (`windows.weight_sums`), so they are not accumulated.
    """

    part: Part
    hull: Part
    """The area of the sum: all pixels of the windows of the part, so that no window is clipped."""
    dtype: torch.dtype
    scale: float
    weights: torch.Tensor | None
    """float64 (w, w); None where all are 1."""
    rows: torch.Tensor
    columns: torch.Tensor
    """Summed weights of each row (n, 1) and column (n,) of the part, float32."""
    method: CutAndAdd

    @classmethod
    def of(cls, part: Part, setting: Setting, prepared: PreparedBlock) -> OverlapAverage:
        """Prepare the average; every block of a tile gets the same scale."""
        tile_shape, device = prepared.tile_shape, prepared.runtime.device
        size, stride, blend = setting.window, setting.stride, setting.blend
        sums = [windows.weight_sums(length, size, stride, blend) for length in tile_shape]
        most = math.prod(int(windows.coverage(length, size, stride).max()) for length in tile_shape)
        dtype, scale = torch.int32, _largest_power_of_2((2**31 - 1) // most)
        # Hann weights at the rim go down to 1e-10; with thousands of windows 32 bits are too few.
        if blend != "uniform" or scale < _COARSEST_INT32:
            dtype, scale = torch.int64, _largest_power_of_2((2**63 - 1) // most)
        weights = torch.from_numpy(windows.weights_1d(size, blend)).to(device)
        rows, columns = (
            torch.from_numpy(total[span].astype(np.float32)).to(device)
            for total, span in zip(sums, part, strict=True)
        )
        return cls(
            part=part,
            hull=hull_of(part, tile_shape, setting),
            dtype=dtype,
            scale=scale,
            weights=None if blend == "uniform" else torch.outer(weights, weights),
            rows=rows[:, None],
            columns=columns,
            method=prepared.inputs.method,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the part."""
        return len(self.rows), len(self.columns)

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the sum's first pixel in the tile."""
        return self.hull[0].start, self.hull[1].start

    def zeros(self) -> torch.Tensor:
        """Return an empty sum."""
        shape = tuple(span.stop - span.start for span in self.hull)
        return torch.zeros(shape, dtype=self.dtype, device=self.rows.device)

    def add(self, total: torch.Tensor, probability: torch.Tensor, places: torch.Tensor) -> None:
        """Add windows (N, w, w) to a sum, each where it lies."""
        weighted = probability if self.weights is None else probability * self.weights
        self.method.add(total, (weighted * self.scale).round_().to(self.dtype), places)

    def strips(self) -> list[slice]:
        """Return strips of rows of the part: the average of all rows is as large as the sum."""
        height = len(self.rows)
        return [slice(first, min(first + _STRIP, height)) for first in range(0, height, _STRIP)]

    def mean(self, total: torch.Tensor, rows: slice) -> torch.Tensor:
        """Turn a sum into the average over some rows of the part, float32 0..1."""
        inside = total[relative(self.part, self.origin)][rows]
        mean = inside.to(torch.float32).div_(self.scale).div_(self.rows[rows]).div_(self.columns)
        # Hann weights do not sum exactly to the last bit.
        return mean.clamp_(max=1)


def hull_of(part: Part, tile_shape: tuple[int, int], setting: Setting) -> Part:
    """Return rows and columns under the windows of a part; they may exceed a short tile."""
    spans = []
    for span, length in zip(part, tile_shape, strict=True):
        starts = windows.windows_of(span, length, setting.window, setting.stride)
        spans.append(slice(int(starts[0]), int(starts[-1]) + setting.window))
    return spans[0], spans[1]
