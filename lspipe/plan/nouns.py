"""What a plan is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe import windows
from lspipe.plan.canonical import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lspipe.cube import Step
    from lspipe.models import ModelItem
    from lspipe.preprocess import Radiometry
    from lspipe.presets import Setting
    from lspipe.search import Area, Tile
    from lspipe.store import Grid
    from lspipe.windows import Block
    from lspipe.worker import ModelReference
    from lspipe.workflow import Workflow

RadiometryTable = dict[tuple[str, str], "Radiometry"]


@dataclass(frozen=True)
class TilePlan:
    """What will be done on one tile."""

    tile: Tile
    steps: tuple[Step, ...]
    radiometry: RadiometryTable
    """Decision per (item id, asset key)."""
    bands: tuple[str, ...]
    """Bands to load: the model's, then those of the evidence that every item has."""
    required: tuple[str, ...]
    """The model's bands: only they decide what is observed."""
    area: NDArray[np.bool_] | None
    """Bool (y, x) of the tile, True inside the area; None = everywhere."""
    grid: Grid
    window: int
    """Edge of a window, pixels; halos are one less."""
    blocks: tuple[Block, ...]
    """Blocks that touch the area."""
    candidates: tuple[Mapping[str, Any], ...]
    """Every scene that was considered, with its masked share over the area."""
    tile_ranges: tuple[tuple[tuple[float, float], ...], ...] | None
    """Minimum and maximum per step and band, for models scaled by tile."""

    @property
    def chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Dask chunk sizes (y, x): one chunk per block."""
        window = self.window
        rows, columns = (
            tuple(np.diff(windows.block_edges(length, self.grid.block, window)).tolist())
            for length in self.tile.geobox.shape
        )
        return rows, columns


@dataclass(frozen=True)
class Plan:
    """Everything that decides a pixel."""

    workflow: Workflow
    area: Area
    tiles: tuple[TilePlan, ...]
    model: ModelItem
    reference: ModelReference
    setting: Setting
    detection_inputs: Mapping[str, Any]
    change_inputs: Mapping[str, Any]

    @property
    def detection_fingerprint(self) -> str:
        """Names everything that decides a stored probability."""
        return fingerprint(self.detection_inputs)

    @property
    def change_fingerprint(self) -> str:
        """Names everything that decides the inventory."""
        return fingerprint({"detection": self.detection_fingerprint, **self.change_inputs})

    @property
    def is_two_date(self) -> bool:
        """Whether there is a before to compare with."""
        return "before" in self.workflow.dates.ranges()
