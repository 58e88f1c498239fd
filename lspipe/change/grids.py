"""A map as it was given -> the same map on its grid: (y, x), evenly spaced, its CRS found.

rioxarray reads a CRS only if the map names the coordinate that holds it. Arithmetic and some
libraries drop this name but keep the coordinate; here the coordinate is found by its attributes.

Covers: maps of one date. Does not cover: cubes with bands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import rasterio.errors
import rioxarray  # noqa: F401  # registers the .rio accessor
from pyproj import CRS
from pyproj.exceptions import CRSError

from lspipe.errors import UsageError
from lspipe.schema import CRS_ATTRIBUTES

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

AXES = (("y", "x"), ("latitude", "longitude"), ("lat", "lon"))
"""Names of the rows and columns of a map; the result has the first pair."""

OFF_GRID = 0.01
"""Largest distance of a coordinate from an even grid, pixels: decimals may be rounded."""

MOST_OFF_GRID = 0.25
"""Upper limit of the tolerance, pixels: with coarser numbers two pixels could be mixed up."""


def on_grid(array: xr.DataArray, *, name: str) -> xr.DataArray:
    """Return a map as (y, x), whose encoding names the coordinate of its CRS.

    Args:
        array: (y, x) or (x, y); `latitude`, `longitude` and `lat`, `lon` become y, x. Values are
            not read, and stay lazy.
        name: of the array, for errors.

    Raises:
        UsageError: other dimensions, unevenly spaced coordinates, or a CRS that cannot be read.
    """
    mapping = _grid_mapping(array, name)
    turned = _turned(array, name).copy(deep=False)
    for axis in ("y", "x"):
        if axis in turned.coords:
            _check_even(turned.coords[axis], name)
    turned.encoding = dict(turned.encoding)
    if mapping is not None:
        turned.encoding["grid_mapping"] = mapping
        turned.attrs.pop("grid_mapping", None)
    elif crs_of(turned, name=name) is not None:
        # stackstac and older rioxarray write the CRS in the attribute `crs` alone.
        turned = turned.rio.write_crs(turned.rio.crs)
    return turned


def crs_of(array: xr.DataArray, *, name: str) -> CRS | None:
    """Return the CRS of a map, None if it has none.

    Raises:
        UsageError: its CRS cannot be read.
    """
    try:
        crs = array.rio.crs
        return None if crs is None else CRS.from_user_input(crs)
    except (CRSError, rasterio.errors.CRSError) as error:
        raise UsageError(
            f"{name} has a CRS that cannot be read ({' '.join(str(error).split())[:200]}); "
            'set it with .rio.write_crs("EPSG:326..")'
        ) from error


def check_same_grid(one: xr.DataArray, two: xr.DataArray, *, names: tuple[str, str]) -> None:
    """Refuse two maps of `on_grid` that do not lie on one grid.

    Coordinates or a CRS that only one of them has count for both.

    Args:
        one: a map.
        two: the other one.
        names: of both, for errors.

    Raises:
        UsageError: other shapes, coordinates or CRS.
    """
    first, second = names
    advice = "expected one grid; reproject one with .rio.reproject_match(other)"
    if one.shape != two.shape:
        raise UsageError(f"{first} is {one.shape} and {second} {two.shape} pixels: {advice}")
    for axis in ("y", "x"):
        if axis in one.coords and axis in two.coords:
            a, b = one.coords[axis], two.coords[axis]
            apart = np.abs(np.asarray(a, float) - np.asarray(b, float))
            if (apart > max(_tolerance(a), _tolerance(b))).any():
                raise UsageError(
                    f"{first} and {second}: their `{axis}` coordinates differ, by up to "
                    f"{apart.max():g}: {advice}"
                )
    crs, other = (crs_of(array, name=name) for array, name in ((one, first), (two, second)))
    if crs is not None and other is not None and not crs.equals(other, ignore_axis_order=True):
        raise UsageError(
            f"{first} and {second}: their CRS differ, {crs.name} and {other.name}: {advice}"
        )


def shared_coordinates(one: xr.DataArray, two: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return the coordinates for a result computed from two maps of one grid.

    Coordinates of the grid come from the first map that has them; of the others, only scalars that
    are equal in both maps are kept.
    """
    coords: dict[str, xr.DataArray] = {}
    mappings = [array.encoding.get("grid_mapping") for array in (one, two)]
    for scalar, coordinate in one.coords.items():
        agrees = scalar in two.coords and coordinate.variable.equals(two.coords[scalar].variable)
        if coordinate.ndim == 0 and agrees and scalar not in mappings:
            coords[str(scalar)] = coordinate
    for array, mapping in zip((one, two), mappings, strict=True):
        for axis in ("y", "x"):
            if axis in array.coords:
                coords.setdefault(axis, array.coords[axis])
        if mapping is not None and not any(name in coords for name in mappings):
            coords[mapping] = array.coords[mapping]
    return {name: coordinate.reset_coords(drop=True) for name, coordinate in coords.items()}


