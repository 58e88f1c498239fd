"""The cube that a person gives -> a cube that lspipe can run.

A `DataArray`, a `Dataset` whose variables are the bands, or a plain array, with dims in any order
and under their usual names, becomes one array (time, band, y, x). For a model item, whose channels
have units, the numbers become the codes that a run would store (`encoding.py`), so that the same
pixels give the same map in every form. `Given.map_of` returns the map in the dims of the input.

Does not cover: the network (`detect.py`), items of a catalogue (`cube/`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from lspipe.catalogs.bands import read_asset_key
from lspipe.errors import UsageError
from lspipe.inference.encoding import Encoding, encode, with_gaps
from lspipe.schema import CRS_ATTRIBUTES, check_cube, split_channel

if TYPE_CHECKING:
    from collections.abc import Hashable

ROLES = {
    "time": ("time", "t"),
    "band": ("band", "bands", "channel", "variable"),
    "y": ("y", "lat", "latitude"),
    "x": ("x", "lon", "longitude"),
}
"""Names of dims, in the order of a cube: those of rioxarray, openEO ("t", "bands") and
`Dataset.to_array` ("variable"). Else the CF `axis` or `standard_name` of a coordinate counts."""

_CF = {
    "projection_y_coordinate": "y", "latitude": "y", "Y": "y",
    "projection_x_coordinate": "x", "longitude": "x", "X": "x",
    "time": "time", "T": "time",
}  # fmt: skip
"""Values of `standard_name` and `axis`. Source: CF conventions 1.11, chapter 4."""

# Attributes that describe the numbers of the cube, and would be wrong for probabilities.
_ATTRIBUTES_OF_PIXELS = (
    "_FillValue", "add_offset", "dtype", "fill_value", "long_name", "missing_value", "nodata",
    "nodatavals", "offsets", "scale_factor", "scales", "standard_name", "units",
)  # fmt: skip


@dataclass(frozen=True)
class Given:
    """A cube in the form that lspipe runs, and the form of its map."""

    series: xr.DataArray
    """(time, band, y, x), int16 or a float; one time if the input has none. Its coordinates are
    those of its pixels and times, and no others."""
    like: xr.DataArray
    """The input without its bands: it has the dims, coordinates and attributes of the map."""

    def mask_of(self, mask: Any) -> xr.DataArray:
        """Return a mask as bool (time, y, x), chunked like the cube; all False for None.

        Raises:
            UsageError: another dtype, other dimensions, or not the pixels of the cube.
        """
        nothing = xr.zeros_like(self.series.isel(band=0, drop=True), dtype=bool)
        if mask is None:
            return nothing
        plain = _plain_mask(mask)
        try:
            _, aligned = xr.align(nothing, plain, join="exact", copy=False)
        except ValueError as error:
            raise UsageError(
                f"mask {mask.shape} does not lie on the pixels of the cube {self.series.shape}: "
                f"{error}"
            ) from error
        full = aligned.broadcast_like(nothing).transpose("time", "y", "x")
        return full if self.series.chunks is None else full.chunk(dict(nothing.chunksizes))

    def map_of(self, data: Any) -> xr.DataArray:
        """Return a map (time, y, x) in the dims of the input, with its coordinates and CRS."""
        names = {role: dim for dim, role in _roles(self.like).items()}
        probability = xr.DataArray(
            data if "time" in names else data[0],
            dims=[names[role] for role in ROLES if role in names],
            coords=self.like.coords,
            name="probability",
            attrs={k: v for k, v in self.like.attrs.items() if k not in _ATTRIBUTES_OF_PIXELS},
        ).transpose(*self.like.dims)
        probability.attrs |= {"long_name": "probability of a landslide", "units": "1"}
        grid_mapping = _grid_mapping(self.like)
        if grid_mapping is not None:
            probability.encoding["grid_mapping"] = grid_mapping
        return probability


def read_cube(cube: Any, bands: tuple[str, ...] | None) -> Given:
    """Read a cube in any of its usual forms.

    Args:
        cube: a `DataArray` of band, y, x and perhaps time; a `Dataset` of y, x and perhaps time,
            whose variables are the bands; or, if `bands` is None, an array (band, y, x) or
            (time, band, y, x). The result is lazy if the cube is dask-backed.
        bands: channels of the model, in its order; their numbers become codes. None = all bands
            with unchanged numbers, variables in the order of the `Dataset`.

    Raises:
        UsageError: other dims, a missing band, or numbers outside the range of their channel; lazy
            numbers are checked when they are computed.
    """
    whole = _as_array(cube, bands)
    if isinstance(whole, xr.Dataset):
        variables = _variables(whole, bands)
        series, like = _stacked(variables, bands), _like_variables(whole, variables)
    else:
        series, like = _selected(whole, bands), _without_bands(whole)
    if "time" not in series.dims:
        series = series.expand_dims("time")
    return Given(check_cube(series), like)


def _as_array(cube: Any, bands: tuple[str, ...] | None) -> xr.DataArray | xr.Dataset:
    """Return the input as a `DataArray`, or as a `Dataset` of one variable per band."""
    if isinstance(cube, xr.DataArray):
        return cube
    if isinstance(cube, xr.Dataset):
        whole = _with_crs(cube)
        # A file opened as a Dataset has one variable with a band dimension.
        banded = [name for name, var in whole.items() if "band" in _known_roles(var).values()]
        return whole[banded[0]] if len(banded) == 1 else whole
    if not isinstance(cube, np.ndarray) and not hasattr(cube, "__dask_graph__"):
        raise UsageError(
            f"cube is a {type(cube).__name__}: expected an xarray.DataArray, an xarray.Dataset, or "
            "for a callable model a NumPy array"
        )
    if bands is not None:
        names = ", ".join(f'"{band}"' for band in bands)
        raise UsageError(
            f"cube is an array of shape {cube.shape}, whose bands have no names: the model "
            f"needs {', '.join(bands)}; name them: xarray.DataArray(cube, "
            f'dims=("band", "y", "x"), coords={{"band": [{names}]}})'
        )
    if cube.ndim not in {3, 4}:
        raise UsageError(
            f"cube is an array of shape {cube.shape}, whose dimensions are not (band, y, x) or "
            "(time, band, y, x)"
        )
    return xr.DataArray(cube, dims=tuple(ROLES)[-cube.ndim :])


# --- a DataArray --------------------------------------------------------------------------------


def _selected(array: xr.DataArray, bands: tuple[str, ...] | None) -> xr.DataArray:
    """Return the bands of the model as codes, or all bands unchanged."""
    plain = _plain(array)
    _check_dims(array, {"band", "y", "x"})
    if plain.size == 0:
        raise UsageError(f"cube has shape {array.shape}: expected at least 1 pixel and 1 band")
    if bands is None:
        return plain
    positions = _positions(_band_names(array, bands), bands)
    encoding = Encoding.of(array, plain.sizes["band"]).take(positions)
    codes = encode(plain.isel(band=positions), bands, encoding)
    return with_gaps(codes, bands, [encoding.take([i]) for i in range(len(bands))])


def _band_names(array: xr.DataArray, bands: tuple[str, ...]) -> list[str]:
    """Return the band names of an array."""
    dim = next(dim for dim, role in _roles(array).items() if role == "band")
    described = array.attrs.get("long_name")
    numbered = dim not in array.coords or np.issubdtype(array.coords[dim].dtype, np.number)
    if numbered and isinstance(described, tuple | list) and len(described) == array.sizes[dim]:
        # rioxarray stores the band names of a file here.
        return [str(name) for name in described]
    if dim not in array.coords:
        raise UsageError(
            f"cube has no band names, the model needs {', '.join(bands)}: "
            f'use .assign_coords({dim}=["B02", ...])'
        )
    return [str(name) for name in np.atleast_1d(array.coords[dim].values)]


def _without_bands(array: xr.DataArray) -> xr.DataArray:
    """Return one band of the array, without the band dimension and its coordinates."""
    (dim,) = (dim for dim, role in _roles(array).items() if role == "band")
    of_bands = [name for name, coord in array.coords.items() if dim in (name, *coord.dims)]
    like = array.drop_vars(of_bands).isel({dim: 0})
    like.encoding = dict(array.encoding)
    return like


# --- a Dataset ----------------------------------------------------------------------------------


def _variables(dataset: xr.Dataset, bands: tuple[str, ...] | None) -> list[xr.DataArray]:
    """Return the variables that are the bands of the model, in its order; all images for None."""
    images = {
        str(name): variable
        for name, variable in dataset.items()
        if {"y", "x"} <= set(_known_roles(variable).values())
    }
    if not images:
        found = ", ".join(f"{name} {tuple(var.dims)}" for name, var in dataset.items()) or "none"
        raise UsageError(
            f"cube is a Dataset with the variables {found}: expected variables of dimensions y, x "
            "and perhaps time, one for each band"
        )
    names = list(images)
    chosen = names if bands is None else [names[i] for i in _positions(names, bands)]
    for name in chosen:
        _check_dims(images[name], {"y", "x"})
    # `to_dataset("band")` moves the attributes of the numbers from the array to the Dataset.
    return [images[name].assign_attrs(dataset.attrs | images[name].attrs) for name in chosen]


def _stacked(variables: list[xr.DataArray], bands: tuple[str, ...] | None) -> xr.DataArray:
    """Stack variables along `band`: as codes, or unchanged if `bands` is None."""
    layers = [_plain(variable).expand_dims("band", -3) for variable in variables]
    if bands is None:
        _check_dtypes(variables)
        return _joined(layers)
    encodings = [Encoding.of(variable, 1) for variable in variables]
    codes = [
        encode(layer, (band,), encoding)
        for layer, band, encoding in zip(layers, bands, encodings, strict=True)
    ]
    return with_gaps(_joined(codes), bands, encodings)


def _check_dtypes(variables: list[xr.DataArray]) -> None:
    """Refuse to mix codes with values: xarray would silently convert them to one dtype."""
    kinds = {"float" if one.dtype.kind == "f" else str(one.dtype) for one in variables}
    if len(kinds) > 1:
        found = ", ".join(f"{variable.name} {variable.dtype}" for variable in variables)
        raise UsageError(
            f"cube is a Dataset with the variables {found}: expected one dtype; choose those of "
            'the model, in its order: cube[["B02", ...]]'
        )


def _joined(layers: list[xr.DataArray]) -> xr.DataArray:
    """Join layers of one band each into one array (..., band, y, x)."""
    joined: xr.DataArray = xr.concat(
        # A channel that does not change, such as slope, is repeated for each time.
        layers,
        dim="band", coords="minimal", compat="override", join="exact", combine_attrs="drop",
    ).transpose(..., "band", "y", "x")  # fmt: skip
    if joined.size == 0:
        raise UsageError(f"cube has shape {joined.shape}: expected at least 1 pixel and 1 band")
    return joined


def _like_variables(dataset: xr.Dataset, variables: list[xr.DataArray]) -> xr.DataArray:
    """Return an array with the dims of the variables and the attributes of the Dataset."""
    fullest = max(variables, key=lambda variable: variable.ndim)
    like = fullest.drop_vars("band", errors="ignore")
    like.attrs = dict(dataset.attrs)
    if "grid_mapping" in fullest.attrs:
        like.attrs["grid_mapping"] = fullest.attrs["grid_mapping"]
    like.encoding = dict(fullest.encoding)
    return like


def _with_crs(dataset: xr.Dataset) -> xr.Dataset:
    """Return the Dataset with its CRS as a coordinate; files are read with it as a variable."""
    crs = [name for name, var in dataset.items() if var.ndim == 0 and _holds_crs(var)]
    return dataset.set_coords(crs)


# --- dims, names, masks -------------------------------------------------------------------------


def _plain(array: xr.DataArray) -> xr.DataArray:
    """Return the numbers with the dim names and order of a cube, and their own coordinates."""
    roles = _roles(array)
    coords = {
        role: array.coords[dim].values
        for dim, role in roles.items()
        if role != "band" and dim in array.coords
    }
    plain = xr.DataArray(array.data, dims=list(roles.values()), coords=coords)
    return plain.transpose(*(role for role in ROLES if role in plain.dims))


def _roles(array: xr.DataArray) -> dict[Hashable, str]:
    """Return the role of each dim, in the order of the array.

    Raises:
        UsageError: a dim of no usual name, or two of one kind.
    """
    roles = _known_roles(array)
    if len(roles) != array.ndim or len(set(roles.values())) != array.ndim:
        raise UsageError(_wrong_dims(array))
    return roles


def _known_roles(array: xr.DataArray) -> dict[Hashable, str]:
    """What each dim is, of those that are known."""
    found = {dim: _role(dim, array) for dim in array.dims}
    return {dim: role for dim, role in found.items() if role}


def _role(dim: Hashable, array: xr.DataArray) -> str:
    for role, names in ROLES.items():
        if str(dim).lower() in names:
            return role
    attrs = array.coords[dim].attrs if dim in array.coords else {}
    found = (_CF.get(str(attrs.get(name, ""))) for name in ("axis", "standard_name"))
    return next((role for role in found if role), "")


def _check_dims(array: xr.DataArray, needed: set[str]) -> None:
    """Raise UsageError if a dim is missing, or there is an extra one other than time."""
    if set(_roles(array).values()) - {"time"} != needed:
        raise UsageError(_wrong_dims(array))


def _wrong_dims(array: xr.DataArray) -> str:
    of = "cube" if array.name is None else f"cube {array.name!r}"
    names = "; ".join(f"{role}: {', '.join(known)}" for role, known in ROLES.items())
    return (
        f"{of} has dimensions {tuple(map(str, array.dims))}: expected (band, y, x) or "
        "(time, band, y, x) in any order, or a Dataset without a band; known "
        f"names are {names}; use .rename(...) for others, .expand_dims(...) for a missing one"
    )


def _positions(found: list[str], bands: tuple[str, ...]) -> list[int]:
    """Return the positions of the model's bands in the cube; names of catalogues are known."""
    ours = [_canonical(name) for name in found]
    positions = {}
    for band in bands:
        # An exact match comes first.
        for names, wanted in ((found, band), (ours, _canonical(band))):
            if names.count(wanted) == 1:
                positions[band] = names.index(wanted)
                break
    lacking = [band for band in bands if band not in positions]
    if lacking:
        raise UsageError(
            f"cube has the bands {', '.join(found)}: the model needs each of "
            f"{', '.join(bands)} once (missing or repeated: {', '.join(lacking)}); rename bands by "
            ".rename(...) or .assign_coords(...)"
        )
    return [positions[band] for band in bands]


