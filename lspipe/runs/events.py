"""What happens in a run, as typed events; `log.jsonl` holds each as a line of JSON.

A stage never prints: it sends events to a `Report`. The command line shows them, and a script may
collect them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lspipe.runs.cost import Estimate
    from lspipe.runs.jobs import BlockResult


@dataclass(frozen=True)
class Failure:
    """A block that failed, and why."""

    tile: str
    step: int
    index: tuple[int, int]
    error: str

    def __str__(self) -> str:
        return f"block {self.index} of {self.tile}: {self.error}"


@dataclass(frozen=True)
class Event:
    """A thing that happened in a run."""

    kind: ClassVar[str]
    """Its name in the log."""

    def facts(self) -> dict[str, Any]:
        """Return plain values, as the log holds them."""
        return asdict(self)


@dataclass(frozen=True)
class Stage(Event):
    """A part of the run began."""

    kind: ClassVar[str] = "stage"
    text: str


@dataclass(frozen=True)
class Note(Event):
    """A message for the person."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Caution(Event):
    """A warning of the plan."""

    kind: ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True)
class Planned(Event):
    """A plan was made."""

    kind: ClassVar[str] = "plan"
    description: Mapping[str, Any]
    """Of `describe.describe_plan`."""
    estimate: Estimate
    warnings: Sequence[str]


@dataclass(frozen=True)
class Dashboard(Event):
    """The cluster started."""

    kind: ClassVar[str] = "dashboard"
    link: str


@dataclass(frozen=True)
class WorkerMet(Event):
    """A worker joined and was asked what it is."""

    kind: ClassVar[str] = "worker"
    worker: str
    host: str
    device: str
    """Name of its GPU or processor."""
    role: str
    """"computes", "reads" or "left out"."""
    reason: str = ""
    """Why it is left out."""


@dataclass(frozen=True)
class WorkerLeft(Event):
    """A worker gets nothing more to do in this run."""

    kind: ClassVar[str] = "retired"
    worker: str
    reason: str


@dataclass(frozen=True)
class Waiting(Event):
    """No worker can compute at the moment."""

    kind: ClassVar[str] = "waiting"
    reason: str
    seconds: float
    """How much longer the run waits, before it ends."""


@dataclass(frozen=True)
class Start(Event):
    """The first block is about to be submitted."""

    kind: ClassVar[str] = "start"
    total: int
    """Blocks to do."""


@dataclass(frozen=True)
class Look(Event):
    """Places of a tile and date were read, and compared with the training data of the model."""

    kind: ClassVar[str] = "look"
    tile: str
    step: int
    pixels: int
    """Observed pixels that were compared."""
    error: str | None = None
    """Why the tile could not be read; its blocks will report it."""

    def facts(self) -> dict[str, Any]:
        """Return plain values, without `error` if it is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class BlockDone(Event):
    """A block was computed and written."""

    kind: ClassVar[str] = "block"
    result: BlockResult

    def facts(self) -> dict[str, Any]:
        """Return the fields of the result."""
        return asdict(self.result)


@dataclass(frozen=True)
class BlockFailed(Event):
    """A block failed, after its retries."""

    kind: ClassVar[str] = "failure"
    failure: Failure

    def facts(self) -> dict[str, Any]:
        """Return the failure as text."""
        return {"failure": str(self.failure)}


@dataclass(frozen=True)
class TileEnded(Event):
    """The dates of a tile were compared, and its objects written."""

    kind: ClassVar[str] = "tile"
    tile: str


@dataclass(frozen=True)
class Interrupted(Event):
    """A person stopped the run."""

    kind: ClassVar[str] = "interrupted"


@dataclass(frozen=True)
class End(Event):
    """The run ended."""

    kind: ClassVar[str] = "end"
    state: str


Report = Callable[[Event], None]
"""A function that receives events."""


def ignore(event: Event) -> None:
    """Ignore an event."""
    del event
