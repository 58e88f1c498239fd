"""A plan -> the same plan with the runtime that is done first on this machine."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lspipe import clusters
from lspipe.runs.cost import work
from lspipe.runs.memory import cluster_of, fits
from lspipe.runs.plan.settled import quickest

if TYPE_CHECKING:
    from lspipe.runs.plan import Plan


def with_quickest(plan: Plan) -> Plan:
    """Find the quickest runtime for a plan whose blocks are computed on this machine, and why.

    Args:
        plan: of a workflow with `runtime: auto`; nothing of it is computed.

    Returns:
        The plan with that runtime in its reference, its fingerprint and `runtime_why`; one that
        needs more memory than a worker has is not taken.
    """
    workers = clusters.worker_count(cluster_of(plan))
    runtime, why = quickest(
        plan.reference,
        plan.model,
        window=plan.setting.window,
        batch_size=plan.setting.batch_size,
        passes=passes_each(plan, workers),
    )
    inference = {**plan.detection_inputs["inference"], "runtime": runtime}
    quick = replace(
        plan,
        reference=replace(plan.reference, runtime=runtime),
        detection_inputs={**plan.detection_inputs, "inference": inference},
        runtime_why=why,
    )
    if fits(plan) and not fits(quick):
        return replace(plan, runtime_why=f"{runtime} does not fit into a worker's memory; {why}")
    return quick


def passes_each(plan: Plan, workers: int) -> int:
    """Count the windows that each of some workers sends through the network."""
    ((_, passes),) = work(plan, plan.setting)
    return math.ceil(passes / workers)
