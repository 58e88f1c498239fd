"""Numbers of a list, rounded to what they mean: for people and their programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lspipe.schema.columns import COLUMNS

if TYPE_CHECKING:
    import geopandas as gpd


def rounded(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return a list whose numbers have the digits that the unit of their column has.

    >>> import geopandas as gpd
    >>> rounded(gpd.GeoDataFrame({"area_m2": [899.7346], "mine": [0.123456]}))
       area_m2      mine
    0    900.0  0.123456
    """
    digits = {name: COLUMNS[name].digits for name in table.columns if name in COLUMNS}
    return table.round({name: number for name, number in digits.items() if number is not None})
