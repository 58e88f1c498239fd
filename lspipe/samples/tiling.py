"""Patches -> smaller ones, cut on a regular grid without overlap.

If a recipe scales each window by its own values, a smaller window is scaled again by its own, so
that the network gets the same input in training as in a run.

Source: paper 003, which cuts its patches in this way.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from lspipe.errors import SamplesError
from lspipe.inference.inputs import WINDOW_KINDS, model_units
from lspipe.models.item import Scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lspipe.samples import Pair, Samples


def cut(samples: Samples, window: int) -> Samples:
    """Cut every patch into windows, named "PATCH/ROW-COLUMN", rows before columns.

    All patches must have the size of the first one, which is checked when they are read.

    Args:
        samples: square patches.
        window: edge, pixels; with the edge of the patches nothing is cut.

    Raises:
        SamplesError: no patches, or patches whose edge is no multiple of the window.
    """
    if not samples.names:
        raise SamplesError(f"{samples.source}: no patches")
    image, _ = samples.read(samples.names[0])
    rows, columns = image.shape[1:]
    if rows != columns or rows % window:
        raise SamplesError(
            f"{samples.source}: patches of {rows} x {columns} px: expected square ones whose "
            f"edge is a multiple of {window} px"
        )
    if window == rows:
        return samples
    corners = {
        f"{row}-{column}": (row, column)
        for row, column in product(range(0, rows, window), repeat=2)
    }

    def read(name: str) -> Pair:
        patch, _, place = name.rpartition("/")
        image, mask = samples.read(patch)
        if image.shape[1:] != (rows, columns):
            raise SamplesError(
                f"{samples.source}: {patch}: {image.shape[1]} x {image.shape[2]} px, others have "
                f"{rows} x {columns}"
            )
        row, column = corners[place]
        part = (..., slice(row, row + window), slice(column, column + window))
        return _scaled_again(image[part], samples.recipe.scaling), mask[part]

    names = [(patch, f"{patch}/{place}") for patch in samples.names for place in corners]
    regions, parts = samples.regions, samples.parts
    return replace(
        samples,
        names=tuple(name for _, name in names),
        read=read,
        regions=None if regions is None else {name: regions[patch] for patch, name in names},
        parts=None if parts is None else {name: parts[patch] for patch, name in names},
    )


def _scaled_again(window: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """Scale a window by its own values; before, it was scaled by those of its patch."""
    observed: NDArray[np.bool_] = np.logical_not(np.isnan(window).any(axis=0))
    if scaling.kind not in WINDOW_KINDS or not observed.any():
        return window
    values = np.nan_to_num(window)
    units = model_units(values[None], Scaling(kind=scaling.kind), observed=observed[None, None])[0]
    scaled: NDArray[np.float32] = np.where(np.isnan(window), np.float32(np.nan), units)
    return scaled
