"""The entry of a tile in `run.json` -> its time steps and radiometry.

A run that is resumed or read again repeats neither the search nor these decisions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lspipe.cube.choice import Step
from lspipe.cube.radar import Radar
from lspipe.preprocess import Radiometry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.search.acquisitions import Tile


def recorded_steps(tile: Tile, decided: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return the steps of an earlier plan, with the frozen items of the tile.

    Args:
        tile: of `search.thaw`.
        decided: the tile's entry in `run.json`.

    Raises:
        KeyError: the items are not those of the entry.
    """
    by_items = {
        frozenset(item.id for item in acquisition.items): acquisition
        for group in tile.acquisitions.values()
        for acquisition in group
    }
    return tuple(
        Step(
            role=step["role"],
            acquisitions=tuple(by_items[frozenset(ids)] for ids in step["acquisitions"]),
        )
        for step in decided["steps"]
    )


def recorded_radiometry(decided: Mapping[str, Any]) -> dict[tuple[str, str], Radiometry]:
    """Return scale and offset per (item id, asset key), as an earlier plan decided them."""
    return {
        (entry["item"], entry["asset"]): Radiometry(
            scale=entry["scale"],
            offset=entry["offset"],
            reason=entry["reason"],
            file=entry.get("file", ""),  # older runs did not look
        )
        for entry in decided["radiometry"]
    }


def recorded_radar(decided: Mapping[str, Any]) -> Radar | None:
    """Return the radar of a tile; None where none was asked for, or no pass could be taken.

    Args:
        decided: the tile's entry in `run.json`.
    """
    found = Radar.from_json(decided["radar"]) if "radar" in decided else None
    return found if found is not None and found.passes else None
