"""One function per verb: a namespace of arguments -> an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe.cli.progress import Progress
from lspipe.cli.summaries import (
    benchmark_text,
    doctor_text,
    plan_text,
    status_text,
    summary_text,
    validate_text,
)
from lspipe.cli.text import say, show
from lspipe.machine.copies import readable
from lspipe.machine.remote import place

if TYPE_CHECKING:
    import argparse

    import geopandas as gpd

    from lspipe.evaluate.truth import ListScore
    from lspipe.runs.events import Event

OK = 0


def init(options: argparse.Namespace) -> int:
    """Write a commented workflow, and the schema that editors check it by."""
    from lspipe.workflow import write_new

    path = Path(options.path)
    beside = write_new(path)
    say(f"wrote {path}; edit it, then: lspipe validate {path}")
    say(f"editors complete keys by {beside}; after an update: lspipe schema > {beside}")
    _show_json(options, {"workflow": str(path), "schema": str(beside)})
    return OK


def validate(options: argparse.Namespace) -> int:
    """Check a workflow without searching."""
    from lspipe.runs.validation import validate

    facts = validate(_workflow(options))
    for text in (*facts["not_there_yet"], *facts["notes"]):
        say(f"note: {text}")
    show(options, facts, lambda: validate_text(options.workflow, facts))
    return OK


def schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of workflows."""
    del options
    from lspipe.workflow import json_schema

    print(json.dumps(json_schema(), indent=2))
    return OK


def plan(options: argparse.Namespace) -> int:
    """Freeze the items and report what a run would do, and cost."""
    from lspipe.evaluate.truth import known_landslides
    from lspipe.runs import pipeline
    from lspipe.runs.events import Note, Planned

    def show_plan(event: Event) -> None:
        if isinstance(event, Note):
            say(f"note: {event.text}")
        if isinstance(event, Planned):
            estimate, notes = event.estimate, list(event.warnings)
            facts = {**event.description, "estimate": estimate.as_json(), "warnings": notes}
            show(options, facts, lambda: plan_text(facts, estimate, notes))

    workflow = _workflow(options)
    known_landslides(workflow)  # a file that is missing is found before anything is computed
    pipeline.plan(workflow, output=options.output or None, report=show_plan)
    return OK


def run(options: argparse.Namespace) -> int:
    """Run a workflow, or resume its run; score its list if the workflow names the truth."""
    from lspipe.evaluate.truth import known_landslides
    from lspipe.runs import pipeline

    workflow = _workflow(options)
    run = _run_directory(workflow, options)
    truth = known_landslides(workflow)
    with Progress(is_verbose=options.verbose > 0) as progress:
        summary = pipeline.run(
            workflow,
            output=run,
            tiles=tuple(options.tiles) if options.tiles else None,
            bounds=tuple(options.bounds) if options.bounds else None,
            limit=options.limit,
            only_failed=options.only_failed,
            fresh=options.fresh,
            report=progress.report,
        )
    score = None if truth is None or summary.state != "finished" else _score(run, truth)
    facts = summary.as_json() | ({"score": score._asdict()} if score else {})
    show(options, facts, lambda: summary_text(summary, score))
    return summary.exit_code


def status(options: argparse.Namespace) -> int:
    """Report how far a run is."""
    from lspipe.runs.status import status

    facts = status(place(options.run))
    show(options, facts, lambda: status_text(facts))
    return OK


def demo(options: argparse.Namespace) -> int:
    """Write the simulated archive and its workflow."""
    from lspipe.demo import write_archive

    workflow = write_archive(Path(options.folder))
    say(f"wrote a simulated archive; next: lspipe run {workflow}")
    _show_json(options, {"archive": options.folder, "workflow": str(workflow)})
    return OK


def _score(run: Path, truth: gpd.GeoDataFrame) -> ListScore:
    """Compare the list of a finished run with the known landslides."""
    from lspipe.evaluate.truth import score_list
    from lspipe.search.parquet import read_geoparquet

    listed, unobserved = (
        read_geoparquet(readable(run / f"{name}.parquet")) for name in ("inventory", "unobserved")
    )
    return score_list(listed, truth, unobserved)


def doctor(options: argparse.Namespace) -> int:
    """Report what this machine and installation can do, or how fast they are."""
    from lspipe.cli import doctor

    if options.benchmark:
        say(f"timing networks in every runtime that works here, about {doctor.SECONDS:.0f} s")
        rows = doctor.benchmark()
        show(options, {"benchmark": rows}, lambda: benchmark_text(rows))
        return OK
    facts = doctor.examine()
    show(options, facts, lambda: doctor_text(facts))
    return OK


# --- shared by verbs ---------------------------------------------------------------------------


def _show_json(options: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Print the facts of a verb whose text for people goes to stderr."""
    if options.json:
        show(options, facts, str)


def _workflow(options: argparse.Namespace) -> Any:
    from lspipe.workflow import Workflow

    return Workflow.from_file(options.workflow, overrides=tuple(options.set or ()))


def _run_directory(workflow: Any, options: argparse.Namespace) -> Path:
    return place(options.output or workflow.run_directory)
