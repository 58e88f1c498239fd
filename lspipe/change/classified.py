"""A probability map, or a Dataset of `compare` -> kinds of objects on a grid.

See also: `objects.py` (the kinds), `inventory.py` (from here to a table).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lspipe.change.components import BLOCK
from lspipe.change.grids import crs_of, on_grid
from lspipe.change.objects import kinds_of_change, kinds_of_detection
from lspipe.errors import UsageError
from lspipe.schema import CODE_NODATA, State, threshold_code, to_codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from affine import Affine
    from numpy.typing import NDArray
    from pyproj import CRS

DEFAULT_THRESHOLD = 0.5
"""A pixel is landslide if its probability exceeds this. Source: Morales et al. 2022, 2.5."""

_MAP = "delineate: the map"


@dataclass(frozen=True, kw_only=True)
class Classified:
    """Pixels of one tile; every array is (y, x)."""

    before: NDArray[np.uint16] | None
    """Codes of the earlier date, 65535 = not observed; None for a map of one date."""
    after: NDArray[np.uint16]
    """Codes of the later, or only, date."""
    kinds: NDArray[np.uint8]
    """`objects.Kind` numbers."""
    state: NDArray[np.uint8] | None
    """`State` numbers; None for a map of one date."""
    transform: Affine
    """Pixel (column, row) corners to coordinates; north up."""
    crs: CRS

    def is_unseen(self, rows: slice) -> NDArray[np.bool_]:
        """Return which pixels of some rows were not observed on both dates, or the only one."""
        if self.state is None:
            return np.asarray(self.after[rows] == CODE_NODATA)
        return np.asarray(self.state[rows] == State.UNDETERMINED)


def classify(
    map_or_change: xr.DataArray | xr.Dataset,
    *,
    threshold: float | None,
    connectivity: int,
    block: int | tuple[int, int] = BLOCK,
) -> Classified:
    """Read and classify the input of `delineate`, which documents the arguments.

    Raises:
        UsageError: no CRS, other dimensions, values, variables or attributes.
    """
    if isinstance(map_or_change, xr.Dataset):
        if threshold is not None:
            raise UsageError("delineate: give the threshold of a change to lspipe.compare instead")
        return _change(map_or_change, connectivity=connectivity, block=block)
    if threshold is None:
        threshold = map_or_change.attrs.get("threshold", DEFAULT_THRESHOLD)
    array = on_grid(map_or_change, name=_MAP)
    codes = _codes(array)
    crs, transform = _grid(array)
    return classified_detection(codes, threshold=threshold, transform=transform, crs=crs)


def classified_detection(
    codes: NDArray[np.uint16], *, threshold: float, transform: Affine, crs: CRS
) -> Classified:
    """Classify the map of one date; threshold is a probability."""
    return Classified(
        before=None,
        after=codes,
        kinds=kinds_of_detection(codes, threshold=threshold_code(threshold)),
        state=None,
        transform=transform,
        crs=crs,
    )


def classified_change(
    before: NDArray[np.uint16],
    after: NDArray[np.uint16],
    state: NDArray[np.uint8],
    rules: Mapping[str, Any],
    *,
    transform: Affine,
    crs: CRS,
    connectivity: int = 8,
    block: int | tuple[int, int] = BLOCK,
) -> Classified:
    """Classify two dates of one grid.

    Args:
        before: (y, x) codes, 65535 = not observed.
        after: likewise.
        state: (y, x) `State` numbers of both.
        rules: `ChangeSpec.attrs` of the comparison: `threshold` and `tolerance_px`.
        transform: pixel (column, row) corners to coordinates; north up.
        crs: projected, in metres.
        connectivity: 8 or 4.
        block: pixels labelled at a time; never changes the result.
    """
    kinds = kinds_of_change(
        before,
        after,
        state,
        threshold=threshold_code(rules["threshold"]),
        tolerance_px=int(rules["tolerance_px"]),
        connectivity=connectivity,
        block=block,
    )
    return Classified(
        before=before, after=after, kinds=kinds, state=state, transform=transform, crs=crs
    )


def _change(change: xr.Dataset, *, connectivity: int, block: int | tuple[int, int]) -> Classified:
    missing = [name for name in ("before", "after", "state") if name not in change]
    missing += [name for name in ("threshold", "tolerance_px") if name not in change.attrs]
    if missing:
        raise UsageError(
            f"delineate: the Dataset has no {', '.join(missing)}: expected what lspipe.compare "
            "returns, with its attributes (xarray drops them in arithmetic; use keep_attrs=True)"
        )
    maps = {name: on_grid(change[name], name=_MAP) for name in ("before", "after", "state")}
    crs, transform = _grid(maps["after"])
    before, after = _codes(maps["before"]), _codes(maps["after"])
    return classified_change(
        before,
        after,
        np.asarray(maps["state"].values),
        {str(name): value for name, value in change.attrs.items()},
        transform=transform,
        crs=crs,
        connectivity=connectivity,
        block=block,
    )


def _codes(probability: xr.DataArray) -> NDArray[np.uint16]:
    # Coded before it is computed: a dask-backed float map never exists whole.
    coded = xr.apply_ufunc(
        to_codes, probability, dask="parallelized", output_dtypes=[np.uint16], keep_attrs=False
    )
    return np.asarray(coded.values)


def _grid(probability: xr.DataArray) -> tuple[CRS, Affine]:
    crs = crs_of(probability, name=_MAP)
    if crs is None:
        raise UsageError(
            f"{_MAP} has no CRS: expected a projected one in metres; {_advice(probability)}"
        )
    # Recalculated from x and y: the stored transform is stale after slicing.
    has_axes = "x" in probability.coords and "y" in probability.coords
    transform: Affine = probability.rio.transform(recalc=has_axes)
    if transform.is_identity and 1 in probability.shape:
        raise UsageError(
            f"{_MAP} is {probability.shape} pixels: the pixel size cannot be read from one row "
            "or column; expected two or more, or call .rio.write_transform() before slicing"
        )
    if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise UsageError(
            f"{_MAP}'s transform is {tuple(transform)[:6]}: expected north up, "
            "columns to the east and rows to the south; use .sortby('y', ascending=False)"
        )
    return crs, transform


def _advice(probability: xr.DataArray) -> str:
    """Return how to give a CRS to a map without one."""
    named = probability.encoding.get("grid_mapping", probability.attrs.get("grid_mapping"))
    if named is not None and named not in probability.coords:
        return f"it lacks the coordinate {named!r}: open its file with decode_coords='all'"
    return 'set it with .rio.write_crs("EPSG:326..")'
