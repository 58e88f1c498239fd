"""What a run is doing, as it happens: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from lspipe.cli.text import duration, say
from lspipe.runs import events

if TYPE_CHECKING:
    from lspipe.runs.events import Event
    from lspipe.runs.jobs import BlockResult


class Progress:
    """What a run is doing: a bar on a terminal, a line now and then elsewhere; both on stderr."""

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(self, *, is_verbose: bool = False) -> None:
        """Make it; verbose = each block, each look at the pixels, and the time of each line."""
        self._is_verbose = is_verbose
        self._bar: Any = None
        self._task: Any = None
        self._total = self._done = self._failed = self._windows = 0
        self._began = self._last = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def report(self, event: Event) -> None:
        """Show one event of a run (`pipeline.run(report=...)`)."""
        match event:
            case events.Stage(text):
                self._line(text)
            case events.Note(text):
                self._line(f"note: {text}")
            case events.Caution(text):
                self._line(f"warning: {text}")
            case events.Dashboard(link):
                self._line(f"dashboard {link}")
            case events.TileEnded(tile):
                self._tell(f"{tile} is listed")
            case events.WorkerMet() | events.WorkerLeft() | events.Waiting():
                self._tell_of_workers(event)
            case events.Start(total):
                self._start(total)
            case events.Look(tile, step, pixels, error):
                self._tell(
                    f"{tile} date {step + 1}: {pixels:,} px looked at {error or ''}".rstrip()
                )
            case events.End(state):
                self._tell(f"run is {state}")
            case events.BlockDone(result):
                self._tell(_block(result))
                self._windows += result.windows
                if not result.is_more:
                    self._done += 1
                    self._advance()
            case events.BlockFailed(failure):
                self._failed += 1
                self._line(f"failed: {failure}")
                self._advance()

    def _tell_of_workers(self, event: Event) -> None:
        match event:
            case events.WorkerMet(worker, host, device, role, ""):
                self._tell(f"worker {worker} on {host}, {device}: {role}")
            case events.WorkerMet(worker, role=role, reason=reason):
                self._line(f"worker {worker} is {role}: it {reason}")
            case events.WorkerLeft(worker, reason):
                self._line(f"worker {worker} gets nothing more to do: it {reason}")
            case events.Waiting(reason, seconds):
                self._line(f"waiting: {reason} (for {duration(seconds)} more)")

    def _start(self, total: int) -> None:
        self._total, self._began = total, time.monotonic()
        if total and sys.stdout.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("blocks"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("blocks", total=total, rate="")

    def _advance(self) -> None:
        elapsed = max(time.monotonic() - self._began, 1e-3)
        rate = f"{self._windows / elapsed:,.0f} windows/s"
        if self._bar is not None:
            self._bar.update(self._task, advance=1, rate=rate)
            return
        ended = self._done + self._failed
        now = time.monotonic()
        if now - self._last >= self.SECONDS_BETWEEN_LINES or ended == self._total:
            left = elapsed / ended * (self._total - ended)
            failed = f", {self._failed} failed" if self._failed else ""
            say(f"blocks {ended}/{self._total}{failed}, {rate}, {duration(left)} left")
            self._last = now

    def _tell(self, text: str) -> None:
        """Show what only a verbose run shows."""
        if self._is_verbose:
            self._line(text)

    def _line(self, text: str) -> None:
        if self._is_verbose:
            text = f"{time.strftime('%H:%M:%S')} {text}"
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            say(text)


def _block(result: BlockResult) -> str:
    return (
        f"block {result.index} of {result.tile}, date {result.step + 1}: "
        f"{result.windows_run} of {result.windows} windows in {result.seconds:.1f} s"
    )


class PatchProgress:
    """How many patches are done: a line now and then, on stderr."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = self._last = time.monotonic()

    def report(self, done: int) -> None:
        """Take how many are done by now (`scoring.predict(on_patches=...)`)."""
        now = time.monotonic()
        if now - self._last >= Progress.SECONDS_BETWEEN_LINES or done == self._total:
            left = (now - self._began) / done * (self._total - done)
            say(f"patches {done}/{self._total}, {duration(left)} left")
            self._last = now
