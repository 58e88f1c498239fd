"""The backscatter of a tile, VV before and after, as int16 codes on its grid.

    pass        the acquisitions of one relative orbit, before and after
    side        the mean of its dates in linear power (`power.py`); the side after is moved onto the
                side before
    channel     decibels, or amplitude, of that mean

Source: Small 2011, doi:10.1109/TGRS.2011.2120616 (terrain-flattened gamma0).

See also: `radar_spec.py` (the section `radar:`), `sentinel1.py` (items -> passes).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.cube import beside
from lspipe.cube.power import ENOUGH_DATES, powers
from lspipe.cube.radar_file import HiddenFile, RadarFile
from lspipe.schema import AFTER, BEFORE, CHANNELS, CUBE_NODATA, relative, split_channel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import dask.array as da
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.scene import Chunks
    from lspipe.schema import Part

TOLERATED_PX = 0.1
"""A shift that is not undone: 1 m, which resampling would blur for nothing."""

SURE = 2.0
"""Times the spread of its windows that a shift must be to be undone: on flat, even ground speckle
makes shifts of its own, of half a pixel (docs/radar.md)."""

LARGEST_PX = 1.0
"""Beyond this the sides of a pass are not compared."""


@dataclass(frozen=True, kw_only=True)
class RadarPass:
    """The acquisitions of one relative orbit over a tile, before and after."""

    orbit_state: str
    """"ascending" or "descending"."""
    relative_orbit: int
    sides: Mapping[str, tuple[RadarFile, ...]]
    """"before" and "after" to files, in order of time; those of one day are slices of one date."""
    shift: tuple[float, float] | None = None
    """By how much the side after lies to the right of, and below, the side before: pixels of the
    tile; None = it cannot be told."""
    spread_px: float = 0.0
    """By how much the windows in which it was measured differ, as `registration.Shift` has it."""

    @property
    def name(self) -> str:
        """How people call it: "ascending 117"."""
        return f"{self.orbit_state} {self.relative_orbit}"

    @property
    def platforms(self) -> tuple[str, ...]:
        """The satellites of both sides, in order."""
        return tuple(sorted({file.platform for files in self.sides.values() for file in files}))

    def dates(self, side: str) -> tuple[str, ...]:
        """Return the dates of a side, ISO 8601."""
        return tuple(dict.fromkeys(file.day for file in self.sides[side]))

    def is_filtered(self, side: str) -> bool:
        """Return whether a side has so few dates that speckle is filtered."""
        return len(self.dates(side)) < ENOUGH_DATES

    @property
    def moved_px(self) -> tuple[float, float]:
        """By how much the side after is moved back: right and down, pixels."""
        least = max(TOLERATED_PX, SURE * self.spread_px)
        if self.shift is None or np.hypot(*self.shift) <= least:
            return 0.0, 0.0
        return self.shift

    def powers(
        self, side: str, geobox: GeoBox, part: Part
    ) -> Iterator[tuple[Part, NDArray[np.float32]]]:
        """Yield the mean power of a side on the cells that hold a part of a tile."""
        moved = geobox.translate_pix(*self.moved_px) if side == AFTER else geobox
        return powers(self.sides[side], moved, part)

    def facts(self) -> dict[str, Any]:
        """Return plain JSON that decides its pixels."""
        return {
            "orbit": self.name,
            "moved_px": list(self.moved_px),
            "sides": {
                side: [_facts(file) for file in files] for side, files in sorted(self.sides.items())
            },
        }


@dataclass(frozen=True, kw_only=True)
class Radar:
    """The radar of a tile: which passes, and what is done to them. Small, and travels."""

    name: str
    """As the workflow names it: a collection, or a path to items."""
    passes: tuple[RadarPass, ...]
    """The first is the one that models see; another, of the other direction, is evidence too."""
    notes: tuple[str, ...] = ()
    """What a person is to know of them."""
    asked: str = ""
    """Hash of what was asked for when the passes were decided."""

    def facts(self) -> dict[str, Any]:
        """Return plain JSON that decides the pixels of all passes."""
        return {"radar": self.name, "passes": [one.facts() for one in self.passes]}

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Radar:
        """Return what `as_json` wrote."""
        passes = tuple(map(_pass, content["passes"]))
        return cls(**{**content, "passes": passes, "notes": tuple(content["notes"])})


def _facts(file: RadarFile) -> list[Any]:
    """Return plain JSON that decides the pixels of a file, apart from its content."""
    hidden = file.hidden and [file.hidden.asset, list(file.hidden.numbers)]
    return [file.day, file.item, file.asset, list(file.transform), hidden]


def _pass(content: Mapping[str, Any]) -> RadarPass:
    sides = {side: tuple(map(_file, files)) for side, files in content["sides"].items()}
    shift = content["shift"]
    return RadarPass(
        **{**content, "sides": sides, "shift": None if shift is None else tuple(shift)}
    )


def _file(content: Mapping[str, Any]) -> RadarFile:
    hidden = content["hidden"]
    if hidden is not None:
        hidden = HiddenFile(**{**hidden, "numbers": tuple(hidden["numbers"])})
    return RadarFile(
        **{
            **content,
            "transform": tuple(content["transform"]),
            "shape": tuple(content["shape"]),
            "hidden": hidden,
        }
    )


# --- channels -----------------------------------------------------------------------------------


def read(
    radar: Radar,
    geobox: GeoBox,
    part: Part,
    names: Sequence[str],
    pass_number: int = 0,
    *,
    role: str = AFTER,
    out: NDArray[np.int16] | None = None,
) -> NDArray[np.int16]:
    """Read a part of a tile.

    Args:
        radar: of the tile.
        geobox: the tile's grid, in a projected CRS in metres.
        part: rows and columns of it.
        names: `before:VV`, `after:VV`, `before:VV_amplitude`, `after:VV_amplitude`, in the order of
            the result.
        pass_number: which of the passes.
        role: the side of names without a date, "before" or "after".
        out: the result, filled; None = a new array.

    Returns:
        int16 codes (channel, y, x), value = code x step of the channel (0.002 dB), -32768 = not
        observed.

    Raises:
        LoadError: a file cannot be read, or holds no linear power.
    """
    rows, columns = part
    shape = (len(names), rows.stop - rows.start, columns.stop - columns.start)
    found = np.empty(shape, np.int16) if out is None else out
    found[:] = CUBE_NODATA
    wanted = [split_channel(name) for name in names]
    for side in (BEFORE, AFTER):
        numbers = [n for n, (date, _) in enumerate(wanted) if (date or role) == side]
        if not numbers:
            continue
        for cell, power in radar.passes[pass_number].powers(side, geobox, part):
            inside = beside.both(cell, part)
            into, cut = (relative(inside, (one[0].start, one[1].start)) for one in (part, cell))
            for number in numbers:
                found[number][into] = to_codes(power[cut], wanted[number][1])
    return found


def to_codes(power: NDArray[np.float32], name: str) -> NDArray[np.int16]:
    """Return int16 codes of linear power, -32768 = not observed; what is beyond is cut.

    Args:
        power: float32, NaN = not observed.
        name: `VV`, decibels, or `VV_amplitude`, the square root of power.

    Example:
        >>> to_codes(np.float32([0.1, 1.0, np.nan]), "VV").tolist()  # -10 and 0 dB
        [-5000, 0, -32768]
    """
    channel = CHANNELS[name]
    values = np.sqrt(power) if name.endswith("_amplitude") else np.float32(10) * np.log10(power)
    codes: NDArray[np.float32] = np.clip(
        values, channel.low, min(channel.high, 32767 * channel.step)
    )
    codes /= np.float32(channel.step)
    np.rint(codes, out=codes)
    codes[np.isnan(power)] = CUBE_NODATA
    return codes.astype(np.int16)


def layers(
    radar: Radar,
    geobox: GeoBox,
    names: Sequence[str],
    chunks: Chunks,
    pass_number: int = 0,
    *,
    role: str = AFTER,
    origin: tuple[int, int] = (0, 0),
) -> dict[str, da.Array]:
    """Open channels of a tile, or of a part of it, lazily; nothing is read.

    Args:
        radar: of the tile.
        geobox: the tile's grid.
        names: channels, as of `read`.
        chunks: chunk sizes along y and along x, pixels.
        pass_number: which of the passes.
        role: the side of names without a date.
        origin: row and column in the tile of their first pixel.

    Returns:
        By name int16 codes (y, x); all channels of a chunk are read at once.
    """
    how: dict[str, Any] = {"names": tuple(names), "pass_number": pass_number, "role": role}
    decided_by = ("radar", radar.as_json(), str(geobox), how)
    read_part = partial(_read_part, radar=radar, geobox=geobox, **how)
    return beside.opened(read_part, names, chunks, origin=origin, decided_by=decided_by)


def _read_part(part: Part, *, radar: Radar, geobox: GeoBox, **how: Any) -> NDArray[np.int16]:
    return read(radar, geobox, part, **how)
