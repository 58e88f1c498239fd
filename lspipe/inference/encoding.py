"""Numbers and the attributes of an array -> int16 codes of physical units, as a run stores them.

The dtype and the attributes decide what the numbers are:

    int16                                    codes: value = code x step of the channel
    any integer, `scale_factor` in attrs     raw numbers: value = number x scale_factor + add_offset
    a float, `scale_factor` in attrs         the same: rioxarray's `masked=True` decodes no scale
    a float, `scale_factor` in encoding      values, which xarray decoded
    a float                                  values
    another integer                          refused, as the size of one step is unknown

A scale of 1 with an offset of 0 is ignored, as rioxarray writes it for every file. No data is NaN,
-32768 of int16, and the number in `_FillValue`, `missing_value`, `fill_value` or `nodata` of attrs.
If that number is also a possible value of a float (0), a pixel is no data only where all bands have
it (`with_gaps`): arithmetic keeps attrs, so a 0 may be a digital number of 1000 minus its offset,
while attrs still describe the 0 from before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import UsageError
from lspipe.schema import CUBE_NODATA, channel_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from lspipe.schema import Channel

_NODATA = ("_FillValue", "missing_value", "fill_value", "nodata", "nodatavals")

_STRIP = 512
"""Rows that are float64 at a time: temporaries stay small beside a tile."""


@dataclass(frozen=True)
class Encoding:
    """How the numbers of an array become physical values: number x scale + offset."""

    scale: tuple[float, ...]
    """One per band."""
    offset: tuple[float, ...]
    """One per band."""
    nodata: tuple[float, ...]
    """Numbers that stand for no data; NaN always does."""
    is_float: bool

    @classmethod
    def of(cls, array: xr.DataArray, bands: int) -> Encoding:
        """Read scale, offset and no data of an array from its attributes.

        Args:
            array: of any dims.
            bands: number of its bands.

        Raises:
            UsageError: a scale or an offset that is no number, or not one per band.
        """
        given = [array.attrs.get(name) for name in _NODATA]
        if np.issubdtype(array.dtype, np.integer):
            # In a float this is what NaN was in the file, and the number may be a value now.
            given += [array.encoding.get(name) for name in _NODATA]
        return cls(
            scale=_per_band(array, ("scale_factor", "scales"), bands, default=1.0),
            offset=_per_band(array, ("add_offset", "offsets"), bands, default=0.0),
            nodata=tuple(sorted(set(_numbers(given)))),
            is_float=bool(np.issubdtype(array.dtype, np.floating)),
        )

    def take(self, positions: Sequence[int]) -> Encoding:
        """Return the encoding of some bands, in the given order."""
        return Encoding(
            tuple(self.scale[i] for i in positions),
            tuple(self.offset[i] for i in positions),
            self.nodata,
            self.is_float,
        )

    @property
    def is_scaled(self) -> bool:
        """Whether the size of one step is given."""
        return any(scale != 1 for scale in self.scale) or any(self.offset)

    def doubtful(self, band: int, channel: Channel) -> dict[float, float]:
        """Numbers that stand for no data and could be values of the channel, and those values."""
        if not self.is_float:
            return {}
        values = {number: number * self.scale[band] + self.offset[band] for number in self.nodata}
        return {n: value for n, value in values.items() if channel.low <= value <= channel.high}


def encode(array: xr.DataArray, names: Sequence[str], encoding: Encoding) -> xr.DataArray:
    """Turn numbers into the codes that a run would store: round half to even of value / step.

    Args:
        array: (..., band, y, x), NumPy- or dask-backed; stays lazy.
        names: channel of each band, "[date:]name" of `schema.CHANNELS`.
        encoding: of the numbers.

    Returns:
        int16 of the same shape, -32768 = no data; the array itself if it holds codes already.

    Raises:
        UsageError: numbers outside the range of their channel, with their probable meaning; for a
            lazy array, when it is computed.
    """
    is_codes = array.dtype == np.int16 and not encoding.is_scaled
    if is_codes and set(encoding.nodata) <= {CUBE_NODATA}:
        return array
    if not is_codes:
        _check_kind(array.dtype, names, encoding)
    channels = None if is_codes else tuple((name, channel_of(name)) for name in names)
    facts: dict[str, Any] = {"channels": channels, "encoding": encoding}
    if array.chunks is None:
        return array.copy(data=_encoded(array.to_numpy(), **facts))
    whole = array.data.rechunk({array.ndim - 3: -1})
    meta = np.empty((0,) * array.ndim, np.int16)
    return array.copy(data=whole.map_blocks(_encoded, dtype=np.int16, meta=meta, **facts))


def with_gaps(
    codes: xr.DataArray, names: Sequence[str], encodings: Sequence[Encoding]
) -> xr.DataArray:
    """Set no data where every band holds a no-data number that could also be a value.

    Args:
        codes: int16 (..., band, y, x) of `encode`.
        names: channel of each band.
        encodings: of each band, with one scale and one offset.
    """
    gap = None
    for band, (name, encoding) in enumerate(zip(names, encodings, strict=True)):
        if not encoding.is_float or not encoding.nodata:
            continue
        channel = channel_of(name)
        values = np.array(list(encoding.doubtful(0, channel).values()))
        here = codes.isel(band=band).isin(np.rint(values / channel.step))
        gap = here if gap is None else gap & here
    return codes if gap is None else codes.where(~gap, CUBE_NODATA).astype(np.int16)


def _check_kind(dtype: np.dtype[Any], names: Sequence[str], encoding: Encoding) -> None:
    if np.issubdtype(dtype, np.floating):
        return
    if np.issubdtype(dtype, np.integer) and encoding.is_scaled:
        return
    unit = channel_of(names[0]).unit
    advice = (
        ", such as cube.where(cube != 0) / 10000 - 0.1 for Sentinel-2 of processing baseline 04.00 "
        "and later, without the 0.1 before"
        if unit == "reflectance"
        else ""
    )
    raise UsageError(
        f"cube has dtype {dtype}, and no size of one step of {names[0]}: expected "
        f"floats in {unit}{advice}; or scale_factor and add_offset in attrs; or int16 codes "
        f"({channel_of(names[0]).step:g} each, {CUBE_NODATA} = no data)"
    )


def _encoded(
    numbers: NDArray[Any],
    *,
    channels: tuple[tuple[str, Channel], ...] | None,
    encoding: Encoding,
) -> NDArray[np.int16]:
    """Return codes of (..., band, y, x); without channels the numbers are codes already."""
    codes = np.empty(numbers.shape, np.int16)
    for place in np.ndindex(numbers.shape[:-2]):
        image, band = numbers[place], place[-1]
        if channels is None:
            codes[place] = np.where(_is_missing(image, encoding.nodata), CUBE_NODATA, image)
            continue
        name, channel = channels[band]
        scale, offset = encoding.scale[band], encoding.offset[band]
        doubtful = encoding.doubtful(band, channel)
        nodata = [number for number in encoding.nodata if number not in doubtful]
        if encoding.is_scaled and encoding.is_float:
            _check_raw(image, name, channel, scale, offset)
        for first in range(0, len(image), _STRIP):
            strip = image[first : first + _STRIP]
            missing = _is_missing(strip, nodata)
            values = strip.astype(np.float64) * scale + offset
            codes[place][first : first + _STRIP] = _codes(values, missing, name, channel)
    return codes


def _is_missing(numbers: NDArray[Any], nodata: Iterable[float]) -> NDArray[np.bool_]:
    missing: NDArray[np.bool_] = np.isnan(numbers)
    for number in nodata:
        missing |= numbers == number
    if numbers.dtype == np.int16:
        missing |= numbers == CUBE_NODATA
    return missing


def _codes(
    values: NDArray[np.float64], missing: NDArray[np.bool_], name: str, channel: Channel
) -> NDArray[np.int16]:
    """Return the codes of the values of one channel.

    Raises:
        UsageError: a value outside the range of the channel.
    """
    codes = np.rint(values / channel.step)
    codes[missing] = CUBE_NODATA
    lowest, highest = np.rint(channel.low / channel.step), np.rint(channel.high / channel.step)
    wrong = ((codes < lowest) | (codes > highest)) & ~missing
    if wrong.any():
        raise UsageError(_refusal(values[wrong], name, channel))
    return codes.astype(np.int16)


def _refusal(wrong: NDArray[np.float64], name: str, channel: Channel) -> str:
    value = wrong[np.argmax(np.abs(wrong))]
    if np.isinf(value):
        hint = "make it NaN where there is no data"
    else:
        hint = channel.above if value > channel.high else channel.below
    return (
        f"{name} of the cube holds {value:g}: expected {channel.unit}, {channel.low:g} to "
        f"{channel.high:g}; {hint}"
    )


def _check_raw(
    numbers: NDArray[Any], name: str, channel: Channel, scale: float, offset: float
) -> None:
    """Refuse floats that are values already but still have a scale: arithmetic keeps attrs.

    Raw numbers of a sensor are whole; if resampled, they are outside the range of the values.
    """
    finite = numbers[np.isfinite(numbers)]
    is_plausible = bool(((finite >= channel.low) & (finite <= channel.high)).all())
    if is_plausible and (finite != np.rint(finite)).any():
        raise UsageError(
            f"{name} of the cube holds {finite.min():g} to {finite.max():g}, which is "
            f"{channel.unit} already, but attrs have scale_factor {scale:g}, add_offset "
            f"{offset:g}: remove them from attrs, or give the raw numbers"
        )


def _per_band(
    array: xr.DataArray, names: tuple[str, str], bands: int, *, default: float
) -> tuple[float, ...]:
    """Return an attribute that an array has once for all bands, or one per band."""
    given = [(name, array.attrs[name]) for name in names if array.attrs.get(name) is not None]
    if not given:
        return (default,) * bands
    name, value = given[0]
    found = tuple(_numbers([value]))
    if len(found) not in {1, bands} or not np.isfinite(found).all():
        raise UsageError(
            f"cube has {name} {value!r} in attrs: expected one number, or {bands}, one per band"
        )
    return found * bands if len(found) == 1 else found


def _numbers(values: Iterable[Any]) -> Iterable[float]:
    """Yield the numbers among values of attributes; text and NaN are none."""
    for value in values:
        try:
            found = np.atleast_1d(np.asarray(value, np.float64))
        except (TypeError, ValueError):
            continue
        yield from (float(number) for number in found if not np.isnan(number))
