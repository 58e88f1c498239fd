"""`lspipe review`: what a person decided about a list, and what came of it as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lspipe.cli.text import counted, say, show

if TYPE_CHECKING:
    import argparse

    from lspipe.runs.review import Taken


def review(options: argparse.Namespace) -> int:
    """Take in what a person decided about the list of a run."""
    from lspipe.runs.review import review

    run = Path(options.run)
    taken = review(run, options.file, who=options.who)
    for text in taken.notes:
        say(f"note: {text}")
    facts = {**taken.counts(), "notes": list(taken.notes)}
    show(options, facts, lambda: review_text(run, taken))
    return 0


def review_text(run: Path, taken: Taken) -> str:
    """Say what was taken in, and where it is."""
    lines = [
        f"taken in       {counted(taken.new, 'decision')}, {taken.removed} taken back",
        f"carried        {taken.carried} of {counted(taken.reviews, 'decision')} to objects of the "
        "list",
    ]
    if taken.without_object:
        lines.append(f"without object {taken.without_object}: kept for another list")
    if taken.reviews:
        lines.append(f"kept in        {run / 'reviews.parquet'}")
    return "\n".join(lines)
