"""The command line: `lspipe VERB ...`; the only module that prints.

Data goes to stdout, everything else to stderr. Exit codes: 0 done; 1 unforeseen, or a server out of
reach; 2 usage, workflow, locked or foreign run directory; 3 some blocks failed; 4 nothing found;
130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe import __version__
from lspipe.errors import LspipeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lspipe.estimate import Estimate
    from lspipe.pipeline import Summary

OK, UNFORESEEN, INTERRUPTED = 0, 1, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )
    if not options.verbose:
        _quiet_libraries()
    try:
        code: int = options.verb(options)
        return code
    except KeyboardInterrupt:
        _say("interrupted; the same command continues where it stopped")
        return INTERRUPTED
    except LspipeError as error:
        _say(f"{type(error).__name__}: {error}")
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`lspipe plan W | head`); not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if options.verbose:
            logging.getLogger(__name__).exception("unforeseen")
        _say(
            f"unforeseen {type(error).__name__}: {error}\nhint: repeat with --verbose and report it"
        )
        return UNFORESEEN


def _quiet_libraries() -> None:
    """Keep dask's and the readers' own messages off the screen; lspipe says what matters of them.

    Read once, when `distributed` is imported, so it must be set before.
    """
    import dask

    dask.config.set({"logging": dict.fromkeys(("distributed", "odc.loader"), "critical")})


# --- verbs --------------------------------------------------------------------------------------


def _init(options: argparse.Namespace) -> int:
    from lspipe.workflow import TEMPLATE

    path = Path(options.path)
    if path.exists():
        raise UsageError(f"{path}: exists already; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEMPLATE, encoding="utf-8")
    _say(f"wrote {path}; edit it, then: lspipe validate {path}")
    return OK


def _validate(options: argparse.Namespace) -> int:
    from lspipe.pipeline import validate

    facts = validate(_workflow(options))
    _print(options, facts, lambda: f"{options.workflow}: valid ({facts['model']})")
    return OK


def _schema(options: argparse.Namespace) -> int:
    del options
    from lspipe.workflow import json_schema

    print(json.dumps(json_schema(), indent=2))
    return OK


def _plan(options: argparse.Namespace) -> int:
    from lspipe.estimate import estimate, warnings
    from lspipe.prepare import done_counts, freeze, prepare
    from lspipe.record import describe_plan

    workflow = _workflow(options)
    run = _run_directory(workflow, options)
    prepared = prepare(workflow, run, fresh=options.fresh)
    freeze(prepared)
    done = done_counts(prepared)
    cost = estimate(prepared.plan)
    notes = warnings(prepared.plan)
    facts = {
        **describe_plan(prepared.plan, run=run, done=done),
        "estimate": cost.as_json(),
        "warnings": notes,
    }
    _print(options, facts, lambda: _plan_text(facts, cost, notes))
    return OK


def _plan_text(facts: dict[str, Any], cost: Estimate, notes: list[str]) -> str:
    lines = [f"run directory  {facts['run']}", f"model          {facts['model']}"]
    lines.append("inference      " + ", ".join(f"{k} {v}" for k, v in facts["inference"].items()))
    for tile in facts["tiles"]:
        lines.append(
            f"tile {tile['tile']}     {tile['pixels'][0]} x {tile['pixels'][1]} px, blocks of "
            f"{tile['block']} px: {tile['new']} new, {tile['done']} done"
        )
        lines += [
            f"  {step['role']:7s} {step['time'][:16].replace('T', ' ')}  {', '.join(step['items'])}"
            for step in tile["steps"]
        ]
    lines += [
        f"scenes         {cost.scenes}",
        f"windows        {cost.windows:,}",
        f"forward passes {cost.forward_passes:,}",
        f"to read        {_bytes(cost.bytes_to_read)} of pixels",
        f"peak memory    {_bytes(cost.peak_bytes_per_worker)} per worker",
        f"compute        {_duration(cost.forward_passes * cost.seconds_per_pass)} on one worker of "
        f"this machine ({cost.seconds_per_pass * 1000:.2f} ms per pass, measured)",
    ]
    lines += [f"note: {note}" for note in notes]
    return "\n".join(lines)


def _run(options: argparse.Namespace) -> int:
    from lspipe import pipeline

    workflow = _workflow(options)
    run = _run_directory(workflow, options)
    with Progress() as progress:
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
    demo = _demo_score(options.workflow, run) if summary.state == "finished" else None
    facts = summary.as_json() | ({"demo": demo} if demo else {})
    _print(options, facts, lambda: _summary_text(summary, demo))
    return summary.exit_code


def _summary_text(summary: Summary, demo: dict[str, int] | None) -> str:
    lines = []
    if summary.is_complete:
        counts = ", ".join(f"{count} {status}" for status, count in summary.statuses.items())
        lines.append(f"landslides     {counts or 'none'}")
        lines += [f"  {name:12s} {path}" for name, path in summary.outputs.items()]
    if demo:
        lines.append(
            f"demo           found {demo['found']} of {demo['planted']} planted new landslides; "
            f"{demo['right']} of {demo['listed']} listed as new are right"
        )
    if summary.is_complete and summary.outputs:
        best = summary.outputs.get("gpkg", summary.outputs["geoparquet"])
        lines.append(f"open next      {best} in QGIS")
    for failure in summary.failures[:5]:
        lines.append(f"failed         {failure}")
    if summary.failures:
        lines.append("               try again: the same command, or with --only-failed")
    left = summary.total - summary.done - summary.skipped - len(summary.failures)
    if left:
        lines.append(f"not finished   {left} blocks are left: the same command goes on with them")
    share = summary.observed_share
    dates = "on both dates" if summary.is_two_date else "on its date"
    lines.append(
        f"observed       {share:.1%} of the area {dates}"
        + ("" if share > 0.9995 else "; the rest is in unobserved.parquet")
    )
    lines.append(
        f"blocks {summary.total}: done {summary.done}, skipped {summary.skipped}, "
        f"failed {len(summary.failures)}" + (f", left {left}" if left else "")
    )
    return "\n".join(lines)


def _status(options: argparse.Namespace) -> int:
    from lspipe.pipeline import status

    facts = status(Path(options.run))
    _print(options, facts, lambda: _status_text(facts))
    return OK


def _status_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['name']}: {facts['state']}"]
    lines += [
        f"  {tile:8s} {counts['done']} of {counts['total']} blocks"
        for tile, counts in facts["tiles"].items()
    ]
    if facts["blocks_per_minute"]:
        lines.append(f"  {facts['blocks_per_minute']:.1f} blocks per minute")
    if facts["eta_seconds"]:
        lines.append(f"  about {_duration(facts['eta_seconds'])} left")
    for reason, count in facts["failures"].items():
        lines.append(f"  failed {count} x {reason}")
    lines.append(f"blocks {facts['total']}: done {facts['done']}")
    return "\n".join(lines)


def _model(options: argparse.Namespace) -> int:
    from lspipe import models
    from lspipe.models import card

    if options.action == "list":
        names = sorted(f"shipped:{name}" for name in models.SHIPPED)
        architectures = sorted(models.ARCHITECTURES)
        facts: dict[str, Any] = {"models": names, "architectures": architectures}
        _print(
            options,
            facts,
            lambda: "\n".join([*names, *map("architecture {}".format, architectures)]),
        )
        return OK
    if not options.item:
        raise UsageError(
            f"lspipe model {options.action}: expected a model item, such as shipped:bare-ground"
        )
    item = models.ModelItem.from_file(options.item)
    if options.action == "show":
        print(card.show(item))
        return OK
    problems = card.check(item)
    _print(options, {"problems": problems}, lambda: "\n".join(problems) or f"{options.item}: sound")
    return UsageError.exit_code if problems else OK


def _demo(options: argparse.Namespace) -> int:
    from lspipe.demo import write_archive

    workflow = write_archive(Path(options.folder))
    _say(f"wrote a simulated archive; next: lspipe run {workflow}")
    return OK


def _demo_score(workflow: str, run: Path) -> dict[str, int] | None:
    """Score the list of a demo run, whose archive says what was planted; None elsewhere."""
    truth = Path(workflow).resolve().parent / "truth.geojson"
    inventory = run / "inventory.parquet"
    if not truth.exists() or not inventory.exists():
        return None
    import geopandas as gpd

    from lspipe.demo import score

    found, planted, right, listed = score(gpd.read_parquet(inventory), gpd.read_file(truth))
    return {"found": found, "planted": planted, "right": right, "listed": listed}


def _doctor(options: argparse.Namespace) -> int:
    from lspipe.record import versions

    facts = versions()
    _print(
        options, facts, lambda: "\n".join(f"{name:14s} {value}" for name, value in facts.items())
    )
    return OK


# --- progress -----------------------------------------------------------------------------------


class Progress:
    """What a run is doing: a bar on a terminal, a line now and then elsewhere; both on stderr."""

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._total = self._done = self._failed = self._windows = 0
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def report(self, event: str, **facts: Any) -> None:
        """Take one event of a run (`pipeline.run(report=...)`)."""
        handler: Callable[..., None] | None = getattr(self, f"_on_{event}", None)
        if handler is not None:
            handler(**facts)

    def _on_stage(self, text: str) -> None:
        self._line(text)

    def _on_dashboard(self, link: str) -> None:
        self._line(f"dashboard {link}")

    def _on_start(self, total: int) -> None:
        self._total, self._began = total, time.monotonic()
        if total and sys.stdout.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("blocks"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("blocks", total=total, rate="")

    def _on_block(self, *, windows: int, **_: Any) -> None:
        self._done += 1
        self._windows += windows
        self._advance()

    def _on_failure(self, *, failure: Any, **_: Any) -> None:
        self._failed += 1
        self._line(f"failed: {failure}")
        self._advance()

    def _advance(self) -> None:
        elapsed = max(time.monotonic() - self._began, 1e-3)
        rate = f"{self._windows / elapsed:,.0f} windows/s"
        if self._bar is not None:
            self._bar.update(self._task, advance=1, rate=rate)
            return
        ended = self._done + self._failed
        now = time.monotonic()
        if now - self._last >= self.SECONDS_BETWEEN_LINES or ended == self._total:
            left = elapsed / ended * (self._total - ended)
            failed = f", {self._failed} failed" if self._failed else ""
            _say(f"blocks {ended}/{self._total}{failed}, {rate}, {_duration(left)} left")
            self._last = now

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            _say(text)


# --- text ---------------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(options: argparse.Namespace, facts: dict[str, Any], text: Callable[[], str]) -> None:
    """Print facts as JSON for machines, or as text for people."""
    print(json.dumps(facts, default=str) if options.json else text())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _workflow(options: argparse.Namespace) -> Any:
    from lspipe.workflow import Workflow

    return Workflow.from_file(options.workflow, overrides=tuple(options.set or ()))


def _run_directory(workflow: Any, options: argparse.Namespace) -> Path:
    return Path(options.output) if options.output else Path(workflow.run_directory)


# --- arguments ----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lspipe",
        description="From a workflow file to a map of landslides and a list of the new ones.",
        epilog="example: lspipe init my.yaml; lspipe plan my.yaml; lspipe run my.yaml",
    )
    parser.add_argument("--version", action="version", version=f"lspipe {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add(verbs, "init", _init, "write a commented workflow", "lspipe init my.yaml").add_argument(
        "path", nargs="?", default="workflow.yaml", help="file to write (workflow.yaml)"
    )
    _with_workflow(
        _add(verbs, "validate", _validate, "check a workflow", "lspipe validate my.yaml")
    )
    _add(
        verbs,
        "schema",
        _schema,
        "print the JSON Schema of workflows",
        "lspipe schema > schema.json",
    )
    plan = _with_workflow(
        _add(verbs, "plan", _plan, "say what a run would do, and cost", "lspipe plan my.yaml")
    )
    run = _with_workflow(
        _add(verbs, "run", _run, "run, or go on with a run", "lspipe run my.yaml --limit 4")
    )
    for verb in (plan, run):
        verb.add_argument("--output", metavar="DIR", help="run directory (the workflow's)")
        verb.add_argument("--fresh", action="store_true", help="search again and start over")
    run.add_argument("--tiles", nargs="+", metavar="TILE", help="only these tiles")
    run.add_argument(
        "--bounds",
        nargs=4,
        type=float,
        metavar=("W", "S", "E", "N"),
        help="only blocks touching this",
    )
    run.add_argument("--limit", type=int, metavar="N", help="at most N blocks")
    run.add_argument("--only-failed", action="store_true", help="only blocks that failed last time")
    _add(verbs, "status", _status, "how far a run is", "lspipe status runs/demo").add_argument(
        "run"
    )
    model = _add(
        verbs, "model", _model, "list, show or check models", "lspipe model show shipped:demo"
    )
    model.add_argument("action", choices=("list", "show", "check"))
    model.add_argument("item", nargs="?", help="model item, or shipped:NAME")
    _add(
        verbs,
        "demo",
        _demo,
        "write a simulated archive and its workflow",
        "lspipe demo runs/demo-archive",
    ).add_argument("folder")
    _add(verbs, "doctor", _doctor, "versions and devices", "lspipe doctor")
    return parser


def _add(
    verbs: Any, name: str, verb: Callable[[argparse.Namespace], int], text: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=text.capitalize() + ".", epilog=f"example: {example}"
    )
    parser.set_defaults(verb=verb)
    parser.add_argument("--json", action="store_true", help="facts as JSON, for machines")
    parser.add_argument("--verbose", action="store_true", help="log what happens")
    return parser


def _with_workflow(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("workflow", help="workflow file")
    parser.add_argument(
        "--set", action="append", metavar="A.B=C", help="override a key; may be repeated"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
