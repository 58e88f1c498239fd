"""One block of pixels in memory -> the probability of a landslide in its core.

`run_block` is the only path from pixels to probabilities: `lspipe.detect`, a run on a cluster and
the benchmarks call it. It reads top to bottom: which windows are needed; a batch of them in model
units; the network on their turned views; the overlap average; the merge over views.

The result does not depend on how the tile was cut. Windows lie on the lattice of the tile
(`windows.py`), every batch has the same shape (the last one is padded), and sums are integers,
which have no order.

Does not cover: reading pixels (`cube.py`), lazy cubes (`detect.py`), storing (`store.py`).
See also: `presets.py` for the settings, `models/inputs.py` for scaling and fill.
Source: overlap averages and D4 maximum of paper 000, section 2.5; DESIGN, section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lspipe import dihedral, windows
from lspipe.errors import InferenceError
from lspipe.models.inputs import Inputs

# The settings are part of this stage's interface: other modules take them from here.
from lspipe.presets import InferenceSpec as InferenceSpec  # noqa: PLC0414
from lspipe.presets import Setting as Setting  # noqa: PLC0414, TC001
from lspipe.presets import resolve as resolve  # noqa: PLC0414
from lspipe.schema import CUBE_NODATA, REFLECTANCE_SCALE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from lspipe.models.item import Scaling, TtaMerge
    from lspipe.models.runtimes import Runtime

NUMERICS = 1
"""Raised whenever a change of lspipe changes pixels, so that no run directory mixes both."""

# Below 2^19 steps per unit the rounding of an int32 sum would show (1e-6): int64 from there on.
_COARSEST_INT32 = 2.0**19


def run_block(
    pixels: NDArray[Any],
    *,
    origin: tuple[int, int],
    tile_shape: tuple[int, int],
    core: tuple[slice, slice],
    runtime: Runtime,
    setting: Setting,
    mask: NDArray[np.bool_] | None = None,
    area: NDArray[np.bool_] | None = None,
    tile_range: ArrayLike | None = None,
    fill_masked: bool = False,
    scaling: Scaling | None = None,
) -> NDArray[np.float32]:
    """Turn the pixels of one block into the probabilities of its core.

    Every lattice window that holds a pixel to be answered (in the core, observed, in the area) goes
    through the network whole. A pixel equals the same pixel of the whole tile bit for bit, at one
    batch size, thread count, runtime and precision.

    Args:
        pixels: (band, y, x) of core + halo (`windows.Block.outer`). int16 is reflectance x 1e4,
            -32768 = no data; a float is taken as it is, NaN = no data.
        origin: row and column of pixels[:, 0, 0] in the tile.
        tile_shape: rows and columns of the tile, which owns the lattice. An axis shorter than the
            window is padded at its end (reflect); padded pixels are unobserved.
        core: rows and columns to answer, pixels of the tile.
        runtime: the network, its bands in the order of `pixels`, its scaling, fill and device.
        setting: window, stride, TTA, blend, batch size.
        mask: bool (y, x) like `pixels`, True = not observed (cloud, shadow, snow, no data).
        area: bool (y, x) like `pixels`, True = inside the area of interest; None = everywhere.
        tile_range: (band, 2) lowest and highest observed value of the tile (`observed_range`), for
            the scaling "tile-minmax".
        fill_masked: give the network the fill value in masked pixels instead of what they hold.
        scaling: instead of the runtime's own.

    Returns:
        float32 of the core's shape, 0..1, NaN = not observed or outside the area.

    Raises:
        InferenceError: the network failed, or returned NaN, another shape or values outside 0..1.
        ValueError: shapes that do not fit each other, or pixels that lack a part of the halo.
    """
    _check_layers(pixels, mask=mask, area=area)
    missing = _padding(pixels, origin, tile_shape, core, setting)
    observed = _observed(pixels, mask)
    wanted = observed if area is None else observed & area
    wanted = wanted[_relative(core[0], origin[0]), _relative(core[1], origin[1])]
    starts = needed_windows(wanted, core, tile_shape, setting)
    if len(starts) == 0:
        return np.full(wanted.shape, np.nan, np.float32)

    inputs = Inputs.of(
        np.pad(pixels, ((0, 0), *missing), mode="reflect") if np.any(missing) else pixels,
        observed=np.pad(observed, missing),
        hidden=np.pad(mask, missing, mode="reflect") if fill_masked and mask is not None else None,
        origin=origin,
        window=setting.window,
        runtime=runtime,
        scaling=runtime.scaling if scaling is None else scaling,
        tile_range=tile_range,
    )
    average = _OverlapAverage.of(tile_shape, core, setting, runtime.device)
    # Both merges may start at 0, as nothing below is a probability.
    merged = torch.zeros(wanted.shape, dtype=torch.float32, device=runtime.device)
    passes = _passes(setting)
    with torch.inference_mode():
        for views in passes:
            total = average.zeros()
            for batch, probability in _predictions(starts, inputs, runtime, views, setting):
                average.add(total, probability, batch.starts)
            _merge_into(merged, average.mean(total), setting.tta_merge)
        if setting.tta_merge == "mean":
            merged /= len(passes)
    answer = merged.cpu().numpy()
    answer[~wanted] = np.nan
    return answer


def observed_range(
    pixels: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return the lowest and highest observed value of each band, the pre-pass of "tile-minmax".

    Ranges of parts of a tile join by `numpy.fmin` and `numpy.fmax`.

    Args:
        pixels: (band, y, x), int16 (reflectance x 1e4) or a float, as in `run_block`.
        mask: bool (y, x), True = not observed.

    Returns:
        float32 (band, 2), reflectance (or the floats' own unit); NaN if nothing was observed.
    """
    observed = _observed(pixels, mask)
    if not observed.any():
        return np.full((len(pixels), 2), np.nan, np.float32)
    seen = [band[observed] for band in pixels]
    ranges = np.array([[values.min(), values.max()] for values in seen]).astype(np.float32)
    unit = np.float32(REFLECTANCE_SCALE) if pixels.dtype == np.int16 else np.float32(1)
    return ranges * unit


