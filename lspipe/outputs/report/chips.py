"""An object -> its pictures before and after at full resolution, and its outline on them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import shapely

from lspipe.outputs.report.pictures import data_uri, lightened, opened, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

    from lspipe.outputs import Run

INSIDE = 600
"""Objects, the first of the list, whose two pictures are in the report's file: about 5 kB each. For
others the page shows those in `FOLDER`, or a part of the map."""

FOLDER = "pictures"
"""Beside the report, with the pictures of the others; `lspipe.outputs.pictures` writes it."""

SMALLEST, LARGEST = 48, 160
"""Edge of a chip, pixels; a larger object is shown with every second, third ... pixel."""

AROUND = 1.7
"""Edge of a chip, times the extent of its object."""


@dataclass(frozen=True)
class Window:
    """The square of a tile that a chip shows."""

    row: int
    """Of its first pixel; may be negative, and the window may end beyond the tile."""
    column: int
    edge: int
    """Pixels of the tile."""
    step: int
    """Every so many pixels are shown."""


@dataclass(frozen=True)
class Chip:
    """The pictures of one object."""

    pictures: Mapping[str, NDArray[np.uint8]]
    """(y, x, RGBA) of each date, `before` and `after`; transparent where there is no data. Empty
    where only its outline was asked for."""
    edge: int
    """Of its pictures, pixels."""
    metres: int
    """Edge of a pixel."""
    rings: list[NDArray[np.float64]]
    """The outline: corners (n, 2) of each ring, column and row in pixels of the chip."""


def chips_of(run: Run, objects: gpd.GeoDataFrame, *, are_seen: bool = True) -> list[Chip | None]:
    """Return the chips of objects, in their order; None where their tile has no pictures.

    Args:
        run: an open run.
        objects: rows of its list.
        are_seen: whether pixels are read; without, only outlines and sizes are known.
    """
    objects = objects.reset_index(drop=True)
    found: list[Chip | None] = [None] * len(objects)
    for tile, rows in objects.groupby("tile", sort=True):
        maps = opened(run, str(tile))
        if maps is None:
            continue
        shapes = to_pixels(rows, maps)
        windows = [window_of(shape) for shape in shapes]
        cut = {
            role: _cut(maps["true_colour"].isel(time=index), windows)
            for role, index in (steps_of(run, str(tile)).items() if are_seen else ())
        }
        for number, place in enumerate(rows.index):
            window = windows[number]
            pictures = {role: some[number] for role, some in cut.items()}
            rings = list(rings_of(shapes[number], window))
            edge = -(-window.edge // window.step)
            found[place] = Chip(pictures, edge, 10 * window.step, rings)
    return found


def as_json(chip: Chip) -> dict[str, Any]:
    """Return a chip for the page: pictures as data: addresses, the outline as path of an SVG."""
    pictures = {role: data_uri(pixels, quality=85) for role, pixels in chip.pictures.items()}
    return pictures | {"edge": chip.edge, "metres": chip.metres, "outline": path_of(chip.rings)}


def file_name(name: str, role: str) -> str | None:
    """Return the file of an object's picture in `FOLDER`; None for an id that is no plain name.

    >>> file_name("18GYS_20220209_new_712220_5192660", "after")
    '18GYS_20220209_new_712220_5192660_after.webp'
    >>> file_name("../a", "after") is None
    True
    """
    is_plain = re.fullmatch(r"\w[\w-]*", name, re.ASCII) is not None
    return f"{name}_{role}.webp" if is_plain else None


def to_pixels(objects: gpd.GeoDataFrame, maps: xr.Dataset) -> list[Any]:
    """Return outlines in pixels (column, row) of a tile, counted from its upper left corner."""
    there = ~maps.rio.transform(recalc=True)
    matrix = (there.a, there.b, there.d, there.e, there.xoff, there.yoff)
    return list(objects.to_crs(maps.rio.crs).geometry.affine_transform(matrix))


def window_of(shape: Any) -> Window:
    """Return the window of an outline in pixels.

    >>> window_of(shapely.box(100, 200, 110, 220))
    Window(row=186, column=81, edge=48, step=1)
    """
    left, top, right, bottom = shape.bounds
    edge = max(SMALLEST, math.ceil(AROUND * max(right - left, bottom - top)))
    step = math.ceil(edge / LARGEST)
    row, column = (round((low + high - edge) / 2) for low, high in ((top, bottom), (left, right)))
    return Window(row, column, edge, step)


def rings_of(shape: Any, window: Window) -> Iterator[NDArray[np.float64]]:
    """Yield the rings of an outline in pixels of a chip, each without its last corner.

    >>> [ring.tolist() for ring in rings_of(shapely.box(10, 10, 12, 11), Window(9, 8, 48, 1))]
    [[[4.0, 1.0], [4.0, 2.0], [2.0, 2.0], [2.0, 1.0]]]
    """
    for part in shapely.get_parts(shape):
        for ring in (part.exterior, *part.interiors):
            corners = shapely.get_coordinates(ring)[:-1] - (window.column, window.row)
            # Corners of pixels are whole numbers, but for the way through degrees.
            yield np.round(np.round(corners, 2) / window.step, 1)


def path_of(rings: Iterable[NDArray[np.float64]]) -> str:
    """Return rings as the path of an SVG.

    >>> path_of([np.array([[4, 1], [4, 2.5], [2, 2]])])
    'M4 1L4 2.5L2 2Z'
    """
    return "".join(f"M{'L'.join(f'{x:g} {y:g}' for x, y in ring)}Z" for ring in rings)


def _cut(colours: xr.DataArray, windows: list[Window]) -> list[NDArray[np.uint8]]:
    """Return the pixels of each window (y, x, RGBA), black and transparent beyond the tile."""
    parts = [
        colours[:, _span(one.row, one.edge), _span(one.column, one.edge)].data for one in windows
    ]
    # Together, so that a chunk with several objects is read once.
    return [_framed(part, one) for part, one in zip(dask.compute(*parts), windows, strict=True)]


def _span(first: int, edge: int) -> slice:
    """Return the pixels of an axis that a window may show: none before its begin."""
    return slice(max(0, first), max(0, first + edge))


def _framed(pixels: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    whole = np.zeros((window.edge, window.edge, 4), np.uint8)
    top, left = max(0, -window.row), max(0, -window.column)
    inside = whole[top : top + pixels.shape[1], left : left + pixels.shape[2]]
    inside[..., :3] = lightened(np.moveaxis(pixels, 0, -1))
    inside[..., 3] = np.where(pixels.any(axis=0), 255, 0)
    return np.ascontiguousarray(whole[:: window.step, :: window.step])
