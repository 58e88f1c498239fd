"""One patch in reflectance -> the units of a recipe, as for a window of a run.

A patch counts as a window. Scalings that need a whole tile are not possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import SamplesError
from lspipe.inference.inputs import to_model_units
from lspipe.inference.observed import observed
from lspipe.schema import REFLECTANCE_SCALE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.models.recipes import Recipe


def check_scaling(recipe: Recipe, source: str) -> None:
    """Refuse a recipe whose scaling needs more than a patch.

    Args:
        recipe: of the patches.
        source: the folder and the kind of its files, for the message.

    Raises:
        SamplesError: the scaling needs the range of a whole tile.
    """
    if recipe.scaling.kind == "tile-minmax":
        raise SamplesError(
            f"{source} cannot be in the units of recipe {recipe.name}: it stretches each channel "
            "over its whole tile (tile-minmax), and a patch does not hold the range of its tile; "
            "cut patches from a run (labels=...) instead"
        )


def reflectance(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Turn digital numbers without an offset into reflectance, with the same bits as in a run.

    Args:
        numbers: reflectance x 1e4, any shape and dtype.
    """
    scaled: NDArray[np.float32] = numbers.astype(np.float32) * np.float32(REFLECTANCE_SCALE)
    return scaled


def in_units_of(recipe: Recipe, pixels: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Scale a patch as its recipe does; by its own values if the recipe scales windows.

    Args:
        recipe: of the pixels; channels in its order.
        pixels: float32 (channel, y, x) in `recipe.units`, NaN = no data.
        path: of the patch, for messages.

    Returns:
        float32 (channel, y, x), model units, NaN = no data.

    Raises:
        SamplesError: no pixel has data in every channel.
    """
    seen = observed(pixels)
    if not seen.any():
        raise SamplesError(f"{path}: no pixel has data in every channel of recipe {recipe.name}")
    return to_model_units(pixels, recipe.scaling, observed=seen)
