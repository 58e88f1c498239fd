"""A model and labelled windows of a new place -> its network, trained a little further.

See also: `adapt.py` (windows of a run and a person's decisions), benchmarks/adapt.py (what it
gains).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from lspipe.errors import ModelError
from lspipe.inference.runtimes import resolve_device
from lspipe.models.weights import build_network
from lspipe.train import TrainSpec, fit
from lspipe.train.negatives import with_negatives

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lspipe.models import ModelItem
    from lspipe.train import Epoch
    from lspipe.train.spec import Pairs

GENTLE = TrainSpec(epochs=4, batch_size=4, learning_rate=5e-4, loss="bce")
"""Half of the usual learning rate, so that the model keeps what it has learnt. Of the losses this
one is lowest where the network says the very probability that it is shown."""

LEAST_BATCHES = 120
"""With five windows the demo model needed 100 to 120 batches to unlearn a kind of false alarm, at
this learning rate. So few windows are trained on for more epochs."""

_AT_ONCE = 16
"""Windows in one call of the network for a prediction."""


def gentle(windows: int) -> TrainSpec:
    """Return the settings to train a model further on a number of windows."""
    batches = -(-windows // GENTLE.batch_size)
    return replace(GENTLE, epochs=max(GENTLE.epochs, -(-LEAST_BATCHES // batches)))


class Steady(nn.Module):
    """A network whose batch normalisation keeps its statistics.

    Otherwise a dozen windows of one place would replace the statistics of a whole training set.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Call the network."""
        answer: torch.Tensor = self.network(windows)
        return answer

    def train(self, mode: bool = True) -> Steady:
        """Set the mode of all layers but batch normalisation, which stays in eval mode."""
        super().train(mode)
        for layer in self.network.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
        return self


def begin(item: ModelItem) -> Steady:
    """Return the network of a model with its weights, ready to be trained further."""
    return Steady(build_network(item).requires_grad_().to(resolve_device("auto")))


def further(
    network: Steady,
    item: ModelItem,
    pairs: Pairs,
    spec: TrainSpec,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Epoch, ...]:
    """Train a network further, in place.

    Args:
        network: of `begin`.
        item: its model.
        pairs: windows (N, C, w, w) in the units of the model, of `filled`, and labels (N, w, w)
            of `taught`.
        spec: such as `gentle`.
        on_epoch: called after each epoch.

    Raises:
        ModelError: the loss is not a number any more.
    """
    try:
        shown = with_negatives(pairs, item.bands, item.scaling, spec)
        return fit(network, *shown, spec, on_epoch=on_epoch)
    except ValueError as error:
        raise ModelError(f"{item.path}: {error}") from error


def answers(network: Steady, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Predict probabilities (N, y, x) of windows (N, C, y, x), in one view, without temperature."""
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        parts = [
            network(torch.from_numpy(windows[start : start + _AT_ONCE]).to(device))[:, 0].cpu()
            for start in range(0, len(windows), _AT_ONCE)
        ]
    found: NDArray[np.float32] = torch.cat(parts).float().numpy()
    return found


def taught(labels: NDArray[np.uint8], own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a network is to learn from decisions, and to say of all other pixels as before.

    Source: learning without forgetting, Li and Hoiem 2016 (arXiv 1606.09282).

    Args:
        labels: (N, w, w), of `samples.decisions`.
        own: probabilities of the network before the training, (N, w, w), of `answers`.
    """
    return np.where(labels > 1, own, labels).astype(np.float32)


def filled(windows: NDArray[np.float32], item: ModelItem) -> NDArray[np.float32]:
    """Return windows as in a run: with the fill value where a channel has no data."""
    fill = np.array(item.fill, np.float32)[:, None, None]
    whole: NDArray[np.float32] = np.where(np.isnan(windows), fill, windows)
    return whole


def fields_like(parent: ModelItem) -> dict[str, Any]:
    """Return the fields of an item of other weights, but for its names and words."""
    same = {
        name: getattr(parent, name)
        for name in (
            "architecture", "arguments", "bands", "window", "scaling", "fill", "threshold",
            "overlap", "tta", "tta_merge", "tta_order", "blend",
        )
    }  # fmt: skip
    known = {
        name: getattr(parent, name)
        for name in ("classes", "recipe", "statistics", "threshold_sensitive", "temperature")
        if getattr(parent, name)
    }
    return same | known
