"""Blocks to do -> tasks, place by place, built when they are submitted; ends of tiles.

A place is a block on all its dates. They follow each other, so that what is known after a while, or
when a run is stopped, can be compared, and so that the ground of a place is read once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lspipe.inference.inputs import WINDOW_KINDS
from lspipe.runs import ended, guard, layered, stream, worker
from lspipe.runs.jobs import StepJob
from lspipe.runs.opened import Run
from lspipe.runs.plan import THREADS, cube_of_step
from lspipe.runs.record import run_json
from lspipe.runs.tail_plan import tails_of
from lspipe.schema import bands_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from lspipe.cube.step_cube import StepCube
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
) -> Iterator[stream.BlockTasks]:
    """Yield the tasks of each block, place by place; they are built when they are submitted.

    Args:
        prepared: the plan.
        todo: the blocks.
        needed: by tile, where their maps must be known; None = everywhere.
        is_more: whether the blocks are done, and what is needed is added to them.
    """
    turn = 0
    for tile in prepared.plan.tiles:
        name = tile.tile.name
        asked = {
            step: {block.index: block for block in todo.get((name, step), [])}
            for step in range(len(tile.steps))
        }
        mask = None if needed is None else needed[name]
        builders = {
            step: _Builder.of(prepared, tile, step, needed=mask, is_more=is_more)
            for step, blocks in asked.items()
            if blocks
        }
        ground = f"{name}-{uuid4().hex}"
        for block in tile.blocks:
            place = [step for step, blocks in asked.items() if block.index in blocks]
            shared = ground if _is_shared([builders[step].source for step in place]) else None
            for step in place:
                build = partial(builders[step].build, block, turn, shared)
                yield stream.BlockTasks(name, ((step, block.index),), build)
                turn += 1


def _is_shared(sources: Sequence[StepCube]) -> bool:
    """Return whether several dates need the same ground of a place, which is then read once."""
    needed = {source.ground_channels for source in sources}
    return len(sources) > 1 and len(needed) == 1 and needed != {()}


@dataclass(frozen=True, kw_only=True)
class _Builder:
    """What the tasks of the blocks of a step share."""

    source: StepCube
    job: StepJob
    bands: tuple[str, ...]
    area: worker.TileMask | None
    needed: worker.TileMask | None
    is_more: bool

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        tile: TilePlan,
        number: int,
        *,
        needed: worker.TileMask | None,
        is_more: bool,
    ) -> _Builder:
        plan, step = prepared.plan, tile.steps[number]
        job = _job(prepared, tile, number)
        bands = bands_on(tile.channels, step.role) if job.is_baseline else tile.channels
        return cls(
            source=cube_of_step(tile, step, plan.workflow),
            job=job,
            bands=tuple(bands),
            area=tile.area,
            needed=needed,
            is_more=is_more,
        )

    def build(
        self, block: Block, turn: int, ground_name: str | None, slot: Mapping[str, int]
    ) -> list[Any]:
        """Return the task of a block, and that of its ground where other dates need it, too."""
        shared = []
        if ground_name is not None:
            shared = [worker.ground_task(self.source, block, ground_name, turn)]
        written = worker.block_tasks(
            self.source,
            self.job,
            [block],
            bands=self.bands,
            area=self.area,
            needed=self.needed,
            is_more=self.is_more,
            resources=slot,
            first=turn,
            ground=shared[0] if shared else None,
        )
        return [*written, *shared]


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
