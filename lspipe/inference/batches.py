"""Windows of a block -> the network, batch by batch -> verified probabilities.

A batch is filled across views and rows: 9 windows in 8 views are 9 batches of 8, not 16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from lspipe.errors import InferenceError
from lspipe.inference import dihedral
from lspipe.inference.inputs import Inputs
from lspipe.inference.runtimes.devices import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
class Windows:
    """The windows of a part of a block, each of which the network sees in some views of D4."""

    starts: NDArray[np.int64]
    """(N, 2) row and column in the tile."""
    corners: torch.Tensor
    """(N, 2) the same in the block's pixels."""
    places: torch.Tensor
    """(N, 2) the same in the sum."""

    @classmethod
    def of(
        cls, starts: NDArray[np.int64], sum_origin: tuple[int, int], prepared: PreparedBlock
    ) -> Windows:
        """Put windows (N, 2) on the device, once."""
        corners, places = (
            torch.from_numpy(starts - origin).to(prepared.runtime.device)
            for origin in (prepared.origin, sum_origin)
        )
        return cls(starts, corners, places)


class Run(NamedTuple):
    """Windows that follow each other, in one view."""

    view: int
    windows: slice

    @property
    def length(self) -> int:
        """How many."""
        return int(self.windows.stop - self.windows.start)


def passes(count: int, views: Sequence[int], group: int) -> Iterator[Run]:
    """Yield each window in each view once: group by group of windows, and in a group view by view.

    Example:
        >>> [(run.view, run.windows.start, run.windows.stop) for run in passes(3, (0, 1), 2)]
        [(0, 0, 2), (1, 0, 2), (0, 2, 3), (1, 2, 3)]
    """
    for first in range(0, count, group):
        windows = slice(first, min(first + group, count))
        yield from (Run(view, windows) for view in views)


def batches_of(runs: Iterable[Run], size: int) -> Iterator[list[Run]]:
    """Cut runs into batches that are full, whatever ends within them; only the last may not be.

    Example:
        >>> [[run.length for run in batch] for batch in batches_of(passes(3, (0, 1), 3), 4)]
        [[3, 1], [2]]
    """
    batch: list[Run] = []
    room = size
    for view, windows in runs:
        first = windows.start
        while first < windows.stop:
            last = min(windows.stop, first + room)
            batch.append(Run(view, slice(first, last)))
            first, room = last, room - (last - first)
            if not room:
                yield batch
                batch, room = [], size
    if batch:
        yield batch


@dataclass(frozen=True)
class Batch:
    """Windows that go through the network together."""

    number: int
    count: int
    runs: list[Run]
    windows: Windows

    def fault(self, found: str, index: int = 0) -> InferenceError:
        """Return an error that names a window (by default the first), its batch and the problem."""
        every = np.concatenate([self.windows.starts[run.windows] for run in self.runs])
        row, column = every[min(index, len(every) - 1)].tolist()
        return InferenceError(
            f"window at row {row}, column {column} of the tile (batch {self.number} of "
            f"{self.count}): {found}"
        )


@dataclass(frozen=True)
class _Answer:
    """The output of the network for a batch, not yet checked."""

    batch: Batch
    probability: torch.Tensor
    """(N, w, w), each window in its view."""
    lowest: torch.Tensor
    highest: torch.Tensor
    """(N,) of each window."""
    is_sane: torch.Tensor
    """bool (), on the CPU: whether all are probabilities; valid after `ready`."""
    ready: torch.cuda.Event | None
    """When a GPU has written `is_sane`; None on a CPU."""

    def verified(self) -> Iterator[tuple[Run, torch.Tensor]]:
        """Yield the probabilities of each run, turned back; what only fills the batch is left out.

        Raises:
            InferenceError: the output holds no probabilities.
        """
        if self.ready is not None:
            self.ready.synchronize()
        if not self.is_sane:
            index = int((~_are_probabilities(self.lowest, self.highest)).nonzero()[0])
            lowest, highest = self.lowest[index], self.highest[index]
            raise self.batch.fault(
                f"the network returned {float(lowest):g} to {float(highest):g}, expected "
                "probabilities 0..1; check that it ends in a sigmoid and gets the scaling it was "
                "trained with",
                index,
            )
        first = 0
        for run in self.batch.runs:
            yield run, dihedral.invert(run.view, self.probability[first : first + run.length])
            first += run.length


