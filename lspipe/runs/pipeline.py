"""The whole of a run, in the order data flows: prepare, detect, compare, list, write.

`prepare` decides (or takes what an earlier run decided), `run` does what is left to do. Nothing is
printed: everything that happens is told to `report(event, **facts)`.
"""

from __future__ import annotations

import errno
import math
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe import clusters, search
from lspipe.runs import guard, listing, store, stream, worker
from lspipe.errors import BlockError, StoreError
from lspipe.runs.plan import THREADS, model_of, open_step
from lspipe.runs.prepare import check_memory, done_counts, opened, prepare
from lspipe.runs.record import Log, check_run_directory, read_log, read_status, run_json
from lspipe.runs.selection import Selection, select
from lspipe.workflow import check_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lspipe.runs.plan import Plan, TilePlan
    from lspipe.runs.prepare import Prepared
    from lspipe.runs.selection import Todo
    from lspipe.runs.stream import Failure
    from lspipe.inference.windows import Block
    from lspipe.workflow import Workflow


DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENOENT}
"""What a full, read-only or vanished disk answers; other errors are not about the disk."""


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

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
    """Pixels that failed reads left without data (`on_read_error: nodata`)."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    """Number of objects per status."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    """What is unlike the training of the model, by tile and date."""

    @property
    def exit_code(self) -> int:
        """0, or 3 when blocks failed."""
        return BlockError.exit_code if self.failures else 0

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "run": str(self.run),
            "state": self.state,
            "blocks": {
                "total": self.total,
                "done": self.done,
                "skipped": self.skipped,
                "failed": len(self.failures),
            },
            "failures": list(self.failures),
            "observed_share": self.observed_share,
            "failed_reads": self.failed_reads,
            "statuses": dict(self.statuses),
            "outputs": dict(self.outputs),
            "warnings": list(self.warnings),
        }


def plan(workflow: Workflow) -> Plan:
    """Make the plan of a workflow, in its run directory if there is one; writes nothing."""
    return prepare(workflow, Path(workflow.run_directory)).plan


def validate(workflow: Workflow) -> dict[str, Any]:
    """Check what can be checked without searching: the model, the area and the paths.

    Raises:
        UsageError: the model item or the area cannot be used, or the results not be written.
    """
    item, setting = model_of(workflow)
    area = search.read_area(workflow.aoi, workflow.folder)
    return {
        "name": workflow.name,
        "model": item.id,
        "bands": list(item.bands),
        "window": setting.window,
        "stride": setting.stride,
        "area": area.facts(),
        "run": str(workflow.run_directory),
        "not_there_yet": check_paths(workflow),
    }


def status(run: Path) -> dict[str, Any]:
    """Say how far a run is: counts, rate, time left, failures grouped.

    Raises:
        StoreError: not a run directory.
    """
    check_run_directory(run)
    content = store.read_json(run / "run.json")
    done = {
        tile: int(store.done(run, tile).sum())
        for tile in content["tiles"]
        if store.block_size(run, tile) is not None
    }
    return read_status(run, content, done)


# --- run ----------------------------------------------------------------------------------------


def run(
    workflow: Workflow,
    *,
    output: Path | str | None = None,
    tiles: tuple[str, ...] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    limit: int | None = None,
    only_failed: bool = False,
    fresh: bool = False,
    report: Callable[..., None] = lambda *_, **__: None,
) -> Summary:
    """Run a workflow, or go on with a run.

    Args:
        workflow: what is asked.
        output: run directory; None = the workflow's.
        tiles: only these tiles.
        bounds: only blocks that touch west, south, east, north (degrees).
        limit: at most this many blocks.
        only_failed: only blocks that failed last time.
        fresh: search again and start over.
        report: told what happens: stage, dashboard, start, block, failure.

    Raises:
        LspipeError: the run cannot be done; blocks that fail do not raise, they are in the summary.
    """
    directory = Path(output) if output is not None else Path(workflow.run_directory)
    report("stage", text=f"planning {workflow.name}")
    prepared = prepare(workflow, directory, fresh=fresh)
    selection = Selection(tiles=tiles, bounds=bounds, limit=limit, only_failed=only_failed)
    if prepared.is_finished:
        select(prepared, selection)
        return _summary_of(prepared)
    check_memory(prepared)
    try:
        with opened(prepared, fresh=fresh) as current:
            return _run_locked(current, selection, report)
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        # What is done stays done.
        raise StoreError(
            f"{directory}: {error.strerror}; put that right and run the same command again"
        ) from error


def _run_locked(prepared: Prepared, selection: Selection, report: Callable[..., None]) -> Summary:
    if prepared.is_finished:
        return _summary_of(prepared)
    todo = select(prepared, selection)
    with closing(Log(prepared.run / "log.jsonl", report)) as log:
        try:
            return _run(prepared, todo, log)
        except KeyboardInterrupt:
            log("interrupted")
            _note_state(prepared, "interrupted")
            raise


def _run(prepared: Prepared, todo: Todo, log: Log) -> Summary:
    plan = prepared.plan
    began = time.time()
    guard.check_before_run(plan, (key for key, blocks in todo.items() if blocks), report=log)
    _note_state(prepared, "running")
    store.create(
        prepared.run,
        [tile.grid for tile in plan.tiles],
        fingerprint=plan.detection_fingerprint,
    )
    total = sum(len(tile.blocks) * len(tile.steps) for tile in plan.tiles)
    skipped = sum(done_counts(prepared).values())
    log("start", total=sum(map(len, todo.values())))
    outcome = _detect(prepared, todo, log) if any(todo.values()) else stream.Outcome()
    log("stage", text="listing landslides")
    listed = listing.write(prepared.run, plan)
    # Counted in the store, not from what was reported: finished is what can be read back.
    left = total - sum(done_counts(prepared).values())
    blocks = _blocks_of(prepared.run)
    inputs = guard.inputs(plan, blocks)
    summary = Summary(
        run=prepared.run,
        state="finished" if left == 0 else "failed" if outcome.failures else "partial",
        total=total,
        done=outcome.done,
        skipped=skipped,
        failures=tuple(map(str, outcome.failures)),
        observed_share=listed.observed_share,
        is_two_date=plan.is_two_date,
        failed_reads=listed.failed_reads,
        statuses=listed.statuses,
        outputs={name: str(path) for name, path in listed.outputs.items()},
        warnings=tuple(guard.warnings(inputs)),
    )
    tried = {(tile, step, *block.index) for (tile, step), some in todo.items() for block in some}
    counted = {"inputs": inputs, "windows": _windows(blocks)}
    failures = _not_tried(prepared, tried) + _entries(outcome.failures)
    _close(prepared, summary, counted, failures=failures, began=began)
    log("end", state=summary.state)
    return summary


def _detect(prepared: Prepared, todo: Todo, log: Log) -> stream.Outcome:
    """Compute the blocks on the workflow's cluster."""
    workflow = prepared.plan.workflow
    in_flight = workflow.execution.max_in_flight
    cluster = clusters.sized(workflow.cluster, device=prepared.plan.reference.device)
    with clusters.start(cluster, workflow.execution) as client:
        log("dashboard", link=client.dashboard_link)
        return stream.compute(
            client,
            _batches(prepared, todo, client),
            retries=workflow.execution.retries,
            max_in_flight=None if in_flight == "auto" else in_flight,
            report=log,
        )


