"""A run directory -> its report, also while the run goes on: no network, no inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe import outputs
from lspipe.errors import UsageError
from lspipe.machine import check_place
from lspipe.machine.remote import place
from lspipe.runs import edits, store
from lspipe.runs.export import check_begun, export
from lspipe.runs.ongoing import with_lists
from lspipe.runs.opened import open_run

if TYPE_CHECKING:
    from pathlib import Path

NAME = "report"


def report(run: Path | str, *, file: Path | str | None = None) -> Path:
    """Write the report of a run: one HTML file that opens offline.

    Args:
        run: run directory, of a run that is finished, interrupted or going on.
        file: where to write; None = `report.html` in the run directory. Replaced if it exists.

    Returns:
        The file.

    Raises:
        UsageError: the file cannot be written.
        StoreError: no run directory, or nothing was computed of it yet.

    Examples:
        >>> from lspipe.runs.reporting import report
        >>> report("runs/demo")  # doctest: +SKIP
        PosixPath('runs/demo/report.html')
    """
    run = place(run)
    target = run / outputs.file_of(NAME) if file is None else place(file)
    if file is None and not store.is_locked(run):
        return export(run, to=(NAME,))[0]
    opened = with_lists(open_run(run))
    check_begun(opened)
    check_place(target.parent)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if file is None:
            # The run that goes on has the lock. It will find this report recorded as one that a
            # run wrote, and replace it.
            edits.rewrite({target: NAME}, opened, {})
        else:
            outputs.write(NAME, opened, target)
    except OSError as error:
        raise UsageError(
            f"{target}: cannot be written: {error.strerror or error}; choose another file"
        ) from error
    return target
