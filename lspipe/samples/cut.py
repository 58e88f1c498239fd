"""Windows of a frozen run -> labelled patches in the units of a recipe.

A pixel that is not observed on the date, or outside of the run's area, has no label
(`schema.IGNORED`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING

from lspipe import catalogs
from lspipe.errors import LoadError, SamplesError
from lspipe.inference.inputs import to_model_units
from lspipe.inference.observed import observed
from lspipe.samples import Samples
from lspipe.samples.cover import over
from lspipe.samples.marks import part_of
from lspipe.schema import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lspipe.models.recipes import Level, Recipe
    from lspipe.runs.frozen import FrozenRun, FrozenTile
    from lspipe.samples import Pair
    from lspipe.samples.cover import Corner
    from lspipe.samples.marks import Marks

Place = tuple[str, int, int]
"""Tile, and row and column of a patch's first pixel."""


@dataclass(frozen=True)
class Patch:
    """One window of one tile on one date."""

    tile: FrozenTile
    step: int
    """Number of the date among the steps of the tile."""
    corner: Corner
    marks: Marks
    """Labelled polygons of the tile on this date."""

    @property
    def name(self) -> str:
        """Tile, sensing time (UTC), row and column of the first pixel."""
        time = self.tile.steps[self.step].time.astimezone(UTC)
        row, column = self.corner
        return f"{self.tile.name}_{time:%Y%m%dT%H%M%S}_{row}_{column}"


@dataclass(frozen=True)
class Cutter:
    """Reads patches of a run."""

    run: FrozenRun
    recipe: Recipe
    """Channels and scaling of the images."""
    window: int
    """Edge of a patch, pixels."""
    rest: int = 0
    """Label of the pixels of no polygon."""
    _ranges: dict[tuple[str, int], NDArray[np.float32]] = field(default_factory=dict, repr=False)
    """Ranges of tiles and steps, measured if the scaling needs them."""

    def __post_init__(self) -> None:
        for tile in self.run.tiles:
            if self.window < 1 or self.window > min(tile.geobox.shape):
                rows, columns = tile.geobox.shape
                raise SamplesError(
                    f"window {self.window} px: expected 1 to {min(rows, columns)}: tile "
                    f"{tile.name} of {self.run.path} has {rows} x {columns} px"
                )

    def over(
        self, marks: Mapping[str, Marks], role: str, *, wanted: Mapping[str, Sequence[int]]
    ) -> list[Patch]:
        """Return windows over objects, on every tile and every step of a date.

        Args:
            marks: per tile, its labelled polygons on this date.
            role: "before" or "after".
            wanted: per tile, numbers in `marks` of the objects that windows must hold whole.
        """
        return [
            Patch(tile, number, corner, marks[tile.name])
            for tile in self.run.tiles
            for number, step in enumerate(tile.steps)
            if step.role == role
            for corner in over(
                (marks[tile.name].boxes[n] for n in wanted[tile.name]),
                tile.geobox.shape,
                self.window,
            )
        ]

    def labels(self, patch: Patch) -> NDArray[np.uint8]:
        """Read a patch and return its labels: 1, 0, `IGNORED`; uint8 (y, x).

        Raises:
            SamplesError: the scenes lack a channel, or a read failed.
        """
        return self._labels(patch, *self._pixels(patch))

    def read(self, patch: Patch) -> Pair:
        """Read the image in the units of the recipe, NaN = no data, and the labels.

        Raises:
            SamplesError: the scenes lack a channel, or a read failed.
        """
        pixels, hidden = self._pixels(patch)
        image = to_model_units(
            pixels,
            self.recipe.scaling,
            observed=observed(pixels, hidden),
            hidden=hidden if self.run.spec.mask.apply == "input" else None,
            tile_range=self._range(patch) if self.recipe.scaling.kind == "tile-minmax" else None,
            bands=self.recipe.channels,
        )
        return image, self._labels(patch, pixels, hidden)

    def samples(self, patches: Iterable[Patch], source: str) -> Samples:
        """Return patches as `Samples`, read on demand; regions are the tiles.

        Args:
            patches: each with an observed pixel.
            source: for messages.
        """
        named = {patch.name: patch for patch in patches}

        def read(name: str) -> Pair:
            if name not in named:
                raise SamplesError(f"{source}: no patch {name!r}")
            return self.read(named[name])

        regions = {name: patch.tile.name for name, patch in named.items()}
        return Samples(
            source, self.recipe, tuple(named), read, regions, level=_level(named.values())
        )

    def _pixels(self, patch: Patch) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """Read reflectance (band, y, x), and True (y, x) where the date is not observed."""
        part = part_of(patch.corner, self.window)
        step = patch.tile.steps[patch.step]
        try:
            pixels, quality = self.run.read(patch.tile, step, self.recipe.channels, part)
        except LoadError as error:
            raise SamplesError(f"{self.run.path}: {patch.name}: {error}") from error
        return pixels, quality != 0

    def _range(self, patch: Patch) -> NDArray[np.float32]:
        """Return lowest and highest reflectance of the whole tile on a date, (band, 2)."""
        key = patch.tile.name, patch.step
        if key not in self._ranges:
            try:
                self._ranges[key] = self.run.range_of(
                    patch.tile, patch.tile.steps[patch.step], self.recipe.channels
                )
            except LoadError as error:
                raise SamplesError(
                    f"{self.run.path}: the range of tile {patch.tile.name}: {error}"
                ) from error
        return self._ranges[key]

    def _labels(
        self, patch: Patch, pixels: NDArray[np.int16], hidden: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        part = part_of(patch.corner, self.window)
        labels = patch.marks.burn(part, rest=self.rest)
        labels[~observed(pixels, hidden)] = IGNORED
        if patch.tile.area is not None:
            labels[~patch.tile.area[part]] = IGNORED
        return labels


def _level(patches: Iterable[Patch]) -> Level:
    """Return the product level of the scenes; "none" if they have none, or several."""
    steps = [patch.tile.steps[patch.step] for patch in patches]
    found = {catalogs.level(scene) for step in steps for scene in step.items}
    return found.pop() or "none" if len(found) == 1 else "none"
