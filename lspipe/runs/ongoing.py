"""A run that goes on in another process -> the lists of its ended tiles, in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lspipe.runs import listing, store
from lspipe.runs.prepare import prepare
from lspipe.workflow import Workflow

if TYPE_CHECKING:
    from lspipe.runs.opened import Run


def with_lists(run: Run) -> Run:
    """Return a run with the lists of the tiles that are ended, if it goes on now.

    A list that lies in the directory is older: it is of an earlier part of the run.

    Args:
        run: an opened run directory.

    Returns:
        The same run where nobody works in it, or no tile is ended yet.

    Raises:
        UsageError: a layer of flags cannot be read any more.
    """
    if not store.is_locked(run.path) or "folder" not in run.record:
        return run
    source, folder = str(run.path / "run.json"), Path(run.record["folder"])
    workflow = Workflow.of(run.record["workflow"], source=source, folder=folder)
    lists = listing.so_far(run.path, prepare(workflow, run.path).plan)
    return replace(run, lists=lists) if lists else run
