"""One window of a run -> two HDF5 files in the layout of Landslide4Sense.

    img/image_N.h5     img, 128 x 128 x 14, float64: each channel divided as that set divides it
    mask/mask_N.h5     mask, 128 x 128, uint8: 1 = landslide, 0 = none

That set has a number in every pixel and a label for every pixel. A window of which some pixel was
not observed, or of which nothing is said somewhere, cannot be one of its patches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lspipe.errors import LoadError, MissingExtra, SamplesError
from lspipe.inference.observed import observed
from lspipe.models.recipes import DN_PER_REFLECTANCE, L4S_DIVISORS, UNITS
from lspipe.samples.l4s import IMAGE_KEY, MASK_KEY
from lspipe.samples.marks import part_of
from lspipe.schema import channel_of

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.samples.cut import Cutter, Patch


def check_installed(path: Path) -> None:
    """Refuse to go on without what writes HDF5.

    Args:
        path: what is to be written, for the message.

    Raises:
        MissingExtra: h5py is not installed.
    """
    try:
        import h5py  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{path}: HDF5 needs h5py: pip install 'lspipe[train]'") from error


def write(draft: Path, cutter: Cutter, patch: Patch, number: int) -> str | None:
    """Write a patch, and return its name; None if it has pixels of which nothing is said.

    Args:
        draft: folder to write into.
        cutter: of the run, with the channels of the set in its order.
        patch: a window of 128 pixels.
        number: of the files, from 1.

    Raises:
        SamplesError: a read failed.
    """
    import h5py

    labels = cutter.labels(patch)
    if labels.max() > 1:
        return None
    part = part_of(patch.corner, cutter.window)
    try:
        pixels, quality = cutter.run.read(
            patch.tile, patch.tile.steps[patch.step], cutter.recipe.channels, part
        )
    except LoadError as error:
        raise SamplesError(f"{cutter.run.path}: {patch.name}: {error}") from error
    if not observed(pixels, quality != 0).all():
        return None
    units = np.array([_per_code(name) for name in cutter.recipe.channels])
    image = np.moveaxis(pixels, 0, -1) * units / np.array(L4S_DIVISORS)
    about = {"run": cutter.run.name, "patch": patch.name}
    for kind, key, values in (("image", IMAGE_KEY, image), ("mask", MASK_KEY, labels)):
        folder = draft / key
        folder.mkdir(exist_ok=True)
        with h5py.File(folder / f"{kind}_{number}.h5", "w") as file:
            file[key] = values
            file.attrs.update(about)
    return str(number)


def _per_code(name: str) -> float:
    """Return what a code is in the unit that the set divides: digital numbers, degrees, metres."""
    step = channel_of(name).step
    return step if name in UNITS else round(step * DN_PER_REFLECTANCE)
