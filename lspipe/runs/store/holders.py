"""Who works in a run directory, as its file `.lock` says, and whether it goes on working."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from lspipe.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LENGTH = 512
"""Bytes of the file, padded, so that each beat is one write and nobody reads half of one."""


@dataclass(frozen=True)
class Holder:
    """The process that works in a run directory."""

    host: str
    process: int
    nonce: str
    since: str
    """UTC, ISO 8601."""
    beat: int = 0
    last: str = ""
    """When it last said that it lives, by its own clock; UTC, ISO 8601."""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is on another machine."""
        return self.host != socket.gethostname()

    @property
    def exists_here(self) -> bool:
        """Whether a process of this machine has its number."""
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    @property
    def seconds_silent(self) -> float:
        """How long ago it last said that it lives, as far as two clocks agree."""
        return abs((datetime.now(UTC) - datetime.fromisoformat(self.last)).total_seconds())

    def after(self, beats: int) -> Holder:
        """Return the same, which says now that it lives."""
        return Holder(**asdict(self) | {"beat": beats, "last": now()})

    def as_bytes(self) -> bytes:
        """Return the content of the file."""
        return json.dumps(asdict(self)).encode().ljust(_LENGTH - 1) + b"\n"


def this_process() -> Holder:
    """Return this process, which begins to work."""
    return Holder(socket.gethostname(), os.getpid(), uuid4().hex, now(), 0, now())


def holder_in(content: bytes) -> Holder | None:
    """Return what the file says; None if nobody is in it, or an earlier lspipe wrote it."""
    try:
        found = json.loads(content or b"null")
        return None if found is None else Holder(**found)
    except (ValueError, TypeError):
        return None


def watch(
    run: Path, found: Holder, mark: T, look: Callable[[], tuple[Holder | None, T]], seconds: float
) -> T:
    """Wait until it is sure that a process that did not say that it ended has ended.

    Args:
        run: the directory.
        found: who is in the file.
        mark: what changes with each of its beats.
        look: returns who is in the file now, and its mark.
        seconds: of silence after which it counts as gone.

    Returns:
        The mark that the file has then.

    Raises:
        StoreError: somebody works there.
    """
    logger.warning(
        "%s: %s did not say that it ended; watching for %.0f s whether it works", run, found,
        seconds,
    )  # fmt: skip
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(1.0, seconds / 5))
        now, new = look()
        if now is None:
            return new
        if new != mark:
            raise held(run, now)
    return mark


def held(run: Path, found: Holder | None) -> StoreError:
    """Return what to say to who wants a directory that another process has."""
    return StoreError(
        f"{run}: in use by {found or 'another process'}; wait for it to end, or choose another "
        "output"
    )


def now() -> str:
    """Return the time as the file has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
