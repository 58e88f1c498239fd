"""A cube and a model -> a map of probabilities: `lspipe.detect`.

A NumPy-backed cube is computed at once, as one block. A dask-backed cube stays lazy: its chunks,
merged until each can fill the halo of its neighbour, are the blocks; `map_overlap` adds the halos.
Both go through `inference.run_block`, so they agree to the last bit.

Does not cover: an area of interest, storing, resuming (`runs/`).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from torch import nn

from lspipe.errors import UsageError
from lspipe.inference import windows
from lspipe.inference.ensemble import run_each
from lspipe.inference.given import read_cube
from lspipe.inference.map_overlap import map_overlap
from lspipe.inference.observed import observed_range
from lspipe.inference.presets import trace_model
from lspipe.inference.reference import ModelReference
from lspipe.inference.runtimes import from_callable
from lspipe.inference.runtimes.choice import Work, choose
from lspipe.inference.settings import InferenceSpec, Setting
from lspipe.models.ensemble import read_model
from lspipe.schema import CUBE_NODATA, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dask.array as da
    import xarray as xr
    from dask.delayed import Delayed
    from numpy.typing import NDArray

    from lspipe.inference.runtimes import Runtime
    from lspipe.models.item import Blend, ModelItem, Tta, TtaMerge, TtaOrder


def detect(
    cube: xr.DataArray | xr.Dataset | NDArray[Any],
    model: str | Path | Sequence[str | Path] | Callable[[Any], Any],
    *,
    mask: xr.DataArray | NDArray[np.bool_] | None = None,
    window: int | None = None,
    stride: int | None = None,
    tta: Tta | None = None,
    tta_merge: TtaMerge | None = None,
    tta_order: TtaOrder | None = None,
    blend: Blend | None = None,
    batch_size: int = 8,
    screen: float | None = None,
    precision: str = "fp32",
    runtime: str = "auto",
    device: str = "auto",
) -> xr.DataArray:
    """Return the probability of a landslide at every pixel of a cube.

    With a model item, settings that are not given come from the item, and pixels are treated as in
    a run: the same cube gives the same bits in both, at one batch size and runtime.

    Args:
        cube: `DataArray` (band, y, x) or (time, band, y, x), or a `Dataset` whose variables are the
            bands; any order, also `latitude` and `longitude`, NumPy- or dask-backed.
            For a model item, bands are taken by name ("B04", "red", "before:B04"), and numbers are
            physical values (reflectance 0..1, degrees, metres, dB; NaN = no data) or int16 codes
            of them (`schema.CHANNELS`: reflectance x 1e4, -32768 = no data). `scale_factor`,
            `add_offset` and `_FillValue` are applied; digital numbers without them are refused.
            For a callable, floats are used unchanged, int16 as reflectance x 1e4, and a NumPy array
            is accepted too.
        model: path of a model item ("shipped:NAME" too), or a callable or torch module
            (N, C, window, window) -> (N, 1, window, window) probabilities; never modified. A list
            of items with the same channels and settings is an ensemble: the map is the mean of
            their maps.
        mask: bool (y, x) or (time, y, x), True = not observed. Masked pixels keep their values for
            the network and are NaN in the result.
        window: edge of a window, pixels; 224 for a callable.
        stride: step between windows, pixels, 1..window; 22 for a callable, 90 % overlap as in the
            paper. An item keeps its overlap with another window too.
        tta: "d4" shows each window to the network in its eight symmetries, "none" once; "d4" for a
            callable. An item with directional channels (radar) is not turned unless this is given.
        tta_merge: "max" or "mean" of the eight; "max" for a callable.
        tta_order: "average-then-max" averages overlaps per view and then merges views,
            "max-then-average" the other way round; the former for a callable.
        blend: weights of the overlap average, "uniform" or "hann"; "uniform" for a callable.
        batch_size: windows in one call of the network; another size may change the last bit.
        screen: a coarse first pass is run; the full setting runs only where its probability is
            above this, and within a quarter of a window. None = the full setting everywhere.
        precision: "fp32", "bf16" or "auto".
        runtime: what executes the network: "eager" (plain PyTorch), "compiled" (torch.compile;
            minutes at most, once per process), "openvino" (CPU), or "cudagraph" (GPU). All but
            "eager" keep a copy of the module's present weights, and stay in this process. "auto" is
            "eager", unless a model item or a module has minutes to do on a processor with an array
            in memory: then two batches of each are measured, and the quickest is taken where it
            ends clearly earlier (`runtimes.choice`).
        device: "cpu", "cuda" or "auto".

    Returns:
        float32 "probability", (y, x) or (time, y, x) in the names and order of the cube, 0..1,
        NaN = not observed; lazy if the cube is. Coordinates without a band dimension, the CRS
        among them, are kept.

    Raises:
        UsageError: cube, mask or settings do not fit. Numbers of a lazy cube are checked when the
            map is computed.
        ModelError: the model cannot be used.
        InferenceError: the network failed; for a lazy cube, when it is computed.

    Examples:
        Forest with a bare patch, in reflectance:

        >>> import lspipe, numpy as np, xarray as xr
        >>> forest, bare = [0.02, 0.03, 0.35, 0.12], [0.08, 0.14, 0.20, 0.30]
        >>> cube = xr.DataArray(
        ...     np.broadcast_to(np.reshape(forest, (4, 1, 1)), (4, 40, 40)).copy(),
        ...     dims=("band", "y", "x"), coords={"band": ["B02", "B04", "B08", "B11"]},
        ... )
        >>> cube[:, 10:20, 5:15] = np.reshape(bare, (4, 1, 1))
        >>> found = lspipe.detect(cube, "shipped:bare-ground")
        >>> int((found > 0.5).sum())
        100

        Two dates, put together, for a model that sees both: forest that became a scar.

        >>> dates = {"before": [0.03, 0.30], "after": [0.16, 0.22]}
        >>> pair = xr.concat(
        ...     [
        ...         xr.DataArray(
        ...             np.broadcast_to(np.reshape(values, (2, 1, 1)), (2, 40, 40)),
        ...             dims=("band", "y", "x"), coords={"band": [f"{date}:B04", f"{date}:B08"]},
        ...         )
        ...         for date, values in dates.items()
        ...     ], dim="band",
        ... )
        >>> bool((lspipe.detect(pair, "shipped:bare-change") > 0.5).all())
        True

        Any callable, on a NumPy array:

        >>> lspipe.detect(cube.values, lambda batch: batch[:, :1], window=32, stride=16).dims
        ('y', 'x')
    """
    item = _item(model)
    setting = _setting(
        item, window=window, stride=stride, tta=tta, tta_merge=tta_merge, tta_order=tta_order,
        blend=blend, batch_size=batch_size, screen=screen,
    )  # fmt: skip
    source = _reference(model, item, device=device, precision=precision, runtime=runtime)
    given = read_cube(cube, source.open_each()[0].bands)
    hidden = given.mask_of(mask)
    if given.series.chunks is None:
        if runtime == "auto" and (item is not None or isinstance(model, nn.Module)):
            source = _quickest(source, model, given.series.shape, setting)
        data: Any = _eager(given.series.to_numpy(), hidden.to_numpy(), source, setting)
    else:
        data = _lazy(given.series.data, None if mask is None else hidden.data, source, setting)
    return given.map_of(data)


def _item(model: Any) -> ModelItem | None:
    """Read a model item, or several as an ensemble; None for a callable."""
    names = [model] if isinstance(model, str | os.PathLike) else model
    if not isinstance(names, list | tuple):
        return None
    others = [type(name).__name__ for name in names if not isinstance(name, str | os.PathLike)]
    if others or not names:
        raise UsageError(
            f"detect: model is a list of {', '.join(others) or 'nothing'}: expected the paths of "
            "model items; of callables make one that returns their mean"
        )
    return read_model([os.fspath(name) for name in names], Path())


@dataclass(frozen=True)
class _Opened:
    """An opened callable in place of a `ModelReference`; it stays in this process."""

    runtime: Runtime

    def open_each(self) -> tuple[Runtime, ...]:
        return (self.runtime,)


def _reference(
    model: Any, item: ModelItem | None, *, device: str, precision: str, runtime: str
) -> ModelReference | _Opened:
    """Return what opens the network where a block is computed: for an item, path and hashes."""
    if item is None:
        opened = from_callable(model, device=device, precision=precision, runtime=runtime)
        return _Opened(opened)
    # Not resolved here: a worker of a lazy cube may have a GPU where this process has none.
    return ModelReference.unopened(item).on(device=device, precision=precision, runtime=runtime)


def _quickest(
    source: ModelReference | _Opened, model: Any, shape: tuple[int, ...], setting: Setting
) -> ModelReference | _Opened:
    """Return the networks in the runtime that is done first with (time, band, y, x)."""
    times, channels, *sides = shape
    starts = [len(windows.origins(side, setting.window, setting.stride)) for side in sides]
    work = Work(
        passes=times * math.prod(starts) * (8 if setting.tta == "d4" else 1),
        batch_size=setting.batch_size,
        channels=channels,
        window=setting.window,
    )
    plain = source.open_each()[0]

    def open_as(name: str) -> Runtime:
        if name == plain.name:
            return plain
        if isinstance(source, ModelReference):
            return replace(source.first, runtime=name).open()
        return from_callable(
            model, device=plain.device.type, precision=plain.precision, runtime=name
        )

    chosen = choose(open_as, work).runtime
    if isinstance(source, ModelReference):
        return source.on(device=source.device, precision=source.precision, runtime=chosen.name)
    return _Opened(chosen)


def _setting(item: ModelItem | None, **given: Any) -> Setting:
    """Fill the settings that are not given: as in a run, or for a callable as in the paper."""
    try:
        if item is not None:
            return trace_model(InferenceSpec(**given), item)[0]
        return Setting(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise UsageError(f"detect: {error}") from error


def _eager(
    pixels: NDArray[Any], mask: NDArray[np.bool_], model: ModelReference | _Opened, setting: Setting
) -> NDArray[np.float32]:
    """Compute (time, band, y, x) at once, each time as one block."""
    shape = pixels.shape[2:]
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    networks = model.open_each()
    maps = [
        run_each(
            image,
            origin=(0, 0),
            tile_shape=shape,
            core=whole,
            runtimes=networks,
            setting=setting,
            mask=hidden,
            tile_range=observed_range(image, hidden, bands=networks[0].bands)
            if _needs_range(networks)
            else None,
        )
        for image, hidden in zip(pixels, mask, strict=True)
    ]
    # A single map, the usual case, is not copied.
    return maps[0][None] if len(maps) == 1 else np.stack(maps)


def _needs_range(networks: Sequence[Runtime]) -> bool:
    """Return whether a network is scaled by the range of the tile."""
    return any(network.scaling.kind == "tile-minmax" for network in networks)


def _lazy(
    pixels: da.Array, mask: da.Array | None, model: ModelReference | _Opened, setting: Setting
) -> da.Array:
    """Return a lazy array that computes (time, band, y, x) block by block."""
    rows, columns = (windows.merge_chunks(sizes, setting.halo) for sizes in pixels.chunks[2:])
    chunks = {0: 1, 1: -1, 2: rows, 3: columns}
    pixels = pixels.rechunk(chunks)
    layers = [pixels] if mask is None else [pixels, mask[:, None].rechunk(chunks)]
    networks = model.open_each()
    tile_range = _lazy_range(layers, networks[0].bands) if _needs_range(networks) else None
    return map_overlap(
        partial(
            _one_chunk,
            edges=((0, *accumulate(rows)), (0, *accumulate(columns))),
            model=model,
            setting=setting,
        ),
        layers,
        depth=setting.halo,
        # A unique name, as dask cannot hash a network.
        name=f"detect-{uuid4().hex}",
        dtype=np.float32,
        extra={"tile_range": tile_range},
    )


def _one_chunk(
    pixels: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    *,
    index: tuple[int, int, int],
    edges: tuple[tuple[int, ...], tuple[int, ...]],
    model: ModelReference | _Opened,
    setting: Setting,
    tile_range: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Run one chunk with its halo: pixels (1, band, y, x), mask (1, 1, y, x) -> (1, y, x)."""
    time, row, column = index
    core = (slice(*edges[0][row : row + 2]), slice(*edges[1][column : column + 2]))
    halo = setting.halo
    probability = run_each(
        pixels[0],
        origin=(max(0, core[0].start - halo), max(0, core[1].start - halo)),
        tile_shape=(edges[0][-1], edges[1][-1]),
        core=core,
        runtimes=model.open_each(),
        setting=setting,
        mask=None if mask is None else mask[0, 0],
        tile_range=None if tile_range is None else tile_range[time],
    )
    return probability[None]


def _lazy_range(layers: Sequence[da.Array], bands: tuple[str, ...] | None) -> Delayed:
    """Return, delayed, (time, band, 2): `observed_range` of codes over the tile, per time."""
    import dask
    import dask.array

    pixels, *masks = layers
    observed = ~(pixels == CUBE_NODATA).any(axis=1, keepdims=True)
    for mask in masks:
        observed &= ~mask
    values = pixels.astype(np.float32) * steps_of(bands)[:, None, None]
    low = dask.array.where(observed, values, np.inf).min(axis=(2, 3))
    high = dask.array.where(observed, values, -np.inf).max(axis=(2, 3))
    ranges = dask.array.stack([low, high], axis=-1).astype(np.float32)
    found: Delayed = dask.delayed(np.asarray, pure=True)(ranges)
    return found
