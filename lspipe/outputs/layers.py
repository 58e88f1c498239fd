"""The maps of a run as cloud-optimised GeoTIFFs, for QGIS and any GDAL from 3.4 on.

For each tile and date: true colour, probability, and what was not observed; for two dates the
change; where the run knows the terrain, the slope; where it reads radar, the change of backscatter
from either orbit, and the share of the ground missed by optics that changed. A mosaic (VRT) per
layer and UTM zone shows all tiles at once, and reads the same files.
Names of classes are in `TILE_change.tif.aux.xml` and the like. The Zarr stores stay the source.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from lspipe.outputs import colours
from lspipe.outputs.categories import names_file
from lspipe.outputs.cog import Look, write_map
from lspipe.outputs.credit import credit
from lspipe.outputs.mosaic import piece_of, write_mosaic
from lspipe.schema import (
    CHANNELS,
    CODE_NODATA,
    CODE_SCALE,
    CUBE_NODATA,
    DATES,
    ORBITS,
    Quality,
    State,
    quantise,
)
from lspipe.schema.maps import REASON_NAMES, reasons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.outputs import Run
    from lspipe.outputs.mosaic import Piece
    from lspipe.schema import Part

FILE = "layers"

OUTSIDE = 255
"""In the map of what was not observed: outside the area of interest. 0 = observed; the reasons
count from 1, in the order of `schema.maps.REASON_NAMES`."""

PICTURE = Look(overviews="average")
PROBABILITY = Look(overviews="average", scale=1 / CODE_SCALE)
DECIBELS = 0.1
"""A step of a map of backscatter: speckle of three dates is 1.2 dB, and in the finer steps that are
stored it would make the file twice as large."""
BACKSCATTER = Look(overviews="average", scale=DECIBELS)
DENSITY = Look(overviews="nearest", scale=1 / CODE_SCALE)
"""As the mean of cells, of which most may have none, would hide them."""
SLOPE = Look(overviews="average", scale=CHANNELS["slope"].step)
CHANGE = Look(
    overviews="mode",
    colours=colours.STATES,
    names={int(state): state.name.lower() for state in State if state != State.UNDETERMINED},
)
SECONDS_PER_MEGAPIXEL, BYTES_PER_PIXEL = 0.20, 2.2
"""Of all layers of one date, on one core of an Intel Xeon at 2.1 GHz: docs/performance.md."""

QUALITY = Look(
    overviews="mode",
    colours={number: colours.REASONS[name] for number, name in enumerate(REASON_NAMES, start=1)}
    | {0: (0, 0, 0, 0)},
    names={0: "observed", **dict(enumerate(REASON_NAMES, start=1))},
)


@dataclass(frozen=True)
class Layer:
    """One map of a tile."""

    name: str
    """Of the map, the same in all tiles: "before", "probability_after", "change"."""
    array: xr.DataArray
    """(y, x) or (band, y, x), lazy, no data in the attribute `_FillValue`."""
    told: str
    """What the file says of itself."""

    @property
    def look(self) -> Look:
        """How it is shown."""
        return _look(self.name)


@dataclass(frozen=True)
class Written:
    """A layer of a tile that is a file now."""

    layer: str
    """Its name, see `Layer`."""
    zone: int
    """EPSG code of its CRS."""
    piece: Piece
    names: str
    """The file of the names of its classes; "" = it has none."""


def write(run: Run, path: Path) -> None:
    """Write the layers of a run; see the contract in `lspipe.outputs`.

    Args:
        run: whose tiles have maps; blocks that are not done are no data.
        path: of the folder: `TILE_before.tif`, `TILE_after.tif`, `TILE_probability_before.tif`,
            `TILE_change.tif`, `TILE_quality_before.tif`, ..., and `before_EPSG.vrt`, ...
    """
    path.mkdir()
    notice = credit(run)
    write_mosaics(
        [each for tile in run.tiles for each in write_tile(run, tile, path, notice=notice)], path
    )


def write_tile(run: Run, tile: str, path: Path, *, notice: str) -> list[Written]:
    """Write the layers of one tile, in any process: nothing is asked of the other tiles.

    Args:
        run: with the tile in its record.
        tile: its name.
        path: of the folder, which exists.
        notice: of the licence, `credit` of the whole run.
    """
    found = []
    for layer in layers_of(run, tile):
        tags = {"TIFFTAG_IMAGEDESCRIPTION": layer.told, "TIFFTAG_COPYRIGHT": notice}
        file = path / f"{tile}_{layer.name}.tif"
        write_map(layer.array, file, look=layer.look, tags=tags)
        names = names_file(file.name) if layer.look.names else ""
        zone = layer.array.rio.crs.to_epsg()
        found.append(Written(layer.name, zone, piece_of(file), names))
    return found


def write_mosaics(written: Iterable[Written], path: Path) -> list[str]:
    """Write a VRT per layer and UTM zone.

    Args:
        written: layers of all tiles, tile by tile: where two overlap, the later one is shown. Their
            files need not be at hand.
        path: of the folder.

    Returns:
        The names of the VRTs.
    """
    by_zone = defaultdict[tuple[str, int], list["Piece"]](list)
    for each in written:
        by_zone[each.layer, each.zone].append(each.piece)
    for (name, zone), pieces in by_zone.items():
        look = _look(name)
        write_mosaic(pieces, path / f"{name}_{zone}.vrt", colours=look.colours, names=look.names)
    return [f"{name}_{zone}.vrt" for name, zone in by_zone]


def files_of(tile: str, steps: list[Mapping[str, Any]]) -> list[str]:
    """Return the names of all files that `write_tile` may write.

    Args:
        tile: its name.
        steps: of its record.
    """
    dates = _dates(steps)
    pictures = [*dates, *(f"probability_{date}" for date in dates)]
    classes = [*(f"quality_{date}" for date in dates), "change"]
    beside = ("slope", *_ORBITS, "radar_density")
    maps = [f"{tile}_{name}.tif" for name in (*pictures, *classes, *beside)]
    return [*maps, *(names_file(f"{tile}_{name}.tif") for name in classes)]


def _look(layer: str) -> Look:
    """Return how a layer is shown."""
    whole = {"change": CHANGE, "slope": SLOPE, "radar_density": DENSITY}
    whole |= dict.fromkeys(_ORBITS, BACKSCATTER)
    if layer in whole:
        return whole[layer]
    kinds = {"probability_": PROBABILITY, "quality_": QUALITY}
    return next((look for kind, look in kinds.items() if layer.startswith(kind)), PICTURE)


def layers_of(run: Run, tile: str) -> Iterator[Layer]:
    """Yield the maps of the part of a tile that was computed; no pixel is read yet."""
    part = run.seen(tile)
    if part is None:
        return
    maps = run[tile].isel(y=part[0], x=part[1])
    steps = run.record["tiles"][tile]["steps"]
    for index, (date, step) in enumerate(zip(_dates(steps), steps, strict=True)):
        scenes = ", ".join(item for acquisition in step["acquisitions"] for item in acquisition)
        told = f"{step['role']}: {scenes}, {step['time']}"
        if "true_colour" in maps:
            yield Layer(date, maps["true_colour"].isel(time=index), told)
        if "probability" in maps:
            codes = _codes(maps["probability"].isel(time=index))
            yield Layer(f"probability_{date}", codes, f"landslide probability {told}")
        if "quality" in maps:
            unseen = _unseen(maps["quality"].isel(time=index))
            yield Layer(f"quality_{date}", unseen, f"{_LEGEND} {told}")
    if "slope" in maps:
        codes = _mapped(_slope_codes, maps["slope"], np.int16).assign_attrs(_FillValue=CUBE_NODATA)
        yield Layer("slope", codes, "slope of the ground, degrees (Horn 1981)")
    yield from _of_radar(maps, part)
    if "state" in maps:
        legend = str(maps["state"].attrs["flag_meanings"]).split()
        values = maps["state"].attrs["flag_values"]
        pairs = ", ".join(f"{value} {text}" for value, text in zip(values, legend, strict=True))
        yield Layer("change", maps["state"], f"change between the dates: {pairs}")


_ORBITS = {f"vv_change_{short}": orbit for orbit, short in ORBITS.items()}
"""Maps of radar, and the direction from which it saw the ground."""


def _of_radar(maps: xr.Dataset, part: Part) -> Iterator[Layer]:
    """Yield the maps of radar of a part of a tile."""
    for name, orbit in _ORBITS.items():
        before, after = (f"vv_{date}_{ORBITS[orbit]}" for date in DATES)
        if before in maps:
            change = _mapped(_decibel_codes, maps[after] - maps[before], np.int16)
            told = f"backscatter VV after minus before, dB, {orbit} orbit"
            yield Layer(name, change.assign_attrs(_FillValue=CUBE_NODATA), told)
    if "radar_density" in maps:
        told = "share of the ground missed by optics whose backscatter changed, cells of 500 m"
        yield Layer("radar_density", _on_pixels(maps, "radar_density", part), told)


def _on_pixels(maps: xr.Dataset, name: str, part: Part) -> xr.DataArray:
    """Return a map of cells on the pixels of a part of a tile, as the codes that are stored."""
    cells, edge = maps[name], maps[name].attrs["cell_px"]
    like = maps["quality"].isel(time=0)
    down, right = (np.arange(span.start, span.stop) // edge for span in part)
    wide = quantise(cells.to_numpy())[:, right]
    values = da.from_array(down, chunks=(like.chunksizes["y"],)).map_blocks(
        lambda rows: wide[rows],
        new_axis=1,
        chunks=(like.chunksizes["y"], len(right)),
        dtype=wide.dtype,
    )
    return like.copy(data=values).assign_attrs(_FillValue=CODE_NODATA)


_LEGEND = "not observed: 0 observed, " + ", ".join(
    f"{number} {name}" for number, name in enumerate(REASON_NAMES, start=1)
)


def _slope_codes(degrees: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return slopes as the codes that are stored."""
    missing = np.isnan(degrees)
    codes = np.rint(np.where(missing, 0, degrees) / CHANNELS["slope"].step)
    return np.where(missing, CUBE_NODATA, codes).astype(np.int16)


