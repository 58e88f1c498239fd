"""One tile of which no block was computed -> its gaps, and what is missed: all of it.

Told by outlines, without a look at any pixel: a run that was asked for a few places of a thousand
tiles lists them at once. Of a tile that the area covers as a whole the outline is that of its
pixels; else it is that of the area, which may lie up to a pixel inside of theirs.

See also: `tail.py`, for a tile of which blocks are done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from lspipe.change.coverage import Counted, square_metres
from lspipe.change.outlines import polygons_of
from lspipe.change.unobserved import outlined
from lspipe.runs import blind, store
from lspipe.schema import Quality
from lspipe.schema.maps import reasons
from lspipe.search.areas import footprint

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    from lspipe.runs.tail_plan import Tail


def gaps(tail: Tail) -> gpd.GeoDataFrame:
    """Outline what was not observed of a tile, with the rows of `tail.gaps`: one for each date."""
    grid = tail.grid.geobox
    rows, columns = grid.shape
    whole = GeoBox((1, 1), grid.affine * Affine.scale(columns, rows), grid.crs)
    found = outlined(
        {role: _why(tail, role) for role in tail.dates},
        geobox=whole,
        tile=tail.grid.tile,
        acquired=tail.acquired,
    )
    if tail.radar is not None:
        found = blind.with_radar(found)
    if tail.near is None:
        return found
    inside = _inside(tail)
    shapes = np.full(len(found), inside, object)
    return found.assign(area_m2=square_metres(inside)).set_geometry(shapes, crs=found.crs)


def _why(tail: Tail, role: str) -> NDArray[np.uint8]:
    """Return why no pixel was observed on a date, as a number of `schema.maps.reasons`."""
    quality = store.NOT_PROCESSED if role in tail.grid.roles else Quality.NODATA
    return reasons(np.full((1, 1), quality, np.uint8), not_processed=store.NOT_PROCESSED)


def counted(tail: Tail) -> Counted:
    """Return the ground of a tile that is in the area and that no earlier tile covers: missed."""
    earlier = shapely.union_all([footprint(grid) for grid in tail.earlier])
    return Counted(square_metres(shapely.difference(_inside(tail), earlier)), 0.0)


def _inside(tail: Tail) -> shapely.MultiPolygon:
    """Return the part of the area on a tile (lon, lat)."""
    whole = footprint(tail.grid.geobox)
    if tail.near is not None and tail.near.tiles is None:
        whole = shapely.intersection(whole, tail.near.geometry)
    return shapely.MultiPolygon(polygons_of(whole))
