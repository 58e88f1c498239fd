"""Two probability maps -> what happened to each pixel between their dates.

All comparisons are made on stored codes (uint16, probability x 1e4), so a map in memory and the
same map on disk give the same states. Everything here is per pixel; which pixels make an object,
and which object is new, is decided in `objects.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lspipe.change.grids import check_same_grid, on_grid, shared_coordinates
from lspipe.change.spec import ChangeSpec, Method
from lspipe.errors import UsageError
from lspipe.schema import CODE_NODATA, CODE_SCALE, State, dequantise, threshold_code, to_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

GAIN_NODATA = -32768
"""Gain of a pixel that was not observed on both dates, in int16 codes."""


def change_codes(
    before: NDArray[np.uint16], after: NDArray[np.uint16], spec: ChangeSpec
) -> NDArray[np.uint8]:
    """Return what happened to each pixel, as `State` numbers.

    With T, B, G the codes of `threshold`, `before_below` and `min_gain`: UNDETERMINED where a date
    was not observed; BOTH where both > T; GAIN where after > T and before <= B; WEAK_GAIN where
    after > T and B < before <= T; LOSS and WEAK_LOSS the mirrors; NONE elsewhere, and where the
    gain or loss is smaller than G. The paper's binary difference (`method: subtract`) has no weak
    states: +1 is GAIN, -1 is LOSS, and 0 is NONE or BOTH.

    Args:
        before: (y, x) codes of the earlier date, 65535 = not observed.
        after: (y, x) codes of the later date, likewise.
        spec: the rules.

    Returns:
        uint8, the shape of `before`.

    Source: docs/numerics.md, Change states.
    """
    t = threshold_code(spec.limit)
    b = t if spec.method == "subtract" else min(t, threshold_code(spec.before_below))
    is_before, is_after = before > t, after > t
    gained, lost = is_after & ~is_before, is_before & ~is_after
    if spec.min_gain is not None:
        least = threshold_code(spec.min_gain)
        gain = _difference(before, after)
        gained &= gain >= least
        lost &= gain <= -least
    state = np.full(before.shape, State.NONE, np.uint8)
    state[is_before & is_after] = State.BOTH
    state[gained] = State.WEAK_GAIN
    state[gained & (before <= b)] = State.GAIN
    state[lost] = State.WEAK_LOSS
    state[lost & (after <= b)] = State.LOSS
    state[(before == CODE_NODATA) | (after == CODE_NODATA)] = State.UNDETERMINED
    return state


def changes(
    before: NDArray[np.uint16], after: NDArray[np.uint16], spec: ChangeSpec
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Return what happened to each pixel, and after - before.

    Args:
        before: as in `change_codes`.
        after: as in `change_codes`.
        spec: the rules.

    Returns:
        `State` numbers, uint8, and gain, int16 x 1e-4 with -32768 where a date was not observed.
    """
    return change_codes(before, after, spec), _gain_codes(before, after)


