"""Codes and states of pixels -> whole objects: their pixels, kind and statistics.

Every pixel above the threshold on a date it was observed belongs to exactly one object:

    new           8-connected gain (GAIN, WEAK_GAIN) that holds a seed: a GAIN pixel farther than
                  `tolerance_px` (Chebyshev) from every pixel above the threshold before
    vanished      the mirror of new
    persistent    all else above the threshold on a date, seen on both: there on both dates, or a
                  rim, a flicker around the threshold or a change below `min_gain`
    undetermined  above the threshold on one date, not observed on the other
    detected      above the threshold, in a map of one date

Swapping the dates swaps new and vanished, and changes nothing else. Sums are of integers, so the
statistics depend on no order.  Source: docs/numerics.md, Objects.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lspipe.change.components import BLOCK, Components, label
from lspipe.preprocess.masks import spread
from lspipe.schema import CODE_NODATA, CODE_SCALE, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class Kind(IntEnum):
    """Kind of the object that a pixel belongs to; its lower-case name is the status."""

    NONE = 0
    NEW = 1
    PERSISTENT = 2
    VANISHED = 3
    UNDETERMINED = 4
    DETECTED = 5


def kinds_of_change(
    before: NDArray[np.uint16],
    after: NDArray[np.uint16],
    state: NDArray[np.uint8],
    *,
    threshold: int,
    tolerance_px: int,
    connectivity: int = 8,
    block: int | tuple[int, int] = BLOCK,
) -> NDArray[np.uint8]:
    """Return the `Kind` of the object that each pixel belongs to, from two dates.

    Args:
        before: (y, x) codes, 65535 = not observed.
        after: (y, x) codes, likewise.
        state: (y, x) `State` numbers of `change.change_codes`.
        threshold: code that a landslide pixel is above.
        tolerance_px: distance that a seed must exceed, pixels.
        connectivity: 8 or 4.
        block: pixels labelled at a time; never changes the result.
    """
    kinds = np.full(state.shape, Kind.NONE, np.uint8)
    for rows in _strips(state.shape):
        is_there = _is_above(before[rows], threshold) | _is_above(after[rows], threshold)
        kinds[rows][is_there] = Kind.PERSISTENT
        kinds[rows][is_there & (state[rows] == State.UNDETERMINED)] = Kind.UNDETERMINED
    for kind, strong, weak, other in (
        (Kind.NEW, State.GAIN, State.WEAK_GAIN, before),
        (Kind.VANISHED, State.LOSS, State.WEAK_LOSS, after),
    ):
        changed = np.empty(state.shape, np.bool_)
        for rows in _strips(state.shape):
            changed[rows] = (state[rows] == strong) | (state[rows] == weak)
        found = label(changed, block=block, connectivity=connectivity)
        has_seed = np.zeros(found.count, np.bool_)
        has_seed[found.at(_seeds(state, strong, other, threshold, tolerance_px))] = True
        _paint(kinds, found.select(has_seed), kind)
    return kinds


def _seeds(
    state: NDArray[np.uint8],
    strong: State,
    other: NDArray[np.uint16],
    threshold: int,
    reach: int,
) -> NDArray[np.int64]:
    """Return the flat indices of changed pixels that are far from what the other date shows."""
    height, width = state.shape
    found = [np.zeros(0, np.int64)]
    for rows in _strips(state.shape):
        top, bottom = max(rows.start - reach, 0), min(rows.stop + reach, height)
        near = spread(_is_above(other[top:bottom], threshold), reach)
        is_seed = (state[rows] == strong) & ~near[rows.start - top : rows.stop - top]
        found.append(np.flatnonzero(is_seed) + rows.start * width)
    return np.concatenate(found)


def _is_above(codes: NDArray[np.uint16], threshold: int) -> NDArray[np.bool_]:
    return np.asarray((codes > threshold) & (codes != CODE_NODATA))


def _paint(kinds: NDArray[np.uint8], found: Components, kind: Kind) -> None:
    """Write the kind of components into a raster of kinds, in place."""
    for rows in _strips(kinds.shape):
        kinds[rows].reshape(-1)[found.pixels(rows)[1]] = kind


def kinds_of_detection(codes: NDArray[np.uint16], *, threshold: int) -> NDArray[np.uint8]:
    """Return DETECTED where a map of one date is above the threshold and observed."""
    found = (codes > threshold) & (codes != CODE_NODATA)
    return np.asarray(found * np.uint8(Kind.DETECTED))


def summarise(
    found: Components,
    kinds: NDArray[np.uint8],
    before: NDArray[np.uint16] | None,
    after: NDArray[np.uint16],
) -> pd.DataFrame:
    """Return the statistics of labelled objects, a row per object in the order of the labels.

    Args:
        found: the components of `kinds`.
        kinds: (y, x) `Kind` numbers.
        before: (y, x) codes of the earlier date; None for a map of one date.
        after: (y, x) codes of the later, or only, date.

    Returns:
        `status`; `n_px`; `probability_mean` and `probability_max` of the larger of the two dates'
        probabilities per pixel (the date on which the object is there); `gain_mean`, the mean of
        after - before where both were observed, NaN where none was; `evidence`, the mean over the
        pixels of the probability that the status is right, were the dates independent: new
        a(1-b), vanished b(1-a), persistent ab, else the one probability there is.
    """
    count = found.count
    kind = kinds.reshape(-1)[found.first]
    n_px, total, both, gain, evidence = np.zeros((5, count), np.int64)
    largest = np.zeros(count, np.int64)
    for rows in _strips(kinds.shape):
        index, pixels = found.pixels(rows)
        a = after[rows].ravel()[pixels].astype(np.int64)
        b = a if before is None else before[rows].ravel()[pixels].astype(np.int64)
        is_both = (a != CODE_NODATA) & (b != CODE_NODATA)
        a, b = np.where(a == CODE_NODATA, 0, a), np.where(b == CODE_NODATA, 0, b)
        top = np.maximum(a, b)
        n_px += _sums(index, np.ones_like(top), count)
        total += _sums(index, top, count)
        both += _sums(index, is_both, count)
        gain += _sums(index, np.where(is_both, a - b, 0), count)
        evidence += _sums(index, _evidence(kind[index], a, b, top), count)
        np.maximum.at(largest, index, top)
    if before is None:
        both = np.zeros_like(both)
    status = np.array([k.name.lower() for k in Kind])[kind]
    return pd.DataFrame(
        {
            "status": pd.array(status, dtype="string"),
            "n_px": n_px,
            "probability_mean": total / n_px / CODE_SCALE,
            "probability_max": largest / CODE_SCALE,
            "gain_mean": np.where(both > 0, gain / np.maximum(both, 1) / CODE_SCALE, np.nan),
            "evidence": evidence / n_px / CODE_SCALE**2,
        }
    )


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield rows at a time, so that temporaries of a byte a pixel stay under 12 MB a tile."""
    for start in range(0, shape[0], BLOCK):
        yield slice(start, min(start + BLOCK, shape[0]))


def _sums(index: NDArray[Any], values: NDArray[Any], count: int) -> NDArray[np.int64]:
    # bincount sums in float64: exact here, for a strip of 2048 x 10980 x 1e8 is under 2^53.
    return np.bincount(index, values, minlength=count).astype(np.int64)


def _evidence(
    kind: NDArray[np.uint8],
    after: NDArray[np.int64],
    before: NDArray[np.int64],
    top: NDArray[np.int64],
) -> NDArray[np.int64]:
    return np.select(
        [kind == Kind.NEW, kind == Kind.VANISHED, kind == Kind.PERSISTENT],
        [after * (CODE_SCALE - before), before * (CODE_SCALE - after), after * before],
        top * CODE_SCALE,
    )
