"""Windows of a block -> the network, batch by batch -> verified probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lspipe.errors import InferenceError
from lspipe.inference import dihedral
from lspipe.inference.inputs import Inputs
from lspipe.inference.runtimes.devices import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lspipe.inference.runtimes import Runtime
    from lspipe.models.item import TtaMerge

# A network may raise any error; these are the ones of torch and of shape arithmetic.
_NETWORK_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, MemoryError)


@dataclass(frozen=True)
class PreparedBlock:
    """A block on the device, padded if need be: what all its windows share."""

    inputs: Inputs
    runtime: Runtime
    origin: tuple[int, int]
    """Row and column of the block's first pixel in the tile."""
    tile_shape: tuple[int, int]

    @classmethod
    def of(
        cls,
        pixels: NDArray[Any],
        *,
        observed: NDArray[np.bool_],
        hidden: NDArray[np.bool_] | None,
        missing: list[tuple[int, int]],
        origin: tuple[int, int],
        tile_shape: tuple[int, int],
        runtime: Runtime,
        **units: Any,
    ) -> PreparedBlock:
        """Pad a block of a tile that is shorter than a window, and put it on the device.

        `missing` is the padding (before, after) of each axis; the rest is as in `run_block` and
        `Inputs.of`.

        Raises:
            InferenceError: the device has too little memory for the block.
        """
        if np.any(missing):
            pixels = np.pad(pixels, ((0, 0), *missing), mode="reflect")
            observed = np.pad(observed, missing)
            hidden = None if hidden is None else np.pad(hidden, missing, mode="reflect")
        try:
            inputs = Inputs.of(pixels, observed=observed, hidden=hidden, runtime=runtime, **units)
        except torch.OutOfMemoryError as error:
            raise InferenceError(
                f"a block of {pixels.shape[1]} x {pixels.shape[2]} px does not fit into the memory "
                "of the GPU: set a smaller execution.block"
            ) from error
        return cls(inputs, runtime, origin, tile_shape)


def merge_into(merged: torch.Tensor, view: torch.Tensor, merge: TtaMerge) -> None:
    """Add one more view to a maximum or a sum, in place; the order of the views is fixed."""
    if merge == "max":
        torch.maximum(merged, view, out=merged)
    else:
        merged += view


@dataclass(frozen=True)
class Batch:
    """Windows that go through the network together."""

    number: int
    count: int
    starts: NDArray[np.int64]
    """(N, 2) row and column in the tile; the last batch may have fewer than the network gets."""
    corners: torch.Tensor
    """(batch size, 2) the same in the block's pixels; repeated at the end to fill the batch."""
    places: torch.Tensor
    """(N, 2) the same in the sum."""

    def fault(self, found: str, index: int = 0) -> InferenceError:
        """Return an error that names a window (by default the first), its batch and the problem."""
        row, column = self.starts[min(index, len(self.starts) - 1)].tolist()
        return InferenceError(
            f"window at row {row}, column {column} of the tile (batch {self.number} of "
            f"{self.count}): {found}"
        )


def cut_batches(
    starts: NDArray[np.int64], size: int, sum_origin: tuple[int, int], prepared: PreparedBlock
) -> list[Batch]:
    """Cut windows into batches; their places go to the device once."""
    count = math.ceil(len(starts) / size)
    # The same shape for all batches: another shape may change the last bit.
    full = np.pad(starts, ((0, count * size - len(starts)), (0, 0)), mode="edge")
    corners, places = (
        torch.from_numpy(positions - origin).to(prepared.runtime.device)
        for positions, origin in ((full, prepared.origin), (starts, sum_origin))
    )
    parts = [slice(number * size, (number + 1) * size) for number in range(count)]
    return [
        Batch(number, count, starts[part], corners[part], places[part])
        for number, part in enumerate(parts, start=1)
    ]


@dataclass(frozen=True)
class _Answer:
    """The output of the network for a batch, not yet checked."""

    batch: Batch
    probability: torch.Tensor
    """(N, w, w), views merged."""
    lowest: torch.Tensor
    highest: torch.Tensor
    """(views, N) of each window, before views were merged."""
    is_sane: torch.Tensor
    """bool (), on the CPU: whether all are probabilities; valid after `ready`."""
    ready: torch.cuda.Event | None
    """When a GPU has written `is_sane`; None on a CPU."""

    def verified(self) -> tuple[Batch, torch.Tensor]:
        """Return the batch and its probabilities, without the windows that only fill it.

        Raises:
            InferenceError: the output holds no probabilities.
        """
        if self.ready is not None:
            self.ready.synchronize()
        if not self.is_sane:
            index = int((~_are_probabilities(self.lowest, self.highest).all(0)).nonzero()[0])
            lowest, highest = self.lowest[:, index].min(), self.highest[:, index].max()
            raise self.batch.fault(
                f"the network returned {float(lowest):g} to {float(highest):g}, expected "
                "probabilities 0..1; check that it ends in a sigmoid and gets the scaling it was "
                "trained with",
                index,
            )
        return self.batch, self.probability[: len(self.batch.starts)]


def _are_probabilities(lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
    """Return whether all values are in 0..1; NaN is not."""
    return (lowest >= 0) & (highest <= 1)


def predictions(
    batches: list[Batch], views: tuple[int, ...], merge: TtaMerge, prepared: PreparedBlock
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Send windows through the network, batch by batch; yield (N, w, w) probabilities."""
    held: _Answer | None = None
    for batch in batches:
        answer = _answer(batch, views, merge, prepared)
        # The result of a batch is checked only after the next one was submitted, so that a GPU
        # never waits.
        if held is not None:
            yield held.verified()
        held = answer
    if held is not None:
        yield held.verified()


def _answer(
    batch: Batch, views: tuple[int, ...], merge: TtaMerge, prepared: PreparedBlock
) -> _Answer:
    """Predict the windows of a batch in each view, turn the answers back and merge them."""
    answers = [_call(batch, view, prepared) for view in views]
    lowest, highest = (
        torch.stack([extreme(answer, (1, 2)) for answer in answers])
        for extreme in (torch.amin, torch.amax)
    )
    merged, *others = map(dihedral.invert, views, answers)
    for other in others:
        merge_into(merged, other, merge)
    if len(views) > 1 and merge == "mean":
        merged /= len(views)
    is_sane = _are_probabilities(lowest, highest).all().to("cpu", non_blocking=True)
    ready = None
    if merged.is_cuda:
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
    return _Answer(batch, merged, lowest, highest, is_sane, ready)


def _call(batch: Batch, view: int, prepared: PreparedBlock) -> torch.Tensor:
    """Cut a batch and call the network; failures name the first window of the batch."""
    size = len(batch.corners)
    images = prepared.inputs.cut(batch.corners, view)
    try:
        answer = prepared.runtime(images)
    except InferenceError as error:
        raise batch.fault(str(error)) from error
    except _NETWORK_FAILURES as error:
        if is_out_of_memory(error):
            raise batch.fault(less_memory(size)) from error
        reason = " ".join(str(error).split())[:300]
        raise batch.fault(f"the network failed: {reason}") from error
    expected = (size, *images.shape[2:])
    if tuple(answer.shape) != expected:
        raise batch.fault(f"the network returned shape {tuple(answer.shape)}, expected {expected}")
    # The network may reuse this memory in its next call.
    return answer.clone()


def less_memory(size: int) -> str:
    """Return the advice for when memory ran out; another batch size may change the last bit."""
    smaller = (
        f"inference.batch_size to {size // 2}, it is {size}" if size > 1 else "a smaller block"
    )
    return f"out of memory: set {smaller} (a run must start over for this)"
