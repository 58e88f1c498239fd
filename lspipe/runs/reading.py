"""Who reads the pixels that decide something before the first block: this process, or workers.

Scenes are chosen by their classes, and a few places of each tile are looked at before a run. Of
many tiles that is an hour of one machine, so the workers of a cluster do it where there is one.
The graphs are the same: only the scheduler that computes them is another (`hiring.py`).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Readers = Callable[[int], AbstractContextManager["Reading"]]

TILES_AT_ONCE = 4
"""Tiles that are looked at together by threads, which mostly wait for the archive. Of each this
process holds the area, 0.2 GB where it is looked at pixel by pixel."""


PLACES_AT_ONCE = 8
"""Tiles and dates of which a few places are looked at together by threads."""


class Reading(NamedTuple):
    """How much is read at once, as arguments of `machine.ahead.in_order`."""

    at_once: int
    meanwhile: Callable[[], None] | None = None
    """Called while results are waited for."""
    kept: ThreadPoolExecutor | None = None
    """Threads that read; None = those of another process, or this thread."""


IN_TURN = Reading(at_once=1)


def _threads(at_once: int) -> Readers:
    """Return that threads of this process read; where there is one to read, this thread."""
    return lambda count: nullcontext(
        IN_TURN if count < 2 else Reading(at_once, kept=_kept_threads(at_once))
    )


@cache
def _kept_threads(at_once: int) -> ThreadPoolExecutor:
    """Return threads that stay: what PROJ makes for a thread takes ten times as long as a file."""
    return ThreadPoolExecutor(at_once, thread_name_prefix="lspipe-plan")


planners_here = _threads(TILES_AT_ONCE)
lookers_here = _threads(PLACES_AT_ONCE)
