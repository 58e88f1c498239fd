"""Events of a run -> lines of JSON in `log.jsonl`, and back."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from lspipe.machine.remote import is_remote
from lspipe.runs.copied_log import CopiedLog
from lspipe.runs.events import BlockDone

if TYPE_CHECKING:
    from pathlib import Path

    from lspipe.machine.remote import RemotePath
    from lspipe.runs.events import Event, Report


class Log:
    """Writes each event as a line of JSON in `log.jsonl`, and sends it to the caller's report."""

    def __init__(self, path: Path, report: Report) -> None:
        self._report = report
        self._copied = None if not is_remote(path) else CopiedLog(cast("RemotePath", path))
        file = path if self._copied is None else self._copied.file
        self._file = file.open("a", encoding="utf-8")
        if not _ends_a_line(file):
            self._file.write("\n")  # a kill cut off the last line

    def __call__(self, event: Event) -> None:
        """Log one event."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event.kind}
        self._file.write(json.dumps(line | event.facts(), default=str) + "\n")
        self._file.flush()
        if self._copied is not None:
            # Of what comes by thousands, the last ones may wait.
            self._copied.grew(may_wait=isinstance(event, BlockDone))
        self._report(event)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._copied is not None:
            self._copied.close()


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the events of a run; a last line cut off by a kill is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events
