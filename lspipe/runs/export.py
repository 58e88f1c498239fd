"""A run directory -> outputs for other programs: no network, no inference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lspipe import outputs
from lspipe.errors import StoreError, UsageError
from lspipe.machine import check_place
from lspipe.machine.remote import is_remote, place
from lspipe.runs import review, store
from lspipe.runs.events import Note, ignore
from lspipe.runs.ongoing import with_lists
from lspipe.runs.opened import open_run
from lspipe.runs.publish import files_of, publish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lspipe.runs.events import Report
    from lspipe.runs.opened import Run


def export(
    run: Path | str,
    *,
    to: Sequence[str] = ("cog",),
    folder: Path | str | None = None,
    report: Report = ignore,
) -> list[Path]:
    """Write outputs of a run, as if its workflow had asked for them.

    Args:
        run: run directory, of a run that is finished or not. While it goes on, its list is that of
            the tiles that are ended, says so, and needs a folder of its own.
        to: names of `outputs.OUTPUTS`, or "package.module:write".
        folder: where to write; None = the run directory. Made if it is not there; files of the same
            names are replaced. In the run directory, decisions in the lists are taken in first,
            other edits of a person are kept in a copy, and `review` keeps what was written up to
            date.
        report: called with a `Note` for each message for the person, such as where a copy is.

    Returns:
        The files: `inventory.gpkg`, those in `layers`, ...; see the modules of `outputs`.

    Raises:
        UsageError: another format, or a folder that cannot be written.
        StoreError: no run directory, it is in use, or it lacks what the output shows.

    Examples:
        >>> from lspipe.runs.export import export
        >>> export("runs/demo")  # doctest: +SKIP
        [PosixPath('runs/demo/layers/18GYS_after.tif'), ...]
    """
    opened, targets = open_run(run), files_of(to)
    check_place(opened.path if folder is None else folder)
    target = opened.path if folder is None else place(folder)
    check_begun(opened)
    try:
        target.mkdir(parents=True, exist_ok=True)
        if target.resolve() == opened.path.resolve():
            with store.lock(opened.path):
                _publish(opened, to, report)
        else:
            opened = with_lists(opened)
            for name, file in targets.items():
                outputs.write(name, opened, target / file)
    except OSError as error:
        raise UsageError(
            f"{target}: cannot be written: {error.strerror or error}; choose another folder"
        ) from error
    return [path for file in targets.values() for path in _files(target / file)]


def _publish(run: Run, to: Sequence[str], report: Report) -> None:
    """Write outputs into the run directory, with the decisions that stand in its lists."""
    taken = review.take_in(run.path)
    if (run.path / review.LIST).exists():
        shown, taken = review.shown(run.path, run.inventory, taken)
        run = replace(run, lists={"inventory": shown})
    written, notes = publish(run, to, taken=taken.found)
    _record(run.path, written)
    for text in (*taken.notes, *notes):
        report(Note(text))


def _record(run: Path, written: Mapping[str, Path]) -> None:
    """Add outputs to those of the run, so that a later review writes its decisions into them."""
    content = store.read_json(run / "run.json")
    names = {name: path.name for name, path in written.items()}
    store.write_json(run / "run.json", content | {"outputs": content["outputs"] | names})


def check_begun(run: Run) -> None:
    """Raise where nothing of any tile was computed."""
    if not any((run.path / store.DETECTIONS / tile).exists() for tile in run.tiles):
        raise StoreError(f"{run.path}: nothing was computed of it yet; run its workflow first")


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if is_remote(file) or file.is_file())
    return [path]
