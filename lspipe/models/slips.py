"""Statistics of training, and of other pixels -> which of the classic slips was made, by name.

A slip is a mistake in how pixels were prepared: channels exchanged, digital numbers for
reflectance, an offset that was not subtracted, the product of another level. A network accepts such
pixels like any others: only their values reveal the mistake. `lspipe model check` names it; no run
depends on it.

Two regions differ too, often by more than half of a channel's range. Rules are therefore about what
regions do not do: move every channel by the same factor or the same summand, or only the blue ones.

With the scalings `identity` and `affine`, model units lead back to reflectance, and each slip moves
the channels in a way of its own. The other scalings divide each window (or tile) by its own values,
which removes a common factor or offset: only exchanged channels are named (`unseen`).

Source: docs/method.md, Channels of the papers, Radiometric offset and Landslide4Sense values.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.models.recipes import DN_PER_REFLECTANCE, level_of, other_level
from lspipe.models.statistics import PERCENTILES
from lspipe.schema import source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lspipe.models.item import ModelItem, Scaling
    from lspipe.models.recipes import Level
    from lspipe.models.statistics import Statistics

    PerChannel = NDArray[np.float64]
    Quantiles = NDArray[np.float64]
    """(3, C): low, middle and high value of each channel, `PERCENTILES`."""

FIXED = ("identity", "affine")
"""Kinds of scaling that lead back to reflectance."""

OFFSET = 0.1
"""Reflectance that ESA adds since baseline 04.00 (docs/method.md, Radiometric offset)."""

MOST = 0.75
"""Share of the optical channels that must agree on a slip which moves all of them: cirrus and water
vapour, which see no ground, may not."""

FEWEST = 3
"""Channels needed to tell an offset from another region."""

LIGHT_OF_AIR = 0.045
"""Reflectance of B02 in the darkest pixels: above it at the top of the atmosphere, whose own light
this is, below it at the surface. Found: 0.051 to 0.099 (13 scenes and patches of L1C), 0.007 to
0.028 (five of L2A)."""

LEFT = 0.25
"""Part of the distance from training that may be left once two exchanged channels are put back. Of
90 pairs of Landslide4Sense patches, 3 sound ones are then named (B09 or B10 with another band), and
57, 56 and 68 with B02 and B08, slope and DEM, or B04 and B08 exchanged."""

NUMBERS = "digital numbers instead of reflectance"


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
    expected = len(item.bands)
    for count in (trained.channels, found.channels):
        if count != expected:
            raise ValueError(
                f"statistics of {count} channels: expected {expected}, those of {item.id}"
            )
    known, seen = _quantiles(trained), _quantiles(found)
    is_fixed = item.scaling.kind in FIXED
    # It moves so many channels that any two of them may look exchanged.
    if is_fixed and (named := _factor_or_offset(known, seen, item)):
        return [named]
    exchanged = [
        f"{item.bands[i]} and {item.bands[j]} look exchanged: each has the values that the model "
        "knows of the other"
        for i, j in _exchanged(known, seen, item)
    ]
    # Last: where an infrared band stands in the place of B02, that is brighter too.
    level = _level(known, seen, item) if is_fixed and not exchanged else ""
    return [level] if level else exchanged


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


def _quantiles(statistics: Statistics) -> Quantiles:
    return np.array([getattr(statistics, name) for name in PERCENTILES])


# --- slips that move all channels, in reflectance -----------------------------------------------


def _factor_or_offset(known: Quantiles, seen: Quantiles, item: ModelItem) -> str:
    """Report a wrong factor or offset; "" where there is none."""
    optical = [i for i, band in enumerate(item.bands) if source_of(band) == "scenes"]
    if not optical:
        return ""
    # At an end of the clip, the value may be anywhere beyond.
    is_cut = np.isin(seen, item.scaling.clip or ())[:, optical]
    if is_cut.all() and (seen >= known)[:, optical].all():
        return f"every optical channel lies at the upper end of the clip: {NUMBERS}"
    trained, found = (_reflectance(each, item.scaling)[:, optical] for each in (known, seen))
    return _factor(trained[1], found[1]) or _offset(trained, found, is_cut)


def _reflectance(units: Quantiles, scaling: Scaling) -> Quantiles:
    """Take model units back to what they were made of."""
    if scaling.kind == "identity":
        return units
    # A negative scale turns the order of the percentiles round.
    return np.sort((units - np.array(scaling.offset)) / np.array(scaling.scale), axis=0)


def _moved_by(step: float, moves: PerChannel) -> bool:
    """Whether most channels moved by a step: by more than half of it, and less than 3/2."""
    return bool((np.abs(moves - step) < abs(step) / 2).mean() >= MOST)


def _factor(trained: PerChannel, found: PerChannel) -> str:
    """Report medians that are 1e4 times those of training, or that part of them."""
    tiny = np.finfo(np.float64).tiny
    powers = np.log10(np.maximum(np.abs(found), tiny) / np.maximum(trained, tiny))
    step = np.log10(DN_PER_REFLECTANCE)
    if _moved_by(step, powers):
        return f"values are 1e4 times those of training: {NUMBERS}"
    if _moved_by(-step, powers):
        return (
            "values are 1e4 times smaller than those of training: reflectance instead of digital "
            "numbers, or numbers that were divided twice"
        )
    return ""


def _offset(trained: Quantiles, found: Quantiles, is_cut: NDArray[np.bool_]) -> str:
    """Report channels that lie one offset above or below training."""
    # Regions hardly differ in the dark end of a channel; where that is cut off, the median must do.
    row = int(is_cut[0].all())
    moves = (found - trained)[row][~is_cut[row]]
    if len(moves) < FEWEST:
        return ""
    for sign, side, what in ((1, "above", "not subtracted"), (-1, "below", "subtracted twice")):
        if _moved_by(sign * OFFSET, moves):
            return (
                f"the optical channels lie {abs(np.median(moves)):.2f} of reflectance {side} "
                f"training: the offset of 2022 (processing baseline 04.00) was {what}"
            )
    return ""


def _level(known: Quantiles, seen: Quantiles, item: ModelItem) -> str:
    """Report blue bands that gained or lost the light of the air, by their dark ends."""
    if not {"B02", "B04"} <= set(item.bands):
        return ""
    trained, found = (_reflectance(each, item.scaling)[0] for each in (known, seen))
    blue = item.bands.index("B02")
    is_darker = found[blue] < trained[blue]
    top, surface = (trained, found) if is_darker else (found, trained)
    wanted, given = ("L1C", "L2A") if is_darker else ("L2A", "L1C")
    if level_of(item.recipe) == given or not surface[blue] < LIGHT_OF_AIR < top[blue]:
        return ""
    light = dict(zip(item.bands, top - surface, strict=True))
    infrared = [light[band] for band in ("B08", "B8A", "B11", "B12") if band in light]
    # Air scatters with the fourth power of the frequency; another ground does the reverse.
    is_air = light.get("B01", np.inf) >= light["B02"] > light["B04"]
    if not is_air or abs(np.median(infrared or [0.0])) > OFFSET / 2:
        return ""
    return (
        f"the blue bands are {'darker' if is_darker else 'brighter'} than in training by the light "
        f"of the air, the longer waves are not: {given} in a model of {wanted}"
    )


# --- exchanged channels -------------------------------------------------------------------------


def _exchanged(known: Quantiles, seen: Quantiles, item: ModelItem) -> list[tuple[int, int]]:
    """Find pairs of channels that fit training where each stands in the other's place."""
    before = _distances(known, seen)
    gains: dict[tuple[int, int], float] = {}
    for i, j in combinations(range(len(item.bands)), 2):
        if (source_of(item.bands[i]) == "scenes") != (source_of(item.bands[j]) == "scenes"):
            continue
        pair = [i, j]
        for put_back in _put_back(seen, pair, item.scaling):
            after = _distances(known, put_back)
            is_nearer = (after < before)[pair].all()
            if is_nearer and after[pair].sum() <= LEFT * before[pair].sum():
                gain = float((before - after)[pair].sum())
                gains[i, j] = max(gain, gains.get((i, j), gain))
    found: list[tuple[int, int]] = []
    for best in sorted(gains, key=gains.__getitem__, reverse=True):
        if not {*best} & {channel for pair in found for channel in pair}:
            found.append(best)
    return found


def _distances(known: Quantiles, seen: Quantiles) -> PerChannel:
    """Distance of each channel from training: mean over the quantiles, share of its width there."""
    width = np.maximum(known[2] - known[0], np.finfo(np.float32).tiny)
    distances: PerChannel = np.abs(known - seen).mean(axis=0) / width
    return distances


def _put_back(seen: Quantiles, pair: list[int], scaling: Scaling) -> Iterator[Quantiles]:
    """Yield quantiles with two channels exchanged: in model units, and before a fixed scaling.

    A file may hold scaled channels in another order, or its raw ones: then each was scaled as the
    other.
    """
    order = np.arange(seen.shape[1])
    order[pair] = pair[::-1]
    yield seen[:, order]
    if scaling.kind == "affine":
        raw = _reflectance(seen, scaling)[:, order]
        yield np.sort(raw * np.array(scaling.scale) + np.array(scaling.offset), axis=0)
