"""The summary of a run, and the content of run.json during and after a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lspipe.errors import BlockError, UsageError
from lspipe.machine.remote import place
from lspipe.runs import busy, disputes, guard, listing, registration, store
from lspipe.runs.caution import warnings as plan_warnings
from lspipe.runs.log import read_log
from lspipe.runs.publish import files_of
from lspipe.runs.record import run_json
from lspipe.runs.timings import added

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lspipe.runs.events import Failure
    from lspipe.runs.listing import Listed
    from lspipe.runs.plan import Plan
    from lspipe.runs.prepare import Prepared
    from lspipe.runs.selection import Todo
    from lspipe.runs.stream import Outcome
    from lspipe.runs.timings import Clock


@dataclass(frozen=True)
class Summary:
    """The results of a run in numbers."""

    run: Path
    state: str
    total: int
    done: int
    skipped: int
    failures: tuple[str, ...]
    observed_share: float
    """Share of the area observed on every date of the run, 0..1."""
    is_two_date: bool
    failed_reads: int = 0
    """Pixels that could not be read, or held what Sentinel-2 cannot hold."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Number of objects per status."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """Those of the plan (`caution.warnings`), then dates that do not lie on each other, then pixels
    unlike the training data of the model, then masks that disagree."""
    reviews: Mapping[str, int] = field(default_factory=dict)
    """Counts of a person's decisions about the list; see `review.Taken`."""
    registration: Mapping[str, Any] = field(default_factory=dict)
    """How far the two dates of each tile lie apart; see `registration.facts`."""
    seen_by_radar: Mapping[str, Any] = field(default_factory=dict)
    """What radar saw where optics was blind; see `blind.facts`; empty where it reads none."""
    lists_only_new: bool = False
    """Whether `vanished` and `persistent` were not looked for."""
    is_over_budget: bool = False
    """Whether the run ended because its budget is spent; a warning says so."""

    @property
    def not_compared(self) -> dict[str, str]:
        """Why the two dates of a tile were not compared, by its name; also among the warnings."""
        return registration.not_compared(self.registration)

    @property
    def exit_code(self) -> int:
        """0; 2 when the budget is spent; 3 when blocks failed or a tile was not compared."""
        if self.is_over_budget:
            return UsageError.exit_code
        return BlockError.exit_code if self.failures or self.not_compared else 0

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "run": str(self.run),
            "state": self.state,
            "is_over_budget": self.is_over_budget,
            "blocks": {
                "total": self.total,
                "done": self.done,
                "skipped": self.skipped,
                "failed": len(self.failures),
            },
            "failures": list(self.failures),
            "not_compared": self.not_compared,
            "observed_share": self.observed_share,
            "failed_reads": self.failed_reads,
            "statuses": dict(self.statuses),
            **({"lists_only_new": True} if self.lists_only_new else {}),
            "outputs": dict(self.outputs),
            "warnings": list(self.warnings),
            "reviews": dict(self.reviews),
            "registration": dict(self.registration),
            **self.of_radar(),
        }

    def of_radar(self) -> dict[str, Any]:
        """Return plain values of what radar saw; none where the run reads none."""
        return {"seen_by_radar": dict(self.seen_by_radar)} if self.seen_by_radar else {}


def note_state(prepared: Prepared, state: str) -> None:
    """Write the state into `run.json`; earlier failures stay until they are retried."""
    content = run_json(prepared.plan, state=state)
    earlier = prepared.previous or {}
    for name in ("failures", "seconds"):
        if name in earlier:
            content[name] = earlier[name]
    content["outputs"] = prepared.exported
    content["timings"] = added(earlier.get("timings", {}), prepared.seconds)
    store.write_json(prepared.run / "run.json", content)


def summarise(prepared: Prepared, outcome: Outcome, listed: Listed) -> Summary:
    """Return the summary of a run.

    Args:
        prepared: at the begin of the run.
        outcome: of the blocks that were computed.
        listed: the lists that were written.
    """
    # From the store and not from the events: a block is finished if it can be read back.
    left = prepared.again().left
    blocks = _blocks_of(prepared.run)
    inputs = guard.inputs(prepared.plan, blocks)
    disputed = disputes.disputes(prepared.plan, blocks)
    others = files_of(listing.others_of(prepared.formats))
    outputs = listed.outputs | {name: prepared.run / file for name, file in others.items()}
    return Summary(
        run=prepared.run,
        state="finished" if left == 0 else "failed" if outcome.failures else "partial",
        total=prepared.total,
        done=outcome.done,
        skipped=prepared.total - prepared.left,
        failures=tuple(map(str, outcome.failures)),
        observed_share=listed.observed_share,
        is_two_date=prepared.plan.is_two_date,
        failed_reads=listed.failed_reads,
        statuses=listed.statuses,
        outputs={name: str(path) for name, path in outputs.items()},
        warnings=(
            *((outcome.stopped,) if outcome.stopped else ()),
            *_warnings(prepared.plan, listed.registration, inputs, disputed),
        ),
        reviews=listed.reviews,
        registration=listed.registration,
        seen_by_radar=listed.seen_by_radar,
        lists_only_new=prepared.plan.workflow.change.lists_only_new,
        is_over_budget=outcome.is_over_budget,
    )


