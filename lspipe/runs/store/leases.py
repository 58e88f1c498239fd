"""One process at a time in a run directory of an object store.

The object `.lock` says who works there, as the file of that name in a folder does. It is replaced
only by who knows the version that is there (a conditional write), so of two that want the directory
one gets it. Its holder replaces it every few seconds; who wants a directory whose holder did not
say that it ended watches whether the version changes.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from lspipe.errors import StoreError
from lspipe.machine.remote import Version
from lspipe.runs.store import holders
from lspipe.runs.store.holders import Holder, held, holder_in, this_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lspipe.machine.remote import RemotePath

logger = logging.getLogger(__name__)

_OF_NO_VERSION = Version(f'"{"0" * 32}"', "1")


def holder(run: Path, silence: float) -> Holder | None:
    """Return who works in a run directory; nothing is written.

    Args:
        run: the run directory.
        silence: seconds after which a process of another machine counts as gone.
    """
    found, _ = _look(_lock_of(run))
    if found is None:
        return None
    is_alive = found.seconds_silent < silence if found.is_elsewhere else found.exists_here
    return found if is_alive else None


@contextmanager
def lease(run: Path, *, between: float, watch: float) -> Iterator[None]:
    """Hold the run directory for this process.

    Args:
        run: the run directory.
        between: seconds between two beats.
        watch: seconds for which another's beats are watched.

    Raises:
        StoreError: another process has it, or the store knows no conditional writes.
        RemoteError: the store cannot be used.
    """
    path, own = _lock_of(run), this_process()
    version = _take(path, own, run, watch=watch)
    _check_conditions(path, own, run)
    ended = threading.Event()
    held_until_then = _Beats(path, own, version)
    beats = threading.Thread(target=held_until_then, args=(between, ended), daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()
        held_until_then.let_go()


def _lock_of(run: Path) -> RemotePath:
    return cast("RemotePath", run / ".lock")


def _look(path: RemotePath) -> tuple[Holder | None, Version | None]:
    """Return who is in the object, and its version; both None where there is none."""
    try:
        content, version = path.read_version()
    except FileNotFoundError:
        return None, None
    return holder_in(content), version


def _take(path: RemotePath, own: Holder, run: Path, *, watch: float) -> Version:
    """Write this process into the object, and return its version."""
    found, version = _look(path)
    if found is not None and (found.is_elsewhere or found.exists_here):
        version = holders.watch(run, found, version, lambda: _look(path), watch)
    taken = path.write_if(own.as_bytes(), version)
    return _known(path, own, taken, run)


def _known(path: RemotePath, own: Holder, version: Version | None, run: Path) -> Version:
    """Return the version that this process stored.

    An answer that was lost, and asked for again, looks as if another had been faster.
    """
    if version is None:
        found, version = _look(path)
        if found is None or version is None or found.nonce != own.nonce:
            raise held(run, found)
    return version


def _check_conditions(path: RemotePath, own: Holder, run: Path) -> None:
    """Refuse a store that writes whatever the condition says: two processes would both get it."""
    stored = (path.write_if(own.as_bytes(), version) for version in (None, _OF_NO_VERSION))
    if any(version is not None for version in stored):
        path.unlink(missing_ok=True)
        raise StoreError(
            f"{run}: this object store does not keep to If-None-Match and If-Match, so nothing "
            "would keep a second process away; choose another store, or a folder"
        )


class _Beats:
    """Says every few seconds that this process lives, until it ends or another one took over."""

    def __init__(self, path: RemotePath, own: Holder, version: Version) -> None:
        self._path, self._own, self._version = path, own, version
        self._is_lost = False

    def __call__(self, between: float, ended: threading.Event) -> None:
        count = 0
        while not self._is_lost and not ended.wait(between):
            count += 1
            try:
                self._write(self._own.after(count).as_bytes())
            except OSError as error:  # a store that is away for a moment
                logger.debug("%s: no beat (%s)", self._path, error)

    def let_go(self) -> None:
        """Say that this process ended."""
        try:
            if not self._is_lost:
                self._write(b"")
        except OSError as error:
            logger.warning("%s: cannot be let go, the next process will watch it (%s)",
                           self._path, error)  # fmt: skip

    def _write(self, content: bytes) -> None:
        stored = self._path.write_if(content, self._version)
        if stored is None:
            # Perhaps an earlier beat of this process, whose answer was lost.
            found, now = _look(self._path)
            if found is not None and now is not None and found.nonce == self._own.nonce:
                stored = self._path.write_if(content, now)
        if stored is None:
            self._is_lost = True
            logger.warning("%s: another process took this directory over", self._path.parent)
        else:
            self._version = stored
