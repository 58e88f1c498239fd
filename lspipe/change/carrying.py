"""Reviewed objects and a new list -> which object of the list each decision is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

if TYPE_CHECKING:
    from collections.abc import Mapping

    import geopandas as gpd
    from numpy.typing import NDArray

    from lspipe.change.decisions import Answer

MIN_COVERED = 0.5
"""An object that covers at least this share of a reviewed outline is the reviewed object."""


@dataclass(frozen=True)
class Carried:
    """Decisions, carried over to the objects of a list."""

    objects: NDArray[np.object_]
    """For each review the id of its object; None where the list has no such object."""
    answers: Mapping[str, Answer]
    """By id of the object."""
    torn: tuple[str, ...]
    """Ids of objects with contradicting decisions."""


def carry(reviews: gpd.GeoDataFrame, objects: gpd.GeoDataFrame) -> Carried:
    """Find the object of the list that each review is about.

    Args:
        reviews: `id, decision, status, date_before, date_after` and outlines.
        objects: those of the list; the same columns without `decision`.

    Example:
        >>> outlines = shapely.box([0, 0], 0, [1, 2], 1)
        >>> row = {"status": "new", "date_before": None, "date_after": None}
        >>> one = gpd.GeoDataFrame([row | {"id": "a", "decision": "true"}], geometry=outlines[:1])
        >>> two = gpd.GeoDataFrame([row | {"id": "b"}], geometry=outlines[1:])
        >>> carry(one.set_crs(4326), two.set_crs(4326)).answers
        {'b': 'true'}
    """
    names = objects["id"].to_numpy(object)
    goes_to = np.full(len(reviews), None, object)
    is_same = reviews["id"].isin(names).to_numpy(bool)
    own = reviews["id"].to_numpy(object)
    goes_to[is_same] = own[is_same]
    rest = np.flatnonzero(~is_same)
    at = _covering(reviews.iloc[rest], objects)
    goes_to[rest[at >= 0]] = names[at[at >= 0]]
    answers: dict[str, Answer] = {}
    torn = []
    given = pd.DataFrame({"to": goes_to, "own": own == goes_to, "decision": reviews["decision"]})
    for name, group in given[given["to"].notna()].groupby("to", sort=True):
        if group["decision"].nunique() > 1:
            torn.append(str(name))
        # If the object itself is still listed, its own decision outweighs those about its parts.
        agreed = group[group["own"]] if str(name) in torn else group
        if len(agreed):
            answers[str(name)] = agreed["decision"].iloc[0]
    return Carried(goes_to, answers, tuple(torn))


def _covering(reviews: gpd.GeoDataFrame, objects: gpd.GeoDataFrame) -> NDArray[np.int64]:
    """Return the row of the object that covers most of each reviewed outline; -1 = none does."""
    best = np.full(len(reviews), -1, np.int64)
    if not len(reviews) or not len(objects):
        return best
    left, right = _sound(reviews), _sound(objects)
    i, j = shapely.STRtree(right).query(left, predicate="intersects")
    # Degrees will do: within one object a degree of longitude is the same length everywhere.
    whole = shapely.area(left[i])
    share = np.divide(
        shapely.area(shapely.intersection(left[i], right[j])),
        whole,
        out=np.zeros(len(i)),
        where=whole > 0,
    )
    is_meant = (share >= MIN_COVERED) & _is_alike(reviews.iloc[i], objects.iloc[j])
    i, j, share = i[is_meant], j[is_meant], share[is_meant]
    # Sorted so that the largest share is written last; of equal shares, the first by id.
    for at in np.lexsort((-np.argsort(np.argsort(objects["id"].to_numpy(str)))[j], share)):
        best[i[at]] = j[at]
    return best


def _sound(table: gpd.GeoDataFrame) -> NDArray[Any]:
    outlines: NDArray[Any] = table.geometry.to_numpy()
    is_broken = ~shapely.is_valid(outlines)
    outlines = outlines.copy()
    outlines[is_broken] = shapely.make_valid(outlines[is_broken])
    return outlines


def _is_alike(reviews: gpd.GeoDataFrame, objects: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    """Return, row by row, whether two objects may be one: the same kind, and times that overlap.

    An undetermined object may be of any kind, and a grown one counts as new. An unknown time, such
    as the earlier one in a run of one date, is unbounded.
    """
    kinds = [table["status"].astype("string").fillna(_ANY) for table in (reviews, objects)]
    one, two = (kind.replace("grown", "new").to_numpy(str) for kind in kinds)
    is_kind = (one == two) | (one == _ANY) | (two == _ANY)
    (begin, end), (first, last) = _span(reviews), _span(objects)
    is_same = (begin == first) & (end == last)
    together: NDArray[np.bool_] = is_kind & (
        is_same | (np.maximum(begin, first) < np.minimum(end, last))
    )
    return together


_ANY = "undetermined"


def _span(table: gpd.GeoDataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return begin and end of each object's time, ms since 1970; infinite where not known."""
    names = ("date_before", "date_after")
    dates = [pd.to_datetime(table[name], utc=True).to_numpy("datetime64[ms]") for name in names]
    known = [~np.isnat(one) for one in dates]
    times = [one.astype(np.int64).astype(np.float64) for one in dates]
    before = np.where(known[0], times[0], -np.inf)
    after = np.where(known[1], times[1], np.inf)
    # Dates may be the wrong way round, to look at what recovered.
    return np.minimum(before, after), np.maximum(before, after)
