"""A list with its flags -> the order in which a person should look at it.

    1.  what claims a landslide (new, grown, detected); then what may be one under a cloud
        (undetermined); then the rest (vanished, persistent)
    2.  within each of these, first what was seen whole: an object that may go on where nothing was
        seen never leads
    3.  within each of these, by score: confidence x log10(area in m2), halved for each other flag

Source: docs/numerics.md, Rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lspipe.change.flags import is_at_edge

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    import pandas as pd
    from numpy.typing import NDArray

CLASSES = {
    "new": 0, "grown": 0, "detected": 0, "undetermined": 1, "vanished": 2, "persistent": 2,
}  # fmt: skip
"""What is looked at first, by status."""


def rank(inventory: gpd.GeoDataFrame, flags: Sequence[str]) -> gpd.GeoDataFrame:
    """Add `rank`, 1 = look at this first; every object has a rank of its own.

    Args:
        inventory: with its flags; its order stays.
        flags: columns of yes or no that count against an object.
    """
    keys = (
        inventory["id"].to_numpy(str),  # equal scores: an order that does not depend on the rows
        -_score(inventory, flags),
        is_at_edge(inventory).to_numpy(bool),
        inventory["status"].map(CLASSES).to_numpy(int),
    )
    ranked = np.empty(len(inventory), np.int64)
    ranked[np.lexsort(keys)] = np.arange(1, len(inventory) + 1)
    return inventory.assign(rank=ranked)


def _score(inventory: pd.DataFrame, flags: Sequence[str]) -> NDArray[np.float64]:
    against = [name for name in flags if name != "edge_of_observation"]
    count = inventory[against].to_numpy(bool).sum(axis=1)
    area = np.log10(np.maximum(inventory["area_m2"].to_numpy(float), 1))
    score: NDArray[np.float64] = inventory["confidence"].to_numpy(float) * area * 0.5**count
    return score
