"""Quality bits of each date -> polygons of what was not observed, on which date, and why.

Covers: pixels inside the area of interest that were not observed on a date.  Does not cover:
objects (`inventory.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import geopandas as gpd
import pandas as pd
from pyproj import CRS

from lspipe.change.outlines import geodesic_areas, outlines_by_value
from lspipe.schema.columns import UNOBSERVED
from lspipe.schema.maps import REASON_NAMES, reasons
from lspipe.search.degrees import in_degrees

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox


def unobserved(
    quality: Mapping[str, NDArray[np.uint8]],
    *,
    geobox: GeoBox,
    tile: str | None = None,
    area: NDArray[np.bool_] | None = None,
    acquired: Mapping[str, Any] | None = None,
    not_processed: int = 255,
) -> gpd.GeoDataFrame:
    """Outline what was not observed.

    Args:
        quality: (y, x) uint8 `Quality` bits by date, "before" and "after" (or "after" alone).
        geobox: the tile's grid, in a projected CRS in metres.
        tile: name of the tile.
        area: (y, x) bool, True = inside the area of interest; None = all of it.
        acquired: sensing time (UTC) by date.
        not_processed: value of pixels not processed yet (the fill value of the store).

    Returns:
        A row per date and reason, in EPSG:4326: `tile`, `date` ("before" or "after"), `acquired`
        (UTC), `reason` (lower-case name of a `Quality` bit, or "not_processed"), `area_m2`
        (geodesic), `geometry` (MultiPolygon along the pixel edges). Pixels outside the area of
        interest are left out.
    """
    why = {date: reasons(bits, not_processed=not_processed) for date, bits in quality.items()}
    if area is not None:
        for number in why.values():
            number[~area] = 0
    return outlined(why, geobox=geobox, tile=tile, acquired=acquired)


def outlined(
    why: Mapping[str, NDArray[np.uint8]],
    *,
    geobox: GeoBox,
    tile: str | None = None,
    acquired: Mapping[str, Any] | None = None,
) -> gpd.GeoDataFrame:
    """Outline pixels by date and reason; arguments and result are those of `unobserved`.

    Args:
        why: (y, x) uint8 numbers of `schema.maps.reasons` by date, 0 = none.
        geobox: the tile's grid.
        tile: its name.
        acquired: sensing time by date.
    """
    crs = CRS.from_user_input(geobox.crs)
    rows: list[tuple[Any, ...]] = []
    for date, number in why.items():
        for value, outline in outlines_by_value(number, geobox.affine).items():
            rows.append((tile, date, (acquired or {}).get(date), REASON_NAMES[value - 1], outline))
    table = pd.DataFrame(rows, columns=[name for name in UNOBSERVED if name != "area_m2"])
    outlines = table.pop("geometry").to_numpy()
    table["area_m2"] = geodesic_areas(outlines, crs)[0]
    table["acquired"] = pd.to_datetime(table["acquired"], utc=True, format="ISO8601").dt.as_unit(
        "ms"
    )
    typed = table.astype({"tile": "string", "date": "string", "reason": "string"})
    found = gpd.GeoDataFrame(typed, geometry=outlines, crs=crs)
    return in_degrees(found[list(UNOBSERVED)])


def joined(tables: Sequence[pd.DataFrame]) -> gpd.GeoDataFrame:
    """Return tables of `unobserved` as one, in order."""
    filled = [table for table in tables if len(table)] or tables[:1]
    return gpd.GeoDataFrame(pd.concat(filled, ignore_index=True), geometry="geometry", crs=4326)