def _turned(array: xr.DataArray, name: str) -> xr.DataArray:
    """Return the array as (y, x)."""
    for rows, columns in AXES:
        if set(array.dims) == {rows, columns}:
            named = array if rows == "y" else array.rename({rows: "y", columns: "x"})
            turned: xr.DataArray = named.transpose("y", "x")
            return turned
    known = {axis for pair in AXES for axis in pair}
    more = ", ".join(f"{dim}=0" for dim in array.dims if dim not in known)
    advice = f"choose one of each other, as in .isel({more})" if array.ndim > 2 else "use .rename()"
    raise UsageError(f"{name} has dimensions {array.dims}: expected ('y', 'x'); {advice}")


def _grid_mapping(array: xr.DataArray, name: str) -> str | None:
    """Find the coordinate that holds the CRS: the one the map names, else by its attributes."""
    named = array.encoding.get("grid_mapping", array.attrs.get("grid_mapping"))
    if named in array.coords:
        return str(named)
    found = {
        str(coordinate): dict(array.coords[coordinate].attrs)
        for coordinate in array.coords
        if array.coords[coordinate].ndim == 0
        and not CRS_ATTRIBUTES.isdisjoint(array.coords[coordinate].attrs)
    }
    if "spatial_ref" in found or not found:
        return "spatial_ref" if found else None
    first, *others = found
    if any(CRS.from_cf(found[other]) != CRS.from_cf(found[first]) for other in others):
        raise UsageError(
            f"{name} has the CRS of several coordinates, {', '.join(found)}, and they differ: "
            "expected one; drop the others with .drop_vars()"
        )
    return first


def _check_even(axis: xr.DataArray, name: str) -> None:
    """Refuse coordinates with a gap or steps of different size, which no transform describes."""
    values = np.asarray(axis, float)
    if len(values) < 2:
        return
    even = np.linspace(values[0], values[-1], len(values))
    is_even = np.abs(values - even) <= _tolerance(axis)
    if is_even.all() and values[0] != values[-1]:
        return
    steps = np.diff(values)
    odd = int(np.abs(steps - np.median(steps)).argmax())
    raise UsageError(
        f"{name} has unevenly spaced `{axis.name}` coordinates: {values[odd]:.10g} is followed by "
        f"{values[odd + 1]:.10g}, where the usual step is {np.median(steps):g}; lay joined pieces "
        f"on one even grid (.reindex({axis.name}=...), NaN = not observed), or give each by itself"
    )


def _tolerance(axis: xr.DataArray) -> float:
    """Return how far a coordinate may be off its place: rounded decimals, and its dtype."""
    values = np.asarray(axis, float)
    if len(values) < 2:
        return 0.0
    step = abs(values[-1] - values[0]) / (len(values) - 1)
    return float(min(OFF_GRID * step + _rounding(axis, values), MOST_OFF_GRID * step))


def _rounding(axis: xr.DataArray, values: NDArray[np.float64]) -> float:
    is_float = np.issubdtype(axis.dtype, np.floating)
    return float(np.finfo(axis.dtype).eps * np.abs(values).max()) if is_float else 0.0
