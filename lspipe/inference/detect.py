"""A cube and a model to a map of probabilities: `lspipe.detect`.

A NumPy-backed cube is computed at once, as one block. A dask-backed cube stays lazy: its chunks,
merged until each can fill a neighbour's halo, are the blocks, and `map_overlap` lends the halos.
Both go through `inference.run_block`, so they agree to the last bit.

Does not cover: an area of interest, storing, resuming (`runs/`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import xarray as xr

from lspipe.errors import UsageError
from lspipe.inference import windows
from lspipe.inference.block import run_block
from lspipe.inference.observed import observed_range
from lspipe.inference.runtimes import from_callable, load
from lspipe.inference.settings import Setting
from lspipe.models.item import Scaling, digest
from lspipe.models.mlm import read_item
from lspipe.models.recipes import check_item
from lspipe.schema import CUBE_NODATA, REFLECTANCE_SCALE, check_cube

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import dask.array as da
    from numpy.typing import NDArray

    from lspipe.inference.runtimes import Runtime
    from lspipe.models.item import Blend, Tta, TtaMerge, TtaOrder

# What a cube says about its own numbers, and a map of probabilities would repeat wrongly.
_ATTRIBUTES_OF_PIXELS = (
    "_FillValue", "add_offset", "dtype", "long_name", "missing_value", "nodata", "scale_factor",
    "standard_name", "units",
)  # fmt: skip


def detect(
    cube: xr.DataArray,
    model: str | Path | Callable[[Any], Any],
    *,
    mask: xr.DataArray | None = None,
    window: int = 224,
    stride: int = 22,
    tta: Tta = "d4",
    tta_merge: TtaMerge = "max",
    tta_order: TtaOrder = "average-then-max",
    blend: Blend = "uniform",
    batch_size: int = 8,
    screen: float | None = None,
    precision: str = "fp32",
    runtime: str = "auto",
    device: str = "auto",
) -> xr.DataArray:
    """Return the probability of a landslide at every pixel of a cube.

    Args:
        cube: (band, y, x) or (time, band, y, x), NumPy- or dask-backed. int16 is reflectance x 1e4
            with -32768 = no data, which the model item's scaling turns into model units; floats are
            in model units already, NaN = no data. For a model item the `band` coordinate names the
            bands; those of the model are taken, in its order.
        model: path of a model item ("shipped:NAME" too), or a callable or torch module
            (N, C, window, window) -> (N, 1, window, window) probabilities; never modified.
        mask: bool (y, x) or (time, y, x), True = not observed. Masked pixels keep their values for
            the network and are NaN in the result.
        window: edge of a window, pixels.
        stride: step between windows, pixels, 1..window; 22 of 224 is the 90 % overlap of the paper.
        tta: "d4" shows each window to the network in its eight symmetries, "none" once.
        tta_merge: "max" or "mean" of the eight.
        tta_order: average overlaps per view and then merge views, or the other way round.
        blend: weights of the overlap average, "uniform" or "hann".
        batch_size: windows in one call of the network; another one may change the last bit.
        screen: probability of a coarse first pass above which, and a quarter of a window around,
            the setting runs in full; elsewhere that pass stands. None = in full everywhere.
        precision: "fp32", "bf16" or "auto".
        runtime: what executes the network: "eager" (plain PyTorch, what "auto" stands for),
            "compiled" (torch.compile; minutes at most, once per process), "openvino" (CPU), or
            "cudagraph" (GPU). A module that is not eager keeps the weights of this moment, and
            stays in this process.
        device: "cpu", "cuda" or "auto".

    Returns:
        float32 "probability", (y, x) or (time, y, x), 0..1, NaN = not observed; lazy if the cube
        is. Coordinates without a band dimension are kept.

    Raises:
        UsageError: cube, mask or settings that do not fit (ModelError: the model does not).
        InferenceError: the network failed; for a lazy cube, when it is computed.
    """
    setting = _setting(
        window=window, stride=stride, tta=tta, tta_merge=tta_merge, tta_order=tta_order,
        blend=blend, batch_size=batch_size, screen=screen,
    )  # fmt: skip
    source = _Model.of(model, device=device, precision=precision, runtime=runtime)
    series = _select_bands(check_cube(cube), source.open().bands)
    if series.size == 0:
        raise UsageError(f"cube has shape {cube.shape}: expected at least 1 pixel and 1 band")
    series = series.expand_dims("time") if "time" not in series.dims else series
    hidden = _check_mask(mask, series)
    if series.chunks is None:
        data: Any = _eager(series.to_numpy(), hidden.to_numpy(), source, setting)
    else:
        data = _lazy(series.data, hidden.data, source, setting)
    return _labelled(data, cube)


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A model on its way to a worker: a path and a hash where there is an item, never a module."""

    runtime: Runtime | None = None
    item: str | None = None
    sha256: str | None = None
    device: str = "auto"
    precision: str = "fp32"
    name: str = "auto"

    @classmethod
    def of(cls, model: Any, *, device: str, precision: str, runtime: str) -> _Model:
        if not isinstance(model, str | os.PathLike):
            made = from_callable(model, device=device, precision=precision, runtime=runtime)
            return cls(runtime=made)
        item = read_item(os.fspath(model))
        check_item(item)
        return cls(
            item=item.reference,
            sha256=digest(item),
            device=device,
            precision=precision,
            name=runtime,
        )

    def open(self) -> Runtime:
        """The network, read from its item at most once per process."""
        if self.runtime is not None:
            return self.runtime
        return load(
            str(self.item), self.sha256, device=self.device, precision=self.precision,
            runtime=self.name,
        )  # fmt: skip


