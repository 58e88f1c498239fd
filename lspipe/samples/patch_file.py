"""One NetCDF patch of several dates -> its channels, and which date is before and which after.

Layout: that of Sen12Landslides. Variables (time, y, x) in any order of their dimensions, and the
attributes `annotated` and `pre_post_dates`.

    variable                   what its numbers are
    B01 ... B12                int16, reflectance x 1e4, ESA's offset subtracted
    DEM, SLOPE, CURVATURE      metres, degrees, 1/100 m-1
    VV, VH                     decibels
    SCL                        scene classes of Sen2Cor
    QUALITY                    bits of `schema.Quality`; patches of lspipe have them, not classes
    MASK                       1 = landslide, 0 = none, 255 = not said

A variable with the attributes `scale_factor` and `_FillValue` is read as CF conventions say.

Dates: those up to `pre` are before the event, those from `post` on are after it; between the dates
of several events none is taken. On each side the date nearest to the event is taken that sees
`CLEAR` of the patch, else the clearest one. A patch without an annotated event is cut in its
middle.

Source: github.com/PaulH97/Sen12Landslides (README: Data Record).
"""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.errors import MissingExtra, SamplesError
from lspipe.preprocess.masks.scl import quality_of
from lspipe.preprocess.masks.spec import MaskSpec
from lspipe.samples.units import reflectance
from lspipe.schema import (
    AFTER,
    BEFORE,
    IGNORED,
    OPTICAL_BANDS,
    REFLECTANCE_SCALE,
    SCL_CLASSES,
    channel_of,
    split_channel,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.models.recipes import Level

VARIABLES: Mapping[str, str] = {
    **{band: band for band in OPTICAL_BANDS},
    "elevation": "DEM",
    "slope": "SLOPE",
    "curvature": "CURVATURE",
    "VV": "VV",
    "VH": "VH",
    "VV_amplitude": "VV",
}
"""Channels, and the variable that each is read from."""

MASK, CLASSES, QUALITY = "MASK", "SCL", "QUALITY"

CLEAR = 0.9
"""Share of a patch that a date must see to be taken before a clearer one further off. Half a patch
would often hide the landslide, and all of it is rarely seen."""

OFFSET_SINCE = np.datetime64("2022-01-25")
"""First day of processing baseline 04.00, which adds 1000 to every digital number (ESA)."""

OFFSET, GREEN_PIXELS = 1000, 100

_INDICES = re.compile(r"['\"]pre['\"]\s*:\s*(-?\d+)\s*,\s*['\"]post['\"]\s*:\s*(-?\d+)")


@dataclass(frozen=True)
class PatchFile:
    """An opened file."""

    path: Path
    content: Any
    """The `h5py.File`, which a file of NetCDF 4 is."""
    _steps: dict[str, int] = field(default_factory=dict, repr=False)
    """Dates that were chosen."""

    def has(self, channel: str) -> bool:
        """Return whether the file holds a channel ("B04", "before:VV", "dem")."""
        return VARIABLES.get(split_channel(channel)[1]) in self.content

    @property
    def is_annotated(self) -> bool:
        """Whether an event is known."""
        return _text(self.content.attrs.get("annotated", "")).lower() == "true"

    @property
    def level(self) -> Level:
        """Product level of the optical scenes, L2A if the file does not say it."""
        stated = _text(self.content.attrs.get("level", "L2A"))
        return "L2A" if stated == "L2A" else "L1C" if stated == "L1C" else "none"

    def step(self, date: str) -> int:
        """Return the number of the date that stands for "before" or "after".

        Raises:
            SamplesError: the file has no such date, or its event is not between two of its dates.
        """
        if date not in self._steps:
            steps = self._dates()[date]
            if not steps:
                raise SamplesError(f"{self.path}: has one date: none is {date}")
            self._steps[date] = self._clearest(steps)
        return self._steps[date]

    def channel(self, name: str) -> NDArray[np.float32]:
        """Return a channel in its own unit, float32 (y, x), NaN = no data, or no plausible number.

        Args:
            name: without a date it is of the date after.

        Raises:
            SamplesError: numbers of another unit, or another shape.
        """
        date, channel = split_channel(name)
        step = self.step(date or AFTER)
        if channel in OPTICAL_BANDS:
            values = self._band(channel, step)
        else:
            values = self._measured(VARIABLES[channel], step)
            if channel == "VV_amplitude":
                values = np.float32(10) ** (values / np.float32(20))
        known = channel_of(channel)
        # Half a step more, as the last code is not quite its value in float32.
        half = known.step / 2
        is_plausible = (values >= known.low - half) & (values <= known.high + half)
        return np.where(is_plausible, values, np.float32(np.nan))

    def hidden(self, date: str) -> NDArray[np.bool_]:
        """Return where a date was not observed: masked as a run masks by default, bool (y, x)."""
        return self._hidden(self.step(date))

    def labels(self) -> NDArray[np.uint8]:
        """Return the labels of the date after: 1, 0, `IGNORED`; uint8 (y, x).

        Raises:
            SamplesError: no mask, or one with other values.
        """
        if MASK not in self.content:
            raise SamplesError(f"{self.path}: no variable {MASK}: expected the landslides in it")
        labels = self._numbers(MASK, self.step(AFTER))
        found = np.unique(labels)
        if not np.isin(found, (0, 1, IGNORED)).all():
            raise SamplesError(
                f"{self.path}: {MASK} with the values {', '.join(map(str, found[:5]))}: expected "
                f"0 and 1, or {IGNORED} where nothing is said"
            )
        return labels.astype(np.uint8)

    def check_offset(self, date: str) -> None:
        """Refuse digital numbers that still hold ESA's offset of 1000.

        Green ground is dark in blue and in red; with the offset nothing is.

        Raises:
            SamplesError: it is still there.
        """
        step = self.step(date)
        if CLASSES not in self.content or self._time(step) < OFFSET_SINCE:
            return
        green = self._numbers(CLASSES, step) == SCL_CLASSES["vegetation"]
        bands = [band for band in ("B02", "B04") if band in self.content]
        if green.sum() < GREEN_PIXELS or not bands:
            return
        medians = [float(np.median(self._numbers(band, step)[green])) for band in bands]
        if min(medians) >= OFFSET:
            raise SamplesError(
                f"{self.path}: {bands[0]} is about {medians[0]:g} on vegetation, so ESA's offset "
                "of 1000 is still in these numbers: expected the harmonized patches of the set, "
                "or numbers without it"
            )

    def along(self, axis: str) -> NDArray[np.float64]:
        """Return the coordinates along "x" or "y"."""
        return np.asarray(self.content[axis][()], np.float64)

    # --- dates ----------------------------------------------------------------------------------

    def _dates(self) -> dict[str, Sequence[int]]:
        """Return the dates on each side of the event, the nearest first."""
        count = self.content["time"].size if "time" in self.content else 1
        if count == 1:
            return {BEFORE: (), AFTER: (0,)}
        stated = _text(self.content.attrs.get("pre_post_dates", ""))
        events = [(int(pre), int(post)) for pre, post in _INDICES.findall(stated)]
        if events and all(0 <= pre < post < count for pre, post in events):
            first, last = min(pre for pre, _ in events), max(post for _, post in events)
        elif self.is_annotated:
            raise SamplesError(
                f"{self.path}: pre_post_dates = {stated or 'nothing'} of {count} dates: expected "
                "a date before each event and one after it"
            )
        else:
            first, last = count // 2 - 1, count // 2
        return {BEFORE: range(first, -1, -1), AFTER: range(last, count)}

    def _clearest(self, steps: Sequence[int]) -> int:
        seen: dict[int, float] = {}
        for step in steps:
            seen[step] = 1 - float(self._hidden(step).mean())
            if seen[step] >= CLEAR:
                return step
        return max(seen, key=seen.__getitem__)

    def _time(self, step: int) -> np.datetime64:
        import xarray as xr

        stored = self.content["time"]
        units = {
            key: _text(stored.attrs[key]) for key in ("units", "calendar") if key in stored.attrs
        }
        decoded = xr.decode_cf(xr.Dataset({"time": ("time", np.atleast_1d(stored[()]), units)}))
        time: np.datetime64 = decoded["time"].values[step]
        return time

    # --- pixels ---------------------------------------------------------------------------------

    def _hidden(self, step: int) -> NDArray[np.bool_]:
        hidden: NDArray[np.bool_]
        if QUALITY in self.content:
            hidden = self._numbers(QUALITY, step) != 0
        elif CLASSES in self.content:
            classes = self._numbers(CLASSES, step).astype(np.uint16)
            hidden = quality_of(classes, MaskSpec().scl) != 0
        elif "VV" in self.content:
            hidden = ~np.isfinite(self._measured("VV", step))
        else:
            hidden = np.zeros(self._numbers(MASK, step).shape, bool)
        return hidden

    def _band(self, name: str, step: int) -> NDArray[np.float32]:
        stored = self._numbers(name, step)
        stated = self._stated(name, "scale_factor", 1), self._stated(name, "add_offset", 0)
        if stored.dtype not in (np.int16, np.uint16):
            raise SamplesError(
                f"{self.path}: {name} is {stored.dtype}: expected int16, reflectance x 1e4"
            )
        if stated not in ((1.0, 0.0), (REFLECTANCE_SCALE, 0.0)):
            raise SamplesError(
                f"{self.path}: {name} states scale {stated[0]:g} and offset {stated[1]:g}: "
                f"expected none, or {REFLECTANCE_SCALE:g} and 0; apply them first"
            )
        return self._without_fill(name, stored, reflectance(stored))

    def _measured(self, name: str, step: int) -> NDArray[np.float32]:
        """Return numbers in the unit of a variable, by its scale and offset."""
        stored = self._numbers(name, step)
        values = stored.astype(np.float32) * np.float32(self._stated(name, "scale_factor", 1))
        values += np.float32(self._stated(name, "add_offset", 0))
        values = self._without_fill(name, stored, values)
        if name in ("VV", "VH") and (values > 0).sum() > np.isfinite(values).sum() / 2:
            raise SamplesError(
                f"{self.path}: {name} is mostly above 0: expected decibels; of linear power take "
                "10 log10"
            )
        return values

    def _without_fill(
        self, name: str, stored: NDArray[Any], values: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        fill = self._stated(name, "_FillValue", math.nan)
        return np.where(stored == fill, np.float32(np.nan), values)

    def _stated(self, name: str, attribute: str, otherwise: float) -> float:
        return float(np.ravel(self.content[name].attrs.get(attribute, otherwise))[0])

    def _numbers(self, name: str, step: int) -> NDArray[Any]:
        """Return the numbers of a variable on a date as they are stored, (y, x)."""
        stored = self.content[name]
        axes = [_axis(dimension) for dimension in stored.dims]
        if sorted(set(axes) | {"time"}) != ["time", "x", "y"] or len(set(axes)) < len(axes):
            raise SamplesError(
                f"{self.path}: {name} has dimensions {', '.join(axes) or 'none'}: expected time, "
                "y, x"
            )
        numbers: NDArray[Any] = stored[
            tuple(step if axis == "time" else slice(None) for axis in axes)
        ]
        return numbers if axes.index("y") < axes.index("x") else numbers.T


def _axis(dimension: Any) -> str:
    """Return the name of a dimension of HDF5."""
    named = dimension[0].name if len(dimension) else dimension.label
    return str(named).rpartition("/")[2]


def _text(value: Any) -> str:
    """Return an attribute of text, which programs store in several ways."""
    one = np.ravel(value)[0] if np.size(value) else ""
    return one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)


@contextmanager
def open_patch(path: Path) -> Iterator[PatchFile]:
    """Open a file; pixels are read when they are asked for.

    Raises:
        SamplesError: it cannot be read.
        MissingExtra: h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{path}: NetCDF needs h5py: pip install 'lspipe[train]'") from error
    # Not by xarray: it opens a file in 40 ms and this in 1, and there are thousands.
    try:
        with h5py.File(path) as content:
            yield PatchFile(path, content)
    except (OSError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise SamplesError(f"{path}: not a readable NetCDF patch ({reason})") from error
