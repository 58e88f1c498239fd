"""A cluster -> the crew of a run, what its workers compute on, and what they read before."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import dask

from lspipe import clusters
from lspipe.clusters import admission
from lspipe.errors import ClusterError, LspipeError
from lspipe.runs.crew import Crew
from lspipe.runs.events import Stage
from lspipe.runs.memory import check_memory, cluster_of
from lspipe.runs.plan import settled
from lspipe.runs.prepare import resettled
from lspipe.runs.quickest import passes_each
from lspipe.runs.reading import TILES_AT_ONCE, Reading, lookers_here, planners_here
from lspipe.runs.store import check_directory
from lspipe.runs.stream import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lspipe.clusters import ClusterSpec
    from lspipe.inference.reference import ModelReference
    from lspipe.runs.events import Report
    from lspipe.runs.plan import Plan
    from lspipe.runs.prepare import Prepared
    from lspipe.runs.reading import Readers
    from lspipe.workflow import Workflow

TILES_PER_WORKER = 2
"""Tiles that are looked at together for each worker, so that none waits for this process."""

MOST_AT_ONCE = 16
"""Tiles that are looked at together on any cluster: of each, this process holds the area."""

FEW_TILES = 16
"""Up to so many tiles are planned without a cluster, in whose queue one may wait."""


def crew_of(
    client: Any, prepared: Prepared, *, model: ModelReference | None, report: Report
) -> Crew:
    """Return the workers of a cluster for a run; `model` is what they are to open."""
    return Crew(
        client,
        cluster=cluster_of(prepared.plan),
        execution=prepared.plan.workflow.execution,
        model=model,
        run=prepared.run,
        report=report,
    )


def settled_on(start: Callable[[], Any], prepared: Prepared, report: Report) -> Prepared:
    """Have a worker that computes settle device, precision, runtime and batch size of a run.

    Args:
        start: starts the cluster, or returns its client; not called where all is settled.
        prepared: the run; its directory is held.
        report: called with what is settled.

    Raises:
        ModelError: what the workflow asks for does not work there.
        UsageError: a block does not fit into a worker's memory.
    """
    if prepared.plan.is_settled:
        return prepared
    report(Stage("asking a worker what it computes on"))
    client = start()
    with crew_of(client, prepared, model=None, report=report) as crew:
        crew.gather()
        found = _answered(client, crew, _question(prepared.plan, len(crew.computing)))
    report(Stage(f"blocks are computed on {found.device} in {found.precision}, {found.runtime}"))
    prepared = resettled(prepared, found)
    check_memory(prepared.plan, is_laid_out=prepared.is_laid_out)
    return prepared


def _answered(client: Any, crew: Crew, question: settled.Question) -> settled.Settled:
    """Ask whichever worker computes; the next one, if that dies."""
    slot = crew.slot
    future = client.submit(
        settled.decide,
        question,
        pure=False,
        workers=None if slot else list(crew.computing),
        resources=slot or None,
    )
    ended = Event()
    future.add_done_callback(lambda _: ended.set())
    while not ended.wait(0.1):
        crew.look()
        admission.allow_anywhere(client)
    try:
        found: settled.Settled = future.result()
    except LspipeError:
        raise
    except Exception as error:
        raise ClusterError(f"no worker could open the model: {reason_of(error)}") from error
    return found


def _question(plan: Plan, computing: int) -> settled.Question:
    """Return what a worker is asked; so many compute so far."""
    spec = plan.workflow.inference
    workers = max(computing, clusters.worker_count(cluster_of(plan)))
    return settled.Question(
        items=tuple(item.reference for item in plan.model.networks),
        device=spec.device,
        precision=spec.precision,
        runtime=spec.runtime,
        window=plan.setting.window,
        batch_size=None if spec.batch_size == "auto" else spec.batch_size,
        passes=passes_each(plan, workers),
        largest_block=max(tile.largest_block for tile in plan.tiles),
    )


# --- what is read before the first block ----------------------------------------------------------


def planners(
    start: Callable[[ClusterSpec], Any], workflow: Workflow, run: Path, report: Report
) -> Readers:
    """Return who reads where the scenes of a run are chosen: its cluster, if it has many tiles.

    Args:
        start: starts a cluster, or returns its client; not called where this process reads.
        workflow: of the run.
        run: its directory, in which the workers are told from others; is made.
        report: called with what happens.
    """
    if clusters.is_here(workflow.cluster):
        return planners_here

    @contextmanager
    def on_the_cluster(tiles: int) -> Iterator[Reading]:
        if tiles <= FEW_TILES:
            yield Reading(TILES_AT_ONCE)
            return
        check_directory(run)
        run.mkdir(parents=True, exist_ok=True)
        report(Stage(f"choosing scenes of {tiles} tiles on the cluster"))
        spec, execution = workflow.cluster, workflow.execution
        client = start(spec)
        with (
            Crew(
                client, cluster=spec, execution=execution, model=None, run=run, report=report
            ) as crew,
            reading_on(client, crew) as reading,
        ):
            yield reading

    return on_the_cluster


def lookers(start: Callable[[], Any], prepared: Prepared, report: Report) -> Readers:
    """Return who looks at places of a run before its first block: its cluster, if that is another.

    Args:
        start: starts the cluster, or returns its client.
        prepared: the run; its directory is held.
        report: called with what happens.
    """
    if clusters.is_here(prepared.plan.workflow.cluster):
        return lookers_here

    @contextmanager
    def on_the_cluster(places: int) -> Iterator[Reading]:
        del places
        client = start()
        with (
            crew_of(client, prepared, model=None, report=report) as crew,
            reading_on(client, crew) as reading,
        ):
            yield reading

    return on_the_cluster


@contextmanager
def reading_on(client: Any, crew: Crew) -> Iterator[Reading]:
    """Have the workers of a crew compute what this process asks dask for meanwhile.

    Raises:
        ClusterError: no worker came in time, all of them left, or they died of what they read.
    """
    crew.gather()
    at_once = min(MOST_AT_ONCE, max(TILES_AT_ONCE, TILES_PER_WORKER * len(crew.computing)))
    try:
        with dask.config.set(scheduler=client):
            yield Reading(at_once, crew.look)
    except admission.DIED as error:
        raise ClusterError(
            f"before the first block, while scenes were read: {reason_of(error)}"
        ) from error
