"""One process at a time in a run directory, also where several machines share it.

The file `.lock` says who works in the directory, with a beat that its process keeps up. On one
machine the kernel decides (`flock`), and lets go of a process that was killed. Between machines it
may not: some mounts lock for their own machine only, and some know no locks. There the beat
decides: who wants a directory that another machine left watches whether it goes on, so that the
clocks of both need not agree. In an object store there are no locks at all: see `leases.py`.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lspipe.machine.remote import is_remote
from lspipe.runs.store import holders, leases
from lspipe.runs.store.holders import Holder, held, holder_in, this_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_BEATS = 10.0

SECONDS_TO_WATCH = 2.5 * SECONDS_BETWEEN_BEATS
"""How long another machine's beat is watched; one beat may be late, as its disk may be slow."""

SECONDS_OF_SILENCE = 6 * SECONDS_BETWEEN_BEATS
"""After this a process of another machine counts as gone, for `status`, which does not watch."""

SECONDS_TO_SETTLE = 1.0
"""Without locks: how long one waits to see whether somebody else took the directory meanwhile."""

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY)
"""Error numbers of file systems that know no `flock` (flock(2), and what Lustre and NFS add)."""


def holder(run: Path) -> Holder | None:
    """Return who works in a run directory, also from another machine; nothing is written."""
    if is_remote(run):
        return leases.holder(run, SECONDS_OF_SILENCE)
    found = _read(run / ".lock")
    if _is_locked_here(run / ".lock"):
        return found or Holder("this machine", 0, "", "")
    if found is None or not found.is_elsewhere:
        return None
    return found if found.seconds_silent < SECONDS_OF_SILENCE else None


def is_locked(run: Path) -> bool:
    """Return whether a process works in the run directory; nothing is written."""
    return holder(run) is not None


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Lock the run directory for this process; it is free again if the process is killed.

    Raises:
        StoreError: another process has locked it.
    """
    if is_remote(run):
        with leases.lease(run, between=SECONDS_BETWEEN_BEATS, watch=SECONDS_TO_WATCH):
            yield
        return
    path = run / ".lock"
    with path.open("a+b") as file:
        has_locks = _take(path, file.fileno(), run)
        own = this_process()
        _write(path, own)
        if not has_locks:
            time.sleep(SECONDS_TO_SETTLE)
            _refuse_unless(own, path, run)
        ended = threading.Event()
        beats = threading.Thread(target=_beat, args=(path, own, ended), daemon=True)
        beats.start()
        try:
            yield
        finally:
            ended.set()
            beats.join()
            # Emptied, not removed: another process may have it open, and would lock a deleted file.
            if _is_own(own, path):
                path.write_bytes(b"")


def _take(path: Path, descriptor: int, run: Path) -> bool:
    """Take the kernel's lock, and make sure that no other machine has the directory.

    Returns:
        Whether the file system knows locks.
    """
    has_locks = True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise held(run, _read(path)) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        has_locks = False
    found = _read(path)
    if found is not None and (found.is_elsewhere or not has_locks):
        _refuse_if_alive(found, path, run)
    return has_locks


def _refuse_if_alive(found: Holder, path: Path, run: Path) -> None:
    """Refuse a directory whose holder goes on beating; one of this machine is simply asked."""
    if not found.is_elsewhere and not found.exists_here:
        return
    holders.watch(run, found, _mark(found), lambda: _marked(path), SECONDS_TO_WATCH)


def _marked(path: Path) -> tuple[Holder | None, tuple[str, int]]:
    found = _read(path)
    return found, _mark(found)


def _mark(found: Holder | None) -> tuple[str, int]:
    return ("", 0) if found is None else (found.nonce, found.beat)


def _refuse_unless(own: Holder, path: Path, run: Path) -> None:
    if not _is_own(own, path):
        raise held(run, _read(path))


def _beat(path: Path, own: Holder, ended: threading.Event) -> None:
    """Say every few seconds that this process lives, until it ends or another one took over."""
    count = 0
    while not ended.wait(SECONDS_BETWEEN_BEATS):
        try:
            if not _is_own(own, path):
                logger.warning("%s: another process took this directory over", path.parent)
                return
            count += 1
            _write(path, own.after(count))
        except OSError as error:  # a disk that is away for a moment
            logger.debug("%s: no beat (%s)", path, error)


def _is_own(own: Holder, path: Path) -> bool:
    found = _read(path)
    return found is not None and found.nonce == own.nonce


def _read(path: Path) -> Holder | None:
    try:
        return holder_in(path.read_bytes())
    except OSError:
        return None


def _write(path: Path, content: Holder) -> None:
    # In place, as the kernel's lock is that of this very file.
    with path.open("r+b") as file:
        file.write(content.as_bytes())


def _is_locked_here(path: Path) -> bool:
    try:
        # For reading, as the directory may be another person's.
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        found = _read(path) if error.errno in NO_LOCKS else None
        return found is not None and not found.is_elsewhere and found.exists_here
    return False
