"""`lspipe export` and `lspipe report`: what shows a run, and what was written as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.cli.progress import Progress
from lspipe.cli.text import show

if TYPE_CHECKING:
    import argparse


def export(options: argparse.Namespace) -> int:
    """Write outputs of a run."""
    from lspipe.runs.export import export

    files = export(
        options.run,
        to=options.to.split(","),
        folder=options.output,
        report=Progress().report,
    )
    show(
        options,
        {"files": [str(path) for path in files]},
        lambda: "\n".join(f"wrote {path}" for path in files),
    )
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the report of a run."""
    from lspipe.runs.reporting import report

    file = report(options.run, file=options.output)
    show(options, {"file": str(file)}, lambda: f"wrote {file}; open it in a browser")
    return 0
