"""What is printed where: data to stdout, everything else to stderr; numbers for people."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def say(text: str) -> None:
    """Print a message for the user, on stderr."""
    print(shortened(text), file=sys.stderr, flush=True)


def show(options: argparse.Namespace, facts: dict[str, Any], text: Callable[[], str]) -> None:
    """Print facts as JSON for machines, or as text for people."""
    print(json.dumps(facts, default=str) if options.json else shortened(text()))


def shortened(text: str) -> str:
    """Return a text whose paths start from the current folder, where that is shorter."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return text
    for folder, end, short in (
        (here, r"/(?=[^\s/])", ""),
        (here, r"(?![\w/.~-])", "."),
        (here.parent, r"/(?=[^\s/])", "../"),
    ):
        if len(folder.parts) > 2:  # not the root, nor /home
            text = re.sub(rf"(?<![\w/.~-]){re.escape(str(folder))}{end}", short, text)
    return text


def duration(seconds: float) -> str:
    """Return a time in words for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def size(count: int) -> str:
    """Return a number of bytes in words for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, in the plural (with an s if none is given) where not 1."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


WIDTH = 80
"""Columns of a terminal as it opens."""


def entry(label: str, text: str) -> list[str]:
    """Return a line with its label, folded to `WIDTH` columns; no word is cut, and no path."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"{label:14s} ",
        subsequent_indent=" " * 15,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(rows: list[list[str]], *, left: int = 1) -> list[str]:
    """Return rows as lines with aligned columns: the first `left` to the left, others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
