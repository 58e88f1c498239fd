"""A model on its way to a worker: the path of its item and hashes, never a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lspipe.models.item import digest

if TYPE_CHECKING:
    from lspipe.inference.runtimes import Runtime
    from lspipe.models.item import ModelItem


@dataclass(frozen=True)
class ModelReference:
    """What a worker needs to load the model itself."""

    item: str
    sha256: str
    """Of the weights (of the item if it has none)."""
    item_sha256: str
    """Of the item: its scaling decides pixels too."""
    device: str
    precision: str
    runtime: str

    @classmethod
    def of(cls, item: ModelItem, *, device: str, precision: str, runtime: str) -> ModelReference:
        """Resolve where and how the network of an item runs, as the workers will.

        Args:
            item: the model item; its weights are read.
            device: "auto", "cpu" or "cuda".
            precision: "auto", "fp32" or "bf16".
            runtime: "auto" or a name of `runtimes.RUNTIMES`.

        Raises:
            ModelError: changed weights, or what this machine does not have.
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

    def open(self) -> Runtime:
        """Load the network, once per process.

        Raises:
            ModelError: the item or its weights are not those that were planned with.
        """
        # Imported here: torch takes seconds, and who only names a model needs none of it.
        from lspipe.inference import runtimes

        return runtimes.load(
            self.item,
            self.sha256,
            device=self.device,
            precision=self.precision,
            runtime=self.runtime,
            item_sha256=self.item_sha256,
        )
