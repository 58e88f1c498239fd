"""One tile as its objects are judged: its maps, and what a run stored beside them, by strips.

See also: `evidence.py`, which asks; `runs/seen.py`, which answers from the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from lspipe.change.neighbours import FARTHEST_PX, Strip
from lspipe.schema import CUBE_NODATA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lspipe.change.components import Components

Role = Literal["before", "after", "ground", "radar"]

GROUND: Role = "ground"
"""In place of a date: layers of terrain, which belong to none."""

RADAR: Role = "radar"
"""In place of a date of the scenes: backscatter, whose layers name their date and orbit."""


class Layers(Protocol):
    """What a run stored of a date."""

    def __call__(self, role: str, name: str, rows: slice) -> NDArray[Any] | None:
        """Return some rows of a layer of `evidence.zarr`, one acquisition or several merged.

        Args:
            role: "before" or "after", or "ground", or "radar".
            name: `true_colour` uint8 (3, y, x), `ndvi` int16, `scl` uint8, `acquired` uint16; of
                the ground `elevation` and `slope`, of radar `vv_before_asc` and the like: int16,
                codes of `schema.CHANNELS`.
            rows: of the tile.

        Returns:
            As stored, with its no-data value; None if the run has no such layer.
        """


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """One tile: its objects, its maps, and what was stored of its dates; arrays are (y, x)."""

    objects: Components
    kinds: NDArray[np.uint8]
    """`objects.Kind` numbers."""
    before: NDArray[np.uint16] | None
    """Codes of the earlier date, 65535 = not observed; None for a map of one date."""
    after: NDArray[np.uint16]
    area: NDArray[np.bool_] | None
    """True inside the area of interest; None = everywhere."""
    layers: Layers
    pixel_m: float
    """Edge of a pixel, metres."""


@dataclass(frozen=True)
class View:
    """One strip of a tile, and its layers, each read once."""

    tile: Surveyed
    strip: Strip

    def codes(self, role: Role) -> NDArray[np.uint16] | None:
        """Return the codes of a date, 65535 = not observed."""
        codes = self.tile.before if role == "before" else self.tile.after
        return None if codes is None else codes[self.strip.rows]

    def layer(self, role: Role, name: str) -> NDArray[Any] | None:
        """Return a layer of a date on the rows of this strip."""
        known = self._layers
        if (role, name) not in known:
            known[role, name] = self.tile.layers(role, name, self.strip.rows)
        return known[role, name]

    def scene_classes(self, role: Role) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Return the scene classes of a date on the rows of this strip, and on those of `wide`."""
        known = self._layers
        if (role, "wide") not in known:
            known[role, "wide"] = self.tile.layers(role, "scl", self.wide)
        wide = known[role, "wide"]
        rows = self.strip.rows
        return (None if wide is None else wide[self.lead :][: rows.stop - rows.start]), wide

    @cached_property
    def _layers(self) -> dict[tuple[str, str], NDArray[Any] | None]:
        return {}

    @cached_property
    def wide(self) -> slice:
        """The rows of this strip and all rows from which a distance may count."""
        height = self.tile.objects.shape[0]
        rows = self.strip.rows
        return slice(max(rows.start - FARTHEST_PX, 0), min(rows.stop + FARTHEST_PX, height))

    @cached_property
    def heights(self) -> NDArray[np.int64] | None:
        """The codes of heights on the rows of this strip and one more on both sides."""
        height, width = self.tile.objects.shape
        rows = self.strip.rows
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, height)
        found = self.tile.layers(GROUND, "elevation", slice(first, last))
        if found is None:
            return None
        # Beyond the tile nothing is known.
        wide = np.full((rows.stop - rows.start + 2, width + 2), CUBE_NODATA, np.int64)
        at = first - (rows.start - 1)
        wide[at : at + len(found), 1:-1] = found
        return wide

    @property
    def lead(self) -> int:
        """Rows of `wide` before the strip."""
        return int(self.strip.rows.start - self.wide.start)
