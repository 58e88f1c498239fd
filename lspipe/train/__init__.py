"""Labelled windows -> a trained network, and a packed model.

    spec         how a network is trained
    protocols    how the papers trained their networks
    batches      the order of windows, and how they are turned
    loop         the training itself, by Lightning
    checkpoints  its state on disk: safetensors, never a pickle
    curve        loss and F1 of each epoch, as a picture
    losses       the losses of the papers
    course       folders of patches -> a packed model
    adapt        a run and a person's decisions -> its model, trained further
    further      a model and labelled windows -> its network, trained a little further
    mixture      a model and a lesson -> the share of the new weights that holds elsewhere

Lightning is an extra (`lspipe[train]`) and is imported by the first training, not by this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.errors import MissingExtra
from lspipe.schema import IGNORED
from lspipe.train.protocols import PROTOCOLS, Protocol
from lspipe.train.spec import Epoch, TrainSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from lspipe.train.spec import Pairs

__all__ = ["IGNORED", "PROTOCOLS", "Epoch", "Protocol", "TrainSpec", "fit"]


def fit(
    network: nn.Module,
    windows: NDArray[np.float32],
    labels: NDArray[np.uint8] | NDArray[np.float32],
    spec: TrainSpec,
    *,
    validation: Pairs | None = None,
    folder: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Epoch, ...]:
    """Train a network in place, and leave it in eval mode.

    The same seed, data, first weights, number of threads and processor give the same weights, also
    if the training is interrupted and resumed.

    Args:
        network: (N, C, w, w) -> (N, 1, w, w) probabilities; trained on its device. The
            caller seeds its first weights.
        windows: (N, C, w, w) float32, model units (already scaled and filled).
        labels: (N, w, w) 1 = landslide, 0 = none, `IGNORED` = not counted; as float32 also a
            probability between, which the network is to come near to.
        spec: epochs, batch size, learning rate, loss, seed, ...
        validation: windows and labels that are never trained on: they decide which epoch is kept,
            and when to stop early. Without them the last epoch is kept.
        folder: of the state after each epoch (`last.safetensors`); a training found there is
            resumed. None = nothing is written.
        on_epoch: called after each epoch.

    Returns:
        Loss and scores of each epoch.

    Raises:
        ValueError: the shapes do not match, or the loss is not a number any more.
        UsageError: the folder holds another training.
        MissingExtra: Lightning is not installed.
    """
    from lspipe.models import torchvision

    torchvision.make_importable()
    try:
        import pytorch_lightning  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(f"training needs {error.name}: pip install 'lspipe[train]'") from error
    from lspipe.train import loop

    return loop.fit(
        network, windows, labels, spec, validation=validation, folder=folder, on_epoch=on_epoch
    )
