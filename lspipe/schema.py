"""What flows between the stages: dtypes, units, nodata, bits and columns, and `check`s of them.

Arrays stay plain xarray and tables plain GeoDataFrames; what is promised about them is written here
once and checked where one stage hands over to the next.

    cube         (time, band, y, x) int16     physical value = code x step, -32768 = no data
    quality      (time, y, x)       uint8     bits of `Quality`, 0 = observed and clear
    probability  (time, y, x)       float32   0..1, NaN = not observed; on disk uint16 codes
    codes        (time, y, x)       uint16    probability x 1e4, 65535 = not observed
    state        (y, x)             uint8     `State`, 255 = undetermined
    inventory    GeoDataFrame                 one row per whole object, `INVENTORY_COLUMNS`
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

CUBE_NODATA = -32768
"""No data in an int16 cube; codes of reflectance are -999..31767: 15-bit DN, offset applied."""

CODE_SCALE = 10000
"""Codes per unit of probability on disk."""

CODE_NODATA = 65535
"""Code of a pixel that was not observed."""

OPTICAL_BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip
"""Canonical band names of Sentinel-2 MSI, in the order of the products."""


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
    unit="1/100 m-1", step=0.01, low=-327.67, high=327.67, below=_NO_DATA, above=_NO_DATA
)

_BACKSCATTER = Channel(
    unit="dB",
    step=0.002,
    low=-65.0,
    high=65.0,
    below=_NO_DATA,
    above="linear power or digital numbers? Take 10 log10 of the power",
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
    ),
    "elevation": Channel(
        # Land only; bathymetry and the no data of most elevation models lie below.
        unit="m",
        step=0.5,
        low=-500.0,
        high=9000.0,
        below=_NO_DATA,
        above=_NO_DATA,
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
        is_directional=True,
    ),
}
"""Unit, step and plausible range of each channel of a cube. A name may stand behind a date
("before:B04", see `split_channel`)."""

DATES = ("before", "after")
"""What may stand before a channel's name."""

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


IGNORED = 255
"""Label of a pixel that says nothing (cloud, no data): no loss and no score counts it."""


CRS_ATTRIBUTES = frozenset({"crs_wkt", "spatial_ref", "grid_mapping_name"})
"""Attributes of a coordinate that holds a CRS. Source: CF conventions 5.6; GDAL."""


Part = tuple[slice, slice]
"""Rows and columns of a tile, or of an array, that belong together."""


def grown(part: Part, reach: int, shape: tuple[int, ...]) -> Part:
    """Return a part and what lies within `reach` pixels of it, inside an array of a shape."""
    rows, columns = (
        slice(max(0, span.start - reach), min(length, span.stop + reach))
        for span, length in zip(part, shape, strict=True)
    )
    return rows, columns


def relative(part: Part, origin: tuple[int, int]) -> Part:
    """Return a part of a tile as one of an array that begins at `origin`."""
    rows, columns = (
        slice(span.start - first, span.stop - first)
        for span, first in zip(part, origin, strict=True)
    )
    return rows, columns


class Quality(IntFlag):
    """Why a pixel was not observed (any bit set = not observed)."""

    NODATA = 1
    """A channel has no data: outside the swath, or a gap in the product."""
    OTHER = 2
    """Masked by a scene class that has no bit of its own (saturated, dark, water, ...)."""
    CLOUD = 4
    SHADOW = 8
    SNOW = 16
    DILATED = 32
    """Within the mask's dilation of a cloud or cloud shadow."""
    OUTSIDE = 64
    """Outside the area of interest."""
    READ_ERROR = 128
    """A read failed and the workflow says `on_read_error: nodata`, or the file holds a number that
    Sentinel-2 cannot hold; always with `NODATA`."""


class State(IntEnum):
    """What happened to a pixel between two dates (docs/numerics.md, Change states)."""

    NONE = 0
    GAIN = 1
    LOSS = 2
    BOTH = 3
    WEAK_GAIN = 4
    WEAK_LOSS = 5
    UNDETERMINED = 255


