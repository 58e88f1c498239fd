"""Statistics of training, and of other pixels -> which of the classic slips was made, by name.

A slip is a mistake in how pixels were prepared: channels exchanged, digital numbers for
reflectance, an offset that was not subtracted, the product of another level. A network accepts such
pixels like any others: only their values reveal the mistake.

What can be seen depends on the scaling of the model. With `identity` and `affine` its units lead
back to reflectance, and every slip has a mark of its own. The other kinds measure each window (or
tile) by its own values: a factor or an offset common to all channels is gone before it can be
seen, and only channels that changed places are named (`unseen` explains it to the user).

Two regions differ too, often by more than half of a channel's range. Rules are therefore about what
regions do not do: move every channel by the same factor or the same summand, or only the blue ones.
They were chosen so that every slip is found, and none of sound data, among patches of
Landslide4Sense of four regions and scenes of both levels of two places (tests/unit/test_slips.py).

Source: docs/method.md, Channels of the papers, Radiometric offset and Landslide4Sense values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.models.recipes import DN_PER_REFLECTANCE, level_of
from lspipe.models.statistics import PER_CHANNEL, PERCENTILES
from lspipe.schema import OPTICAL_BANDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lspipe.models.item import ModelItem, Scaling
    from lspipe.models.recipes import Level
    from lspipe.models.statistics import Statistics

FIXED = ("identity", "affine")
"""Kinds of scaling that lead back to reflectance."""

OFFSET = 0.1
"""Reflectance that ESA adds since baseline 04.00 (docs/method.md, Radiometric offset)."""

MOST = 0.75
"""Share of the optical channels that must agree on a slip which moves all of them: one or two, such
as cirrus, may go their own way."""


def slips(trained: Statistics, found: Statistics, item: ModelItem) -> list[str]:
    """Name the slips that explain why pixels differ from those of training.

    Args:
        trained: what the model was trained on, model units.
        found: what it is given, model units.
        item: the model: its channels, its scaling, its recipe.

    Returns:
        One sentence per slip; none where the pixels are as in training, or differ as regions do.

    Raises:
        ValueError: the statistics have other numbers of channels than the model.
    """
    for statistics in (trained, found):
        if statistics.channels != len(item.bands):
            raise ValueError(
                f"statistics of {statistics.channels} channels: expected {len(item.bands)}, those "
                f"of {item.id}"
            )
    if item.scaling.kind in FIXED:
        pair = _Pair.of(trained, found, item)
        named = _factor(pair) or _offset(pair) or _level(pair, level_of(item.recipe))
        if named:
            # It moves so many channels that any two of them may look exchanged.
            return [named]
    return _exchanged(trained, found, item)


def compare_with_training(
    trained: Statistics, found: Statistics, item: ModelItem, level: Level = "none"
) -> dict[str, Any]:
    """Compare data with the training data of a model, as plain values.

    Args:
        trained: what the model was trained on, model units.
        found: the data, model units.
        item: the model.
        level: of the data; "none" where it is not known.

    Returns:
        `pixels` of the data; `channels`, each with `name`, the percentiles of `trained` and `found`
        (`PERCENTILES`), and `distance`: of the means, in standard deviations of training; `slips`,
        a sentence each; `unseen`, what this scaling hides.

    Raises:
        ValueError: the statistics have other numbers of channels than the model.
    """
    named = slips(trained, found, item)
    if other := other_level(item, level):
        named.append(other)
    away = np.array(found.mean) - np.array(trained.mean)
    distances = away / np.maximum(trained.std, np.finfo(np.float64).tiny)
    return {
        "pixels": found.pixels,
        "channels": [
            {
                "name": name,
                "trained": known.tolist(),
                "found": seen.tolist(),
                "distance": float(distance),
            }
            for name, known, seen, distance in zip(
                item.bands, _quantiles(trained).T, _quantiles(found).T, distances, strict=True
            )
        ],
        "slips": named,
        "unseen": unseen(item.scaling),
    }


def other_level(item: ModelItem, level: Level) -> str:
    """Report data of another level than those of the model's recipe; "" where they are of the same.

    Args:
        item: the model.
        level: of the data; "none" where it is not known.
    """
    wanted = level_of(item.recipe)
    if "none" in (wanted, level) or wanted == level:
        return ""
    return (
        f"{item.id} is of recipe {item.recipe}, which is of {LEVELS[wanted]}, and is given "
        f"{LEVELS[level]}: the blue bands differ by the light of the air (B01, B02)"
    )


LEVELS: dict[Level, str] = {
    "L1C": "L1C (top of atmosphere)",
    "L2A": "L2A (surface)",
    "none": "no level",
}


def unseen(scaling: Scaling) -> str:
    """Name the slips that the scaling of a model hides; "" where it hides none."""
    if scaling.kind in FIXED:
        if scaling.clip is None:
            return ""
        low, high = scaling.clip
        return f"model units end at {low:g} and {high:g}: how far beyond values lie cannot be seen"
    by = {
        "tile-minmax": "each channel is stretched over its own tile",
        "window-minmax": "each channel is stretched over its own window",
        "window-minmax-all": "values are stretched over their own window",
        "window-max": "values are shares of the largest of their own window",
    }[scaling.kind]
    return (
        f"{by}: digital numbers for reflectance, an offset and another level cannot be "
        "recognised, only channels that changed places"
    )


# --- in reflectance -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """Low, middle and high value of each optical channel, trained and found, in reflectance."""

    bands: tuple[str, ...]
    trained: NDArray[np.float64]
    """(3, C): `PERCENTILES`."""
    found: NDArray[np.float64]
    is_cut: NDArray[np.bool_]
    """(3, C), True where what was found is an end of the clip, and may lie anywhere beyond."""

    @classmethod
    def of(cls, trained: Statistics, found: Statistics, item: ModelItem) -> _Pair:
        optical = [i for i, band in enumerate(item.bands) if band in OPTICAL_BANDS]
        units = _quantiles(found)[:, optical]
        clip = item.scaling.clip
        return cls(
            bands=tuple(item.bands[i] for i in optical),
            trained=_reflectance(_quantiles(trained), item.scaling)[:, optical],
            found=_reflectance(_quantiles(found), item.scaling)[:, optical],
            is_cut=np.zeros(units.shape, bool) if clip is None else np.isin(units, clip),
        )

    def shift(self, band: str) -> float:
        """By how much the dark end of a band was moved; the dark end is what regions share."""
        index = self.bands.index(band)
        return float(self.found[0, index] - self.trained[0, index])


def _quantiles(statistics: Statistics) -> NDArray[np.float64]:
    return np.array([getattr(statistics, name) for name in PERCENTILES])


def _reflectance(units: NDArray[np.float64], scaling: Scaling) -> NDArray[np.float64]:
    """Take model units (3, C) back to what they were made of."""
    if scaling.kind == "identity":
        return units
    # A negative scale turns the order of the percentiles round.
    raw: NDArray[np.float64] = (units - np.array(scaling.offset)) / np.array(scaling.scale)
    return np.sort(raw, axis=0)


FACTOR_TOLERANCE = 0.5
"""How far a factor may be from 1e4, in powers of ten: regions differ by less than three times."""


def _factor(pair: _Pair) -> str:
    """Report values that are 1e4 times those of training, or that part of them."""
    if not pair.bands:
        return ""
    if pair.is_cut.all() and (pair.found >= pair.trained).all():
        return (
            "every optical channel lies at the upper end of the clip: digital numbers instead of "
            "reflectance"
        )
    tiny = np.finfo(np.float64).tiny
    powers = np.log10(np.maximum(np.abs(pair.found[1]), tiny) / np.maximum(pair.trained[1], tiny))
    step = np.log10(DN_PER_REFLECTANCE)
    if _most(np.abs(powers - step) < FACTOR_TOLERANCE):
        return "values are 1e4 times those of training: digital numbers instead of reflectance"
    if _most(np.abs(powers + step) < FACTOR_TOLERANCE):
        return (
            "values are 1e4 times smaller than those of training: reflectance instead of digital "
            "numbers, or numbers that were divided twice"
        )
    return ""


OFFSET_MEDIAN, OFFSET_EACH = 0.03, 0.05
"""How far the shift of the middle channel, and of each, may be from the offset, reflectance."""

FEWEST_CHANNELS = 3
"""Channels needed to distinguish an offset from another region."""


def _offset(pair: _Pair) -> str:
    """Report that every channel lies one offset above or below training."""
    # The dark end of a channel hardly differs between regions; where it is cut off, the middle
    # must do.
    row = 0 if not pair.is_cut[0].all() else 1
    is_seen = ~pair.is_cut[row]
    if is_seen.sum() < FEWEST_CHANNELS:
        return ""
    shifts = (pair.found - pair.trained)[row][is_seen]
    for sign, what in ((1, "was not subtracted"), (-1, "was subtracted twice")):
        away = np.abs(sign * shifts - OFFSET)
        if abs(sign * np.median(shifts) - OFFSET) < OFFSET_MEDIAN and _most(away < OFFSET_EACH):
            return (
                f"the optical channels lie {abs(np.median(shifts)):.2f} of reflectance "
                f"{'above' if sign > 0 else 'below'} training: the offset of 2022 (processing "
                f"baseline 04.00) {what}"
            )
    return ""


SURFACE_BLUE, ATMOSPHERE_BLUE = 0.04, 0.045
"""Reflectance of B02 in the darkest pixels: at most, and at least, of the ground, and at the top of
an atmosphere, whose own light is 0.05 and more. Found: 0.015 to 0.028 (three scenes of L2A), 0.051
to 0.099 (the same of L1C, and four regions of Landslide4Sense)."""

BLUE_SHIFT, BLUER = 0.02, 0.01
"""Least move of B02 from one level to the other, and by how much it is more than that of B04,
reflectance. Found: 0.056 and more, 0.017 and more (two scenes of Barbellino, crosswise)."""

NEAR_INFRARED = ("B08", "B8A", "B11", "B12")

INFRARED_SHIFT = 0.05
"""Most that the dark end of an infrared band moves, reflectance: there is no light of the air."""


def _level(pair: _Pair, level: Level) -> str:
    """Report blue bands that moved as from one level to the other: most at the shortest waves."""
    if not {"B02", "B04"} <= set(pair.bands):
        return ""
    index = pair.bands.index("B02")
    trained, found = pair.trained[0, index], pair.found[0, index]
    infrared = [pair.shift(band) for band in NEAR_INFRARED if band in pair.bands]
    if infrared and abs(np.median(infrared)) > INFRARED_SHIFT:
        return ""
    is_darker = trained >= ATMOSPHERE_BLUE and found <= SURFACE_BLUE and level != "L2A"
    is_brighter = trained <= SURFACE_BLUE and found >= ATMOSPHERE_BLUE and level != "L1C"
    if not (is_darker or is_brighter):
        return ""
    sign = -1 if is_darker else 1
    coast, blue, red = (
        sign * pair.shift(band) if band in pair.bands else np.inf for band in ("B01", "B02", "B04")
    )
    # The air scatters with the fourth power of the frequency; bare ground does the reverse.
    if coast < blue or blue < BLUE_SHIFT or blue - red < BLUER:
        return ""
    of, given = ("L1C", "L2A") if is_darker else ("L2A", "L1C")
    return (
        f"the blue bands are {'darker' if is_darker else 'brighter'} than in training by the light "
        f"of the air, the longer waves are not: {given} in a model of {of}"
    )


def _most(agree: NDArray[np.bool_]) -> bool:
    return bool(agree.mean() >= MOST)


# --- exchanged channels -------------------------------------------------------------------------

FAR, LEFT = 0.1, 1 / 3
"""How far apart (`apart`) both of two channels must lie, and what exchanging them may leave of it:
another region may bring one channel nearer to another by chance, but hardly both by two thirds."""

TERRAIN = ("slope", "dem")

STRANGE, USUAL = 3.0, 2.0
"""How far pixels lie from the mean of training (root mean square, in its standard deviations) where
terrain is strange to a model, and at most where it is not. Sites differ in elevation by more than
each is high, so `apart` is no measure of it; training itself has 1."""


def apart(trained: Statistics, found: Statistics) -> NDArray[np.float64]:
    """Measure how far each channel lies from training: 0 = alike, 1 = by the whole of its width.

    Mean distance of low, middle and high value, over the wider of both ranges; (C,).
    """
    known, seen = _quantiles(trained), _quantiles(found)
    width = np.maximum(known[2] - known[0], seen[2] - seen[0])
    distance: NDArray[np.float64] = np.abs(known - seen).mean(axis=0)
    distance /= np.maximum(width, np.finfo(np.float64).tiny)
    return distance


def _exchanged(trained: Statistics, found: Statistics, item: ModelItem) -> list[str]:
    """Name pairs of channels that fit where each stands in the other's place."""
    named = []
    left = set(range(len(item.bands)))
    while pair := _best_pair(trained, found, sorted(left), item):
        left -= set(pair)
        first, second = (item.bands[i] for i in pair)
        named.append(
            f"{first} and {second} look exchanged: each has the values that the model knows of the "
            "other"
        )
    return named