def _decibel_codes(decibels: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return changes of backscatter in steps of `DECIBELS`."""
    missing = np.isnan(decibels)
    step = CHANNELS["VV"].step
    # First whole stored steps, so that halves are halves.
    codes = np.rint(np.rint(np.where(missing, 0, decibels) / step) / round(DECIBELS / step))
    return np.where(missing, CUBE_NODATA, codes).astype(np.int16)


def _dates(steps: list[Mapping[str, Any]]) -> list[str]:
    """Name the steps: by their date, and by their day where a date has several acquisitions."""
    roles = [step["role"] for step in steps]
    return [
        role if roles.count(role) == 1 else f"{role}_{step['time'][:10].replace('-', '')}"
        for role, step in zip(roles, steps, strict=True)
    ]


def _codes(probability: xr.DataArray) -> xr.DataArray:
    """Return a map of probabilities as the codes that are stored."""
    return _mapped(quantise, probability, np.uint16).assign_attrs(_FillValue=CODE_NODATA)


def _unseen(quality: xr.DataArray) -> xr.DataArray:
    """Return the reason why each pixel was not observed, see `OUTSIDE`."""
    return _mapped(_numbers, quality, np.uint8).assign_attrs(_FillValue=OUTSIDE)


def _mapped(function: Callable[..., Any], array: xr.DataArray, dtype: Any) -> xr.DataArray:
    found: xr.DataArray = xr.apply_ufunc(
        function, array, dask="parallelized", output_dtypes=[dtype]
    )
    return found


def _numbers(quality: NDArray[np.uint8]) -> NDArray[np.uint8]:
    number = reasons(quality)
    is_outside = ((quality & Quality.OUTSIDE) != 0) & (number == 0)
    number[is_outside] = OUTSIDE
    return number
