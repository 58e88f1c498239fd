"""A reference to a model, which is sent to workers: path of the item and hashes, no module."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    members: tuple[ModelReference, ...] = ()
    """Of an ensemble, which has no network of its own: what opens those of its items."""

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
        asked = cls.unopened(item).on(device=device, precision=precision, runtime=runtime)
        opened = asked.open_each()[0]
        return asked.on(device=str(opened.device), precision=opened.precision, runtime=opened.name)

    @classmethod
    def unopened(cls, item: ModelItem) -> ModelReference:
        """Refer to the network of an item on the CPU; nothing is read but the item."""
        members = tuple(map(cls.unopened, item.members))
        known = item.reference, digest(item), item.item_sha256
        return cls(*known, "cpu", "fp32", "eager", members)

    def on(self, *, device: str, precision: str, runtime: str) -> ModelReference:
        """Return the same for another device, precision and runtime, of all its networks."""
        where = {"device": device, "precision": precision, "runtime": runtime}
        members = tuple(member.on(**where) for member in self.members)
        return replace(self, **where, members=members)

    @property
    def first(self) -> ModelReference:
        """Refer to its only network, or to the first of an ensemble, which stands for all."""
        return self.members[0] if self.members else self

    def open_each(self) -> tuple[Runtime, ...]:
        """Load the networks of an ensemble, or the only one, once per process.

        Raises:
            ModelError: an item or its weights have changed since the plan.
        """
        beside = len(self.members) - 1
        return tuple(each.open(beside=beside) for each in self.members) or (self.open(),)

    def open(self, *, beside: int = 0) -> Runtime:
        """Load the network of one item, once per process.

        Args:
            beside: how many others are used in turn with it, which stay loaded too.

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
            beside=beside,
        )
