"""A workflow and a run directory -> the plan, and the blocks that are done already.

If the directory holds a run, its frozen items, its choice of scenes and its block size are used, so
that resuming needs no search and no network. A directory of another workflow is refused, with the
differences; if nothing was computed in it yet, it is planned anew.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.change.flag_spec import FlagsSpec
from lspipe.change.spec import ChangeSpec
from lspipe.cube.radar_spec import RadarSpec
from lspipe.cube.terrain_spec import TerrainSpec
from lspipe.errors import (
    CatalogError,
    LoadError,
    NothingFound,
    StoreError,
    UsageError,
    first_few,
)
from lspipe.outputs import OUTPUTS
from lspipe.runs import review, store
from lspipe.runs.events import Note, ignore
from lspipe.runs.model import naming_its_model
from lspipe.runs.plan import Plan, TilePlan, make, record, settled
from lspipe.runs.plan.heights import with_heights
from lspipe.runs.plan.radar import with_radar
from lspipe.runs.quickest import with_quickest
from lspipe.runs.reading import planners_here
from lspipe.runs.record import run_json
from lspipe.runs.timings import Clock, added
from lspipe.search.acquisitions import freeze
from lspipe.search.areas import read_area
from lspipe.search.find import find_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.runs.events import Report
    from lspipe.runs.reading import Readers
    from lspipe.workflow import Workflow


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A plan, and the state of its run directory when it was read."""

    run: Path
    plan: Plan
    previous: Mapping[str, Any] | None
    """`run.json` of an earlier run in this directory."""
    frozen: Mapping[str, Any] | None
    """What `items.json` will hold; None = it is there already."""
    done: Mapping[str, NDArray[np.bool_]]
    """Which blocks of each tile are done: bool (step, block), in the order of `TilePlan.blocks`."""
    is_laid_out: bool = False
    """Whether a store exists, so that the block size is fixed."""
    replaced: Mapping[str, Any] | None = None
    """`run.json` of a plan of another workflow, of which nothing was computed: this replaces it."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long its stages took, of `timings.STAGES`."""

    @property
    def is_finished(self) -> bool:
        """Whether an earlier run finished all of this, and its files exist."""
        return (
            self.previous is not None
            and self.previous["state"] == "finished"
            and self.previous["fingerprints"]["change"] == self.plan.change_fingerprint
            and set(self.plan.workflow.output.write) <= set(self.previous["outputs"])
            and all((self.run / path).exists() for path in self._asked(self.previous["outputs"]))
            and self.left == 0
        )

    def _asked(self, outputs: Mapping[str, str]) -> list[str]:
        """Return the outputs that a run writes; others were exported, and may be gone again."""
        names = {*self.plan.formats, "unobserved", "radar_cells"}
        return [path for name, path in outputs.items() if name in names]

    @property
    def formats(self) -> tuple[str, ...]:
        """Outputs to write: those of the plan, and what was exported."""
        return *self.plan.formats, *self.exported

    @property
    def exported(self) -> dict[str, str]:
        """Outputs that were exported into the directory and are still there: they are kept true."""
        earlier = (self.previous or {}).get("outputs", {})
        return {
            name: path
            for name, path in earlier.items()
            if name in OUTPUTS and name not in self.plan.formats and (self.run / path).exists()
        }

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
        """Return, per tile, how many blocks are done, and how many failed and are not done."""
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
        """Return the same, with the finished blocks read from the store again."""
        return replace(self, done=read_done(self.run, self.plan))


def prepare(
    workflow: Workflow, run: Path, *, fresh: bool = False, readers: Readers = planners_here
) -> Prepared:
    """Plan a run, with the frozen items and decisions of its directory if there are any.

    Args:
        workflow: of the run.
        run: the run directory; need not exist. Nothing is written to it.
        fresh: search again, even if the directory holds a run.
        readers: who reads where scenes have to be chosen.

    Raises:
        NothingFound: the search answered, and a date has no scene.
        UsageError: the workflow cannot be run.
        StoreError: the directory holds blocks of another workflow; names the differences.
    """
    # run.json is written last: items without it belong to an interrupted plan.
    previous = None if fresh else store.peek_json(run / "run.json")
    try:
        if previous is None:
            return _anew(naming_its_model(workflow), run, readers)
        laid_out = _laid_out(run, previous)
        if any(found.done.any() for found in laid_out.values()):
            named = naming_its_model(workflow, previous)
            return _resumed(named, run, previous, laid_out)
        return _planned(naming_its_model(workflow), run, previous, laid_out, readers)
    except LoadError as error:
        # No block was tried yet, so this is not a run with failed blocks.
        raise UsageError(f"while choosing scenes: {error}") from error