def _batches(prepared: Prepared, todo: Todo, client: Any) -> Iterator[stream.Batch]:
    """One batch per (tile, step), whose graph is built when it is submitted."""
    first = 0
    for tile in prepared.plan.tiles:
        for number in range(len(tile.steps)):
            blocks = todo.get((tile.tile.name, number), [])
            if not blocks:
                continue
            yield stream.Batch(
                tile.tile.name,
                number,
                tuple(block.index for block in blocks),
                partial(_tasks, prepared, tile, number, blocks, first=first, client=client),
            )
            first += math.prod(map(len, tile.chunks))


def _tasks(
    prepared: Prepared,
    tile: TilePlan,
    number: int,
    blocks: list[Block],
    *,
    first: int,
    client: Any,
) -> list[Any]:
    """Build the graph of one step; `first` counts the blocks of the steps before it."""
    plan = prepared.plan
    with worker.in_turn(first, len(tile.chunks[1])):
        return worker.block_tasks(
            open_step(tile, tile.steps[number], plan.workflow),
            _job(prepared, tile, number),
            blocks,
            bands=plan.model.bands,
            area=tile.area,
            # Asked for every step: workers come and go.
            resources=clusters.inference_slot(client),
        )


def _job(prepared: Prepared, tile: TilePlan, step: int) -> worker.StepJob:
    plan = prepared.plan
    return worker.StepJob(
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
    )


