"""A crew of all workers of a cluster, for tests of what comes after the handshake."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lspipe import clusters
from lspipe.clusters.admission import WENT_AWAY, present
from lspipe.errors import ClusterError
from lspipe.runs.crew import GONE

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Everyone:
    """Workers that are there and stay; notes whom it is told to retire."""

    client: Client
    retired: dict[str, str] = field(default_factory=dict)

    @property
    def computing(self) -> tuple[str, ...]:
        """All but the retired ones."""
        try:
            return tuple(each for each in self.client.nthreads() if each not in self.retired)
        except WENT_AWAY as error:
            raise ClusterError(GONE) from error

    @property
    def room(self) -> int:
        """Three blocks for each."""
        return 3 * len(self.computing)

    @property
    def slot(self) -> dict[str, int]:
        """That of the workers, if one declares it."""
        workers = present(self.client).values()
        return dict(clusters.INFERENCE_SLOT) if any(map(clusters.has_slot, workers)) else {}

    @property
    def devices(self) -> dict[str, int]:
        """Nobody asked."""
        return {}

    def gather(self) -> None:
        """They are there."""

    def look(self) -> None:
        """They stay."""

    def retire(self, address: str, reason: str) -> None:
        """Leave one out."""
        self.retired[address] = reason