def _best_pair(
    trained: Statistics, found: Statistics, channels: Sequence[int], item: ModelItem
) -> tuple[int, int] | None:
    """Find the two channels whose exchange explains most; None where no exchange does."""
    best, gain = None, 0.0
    before = apart(trained, found)
    for pair in combinations(channels, 2):
        kinds = {item.bands[i] in OPTICAL_BANDS for i in pair}
        if len(kinds) == 2:
            continue
        for turned in _turned(found, pair, item.scaling):
            i, j = pair
            after = apart(trained, turned)
            fits = all(before[k] >= FAR and after[k] <= LEFT * before[k] for k in pair)
            if not fits and {item.bands[i], item.bands[j]} == set(TERRAIN):
                strange, usual = (
                    _strangeness(trained, part)[list(pair)].max() for part in (found, turned)
                )
                fits = strange >= STRANGE and usual <= USUAL
            better = float(before[i] + before[j] - after[i] - after[j])
            if fits and (best is None or better > gain):
                best, gain = pair, better
    return best


def _strangeness(trained: Statistics, found: Statistics) -> NDArray[np.float64]:
    """Root mean square distance from the mean of training, in its standard deviations; (C,)."""
    mean, std = np.array(trained.mean), np.array(trained.std)
    away: NDArray[np.float64] = np.hypot(np.array(found.mean) - mean, np.array(found.std))
    away /= np.maximum(std, np.finfo(np.float64).tiny)
    return away