def _are_probabilities(lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
    """Return whether all values are in 0..1; NaN is not."""
    return (lowest >= 0) & (highest <= 1)


def predictions(
    windows: Windows, views: Sequence[int], prepared: PreparedBlock, *, size: int, group: int
) -> Iterator[tuple[Run, torch.Tensor]]:
    """Send windows through the network in each view, batch by batch, in the order of `passes`.

    Args:
        windows: of the block.
        views: elements of D4.
        prepared: the block.
        size: windows of a batch; all have this shape, as another may change the last bit.
        group: so many windows are seen in all views before the next ones are.

    Yields:
        Some windows in a view, and their probabilities (N, w, w), turned back.
    """
    count = math.ceil(len(windows.starts) * len(views) / size)
    runs = passes(len(windows.starts), views, group)
    held: _Answer | None = None
    for number, batch in enumerate(batches_of(runs, size), start=1):
        answer = _answer(Batch(number, count, batch, windows), size, prepared)
        # The result of a batch is checked only after the next one was submitted, so that a GPU
        # never waits.
        if held is not None:
            yield from held.verified()
        held = answer
    if held is not None:
        yield from held.verified()


def merged_views(
    answers: Iterable[tuple[Run, torch.Tensor]], merge: TtaMerge, *, group: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Merge the views of each group of windows.

    Args:
        answers: of `predictions` with the same group.
        merge: how.
        group: windows of a group.

    Yields:
        Windows, and their merged probabilities (N, w, w).
    """
    for number, of_group in groupby(answers, lambda answer: answer[0].windows.start // group):
        views = [
            torch.cat([probability for _, probability in of_view])
            for _, of_view in groupby(of_group, lambda answer: answer[0].view)
        ]
        merged, *others = views
        for other in others:
            merge_into(merged, other, merge)
        if others and merge == "mean":
            merged /= len(views)
        yield slice(number * group, number * group + len(merged)), merged


def _answer(batch: Batch, size: int, prepared: PreparedBlock) -> _Answer:
    """Predict the windows of a batch."""
    answer = _call(batch, size, prepared)
    lowest, highest = answer.amin((1, 2)), answer.amax((1, 2))
    is_sane = _are_probabilities(lowest, highest).all().to("cpu", non_blocking=True)
    ready = None
    if answer.is_cuda:
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
    return _Answer(batch, answer, lowest, highest, is_sane, ready)


def _call(batch: Batch, size: int, prepared: PreparedBlock) -> torch.Tensor:
    """Cut a batch and call the network; failures name the first window of the batch."""
    images = _images(batch, size, prepared)
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


def _images(batch: Batch, size: int, prepared: PreparedBlock) -> torch.Tensor:
    """Cut the windows of a batch; a batch that is not full repeats its last one."""
    missing = size - sum(run.length for run in batch.runs)
    parts = []
    for number, run in enumerate(batch.runs, start=1):
        corners = batch.windows.corners[run.windows]
        if missing and number == len(batch.runs):
            corners = torch.cat([corners, corners[-1:].expand(missing, -1)])
        parts.append(prepared.inputs.cut(corners, run.view))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def less_memory(size: int) -> str:
    """Return the advice for when memory ran out; another batch size may change the last bit."""
    smaller = (
        f"inference.batch_size to {size // 2}, it is {size}" if size > 1 else "a smaller block"
    )
    return f"out of memory: set {smaller} (a run must start over for this)"