STATUSES = ("new", "grown", "persistent", "vanished", "undetermined", "detected")

INVENTORY_COLUMNS = (
    "id", "tile", "status", "date_before", "date_after", "event_date_min", "event_date_max",
    "area_m2", "perimeter_m", "length_m", "width_m", "area_perimeter_ratio_m", "length_width_ratio",
    "probability_mean", "probability_max", "gain_mean", "n_px", "undetermined_fraction",
    "confidence", "lon", "lat", "utm_epsg", "model_id", "model_sha256", "items_before",
    "items_after", "reviewed", "geometry",
)  # fmt: skip
"""Columns of every inventory, in order; evidence and flag columns follow where the run has them."""


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


def steps_of(channels: Sequence[str] | None) -> NDArray[np.float32]:
    """Return what a code of each channel is multiplied with, float32; (1,) where all agree.

    Channels without an entry in `CHANNELS` count as reflectance, as do those without a name (None).
    """
    if channels is None:
        return np.array([REFLECTANCE_SCALE], np.float32)
    known = (CHANNELS.get(split_channel(name)[1], _REFLECTANCE) for name in channels)
    steps = [channel.step for channel in known]
    return np.array(steps[:1] if len(set(steps)) == 1 else steps, np.float32)


def quantise(probability: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Turn probabilities into stored codes.

    Args:
        probability: float, 0..1, NaN = not observed, any shape.

    Returns:
        uint16 codes, round-half-to-even of probability x 1e4, 65535 where NaN.
    """
    missing = np.isnan(probability)
    codes = np.rint(np.where(missing, 0, probability).astype(np.float64) * CODE_SCALE)
    return np.where(missing, CODE_NODATA, codes).astype(np.uint16)


def dequantise(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Turn stored codes back into float32 probabilities, NaN where not observed."""
    missing = codes == CODE_NODATA
    return np.where(missing, np.nan, codes.astype(np.float64) / CODE_SCALE).astype(np.float32)


def to_codes(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Return the codes of a map given as float probabilities or as codes.

    Args:
        values: float 0..1 with NaN = not observed, or uint16 codes with 65535 = not observed.

    Raises:
        UsageError: values outside 0..1, codes outside 0..10000 and 65535, or another dtype.
    """
    if values.dtype == np.uint16:
        wrong = values[(values > CODE_SCALE) & (values != CODE_NODATA)]
        if wrong.size:
            raise UsageError(
                f"a map holds the code {wrong[0]}: expected 0..{CODE_SCALE}, or {CODE_NODATA} = "
                "not observed"
            )
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise UsageError(
            f"a map is {values.dtype}: expected float probabilities 0..1 (NaN = not observed) or "
            "uint16 codes"
        )
    wrong = values[(values < 0) | (values > 1)]
    if wrong.size:
        raise UsageError(
            f"a map holds {wrong[0]:g}: expected probabilities 0..1, NaN = not observed; "
            "rescale or clip it first"
        )
    return quantise(values)


def threshold_code(threshold: float) -> int:
    """Return the code that a probability threshold becomes: round(10000 t).

    Every threshold is applied to stored codes, strictly (`code > threshold_code(t)`), so that a map
    in memory and the same map on disk never disagree.

    Raises:
        UsageError: the threshold is outside 0..1.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold {threshold}: expected a probability between 0 and 1")
    return round(threshold * CODE_SCALE)


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


def check_inventory(inventory: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the inventory if it has every promised column, unique ids, known statuses and a CRS.

    Raises:
        ValueError: a promise is broken; this is a fault of lspipe, not of the user.
    """
    problems: list[Any] = [name for name in INVENTORY_COLUMNS if name not in inventory.columns]
    problems += [status for status in set(inventory["status"]) if status not in STATUSES]
    problems += list(inventory["id"][inventory["id"].duplicated()])
    if inventory.crs is None:
        problems.append("no CRS")
    if problems:
        raise ValueError(f"inventory breaks its schema: {problems}")
    return inventory
