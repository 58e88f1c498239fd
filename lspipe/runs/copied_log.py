"""A log in an object store: written here, and stored as a whole again and again.

Nothing can be added to an object. So the lines go into a file of this machine, which a thread
stores: the longer that takes, the more seldom. A kill loses the last seconds of the log, and
nothing else: which blocks are done is not read from it.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lspipe.errors import RemoteError

if TYPE_CHECKING:
    from lspipe.machine.remote import RemotePath

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_COPIES = 2.0
"""At least; ten times as long as a copy takes, where that is more."""


class CopiedLog:
    """A file of this machine, and its copy in an object store."""

    def __init__(self, path: RemotePath) -> None:
        """Begin with what the store has of an earlier call."""
        self._path = path
        self._folder = tempfile.TemporaryDirectory(prefix="lspipe-log-")
        self.file = Path(self._folder.name, path.name)
        try:
            path.download(self.file)
        except FileNotFoundError:
            self.file.touch()
        self._storing = threading.Lock()
        self._has_grown, self._ended = threading.Event(), threading.Event()
        self._seconds = 0.0
        self._thread = threading.Thread(target=self._copy_again_and_again, daemon=True)
        self._thread.start()

    def grew(self, *, may_wait: bool) -> None:
        """Take note of a new line, and store it now unless it may wait."""
        self._has_grown.set()
        if not may_wait:
            self._store()

    def close(self) -> None:
        """Store the last lines, and remove the file of this machine."""
        self._ended.set()
        self._thread.join()
        self._store()
        self._folder.cleanup()

    def _copy_again_and_again(self) -> None:
        while not self._ended.wait(max(SECONDS_BETWEEN_COPIES, 10 * self._seconds)):
            self._store()

    def _store(self) -> None:
        """Store the file if it has grown; a failure is tried again, and never ends a run."""
        with self._storing:
            if not self._has_grown.is_set():
                return
            self._has_grown.clear()
            began = time.monotonic()
            try:
                self._path.upload(self.file)
            except RemoteError as error:
                self._has_grown.set()
                logger.warning("%s", error)
            self._seconds = time.monotonic() - began
