"""Blocks to do -> tasks, grouped by tile and date, built when they are submitted; ends of tiles."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from lspipe.inference.inputs import WINDOW_KINDS
from lspipe.runs import ended, guard, layered, stream, worker
from lspipe.runs.jobs import StepJob
from lspipe.runs.opened import Run
from lspipe.runs.plan import THREADS, cube_of_step
from lspipe.runs.record import run_json
from lspipe.runs.tail_plan import tails_of
from lspipe.schema import bands_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from lspipe.inference.windows import Block
    from lspipe.runs.plan import TilePlan
    from lspipe.runs.prepare import Prepared
    from lspipe.runs.selection import Todo
    from lspipe.runs.tail_plan import Tail


def tasks_of(
    prepared: Prepared,
    todo: Todo,
    *,
    needed: Mapping[str, worker.TileMask] | None = None,
    is_more: bool = False,
) -> Iterator[stream.StepTasks]:
    """Yield the tasks of each block, step by step; they are built when they are submitted.

    Args:
        prepared: the plan.
        todo: the blocks.
        needed: by tile, where their maps must be known; None = everywhere.
        is_more: whether the blocks are done, and what is needed is added to them.
    """
    turn = 0
    for tile in prepared.plan.tiles:
        for number in range(len(tile.steps)):
            blocks = todo.get((tile.tile.name, number), [])
            if not blocks:
                continue
            mask = None if needed is None else needed[tile.tile.name]
            build = _builder(prepared, tile, number, needed=mask, is_more=is_more)
            for block in blocks:
                yield stream.StepTasks(
                    tile.tile.name, number, (block.index,), partial(build, block, turn)
                )
                turn += 1


def _builder(
    prepared: Prepared,
    tile: TilePlan,
    number: int,
    *,
    needed: worker.TileMask | None,
    is_more: bool,
) -> Callable[[Block, int, Mapping[str, int]], list[Any]]:
    """Return what builds the tasks of a block of a step: block, turn, what it asks of a worker."""
    plan, step = prepared.plan, tile.steps[number]
    job, source = _job(prepared, tile, number), cube_of_step(tile, step, plan.workflow)
    bands = bands_on(tile.channels, step.role) if job.is_baseline else tile.channels

    def build(block: Block, turn: int, slot: Mapping[str, int]) -> list[Any]:
        return worker.block_tasks(
            source,
            job,
            [block],
            bands=bands,
            area=tile.area,
            needed=needed,
            is_more=is_more,
            resources=slot,
            first=turn,
        )

    return build


def _job(prepared: Prepared, tile: TilePlan, step: int) -> StepJob:
    plan = prepared.plan
    return StepJob(
        run=prepared.run.resolve(),
        tile=tile.tile.name,
        step=step,
        tile_shape=tuple(tile.tile.geobox.shape),
        model=plan.reference,
        setting=plan.setting,
        tile_range=tile.tile_ranges[step] if tile.tile_ranges else None,
        fill_masked=plan.workflow.cube.mask.apply == "input",
        threads=THREADS,
        trained=guard.trained_on(plan),
        sets_aside=not plan.model.is_pair and plan.model.scaling_kinds.isdisjoint(WINDOW_KINDS),
        is_baseline=not tile.is_judged(step),
    )


SMALL = 10_000_000
"""Pixels of the blocks of a tile up to which it is ended by the client, within seconds: a worker
would first import what that takes, which it needs for nothing else."""


def endings(prepared: Prepared, todo: Todo) -> stream.Endings:
    """Return what workers do with a tile once its blocks are: compare its dates, list, show.

    Left to the client: small tiles, those of which no block is done or to do, and those that are
    ended already.

    Args:
        prepared: the plan.
        todo: the blocks that are about to be done.
    """
    plan, run = prepared.plan, prepared.run.resolve()
    begun = {tile for (tile, _), blocks in todo.items() if blocks}
    begun |= {tile for tile, cells in prepared.done.items() if cells.any()}
    names = {tile.tile.name for tile in plan.tiles if _pixels(tile) > SMALL} & begun
    if not names:
        return stream.Endings()
    tails, fingerprint = tails_of(plan), plan.detection_fingerprint
    shown = _layers(run, prepared)
    there = layered.present(run) if shown else frozenset[str]()

    def is_ended(name: str) -> bool:
        return ended.is_ended(run, tails[name], fingerprint) and (
            not shown or bool(layered.ready(shown[name], there))
        )

    return stream.Endings(
        tiles=frozenset(name for name in names if not is_ended(name)),
        end=lambda name: partial(_end, run, tails[name], fingerprint, shown.get(name)),
        # A GPU is not to wait for a processor meanwhile.
        takes_slot=not plan.reference.device.startswith("cuda"),
    )


def _end(run: Path, asked: Tail, fingerprint: str, shown: layered.Asked | None) -> None:
    """Compare the dates of a tile and list it, then write its layers; what is there, is left."""
    ended.end(run, asked, fingerprint)
    if shown is not None:
        layered.make(shown)


def _layers(run: Path, prepared: Prepared) -> dict[str, layered.Asked]:
    """Return what is asked of the layers of each tile; nothing if the run writes none."""
    if layered.FORMAT not in prepared.formats:
        return {}
    return layered.asked_of(Run(run, run_json(prepared.plan, state="running")))


def begin_layers(prepared: Prepared) -> None:
    """Make ready for workers that write layers; the caller holds the lock."""
    if layered.FORMAT in prepared.formats:
        layered.begin(Run(prepared.run, run_json(prepared.plan, state="running")))


def _pixels(tile: TilePlan) -> int:
    return sum(
        (rows.stop - rows.start) * (columns.stop - columns.start)
        for rows, columns in (block.core for block in tile.blocks)
    )
