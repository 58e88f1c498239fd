"""How a network is trained, and what is recorded of each epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from lspipe.spec import Bounds, Count, Spec
from lspipe.train.losses import LossName

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Pairs = tuple[NDArray[np.float32], NDArray[np.uint8]]
    """Windows (N, C, w, w) in model units, and labels (N, w, w): 0, 1 or `IGNORED`."""

Schedule = Literal["cosine", "step", "constant"]
Augmentation = Literal["d4", "flips-rotations", "none"]
Watch = Literal["loss", "f1"]
Positive = Annotated[float, Bounds(gt=0)]


@dataclass(frozen=True, kw_only=True)
class TrainSpec(Spec):
    """How a network is trained: Adam, with (0.9, 0.999)."""

    epochs: Count = 20
    """At most; see `patience`."""
    iterations: Count | None = None
    """Steps of the optimiser after which training ends, instead of after `epochs`; the last epoch
    may be cut short."""
    batch_size: Count = 32
    learning_rate: Positive = 1e-3
    """Of the first step."""
    schedule: Schedule = "cosine"
    """What becomes of it: "cosine" falls to 0 along half a cosine, "step" is multiplied by
    `step_factor` every `step_epochs`, "constant" stays."""
    step_epochs: Count = 30
    step_factor: Positive = 0.1
    loss: LossName = "bce-dice"
    augmentation: Augmentation = "d4"
    """How each batch is shown: "d4" turned by one random element of D4, as a landslide may lie on
    a slope of any aspect; "flips-rotations" flipped and rotated by up to 45 degrees (paper 000);
    "none" as it is."""
    gain: Annotated[float, Bounds(ge=0, lt=1)] = 0.0
    """Each channel of each window is multiplied by 1 plus or minus at most this; of no paper."""
    haze: Annotated[float, Bounds(ge=0, le=1, noun="a share")] = 0.0
    """From each channel of each window a random part, at most this, of its darkest value is taken
    away, and the window is brought back to its highest value: as if there were less air above the
    ground, so that what is learnt at the top of the atmosphere (L1C) is of more use in surface
    reflectance (L2A). Dark-object subtraction, Chavez 1988 (doi 10.1016/0034-4257(88)90019-3); of
    no paper here. A channel that is dark (0) anywhere, or lacks data there, stays as it is. For
    channels of reflectance only."""
    patience: Count | None = None
    """Epochs without anything better on the validation windows after which training ends."""
    watch: Watch = "loss"
    """What is better: a lower loss, or a higher F1 (of all pixels, at 0.5), on validation."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: convolutions in bfloat16, sigmoid, loss, weights and optimiser in float32; about twice
    as fast where the processor has bf16, other weights in the end."""
    seed: int = 0
    """Of the order of the windows, of their turns, and of dropout."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave."""

    epoch: int
    """From 1."""
    loss: float
    """Mean over the windows that were trained on, while their weights changed."""
    validation_loss: float | None
    """Mean over batches of validation windows; None without any."""
    f1: float | None
    """Of all validation pixels at 0.5, 0..1; None without any."""
    learning_rate: float
    """Of its last step."""
    seconds: float
    is_best: bool
    """Whether its weights are better, on validation, than those of all epochs before."""


def training_record(spec: TrainSpec, epochs: Sequence[Epoch], *, windows: int) -> dict[str, Any]:
    """Return what a model item records of a training; the best epoch is null where none was chosen.

    Args:
        spec: how it was trained.
        epochs: all that were run.
        windows: how many it was trained on.
    """
    best = [epoch.epoch for epoch in epochs if epoch.is_best]
    return {
        "windows": windows,
        "epochs_run": len(epochs),
        "best_epoch": best[-1] if best else None,
        "spec": asdict(spec),
    }
