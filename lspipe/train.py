"""Windows and their labels to a trained network: one loop.

Covers: supervised training of any `torch.nn.Module` that returns probabilities, from arrays that
fit in memory. Does not cover: cutting windows from scenes (the caller does, as
`benchmarks/demo_model.py`), early stopping, several devices.

The same seed, data, thread count and processor give the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
import torch

from lspipe import dihedral
from lspipe.losses import IGNORED, LossName, loss_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """How a network is trained."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "use_attribute_docstrings": True,
    }

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    """Of Adam in the first step; falls to 0 along half a cosine."""
    loss: LossName = "bce-dice"
    seed: int = 0
    """Of the order of the windows and of their turns; the caller seeds the first weights."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"found epochs {self.epochs}, batch_size {self.batch_size}, learning_rate "
                f"{self.learning_rate}: expected at least 1, at least 1, above 0"
            )
        if self.loss not in get_args(LossName):
            raise ValueError(f"loss {self.loss!r}: expected one of {', '.join(get_args(LossName))}")


def fit(
    network: nn.Module,
    windows: NDArray[np.float32],
    labels: NDArray[np.uint8],
    spec: TrainSpec,
    *,
    on_epoch: Callable[[int, float], None] | None = None,
) -> tuple[float, ...]:
    """Train a network in place, and leave it in eval mode.

    Every window is turned by a random element of D4 each time it is shown: a landslide may lie on
    a slope of any aspect.

    Args:
        network: (N, C, w, w) -> (N, 1, w, w) probabilities; trained on the device it is on.
        windows: (N, C, w, w) float32, model units (already scaled and filled).
        labels: (N, w, w) 1 = landslide, 0 = none, `IGNORED`.
        spec: epochs, batch size, learning rate, loss, seed.
        on_epoch: told the epoch (from 1) and its mean loss.

    Returns:
        Mean loss of each epoch.

    Raises:
        ValueError: the shapes do not belong together, or the loss is no longer a number.
    """
    _check(windows, labels)
    device = next(network.parameters()).device
    rng = np.random.default_rng(spec.seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=spec.learning_rate)
    steps = spec.epochs * -(-len(windows) // spec.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses = []
    network.train()
    for epoch in range(1, spec.epochs + 1):
        total = 0.0
        order = rng.permutation(len(windows))
        for start in range(0, len(order), spec.batch_size):
            chosen = np.sort(order[start : start + spec.batch_size])
            turn = int(rng.choice(dihedral.ELEMENTS))
            shown = dihedral.apply(turn, torch.from_numpy(windows[chosen]).to(device))
            truth = dihedral.apply(turn, torch.from_numpy(labels[chosen]).to(device))
            loss = loss_of(spec.loss, network(shown.contiguous())[:, 0], truth)
            if not torch.isfinite(loss):
                raise ValueError(
                    f"epoch {epoch}: the loss is {loss.item()}; lower learning_rate "
                    f"({spec.learning_rate:g}), and look for NaN in the windows"
                )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        losses.append(total / len(windows))
        if on_epoch is not None:
            on_epoch(epoch, losses[-1])
    network.eval()
    return tuple(losses)


def _check(windows: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
    if windows.ndim != 4 or labels.shape != (len(windows), *windows.shape[2:]):
        raise ValueError(
            f"windows {windows.shape} and labels {labels.shape}: expected (N, C, w, w) and "
            "(N, w, w)"
        )
    if not len(windows):
        raise ValueError("found no windows: expected at least one to train on")
    found = np.setdiff1d(labels, (0, 1, IGNORED))
    if found.size:
        raise ValueError(f"labels hold {found.tolist()}: expected 0, 1 and {IGNORED}")
