"""One process at a time in a run directory."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lspipe.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def is_locked(run: Path) -> bool:
    """Return whether a process works in the run directory; nothing is written."""
    try:
        # For reading, as the directory may be another person's.
        with (run / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def lock(run: Path) -> Iterator[None]:
    """Lock the run directory for this process; the kernel unlocks it if the process is killed.

    Raises:
        StoreError: another process has locked it.
    """
    path = run / ".lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise StoreError(
                f"{run}: in use by {holder}; wait for it to end, or choose another output"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            # Emptied, not removed: another process may have it open, and would lock a deleted file.
            file.truncate(0)
