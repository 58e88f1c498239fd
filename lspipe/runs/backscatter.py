"""The radar of a run -> backscatter of a tile before and after, kept with its evidence.

Lists, reports and layers never read radar.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.cube.radar import read
from lspipe.runs import beside, store
from lspipe.schema import DATES, ORBITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from lspipe.cube.radar import Radar
    from lspipe.runs.store import Grid
    from lspipe.schema import Part


def write(run: Path, grid: Grid, radar: Radar | None) -> None:
    """Write the backscatter of the blocks of a tile that are done on some date and lack it.

    Args:
        run: a run directory in which the blocks of the tile are all, or in part, done.
        grid: of the tile.
        radar: its passes, of each state of orbit one at most; what others saw is replaced. None =
            no pass has both sides here.

    Raises:
        LoadError: a file cannot be read, or holds no linear power.
    """
    if radar is None:
        beside.keep(run, grid, store.radar_layers(()), facts=None, layers=lambda _: {})
        return
    orbits = orbits_of(radar)

    def layers(core: Part) -> Mapping[str, NDArray[np.int16]]:
        found: dict[str, NDArray[np.int16]] = {}
        for orbit, number in orbits.items():
            both = read(radar, grid.geobox, core, [f"{date}:VV" for date in DATES], number)
            found |= {store.vv(date, orbit): one for date, one in zip(DATES, both, strict=True)}
        return found

    beside.keep(run, grid, store.radar_layers(orbits), facts=radar.facts(), layers=layers)


def orbits_of(radar: Radar | None) -> dict[str, int]:
    """Return the orbits from which a tile was seen: their short names, and numbers of passes."""
    passes = () if radar is None else radar.passes
    numbers: dict[str, int] = {}
    for number, one in enumerate(passes):
        numbers.setdefault(ORBITS[one.orbit_state], number)
    return numbers
