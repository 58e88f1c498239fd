"""Two finished runs -> a run directory of their two dates, as if one workflow had asked for both.

Nothing is searched and nothing is inferred: maps, pictures and decisions of both runs are copied,
and only the list is made. Of a run of two dates, the later one is taken.

The runs must have the same area, grids, model, inference and section `cube`; otherwise a
difference between their maps would not be a change on the ground.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe.errors import UsageError, first_few
from lspipe.machine import check_place
from lspipe.machine.remote import place
from lspipe.runs import pipeline, store
from lspipe.runs.events import ignore
from lspipe.runs.plan import make, settled
from lspipe.runs.plan.heights import KEY
from lspipe.runs.prepare import Prepared, opened
from lspipe.schema import is_pair
from lspipe.search.acquisitions import Tile, freeze, thaw
from lspipe.search.dates import DatesSpec
from lspipe.spec import read as read_spec
from lspipe.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.runs.events import Report
    from lspipe.runs.summary import Summary

MUST_AGREE = ("numerics", "area", "cube", "masks", "model", "inference", "terrain")
"""Of what decides a probability: what two runs must share to be compared."""


@dataclass(frozen=True)
class _Side:
    """One of the two runs, and what is taken from it: its later date."""

    path: Path
    record: Mapping[str, Any]
    tiles: Mapping[str, Tile]

    @classmethod
    def of(cls, path: Path) -> _Side:
        record = store.read_json(path / "run.json")
        if record["state"] != "finished":
            raise UsageError(
                f"{path}: found a run that is {record['state']}, expected a finished one; run its "
                "workflow to the end first"
            )
        return cls(path, record, {tile.name: tile for tile in thaw(_items(path))})

    @property
    def grids(self) -> dict[str, Any]:
        """Grid of each tile."""
        tiles = self.record["detection_inputs"]["tiles"]
        return {name: tile["grid"] for name, tile in tiles.items()}

    def days(self) -> dict[str, str]:
        """Return the range of days of its later date."""
        days = read_spec(DatesSpec, self.record["workflow"]["dates"]).ranges()["after"]
        return {"start": str(days.start), "end": str(days.end)}

    def steps(self, tile: str) -> list[int]:
        """Return the numbers of the time steps of its later date."""
        listed = self.record["tiles"][tile]["steps"]
        return [number for number, step in enumerate(listed) if step["role"] == "after"]

    def decided(self, tile: str, role: str) -> dict[str, Any]:
        """Return what was decided for these steps, for `plan.make`."""
        found = self.record["tiles"][tile]
        ranges = found["tile_ranges"]
        return {
            "steps": [found["steps"][number] | {"role": role} for number in self.steps(tile)],
            "candidates": [
                one | {"role": role} for one in found["candidates"] if one["role"] == "after"
            ],
            "radiometry": found["radiometry"],
            "tile_ranges": ranges and [ranges[number] for number in self.steps(tile)],
        }


def change(
    before: Path | str,
    after: Path | str,
    *,
    output: Path | str,
    overrides: tuple[str, ...] = (),
    report: Report = ignore,
) -> Summary:
    """Compare two finished runs; no network, no inference.

    Args:
        before: run directory of the earlier date.
        after: run directory of the later one, whose settings of change and outputs are taken.
        output: run directory of the comparison. If it holds this comparison already, only what
            `overrides` changes is made again.
        overrides: `a.b=value` each, of the sections `change`, `output`, `evaluate`.
        report: called with each event (`lspipe.runs.events`).

    Raises:
        UsageError: the runs differ in more than their date, are not finished, or have no common
            tile; names what differs.
        StoreError: no run directories, or the output holds something else.

    Examples:
        >>> from lspipe.runs.between import change
        >>> summary = change("runs/2023", "runs/2024", output="runs/2023-2024")  # doctest: +SKIP
        >>> dict(summary.statuses)  # doctest: +SKIP
        {'new': 12, 'persistent': 3}
    """
    check_place(output)
    run, sides = place(output), (_Side.of(place(before)), _Side.of(place(after)))
    tiles = _common(*sides)
    workflow = _workflow(*sides, run, overrides)
    if not (run / "run.json").exists():
        _assemble(sides, tiles, workflow, run, report)
    return pipeline.run(workflow, output=run, report=report)


def _items(path: Path) -> dict[str, Any]:
    return store.read_json(path / "items.json")


def _common(before: _Side, after: _Side) -> list[str]:
    """Return the tiles of both.

    Raises:
        UsageError: they cannot be compared.
    """
    where = f"{before.path} and {after.path}"
    # Sources of masks are recorded only where they are not the default.
    early, late = (
        # Only runs that terrain decides pixels of have the last.
        {key: side.record["detection_inputs"].get(key) for key in MUST_AGREE}
        for side in (before, after)
    )
    if is_pair(early["model"]["bands"]):
        raise UsageError(
            f"{where} cannot be compared: their maps are comparisons of two dates already, as "
            "their model sees both at once; plan one workflow with the two dates instead"
        )
    differ = store.differences(early, late)
    if differ:
        raise UsageError(
            f"{where} cannot be compared, as they differ in {first_few(differ, 3, between='; ')}; "
            "run one of them again with the settings of the other"
        )
    tiles = sorted(before.grids.keys() & after.grids.keys())
    if not tiles:
        found, others = first_few(sorted(before.grids)), first_few(sorted(after.grids))
        raise UsageError(f"{where} have no common tile: found {found} and {others}")
    for tile in tiles:
        if before.grids[tile] != after.grids[tile]:
            raise UsageError(
                f"{where} cannot be compared, as the grids of {tile} differ: "
                f"{before.grids[tile]} and {after.grids[tile]}"
            )
    return tiles


def _workflow(before: _Side, after: _Side, run: Path, overrides: tuple[str, ...]) -> Workflow:
    """Return the workflow that would have asked for both dates."""
    content = json.loads(json.dumps(after.record["workflow"]))
    names = [str(side.record["name"]) for side in (before, after)]
    content["name"] = names[0] if names[0] == names[1] else "-".join(names)
    content["dates"] = {"before": before.days(), "after": after.days()}
    # It would be read of other days, which only a search finds.
    content["radar"] = {}
    content["output"]["path"] = str(run.resolve())
    # Runs of earlier versions do not say where their workflow was.
    folder = Path(after.record.get("folder", after.path))
    source = f"{before.path} and {after.path}"
    return Workflow.of(content, source=source, folder=folder, overrides=overrides)


def _assemble(
    sides: tuple[_Side, _Side], tiles: list[str], workflow: Workflow, run: Path, report: Report
) -> None:
    """Write a run directory in which every block is done."""
    before, after = sides
    known = _items(after.path)
    heights = {KEY: known[KEY]} if KEY in known else {}
    frozen = heights | freeze(
        Tile(
            name=name,
            geobox=after.tiles[name].geobox,
            acquisitions={
                "before": before.tiles[name].acquisitions["after"],
                "after": after.tiles[name].acquisitions["after"],
            },
        )
        for name in tiles
    )
    laid_out = {name: store.layout(after.path, name) for name in tiles}
    plan = make(
        workflow,
        frozen=frozen,
        decided={name: _decided(before, after, name) for name in tiles},
        blocks={name: found.block for name, found in laid_out.items() if found is not None},
        settled=settled.frozen(after.record),
    )
    with opened(Prepared(run, plan, None, frozen, {}), report=report):
        store.create(
            run,
            [tile.grid for tile in plan.tiles],
            fingerprint=plan.detection_fingerprint,
            more=store.layers_asked(
                has_doubted=len(plan.workflow.cube.mask.names) > 1, has_spread=plan.setting.spread
            ),
        )
        for name in tiles:
            moves = [(side, number) for side in sides for number in side.steps(name)]
            for target, (side, number) in enumerate(moves):
                store.copy_step(side.path, run, name, number, target)
        for tile in plan.tiles:
            store.mark_done(run, tile.tile.name, [block.index for block in tile.blocks])


def _decided(before: _Side, after: _Side, tile: str) -> dict[str, Any]:
    """Join what both runs decided for a tile."""
    early, late = before.decided(tile, "before"), after.decided(tile, "after")
    return {
        "steps": early["steps"] + late["steps"],
        "candidates": early["candidates"] + late["candidates"],
        "radiometry": early["radiometry"] + late["radiometry"],
        "tile_ranges": early["tile_ranges"] and early["tile_ranges"] + late["tile_ranges"],
    }
