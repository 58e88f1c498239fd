"""A started cluster -> the crew of a run, and what its workers compute on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lspipe.clusters import admission
from lspipe.errors import ClusterError, LspipeError
from lspipe.runs.crew import Crew
from lspipe.runs.events import Stage
from lspipe.runs.memory import check_memory, cluster_of
from lspipe.runs.plan import settled
from lspipe.runs.prepare import resettled
from lspipe.runs.stream import reason_of

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
        found = _answered(client, crew, _question(prepared.plan))
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
    while not future.done():
        crew.look()
        admission.allow_anywhere(client)
        time.sleep(0.1)
    try:
        found: settled.Settled = future.result()
    except LspipeError:
        raise
    except Exception as error:
        raise ClusterError(f"no worker could open the model: {reason_of(error)}") from error
    return found


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
