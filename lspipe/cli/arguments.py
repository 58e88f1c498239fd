"""The words of a command line to a namespace whose `verb` is the function to call."""

from __future__ import annotations

import argparse
from typing import Any

from lspipe import __version__
from lspipe.cli import verbs


def parser() -> argparse.ArgumentParser:
    """Make the parser of all verbs."""
    root = argparse.ArgumentParser(
        prog="lspipe",
        description="From a workflow file to a map of landslides and a list of the new ones.",
        epilog="example: lspipe init my.yaml; lspipe plan my.yaml; lspipe run my.yaml",
    )
    root.add_argument("--version", action="version", version=f"lspipe {__version__}")
    group = root.add_subparsers(title="verbs", metavar="VERB", required=True)
    _workflow_verbs(group)
    status = _add(group, verbs.status, "how far a run is", example="status runs/demo")
    status.add_argument("run", help="run directory")
    model = _add(
        group, verbs.model, "list, show or check models", example="model show shipped:demo"
    )
    model.add_argument("action", choices=("list", "show", "check"))
    model.add_argument("item", nargs="?", help="model item, or shipped:NAME")
    model.add_argument(
        "--data", metavar="FOLDER", help="check: labelled patches to lay beside the training's"
    )
    demo = _add(group, verbs.demo, "write a simulated archive", example="demo runs/demo-archive")
    demo.add_argument("folder", help="folder to write the archive and its workflow into")
    doctor = _add(
        group, verbs.doctor, "what this machine and installation can do", example="doctor"
    )
    doctor.add_argument(
        "--benchmark", action="store_true", help="time networks in each runtime, about a minute"
    )
    return root


def _workflow_verbs(group: Any) -> None:
    init = _add(group, verbs.init, "write a commented workflow", example="init my.yaml")
    init.add_argument("path", nargs="?", default="workflow.yaml", help="file (workflow.yaml)")
    validate = _add(group, verbs.validate, "check a workflow", example="validate my.yaml")
    _add(group, verbs.schema, "print the JSON Schema of workflows", example="schema > schema.json")
    plan = _add(group, verbs.plan, "say what a run would do, and cost", example="plan my.yaml")
    run = _add(group, verbs.run, "run, or go on with a run", example="run my.yaml --limit 4")
    for verb in (validate, plan, run):
        verb.add_argument("workflow", help="workflow file")
        verb.add_argument(
            "--set", action="append", metavar="A.B=C", help="override a key; may be repeated"
        )
    for verb in (plan, run):
        verb.add_argument("--output", metavar="DIR", help="run directory (the workflow's)")
    run.add_argument("--fresh", action="store_true", help="search again and start over")
    run.add_argument("--tiles", nargs="+", metavar="TILE", help="only these tiles")
    run.add_argument(
        "--bounds",
        nargs=4,
        type=float,
        metavar=("W", "S", "E", "N"),
        help="only blocks touching this box, degrees",
    )
    run.add_argument("--limit", type=int, metavar="N", help="at most N blocks")
    run.add_argument("--only-failed", action="store_true", help="only blocks that failed last time")


def _add(group: Any, verb: Any, text: str, *, example: str) -> argparse.ArgumentParser:
    """Add a verb, named as its function, with its help and an example."""
    added: argparse.ArgumentParser = group.add_parser(
        verb.__name__,
        help=text,
        description=text.capitalize() + ".",
        epilog=f"example: lspipe {example}",
    )
    added.set_defaults(verb=verb)
    added.add_argument("--json", action="store_true", help="facts as JSON, for machines")
    added.add_argument("--verbose", action="store_true", help="log what happens")
    return added
