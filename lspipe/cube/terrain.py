"""The terrain of a tile: heights, slope and curvature as int16 codes on its grid.

A DEM is resampled once, onto the pixels of the tile; all else is derived there. It belongs to no
date, so every time step has the same. A pixel does not depend on blocks or chunks: it is decided by
the square of 610 pixels that it lies in, and by a rim around this.

See also: `terrain_spec.py` (the section `terrain:`), `heights.py` (files -> heights), `surface.py`
(the formulas).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from lspipe.cube import beside, surface
from lspipe.cube.canvas import meeting, north_up
from lspipe.cube.height_file import HeightFile
from lspipe.cube.heights import HALO, METHOD, heights
from lspipe.schema import CHANNELS, CUBE_NODATA, relative, split_channel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from lspipe.cube.height_file import Datum
    from lspipe.cube.scene import Chunks
    from lspipe.schema import Part

STORED = ("elevation", "slope")
"""What a run keeps of the terrain, for the columns of its list and its layers."""

HILLSIDE = "hillside"
"""No channel of models: the slope of heights that are smoothed over some 100 m, in the codes of
`slope`. A plain has pixels as steep as a hillside, of the noise of its DEM, hedges and houses."""

_KINDS: dict[str, surface.Curvature] = {
    "curvature": "total",
    "profile_curvature": "profile",
    "plan_curvature": "plan",
}

_SMOOTH = {*_KINDS, HILLSIDE}
"""Made of heights that a Gaussian went over."""


@dataclass(frozen=True, kw_only=True)
class Terrain:
    """The heights of a run: which files, and what is done to them. Small, and travels."""

    name: str
    """As the workflow names it: a collection, or a file."""
    files: tuple[HeightFile, ...]
    is_sea_left_out: bool = False
    """Whether ground without a file is sea, 0 m."""
    datum: Datum = ""
    """What the heights are counted from, after the shift."""
    datum_name: str = ""
    """As the file or the collection calls it, before a shift."""
    geoid: HeightFile | None = None
    """Height of the geoid above the ellipsoid, for a shift; None = no shift."""
    digest: str = ""
    """sha256 of the files that lie on this machine."""

    @property
    def sign(self) -> int:
        """Return what the height of the geoid is multiplied with, before it is added."""
        if self.geoid is None:
            return 0
        return 1 if self.datum == "ellipsoid" else -1

    def facts(self) -> dict[str, Any]:
        """Return plain JSON that decides the heights: names, and the content of local files."""
        return {
            "method": METHOD,
            "dem": self.name,
            "files": [[file.item, list(file.shape), file.metres] for file in self.files],
            "sea": self.is_sea_left_out,
            "datum": self.datum,
            "shift": self.sign,
            "sha256": self.digest,
        }

    def near(self, geobox: GeoBox) -> Terrain:
        """Return the same for one tile: only with the files that lie on it or beside it."""
        here = tuple(file for file in self.files if meeting([file], geobox))
        return replace(self, files=here)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Terrain:
        """Return what `as_json` wrote."""
        geoid = content["geoid"]
        return cls(
            **{
                **content,
                "files": tuple(_file(one) for one in content["files"]),
                "geoid": None if geoid is None else _file(geoid),
            }
        )


def _file(content: Mapping[str, Any]) -> HeightFile:
    return HeightFile(
        **{
            **content,
            "transform": tuple(content["transform"]),
            "shape": tuple(content["shape"]),
        }
    )


def read(
    terrain: Terrain,
    geobox: GeoBox,
    part: Part,
    names: Sequence[str],
    *,
    out: NDArray[np.int16] | None = None,
) -> NDArray[np.int16]:
    """Read a part of a tile.

    Args:
        terrain: of the run.
        geobox: the tile's grid, in a projected CRS in metres.
        part: rows and columns of it.
        names: channels of `schema.CHANNELS` whose source is terrain, or `HILLSIDE`, in the order of
            the result.
        out: the result, filled; None = a new array.

    Returns:
        int16 codes (channel, y, x), value = code x step of the channel, -32768 = not known.

    Raises:
        LoadError: a file cannot be read, or holds what is no height.
    """
    rows, columns = part
    shape = (len(names), rows.stop - rows.start, columns.stop - columns.start)
    found = np.empty(shape, np.int16) if out is None else out
    found[:] = CUBE_NODATA
    # A Gaussian counts heights from the lowest of a cell.
    whole = {"takes_whole_cells": not _SMOOTH.isdisjoint(split_channel(name)[1] for name in names)}
    shifts = heights((terrain.geoid,), geobox, part, **whole) if terrain.geoid else None
    grounds = heights(terrain.files, geobox, part, is_sea_left_out=terrain.is_sea_left_out, **whole)
    for extent, found_heights in grounds:
        ground = found_heights
        if shifts is not None:
            ground = ground + terrain.sign * next(shifts)[1]
        inside = beside.both(extent, part)
        into, cut = (relative(inside, (one[0].start, one[1].start)) for one in (part, extent))
        for number, values in enumerate(_derived(ground, north_up(geobox), names)):
            found[number][into] = to_codes(values[cut], names[number])
    return found


def part_layers(
    terrain: Terrain, geobox: GeoBox, part: Part, names: Sequence[str]
) -> Mapping[str, da.Array]:
    """Read channels of a part of a tile as `layers` gives them of the whole: (y, x), one chunk.

    On the grid of the tile, whose cells decide a pixel; see `read`.
    """
    codes = read(terrain, geobox, part, names) if names else ()
    return {name: da.from_array(layer) for name, layer in zip(names, codes, strict=True)}


def _derived(
    ground: NDArray[np.float32], pixel_m: float, names: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Return channels where heights are known and so are `HALO` pixels around.

    Float32 in the unit of each, NaN = not known.
    """
    wanted = [split_channel(name)[1] for name in names]
    smooth = None if _KINDS.keys().isdisjoint(wanted) else surface.smoothed(ground, pixel_m)
    # Beyond the pixel around, which a window of 3 x 3 needs.
    left = HALO - 1 - surface.reach(pixel_m)
    found = []
    for name in wanted:
        if name == "elevation":
            found.append(ground[HALO:-HALO, HALO:-HALO])
        elif name == "slope":
            found.append(surface.slope(_less(ground, HALO - 1), pixel_m))
        elif name == HILLSIDE:
            broad = surface.smoothed(ground, pixel_m, surface.HILLSIDE_M)
            found.append(surface.slope(_less(broad, left), pixel_m))
        elif smooth is not None:
            found.append(surface.curvature(_less(smooth, left), pixel_m, _KINDS[name]))
    return found


