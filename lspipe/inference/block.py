"""One block of pixels in memory -> the probability of a landslide in its core.

`run_block` is the only path from pixels to probabilities: `lspipe.detect`, a run on a cluster and
the benchmarks call it. It reads top to bottom: which windows are needed; a batch of them in model
units; the network on their turned views; the overlap average; the merge over views.

The result does not depend on how the tile was cut. Windows lie on the lattice of the tile
(`windows.py`), every batch has the same shape (the last one is padded), and sums are integers,
which have no order. On a GPU nothing here is done window by window: pixels and corners go there
once per block, a batch is a few kernels, and the answer comes back once.

Does not cover: reading pixels (`cube.py`), lazy cubes (`detect.py`), storing (`runs/store/`).
See also: `presets.py` for the settings, `inputs.py` for scaling and fill, `gather.py` for how
windows are cut and added up.
Source: overlap averages and D4 maximum of paper 000, section 2.5; DESIGN, section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lspipe.errors import InferenceError
from lspipe.inference import dihedral, windows
from lspipe.inference.inputs import Inputs
from lspipe.inference.observed import observed as observed_pixels
from lspipe.inference.runtimes.devices import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from lspipe.inference.gather import Way
    from lspipe.inference.runtimes import Runtime
    from lspipe.inference.settings import Setting
    from lspipe.models.item import Scaling, TtaMerge

NUMERICS = 1
"""Raised whenever a change of lspipe changes pixels, so that no run directory mixes both."""

# Below 2^19 steps per unit the rounding of an int32 sum would show (1e-6): int64 from there on.
_COARSEST_INT32 = 2.0**19

# What a network raises is anybody's; these are what torch and the arithmetic of shapes raise.
_NETWORK_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, MemoryError)

_STRIP = 512
"""Rows of a sum that are averaged at a time."""

Part = tuple[slice, slice]
"""Rows and columns of the tile that belong together."""


def run_block(
    pixels: NDArray[Any],
    *,
    origin: tuple[int, int],
    tile_shape: tuple[int, int],
    core: Part,
    runtime: Runtime,
    setting: Setting,
    mask: NDArray[np.bool_] | None = None,
    area: NDArray[np.bool_] | None = None,
    tile_range: ArrayLike | None = None,
    fill_masked: bool = False,
    scaling: Scaling | None = None,
    report: Callable[[int, int], None] | None = None,
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
        setting: window, stride, TTA, blend, batch size, screen.
        mask: bool (y, x) like `pixels`, True = not observed (cloud, shadow, snow, no data).
        area: bool (y, x) like `pixels`, True = inside the area of interest; None = everywhere.
        tile_range: (band, 2) lowest and highest observed value of the tile (`observed_range`), for
            the scaling "tile-minmax".
        fill_masked: give the network the fill value in masked pixels instead of what they hold.
        scaling: instead of the runtime's own.
        report: told once how many windows hold a pixel to be answered, and how many of them were
            run; a screen leaves some out.

    Returns:
        float32 of the core's shape, 0..1, NaN = not observed or outside the area.

    Raises:
        InferenceError: the network failed, or returned NaN, another shape or values outside 0..1;
            or the device has too little memory.
        ValueError: shapes that do not fit each other, or pixels that lack a part of the halo.
    """
    _check_layers(pixels, mask=mask, area=area)
    missing = _padding(pixels, origin, tile_shape, core, setting)
    observed = observed_pixels(pixels, mask)
    wanted = (observed if area is None else observed & area)[_relative(core, origin)]
    starts = needed_windows(wanted, core, tile_shape, setting)
    if len(starts) == 0:
        if report is not None:
            report(0, 0)
        return np.full(wanted.shape, np.nan, np.float32)
    scene = _Scene.of(
        pixels,
        observed=observed,
        hidden=mask if fill_masked else None,
        missing=missing,
        origin=origin,
        tile_shape=tile_shape,
        runtime=runtime,
        window=setting.window,
        scaling=runtime.scaling if scaling is None else scaling,
        tile_range=tile_range,
    )
    try:
        with torch.inference_mode():
            if setting.screen is None:
                answer, run = _probability(starts, core, setting, scene), len(starts)
            else:
                answer, run = _screened(
                    core, setting, scene, above=setting.screen, observed=observed, area=area
                )
            result = answer.cpu().numpy()
    except (RuntimeError, MemoryError) as error:
        # A network that runs out of memory names its window; this is about sums and windows.
        if not is_out_of_memory(error):
            raise
        where = f"rows {core[0].start}..{core[0].stop}, columns {core[1].start}..{core[1].stop}"
        raise InferenceError(f"{where}: {_less_memory(setting.batch_size)}") from error
    if report is not None:
        report(len(starts), run)
    result[~wanted] = np.nan
    return result


