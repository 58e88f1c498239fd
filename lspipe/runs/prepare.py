"""A workflow and a run directory -> what is decided, and what is done already.

A directory that holds a run is taken as it is: its frozen items, its choice of scenes and its block
size rule, so that going on needs no search and no network. A directory of another workflow is
refused with what differs.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import LoadError, StoreError, UsageError
from lspipe.runs import review, store
from lspipe.runs.events import Note, ignore
from lspipe.runs.plan import Plan, TilePlan, make
from lspipe.runs.record import run_json
from lspipe.search.acquisitions import freeze
from lspipe.search.areas import read_area
from lspipe.search.find import find_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.runs.events import Report
    from lspipe.workflow import Workflow


@dataclass(frozen=True)
class Prepared:
    """A plan and the run directory it belongs to, as it was found."""

    run: Path
    plan: Plan
    previous: Mapping[str, Any] | None
    """`run.json` of an earlier run in this directory."""
    frozen: Mapping[str, Any]
    """Content of `items.json`."""
    done: Mapping[str, NDArray[np.bool_]]
    """Which blocks of each tile are done: bool (step, block), in the order of `TilePlan.blocks`."""
    is_laid_out: bool = False
    """Whether blocks have their place in a store already, so that their size is fixed."""

    @property
    def is_finished(self) -> bool:
        """Whether an earlier run did all of this, and it is still there."""
        return (
            self.previous is not None
            and self.previous["state"] == "finished"
            and self.previous["fingerprints"]["change"] == self.plan.change_fingerprint
            and set(self.plan.workflow.output.write) <= set(self.previous["outputs"])
            and all((self.run / path).exists() for path in self.previous["outputs"].values())
            and self.left == 0
        )

    @property
    def total(self) -> int:
        """Blocks of all tiles and steps."""
        return sum(cells.size for cells in self.done.values())

    @property
    def left(self) -> int:
        """Blocks that are not done."""
        return sum(int(np.count_nonzero(~cells)) for cells in self.done.values())

    @property
    def failed(self) -> set[tuple[Any, ...]]:
        """Blocks that failed last time: (tile, step, row, column)."""
        entries = (self.previous or {}).get("failures", [])
        return {(entry["tile"], entry["step"], *entry["index"]) for entry in entries}

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return for each tile how many blocks are done, and how many failed and are not done."""
        failed = self.failed
        return {
            tile.tile.name: (
                int(np.count_nonzero(cells)),
                sum(
                    (tile.tile.name, step, *block.index) in failed and not cells[step, number]
                    for step in range(len(tile.steps))
                    for number, block in enumerate(tile.blocks)
                ),
            )
            for tile in self.plan.tiles
            for cells in [self.done[tile.tile.name]]
        }

    def again(self) -> Prepared:
        """Return the same with what is done by now, read anew from the store."""
        return replace(self, done=read_done(self.run, self.plan))


def prepare(workflow: Workflow, run: Path, *, fresh: bool = False) -> Prepared:
    """Plan a run, with the frozen items and decisions of its directory if it has them.

    Args:
        workflow: what is asked.
        run: the run directory; need not exist. Nothing is written here.
        fresh: search again, whatever is there.

    Raises:
        NothingFound: the search answered, and a date has no scene.
        UsageError: the workflow cannot be done as asked.
        StoreError: the directory holds the run of another workflow; says how they differ.
    """
    # run.json is written last: items without it are of a plan that was cut off.
    previous = None if fresh else store.peek_json(run / "run.json")
    try:
        if previous is None:
            frozen = _searched(workflow)
            made = make(workflow, frozen=frozen)
            return Prepared(run, made, None, frozen, _nothing_done(made))
        frozen = store.read_json(run / "items.json")
        laid_out = {name: found for name in previous["tiles"] if (found := store.layout(run, name))}
        made = make(
            workflow,
            frozen=frozen,
            decided=previous["tiles"],
            blocks={name: found.block for name, found in laid_out.items()},
            batch_size=previous["detection_inputs"]["inference"]["batch_size"],
        )
    except LoadError as error:
        # No block has been tried yet, so this is not a run of which some blocks failed.
        raise UsageError(f"while choosing scenes: {error}") from error
    _refuse_another(previous, made, run)
    return Prepared(run, made, previous, frozen, _done(made, laid_out), bool(laid_out))


