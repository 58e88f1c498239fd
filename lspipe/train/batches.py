"""The random order of windows, and how they are turned: one source of random numbers.

A sampler draws all random numbers of a batch, and the dataset applies them. The draws of an epoch
depend only on the seed and the number of the epoch, so that a resumed training has the same ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.data import DataLoader, Dataset, Sampler

from lspipe.inference import dihedral
from lspipe.schema import IGNORED
from lspipe.train import looks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from lspipe.train.spec import Pairs, TrainSpec

TensorPair = tuple["Tensor", "Tensor"]
"""Windows (N, C, w, w) float32 and labels (N, w, w), uint8 or float32."""

MOST_DEGREES = 45.0
"""Largest rotation, degrees. Source: paper 000, section 2.4."""


@dataclass(frozen=True)
class Draw:
    """The random numbers of one batch."""

    chosen: NDArray[np.int64]
    """Windows of the batch, ascending."""
    turn: int
    """Element of D4."""
    degrees: float
    """Rotation, counter-clockwise."""
    seed: int
    """Seed for the looks of its windows."""


class Draws(Sampler[Draw]):
    """Every window once in an epoch, in random order."""

    def __init__(self, count: int, spec: TrainSpec) -> None:
        self._count = count
        self._spec = spec
        self._epoch = 0

    def __len__(self) -> int:
        return math.ceil(self._count / self._spec.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch (from 0); Lightning calls this method."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng(self._spec.seed)
        for _ in range(self._epoch):
            for _ in self._one_epoch(rng):
                pass  # the draws of earlier epochs
        yield from self._one_epoch(rng)

    def _one_epoch(self, rng: np.random.Generator) -> Iterator[Draw]:
        order = rng.permutation(self._count)
        kind, size = self._spec.augmentation, self._spec.batch_size
        for start in range(0, self._count, size):
            turn, degrees, seed = 0, 0.0, 0
            if kind == "d4":
                turn = int(rng.choice(dihedral.ELEMENTS))
            elif kind == "flips-rotations":
                turn = int(rng.integers(0, 4))  # the elements of D4 that only flip
                degrees = float(rng.uniform(-MOST_DEGREES, MOST_DEGREES))
            if looks.is_drawn(self._spec):
                seed = int(rng.integers(0, 2**31))
            yield Draw(np.sort(order[start : start + size]), turn, degrees, seed)


class Shown(Dataset[TensorPair]):
    """Batches, made from draws."""

    def __init__(self, pairs: Pairs, spec: TrainSpec) -> None:
        self._windows, self._labels = (torch.from_numpy(array) for array in pairs)
        self._spec = spec

    def __getitem__(self, draw: Draw) -> TensorPair:
        windows, labels = self._windows[draw.chosen], self._labels[draw.chosen]
        generator = torch.Generator().manual_seed(draw.seed)
        if self._spec.haze:  # before a rotation, whose pixels from outside would be dark
            share = self._spec.haze * torch.rand((len(windows), 1, 1, 1), generator=generator)
            windows = looks.cleared(windows, share)
        windows, labels = (dihedral.apply(draw.turn, image) for image in (windows, labels))
        if draw.degrees:
            windows, labels = rotated(windows, labels, draw.degrees)
        if self._spec.zoom:
            windows, labels = looks.zoomed(windows, labels, self._spec.zoom, generator)
        if self._spec.soft:
            windows = looks.softened(windows, self._spec.soft, generator)
        windows = looks.coloured(windows, self._spec.gain, self._spec.gamma, generator)
        if self._spec.noise:
            windows = looks.noisy(windows, self._spec.noise, generator)
        return windows.contiguous(), labels.contiguous()


def rotated(windows: Tensor, labels: Tensor, degrees: float) -> TensorPair:
    """Rotate a batch about its centre; pixels from outside are 0 and not counted.

    Args:
        windows: (N, C, w, w) float32; bilinear.
        labels: (N, w, w); nearest.
        degrees: counter-clockwise.
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]]).expand(len(windows), 2, 3)
    grid = affine_grid(matrix, list(windows.shape), align_corners=False)
    turned = grid_sample(windows, grid, mode="bilinear", align_corners=False)
    # Labels plus 1, as 0 marks pixels from outside.
    marked = (labels.to(torch.float32) + 1)[:, None]
    near = grid_sample(marked, grid, mode="nearest", align_corners=False)[:, 0]
    return turned, torch.where(near == 0, IGNORED, near - 1).to(labels.dtype)


def training(pairs: Pairs, spec: TrainSpec) -> DataLoader[TensorPair]:
    """Return batches for training: in random order, and turned."""
    # The sampler draws whole batches, hence no batch size here. A loader always draws a seed for
    # its workers, although it has none: from its own generator, not from that of dropout.
    sampler: Any = Draws(len(pairs[0]), spec)
    data = Shown(pairs, spec)
    return DataLoader(data, batch_size=None, sampler=sampler, generator=torch.Generator())


def validation(pairs: Pairs, batch_size: int) -> DataLoader[TensorPair]:
    """Return batches for validation: in order, and unchanged."""
    windows, labels = (torch.from_numpy(array) for array in pairs)
    data: Any = torch.utils.data.TensorDataset(windows, labels)
    return DataLoader(data, batch_size=batch_size)