def _screened(
    core: Part,
    setting: Setting,
    scene: _Scene,
    *,
    above: float,
    observed: NDArray[np.bool_],
    area: NDArray[np.bool_] | None,
) -> tuple[torch.Tensor, int]:
    """Run the full setting only near pixels of which a coarse first pass is not certain.

    A pixel within `setting.reach` of one that the first pass puts above the screen is answered in
    full: all its windows are run, so it equals the run without a screen bit for bit. The others
    keep the first pass's answer, which is at most the screen.

    Args:
        core: rows and columns to answer.
        setting: the full setting.
        scene: what windows are cut from.
        above: the screen, a probability.
        observed: bool (y, x) like the block's pixels.
        area: bool (y, x), True = inside the area; None = everywhere.

    Returns:
        The probability of the core, and how many windows of the full setting were run.
    """
    first = setting.first_pass
    # Pixels beyond the core and beyond the area count too: what lies near must not depend on
    # where either ends.
    around = windows.grown(core, setting.reach, scene.tile_shape)
    if area is not None:
        observed = observed & _spread(torch.from_numpy(area), setting.reach).numpy()
    wanted = observed[_relative(around, scene.origin)]
    starts = needed_windows(wanted, around, scene.tile_shape, first)
    coarse = _probability(starts, around, first, scene)
    hot = (coarse > above) & torch.from_numpy(wanted).to(coarse.device)
    within = _relative(core, (around[0].start, around[1].start))
    near, coarse = _spread(hot, setting.reach)[within], coarse[within]
    answered = observed if area is None else observed & area
    starts = needed_windows(
        answered[_relative(core, scene.origin)] & near.cpu().numpy(),
        core,
        scene.tile_shape,
        setting,
    )
    if len(starts) == 0:
        return coarse, 0
    return torch.where(near, _probability(starts, core, setting, scene), coarse), len(starts)


