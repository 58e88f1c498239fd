"""What blocks counted of masks that disagree -> a share per tile and date, for `run.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lspipe.runs.plan import Plan

WARN = 0.1
"""Share of the seen pixels of a tile and date from which a run warns: two masks that both suit a
scene differ along the edges of clouds, by a few percent (docs/masks.md, Two masks)."""


def disputes(plan: Plan, blocks: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Add up what blocks counted, per tile and date.

    Args:
        plan: what was done.
        blocks: events of the blocks, each block once: tile, step, masks.

    Returns:
        Per tile a list of dates: role, time, pixels with data, and `disputed`, the share of them
        that one mask calls cloud or shadow and another does not. Empty where one mask was used.
    """
    counts: dict[tuple[str, int], list[Mapping[str, int]]] = {}
    for event in blocks:
        if event.get("masks"):
            counts.setdefault((event["tile"], event["step"]), []).append(event["masks"])
    facts: dict[str, list[dict[str, Any]]] = {}
    for tile in plan.tiles:
        for number, step in enumerate(tile.steps):
            counted = counts.get((tile.tile.name, number), [])
            seen = sum(one["seen"] for one in counted)
            if seen:
                share = sum(one["disputed"] for one in counted) / seen
                entry = {"role": step.role, "time": step.time.isoformat(), "pixels": seen}
                facts.setdefault(tile.tile.name, []).append(entry | {"disputed": round(share, 4)})
    return facts


def warnings(facts: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[str]:
    """Return a line for each tile and date whose masks disagree about much.

    Example:
        >>> warnings({"18GYS": [{"role": "before", "disputed": 0.25}]})
        ['18GYS before: the masks disagree about 25.0 % of it; look at the picture before its gaps']
    """
    return [
        f"{tile} {entry['role']}: the masks disagree about {100 * entry['disputed']:.1f} % of it; "
        "look at the picture before its gaps"
        for tile, entries in facts.items()
        for entry in entries
        if entry["disputed"] >= WARN
    ]