def read_done(run: Path, plan: Plan) -> dict[str, NDArray[np.bool_]]:
    """Read which blocks of a plan are done by now, see `Prepared.done`."""
    names = [tile.tile.name for tile in plan.tiles]
    return _done(plan, {name: found for name in names if (found := store.layout(run, name))})


def _done(plan: Plan, laid_out: Mapping[str, store.Layout]) -> dict[str, NDArray[np.bool_]]:
    return _nothing_done(plan) | {
        tile.tile.name: laid_out[tile.tile.name].done[:, *_cells(tile)]
        for tile in plan.tiles
        if tile.tile.name in laid_out
    }


def _nothing_done(plan: Plan) -> dict[str, NDArray[np.bool_]]:
    return {
        tile.tile.name: np.zeros((len(tile.steps), len(tile.blocks)), bool) for tile in plan.tiles
    }


def _cells(tile: TilePlan) -> tuple[list[int], list[int]]:
    """Rows and columns of the blocks of a tile."""
    return [block.index[0] for block in tile.blocks], [block.index[1] for block in tile.blocks]


def _searched(workflow: Workflow) -> dict[str, Any]:
    """Search, and freeze what was found together with what was not."""
    area, notes = read_area(workflow.aoi, workflow.folder), list[str]()
    tiles = find_tiles(workflow.search, area, workflow.dates, workflow.folder, note=notes.append)
    return freeze(tiles, notes=notes)


def _refuse_another(previous: Mapping[str, Any], made: Plan, run: Path) -> None:
    if previous["fingerprints"]["detection"] == made.detection_fingerprint:
        return
    changed = store.differences(previous["detection_inputs"], dict(made.detection_inputs))
    more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
    raise StoreError(
        f"{run}: made by another workflow: {'; '.join(changed[:3])}{more}\n"
        "hint: choose another output, or start over with fresh=True"
    )


@contextmanager
def opened(
    prepared: Prepared,
    *,
    fresh: bool = False,
    report: Report = ignore,
) -> Iterator[Prepared]:
    """Hold the run directory, with the items and decisions of the plan written into it.

    Args:
        prepared: of `prepare`, perhaps some time ago.
        fresh: remove the run that is there first; what a person decided about its list stays.
        report: called with a `Note` for each edited list that was kept.

    Yields:
        What is to be done: prepared again if another process was here in the meantime.

    Raises:
        StoreError: another process holds the directory, or it is not a run directory.
    """
    run = prepared.run
    store.check_directory(run)
    run.mkdir(parents=True, exist_ok=True)
    with store.lock(run):
        if fresh:
            for text in review.rescue(run):
                report(Note(text))
            store.clear(run)
        elif store.peek_json(run / "run.json") != prepared.previous:
            prepared = prepare(prepared.plan.workflow, run)
        if prepared.previous is None:
            store.write_json(run / "items.json", prepared.frozen)
            store.write_json(run / "run.json", run_json(prepared.plan, state="planned"))
        yield prepared


def whats_left(prepared: Prepared) -> str:
    """Say in words what a run would do here: blocks, only what follows them, or nothing."""
    if prepared.is_finished:
        return "nothing, all is done"
    left, previous = prepared.left, prepared.previous
    if left:
        return f"{left} of {prepared.total} blocks, then the list"
    if previous is None or not previous["outputs"]:
        return "only the list: all blocks are done"
    if previous["fingerprints"]["change"] == prepared.plan.change_fingerprint:
        return "only the list and its files: all blocks are done"
    asked = prepared.plan.workflow.model_dump(mode="json")["change"]
    differs = "; ".join(store.differences(previous["workflow"]["change"], asked))
    return f"only change, list and files (change: {differs or 'the model item'})"
