"""Folders of Landslide4Sense: `img/image_N.h5` and `mask/mask_N.h5`, 128 x 128 x 14, float64.

The files name no channels. Their values show that they are the fourteen of the recipe, in its order
and units: multiplied by the vector of the data set, each optical channel gives whole digital
numbers, and no other order or scale does. Slope and DEM differ by the ground: where the elevation
changes fast, the slope is steep.

A recipe in the units of the files gets their values unchanged; for any other recipe the
reflectances are computed and scaled again.

Source: github.com/iarai/Landslide4Sense-2022 (README; issue 4); docs/method.md, Landslide4Sense
values.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import MissingExtra, SamplesError
from lspipe.models.item import Scaling
from lspipe.models.recipes import L4S_DIVISORS, UNITS, recipe_of
from lspipe.samples import Samples, mask_of, paired
from lspipe.samples.units import check_scaling, in_units_of, reflectance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lspipe.models.recipes import Level, Recipe

SHAPE = (128, 128, 14)

LEVEL: Level = "L1C"
"""Product level of all its images: they have band 10, which L2A never has
(docs/method.md, Bands and levels)."""

IMAGE_KEY, MASK_KEY = "img", "mask"

OPTICAL = 12
"""Channels of Sentinel-2, before slope and DEM."""

WHOLE = 5e-3
"""Largest distance from a whole digital number; in the data set it is below 2e-3."""

PIXEL = 10.0
"""Edge of a pixel, metres."""


def folder(path: str | Path, recipe: str = "l4s14") -> Samples:
    """Find the patches of a folder; nothing is read yet.

    Args:
        path: holds `img/` and `mask/`.
        recipe: one whose channels are among the fourteen, such as l4s14, yali6, l4s-rgb.

    Raises:
        SamplesError: no such folders, images without masks or the reverse; a recipe whose channels
            the files do not hold, or whose scaling no patch can have; when read: another key,
            shape, order or scale of values, or a mask of other values.
        UsageError: no such recipe.
    """
    root, wanted = Path(path), recipe_of(recipe)
    all_channels = recipe_of("l4s14").channels
    lacking = [channel for channel in wanted.channels if channel not in all_channels]
    if lacking:
        raise SamplesError(
            f"{root}: recipe {recipe} needs {', '.join(lacking)}; Landslide4Sense has "
            f"{' '.join(all_channels)}"
        )
    check_scaling(wanted, f"{root}: HDF5 patches of Landslide4Sense")
    index = [all_channels.index(channel) for channel in wanted.channels]
    is_as_stored = wanted.scaling == _stored_scaling(index)
    if not is_as_stored:
        _check_terrain(wanted, root)
    images, masks = (
        _numbered(root / name, prefix) for name, prefix in (("img", "image_"), ("mask", "mask_"))
    )

    def read(name: str) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        image = _array(images[name], IMAGE_KEY, SHAPE)
        _check_values(image, images[name])
        mask = mask_of(_array(masks[name], MASK_KEY, SHAPE[:2]), masks[name])
        if is_as_stored:
            return np.moveaxis(image[..., index], -1, 0).astype(np.float32), mask
        return in_units_of(wanted, _raw(image)[index], images[name]), mask

    names = paired(images, masks, str(root))
    return Samples(str(root), wanted, names, read, level=LEVEL)


def _stored_scaling(index: list[int]) -> Scaling:
    """Return the scaling of some channels in the files, from their units."""
    scale = recipe_of("l4s14").scaling.scale
    return Scaling(kind="affine", scale=tuple(scale[i] for i in index), offset=(0.0,) * len(index))


def _check_terrain(wanted: Recipe, root: Path) -> None:
    """Refuse a recipe that scales slope or DEM in another way than the files."""
    known, scaling = recipe_of("l4s14"), wanted.scaling
    stored = dict(zip(known.channels, known.scaling.scale, strict=True))
    is_plain = scaling.kind == "affine" and scaling.clip is None
    steps = zip(wanted.channels, zip(scaling.scale, scaling.offset, strict=True), strict=True)
    own = dict(steps) if is_plain else {}
    for channel in wanted.channels:
        if channel in UNITS and own.get(channel) != (stored[channel], 0.0):
            raise SamplesError(
                f"{root}: HDF5 patches of Landslide4Sense cannot be in the units of recipe "
                f"{wanted.name}: it does not take {channel} as it is in the files, divided by "
                f"{1 / stored[channel]:g} {UNITS[channel]}; expected a recipe of bands, or one "
                "such as l4s14"
            )


def _raw(image: NDArray[Any]) -> NDArray[np.float32]:
    """Undo the division by the vector: reflectance, degrees, metres; float32 (channel, y, x)."""
    values = np.moveaxis(image * L4S_DIVISORS, -1, 0)
    # Rounded, as digital numbers are whole and the vector is not exact (`_check_values`).
    bands = reflectance(np.round(values[:OPTICAL]))
    return np.concatenate([bands, values[OPTICAL:].astype(np.float32)])


def _numbered(folder: Path, prefix: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise SamplesError(f"{folder}: no such folder: expected {prefix}N.h5 in it")
    return {path.stem.removeprefix(prefix): path for path in folder.glob("*.h5")}


def _array(path: Path, key: str, shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{path}: HDF5 needs h5py: pip install 'lspipe[train]'") from error
    try:
        with h5py.File(path) as file:
            if key not in file:
                raise SamplesError(
                    f"{path}: no key {key!r} (it has {', '.join(file) or 'none'}): expected "
                    "one file of Landslide4Sense"
                )
            stored = file[key]
            found = getattr(stored, "shape", None)
            if found != shape:
                raise SamplesError(f"{path}: {key} has shape {found}, expected {shape}")
            array: NDArray[Any] = stored[:]
    except OSError as error:
        raise SamplesError(f"{path}: not a readable HDF5 file ({error})") from error
    return array


def _check_values(image: NDArray[Any], path: Path) -> None:
    """Refuse channels in another order or of another scale."""
    if not np.isfinite(image).all():
        raise SamplesError(f"{path}: values that are not finite")
    numbers = image[..., :OPTICAL] * L4S_DIVISORS[:OPTICAL]
    apart = np.abs(numbers - np.round(numbers)).reshape(-1, OPTICAL).max(0)
    if apart.max() > WHOLE or image[..., :OPTICAL].max() * max(L4S_DIVISORS) < 1:
        channels = recipe_of("l4s14").channels
        named = ", ".join(channels[i] for i in np.flatnonzero(apart > WHOLE)) or "none"
        raise SamplesError(
            f"{path}: not digital numbers divided by the vector of the set (times the vector, not "
            f"whole: {named}): expected {' '.join(channels)}, each over its own divisor"
        )
    slope, elevation = (image[..., i] * L4S_DIVISORS[i] for i in (OPTICAL, OPTICAL + 1))
    if _likeness(slope, elevation) < _likeness(elevation, slope):
        raise SamplesError(
            f"{path}: channel 13 looks like elevation and channel 14 like slope: expected slope "
            "before DEM"
        )


def _likeness(slope: NDArray[Any], elevation: NDArray[Any]) -> float:
    """Return the correlation of a slope, degrees, with that of an elevation, metres; 0 if flat."""
    steepness = np.hypot(*np.gradient(elevation, PIXEL))
    if slope.std() == 0 or steepness.std() == 0:
        return 0.0
    return float(np.corrcoef(slope.ravel(), np.arctan(steepness).ravel())[0, 1])
