"""The pixel grid of a Sentinel-2 tile, from an item's projection metadata or the tile's name.

See also: `areas.py`, which burns areas onto these grids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from affine import Affine
from odc.geo.geobox import GeoBox

from lspipe.catalogs import assets as assets_of
from lspipe.catalogs import band_assets, item_id, mgrs_tile, properties
from lspipe.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.catalogs import Item

PIXEL = 10
"""Pixel size of every tile's grid, metres: the finest of Sentinel-2."""

TILE_PIXELS = 10980
"""Edge of a whole tile at 10 m. Source: Sentinel-2 products specification (109.8 km)."""

_FALSE_NORTHING = 10_000_000
_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")  # of zones 3n, 3n + 1, 3n + 2
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
# Lowest northing of each latitude band, 100 km; rows repeat every 2000 km.
_BAND_SOUTH = {
    "C": 11, "D": 20, "E": 28, "F": 37, "G": 46, "H": 55, "J": 64, "K": 73, "L": 82, "M": 91,
    "N": 0, "P": 8, "Q": 17, "R": 26, "S": 35, "T": 44, "U": 53, "V": 62, "W": 70, "X": 79,
}  # fmt: skip


def tile_epsg(tile: str) -> int:
    """Return the EPSG code of a tile's UTM zone: 32718 of "18GYS"."""
    return (32600 if tile[2] >= "N" else 32700) + int(tile[:2])


def grid_square(tile: str) -> tuple[int, int]:
    """Return easting and northing of the south-west corner of a 100 km square, metres.

    Raises:
        ValueError: there is no such square.

    Source: NGA.STND.0037 (MGRS), lettering AA.
    """
    zone, band, column, row = int(tile[:2]), tile[2], tile[3], tile[4]
    columns = _COLUMNS[zone % 3]
    if not 1 <= zone <= 60 or band not in _BAND_SOUTH or column not in columns or row not in _ROWS:
        raise ValueError(f"found tile {tile!r}, expected a Sentinel-2 tile such as 18GYS")
    # Rows of even zones start five letters later.
    hundreds = (_ROWS.index(row) - (0 if zone % 2 else 5)) % 20
    while hundreds < _BAND_SOUTH[band]:
        hundreds += 20
    return (columns.index(column) + 1) * 100_000, hundreds * 100_000


def tile_grid(tile: str) -> GeoBox:
    """Return the 10 m grid of a whole tile, from its name alone.

    The upper-left corner is that of the 100 km square, moved out to a multiple of 60 m, so that
    the 10, 20 and 60 m grids share it; the tile then reaches 109.8 km east and south.

    Raises:
        ValueError: there is no such tile.

    Source: docs/method.md, Grids and tiles; reproduces the transforms of published items.
    """
    east, north = grid_square(tile)
    top = north + 100_000
    left = 60 * (east // 60)
    # Southern tiles are aligned from the equator, 10 000 km in their northings.
    top = 60 * -(-top // 60) if tile[2] >= "N" else _up_from_equator(top)
    transform = Affine(PIXEL, 0, left, 0, -PIXEL, top)
    return GeoBox((TILE_PIXELS, TILE_PIXELS), transform, f"EPSG:{tile_epsg(tile)}")


def _up_from_equator(top: int) -> int:
    return _FALSE_NORTHING - 60 * ((_FALSE_NORTHING - top) // 60)


def grid_of(item: Item) -> GeoBox:
    """Return the 10 m grid an item's bands lie on, in its own UTM zone.

    Taken from `proj:transform` and `proj:shape` of the finest band (upper-left corner of the
    upper-left pixel); an item without them is taken to be a whole tile, by its name.

    Raises:
        CatalogError: neither is there, or the grid is not a north-up UTM grid of Sentinel-2.
    """
    for key in _by_resolution(item):
        asset = assets_of(item)[key]
        shape, transform = _projection(item, asset, "shape"), _projection(item, asset, "transform")
        if shape is not None and transform is not None:
            return _band_grid(item, key, list(shape), list(transform), _epsg(item, asset))
    tile = mgrs_tile(item)
    if tile is None:
        raise CatalogError(
            f"{item_id(item)}: no grid: expected proj:transform and proj:shape on a band, "
            "or an MGRS tile (grid:code)"
        )
    try:
        return tile_grid(tile)
    except ValueError as error:
        raise CatalogError(f"{item_id(item)}: {error}") from error


def _by_resolution(item: Item) -> list[str]:
    """Asset keys of the 10 m bands, then of the others."""
    found = band_assets(item)
    first = [found.pop(band) for band in ("B02", "B03", "B04", "B08") if band in found]
    return [*first, *found.values()]


def _projection(item: Item, asset: Mapping[str, Any], name: str) -> Any:
    """Return a field of the projection extension: the asset's, else the item's."""
    value = asset.get(f"proj:{name}")
    return properties(item).get(f"proj:{name}") if value is None else value


def _epsg(item: Item, asset: Mapping[str, Any]) -> int | None:
    """Return the EPSG code, written as `proj:code` ("EPSG:32718"), or `proj:epsg` (or both)."""
    for name in ("code", "epsg"):
        text = str(_projection(item, asset, name) or "").upper().removeprefix("EPSG:")
        text = text.removesuffix(".0")  # tables turn integers with gaps into floats
        if text.isdigit():
            return int(text)
    tile = mgrs_tile(item)
    return None if tile is None else tile_epsg(tile)


def _band_grid(
    item: Item, key: str, shape: list[int], transform: list[float], epsg: int | None
) -> GeoBox:
    """Return the 10 m grid of a band whose own pixels may be 10, 20 or 60 m."""
    size, x_skew, left, y_skew, down, top = (float(value) for value in transform[:6])
    is_north_up = x_skew == y_skew == 0 and down == -size and size in (10, 20, 60)
    if not is_north_up or epsg is None or epsg // 100 not in (326, 327):
        raise CatalogError(
            f"{key} of {item_id(item)}: found transform {transform[:6]} in EPSG:{epsg}, expected "
            "north-up pixels of 10, 20 or 60 m in a UTM zone; lspipe reads scenes on their own grid"
        )
    finer = int(size) // PIXEL
    rows, columns = (int(length) * finer for length in shape[-2:])
    return GeoBox((rows, columns), Affine(PIXEL, 0, left, 0, -PIXEL, top), f"EPSG:{epsg}")
