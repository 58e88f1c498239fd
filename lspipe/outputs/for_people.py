"""A list as people and their programs want it: most likely landslides first, no needless digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.schema.columns import COLUMNS

if TYPE_CHECKING:
    import geopandas as gpd


def for_people(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return a list by `rank`, whose numbers have the digits that the unit of their column has.

    A list without the column keeps its order.

    >>> import geopandas as gpd
    >>> for_people(gpd.GeoDataFrame({"area_m2": [899.7, 10.2], "mine": [0.123, 1], "rank": [2, 1]}))
       area_m2   mine  rank
    1     10.0  1.000     1
    0    900.0  0.123     2
    """
    digits = {name: COLUMNS[name].digits for name in table.columns if name in COLUMNS}
    plain = table.round({name: number for name, number in digits.items() if number is not None})
    return plain.sort_values("rank", kind="stable") if "rank" in plain else plain