def _less(ground: NDArray[Any], rim: int) -> NDArray[Any]:
    """Return heights without a rim."""
    rows, columns = ground.shape
    return ground[rim : rows - rim, rim : columns - rim]


def to_codes(values: NDArray[np.float32], name: str) -> NDArray[np.int16]:
    """Return int16 codes of a channel, -32768 = not known; what is beyond its range is cut."""
    channel = CHANNELS["slope" if name == HILLSIDE else split_channel(name)[1]]
    codes = np.clip(values, channel.low, channel.high)
    codes /= np.float32(channel.step)
    np.rint(codes, out=codes)
    codes[np.isnan(codes)] = CUBE_NODATA
    return codes.astype(np.int16)


def layers(
    terrain: Terrain,
    geobox: GeoBox,
    names: Sequence[str],
    chunks: Chunks,
    *,
    origin: tuple[int, int] = (0, 0),
) -> dict[str, da.Array]:
    """Open channels of a tile, or of a part of it, lazily; nothing is read.

    Args:
        terrain: of the run.
        geobox: the tile's grid.
        names: channels, as of `read`.
        chunks: chunk sizes along y and along x, pixels.
        origin: row and column in the tile of their first pixel.

    Returns:
        By name int16 codes (y, x); all channels of a chunk are read at once.
    """
    read_part = partial(_read_part, terrain=terrain, geobox=geobox, names=tuple(names))
    decided_by = ("terrain", terrain, str(geobox))
    return beside.opened(read_part, names, chunks, origin=origin, decided_by=decided_by)


def _read_part(
    part: Part, *, terrain: Terrain, geobox: GeoBox, names: tuple[str, ...]
) -> NDArray[np.int16]:
    return read(terrain, geobox, part, names)
