"""A network and the work before it -> the runtime that is done first, and why: `runtime: auto`.

On a processor each runtime that works there is prepared and computes two batches, in turns with the
others. What preparing takes counts against what it saves. Plain PyTorch, the incumbent, is kept
unless another ends clearly earlier, so that noise seldom decides. Two runs may choose differently
all the same, and their probabilities then differ within `TOLERANCE`; a runtime asked for by name is
never exchanged.

Measuring takes at most about `SHARE` of the work: a runtime that is slow to prepare is tried only
for long work, and nothing is measured for little.

Does not cover: GPUs, where "auto" is plain PyTorch.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lspipe.errors import LspipeError
from lspipe.inference.runtimes import AUTO, available
from lspipe.inference.settings import TOO_LITTLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lspipe.inference.runtimes import Runtime

    Clock = Callable[[], float]

logger = logging.getLogger(__name__)

SHARE = 0.05
"""Part of the time of the work that finding the quickest runtime may take."""

AHEAD = 1.1
"""How many times earlier another runtime has to end to be taken."""

TURNS = 2
"""Batches of each runtime; the quicker one counts, as the other may only have been disturbed."""

TOLERANCE: Mapping[str, float] = {"fp32": 2e-5, "bf16": 1e-2}
"""Largest difference of a probability from that of plain PyTorch, by precision; a runtime that
differs by more is not taken."""

SECONDS_TO_PREPARE: Mapping[str, float] = {"openvino": 5.0, "compiled": 40.0}
"""Runtimes that are tried, and what preparing usually takes: of a DeepLabv3+ with a ResNet-50 on
one core, where no compiled kernels are on disk yet (benchmarks/default.py)."""

_BATCHES = 3 + 2 * TURNS
"""Batches that a comparison of two computes: the first of each, one that tells how long a batch of
the incumbent takes, and the turns."""

SECONDS_PER_PIXEL = 1e-5
"""What a pixel of a window takes in the heaviest networks of the papers on one slow core (1.5 MFLOP
at 150 GFLOP/s): with it, little work is told without running anything."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one process is to send through a network."""

    passes: int
    """Windows, each view of a window counted."""
    batch_size: int
    channels: int
    window: int
    """Edge, pixels."""

    @property
    def batches(self) -> int:
        """How often the network is called."""
        return math.ceil(self.passes / self.batch_size)

    @property
    def is_little(self) -> bool:
        """Whether even the heaviest network would be done before a comparison pays."""
        seconds = self.passes * self.window**2 * SECONDS_PER_PIXEL
        is_soon_done = seconds * SHARE < min(SECONDS_TO_PREPARE.values())
        return is_soon_done or self.batches * SHARE < _BATCHES


@dataclass(frozen=True)
class Choice:
    """The runtime for some work."""

    runtime: Runtime
    """Prepared, and ready to be called."""
    why: str
    """What was measured, in one line; "" = there was no choice."""


def choose(
    open_as: Callable[[str], Runtime], work: Work, *, clock: Clock = time.perf_counter
) -> Choice:
    """Return the runtime that is done first with some work on this machine.

    Args:
        open_as: a name of `runtimes.RUNTIMES` -> the network, executed by it.
        work: what is to be done.
        clock: seconds.

    Raises:
        LspipeError: plain PyTorch cannot open the network.
    """
    plain = open_as(AUTO)
    if plain.device.type != "cpu":
        return Choice(plain, "")
    if work.is_little:
        return Choice(plain, TOO_LITTLE)
    try:
        chosen = _raced(plain, open_as, work, clock)
    except (LspipeError, RuntimeError) as error:
        # The network itself fails; its first window will say where, and how.
        logger.info("runtimes were not compared: %s", error)
        return Choice(plain, "")
    logger.info("runtime %s: %s", chosen.runtime.name, chosen.why)
    return chosen