# --- run.json -----------------------------------------------------------------------------------


def _note_state(prepared: Prepared, state: str) -> None:
    """Say in `run.json` what is going on; the failures of last time stay until they are retried."""
    content = run_json(prepared.plan, state=state)
    for name in ("failures", "seconds"):
        if prepared.previous and name in prepared.previous:
            content[name] = prepared.previous[name]
    store.write_json(prepared.run / "run.json", content)


def _entries(failures: list[Failure]) -> list[dict[str, Any]]:
    return [
        {"tile": f.tile, "step": f.step, "index": list(f.index), "error": f.error} for f in failures
    ]


def _not_tried(prepared: Prepared, tried: set[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Failures of last time that this call did not try again."""
    return [
        entry
        for entry in (prepared.previous or {}).get("failures", [])
        if (entry["tile"], entry["step"], *entry["index"]) not in tried
    ]


def _close(
    prepared: Prepared,
    summary: Summary,
    counted: Mapping[str, Any],
    *,
    failures: list[dict[str, Any]],
    began: float,
) -> None:
    """Write the last word into `run.json`; `counted` is what the blocks of all calls add up to."""
    content = run_json(prepared.plan, state=summary.state)
    content["counts"] = summary.as_json()["blocks"] | {"objects": dict(summary.statuses)}
    content["observed_share"] = summary.observed_share
    content["failed_reads"] = summary.failed_reads
    content |= counted
    content["outputs"] = {
        name: str(Path(path).relative_to(prepared.run)) for name, path in summary.outputs.items()
    }
    content["failures"] = failures
    seconds = (prepared.previous or {}).get("seconds", 0.0) + time.time() - began
    content["seconds"] = round(seconds, 1)
    store.write_json(prepared.run / "run.json", content)


def _blocks_of(run: Path) -> list[dict[str, Any]]:
    """Return what the blocks of all calls said of themselves, each block once.

    Taken from the log, to which a killed call has written its share; of a block that was done twice
    the last word counts.
    """
    blocks = {
        (event["tile"], event["step"], *event["index"]): event
        for event in read_log(run / "log.jsonl")
        if event["event"] == "block"
    }
    return list(blocks.values())


def _windows(blocks: list[dict[str, Any]]) -> dict[str, int]:
    """Add up the windows of blocks: those needed, and those that were run."""
    return {
        "needed": sum(event["windows"] for event in blocks),
        "run": sum(event["windows_run"] for event in blocks),
    }


def _summary_of(prepared: Prepared) -> Summary:
    """Return the summary of a run that an earlier call finished."""
    previous = prepared.previous or {}
    total = previous["counts"]["total"]
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
        # Of runs that were finished before anything was counted, there is none.
        warnings=tuple(guard.warnings(previous.get("inputs", {}))),
    )