def _canonical(name: str) -> str:
    """Return the name in `schema.CHANNELS`, with its date: "before:red" -> "before:B04"."""
    date, rest = split_channel(name)
    asset = read_asset_key(rest)
    plain = rest if asset is None else asset.band
    return f"{date}:{plain}" if date else plain


def _holds_crs(array: xr.DataArray) -> bool:
    return any(name in array.attrs for name in CRS_ATTRIBUTES)


def _grid_mapping(like: xr.DataArray) -> Any:
    """Return the coordinate of the CRS for the encoding; None if attrs name it or there is none."""
    if "grid_mapping" in like.encoding or "grid_mapping" in like.attrs:
        return like.encoding.get("grid_mapping")
    crs = [name for name, coord in like.coords.items() if coord.ndim == 0 and _holds_crs(coord)]
    # rioxarray finds "spatial_ref" by its name.
    return crs[0] if len(crs) == 1 and crs[0] != "spatial_ref" else None


def _plain_mask(mask: Any) -> xr.DataArray:
    """Return a mask with the dim names and order of a cube.

    Raises:
        UsageError: another dtype, or other dimensions.
    """
    if isinstance(mask, np.ndarray) and mask.ndim in {2, 3}:
        mask = xr.DataArray(mask, dims=("time", "y", "x")[-mask.ndim :])
    if not isinstance(mask, xr.DataArray):
        raise UsageError(
            f"mask is a {type(mask).__name__}: expected a bool xarray.DataArray (y, x) or "
            "(time, y, x), True = not observed"
        )
    roles = _known_roles(mask)
    fits = len(roles) == mask.ndim == len(set(roles.values()))
    if mask.dtype != bool or not fits or set(roles.values()) - {"time"} != {"y", "x"}:
        raise UsageError(
            f"mask is {mask.dtype} {tuple(map(str, mask.dims))}: expected bool (y, x) or "
            "(time, y, x), True = not observed"
        )
    return _plain(mask)