def _setting(**settings: Any) -> Setting:
    try:
        return Setting(**settings)
    except ValueError as error:
        raise UsageError(f"detect: {error}") from error


def _select_bands(cube: xr.DataArray, bands: tuple[str, ...] | None) -> xr.DataArray:
    """The bands that the model wants, by name, in its order; all of them if it does not care."""
    if bands is None:
        return cube
    if "band" not in cube.coords:
        raise UsageError(
            f"cube has no band names, the model wants {', '.join(bands)}: "
            'use .assign_coords(band=["B02", ...])'
        )
    found = [str(name) for name in np.atleast_1d(cube["band"].values)]
    lacking = [name for name in bands if found.count(name) != 1]
    if lacking:
        raise UsageError(
            f"cube has the bands {', '.join(found)}: the model wants {', '.join(bands)}, each once "
            f"(not so: {', '.join(lacking)})"
        )
    return cube.isel(band=[found.index(name) for name in bands])


def _check_mask(mask: xr.DataArray | None, series: xr.DataArray) -> xr.DataArray:
    """The mask as bool (time, y, x), chunked like the cube; all False if there is none.

    Raises:
        UsageError: another dtype, other dimensions, or not the pixels of the cube.
    """
    nothing = xr.zeros_like(series.isel(band=0, drop=True), dtype=bool)
    if mask is None:
        return nothing
    dims = tuple(map(str, mask.dims))
    if mask.dtype != bool or dims not in {("y", "x"), ("time", "y", "x")}:
        raise UsageError(
            f"mask is {mask.dtype} {dims}: expected bool (y, x) or (time, y, x), "
            "True = not observed"
        )
    try:
        _, aligned = xr.align(nothing, mask, join="exact", copy=False)
    except ValueError as error:
        raise UsageError(
            f"mask {mask.shape} does not lie on the pixels of the cube {series.shape}: {error}"
        ) from error
    full = aligned.broadcast_like(nothing).transpose("time", "y", "x")
    return full if series.chunks is None else full.chunk(dict(nothing.chunksizes))


def _eager(
    pixels: NDArray[Any], mask: NDArray[np.bool_], model: _Model, setting: Setting
) -> NDArray[np.float32]:
    """Compute (time, band, y, x) at once, each time as one block."""
    shape = pixels.shape[2:]
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    runtime = model.open()
    scaling = _scaling(runtime, pixels.dtype)
    needs_range = scaling.kind == "tile-minmax"
    maps = [
        run_block(
            image,
            origin=(0, 0),
            tile_shape=shape,
            core=whole,
            runtime=runtime,
            setting=setting,
            mask=hidden,
            tile_range=observed_range(image, hidden) if needs_range else None,
            scaling=scaling,
        )
        for image, hidden in zip(pixels, mask, strict=True)
    ]
    # One map, the most usual, is not copied.
    return maps[0][None] if len(maps) == 1 else np.stack(maps)


