"""`lspipe change`: two finished runs compared, and the list of it as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.cli.progress import Progress
from lspipe.cli.summaries import summary_text
from lspipe.cli.text import show

if TYPE_CHECKING:
    import argparse


def change(options: argparse.Namespace) -> int:
    """Compare two finished runs."""
    from lspipe.runs.between import change

    with Progress(is_verbose=options.verbose > 0) as progress:
        summary = change(
            options.before,
            options.after,
            output=options.output,
            overrides=tuple(options.set or ()),
            report=progress.report,
        )
    show(options, summary.as_json(), lambda: summary_text(summary, None))
    return summary.exit_code
