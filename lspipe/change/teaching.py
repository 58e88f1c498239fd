"""A list -> the few objects to decide about, so that a model learns from them.

    1.  uncertain: a model learns little from what it is sure of. The mean probability that an
        object is what the list says lies nearest to one half: it is as likely right as wrong
    2.  unlike each other: twenty neighbours teach little more than one. The most uncertain objects,
        `POOL` times as many as are asked for, fall into groups by place and size, and the most
        uncertain one of each group is taken

The same list gives the same objects. Whether a model learns more from them than from the first by
rank is open (`benchmarks/adapt.py` can tell).

Source: uncertainty sampling, Lewis and Gale 1994 (doi 10.1007/978-1-4471-2099-5_1); a query of the
most uncertain, then the most uncertain of each cluster of them, Demir, Persello and Bruzzone 2011
(doi 10.1109/TGRS.2010.2072929), who cluster spectra. Clusters: Ward 1963
(doi 10.1080/01621459.1963.10500845), as it needs no random start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import cut_tree, ward

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    from numpy.typing import NDArray

POOL = 4
"""Of so many times the objects that are asked for, groups are made."""

ROUNDING = 1e-9
"""Least spread that is one: of places, as an angle, 6 mm on the ground."""

LEFT, ALONE = "one of the last", "unlike the others in place and size"
"""Why an object is proposed: all that are left are, or its group has no other."""


def most_teaching(listed: gpd.GeoDataFrame, count: int) -> gpd.GeoDataFrame:
    """Return the objects to decide about next, the most uncertain first.

    Args:
        listed: objects that are not decided: `id`, `confidence`, `undetermined_fraction`,
            `area_m2`, `lon` and `lat` of `schema.INVENTORY_COLUMNS`.
        count: how many to return, from 1; all of them if there are no more.

    Returns:
        Rows of the list, with a column `why` (text).
    """
    order = np.lexsort((listed["id"].to_numpy(str), doubt(listed)))
    if len(order) <= count:
        return listed.iloc[order].assign(why=LEFT)
    pool = listed.iloc[order[: POOL * count]]
    where = _places_and_sizes(pool)
    unlike = len(np.unique(where.round(9), axis=0))
    groups = cut_tree(ward(where), n_clusters=[min(count, unlike)])[:, 0]
    # The pool is sorted, so that the first of each group is its most uncertain one.
    _, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    why = dict(zip(first.tolist(), map(_why, sizes.tolist()), strict=True))
    # Objects on one place and of one size are no two groups: the most uncertain ones follow.
    rest = [place for place in range(len(pool)) if place not in why]
    chosen = sorted([*why, *rest[: count - len(why)]])
    told = [why.get(place, LEFT) for place in chosen]
    return pool.iloc[chosen].assign(why=told)


def doubt(listed: pd.DataFrame) -> NDArray[np.float64]:
    """Return how far each object is from as likely right as wrong; 0 = the most uncertain.

    `confidence` is lower where clouds hid a part; of what was seen, the model may be sure.
    """
    seen = 1 - listed["undetermined_fraction"].to_numpy(float)
    sure = np.divide(listed["confidence"].to_numpy(float), seen, where=seen > 0, out=0 * seen)
    distance: NDArray[np.float64] = np.abs(sure - 0.5)
    return distance


def _places_and_sizes(listed: pd.DataFrame) -> NDArray[np.float64]:
    """Return where each object lies and the logarithm of its area; both have a spread of 1."""
    east, north = (np.radians(listed[name].to_numpy(float)) for name in ("lon", "lat"))
    # On a sphere, as longitudes have a jump and shrink towards the poles.
    place = np.column_stack(
        [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)]
    )
    size = np.log10(np.maximum(listed["area_m2"].to_numpy(float), 1))[:, None]
    return np.hstack([_spread_out(part) for part in (place, size)])


def _spread_out(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale to a spread of 1; what differs by rounding alone stays alike."""
    spread = float(np.sqrt(values.var(axis=0).sum()))
    return values / spread if spread > ROUNDING else values


def _why(size: int) -> str:
    return ALONE if size == 1 else f"the least certain of {size} near each other and of like size"
