"""What failed blocks tell: try it again, give up a worker, or give up all the others."""

from __future__ import annotations

import errno
import random
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from lspipe.errors import LoadError, UnfitAsset

if TYPE_CHECKING:
    from typing import Any

    from lspipe.clusters.admission import Fault

EQUAL_ON_ONE_WORKER = 3
"""Failures of one kind on one worker, with no block done there, after which it gets no more."""

EQUAL_IN_A_ROW = 6
"""Blocks that fail for one reason, with none done between them, after which no more are tried."""

STEPS = 3
"""Such blocks are of so many dates and tiles: one damaged scene spoils all blocks of its own."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Error numbers of a disk that takes nothing more, wherever a block lies."""


FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Most seconds before the first and before a later try of a read that failed: each time twice as
long, as a server that is overloaded needs rest, and drawn by lot between half of it and all, so
that blocks which failed together do not return together.

Source: M. Brooker, Exponential backoff and jitter, AWS Architecture Blog, 2015."""


class Tries:
    """Failures of the blocks of a run, by block and by worker."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._runs: dict[Any, set[int]] = defaultdict(set)
        self._failed: dict[Any, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
        self._proven: Counter[tuple[str, str]] = Counter()
        self._row: list[tuple[Any, str]] = []

    def may_try_again(self, block: Any, error: Exception, fault: Fault) -> bool:
        """Count a try that failed, and return whether another may help.

        Args:
            block: the block.
            error: of the try.
            fault: where it failed. Blocks that need the same read share its tries.
        """
        self._failed[block].append((fault.workers, kind_of(error)))
        self._runs[fault.key].add(fault.run)
        # A file that is unfit stays so.
        return not isinstance(error, UnfitAsset) and len(self._runs[fault.key]) <= self._retries

    def wait(self, error: Exception, fault: Fault) -> float:
        """Return the seconds to wait before the next try.

        Args:
            error: of the try.
            fault: where it failed, which `may_try_again` has counted.

        Returns:
            0 for anything but a read, which another moment does not mend.
        """
        if not isinstance(error, LoadError):
            return 0.0
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (len(self._runs[fault.key]) - 1))
        return random.uniform(longest / 2, longest)  # noqa: S311 - no secret

    def succeeded(self, block: Any) -> dict[str, str]:
        """Count a block that is done.

        Returns:
            Workers to give up: they failed blocks that others did, for one reason and several
            times. Failures alone prove nothing, as a scene may be damaged.
        """
        self._row.clear()
        bad = {}
        for workers, kind in self._failed.pop(block, ()):
            for worker in workers:
                self._proven[worker, kind] += 1
                count = self._proven[worker, kind]
                if count >= EQUAL_ON_ONE_WORKER:
                    bad[worker] = f"failed {count} blocks that others did ({kind})"
        return bad

    def given_up(self, block: Any, error: Exception, *, step: Any, workers: int) -> str:
        """Count a block that is not tried again.

        Args:
            block: the block.
            error: of its last try.
            step: its tile and date.
            workers: how many compute.

        Returns:
            Why the other blocks need not be tried; "" = they do.
        """
        kind = kind_of(error)
        self._failed.pop(block, None)
        self._row = [entry for entry in self._row if entry[1] == kind] + [(step, kind)]
        is_full = isinstance(error, OSError) and error.errno in FULL
        steps = len({step for step, _ in self._row})
        if len(self._row) < max(EQUAL_IN_A_ROW, 2 * workers) or not (is_full or steps >= STEPS):
            return ""
        return (
            f"{len(self._row)} blocks in a row failed alike ({kind}), so no more were tried; put "
            "this right and run the same command again"
        )


def kind_of(error: Exception) -> str:
    """Return an error without what differs from block to block: numbers and names of scenes.

    Example:
        >>> kind_of(LoadError("S2A_18GYS", "red", "HTTP 503 at byte 1024"))
        'HTTP # at byte #'
    """
    text = error.reason if isinstance(error, LoadError) else str(error) or type(error).__name__
    return re.sub(r"\d+", "#", text)
