"""The whole of a run, in the order data flows: prepare, detect, compare, list, write.

`prepare` makes the plan (or takes that of an earlier run), `run` does the work that is left.
Nothing is printed: everything that happens is an event (`events.py`), sent to `report`.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lspipe import clusters
from lspipe.errors import StoreError
from lspipe.inference.settings import TOO_LITTLE
from lspipe.machine import check_place
from lspipe.machine.remote import place
from lspipe.runs import guard, halved, listing, store, stream
from lspipe.runs.budget import Spent, check_budget
from lspipe.runs.caution import warnings
from lspipe.runs.cost import estimate
from lspipe.runs.describe import describe_plan
from lspipe.runs.events import (
    Caution,
    Dashboard,
    End,
    Interrupted,
    Note,
    Planned,
    Stage,
    Start,
    ignore,
)
from lspipe.runs.hiring import crew_of, lookers, planners, settled_on
from lspipe.runs.log import Log
from lspipe.runs.memory import check_memory, cluster_of
from lspipe.runs.prepare import opened, prepare, whats_left
from lspipe.runs.publish import publish
from lspipe.runs.selection import Selection, select
from lspipe.runs.steps import begin_layers, endings, tasks_of
from lspipe.runs.summary import (
    Summary,
    earlier_summary,
    note_state,
    summarise,
    summary_json,
    timed,
    write_summary,
)
from lspipe.runs.timings import Clock
from lspipe.runs.validation import check_before_search
from lspipe.workflow import Workflow, check_output

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lspipe.clusters import ClusterSpec
    from lspipe.runs.events import Event, Report
    from lspipe.runs.plan import Plan
    from lspipe.runs.prepare import Prepared
    from lspipe.runs.selection import Todo

DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENOENT}
"""Error numbers of a full, read-only or vanished disk; others are not about the disk."""


def plan(
    workflow: Workflow | Path | str,
    *,
    output: Path | str | None = None,
    report: Report | None = None,
) -> Plan:
    """Plan a run and store the plan in the run directory, as `lspipe plan` does.

    The plan fixes everything that decides a pixel. If the directory has a plan already, that one is
    returned: nothing is searched, and nothing is written.

    Args:
        workflow: the workflow, or its file.
        output: run directory; None = the workflow's.
        report: called with `events.Planned`: description, estimate and warnings; before that with
            a `Note` where another plan is replaced. The estimate takes some seconds; it is left out
            if this is None.

    Returns:
        Tiles, the scenes chosen for each date, blocks, fingerprints.

    Raises:
        NothingFound: the search answered, and a date has no scene.
        UsageError: the workflow cannot be run, or its blocks do not fit into memory or into its
            budget; in the latter cases the plan is stored nevertheless.
        StoreError: the directory holds blocks of another workflow, or other files, or is in use.

    Examples:
        >>> import lspipe
        >>> plan = lspipe.plan("my.yaml", output="runs/my-valley")  # doctest: +SKIP
        >>> [(tile.tile.name, len(tile.blocks)) for tile in plan.tiles]  # doctest: +SKIP
        [('18GYS', 9)]
    """
    workflow, directory = _asked(workflow, output)
    prepared = prepare(workflow, directory)
    if prepared.previous is None:
        with opened(prepared, report=report or ignore) as held:
            prepared = held
    if report is not None:
        report(Planned(_describe(prepared), estimate(prepared.plan), warnings(prepared.plan)))
    if prepared.left:
        check_memory(prepared.plan, is_laid_out=prepared.is_laid_out)
        check_budget(prepared, prepared.left)
    return prepared.plan


def _asked(workflow: Workflow | Path | str, output: Path | str | None) -> tuple[Workflow, Path]:
    """Return the workflow, read if it is a file, and its run directory."""
    asked = workflow if isinstance(workflow, Workflow) else Workflow.from_file(workflow)
    if output is None:
        check_output(asked)
        directory = asked.run_directory
    else:
        check_place(output)
        directory = place(output)
    check_before_search(asked, directory)
    return asked, directory


def _describe(prepared: Prepared) -> dict[str, Any]:
    return describe_plan(
        prepared.plan,
        run=prepared.run,
        left=whats_left(prepared),
        counts=prepared.counts(),
    )


# --- run ----------------------------------------------------------------------------------------


def run(
    workflow: Workflow | Path | str,
    *,
    output: Path | str | None = None,
    tiles: tuple[str, ...] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    limit: int | None = None,
    only_failed: bool = False,
    fresh: bool = False,
    report: Report = ignore,
) -> Summary:
    """Run a workflow, or resume a run.

    Args:
        workflow: the workflow, or its file.
        output: run directory; None = the workflow's.
        tiles: only these tiles.
        bounds: only blocks that touch west, south, east, north (degrees).
        limit: at most this many places: blocks with all their dates.
        only_failed: only blocks that failed last time.
        fresh: search again and start over.
        report: called with each event (`lspipe.runs.events`).

    Raises:
        LspipeError: the run is not possible; failed blocks, and tiles that cannot be compared, do
            not raise, they are in the summary.

    Examples:
        >>> import lspipe
        >>> summary = lspipe.run("my.yaml", output="runs/my-valley")  # doctest: +SKIP
        >>> summary.state, dict(summary.statuses)  # doctest: +SKIP
        ('finished', {'new': 12, 'persistent': 3})
    """
    workflow, directory = _asked(workflow, output)
    report(Stage(f"planning {workflow.name}"))
    selection = Selection(tiles=tiles, bounds=bounds, limit=limit, only_failed=only_failed)
    try:
        with ExitStack() as cluster:
            start = cluster.enter_context(clusters.starting(workflow.execution))
            readers = planners(start, workflow, directory, report)
            prepared = prepare(workflow, directory, fresh=fresh, readers=readers)
            if prepared.is_finished:
                select(prepared, selection)
                return earlier_summary(prepared)
            if prepared.left:
                check_memory(prepared.plan, is_laid_out=prepared.is_laid_out)
                check_budget(prepared, sum(map(len, select(prepared, selection).values())))
            with opened(prepared, fresh=fresh, report=report) as current, cluster.pop_all():
                return _run_locked(current, selection, start, report)
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        # Finished blocks are kept.
        raise StoreError(
            f"{directory}: {error.strerror}; repair this and run the same command again"
        ) from error


def _run_locked(
    prepared: Prepared,
    selection: Selection,
    start: Callable[[ClusterSpec], Any],
    report: Report,
) -> Summary:
    if prepared.is_finished:
        return earlier_summary(prepared)
    select(prepared, selection)  # refused before anything starts
    client = partial(start, cluster_of(prepared.plan))
    with closing(Log(prepared.run / "log.jsonl", report)) as log:
        try:
            prepared = settled_on(client, prepared, log)
            return _run(prepared, select(prepared, selection), client, log)
        except KeyboardInterrupt:
            log(Interrupted())
            note_state(prepared, "interrupted")
            raise


def _run(prepared: Prepared, todo: Todo, client: Callable[[], Any], log: Log) -> Summary:
    plan, clock = prepared.plan, Clock(prepared.seconds)
    if plan.runtime_why not in ("", TOO_LITTLE):
        log(Note(f"runtime {plan.reference.runtime}: {plan.runtime_why}"))
    for text in warnings(plan):
        log(Caution(text))
    wanted = (key for key, blocks in todo.items() if blocks)
    with clock.stage("look"):
        readers = lookers(client, prepared, log)
        guard.check_before_run(plan, wanted, run=prepared.run, report=log, readers=readers)
    note_state(prepared, "running")
    finished = {name for name, cells in prepared.done.items() if cells.all()}
    store.create(
        prepared.run,
        [tile.grid for tile in plan.tiles],
        fingerprint=plan.detection_fingerprint,
        finished=finished,
        more=store.layers_asked(
            has_doubted=len(plan.workflow.cube.mask.names) > 1, has_spread=plan.setting.spread
        ),
    )
    log(Start(sum(map(len, todo.values()))))
    with clock.stage("blocks"):
        outcome = _on_the_cluster(prepared, todo, client, log)
        # A worker that was killed may have been writing: another one did its block. Where it was
        # stopped, blocks may still be written, and what is left goes when it is resumed.
        if not outcome.stopped:
            store.remove_partial(prepared.run, finished)
    log(Stage("listing landslides"))
    with clock.stage("listing"):
        listed = listing.write(prepared.run, plan, prepared.formats)
    for text in listed.notes:
        log(Note(text))
    summary = summarise(prepared, outcome, listed)
    content = summary_json(prepared, summary, todo, outcome)
    # Last of all: what they say of the run is what run.json will say.
    others = listing.others_of(prepared.formats)
    if others:
        log(Stage(f"writing {', '.join(others)}"))
    with clock.stage("outputs"):
        record = timed(prepared, content, clock)
        _, notes = publish(replace(listed.run, record=record), others)
    for text in notes:
        log(Note(text))
    write_summary(prepared, timed(prepared, content, clock))
    log(End(summary.state))
    return summary


def _on_the_cluster(
    prepared: Prepared, todo: Todo, start: Callable[[], Any], log: Log
) -> stream.Outcome:
    """Compute the blocks on the workflow's cluster, and end large tiles there."""
    tails, execution = endings(prepared, todo), prepared.plan.workflow.execution
    is_halved = prepared.plan.workflow.change.lists_only_new
    spent = Spent.of(prepared)

    def told(event: Event) -> None:
        spent.count(event)
        log(event)

    is_left = any(todo.values()) or (is_halved and halved.is_open(prepared))
    if not is_left and not tails.tiles:
        return stream.Outcome()
    if tails.tiles or is_halved:
        begin_layers(prepared)
    client = start()
    log(Dashboard(client.dashboard_link))
    in_flight = execution.max_in_flight
    with crew_of(client, prepared, model=prepared.plan.reference, report=log) as crew:
        compute = partial(
            stream.compute,
            client,
            crew=crew,
            retries=execution.retries,
            max_in_flight=None if in_flight == "auto" else in_flight,
            report=told,
            why_stop=spent.why_stop,
        )
        if not is_halved:
            return compute(tasks_of(prepared, todo), endings=tails)
        outcome = halved.compute(prepared, todo, compute)
        # Last: a tile that was ended may have become known better since.
        ended = (
            stream.Outcome() if outcome.stopped else compute((), endings=endings(prepared, todo))
        )
        return outcome.with_(ended)