def _anew(
    workflow: Workflow,
    run: Path,
    readers: Readers,
    *,
    replaced: Mapping[str, Any] | None = None,
) -> Prepared:
    """Search, and plan from what is found."""
    clock = Clock({})
    with clock.stage("search"):
        frozen = _searched(workflow)
    with clock.stage("plan"):
        known = settled.known(workflow, None)
        made = make(workflow, frozen=frozen, settled=known, readers=readers)
        if known is None and workflow.inference.runtime == "auto":
            made = with_quickest(made)
    return Prepared(
        run, made, None, frozen, _nothing_done(made), replaced=replaced, seconds=clock.stages
    )


def _resumed(
    workflow: Workflow,
    run: Path,
    previous: Mapping[str, Any],
    laid_out: Mapping[str, store.Layout],
) -> Prepared:
    """Plan with the items and decisions of the directory, which no search repeats."""
    clock = Clock({})
    known = store.read_json(run / "items.json")
    # Heights and radar may be asked for after the scenes were frozen.
    frozen = _with_others(workflow, known)
    with clock.stage("plan"):
        made = make(
            workflow,
            frozen=frozen,
            decided=previous["tiles"],
            blocks={name: found.block for name, found in laid_out.items()},
            earlier=settled.frozen(previous),
            settled=settled.known(workflow, previous),
        )
    _refuse_another(previous, made, run)
    logger.info("taking the scenes that %s has frozen; no search", run)
    done, is_laid_out = _done(made, laid_out), bool(laid_out)
    changed = None if frozen is known else frozen
    return Prepared(run, made, previous, changed, done, is_laid_out, seconds=clock.stages)


def _planned(
    workflow: Workflow,
    run: Path,
    previous: Mapping[str, Any],
    laid_out: Mapping[str, store.Layout],
    readers: Readers,
) -> Prepared:
    """Keep the plan of the directory if it is of this workflow, else replace it.

    Nothing would be lost, and who corrects a workflow should not have to know of directories.
    """
    try:
        return _resumed(workflow, run, previous, laid_out)
    except (NothingFound, UsageError, CatalogError, KeyError):
        # Another area, model or date may not even fit the frozen items.
        return _anew(workflow, run, readers, replaced=previous)


def _laid_out(run: Path, previous: Mapping[str, Any]) -> dict[str, store.Layout]:
    return {name: found for name in previous["tiles"] if (found := store.layout(run, name))}


def _is_begun(run: Path, previous: Mapping[str, Any]) -> bool:
    """Return whether a block of the run was computed."""
    return any(found.done.any() for found in _laid_out(run, previous).values())


def read_done(run: Path, plan: Plan) -> dict[str, NDArray[np.bool_]]:
    """Read which blocks of a plan are done, see `Prepared.done`."""
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
    """Return rows and columns of the blocks of a tile."""
    return [block.index[0] for block in tile.blocks], [block.index[1] for block in tile.blocks]


def _searched(workflow: Workflow) -> dict[str, Any]:
    """Search, and freeze what was found together with what was not."""
    area, notes = read_area(workflow.aoi, workflow.folder), list[str]()
    logger.info("searching %s over %s", workflow.search.collection, area.source)
    tiles = find_tiles(workflow.search, area, workflow.dates, workflow.folder, note=notes.append)
    logger.info("found %d tiles: %s", len(tiles), ", ".join(tile.name for tile in tiles))
    return dict(_with_others(workflow, freeze(tiles, notes=notes)))


