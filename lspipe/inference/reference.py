"""A reference to a model, which is sent to workers: path of the item and hashes, no module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lspipe.models.item import digest

if TYPE_CHECKING:
    from lspipe.inference.runtimes import Runtime
    from lspipe.models.item import ModelItem


@dataclass(frozen=True)
class ModelReference:
    """All that a worker needs to load the model."""

    item: str
    sha256: str
    """Of the weights (of the item if it has none)."""
    item_sha256: str
    """Of the item, whose scaling changes pixels too."""
    device: str
    precision: str
    runtime: str

    @classmethod
    def of(cls, item: ModelItem, *, device: str, precision: str, runtime: str) -> ModelReference:
        """Resolve device, precision and runtime for the network of an item, as workers do.

        Args:
            item: the model item; its weights are read.
            device: "auto", "cpu" or "cuda".
            precision: "auto", "fp32" or "bf16".
            runtime: "auto" or a name of `runtimes.RUNTIMES`.

        Raises:
            ModelError: changed weights, or a device, precision or runtime that this machine lacks.
            MissingExtra: the runtime needs a package that is not installed.
        """
        from lspipe.inference import runtimes

        opened = runtimes.load(
            item.reference, digest(item), device=device, precision=precision, runtime=runtime
        )
        return cls(
            item=item.reference,
            sha256=digest(item),
            item_sha256=item.item_sha256,
            device=str(opened.device),
            precision=opened.precision,
            runtime=opened.name,
        )

    @classmethod
    def unopened(cls, item: ModelItem) -> ModelReference:
        """Refer to the network of an item on the CPU; nothing is read but the item."""
        return cls(item.reference, digest(item), item.item_sha256, "cpu", "fp32", "eager")

    def open(self) -> Runtime:
        """Load the network, once per process.

        Raises:
            ModelError: the item or its weights have changed since the plan.
        """
        # Imported here: torch takes seconds, and a reference alone does not need it.
        from lspipe.inference import runtimes

        return runtimes.load(
            self.item,
            self.sha256,
            device=self.device,
            precision=self.precision,
            runtime=self.runtime,
            item_sha256=self.item_sha256,
        )
