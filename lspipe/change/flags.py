"""A list with its evidence -> columns of yes or no: why an object may be no landslide.

`FLAGS` is the table: a flag is a rule about columns of the list. Nothing is deleted.

See also: `flag_spec.py` (which flags a list has), `flag_layers.py` (files of a person's own),
`ranking.py` (what becomes of them).  Source: docs/numerics.md, Flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lspipe.change.flag_spec import SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import geopandas as gpd
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from lspipe.change.flag_spec import FlagsSpec

ROAD_WIDTH_M = 50
"""A road in a forest is 1 to 3 pixels wide; the rectangle around a slanted one is wider."""


def is_at_edge(table: pd.DataFrame) -> pd.Series[bool]:
    """Return whether an object may go on where nothing was seen: the only rule without a limit."""
    is_cut: pd.Series[bool] = table["tile_edge"] | (table["undetermined_fraction"] > 0)
    return is_cut | table["aoi_edge"] if "aoi_edge" in table else is_cut


def _edge_of_observation(table: pd.DataFrame, _: Any) -> pd.Series[bool]:
    return is_at_edge(table)


def _bare_before(table: pd.DataFrame, ndvi: float) -> pd.Series[bool]:
    return table["ndvi_before"] < ndvi


def _river_bank(table: pd.DataFrame, metres: float) -> pd.Series[bool]:
    return table["water_m"] <= metres


def _elongated(table: pd.DataFrame, ratio: float) -> pd.Series[bool]:
    return (table["length_width_ratio"] >= ratio) & (table["width_m"] <= ROAD_WIDTH_M)


def _gentle_slope(table: pd.DataFrame, degrees: float) -> pd.Series[bool]:
    # The steep tenth: the scar may be steep where the deposit is not.
    return table["slope_p90"] < degrees


NEEDS = {"gentle_slope": "slope_p90"}
"""Columns that not every list has: without them there is no such flag."""

FLAGS: Mapping[str, Callable[[pd.DataFrame, Any], pd.Series[bool]]] = {
    "edge_of_observation": _edge_of_observation,
    "bare_before": _bare_before,
    "river_bank": _river_bank,
    "elongated": _elongated,
    "gentle_slope": _gentle_slope,
}
"""Rules by column, in order: a list and the limit that the key of this name holds -> yes or no.
What is not known, such as an NDVI under cloud, is no."""


def flag(
    inventory: gpd.GeoDataFrame,
    spec: FlagsSpec,
    shares: Mapping[str, NDArray[np.float64]] | None = None,
) -> gpd.GeoDataFrame:
    """Add the flags to a list.

    Args:
        inventory: with the columns of `evidence.EVIDENCE`.
        spec: which flags, and their limits.
        shares: of each layer of `spec`, the share of each object's area that lies in it, 0..1.

    Returns:
        A copy with NAME_share and NAME for each layer after the columns of `FLAGS`.
    """
    flagged = inventory.copy()
    for name, rule in FLAGS.items():
        limit = getattr(spec, name)
        is_known = NEEDS.get(name, "id") in inventory
        if limit is not None and limit is not False and is_known:
            flagged[name] = rule(inventory, limit).astype(bool)
    for layer in spec.layers:
        share = (shares or {})[layer.name]
        flagged[layer.name + SHARE] = share
        flagged[layer.name] = share >= layer.least_share
    return flagged


def flags_of(inventory: pd.DataFrame, spec: FlagsSpec) -> list[str]:
    """Return the names of the flags in a list."""
    names = [*FLAGS, *(layer.name for layer in spec.layers)]
    return [name for name in names if name in inventory.columns]
