"""Rows of cells -> lines of aligned columns: how every table of lspipe is laid out."""

from __future__ import annotations


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
