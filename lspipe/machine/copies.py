"""Objects for programs that only know files: a copy of one, or a file that becomes one.

For a path of this machine each of these is the path itself.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lspipe.machine.remote import RemotePath

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def local(path: Path) -> Iterator[Path]:
    """Yield a file of this machine with the content of a path: itself, or a copy for the while."""
    if not isinstance(path, RemotePath):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="lspipe-") as folder:
        copy = Path(folder, path.name)
        path.download(copy)
        yield copy


def readable(path: Path) -> Any:
    """Return what reads a file of a path: the path, or the content of an object as a file."""
    return path.open("rb") if isinstance(path, RemotePath) else path


_BESIDE: dict[Path, Path] = {}
"""Temporary folders -> the folder in which what is written there will lie."""


@contextmanager
def stored(path: RemotePath) -> Iterator[Path]:
    """Yield a temporary path of this machine; store at the end what was written there.

    A file, or a folder of files: these in the order of their names, each of them whole.
    """
    with tempfile.TemporaryDirectory(prefix="lspipe-") as folder:
        partial = Path(folder, path.name)
        _BESIDE[partial.parent] = cast("Path", path.parent)
        try:
            yield partial
        finally:
            del _BESIDE[partial.parent]
        if partial.is_dir():
            for file in sorted(each for each in partial.rglob("*") if each.is_file()):
                (path / file.relative_to(partial).as_posix()).upload(file)
        elif partial.exists():
            path.upload(partial)


def beside(path: Path) -> Path:
    """Return the folder in which a file will lie that is being written at a path of `stored`."""
    return _BESIDE.get(path.parent, path.parent)


def copy(source: Path, target: Path) -> None:
    """Copy a file with its times; what has its final name is always complete."""
    if isinstance(source, RemotePath):
        source.copy_to(cast("RemotePath", target))
        return
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    shutil.copy2(source, partial)
    partial.replace(target)


def remove_tree(path: Path) -> None:
    """Remove a folder with all that is in it."""
    if isinstance(path, RemotePath):
        path.remove_all()
    else:
        shutil.rmtree(path)
