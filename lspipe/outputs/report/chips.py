"""An object -> its pictures before and after at full resolution, and its outline on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import shapely

from lspipe.errors import StoreError
from lspipe.outputs.report.pictures import data_uri, lightened, steps_of

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

    from lspipe.outputs import Run

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


def chips_of(run: Run, objects: gpd.GeoDataFrame) -> list[dict[str, Any] | None]:
    """Return the chips of objects, in their order; None where their tile has no pictures.

    Returns:
        Each with an image per date (`before`, `after`; data:), its `edge` in pixels, the `metres`
        of a pixel, and the `outline` as the path of an SVG in pixels of the chip.
    """
    found: list[dict[str, Any] | None] = [None] * len(objects)
    for tile, rows in objects.groupby("tile", sort=True):
        maps = _opened(run, str(tile))
        if maps is None:
            continue
        shapes = to_pixels(rows, maps)
        windows = [window_of(shape) for shape in shapes]
        dates = steps_of(run, str(tile))
        pictures = {
            role: _cut(maps["true_colour"].isel(time=index), windows)
            for role, index in dates.items()
        }
        for number, place in enumerate(rows.index):
            window = windows[number]
            images = {role: data_uri(cut[number], quality=85) for role, cut in pictures.items()}
            found[place] = images | {
                "edge": math.ceil(window.edge / window.step),
                "metres": 10 * window.step,
                "outline": path_of(shapes[number], window),
            }
    return found


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


def path_of(shape: Any, window: Window) -> str:
    """Return an outline as the path of an SVG, in pixels of a chip.

    >>> path_of(shapely.box(10, 10, 12, 11), Window(9, 8, 48, 1))
    'M4 1L4 2L2 2L2 1Z'
    """
    path = ""
    for part in shapely.get_parts(shape):
        for ring in (part.exterior, *part.interiors):
            points = shapely.get_coordinates(ring)[:-1] - (window.column, window.row)
            # Corners of pixels are whole numbers, but for the way through degrees.
            places = np.round(np.round(points, 2) / window.step, 1)
            path += "M" + "L".join(f"{x:g} {y:g}" for x, y in places) + "Z"
    return path


def _opened(run: Run, tile: str) -> xr.Dataset | None:
    if tile not in run.tiles:
        return None
    try:
        maps = run[tile]
    except StoreError:
        return None
    return maps if "true_colour" in maps else None


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
