"""One block of pixels in memory -> the probability of a landslide in its core.

`run_block` is the only path from pixels to probabilities: `lspipe.detect`, a run on a cluster and
the benchmarks call it. It reads top to bottom: which windows are needed; a batch of them in model
units; the network on their turned views; the overlap average; the merge over views.

The result does not depend on how the tile was cut. Windows lie on the lattice of the tile
(`windows.py`), every batch has the same shape (the last one is filled up), and sums are integers,
so their order does not matter. On a GPU nothing here is done window by window: pixels and corners
are copied there once per block, a batch is a few kernels, and the result is copied back once.

Does not cover: reading pixels (`cube/`), lazy cubes (`detect.py`), storing (`runs/store/`).
See also: `settings.py`, `batches.py` (windows to the network), `overlap.py` (their average),
`inputs.py` (scaling and fill), `cut_and_add.py` (how windows are cut and added up).
Source: overlap averages and D4 maximum of paper 000, section 2.5; docs/numerics.md.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lspipe.errors import InferenceError
from lspipe.inference import dihedral, windows
from lspipe.inference.batches import (
    PreparedBlock,
    Windows,
    less_memory,
    merge_into,
    merged_views,
    predictions,
)
from lspipe.inference.observed import observed as observed_pixels
from lspipe.inference.overlap import OverlapAverage, hull_of
from lspipe.inference.runtimes.devices import is_out_of_memory
from lspipe.schema import grown, relative

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from lspipe.inference.deviation import Deviation
    from lspipe.inference.runtimes import Runtime
    from lspipe.inference.settings import Setting
    from lspipe.models.item import Scaling
    from lspipe.schema import Part


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
    has_data: NDArray[np.bool_] | None = None,
    report: Callable[[int, int], None] | None = None,
    deviation: Deviation | None = None,
) -> NDArray[np.float32]:
    """Turn the pixels of one block into the probabilities of its core.

    Every lattice window with a wanted pixel (in the core, observed, in the area) goes through the
    network whole. A pixel equals the same pixel of the whole tile bit for bit, at one batch size,
    thread count, runtime and precision.

    Args:
        pixels: (band, y, x) of core + halo (`windows.Block.outer`). int16 is value / step of the
            channel (`schema.CHANNELS`; reflectance x 1e4), -32768 = no data; a float is used
            unchanged, NaN = no data.
        origin: row and column of pixels[:, 0, 0] in the tile.
        tile_shape: rows and columns of the tile, which owns the lattice. An axis shorter than the
            window is padded at its end (reflect); padded pixels are unobserved.
        core: rows and columns of the result, pixels of the tile.
        runtime: the network, its bands in the order of `pixels`, its scaling, fill and device.
        setting: window, stride, TTA, blend, batch size, screen.
        mask: bool (y, x) like `pixels`, True = not observed (cloud, shadow, snow, no data).
        area: bool (y, x) like `pixels`, True = inside the area of interest; None = everywhere.
        tile_range: (band, 2) lowest and highest observed value of the tile (`observed_range`), for
            the scaling "tile-minmax".
        fill_masked: give the network the fill value in masked pixels instead of their own.
        scaling: instead of the runtime's own.
        has_data: bool (y, x) like `pixels`, where every band has data (`observed`), where that is
            known already: nothing waits for it then.
        report: called once with the number of windows with a wanted pixel, and the number that
            was run; a screen leaves some out.
        deviation: is given the map of each view of the core, also where nothing was observed; with
            a screen none.

    Returns:
        float32 of the core's shape, 0..1, NaN = not observed or outside the area.

    Raises:
        InferenceError: the network failed, or returned NaN, another shape or values outside 0..1;
            or the device has too little memory.
        ValueError: shapes that do not fit each other, or pixels that lack a part of the halo.
    """
    _check_layers(pixels, mask=mask, area=area, has_data=has_data)
    missing = _padding(pixels, origin, tile_shape, core, setting)
    if has_data is None:
        has_data = observed_pixels(pixels)
    observed = has_data if mask is None else has_data & ~mask
    wanted = (observed if area is None else observed & area)[relative(core, origin)]
    starts = needed_windows(wanted, core, tile_shape, setting)
    if len(starts) == 0:
        if report is not None:
            report(0, 0)
        return np.full(wanted.shape, np.nan, np.float32)
    prepared = PreparedBlock.of(
        pixels,
        observed=observed,
        hidden=mask if fill_masked else None,
        missing=missing,
        has_gaps=not has_data.all(),
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
                answer = _probability(starts, core, setting, prepared, deviation)
                run = len(starts)
            else:
                answer, run = _screened(
                    core, setting, prepared, above=setting.screen, observed=observed, area=area
                )
            result = _fetched(answer)
    except (RuntimeError, MemoryError) as error:
        # The network names the window where it runs out of memory; this is for sums and windows.
        if not is_out_of_memory(error):
            raise
        where = f"rows {core[0].start}..{core[0].stop}, columns {core[1].start}..{core[1].stop}"
        raise InferenceError(f"{where}: {less_memory(setting.batch_size)}") from error
    if report is not None:
        report(len(starts), run)
    result[~wanted] = np.nan
    return result


def _screened(
    core: Part,
    setting: Setting,
    prepared: PreparedBlock,
    *,
    above: float,
    observed: NDArray[np.bool_],
    area: NDArray[np.bool_] | None,
) -> tuple[torch.Tensor, int]:
    """Run the full setting only near pixels that a coarse first pass puts above the screen.

    For a pixel within `setting.reach` of such a pixel all windows are run, so it equals the run
    without a screen bit for bit. The others keep the probability of the first pass, which is at
    most the screen.

    Args:
        core: rows and columns of the result.
        setting: the full setting.
        prepared: the block that windows are cut from.
        above: the screen, a probability.
        observed: bool (y, x) like the block's pixels.
        area: bool (y, x), True = inside the area; None = everywhere.

    Returns:
        The probability of the core, and how many windows of the full setting were run.
    """
    first = setting.first_pass
    # Pixels outside the core and the area count too: "near" must not depend on where these end.
    around = grown(core, setting.reach, prepared.tile_shape)
    if area is not None:
        observed = observed & _spread(torch.from_numpy(area), setting.reach).numpy()
    wanted = observed[relative(around, prepared.origin)]
    starts = needed_windows(wanted, around, prepared.tile_shape, first)
    coarse = _probability(starts, around, first, prepared)
    hot = (coarse > above) & torch.from_numpy(wanted).to(coarse.device)
    within = relative(core, (around[0].start, around[1].start))
    near, coarse = _spread(hot, setting.reach)[within], coarse[within]
    answered = observed if area is None else observed & area
    starts = needed_windows(
        answered[relative(core, prepared.origin)] & near.cpu().numpy(),
        core,
        prepared.tile_shape,
        setting,
    )
    if len(starts) == 0:
        return coarse, 0
    return torch.where(near, _probability(starts, core, setting, prepared), coarse), len(starts)


def _fetched(answer: torch.Tensor) -> NDArray[np.float32]:
    """Copy a result to the memory of this process, page-locked on the way from a GPU."""
    if answer.is_cuda:
        here = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
        here.copy_(answer, non_blocking=True)
        torch.cuda.current_stream(answer.device).synchronize()
        answer = here
    result: NDArray[np.float32] = answer.numpy()
    return result


def _spread(hot: torch.Tensor, reach: int) -> torch.Tensor:
    """Return True within `reach` pixels (Chebyshev): `preprocess.masks.spread`, on the device."""
    if reach == 0:
        return hot
    spread = hot[None].to(torch.float32)
    for size in ((2 * reach + 1, 1), (1, 2 * reach + 1)):
        spread = torch.nn.functional.max_pool2d(spread, size, 1, (size[0] // 2, size[1] // 2))
    return spread[0] > 0


def _probability(
    starts: NDArray[np.int64],
    part: Part,
    setting: Setting,
    prepared: PreparedBlock,
    deviation: Deviation | None = None,
) -> torch.Tensor:
    """Run windows (N, 2) and merge the overlap averages of all views over a part of the tile.

    Returns:
        float32 of the part's shape, 0..1; valid where all windows of a pixel are among `starts`.
    """
    average = OverlapAverage.of(part, setting, prepared)
    cut = Windows.of(starts, average.origin, prepared)
    views = dihedral.ELEMENTS if setting.tta == "d4" else dihedral.ELEMENTS[:1]
    size, merge, total = setting.batch_size, setting.tta_merge, average.zeros()
    # Both merges may start at 0, the lowest probability.
    merged = torch.zeros(average.shape, dtype=torch.float32, device=prepared.runtime.device)
    if setting.tta_order == "max-then-average":
        answers = predictions(cut, views, prepared, size=size, group=size)
        for some, probability in merged_views(answers, merge, group=size):
            average.add(total, probability, cut.places[some])
        for rows in average.strips():
            merged[rows] = average.mean(total, rows)
        if deviation is not None:
            deviation.add(merged)
        return merged
    answers = predictions(cut, views, prepared, size=size, group=len(starts))
    for _, of_view in groupby(answers, lambda answer: answer[0].view):
        total.zero_()
        for run, probability in of_view:
            average.add(total, probability, cut.places[run.windows])
        for rows in average.strips():
            merge_into(merged[rows], average.mean(total, rows), merge)
        if deviation is not None:
            deviation.add(average.mean(total, slice(0, average.shape[0])))
    return merged.div_(len(views)) if merge == "mean" else merged


def needed_windows(
    wanted: NDArray[np.bool_],
    core: Part,
    tile_shape: tuple[int, int],
    setting: Setting,
) -> NDArray[np.int64]:
    """Return row and column in the tile of every window with a wanted pixel: (N, 2), row by row.

    The other windows hold no wanted pixel, so they change no result.
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


def _check_layers(pixels: NDArray[Any], **layers: NDArray[np.bool_] | None) -> None:
    """Refuse pixels of another dtype, and a mask or area of another shape."""
    # The byte order counts: torch has only that of the machine.
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
    """Return the padding (before, after) of each axis: 0, or up to a window for a short tile.

    Raises:
        ValueError: the pixels do not reach as far as the windows of the core do.
    """
    around = grown(core, setting.reach, tile_shape)
    passes = [setting] if setting.screen is None else [setting, setting.first_pass]
    hulls = [hull_of(around, tile_shape, each) for each in passes]
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