def _observed(pixels: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """True where every band has data and the mask says nothing; band by band, for memory."""
    unobserved = np.zeros(pixels.shape[1:], bool) if mask is None else mask.copy()
    for band in pixels:
        unobserved |= band == CUBE_NODATA if pixels.dtype == np.int16 else np.isnan(band)
    return ~unobserved


def _check_layers(pixels: NDArray[Any], **layers: NDArray[np.bool_] | None) -> None:
    """Refuse pixels of another dtype, and a mask or area that does not lie on them."""
    # The byte order counts: torch has no other than the machine's.
    if pixels.dtype not in (np.int16, np.float16, np.float32, np.float64):
        raise ValueError(f"pixels are {pixels.dtype!r}: expected int16 or float16, 32 or 64")
    for name, layer in layers.items():
        if layer is not None and (layer.shape != pixels.shape[1:] or layer.dtype != bool):
            raise ValueError(
                f"{name} is {layer.dtype} {layer.shape}: expected bool {pixels.shape[1:]}"
            )


def _padding(
    pixels: NDArray[Any],
    origin: tuple[int, int],
    tile_shape: tuple[int, int],
    core: tuple[slice, slice],
    setting: Setting,
) -> list[tuple[int, int]]:
    """Padding (before, after) of each axis: none, or up to the window at the end of a short tile.

    Raises:
        ValueError: the pixels do not reach as far as the windows of the core do.
    """
    missing = []
    for name, first, extent, length, part in zip(
        ("rows", "columns"), origin, pixels.shape[1:], tile_shape, core, strict=True
    ):
        starts = windows.windows_of(part, length, setting.window, setting.stride)
        needed = (int(starts[0]), min(length, int(starts[-1]) + setting.window))
        if first > needed[0] or first + extent < needed[1]:
            raise ValueError(
                f"pixels hold {name} {first}..{first + extent} of the tile: expected "
                f"{needed[0]}..{needed[1]}, the windows of {name} {part.start}..{part.stop}"
            )
        missing.append((0, max(0, setting.window - length)))
    return missing


def _relative(part: slice, first: int) -> slice:
    """A slice of the tile as one of an array that begins at `first`."""
    return slice(part.start - first, part.stop - first)


def needed_windows(
    wanted: NDArray[np.bool_],
    core: tuple[slice, slice],
    tile_shape: tuple[int, int],
    setting: Setting,
) -> NDArray[np.int64]:
    """Row and column in the tile of every window with a wanted pixel: (N, 2), row by row.

    The windows left out would change no answered pixel: they hold none.
    """
    size = setting.window
    rows, columns = (
        windows.windows_of(part, length, size, setting.stride)
        for part, length in zip(core, tile_shape, strict=True)
    )

    def under(start: int, part: slice) -> slice:
        return slice(max(0, start - part.start), start - part.start + size)

    strips = np.stack([wanted[under(row, core[0])].any(axis=0) for row in rows])
    hits = np.stack([strips[:, under(column, core[1])].any(axis=1) for column in columns], axis=1)
    i, j = np.nonzero(hits)
    return np.stack([rows[i], columns[j]], axis=1)


def _passes(setting: Setting) -> list[tuple[int, ...]]:
    """Views that are merged inside a window, for each overlap average: 8 x (1 view) or 1 x (8)."""
    views = dihedral.ELEMENTS if setting.tta == "d4" else dihedral.ELEMENTS[:1]
    return [views] if setting.tta_order == "max-then-average" else [(view,) for view in views]


def _merge_into(merged: torch.Tensor, view: torch.Tensor, merge: TtaMerge) -> None:
    """Add one more view to a maximum or a sum, in place; one after the other, so in one order."""
    if merge == "max":
        torch.maximum(merged, view, out=merged)
    else:
        merged += view


@dataclass(frozen=True)
class _Batch:
    """Windows that go through the network together."""

    number: int
    count: int
    starts: NDArray[np.int64]
    """(N, 2) row and column in the tile; in the last batch fewer than the network is given."""

    def fault(self, found: str, index: int = 0) -> InferenceError:
        """An error that names a window (by default the first), its batch and what was found."""
        row, column = self.starts[min(index, len(self.starts) - 1)].tolist()
        return InferenceError(
            f"window at row {row}, column {column} of the tile (batch {self.number} of "
            f"{self.count}): {found}"
        )


@dataclass(frozen=True)
class _Answer:
    """What the network said about a batch, not yet looked at."""

    batch: _Batch
    probability: torch.Tensor
    """(N, w, w), views merged."""
    lowest: torch.Tensor
    highest: torch.Tensor
    """(N,) of each window over all its views, before they were merged."""

    def verified(self) -> tuple[_Batch, torch.Tensor]:
        """The batch and its probabilities, without those that only padded it.

        Raises:
            InferenceError: some are no probabilities.
        """
        # NaN is in no range, so it is refused here too.
        is_sane = (self.lowest >= 0) & (self.highest <= 1)
        if not is_sane.all():
            index = int((~is_sane).nonzero()[0])
            raise self.batch.fault(
                f"the network returned {float(self.lowest[index]):g} to "
                f"{float(self.highest[index]):g}, expected probabilities 0..1; check that it ends "
                "in a sigmoid and gets the scaling it was trained with",
                index,
            )
        return self.batch, self.probability[: len(self.batch.starts)]


def _predictions(
    starts: NDArray[np.int64],
    inputs: Inputs,
    runtime: Runtime,
    views: tuple[int, ...],
    setting: Setting,
) -> Iterator[tuple[_Batch, torch.Tensor]]:
    """Send all windows through the network, batch by batch; yield (N, w, w) probabilities."""
    size = setting.batch_size
    count = math.ceil(len(starts) / size)
    held: _Answer | None = None
    for number in range(count):
        batch = _Batch(number + 1, count, starts[number * size :][:size])
        # One batch shape throughout: another one may round otherwise in the last bit.
        full = np.pad(batch.starts, ((0, size - len(batch.starts)), (0, 0)), mode="edge")
        answer = _answer(inputs.cut(full), batch, runtime, views, setting.tta_merge)
        # A GPU is asked how a batch went only after it was given the next one, so it never waits.
        if held is not None:
            yield held.verified()
        held = answer
    if held is not None:
        yield held.verified()


def _answer(
    images: torch.Tensor,
    batch: _Batch,
    runtime: Runtime,
    views: tuple[int, ...],
    merge: TtaMerge,
) -> _Answer:
    """Turn the windows (N, C, w, w) to each view, predict, turn back and merge the views."""
    merged = torch.zeros((len(images), *images.shape[2:]), device=images.device)
    lowest = torch.full((len(images),), torch.inf, device=images.device)
    highest = -lowest
    for view in views:
        # A copy: networks may work in place, and must see one memory layout whatever the view.
        turned = dihedral.apply(view, images).clone(memory_format=torch.contiguous_format)
        answer = _call(runtime, turned, batch)
        lowest = torch.minimum(lowest, answer.amin((1, 2)))
        highest = torch.maximum(highest, answer.amax((1, 2)))
        _merge_into(merged, dihedral.invert(view, answer), merge)
    if merge == "mean":
        merged /= len(views)
    return _Answer(batch, merged, lowest, highest)


def _call(runtime: Runtime, images: torch.Tensor, batch: _Batch) -> torch.Tensor:
    """Call the network; its failures name the first window of the batch."""
    try:
        answer = runtime(images)
    except torch.OutOfMemoryError as error:
        raise batch.fault(
            f"out of GPU memory: set inference.batch_size to {max(1, len(images) // 2)}, "
            f"it is {len(images)}"
        ) from error
    except InferenceError as error:
        raise batch.fault(str(error)) from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise batch.fault(f"the network failed: {reason}") from error
    expected = (len(images), *images.shape[2:])
    if tuple(answer.shape) != expected:
        raise batch.fault(f"the network returned shape {tuple(answer.shape)}, expected {expected}")
    return answer


def _largest_power_of_2(limit: int) -> float:
    """2 ^ floor(log2(limit)), in integers: a logarithm would round 2^63 - 1 up, and overflow."""
    return float(2 ** (limit.bit_length() - 1))


@dataclass(frozen=True)
class _OverlapAverage:
    """Weighted average of windows over the core of a block, by sums of integers.

    A probability becomes round(p * weight * scale); the scale is the largest power of two with
    which no pixel of the tile can overflow. Weights of a pixel over all windows are known
    beforehand (`windows.weight_sums`), so nothing is counted.
    """

    core: tuple[slice, slice]
    dtype: torch.dtype
    scale: float
    weights: torch.Tensor | None
    """float64 (w, w); None where all are 1."""
    rows: torch.Tensor
    columns: torch.Tensor
    """Summed weights of each row and column of the core, float32."""

    @classmethod
    def of(
        cls,
        tile_shape: tuple[int, int],
        core: tuple[slice, slice],
        setting: Setting,
        device: torch.device,
    ) -> _OverlapAverage:
        """Prepare the average; every block of a tile gets the same scale."""
        size, stride, blend = setting.window, setting.stride, setting.blend
        sums = [windows.weight_sums(length, size, stride, blend) for length in tile_shape]
        most = math.prod(int(windows.coverage(length, size, stride).max()) for length in tile_shape)
        dtype, scale = torch.int32, _largest_power_of_2((2**31 - 1) // most)
        # The weights of Hann's rim go down to 1e-10, and thousands of windows leave too few bits.
        if blend != "uniform" or scale < _COARSEST_INT32:
            dtype, scale = torch.int64, _largest_power_of_2((2**63 - 1) // most)
        weights = torch.from_numpy(windows.weights_1d(size, blend)).to(device)
        rows, columns = (
            torch.from_numpy(total[part].astype(np.float32)).to(device)
            for total, part in zip(sums, core, strict=True)
        )
        return cls(
            core=core,
            dtype=dtype,
            scale=scale,
            weights=None if blend == "uniform" else torch.outer(weights, weights),
            rows=rows[:, None],
            columns=columns,
        )

    def zeros(self) -> torch.Tensor:
        """A sum over the core, with nothing in it yet."""
        shape = (len(self.rows), len(self.columns))
        return torch.zeros(shape, dtype=self.dtype, device=self.rows.device)

    def add(
        self, total: torch.Tensor, probability: torch.Tensor, starts: NDArray[np.int64]
    ) -> None:
        """Add windows (N, w, w) to a sum, each where it lies; what is outside the core is cut."""
        weighted = probability if self.weights is None else probability * self.weights
        steps = (weighted * self.scale).round_().to(self.dtype)
        # Slice by slice: 17 us per window on a CPU, where fold takes 268 (PERFORMANCE).
        for (row, column), window in zip(starts.tolist(), steps, strict=True):
            top, left = row - self.core[0].start, column - self.core[1].start
            place = total[max(0, top) : top + len(window), max(0, left) : left + len(window)]
            inside = window[max(0, -top) :, max(0, -left) :]
            place += inside[: place.shape[0], : place.shape[1]]

    def mean(self, total: torch.Tensor) -> torch.Tensor:
        """Turn a sum into the average, float32 0..1."""
        mean = total.to(torch.float32).div_(self.scale).div_(self.rows).div_(self.columns)
        # Hann's weights do not add up to the last bit.
        return mean.clamp_(max=1)
