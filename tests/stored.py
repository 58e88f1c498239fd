"""Runs without a cluster: of maps that were made up, or of blocks that are computed here.

archive = make_world(tmp_path, size=64, cluster={"kind": "tests.stored:here"})
made = store_run(archive, tmp_path / "run", probability=codes)
listing.write(made.run, made.plan)

archive = make_world(tmp_path, size=64, cluster=IN_THIS_PROCESS)
lspipe.run(Workflow.from_file(archive.workflow))
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, patch

import dask
import numpy as np

from lspipe.errors import LspipeError
from lspipe.runs import store, stream
from lspipe.runs.events import BlockDone, BlockFailed, Failure
from lspipe.runs.prepare import prepare
from lspipe.schema import CODE_NODATA
from lspipe.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.runs.plan import Plan
    from tests.worlds import World


@dataclass(frozen=True)
class Stored:
    """A plan, and the run directory that holds its maps."""

    run: Path
    plan: Plan


def store_run(
    world: World,
    run: Path,
    *overrides: str,
    probability: NDArray[np.uint16] | Mapping[str, NDArray[np.uint16]],
    quality: NDArray[np.uint8] | Mapping[str, NDArray[np.uint8]] | None = None,
    pictures: NDArray[np.uint8] | None = None,
    only: int | None = None,
) -> Stored:
    """Plan a workflow and fill its store.

    Args:
        world: an archive and its workflow.
        run: the run directory.
        overrides: of the workflow's keys.
        probability: codes (step, y, x) of the tile, or per tile where there are several.
        quality: bits likewise; none = `NODATA` where a code is not observed.
        pictures: grey (step, y, x) of the tile, 1..255; none = not written.
        only: so many blocks of each step; none = all.
    """
    plan = prepare(Workflow.from_file(world.workflow, overrides=overrides), run).plan
    store.create(run, [tile.grid for tile in plan.tiles], fingerprint=plan.detection_fingerprint)
    for tile in plan.tiles:
        codes = _of(probability, tile.tile.name)
        bits = (codes == CODE_NODATA).astype(np.uint8)
        if quality is not None:
            bits = _of(quality, tile.tile.name)
        for step in range(len(tile.steps)):
            for block in tile.blocks[:only]:
                store.write_block(
                    run,
                    tile.tile.name,
                    step,
                    block.index,
                    block.core,
                    detections={
                        "probability": codes[step][block.core],
                        "quality": bits[step][block.core],
                    },
                    evidence={}
                    if pictures is None
                    else {"true_colour": np.stack([pictures[step][block.core]] * 3)},
                )
    return Stored(run, plan)


def _of(arrays: Any, tile: str) -> Any:
    return arrays[tile] if isinstance(arrays, dict) else arrays


@contextmanager
def here(spec: Any, execution: Any) -> Iterator[Any]:
    """A kind of cluster without workers: "tests.stored:here" in a workflow."""
    del spec, execution
    yield SimpleNamespace(
        dashboard_link="",
        id="",
        register_plugin=Mock(),
        run_on_scheduler=Mock(),
    )


here.is_here = True  # type: ignore[attr-defined]


@contextmanager
def computing(spec: Any, execution: Any) -> Iterator[Any]:
    """A kind of cluster that computes blocks in this process: `IN_THIS_PROCESS`."""
    with here(spec, execution) as client, patch.object(stream, "compute", compute_here):
        yield client


computing.is_here = True  # type: ignore[attr-defined]

IN_THIS_PROCESS = {"kind": "tests.stored:computing"}
"""The section `cluster` of a workflow whose test is about no worker: half the time of a cluster."""


def compute_here(
    client: Any,
    batches: Any,
    *,
    report: Callable[..., None],
    why_stop: Callable[[], str] = str,
    **asked: Any,
) -> stream.Outcome:
    """Do what `stream.compute` does, in this process and one block after the other."""
    del client, asked
    outcome = stream.Outcome()
    for batch in batches:
        for (step, index), task in zip(batch.blocks, batch.build({}), strict=False):
            try:
                (result,) = dask.compute(task, scheduler="synchronous")
            except LspipeError as error:
                failure = Failure(batch.tile, step, index, str(error))
                outcome.failures.append(failure)
                report(BlockFailed(failure))
            else:
                outcome.done += 1
                report(BlockDone(result))
            if reason := why_stop():
                outcome.stopped, outcome.is_over_budget = reason, True
                return outcome
    return outcome