def _lazy(pixels: da.Array, mask: da.Array, model: _Model, setting: Setting) -> da.Array:
    """Compute (time, band, y, x) block by block, when asked."""
    import dask.array

    halo = setting.halo
    rows, columns = (windows.merge_chunks(sizes, halo) for sizes in pixels.chunks[2:])
    pixels = pixels.rechunk({0: 1, 1: -1, 2: rows, 3: columns})
    mask = mask.rechunk({0: 1, 1: rows, 2: columns})
    needs_range = _scaling(model.open(), pixels.dtype).kind == "tile-minmax"
    # An axis of one chunk has no neighbour to lend a halo.
    depth = [halo if len(sizes) > 1 else 0 for sizes in (rows, columns)]
    lazy: da.Array = dask.array.map_overlap(
        _one_chunk,
        pixels,
        mask[:, None],
        depth={0: 0, 1: 0, 2: depth[0], 3: depth[1]},
        boundary="none",
        # Chunks were merged so that none is smaller than a halo; dask only asserts it.
        allow_rechunk=False,
        trim=False,
        # A band axis in the mask is one chunk long, as that of the pixels, but not one size.
        align_arrays=False,
        drop_axis=1,
        chunks=(pixels.chunks[0], rows, columns),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
        # A name of its own, as a network has no hash that dask could take.
        name=f"detect-{uuid4().hex}",
        edges=tuple((0, *accumulate(sizes)) for sizes in (rows, columns)),
        model=model,
        setting=setting,
        tile_range=_lazy_range(pixels, mask) if needs_range else None,
    )
    return lazy


def _one_chunk(
    pixels: NDArray[Any],
    mask: NDArray[np.bool_],
    *,
    edges: tuple[tuple[int, ...], tuple[int, ...]],
    model: _Model,
    setting: Setting,
    tile_range: NDArray[np.float32] | None,
    block_id: tuple[int, int, int],
) -> NDArray[np.float32]:
    """Run one chunk with its halo: pixels (1, band, y, x), mask (1, 1, y, x) -> (1, y, x)."""
    time, row, column = block_id
    # Array locations that dask would give count the halos in; cuts of the tile do not.
    core = (slice(*edges[0][row : row + 2]), slice(*edges[1][column : column + 2]))
    halo = setting.halo
    runtime = model.open()
    probability = run_block(
        pixels[0],
        origin=(max(0, core[0].start - halo), max(0, core[1].start - halo)),
        tile_shape=(edges[0][-1], edges[1][-1]),
        core=core,
        runtime=runtime,
        setting=setting,
        mask=mask[0, 0],
        tile_range=None if tile_range is None else tile_range[time],
        scaling=_scaling(runtime, pixels.dtype),
    )
    return probability[None]


def _lazy_range(pixels: da.Array, mask: da.Array) -> Any:
    """Delayed (time, band, 2): `observed_range` of reflectance, for each time of the whole tile."""
    import dask
    import dask.array

    observed = ~((pixels == CUBE_NODATA).any(axis=1) | mask)[:, None]
    values = pixels.astype(np.float32) * np.float32(REFLECTANCE_SCALE)
    low = dask.array.where(observed, values, np.inf).min(axis=(2, 3))
    high = dask.array.where(observed, values, -np.inf).max(axis=(2, 3))
    ranges = dask.array.stack([low, high], axis=-1).astype(np.float32)
    return dask.delayed(np.asarray, pure=True)(ranges)


def _scaling(runtime: Runtime, dtype: np.dtype[Any]) -> Scaling:
    """The model's own for reflectance; none for floats, which are in model units already."""
    return runtime.scaling if dtype == np.int16 else Scaling()


def _labelled(data: Any, cube: xr.DataArray) -> xr.DataArray:
    """Give the map the cube's coordinates, and its attributes apart from those of its numbers."""
    dims = tuple(dim for dim in cube.dims if dim != "band")
    probability = xr.DataArray(
        data if "time" in dims else data[0],
        dims=dims,
        coords={name: c for name, c in cube.coords.items() if "band" not in (name, *c.dims)},
        name="probability",
        attrs={k: v for k, v in cube.attrs.items() if k not in _ATTRIBUTES_OF_PIXELS},
    )
    probability.attrs |= {"long_name": "probability of a landslide", "units": "1"}
    if "grid_mapping" in cube.encoding:
        probability.encoding["grid_mapping"] = cube.encoding["grid_mapping"]
    return probability