def compare(
    before: xr.DataArray,
    after: xr.DataArray,
    *,
    threshold: float = 0.5,
    before_below: float = 0.3,
    tolerance_px: int = 1,
    min_gain: float | None = None,
    method: Method = "hysteresis",
) -> xr.Dataset:
    """Compare two probability maps of one grid, pixel by pixel; lazy where they are dask-backed.

    Args:
        before: (y, x) map of the earlier date: float 0..1 with NaN = not observed (quantised to
            1e-4 first), or uint16 codes with 65535 = not observed. Other orders of the axes, and
            the names latitude, longitude or lat, lon, are taken too.
        after: (y, x) map of the later date, on the same grid, of the same kind. Coordinates or a
            CRS that only one map has count for both.
        threshold: landslide where the probability is above this.
        before_below: at or below this, nothing was there before; above `threshold` it acts as
            `threshold`.
        tolerance_px: kept in the attributes for `delineate`, which decides what is new.
        min_gain: least change of probability of a changed pixel.
        method: "hysteresis", or "subtract" for the paper's binary difference.

    Returns:
        Dataset (y, x) with `before` and `after` (float32, NaN = not observed; uint16 codes if given
        as codes), `gain` = after - before (float32 with NaN; int16 x 1e-4 with -32768 for codes),
        `state` (uint8 `State`), and the rules and dates as attributes. The CRS stays in the
        coordinate it was in; scalar coordinates stay where both maps have the same.

    Raises:
        UsageError: the maps are not (y, x), are unevenly spaced, lie on different grids, or hold
            other values.

    Examples:
        >>> import numpy as np
        >>> import xarray as xr
        >>> import lspipe
        >>> before = xr.DataArray(np.zeros((2, 3), np.float32), dims=("y", "x"))
        >>> after = before.copy()
        >>> after[0, 1] = 0.9  # a new landslide
        >>> after[1, 2] = np.nan  # a cloud
        >>> lspipe.compare(before, after)["state"].values
        array([[  0,   1,   0],
               [  0,   0, 255]], dtype=uint8)
    """
    try:
        spec = ChangeSpec(
            method=method,
            threshold=threshold,
            before_below=before_below,
            tolerance_px=tolerance_px,
            min_gain=min_gain,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    names = "compare: `before`", "`after`"
    before, after = on_grid(before, name=names[0]), on_grid(after, name="compare: `after`")
    check_same_grid(before, after, names=names)
    _check_kinds(before, after)
    is_coded = before.dtype == np.uint16
    dates = {
        f"date_{name}": np.datetime_as_string(da.coords["time"].values, unit="s") + "Z"
        for name, da in (("before", before), ("after", after))
        if "time" in da.coords and np.issubdtype(da.coords["time"].dtype, np.datetime64)
    }
    coords = shared_coordinates(before, after)
    # Without their coordinates, which may differ in the last digit.
    codes = [_apply(to_codes, np.uint16, da.drop_vars(list(da.coords))) for da in (before, after)]
    state = _apply(lambda b, a: change_codes(b, a, spec), np.uint8, *codes)
    gain = _apply(_gain_codes, np.int16, *codes)
    if not is_coded:
        codes = [_apply(dequantise, np.float32, da) for da in codes]
        gain = _apply(_gain_float, np.float32, gain)
    found = {"before": codes[0], "after": codes[1], "gain": gain, "state": state}
    attrs = spec.attrs() | dates
    change = xr.Dataset({n: da.drop_attrs() for n, da in found.items()}, coords, attrs)
    mapping = before.encoding.get("grid_mapping", after.encoding.get("grid_mapping"))
    if mapping is not None:
        # rioxarray and GDAL look for the CRS in the coordinate that each variable names.
        change = change.rio.write_grid_mapping(mapping)
    return change


def _apply(function: Any, dtype: Any, *arrays: xr.DataArray) -> xr.DataArray:
    result: xr.DataArray = xr.apply_ufunc(
        function, *arrays, dask="parallelized", output_dtypes=[dtype]
    )
    return result


def _check_kinds(before: xr.DataArray, after: xr.DataArray) -> None:
    if (before.dtype == np.uint16) != (after.dtype == np.uint16):
        raise UsageError(
            f"compare: `before` is {before.dtype} and `after` {after.dtype}: expected both "
            "as float probabilities or both as uint16 codes"
        )


def _gain_codes(before: NDArray[np.uint16], after: NDArray[np.uint16]) -> NDArray[np.int16]:
    missing = (before == CODE_NODATA) | (after == CODE_NODATA)
    gain = _difference(before, after)
    gain[missing] = GAIN_NODATA
    return gain


def _difference(before: NDArray[np.uint16], after: NDArray[np.uint16]) -> NDArray[np.int16]:
    # Codes are at most 10000, so they fit; 65535 becomes -1, and its pixels are overwritten.
    return after.view(np.int16) - before.view(np.int16)


def _gain_float(codes: NDArray[np.int16]) -> NDArray[np.float32]:
    gain = codes.astype(np.float32) / np.float32(CODE_SCALE)
    gain[codes == GAIN_NODATA] = np.nan
    return gain