def _with_others(workflow: Workflow, frozen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return frozen items with what is read beside the scenes; `frozen` itself if all is there."""
    return with_radar(workflow, with_heights(workflow, frozen))


def _refuse_another(previous: Mapping[str, Any], made: Plan, run: Path) -> None:
    if previous["fingerprints"]["detection"] == made.detection_fingerprint:
        return
    changed = store.differences(previous["detection_inputs"], dict(made.detection_inputs))
    raise StoreError(
        f"{run}: made by another workflow: {first_few(changed, 3, between='; ')}\n"
        "hint: choose another output, or run it with fresh=True, which starts over"
    )


def resettled(prepared: Prepared, found: settled.Settled) -> Prepared:
    """Plan a run anew with what a worker decided, and write that into its directory.

    Args:
        prepared: of a run of which nothing is computed; the caller holds its directory.
        found: of `settled.decide`.
    """
    plan = make(
        prepared.plan.workflow,
        frozen=store.read_json(prepared.run / "items.json"),
        decided={tile.tile.name: record(tile) for tile in prepared.plan.tiles},
        settled=found,
    )
    content = run_json(plan, state="planned")
    store.write_json(prepared.run / "run.json", content)
    return replace(prepared, plan=plan, previous=content, done=_nothing_done(plan))


@contextmanager
def opened(
    prepared: Prepared,
    *,
    fresh: bool = False,
    report: Report = ignore,
) -> Iterator[Prepared]:
    """Lock the run directory, and write the items and decisions of the plan into it.

    Args:
        prepared: of `prepare`.
        fresh: first remove the existing run; decisions of a person are kept.
        report: called with a `Note` for each edited list that was copied, and where a plan of
            another workflow is replaced.

    Yields:
        `prepared`, made again if another process changed the directory in the meantime.

    Raises:
        StoreError: another process has locked the directory, or it is not a run directory.
    """
    run = prepared.run
    store.check_directory(run)
    run.mkdir(parents=True, exist_ok=True)
    with store.lock(run):
        if fresh:
            for text in review.rescue(run):
                report(Note(text))
            store.clear(run)
        elif _has_changed(prepared):
            prepared = prepare(prepared.plan.workflow, run)
        if prepared.replaced is not None:
            report(Note(_replacing(prepared)))
            for text in review.rescue(run):
                report(Note(text))
            store.clear(run)
        if prepared.frozen is not None:
            store.write_json(run / "items.json", prepared.frozen, indent=None)
        if prepared.previous is None:
            planned = run_json(prepared.plan, state="planned")
            store.write_json(run / "run.json", planned | {"timings": added({}, prepared.seconds)})
        yield prepared


def _has_changed(prepared: Prepared) -> bool:
    """Return whether another process wrote the directory since it was read."""
    run, known = prepared.run, prepared.previous or prepared.replaced
    is_begun = prepared.replaced is not None and _is_begun(run, prepared.replaced)
    return is_begun or store.peek_json(run / "run.json") != known


def _replacing(prepared: Prepared) -> str:
    earlier = (prepared.replaced or {}).get("detection_inputs", {})
    changed = store.differences(earlier, dict(prepared.plan.detection_inputs))
    differs = first_few(changed, 3, between="; ") or "its items"
    return f"{prepared.run}: planned anew, as nothing was computed of its plan yet ({differs})"


def whats_left(prepared: Prepared) -> str:
    """Return in words the work left in a run: blocks, only what follows them, or nothing."""
    if prepared.is_finished:
        return "nothing, all is done"
    left, previous = prepared.left, prepared.previous
    if left:
        return f"{left} of {prepared.total} blocks, then the list"
    if previous is None or not previous["outputs"]:
        return "only the list: all blocks are done"
    if previous["fingerprints"]["change"] == prepared.plan.change_fingerprint:
        return "only the list and its files: all blocks are done"
    return f"only change, list and files ({_edited(previous['workflow'], prepared.plan.workflow)})"


def _edited(earlier: Mapping[str, Any], workflow: Workflow) -> str:
    """Return in words what changed of the sections that decide the list."""
    asked = workflow.model_dump(mode="json")
    # A run that an earlier lspipe made lacks newer keys and sections: their defaults held.
    specs: dict[str, Any] = {
        "change": ChangeSpec(),
        "flags": FlagsSpec(),
        "terrain": TerrainSpec(),
        "radar": RadarSpec(),
    }
    found = []
    for section, spec in specs.items():
        plain = json.loads(json.dumps(asdict(spec)))
        lines = store.differences(plain | earlier.get(section, {}), asked[section])
        found += [f"{section}: {'; '.join(lines)}"] if lines else []
    layers = " or the file of a layer of flags" if workflow.flags.layers else ""
    return "; ".join(found) or f"change: the model item{layers}"
