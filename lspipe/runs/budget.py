"""A plan and what its blocks took -> whether it is within its budget, and when a run has spent it.

What counts is the time of all workers in the network, also in calls that were killed: of GPUs where
they compute. It decides no pixel, so it is in no fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lspipe.errors import UsageError
from lspipe.runs.cost import timed_pass, work
from lspipe.runs.events import BlockDone
from lspipe.runs.log import read_log

if TYPE_CHECKING:
    from lspipe.runs.events import Event
    from lspipe.runs.prepare import Prepared

HOUR = 3600


@dataclass
class Spent:
    """What the blocks of a run took so far, and what they may take."""

    limit: float | None
    """Seconds in the network, of all workers; None = any."""
    seconds: float = 0.0
    blocks: int = 0
    """How many were done meanwhile."""

    @classmethod
    def of(cls, prepared: Prepared) -> Spent:
        """Read what the blocks of all earlier calls took."""
        hours = prepared.plan.workflow.budget.gpu_hours
        if hours is None:
            return cls(None)
        # A run that starts over, or is planned anew, has spent nothing.
        events = [] if prepared.previous is None else read_log(prepared.run / "log.jsonl")
        took = [one["network"] for one in events if one["event"] == "block" and "network" in one]
        return cls(hours * HOUR, sum(took), len(took))

    def count(self, event: Event) -> None:
        """Add a block that was done; other events take nothing."""
        if isinstance(event, BlockDone):
            self.seconds += event.result.network
            self.blocks += 1

    def why_stop(self) -> str:
        """Return that all is spent, in a sentence; "" = it is not."""
        if self.limit is None or self.seconds < self.limit:
            return ""
        return (
            f"budget.gpu_hours: {_hours(self.seconds)} of {_hours(self.limit)} are spent, so no "
            "more blocks were tried; raise it and run the same command again"
        )


def check_budget(prepared: Prepared, left: int) -> None:
    """Refuse a plan that would take more than its budget.

    A block takes as long as those that are done did, where the others will be computed; before the
    first, as long as two batches on this machine tell.

    Args:
        prepared: the plan, and what is done of it.
        left: blocks that are to be done.

    Raises:
        UsageError: names what is spent, what is left, and what to change.
    """
    spent = Spent.of(prepared)
    if spent.limit is None or not left:
        return
    each, source = _seconds_of_a_block(prepared, spent)
    needed = each * left
    if spent.seconds + needed <= spent.limit:
        return
    raise UsageError(
        f"budget.gpu_hours: found {_hours(spent.limit)}, expected at least "
        f"{_hours(spent.seconds + needed)}: {_hours(spent.seconds)} are spent, and {left} of "
        f"{prepared.total} blocks are left, {_hours(needed)} by {source}\n"
        "hint: raise the budget, take a quicker inference.preset, a smaller aoi, or a part of it "
        "(tiles, bounds, limit)"
    )


def _seconds_of_a_block(prepared: Prepared, spent: Spent) -> tuple[float, str]:
    """Return how long a block takes on average, and how that is known."""
    if spent.seconds:
        return spent.seconds / spent.blocks, "the time of those that are done"
    plan = prepared.plan
    ((_, passes),) = work(plan, plan.setting)
    return passes * timed_pass(plan) / prepared.total, "the time of two batches on this machine"


def _hours(seconds: float) -> str:
    return f"{seconds / HOUR:.3g} h"