def _turned(found: Statistics, pair: tuple[int, int], scaling: Scaling) -> list[Statistics]:
    """Statistics with two channels exchanged: behind the scaling, and before it where it is fixed.

    A file may hold scaled channels in another order, or its raw ones: then each was scaled as the
    other.
    """
    behind = _exchange(found, pair)
    if scaling.kind != "affine":
        return [behind]
    raw = _rescaled(found, 1 / np.array(scaling.scale), -np.array(scaling.offset))
    again = _exchange(raw, pair)
    scale, offset = np.array(scaling.scale), np.array(scaling.offset)
    return [behind, _rescaled(again, scale, offset / scale)]


def _exchange(statistics: Statistics, pair: tuple[int, int]) -> Statistics:
    order = list(range(statistics.channels))
    order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    changed: dict[str, Any] = {
        name: tuple(getattr(statistics, name)[i] for i in order) for name in PER_CHANNEL
    }
    return replace(statistics, **changed)


def _rescaled(
    statistics: Statistics, factor: NDArray[np.float64], summand: NDArray[np.float64]
) -> Statistics:
    """Return the statistics of (x + summand) * factor."""
    quantiles = np.sort((_quantiles(statistics) + summand) * factor, axis=0)
    changed: dict[str, Any] = dict(zip(PERCENTILES, map(tuple, quantiles), strict=True))
    mean = tuple((np.array(statistics.mean) + summand) * factor)
    std = tuple(np.array(statistics.std) * np.abs(factor))
    return replace(statistics, mean=mean, std=std, **changed)
