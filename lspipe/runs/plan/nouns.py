"""The types of a plan: `Plan`, and `TilePlan` for one tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.cube.pairs import is_baseline
from lspipe.inference import windows
from lspipe.runs.plan.canonical import fingerprint
from lspipe.schema import AFTER, BEFORE, bands_on, is_pair

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.cube.choice import Step
    from lspipe.cube.radar import Radar
    from lspipe.cube.terrain import Terrain
    from lspipe.inference.reference import ModelReference
    from lspipe.inference.settings import Setting
    from lspipe.inference.windows import Block
    from lspipe.models import ModelItem
    from lspipe.preprocess import Radiometry
    from lspipe.runs.store import Grid
    from lspipe.search.acquisitions import Tile
    from lspipe.search.areas import Area
    from lspipe.search.on_grid import AreaOnGrid
    from lspipe.workflow import Workflow

RadiometryTable = dict[tuple[str, str], "Radiometry"]


BYTES_PER_PIXEL = 20
"""Bytes per pixel of a block that is computed, without its bands: int64 sum (int32 if not Hann),
float32 maximum and result, and masks (measured with int16 blocks of 4106 px: 16 uniform, 17 with
D4, 20 Hann)."""


@dataclass(frozen=True)
class TilePlan:
    """The plan of one tile."""

    tile: Tile
    steps: tuple[Step, ...]
    radiometry: RadiometryTable
    """Decision per (item id, asset key)."""
    bands: tuple[str, ...]
    """Bands to load of the scenes of each date: the model's, then those of the evidence that every
    item has."""
    channels: tuple[str, ...]
    """The model's channels, with their dates: only they, and the bands of the mask, decide what is
    observed."""
    mask_bands: tuple[str, ...]
    """Bands that only the mask needs: read, and not kept."""
    area: AreaOnGrid | None
    """Pixels of the tile inside the area; None = everywhere."""
    grid: Grid
    halo: int
    """Pixels around the core of a block that decide it."""
    blocks: tuple[Block, ...]
    """Blocks that touch the area."""
    candidates: tuple[Mapping[str, Any], ...]
    """Every scene that was considered, with its masked share over the area."""
    tile_ranges: tuple[tuple[tuple[float, float], ...], ...] | None
    """Minimum and maximum per step and band, for models scaled by tile."""
    terrain: Terrain | None = None
    """Its heights, with the files that lie here; None = the run knows none."""
    layers: tuple[str, ...] = ()
    """The model's channels of terrain, which belong to no date."""
    radar: Radar | None = None
    """Its backscatter, of passes that both sides have; None = none, or the run reads no radar."""
    backscatter: tuple[str, ...] = ()
    """The model's channels of radar."""
    radar_notes: tuple[str, ...] = ()
    """What a person is to know of its passes, also of those that are left out."""
    radar_asked: str = ""
    """Hash of what was asked for when its passes were decided; "" = the run reads no radar."""

    @property
    def largest_block(self) -> int:
        """Pixels of the largest block with its halo."""
        return max(map(outer_pixels, self.blocks), default=0)

    @property
    def judged(self) -> tuple[Step, ...]:
        """The steps on which the network runs: not the date before of a pair model."""
        return tuple(step for step in self.steps if not is_baseline(self.channels, step.role))

    def is_judged(self, step: int) -> bool:
        """Return whether the network runs on a step, by its number."""
        return self.steps[step] in self.judged

    def bands_read(self, step: Step) -> list[tuple[Step, int]]:
        """Return the steps whose scenes are read for one step, and how many bands of each."""
        extra = len(self.mask_bands)
        read = [(step, len(self.bands) + extra)]
        if is_pair(self.channels) and step.role == AFTER:
            count = len(bands_on(self.channels, BEFORE)) + extra
            read += [(each, count) for each in self.steps if each.role == BEFORE]
        return read

    @property
    def pixels_to_read(self) -> int:
        """Pixels of the blocks with their halos: a block reads its own."""
        return sum(map(outer_pixels, self.blocks))

    @property
    def bytes_to_read(self) -> int:
        """Blocks with halos, uint16 per band and uint8 for the scene classes, once per scene.

        A pair model reads the date before twice: for its pictures, and beside the date after.
        """
        read = (each for step in self.steps for each in self.bands_read(step))
        optical = sum((2 * bands + 1) * len(step.items) for step, bands in read)
        return self.pixels_to_read * optical + self._bytes_of_radar

    @property
    def _bytes_of_radar(self) -> int:
        """Bytes of backscatter that a model sees, float32 of each date of the first pass."""
        if self.radar is None or not self.backscatter:
            return 0
        one = self.radar.passes[0]
        dates = sum(len(one.dates(side)) for side in one.sides)
        return 4 * self.pixels_to_read * dates * len(self.judged)

    @property
    def chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Dask chunk sizes (y, x): one chunk per block."""
        rows, columns = (
            tuple(np.diff(windows.block_edges(length, self.grid.block, self.halo)).tolist())
            for length in self.tile.geobox.shape
        )
        return rows, columns


def outer_pixels(block: Block) -> int:
    """Count the pixels of a block with its halo."""
    rows, columns = block.outer
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


@dataclass(frozen=True)
class Plan:
    """Everything that decides a pixel."""

    workflow: Workflow
    area: Area
    tiles: tuple[TilePlan, ...]
    model: ModelItem
    reference: ModelReference
    setting: Setting
    sources: Mapping[str, str]
    """Source of each setting (`presets.trace`); for the batch size also "probed", "earlier run" and
    "default"."""
    detection_inputs: Mapping[str, Any]
    change_inputs: Mapping[str, Any]
    threshold: float
    """A pixel is landslide above it; of the workflow, else of the model item."""
    notes: tuple[str, ...] = ()
    """What the search said of scenes that may be missing."""
    terrain: Terrain | None = None
    """The heights of the run; None = it knows none."""
    is_settled: bool = True
    """Whether device, precision, runtime and batch size are decided; False until a worker was
    asked."""
    runtime_why: str = ""
    """Why the runtime of `reference` was chosen; "" = it was asked for, or not measured."""

    @property
    def formats(self) -> tuple[str, ...]:
        """Outputs that are asked for; always GeoParquet, which others read."""
        return tuple(dict.fromkeys(("geoparquet", *self.workflow.output.write)))

    @property
    def detection_fingerprint(self) -> str:
        """Hash of everything that decides a stored probability."""
        return fingerprint(self.detection_inputs)

    @property
    def change_fingerprint(self) -> str:
        """Hash of everything that decides the inventory."""
        return fingerprint({"detection": self.detection_fingerprint, **self.change_inputs})

    @property
    def is_two_date(self) -> bool:
        """Whether two dates are compared."""
        return "before" in self.workflow.dates.ranges()