def summary_json(
    prepared: Prepared, summary: Summary, todo: Todo, outcome: Outcome
) -> dict[str, Any]:
    """Return the content of `run.json` at the end of a run.

    Args:
        prepared: at the begin of the run.
        summary: of the run.
        todo: the blocks that were tried.
        outcome: of these blocks.
    """
    blocks = _blocks_of(prepared.run)
    earlier = prepared.previous or {}
    tried = {(tile, step, *block.index) for (tile, step), some in todo.items() for block in some}
    outputs = {
        name: place(path).relative_to(prepared.run) for name, path in summary.outputs.items()
    }
    content = run_json(prepared.plan, state=summary.state)
    disputed = disputes.disputes(prepared.plan, blocks)
    for name, shift in summary.registration.items():
        content["tiles"][name]["registration"] = shift
    return content | {
        "counts": summary.as_json()["blocks"] | {"objects": dict(summary.statuses)},
        "observed_share": summary.observed_share,
        "failed_reads": summary.failed_reads,
        **summary.of_radar(),
        "reviews": dict(summary.reviews),
        "inputs": guard.inputs(prepared.plan, blocks),
        **({"masks": disputed} if disputed else {}),
        "warnings": list(summary.warnings),
        "windows": _window_counts(blocks),
        "work": _work(blocks, earlier.get("work", {}), outcome),
        "workers": busy.workers(read_log(prepared.run / "log.jsonl")),
        "devices": earlier.get("devices", {}) | dict(outcome.devices),
        "outputs": {name: str(path) for name, path in outputs.items()},
        "failures": _not_tried(earlier, tried) + _entries(outcome.failures),
        "not_compared": summary.not_compared,
    }


def timed(prepared: Prepared, content: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """Add how long the calls of a run took to the content of `run.json`.

    Args:
        prepared: at the begin of this call.
        content: of `summary_json`.
        clock: of this call, up to now.
    """
    earlier = prepared.previous or {}
    return {
        **content,
        "seconds": round(earlier.get("seconds", 0.0) + clock.seconds, 1),
        "timings": added(earlier.get("timings", {}), clock.stages),
    }


def write_summary(prepared: Prepared, content: Mapping[str, Any]) -> None:
    """Write the content of `run.json`."""
    store.write_json(prepared.run / "run.json", content)


def earlier_summary(prepared: Prepared) -> Summary:
    """Return the summary of a run that an earlier call finished."""
    previous = prepared.previous or {}
    total = previous["counts"]["total"]
    tiles = previous["tiles"].items()
    shifts = {tile: it["registration"] for tile, it in tiles if "registration" in it}
    return Summary(
        run=prepared.run,
        state=previous["state"],
        total=total,
        done=0,
        skipped=total,
        failures=(),
        observed_share=previous["observed_share"],
        is_two_date=prepared.plan.is_two_date,
        failed_reads=previous["failed_reads"],
        statuses=previous["counts"]["objects"],
        outputs={name: str(prepared.run / path) for name, path in previous["outputs"].items()},
        # Of runs that were finished before anything was counted or measured, there is none.
        warnings=_warnings(
            prepared.plan, shifts, previous.get("inputs", {}), previous.get("masks", {})
        ),
        reviews=previous.get("reviews", {}),
        registration=shifts,
        seen_by_radar=previous.get("seen_by_radar", {}),
        lists_only_new=prepared.plan.workflow.change.lists_only_new,
    )


def _warnings(
    plan: Plan,
    shifts: Mapping[str, Any],
    inputs: Mapping[str, Any],
    disputed: Mapping[str, Any],
) -> tuple[str, ...]:
    return (
        *plan_warnings(plan),
        *registration.warnings(shifts, is_pair=plan.model.is_pair),
        *guard.warnings(inputs),
        *disputes.warnings(disputed),
    )


def _entries(failures: list[Failure]) -> list[dict[str, Any]]:
    return [
        {"tile": f.tile, "step": f.step, "index": list(f.index), "error": f.error} for f in failures
    ]


def _not_tried(earlier: Mapping[str, Any], tried: set[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return the earlier failures that this call did not retry."""
    return [
        entry
        for entry in earlier.get("failures", [])
        if (entry["tile"], entry["step"], *entry["index"]) not in tried
    ]


def _blocks_of(run: Path) -> list[dict[str, Any]]:
    """Return the results of all blocks, each block once.

    They are read from the log, which also has the blocks of killed calls; for a block that was done
    twice the last entry counts, and what was added to it later (`halved.py`) is added.
    """
    blocks: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in read_log(run / "log.jsonl"):
        if event["event"] == "block":
            place = (event["tile"], event["step"], *event["index"])
            is_more = event.get("is_more", False) and place in blocks
            blocks[place] = _with(blocks[place], event) if is_more else event
    return list(blocks.values())


def _with(block: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a block with the work of adding to it."""
    work = ("windows", "windows_run", "seconds", "network", "writing")
    return {**block, **{name: block[name] + more[name] for name in work}}


def _work(
    blocks: list[dict[str, Any]], earlier: Mapping[str, float], outcome: Outcome
) -> dict[str, float]:
    """Sum the seconds of all workers: in the network (of a GPU where one computes), and beside it.

    Blocks of runs from before they were counted add nothing.
    """
    return {
        "network_seconds": round(sum(event.get("network", 0.0) for event in blocks), 1),
        "writing_seconds": round(sum(event.get("writing", 0.0) for event in blocks), 1),
        "reading_seconds": round(earlier.get("reading_seconds", 0.0) + outcome.reading, 1),
    }


def _window_counts(blocks: list[dict[str, Any]]) -> dict[str, int]:
    """Sum the windows of all blocks: those needed, and those that were run."""
    return {
        "needed": sum(event["windows"] for event in blocks),
        "run": sum(event["windows_run"] for event in blocks),
    }
