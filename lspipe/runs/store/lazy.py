"""The arrays of one tile of a run -> a lazy xarray Dataset on the tile's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray  # noqa: F401  # so that the Dataset has .rio
import xarray as xr

from lspipe.errors import StoreError
from lspipe.runs.store.groups import open_group, source
from lspipe.runs.store.layers import (
    CELL_LAYERS,
    CHANGE,
    CHANGE_LAYERS,
    DETECTION_LAYERS,
    DETECTIONS,
    EVIDENCE,
    EVIDENCE_LAYERS,
    RADAR_LAYERS,
    TERRAIN_LAYERS,
    Layer,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_LAYERS = {DETECTIONS: DETECTION_LAYERS, EVIDENCE: EVIDENCE_LAYERS, CHANGE: CHANGE_LAYERS}

BESIDE = {"terrain": TERRAIN_LAYERS, "radar": (*RADAR_LAYERS, *CELL_LAYERS)}
"""Layers that only runs with a section of the workflow have."""

_OF_CODES = ("scale_factor", "add_offset", "_FillValue", "valid_range")
"""Attributes that hold for codes, and not for decoded values."""

_UNITS = {"acquired": "days since 1970-01-01"}
"""Units of layers stored as plain numbers; "1" for all others."""


def open_lazily(
    run: Path, tile: str, *, is_two_date: bool, sections: Collection[str]
) -> xr.Dataset:
    """Open all arrays of a tile; no pixel is read.

    Args:
        run: the run directory.
        tile: name of the tile.
        is_two_date: whether change is expected.
        sections: of `BESIDE`, which the workflow has: a store may hold what an earlier list knew.

    Returns:
        Dataset (time, y, x), (y, x) for change, terrain and backscatter, and (cell_y, cell_x) for
        cells of 500 m from the tile's corner, in dask chunks as stored;
        coordinates `time` (UTC), `y` and `x` (pixel centres, metres) and `spatial_ref`. Codes are
        decoded to float32 with NaN = not observed, as by `schema.dequantise`; other arrays are as
        stored, with no data in the attribute `_FillValue`. Missing stores are left out, and the
        attribute `missing` names their arrays.

    Raises:
        StoreError: the tile is not in the store yet.
    """
    expected = {name: _LAYERS[name] for name in _LAYERS if is_two_date or name != CHANGE}
    beside = [layer for section in sections for layer in BESIDE[section]]
    parts = {
        name: _part(run / name, tile, layers, beside if name == EVIDENCE else ())
        for name, layers in expected.items()
    }
    found = [part for part in parts.values() if part is not None]
    if parts[DETECTIONS] is None:
        raise StoreError(
            f"{run / DETECTIONS}: holds nothing of tile {tile} yet; run its workflow first"
        )
    # One grid, written by one template: only x, y and time are compared.
    opened = xr.merge(found, join="exact", compat="override", combine_attrs="drop_conflicts")
    missing = [layer.name for name in expected if parts[name] is None for layer in expected[name]]
    return opened.assign_attrs(missing=", ".join(missing)) if missing else opened


def _part(
    store: Path, tile: str, layers: Sequence[Layer], beside: Sequence[Layer]
) -> xr.Dataset | None:
    """Open the layers of one store, and those beside that it has.

    None if the group of the tile is missing or incomplete.
    """
    try:
        group = open_group(store / tile, "r")
    except FileNotFoundError:
        return None
    if not group.attrs.get("lspipe:complete"):
        return None
    opened = xr.open_zarr(
        source(store / tile),
        consolidated=False,
        zarr_format=3,
        mask_and_scale=False,
        decode_coords="all",
    )
    known = [layer for layer in beside if layer.name in opened]
    arrays = {layer.name: _decoded(opened[layer.name], layer) for layer in (*layers, *known)}
    attrs = {key: value for key, value in opened.attrs.items() if not key.startswith("lspipe:")}
    return xr.Dataset(arrays, attrs=attrs)


def _decoded(array: xr.DataArray, layer: Layer) -> xr.DataArray:
    """Decode codes; add the attribute `_FillValue` to arrays that stay as stored."""
    mapping = array.encoding.get("grid_mapping", "spatial_ref")
    attrs = {"units": _UNITS.get(layer.name, "1"), **array.attrs}
    if "scale_factor" in attrs:
        per_unit = round(1 / attrs["scale_factor"])
        values = array.data.map_blocks(_values, per_unit, layer.fill, dtype=np.float32)
        attrs = {key: value for key, value in attrs.items() if key not in _OF_CODES}
        array = array.copy(data=values)
    else:
        attrs["_FillValue"] = layer.fill
    array.attrs, array.encoding = attrs, {"grid_mapping": mapping}
    return array


def _values(codes: NDArray[Any], per_unit: int, fill: int) -> NDArray[np.float32]:
    return np.where(codes == fill, np.nan, codes.astype(np.float64) / per_unit).astype(np.float32)