def _spread(hot: torch.Tensor, reach: int) -> torch.Tensor:
    """True within `reach` pixels (Chebyshev) of a True pixel."""
    if reach == 0:
        return hot
    spread = hot[None].to(torch.float32)
    for size in ((2 * reach + 1, 1), (1, 2 * reach + 1)):
        spread = torch.nn.functional.max_pool2d(spread, size, 1, (size[0] // 2, size[1] // 2))
    return spread[0] > 0


@dataclass(frozen=True)
class _Scene:
    """What all windows of a block share."""

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
    ) -> _Scene:
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


def _probability(
    starts: NDArray[np.int64], part: Part, setting: Setting, scene: _Scene
) -> torch.Tensor:
    """Run windows (N, 2) and merge the overlap averages of all views over a part of the tile.

    Returns:
        float32 of the part's shape, 0..1; right where all windows of a pixel are among `starts`.
    """
    average = _OverlapAverage.of(part, setting, scene)
    batches = _batches(starts, setting.batch_size, average.origin, scene)
    # Both merges may start at 0, as nothing below is a probability.
    merged = torch.zeros(average.shape, dtype=torch.float32, device=scene.runtime.device)
    total = average.zeros()
    passes = _passes(setting)
    for views in passes:
        total.zero_()
        for batch, probability in _predictions(batches, views, setting.tta_merge, scene):
            average.add(total, probability, batch.places)
        for rows in average.strips():
            _merge_into(merged[rows], average.mean(total, rows), setting.tta_merge)
    return merged.div_(len(passes)) if setting.tta_merge == "mean" else merged


def needed_windows(
    wanted: NDArray[np.bool_],
    core: Part,
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
    corners: torch.Tensor
    """(batch size, 2) the same in the block's pixels; the last ones may repeat, for one shape."""
    places: torch.Tensor
    """(N, 2) the same in the sum."""

    def fault(self, found: str, index: int = 0) -> InferenceError:
        """An error that names a window (by default the first), its batch and what was found."""
        row, column = self.starts[min(index, len(self.starts) - 1)].tolist()
        return InferenceError(
            f"window at row {row}, column {column} of the tile (batch {self.number} of "
            f"{self.count}): {found}"
        )


def _batches(
    starts: NDArray[np.int64], size: int, sum_origin: tuple[int, int], scene: _Scene
) -> list[_Batch]:
    """Cut windows into batches; their places go to the device once."""
    count = math.ceil(len(starts) / size)
    # One batch shape throughout: another one may round otherwise in the last bit.
    full = np.pad(starts, ((0, count * size - len(starts)), (0, 0)), mode="edge")
    corners, places = (
        torch.from_numpy(positions - origin).to(scene.runtime.device)
        for positions, origin in ((full, scene.origin), (starts, sum_origin))
    )
    parts = [slice(number * size, (number + 1) * size) for number in range(count)]
    return [
        _Batch(number, count, starts[part], corners[part], places[part])
        for number, part in enumerate(parts, start=1)
    ]


@dataclass(frozen=True)
class _Answer:
    """What the network said about a batch, not yet looked at."""

    batch: _Batch
    probability: torch.Tensor
    """(N, w, w), views merged."""
    lowest: torch.Tensor
    highest: torch.Tensor
    """(views, N) of each window, before views were merged."""
    is_sane: torch.Tensor
    """bool (), on the CPU: whether all are probabilities; to be read after `told`."""
    told: torch.cuda.Event | None
    """When a GPU has written `is_sane`; None on a CPU."""

    def verified(self) -> tuple[_Batch, torch.Tensor]:
        """The batch and its probabilities, without those that only padded it.

        Raises:
            InferenceError: some are no probabilities.
        """
        if self.told is not None:
            self.told.synchronize()
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
    """Whether all lies in 0..1; NaN is in no range, so it does not."""
    return (lowest >= 0) & (highest <= 1)


def _predictions(
    batches: list[_Batch], views: tuple[int, ...], merge: TtaMerge, scene: _Scene
) -> Iterator[tuple[_Batch, torch.Tensor]]:
    """Send windows through the network, batch by batch; yield (N, w, w) probabilities."""
    held: _Answer | None = None
    for batch in batches:
        answer = _answer(batch, views, merge, scene)
        # A GPU is asked how a batch went only after it was given the next one, and about that batch
        # alone, so it never waits.
        if held is not None:
            yield held.verified()
        held = answer
    if held is not None:
        yield held.verified()


def _answer(batch: _Batch, views: tuple[int, ...], merge: TtaMerge, scene: _Scene) -> _Answer:
    """Predict the windows of a batch as each view has them, turn back and merge the views."""
    answers = [_call(batch, view, scene) for view in views]
    lowest, highest = (
        torch.stack([extreme(answer, (1, 2)) for answer in answers])
        for extreme in (torch.amin, torch.amax)
    )
    merged, *others = map(dihedral.invert, views, answers)
    for other in others:
        _merge_into(merged, other, merge)
    if len(views) > 1 and merge == "mean":
        merged /= len(views)
    is_sane = _are_probabilities(lowest, highest).all().to("cpu", non_blocking=True)
    told = None
    if merged.is_cuda:
        told = torch.cuda.Event()  # type: ignore[no-untyped-call]
        told.record()
    return _Answer(batch, merged, lowest, highest, is_sane, told)


def _call(batch: _Batch, view: int, scene: _Scene) -> torch.Tensor:
    """Cut a batch and call the network; failures name the first window of the batch."""
    size = len(batch.corners)
    images = scene.inputs.cut(batch.corners, view)
    try:
        answer = scene.runtime(images)
    except InferenceError as error:
        raise batch.fault(str(error)) from error
    except _NETWORK_FAILURES as error:
        if is_out_of_memory(error):
            raise batch.fault(_less_memory(size)) from error
        reason = " ".join(str(error).split())[:300]
        raise batch.fault(f"the network failed: {reason}") from error
    expected = (size, *images.shape[2:])
    if tuple(answer.shape) != expected:
        raise batch.fault(f"the network returned shape {tuple(answer.shape)}, expected {expected}")
    # What the network returned is its own: the next call may write there.
    return answer.clone()


def _less_memory(size: int) -> str:
    """Say what helps where memory ran out; another batch size may round otherwise."""
    smaller = (
        f"inference.batch_size to {size // 2}, it is {size}" if size > 1 else "a smaller block"
    )
    return f"out of memory: set {smaller} (a run has to start over then, with --fresh)"


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

    part: Part
    hull: Part
    """Part and all that its windows hold: what the sum is over, so that no window is clipped."""
    dtype: torch.dtype
    scale: float
    weights: torch.Tensor | None
    """float64 (w, w); None where all are 1."""
    rows: torch.Tensor
    columns: torch.Tensor
    """Summed weights of each row (n, 1) and column (n,) of the part, float32."""
    way: Way

    @classmethod
    def of(cls, part: Part, setting: Setting, scene: _Scene) -> _OverlapAverage:
        """Prepare the average; every block of a tile gets the same scale."""
        tile_shape, device = scene.tile_shape, scene.runtime.device
        size, stride, blend = setting.window, setting.stride, setting.blend
        sums = [windows.weight_sums(length, size, stride, blend) for length in tile_shape]
        most = math.prod(int(windows.coverage(length, size, stride).max()) for length in tile_shape)
        dtype, scale = torch.int32, _largest_power_of_2((2**31 - 1) // most)
        # The weights of Hann's rim go down to 1e-10, and thousands of windows leave too few bits.
        if blend != "uniform" or scale < _COARSEST_INT32:
            dtype, scale = torch.int64, _largest_power_of_2((2**63 - 1) // most)
        weights = torch.from_numpy(windows.weights_1d(size, blend)).to(device)
        rows, columns = (
            torch.from_numpy(total[span].astype(np.float32)).to(device)
            for total, span in zip(sums, part, strict=True)
        )
        return cls(
            part=part,
            hull=_hull(part, tile_shape, setting),
            dtype=dtype,
            scale=scale,
            weights=None if blend == "uniform" else torch.outer(weights, weights),
            rows=rows[:, None],
            columns=columns,
            way=scene.inputs.way,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the part."""
        return len(self.rows), len(self.columns)

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the sum's first pixel in the tile."""
        return self.hull[0].start, self.hull[1].start

    def zeros(self) -> torch.Tensor:
        """A sum with nothing in it yet."""
        shape = tuple(span.stop - span.start for span in self.hull)
        return torch.zeros(shape, dtype=self.dtype, device=self.rows.device)

    def add(self, total: torch.Tensor, probability: torch.Tensor, places: torch.Tensor) -> None:
        """Add windows (N, w, w) to a sum, each where it lies."""
        weighted = probability if self.weights is None else probability * self.weights
        self.way.add(total, (weighted * self.scale).round_().to(self.dtype), places)

    def strips(self) -> list[slice]:
        """Rows of the part, some at a time: an average of all would be as large as the sum."""
        height = len(self.rows)
        return [slice(first, min(first + _STRIP, height)) for first in range(0, height, _STRIP)]

    def mean(self, total: torch.Tensor, rows: slice) -> torch.Tensor:
        """Turn a sum into the average over some rows of the part, float32 0..1."""
        inside = total[_relative(self.part, self.origin)][rows]
        mean = inside.to(torch.float32).div_(self.scale).div_(self.rows[rows]).div_(self.columns)
        # Hann's weights do not add up to the last bit.
        return mean.clamp_(max=1)


def _hull(part: Part, tile_shape: tuple[int, int], setting: Setting) -> Part:
    """Rows and columns of the tile under the windows of a part; beyond the end of a short tile."""
    spans = []
    for span, length in zip(part, tile_shape, strict=True):
        starts = windows.windows_of(span, length, setting.window, setting.stride)
        spans.append(slice(int(starts[0]), int(starts[-1]) + setting.window))
    return spans[0], spans[1]


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
    core: Part,
    setting: Setting,
) -> list[tuple[int, int]]:
    """Padding (before, after) of each axis: none, or up to the window at the end of a short tile.

    Raises:
        ValueError: the pixels do not reach as far as the windows of the core do.
    """
    around = windows.grown(core, setting.reach, tile_shape)
    passes = [setting] if setting.screen is None else [setting, setting.first_pass]
    hulls = [_hull(around, tile_shape, each) for each in passes]
    missing = []
    for axis, name in enumerate(("rows", "columns")):
        length, first = tile_shape[axis], origin[axis]
        last = first + pixels.shape[1 + axis]
        needed = (min(hull[axis].start for hull in hulls), max(hull[axis].stop for hull in hulls))
        if first > needed[0] or last < min(length, needed[1]):
            part = core[axis]
            raise ValueError(
                f"pixels hold {name} {first}..{last} of the tile: expected "
                f"{needed[0]}..{min(length, needed[1])}, the windows of {name} "
                f"{part.start}..{part.stop}"
            )
        missing.append((0, max(0, setting.window - length)))
    return missing


def _relative(part: Part, origin: tuple[int, int]) -> Part:
    """A part of the tile as one of an array that begins at `origin`."""
    rows, columns = (
        slice(span.start - first, span.stop - first)
        for span, first in zip(part, origin, strict=True)
    )
    return rows, columns