@dataclass
class _Runner:
    """A runtime that takes part."""

    runtime: Runtime
    first: float
    """Seconds to open it, and for its first batch."""
    answer: torch.Tensor
    """To the first batch."""
    best: float = math.inf
    """Seconds of its quickest batch after the first."""

    def ends_after(self, work: Work) -> float:
        """Return the seconds of some work from the start of a process."""
        return self.first + work.batches * self.best


def _raced(plain: Runtime, open_as: Callable[[str], Runtime], work: Work, clock: Clock) -> Choice:
    """Let the runtimes that can pay compute some batches each, in turns."""
    began = clock()
    batches = [_batch(work, seed) for seed in range(2)]
    incumbent = _started(lambda: plain, batches[0], clock)
    each = _seconds(plain, batches[1], clock)
    runners, notes, is_little = [incumbent], list[str](), True
    for name, expected in SECONDS_TO_PREPARE.items():
        cost = clock() - began + expected + (1 + TURNS * (len(runners) + 1)) * each
        if cost > SHARE * work.batches * each:
            notes.append(f"{name} not tried, as preparing it would take about {expected:.0f} s")
            continue
        is_little = False
        # Only here: to know it, a runtime is imported, which takes a second.
        reason = available("cpu", precision=plain.precision)[name]
        if reason:
            notes.append(f"{name} does not work here: {reason}")
            continue
        found = _joined(name, open_as, incumbent, batches[0], clock)
        if isinstance(found, str):
            notes.append(found)
        else:
            runners.append(found)
    if is_little:
        return Choice(plain, TOO_LITTLE)
    incumbent.best = each
    for _ in range(TURNS if len(runners) > 1 else 0):
        for runner in runners:
            runner.best = min(runner.best, _seconds(runner.runtime, batches[1], clock))
    return _won(runners, work, notes)


def _joined(
    name: str,
    open_as: Callable[[str], Runtime],
    incumbent: _Runner,
    batch: torch.Tensor,
    clock: Clock,
) -> _Runner | str:
    """Return a runtime that answers as plain PyTorch does, or why it does not take part."""
    try:
        runner = _started(lambda: open_as(name), batch, clock)
    except (LspipeError, RuntimeError, MemoryError) as error:
        return str(error).partition("\n")[0]
    differs = float((runner.answer - incumbent.answer).abs().max())
    # NaN is no small difference.
    if not differs <= TOLERANCE[incumbent.runtime.precision]:
        return f"{name} not taken, as its answers differ by {differs:.1g}"
    return runner


def _won(runners: list[_Runner], work: Work, notes: list[str]) -> Choice:
    """Return who ends first; who comes later in the list has to be clearly ahead."""
    leader, *others = runners
    for other in others:
        if other.ends_after(work) * AHEAD <= leader.ends_after(work):
            leader = other
    told = ", ".join(_told(runner, work) for runner in runners)
    measured = f"{told} (ms per window, measured)"
    return Choice(leader.runtime, "; ".join([measured, *notes]))


def _told(runner: _Runner, work: Work) -> str:
    """Return what was measured of a runtime, in words."""
    speed = f"{runner.runtime.name} {1000 * runner.best / work.batch_size:.3g}"
    is_prepared = runner.runtime.name != AUTO
    return f"{speed} after {runner.first:.0f} s to prepare" if is_prepared else speed


def _started(open_it: Callable[[], Runtime], batch: torch.Tensor, clock: Clock) -> _Runner:
    began = clock()
    runtime = open_it()
    answer = runtime(batch)
    return _Runner(runtime, clock() - began, answer)


def _seconds(runtime: Runtime, batch: torch.Tensor, clock: Clock) -> float:
    began = clock()
    runtime(batch)
    return clock() - began


def _batch(work: Work, seed: int) -> torch.Tensor:
    """Return (N, C, w, w) float32 0..1: the speed of a network hardly depends on its pixels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (work.batch_size, work.channels, work.window, work.window)
    return torch.rand(shape, generator=generator)
