"""The evidence of a tile in the store -> some rows of a layer of a date, its scenes merged.

See also: `change/evidence.py`, which asks for it, and `cube/evidence.py`, which made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.change.surveyed import GROUND, RADAR
from lspipe.cube.composite import lower_median
from lspipe.runs import store
from lspipe.runs.store.layers import EVIDENCE_LAYERS, SPREAD
from lspipe.schema import CUBE_NODATA, SCL_CLASSES, Quality

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.runs.store import Grid

_FILLS = {layer.name: layer.fill for layer in (*EVIDENCE_LAYERS, SPREAD)}


@dataclass(frozen=True)
class Seen:
    """What was seen of a tile; see `change.surveyed.Layers`."""

    run: Path
    grid: Grid
    has_terrain: bool = False
    """Whether the run knows the terrain; a store may hold that of an earlier list."""
    has_radar: bool = False
    """Whether the run reads radar; the same holds."""

    def __call__(self, role: str, name: str, rows: slice) -> NDArray[Any] | None:
        """Return some rows of a layer of a date, or of none; None if the run has no such layer.

        Of several acquisitions (`composite: each`), each pixel has the lower median of those that
        observed it; of scene classes, water where any has it, else snow, else the first that is
        known.
        """
        if role in (GROUND, RADAR):
            return self._beside(role, name, rows)
        steps = np.flatnonzero(np.array(self.grid.roles) == role)
        if not steps.size:
            return None
        part = slice(int(steps[0]), int(steps[-1]) + 1)
        layers = self._read(store.EVIDENCE, name, (part, ..., rows, slice(None)))
        if layers is None:
            return None
        layers = layers[steps - steps[0]]
        if len(layers) == 1:
            return np.asarray(layers[0])
        if name == "scl":
            return _merged_classes(layers)
        quality = store.read(self.run, store.DETECTIONS, self.grid.tile, "quality", (part, rows))[
            steps - steps[0]
        ]
        return _middle(layers, quality, fill=_FILLS[name])

    def _beside(self, role: str, name: str, rows: slice) -> NDArray[Any] | None:
        """Return a layer of no scene, not observed where an orbit did not see the tile."""
        if not (self.has_terrain if role == GROUND else self.has_radar):
            return None
        found = self._read(store.EVIDENCE, name, rows)
        if found is not None or role == GROUND:
            return found
        height, width = self.grid.geobox.shape
        return np.full((len(range(height)[rows]), width), CUBE_NODATA, np.int16)

    def _read(self, which: str, name: str, part: Any) -> NDArray[Any] | None:
        try:
            return store.read(self.run, which, self.grid.tile, name, part)
        # A run that an earlier lspipe made, or a store of which a layer was removed.
        except (FileNotFoundError, KeyError):
            return None


def _middle(layers: NDArray[Any], quality: NDArray[np.uint8], *, fill: int) -> NDArray[Any]:
    """Return the lower median over time of what was observed, `fill` where nothing was."""
    # A failed read alone is observed: another item of the acquisition has the pixel.
    is_seen = (quality & ~np.uint8(Quality.READ_ERROR)) == 0
    if layers.ndim > is_seen.ndim:
        is_seen = is_seen[:, None]
    is_seen = is_seen & (layers != fill)
    return np.where(is_seen.any(axis=0), lower_median(layers, is_seen), layers.dtype.type(fill))


def _merged_classes(layers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return water where any acquisition has it, else snow, else the first class that is known."""
    first = np.argmax(layers != SCL_CLASSES["nodata"], axis=0)
    merged: NDArray[np.uint8] = np.take_along_axis(layers, first[None], axis=0)[0].copy()
    for name in ("snow", "water"):
        merged[(layers == SCL_CLASSES[name]).any(axis=0)] = SCL_CLASSES[name]
    return merged
