"""What an array of pixels of a scene is: its channels, their units, steps and plausible ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lspipe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import xarray as xr
    from numpy.typing import NDArray

CUBE_NODATA = -32768
"""No data in an int16 cube; codes of reflectance are -999..31767: 15-bit DN, offset applied."""

OPTICAL_BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip
"""Canonical band names of Sentinel-2 MSI, in the order of the products."""


Source = Literal["scenes", "terrain", "radar"]
"""What a channel is read from: the optical scenes, or what a section of the workflow supplies."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """What the numbers of a channel are: physical value = code of the cube x `step`."""

    unit: str
    step: float
    """Physical value of one step of an int16 cube."""
    low: float
    """Lowest plausible value; what is below is something else, see `below`."""
    high: float
    """Highest plausible value, at most 32767 steps."""
    below: str
    """What a value below `low` probably is, and what to do."""
    above: str
    """What a value above `high` probably is, and what to do."""
    source: Source = "scenes"
    is_directional: bool = False
    """Whether a turned window would show what is never seen (radar looks from one side)."""


_NO_DATA = "a number that stands for no data? Make it NaN, or name it in attrs: _FillValue"

_REFLECTANCE = Channel(
    unit="reflectance",
    # The digital-number step of Sentinel-2 itself.
    step=1e-4,
    # ESA's offset takes dark pixels down to -0.1; taken twice, to -0.2.
    low=-0.2,
    high=3.2767,
    below=_NO_DATA,
    above=(
        "digital numbers? Divide them by 10000 and subtract the offset, which is 0.1 for "
        "processing baseline 04.00 and later, else 0: cube / 10000 - 0.1. Saturated pixels? "
        "cube.clip(max=3.2767)"
    ),
)

_CURVATURE = Channel(
    unit="1/100 m-1",
    step=0.01,
    low=-327.67,
    high=327.67,
    below=_NO_DATA,
    above=_NO_DATA,
    source="terrain",
)

_BACKSCATTER = Channel(
    unit="dB",
    step=0.002,
    low=-65.0,
    high=65.0,
    below=_NO_DATA,
    above="linear power or digital numbers? Take 10 log10 of the power",
    source="radar",
    is_directional=True,
)

CHANNELS = {
    **dict.fromkeys(OPTICAL_BANDS, _REFLECTANCE),
    "slope": Channel(
        unit="degree",
        step=0.01,
        low=0.0,
        high=90.0,
        below=_NO_DATA,
        above="per cent? The angle is arctan(per cent / 100), in degrees",
        source="terrain",
    ),
    "elevation": Channel(
        # Land only; bathymetry and the no data of most elevation models lie below.
        unit="m",
        step=0.5,
        low=-500.0,
        high=9000.0,
        below=_NO_DATA,
        above=_NO_DATA,
        source="terrain",
    ),
    "curvature": _CURVATURE,
    "plan_curvature": _CURVATURE,
    "profile_curvature": _CURVATURE,
    "VV": _BACKSCATTER,
    "VH": _BACKSCATTER,
    "VV_amplitude": Channel(
        unit="1",
        step=1e-4,
        low=0.0,
        high=3.2767,
        below="decibels? The amplitude is the square root of linear power",
        above=_NO_DATA,
        source="radar",
        is_directional=True,
    ),
}
"""Unit, step and plausible range of each channel of a cube. A name may stand behind a date
("before:B04", see `split_channel`)."""

BEFORE, AFTER = DATES = ("before", "after")
"""What may stand before a channel's name."""

ORBITS = {"ascending": "asc", "descending": "desc"}
"""Directions from which radar sees the ground, and how layers and columns call them."""

_SYNONYMS = {
    "dem": "elevation",
    "vv": "VV",
    "vh": "VH",
    **{f"vv_{date}": f"{date}:VV" for date in DATES},
    **{f"vv_amplitude_{date}": f"{date}:VV_amplitude" for date in DATES},
}
"""Names that recipes and catalogues have for channels, and ours."""

REFLECTANCE_SCALE = CHANNELS["B04"].step
"""Reflectance of one step of an int16 cube."""

