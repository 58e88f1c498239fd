"""Settings of a training, and the record of each epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lspipe.spec import Bounds, Count, Spec
from lspipe.train.losses import LossName

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Pairs = tuple[NDArray[np.float32], NDArray[np.uint8] | NDArray[np.float32]]
    """Windows (N, C, w, w) in model units, and labels (N, w, w): 0, 1 or `IGNORED`; as float32 also
    a probability between, which the network is to come near to."""

    Decided = tuple[NDArray[np.float32], NDArray[np.uint8]]
    """The same with labels of `samples.decisions`: 0, 1, `IGNORED` or `UNMARKED`."""

Schedule = Literal["cosine", "one-cycle", "step", "constant"]
Augmentation = Literal["d4", "flips-rotations", "none"]
Watch = Literal["loss", "f1"]
Positive = Annotated[float, Bounds(gt=0)]


@dataclass(frozen=True, kw_only=True)
class TrainSpec(Spec):
    """How a network is trained: Adam, with (0.9, 0.999)."""

    epochs: Count = 20
    """Largest number of epochs; see `patience`."""
    iterations: Count | None = None
    """Steps of the optimiser after which training ends, instead of after `epochs`; the last epoch
    may be cut short."""
    batch_size: Count = 32
    learning_rate: Positive = 1e-3
    """Learning rate of the first step; of "one-cycle", the highest."""
    schedule: Schedule = "cosine"
    """Change of the learning rate: "cosine" falls to 0 along half a cosine; "one-cycle" rises to
    the learning rate over the first 15 % of the steps and falls then, so that new layers do not
    spoil trained ones (Smith and Topin 2018, arXiv 1708.07120); "step" multiplies it by
    `step_factor` every `step_epochs`, "constant" keeps it."""
    step_epochs: Count = 30
    step_factor: Positive = 0.1
    loss: LossName = "bce-dice"
    augmentation: Augmentation = "d4"
    """How each batch is turned: "d4" by one random element of D4, as a landslide may lie on a slope
    of any aspect; "flips-rotations" flipped and rotated by up to 45 degrees (paper 000); "none"
    not at all."""
    gain: Annotated[float, Bounds(ge=0, lt=1)] = 0.0
    """Each channel of each window is multiplied by 1 plus or minus at most this; in no paper."""
    haze: Annotated[float, Bounds(ge=0, le=1, noun="a share")] = 0.0
    """From each channel of each window a random part, at most this, of its darkest value is
    subtracted, and the window is scaled back to its highest value. This is like less air above the
    ground, so that a network trained at the top of the atmosphere (L1C) is of more use in surface
    reflectance (L2A). Dark-object subtraction, Chavez 1988 (doi 10.1016/0034-4257(88)90019-3); in
    no paper here. A channel that is dark (0) or without data anywhere is not changed. For channels
    of reflectance only."""
    zoom: Annotated[float, Bounds(ge=0, lt=1)] = 0.0
    """Half of the batches are shown larger or smaller by at most this share, and shifted by parts
    of a pixel (bilinear; labels nearest); in no paper."""
    soft: Annotated[float, Bounds(ge=0, le=1, noun="a share")] = 0.0
    """This share of the batches is blurred, or averaged over 2 x 2 pixels and raised again, as
    bands of 20 m and resampled scenes are; in no paper."""
    gamma: Annotated[float, Bounds(ge=0, lt=1)] = 0.0
    """The brightness of each window is bent by an exponent of exp(-gamma) to exp(gamma); its
    highest value stays. For channels of reflectance only; in no paper."""
    noise: Annotated[float, Bounds(ge=0, lt=1)] = 0.0
    """A third of the batches gets noise of this standard deviation, in model units; for channels of
    reflectance only; in no paper."""
    exchanged: Annotated[float, Bounds(ge=0, le=1, noun="a share")] = 0.25
    """For a model of pairs: this share of the training windows is added with its dates exchanged,
    as ground where nothing new happened. `fit` takes the windows it is given."""
    unchanged: Annotated[float, Bounds(ge=0, le=1, noun="a share")] = 0.25
    """Likewise: this share is added with one of its dates in place of both."""
    patience: Count | None = None
    """Training ends after this many epochs without an improvement on the validation windows."""
    watch: Watch = "loss"
    """Criterion on validation: a lower loss, or a higher F1 (of all pixels, at 0.5)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: convolutions in bfloat16, sigmoid, loss, weights and optimiser in float32; about twice
    as fast on a processor with bf16, but with other final weights."""
    seed: int = 0
    """Seed of the order of the windows, of their turns, and of dropout."""


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch."""

    epoch: int
    """From 1."""
    loss: float
    """Mean over the training windows, while the weights change."""
    validation_loss: float | None
    """Mean over batches of validation windows; None without any."""
    f1: float | None
    """F1 of all validation pixels at 0.5, 0..1; None without any."""
    learning_rate: float
    """Learning rate of the last step."""
    seconds: float
    is_best: bool
    """Whether its weights are the best so far on validation."""


def training_record(spec: TrainSpec, epochs: Sequence[Epoch], *, windows: int) -> dict[str, Any]:
    """Return what a model item records of a training; the best epoch is null where none was chosen.

    Args:
        spec: settings of the training.
        epochs: all epochs.
        windows: number of training windows.
    """
    best = [epoch.epoch for epoch in epochs if epoch.is_best]
    return {
        "windows": windows,
        "epochs_run": len(epochs),
        "best_epoch": best[-1] if best else None,
        "spec": asdict(spec),
    }
