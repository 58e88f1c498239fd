"""Labelled patches: what a network is trained on and scored with.

One module per kind of folder. Each makes a `Samples`: images in the model units of a recipe,
channels by name, and masks of 0 and 1. A folder is checked before anything is trained: an image
without a mask, a mask with other values or an unreadable file is an error that names it, unless
broken patches may be left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import SamplesError, first_few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.models.recipes import Level, Recipe

Pair = tuple["NDArray[np.float32]", "NDArray[np.uint8]"]
"""Image (channel, y, x) in model units, NaN = no data; mask (y, x), 1 = landslide, 0 = none."""


@dataclass(frozen=True)
class Samples:
    """Patches with labels, read on demand."""

    source: str
    """Origin of the patches, for messages and scorecards."""
    recipe: Recipe
    names: tuple[str, ...]
    """Name of each patch, in the order of reading."""
    read: Callable[[str], Pair]
    """Read one patch by its name; raises `SamplesError`."""
    regions: Mapping[str, str] | None = None
    """Region of each patch, where it is known."""
    level: Level = "none"
    """Product level of the images, where the kind of folder defines it; "none" = unknown."""
    parts: Mapping[str, str] | None = None
    """Part of each patch ("train", "val", "test"), where the set itself says it."""

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Pair]:
        return map(self.read, self.names)

    def of_regions(self, wanted: Sequence[str]) -> Samples:
        """Return the patches of some regions.

        Raises:
            SamplesError: the regions are not known.
        """
        known = self.regions or {}
        unknown = sorted(set(wanted) - set(known.values()))
        if unknown:
            listed = ", ".join(sorted(set(known.values()))) or "none"
            raise SamplesError(
                f"{self.source}: no patches of {', '.join(unknown)}; its regions: {listed}"
            )
        homeless = [name for name in self.names if name not in known]
        if homeless:
            raise SamplesError(
                f"{self.source}: {first_few(homeless)}: no region is known "
                f"({len(homeless)} of {len(self)} patches)"
            )
        return replace(self, names=tuple(name for name in self.names if known[name] in wanted))

    def of_part(self, wanted: str) -> Samples:
        """Return the patches of a part.

        Raises:
            SamplesError: the set has no patches of it, or says nothing of parts.
        """
        known = self.parts or {}
        names = tuple(name for name in self.names if known.get(name) == wanted)
        if not names:
            listed = ", ".join(sorted(set(known.values()))) or "none"
            raise SamplesError(f"{self.source}: no patches of part {wanted}; its parts: {listed}")
        return replace(self, names=names)

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Read all patches into memory: (N, C, y, x) and (N, y, x).

        Raises:
            SamplesError: no patches, or patches of several sizes.
        """
        if not self.names:
            raise SamplesError(f"{self.source}: no patches")
        pairs = list(self)
        sizes = sorted({image.shape[1:] for image, _ in pairs})
        if len(sizes) > 1:
            raise SamplesError(
                f"{self.source}: patches of {' and '.join(f'{y} x {x} px' for y, x in sizes)}: "
                "expected one size"
            )
        images, masks = zip(*pairs, strict=True)
        return np.stack(images), np.stack(masks)


def joined(parts: Mapping[str, Samples]) -> Samples:
    """Join several sets of patches; a patch is named "part/name".

    Args:
        parts: sets by name, of one recipe.

    Raises:
        SamplesError: no parts, or several recipes.
    """
    recipes = sorted({part.recipe.name for part in parts.values()})
    if len(recipes) != 1:
        raise SamplesError(
            f"patches of {' and '.join(recipes) or 'no recipe'}: expected one recipe"
        )
    first = next(iter(parts.values()))

    def read(name: str) -> Pair:
        part, _, rest = name.partition("/")
        return parts[part].read(rest)

    return Samples(
        source=" + ".join(part.source for part in parts.values()),
        recipe=first.recipe,
        names=tuple(f"{key}/{name}" for key, part in parts.items() for name in part.names),
        read=read,
    )


def sound(samples: Samples, *, skip_broken: bool = False) -> Samples:
    """Read every patch once, and return the usable ones.

    Args:
        samples: of a folder.
        skip_broken: leave broken ones out instead of refusing the folder.

    Raises:
        SamplesError: broken patches, with names, number and reasons; or no patch is left.
    """
    broken = {}
    for name in samples.names:
        try:
            samples.read(name)
        except SamplesError as error:
            broken[name] = str(error)
    kept = tuple(name for name in samples.names if name not in broken)
    if broken and not skip_broken:
        shown = first_few(list(broken.values()), between="\n  ")
        raise SamplesError(
            f"{samples.source}: {len(broken)} of {len(samples)} patches are broken:\n  "
            f"{shown}\nrepair them, or leave them out (skip_broken=True)"
        )
    if not kept:
        raise SamplesError(f"{samples.source}: no sound patches")
    return replace(samples, names=kept)


def paired(images: Mapping[str, Path], masks: Mapping[str, Path], source: str) -> tuple[str, ...]:
    """Return names that have an image and a mask, in numeric order if they are numbers.

    Raises:
        SamplesError: an image without a mask, or the reverse.
    """
    faults = [*_alone(images, masks, "image", "a mask"), *_alone(masks, images, "mask", "an image")]
    if faults:
        raise SamplesError(f"{source}: {'; '.join(faults)}")
    return tuple(sorted(images, key=lambda name: (not name.isdigit(), len(name), name)))


def _alone(
    files: Mapping[str, Path], others: Mapping[str, Path], noun: str, lacking: str
) -> Iterator[str]:
    """Describe files without a partner; yield nothing if all have one."""
    paths = [files[name] for name in sorted(set(files) - set(others))]
    if paths:
        shown = first_few([f"{path.parent.name}/{path.name}" for path in paths])
        plural = "" if len(paths) == 1 else "s"
        yield f"{len(paths)} {noun}{plural} without {lacking}: {shown}"


def mask_of(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Return a mask of 0 and 1 for one of 0 and 1, or of 0 and 255.

    Raises:
        SamplesError: other values.
    """
    found = np.unique(values)
    if not np.isin(found, (0, 1)).all() and not np.isin(found, (0, 255)).all():
        shown = first_few([f"{value:g}" for value in found.astype(float)])
        raise SamplesError(f"{path}: mask with the values {shown}: expected 0 and 1, or 0 and 255")
    mask: NDArray[np.uint8] = (values > 0).astype(np.uint8)
    return mask
