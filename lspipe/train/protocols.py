"""How the papers trained their networks, and how a public set is trained on; data, not code.

The note names settings that a paper does not state, and the values used instead.

Source: papers 000 (section 2), 001 (section IV), 002 (section 5.3.2), 003 (implementation details)
and 004 (Tables 1 and 2); docs/method.md, Training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from lspipe.train.spec import TrainSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Protocol:
    """The training of one paper, or of lspipe."""

    paper: str
    """Empty = no paper's."""
    architecture: str
    """The network of the paper; others can be trained in the same way."""
    recipe: str
    window: int
    """Edge of the patches, pixels."""
    spec: TrainSpec
    note: str
    """Settings that the paper does not state, and the values used."""


PROTOCOLS = {
    "morales": Protocol(
        "000",
        "deeplabv3plus-resnet50",
        "morales10",
        224,
        TrainSpec(
            epochs=100, batch_size=32, learning_rate=1e-3, schedule="constant",
            loss="focal-tversky", augmentation="flips-rotations",
        ),
        "The learning rate is not stated: 1e-3. The encoder was pretrained on ImageNet: give its "
        "weights as a file.",
    ),
    "l4s": Protocol(
        "001",
        "l4s-unet",
        "l4s14",
        128,
        TrainSpec(
            iterations=5000, batch_size=32, learning_rate=1e-3, schedule="constant", loss="bce",
            augmentation="none",
        ),
        "Augmentation is not stated: none. Two outputs and a cross entropy there, one output and a "
        "binary cross entropy here, which is the same but for the number of weights.",
    ),
    "yali": Protocol(
        "002",
        "yali-unet",
        "yali14",
        128,
        TrainSpec(
            epochs=100, batch_size=16, learning_rate=1e-3, schedule="step", step_epochs=30,
            step_factor=0.1, loss="wce-dice", augmentation="none", patience=10, watch="loss",
            seed=42,
        ),
        "The share of Dice is not printed: 0.5. The losses bce, wce and dice were tried too.",
    ),
    "ghorb": Protocol(
        "003",
        "ghorb-resunet",
        "ghorb4",
        64,
        TrainSpec(
            epochs=100, batch_size=4, learning_rate=1e-3, schedule="constant", loss="bce",
            augmentation="none", patience=10,
        ),
        "Neither the number of epochs nor the patience is stated: at most 100, and 10. The weight "
        "map of its loss is never specified: none. Patches of 32 and 128 px were tried too.",
    ),
    "vega": Protocol(
        "004",
        "vega-unet",
        "vega3",
        128,
        TrainSpec(
            epochs=150, batch_size=16, learning_rate=5e-4, schedule="constant", loss="dice",
            augmentation="none",
        ),
        "The best setting of its colour model, 64 filters. The size of patches is not stated: 128.",
    ),
    "sen12": Protocol(
        "",
        "ghorb-unet",
        "sen12",
        128,
        TrainSpec(
            epochs=60, batch_size=16, learning_rate=1e-3, schedule="cosine", loss="bce-dice",
            augmentation="d4", patience=10,
        ),
        "For Sen12Landslides, and no paper's: the networks of that set see fifteen dates, these "
        "see one or two. Network, loss and rate were chosen, not measured. Of two dates: "
        "recipe sen12:pair.",
    ),
}  # fmt: skip

VEGA_GRID: Mapping[str, tuple[Any, ...]] = {
    "filters": (16, 32, 64),
    "learning_rate": (5e-4, 1e-3, 5e-5, 1e-4, 5e-6, 1e-5),
    "batch_size": (16, 32, 64),
}
"""The search of paper 004, Table 1; its "10e-4" is 1e-3. 54 trainings."""


def sweep(
    spec: TrainSpec, grid: Mapping[str, tuple[Any, ...]] | None = None
) -> Iterator[tuple[str, dict[str, Any], TrainSpec]]:
    """Yield all settings of a grid.

    Args:
        spec: the common settings.
        grid: values to try, by a field of `TrainSpec` or an argument of the architecture; None =
            that of paper 004.

    Yields:
        A name for a folder, arguments of the architecture, and the spec.
    """
    of_spec = TrainSpec.__dataclass_fields__
    grid = VEGA_GRID if grid is None else grid
    for values in product(*grid.values()):
        setting = dict(zip(grid, values, strict=True))
        name = "-".join(f"{key}={value:g}" for key, value in setting.items())
        arguments = {key: value for key, value in setting.items() if key not in of_spec}
        changes = {key: value for key, value in setting.items() if key in of_spec}
        yield name, arguments, replace(spec, **changes)
