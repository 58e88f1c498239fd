"""Windows of two dates -> the same with pairs in which nothing new happened.

A pair of dates without a landslide between them is what a pair model meets nearly everywhere. Two
kinds follow from any pair: the dates exchanged, where a scar heals, and one date twice, where
nothing changes. Without them a network may learn to find what is bare after, and not what became
bare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lspipe.schema import AFTER, BEFORE, DATES, IGNORED, is_pair, source_of, split_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lspipe.models.item import Scaling
    from lspipe.train.spec import Pairs, TrainSpec


def with_negatives(
    pairs: Pairs, channels: Sequence[str], scaling: Scaling, spec: TrainSpec
) -> Pairs:
    """Add windows with the dates exchanged, and windows that show one date twice.

    Args:
        pairs: windows (N, C, w, w) in model units, and labels (N, w, w).
        channels: of the windows.
        scaling: that made the model units.
        spec: `exchanged` and `unchanged` are the shares of the windows that are added, drawn by
            `seed`.

    Returns:
        The windows, then those that were added: no landslide in them, and ignored what is ignored
        in theirs. The same arrays where the channels are of one date, where a channel of one date
        has no counterpart of the other, or where the two are scaled differently.
    """
    places = _places(channels, scaling)
    if places is None:
        return pairs
    before, after, exchanged = places
    windows, labels = pairs
    rng = np.random.default_rng(spec.seed)
    swapped = _drawn(rng, len(windows), spec.exchanged)
    twice = _drawn(rng, len(windows), spec.unchanged)
    added = [(swapped, exchanged), (twice[::2], before), (twice[1::2], after)]
    every = np.concatenate([chosen for chosen, _ in added])
    nothing = np.where(labels[every] == IGNORED, np.uint8(IGNORED), np.uint8(0))
    return (
        np.concatenate([windows, *(windows[chosen][:, order] for chosen, order in added)]),
        np.concatenate([labels, nothing]),
    )


def _drawn(rng: np.random.Generator, count: int, share: float) -> NDArray[np.int64]:
    return np.sort(rng.permutation(count)[: round(share * count)])


def _places(channels: Sequence[str], scaling: Scaling) -> tuple[list[int], ...] | None:
    """Return which channel shows each on the date before, on the one after, and on the other."""
    if not is_pair(channels):
        return None
    dates = [_date(channel) for channel in channels]
    at = {date: place for place, date in enumerate(dates)}
    if any(date and (other, name) not in at for date, name in dates for other in DATES):
        return None
    # What belongs to no date, such as slope, stays.
    before, after = (
        [at[other, name] if date else at[date, name] for date, name in dates] for other in DATES
    )
    if not _is_scaled_alike(before, after, scaling):
        return None
    exchanged = [
        late if date == BEFORE else early
        for (date, _), early, late in zip(dates, before, after, strict=True)
    ]
    return before, after, exchanged


def _date(channel: str) -> tuple[str, str]:
    """Return date and name of a channel; a band without a date is of the one after."""
    date, name = split_channel(channel)
    return date or (AFTER if source_of(channel) == "scenes" else ""), name


def _is_scaled_alike(before: Sequence[int], after: Sequence[int], scaling: Scaling) -> bool:
    """Return whether both dates of each channel have the same factor and summand."""
    return all(
        numbers[early] == numbers[late]
        for numbers in (scaling.scale, scaling.offset)
        if numbers
        for early, late in zip(before, after, strict=True)
    )