SCL_CLASSES = {
    "nodata": 0, "saturated": 1, "dark": 2, "shadow": 3, "vegetation": 4, "bare": 5, "water": 6,
    "unclassified": 7, "cloud_medium": 8, "cloud_high": 9, "cirrus": 10, "snow": 11,
}  # fmt: skip
"""Names of the Sen2Cor scene classes. Source: Sentinel-2 L2A product definition."""


def split_channel(name: str) -> tuple[str, str]:
    """Split "[date:]name" into its date ("" = the date at hand) and its name in `CHANNELS`.

    >>> split_channel("before:B04"), split_channel("slope"), split_channel("vv_after")
    (('before', 'B04'), ('', 'slope'), ('after', 'VV'))
    """
    date, colon, rest = _SYNONYMS.get(name, name).rpartition(":")
    if not colon or date not in DATES:
        return "", _SYNONYMS.get(name, name)
    return date, _SYNONYMS.get(rest, rest)


def channel_of(name: str) -> Channel:
    """Return what the numbers of a channel are.

    Args:
        name: "[date:]name" of `CHANNELS`, or a recipe's name of it ("dem").

    Raises:
        UsageError: no such channel.
    """
    channel = CHANNELS.get(split_channel(name)[1])
    if channel is None:
        raise UsageError(
            f"channel {name!r}: its unit is not known; expected one of {', '.join(CHANNELS)}"
        )
    return channel


def source_of(name: str) -> Source:
    """Return what a channel is read from; a name without an entry in `CHANNELS` is a band.

    >>> source_of("before:B04"), source_of("slope"), source_of("after:VV")
    ('scenes', 'terrain', 'radar')
    """
    return CHANNELS.get(split_channel(name)[1], _REFLECTANCE).source


def is_pair(channels: Iterable[str]) -> bool:
    """Return whether channels are those of two dates at once: one of them names its date.

    >>> is_pair(["B04", "slope"]), is_pair(["before:B04", "B04"])
    (False, True)
    """
    return any(split_channel(channel)[0] for channel in channels)


def bands_on(channels: Sequence[str], date: str) -> tuple[str, ...]:
    """Return the bands that channels are read from on a date, each once, in order.

    Of two dates, a channel without a date is of the one after.

    >>> pair = ["before:B04", "after:B04", "B08", "slope"]
    >>> bands_on(pair, "before"), bands_on(pair, "after"), bands_on(["B04", "B08"], "before")
    (('B04',), ('B04', 'B08'), ('B04', 'B08'))
    """
    names = [split_channel(channel) for channel in channels if source_of(channel) == "scenes"]
    if not is_pair(channels):
        return tuple(name for _, name in names)
    return tuple(dict.fromkeys(name for own, name in names if (own or AFTER) == date))


def steps_of(channels: Sequence[str] | None) -> NDArray[np.float32]:
    """Return what a code of each channel is multiplied with, float32; (1,) where all agree.

    Channels without an entry in `CHANNELS` count as reflectance, as do those without a name (None).
    """
    if channels is None:
        return np.array([REFLECTANCE_SCALE], np.float32)
    known = (CHANNELS.get(split_channel(name)[1], _REFLECTANCE) for name in channels)
    steps = [channel.step for channel in known]
    return np.array(steps[:1] if len(set(steps)) == 1 else steps, np.float32)


def check_cube(cube: xr.DataArray) -> xr.DataArray:
    """Return the cube if it keeps its promise: (time, band, y, x) or (band, y, x), int16 or float.

    Raises:
        UsageError: other dimensions, or another dtype.
    """
    dims = tuple(str(dim) for dim in cube.dims)
    if dims not in {("band", "y", "x"), ("time", "band", "y", "x")}:
        raise UsageError(
            f"cube has dimensions {dims}: expected (band, y, x) or (time, band, y, x); "
            "use .transpose(...) and .rename(...)"
        )
    if cube.dtype != np.int16 and not np.issubdtype(cube.dtype, np.floating):
        raise UsageError(
            f"cube has dtype {cube.dtype}: expected int16 (reflectance x 1e4, {CUBE_NODATA} = no "
            "data) or a float (NaN = no data)"
        )
    return cube
