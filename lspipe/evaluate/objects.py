"""Listed and known landslides, as polygons -> which are right, and which were found.

The rule is that of `metrics.match_objects`, on outlines instead of pixels. A listed landslide is
right if its intersection over union with the known ones that it touches, taken together, is at
least `iou`, or if at least `share` of its area lies in them. A known landslide is found if a right
one touches it. So one outline around three landslides is right once, and finds three.

Covers: matches, scores by size. Does not cover: which objects lie on observed ground (`ground.py`).

Source: docs/method.md, Scores. Mean IoU of the true positives: Morales et al. 2022, section 2.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely

from lspipe.errors import UsageError
from lspipe.evaluate.metrics import MATCH_IOU, MATCH_SHARE, ObjectScores

if TYPE_CHECKING:
    from numpy.typing import NDArray

EQUAL_AREA = "EPSG:6933"
"""Any equal-area projection would do: only areas and their ratios are used."""

SLIVER_M2 = 50.0
"""Two outlines that share less than half a pixel of 10 m, and less than half of the smaller one,
do not touch: what is left by projections and by outlines that share an edge."""

SIZES_M2 = (1e3, 1e4, 1e5)
"""Limits of the size classes: decades, as sizes of landslides spread over many. Each class begins
with its lower limit. A default of lspipe."""


@dataclass(frozen=True)
class Rule:
    """When a listed landslide is right."""

    iou: float = MATCH_IOU
    """At least this intersection over union with the known ones that it touches, 0..1 ..."""
    share: float = MATCH_SHARE
    """... or at least this share of its area in them, 0..1."""

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise UsageError(f"iou {self.iou:g}: expected more than 0, and at most 1")
        if not 0 < self.share <= 1:
            raise UsageError(f"share {self.share:g}: expected more than 0, and at most 1")

    def __str__(self) -> str:
        return (
            f"right = IoU with the known landslides it touches at least {self.iou:g}, or at least "
            f"{self.share:.0%} of its area in them; found = touched by a right one"
        )


class Matches(NamedTuple):
    """What became of each listed and each known landslide."""

    right: NDArray[np.bool_]
    """(listed,)."""
    found: NDArray[np.bool_]
    """(known,)."""
    iou: NDArray[np.float64]
    """(listed,) IoU with the known ones that it touches, taken together; 0 without any."""


def match(listed: NDArray[Any], known: NDArray[Any], rule: Rule | None = None) -> Matches:
    """Match two sets of outlines.

    Args:
        listed: (n,) shapely polygons in an equal-area CRS in metres, valid.
        known: (m,) likewise; they may overlap.
        rule: None = the default one.

    Examples:
        >>> from shapely import box
        >>> known = np.array([box(0, 0, 100, 100), box(100, 0, 200, 100), box(900, 0, 999, 99)])
        >>> listed = np.array([box(0, 0, 200, 80), box(500, 0, 600, 100)])
        >>> matches = match(listed, known)
        >>> matches.right.tolist(), matches.found.tolist(), matches.iou.tolist()
        ([True, False], [True, True, False], [0.8, 0.0])
    """
    rule = rule or Rule()
    one, other = _touching(listed, known)
    size = shapely.area(listed)
    inside, touched = np.zeros(len(listed)), np.zeros(len(listed))
    numbers, starts = np.unique(one, return_index=True)
    for number, group in zip(numbers, np.split(other, starts[1:]), strict=False):
        whole = shapely.union_all(known[group])
        touched[number] = whole.area
        inside[number] = shapely.intersection(listed[number], whole).area
    union = size + touched - inside
    # As products, so that a shape without an area divides nothing.
    right = (inside > 0) & ((inside >= rule.iou * union) | (inside >= rule.share * size))
    found = np.zeros(len(known), bool)
    found[other[right[one]]] = True
    return Matches(right, found, np.divide(inside, union, out=np.zeros(len(size)), where=union > 0))


def _touching(
    listed: NDArray[Any], known: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of listed and known ones that share ground, by the number of the listed one."""
    one, other = shapely.STRtree(known).query(listed, predicate="intersects")
    common = shapely.area(shapely.intersection(listed[one], known[other]))
    smaller = np.minimum(shapely.area(listed)[one], shapely.area(known)[other])
    touches = (common > 0) & (common >= np.minimum(SLIVER_M2, smaller / 2))
    one, other = one[touches], other[touches]
    order = np.lexsort((other, one))
    return one[order], other[order]


def score_matches(
    matches: Matches,
    listed: NDArray[Any],
    known: NDArray[Any],
    *,
    counted: NDArray[np.bool_],
    counted_known: NDArray[np.bool_],
) -> ObjectScores:
    """Count matches.

    Args:
        matches: of `match`.
        listed: its outlines.
        known: likewise.
        counted: (n,) which listed ones count; one that does not may still find a known one.
        counted_known: (m,) which known ones count; one that does not may still make one right.
    """
    right = matches.right & counted
    found = matches.found & counted_known
    count, count_found = int(right.sum()), int(found.sum())
    ours, theirs = shapely.union_all(listed[right]), shapely.union_all(known[found])
    union = shapely.union(ours, theirs).area
    return ObjectScores(
        right=count,
        wrong=int(counted.sum()) - count,
        found=count_found,
        missed=int(counted_known.sum()) - count_found,
        jaccard=shapely.intersection(ours, theirs).area / union if union else math.nan,
        jaccard_mean=float(matches.iou[right].mean()) if count else math.nan,
    )


def size_class(area_m2: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class of each area: 0 below the first of `SIZES_M2`, and so on.

    Examples:
        >>> size_class(np.array([999, 1000, 5e6])).tolist()
        [0, 1, 3]
    """
    return np.searchsorted(SIZES_M2, area_m2, side="right")


def class_names() -> list[str]:
    """Return the names of the size classes, in m2.

    Examples:
        >>> class_names()
        ['under 1 000', '1 000 to 10 000', '10 000 to 100 000', 'from 100 000']
    """
    limits = [f"{limit:,.0f}".replace(",", " ") for limit in SIZES_M2]
    between = [f"{low} to {high}" for low, high in pairwise(limits)]
    return [f"under {limits[0]}", *between, f"from {limits[-1]}"]
