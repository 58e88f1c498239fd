"""An open run -> its outputs in the run directory, and a record of what was written there.

A file is compared with the record before it is replaced, so that what a person changed in it is
kept in a copy (`edits.py`). Of a folder, the record keeps the names of the files that were written:
those that are not written any more are removed, and a fresh start removes them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe import outputs
from lspipe.errors import UsageError
from lspipe.runs import edits, layered, store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from lspipe.runs.opened import Run


def publish(
    run: Run, names: Iterable[str], *, taken: Mapping[str, edits.Found] | None = None
) -> tuple[dict[str, Path], list[str]]:
    """Write outputs of a run into its directory; the caller holds the lock.

    Args:
        run: whose lists have the decisions of a person already.
        names: of `outputs.OUTPUTS`, or "package.module:write".
        taken: lists whose decisions are in reviews.parquet, by file name.

    Returns:
        The files and folders by name, and notes for the person: where copies of edited files are.

    Raises:
        UsageError: no such format, or one of the user's own fails.
        StoreError: another program has a list open.
        OSError: the disk is full, or the folder cannot be written.
    """
    targets = files_of(names)
    written = {name: run.path / target for name, target in targets.items()}
    notes: list[str] = []
    # Before anything is written.
    for path in written.values():
        edits.release(path)
    for name, path in written.items():
        if path.suffix:
            notes += edits.rewrite({path: name}, run, taken or {})
        else:
            _write_folder(name, run, path)
    return written, notes


def files_of(names: Iterable[str]) -> dict[str, str]:
    """Return the file or folder of each format, by name, in the order in which they are written.

    Raises:
        UsageError: no such format, two write the same file, or one would write a file of the run.
    """
    targets: dict[str, str] = {}
    order = list(outputs.OUTPUTS)
    for name in sorted(names, key=lambda one: order.index(one) if one in order else len(order)):
        target = outputs.file_of(name)
        if target in targets.values():
            raise UsageError(f"output.write: {name} and another both write {target}; leave one out")
        if target != store.plain_name(target) or target in store.RESERVED:
            raise UsageError(
                f"output.write: {name} would write {target!r}: expected a plain name that is not "
                f"one of the run's own ({', '.join(store.RESERVED)})"
            )
        targets[name] = target
    return targets


def _write_folder(name: str, run: Run, path: Path) -> None:
    """Write a folder of files, and remove those of an earlier time that are not written now."""
    earlier = store.written(run.path).get(path.name, [])
    if name == layered.FORMAT:
        now = layered.write(run)
    else:
        with outputs.written_whole(name, run, path) as fresh:
            found = sorted(str(f.relative_to(fresh)) for f in fresh.rglob("*") if f.is_file())
            now = [f"{path.name}/{file}" for file in found]
            # All names before the first file: after a kill in between, none is forgotten.
            store.note_written(run.path, path.name, [*earlier, *now])
    for file in set(earlier) - set(now):
        (run.path / file).unlink(missing_ok=True)
    store.note_written(run.path, path.name, now)
