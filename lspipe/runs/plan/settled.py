"""Device, precision, runtime and batch size of a run: decided where it computes, once.

On a cluster the client may have no GPU, or another one. Then the plan holds what is asked for and
stand-ins for `auto`, and before the first block a worker that computes decides. What it decided is
frozen in `run.json`, as it is part of the fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe import clusters
from lspipe.inference.reference import ModelReference
from lspipe.inference.settings import AUTO_BATCH_SIZE, TOO_LITTLE
from lspipe.models.ensemble import read_model
from lspipe.runs.plan.nouns import BYTES_PER_PIXEL
from lspipe.runs.plan.recorded import THREADS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.models import ModelItem
    from lspipe.workflow import Workflow


@dataclass(frozen=True)
class Settled:
    """What a network computes on, and how; no value is "auto"."""

    device: str
    precision: str
    runtime: str
    batch_size: int
    why: str = ""
    """Why this runtime; "" = it was asked for, or there was no choice."""
    is_final: bool = True
    """False for a stand-in, until a worker was asked."""


def known(workflow: Workflow, previous: Mapping[str, Any] | None) -> Settled | None:
    """Return what is settled of a run; None where this machine decides, as it also computes.

    Args:
        workflow: of the run.
        previous: its `run.json`; None = it is new.
    """
    if clusters.is_here(workflow.cluster):
        return None
    asked = _asked(workflow)
    # Runs from before there was such an entry were settled by their client.
    if previous is None or not previous.get("settled", True):
        stand_in = {"device": "cpu", "precision": "fp32", "runtime": "eager"}
        return Settled(**stand_in | asked, batch_size=AUTO_BATCH_SIZE, is_final=False)
    found = frozen(previous)
    return replace(found, **asked, why="" if "runtime" in asked else found.why)


def frozen(previous: Mapping[str, Any]) -> Settled:
    """Return what a run was computed with.

    Args:
        previous: its `run.json`.
    """
    inputs = previous["detection_inputs"]["inference"]
    names = ("device", "precision", "runtime", "batch_size")
    why = previous.get("model", {}).get("runtime_why", "")
    return Settled(**{name: inputs[name] for name in names}, why=why)


def _asked(workflow: Workflow) -> dict[str, Any]:
    spec = workflow.inference
    asked = {"device": spec.device, "precision": spec.precision, "runtime": spec.runtime}
    return {name: value for name, value in asked.items() if value != "auto"}


@dataclass(frozen=True)
class Question:
    """What a worker is asked; sent to it."""

    items: tuple[str, ...]
    """References of the model item, or of those of an ensemble."""
    device: str
    precision: str
    runtime: str
    window: int
    batch_size: int | None
    """None = the worker decides that too."""
    passes: int
    """Windows through the network for each worker, by which the quickest runtime is found."""
    largest_block: int
    """Pixels of the largest block with its halo."""


def decide(question: Question) -> Settled:
    """Settle a run on this machine: in a worker.

    Raises:
        ModelError: what is asked for does not work here.
    """
    item = read_model(question.items, Path())
    reference = ModelReference.of(
        item, device=question.device, precision=question.precision, runtime=question.runtime
    )
    size = question.batch_size
    if size is None:
        size = largest_batch(reference, item, question.window, question.largest_block)
    runtime, why = reference.runtime, ""
    if question.runtime == "auto":
        runtime, why = quickest(
            reference, item, window=question.window, batch_size=size, passes=question.passes
        )
    return Settled(reference.device, reference.precision, runtime, size, why)


def quickest(
    reference: ModelReference, item: ModelItem, *, window: int, batch_size: int, passes: int
) -> tuple[str, str]:
    """Find the runtime that is done first on this machine, with the threads of a worker.

    Args:
        reference: where and in which precision the network computes.
        item: of the model.
        window: edge of a window, pixels.
        batch_size: windows in one call of the network.
        passes: of each worker, see `runtimes.choice.Work`.

    Returns:
        Its name, and why; "" on a GPU, where nothing is measured.
    """
    if reference.device != "cpu":
        return reference.runtime, ""
    from lspipe.inference.runtimes import use_threads
    from lspipe.inference.runtimes.choice import Work, choose

    work = Work(passes=passes, batch_size=batch_size, channels=len(item.bands), window=window)
    if work.is_little:
        return reference.runtime, TOO_LITTLE
    earlier = use_threads(THREADS)
    try:
        chosen = choose(lambda name: replace(reference.first, runtime=name).open(), work)
    finally:
        use_threads(earlier)
    return chosen.runtime.name, chosen.why


def reference_of(item: ModelItem, settled: Settled) -> ModelReference:
    """Return the reference of a model for what is settled; nothing is opened here."""
    return ModelReference.unopened(item).on(
        device=settled.device, precision=settled.precision, runtime=settled.runtime
    )


def largest_batch(
    reference: ModelReference, item: ModelItem, window: int, largest_block: int
) -> int:
    """Return the batch size for `batch_size: auto` on this machine."""
    if not reference.device.startswith("cuda"):
        return AUTO_BATCH_SIZE
    from lspipe.inference.runtimes import probe

    # Always eager: other runtimes would compile each size that is tried.
    eager = reference.on(device="cuda", precision=reference.precision, runtime="eager")
    # A block arrives as int16 and is kept as float32 in model units (`lspipe.inference.inputs`).
    bytes_per_pixel = (2 + 4) * len(item.bands) + BYTES_PER_PIXEL
    # Beside an ensemble's others, which are loaded first.
    return min(
        probe.largest_batch(
            network, len(item.bands), window, reserve_bytes=largest_block * bytes_per_pixel
        )
        for network in eager.open_each()
    )
