"""A started cluster -> the crew of a run, and what its workers compute on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lspipe.runs.crew import Crew
from lspipe.runs.events import Note, Stage
from lspipe.runs.memory import check_memory, cluster_of
from lspipe.runs.plan import settled
from lspipe.runs.prepare import resettled

if TYPE_CHECKING:
    from collections.abc import Callable

    from lspipe.inference.reference import ModelReference
    from lspipe.runs.events import Report
    from lspipe.runs.plan import Plan
    from lspipe.runs.prepare import Prepared


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
        found = client.submit(
            settled.decide,
            _question(prepared.plan),
            pure=False,
            workers=list(crew.computing[:1]),
            resources=crew.slot or None,
        ).result()
    report(Note(f"computes on {found.device} in {found.precision}, with runtime {found.runtime}"))
    prepared = resettled(prepared, found)
    check_memory(prepared.plan, is_laid_out=prepared.is_laid_out)
    return prepared


def _question(plan: Plan) -> settled.Question:
    spec = plan.workflow.inference
    return settled.Question(
        item=plan.model.reference,
        device=spec.device,
        precision=spec.precision,
        runtime=spec.runtime,
        window=plan.setting.window,
        largest_block=max(tile.largest_block for tile in plan.tiles),
    )
