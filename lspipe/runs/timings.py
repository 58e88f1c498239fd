"""Stages of a run -> the seconds that each took, added up over the calls that made it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STAGES = ("search", "plan", "look", "blocks", "listing", "outputs")
"""In this order: search; choose scenes and plan; compare pixels with the training data; read, infer
and write blocks, with the start of the cluster; compare dates and list; maps, projects, reports."""


class Clock:
    """Measures the stages of one call.

    Example:
        >>> clock = Clock({"plan": 2.0})
        >>> with clock.stage("blocks"):
        ...     pass
        >>> list(clock.stages), clock.seconds >= 2
        (['plan', 'blocks'], True)
    """

    def __init__(self, before: Mapping[str, float]) -> None:
        self._began = time.perf_counter()
        self._before = sum(before.values())
        self.stages = dict(before)
        """Seconds of each stage so far."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of what is done inside to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - began

    @property
    def seconds(self) -> float:
        """Seconds of the whole call so far, also between the stages."""
        return self._before + time.perf_counter() - self._began


def added(earlier: Mapping[str, float], these: Mapping[str, float]) -> dict[str, float]:
    """Add up the stages of two calls, in their order, to a tenth of a second.

    >>> added({"plan": 1.0, "blocks": 30.0}, {"blocks": 2.06})
    {'plan': 1.0, 'blocks': 32.1}
    """
    return {
        name: round(earlier.get(name, 0.0) + these.get(name, 0.0), 1)
        for name in STAGES
        if name in earlier or name in these
    }
