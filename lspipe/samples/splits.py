"""Patches -> those to train on and those to test on, by the rules of the papers.

A split depends only on the names of the patches and their regions, so the same folder always has
the same split. Neighbouring patches look alike, so papers 001 and 003 cut each area in two;
`random_split` does not, and its scores are too good for this reason. `blocks` is the one to judge a
model by: its parts touch at two places only (`leaks.py` tells how much two parts do).

    blocks          one block of neighbours to test on, the other four to train on
    quarter         paper 001: the first quarter of each area to train on, the rest to test on
    three_to_two    paper 003: each area in the ratio 3:2
    random_split    paper 002: 80 % and 20 % at random, with a fixed seed

Details that the papers leave open: 001 has "the first quarter generated patches from each case
study area", 959 of 3799, which is 25.2 %; so a quarter is rounded up here, which gives at most one
patch more per area. 003 cuts each area in two, but does not state along which line; patches are
taken in their order, which is row by row on a regular grid, so the line runs along the rows. 002
states 80 % and 20 % with "a fixed random seed"; its code has 42, and its Table 4 counts 2661 and
1138 patches, which is 70 %. The text is followed here.

Source: papers 001 (section III), 002 (section 5.3.2), 003 (implementation details);
docs/method.md, Training.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lspipe.errors import SamplesError, UsageError, first_few

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lspipe.samples import Samples

SEED = 42
"""Of `random_split`. Source: the code of paper 002."""


FOLDS = 5
"""Blocks that `blocks` cuts patches into."""

ORIGINALS = 3799
"""Patches of Landslide4Sense with labels: `image_1` to `image_3799`."""


@dataclass(frozen=True)
class Split:
    """Names of patches, each in one of the two parts, in the given order."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def quarter(names: Sequence[str], regions: Mapping[str, str] | None = None, seed: int = 0) -> Split:
    """Take the first quarter of each region to train on, the rest to test on: paper 001.

    Args:
        names: of patches, in the order of cutting.
        regions: region of each patch; None = all of one.
        seed: has no effect: nothing is drawn.

    Raises:
        SamplesError: a patch without a region.
    """
    del seed
    return _first_of_each(names, regions, share=1 / 4)


def three_to_two(
    names: Sequence[str], regions: Mapping[str, str] | None = None, seed: int = 0
) -> Split:
    """Take the first three fifths of each region to train on, the rest to test on: paper 003.

    Arguments and errors are those of `quarter`.
    """
    del seed
    return _first_of_each(names, regions, share=3 / 5)


def random_split(
    names: Sequence[str],
    regions: Mapping[str, str] | None = None,
    seed: int = SEED,
    *,
    share: float = 0.8,
) -> Split:
    """Draw patches at random, 80 % to train on: paper 002. Neighbours may be in both parts.

    Args:
        names: of patches.
        regions: has no effect: paper 002 drew from all patches together.
        seed: of NumPy's generator.
        share: of the patches to train on, rounded to whole patches.
    """
    del regions
    order = np.random.default_rng(seed).permutation(len(names))
    drawn = set(order[: round(share * len(names))].tolist())
    return Split(
        tuple(name for number, name in enumerate(names) if number in drawn),
        tuple(name for number, name in enumerate(names) if number not in drawn),
    )


def blocks(
    names: Sequence[str],
    regions: Mapping[str, str] | None = None,
    seed: int = 0,
    *,
    fold: int = FOLDS,
) -> Split:
    """Take one of five blocks of neighbours to test on, the others to train on.

    Args:
        names: of patches, in the order of cutting, so that near ones are neighbours.
        regions: region of each patch, whole in one block; None = a block is a fifth of the names.
        seed: has no effect: nothing is drawn.
        fold: number of the block to test on, 1 to 5.

    Raises:
        SamplesError: a patch without a region, or fewer regions than blocks.
        UsageError: no such block.

    Example:
        >>> blocks([str(number) for number in range(10)], fold=2).test
        ('2', '3')
    """
    del seed
    if not 1 <= fold <= FOLDS:
        raise UsageError(f"fold {fold}: expected 1 to {FOLDS}")
    block = _by_region(names, regions) if regions is not None else _in_turn(names)
    return Split(
        tuple(name for name in names if block[name] != fold),
        tuple(name for name in names if block[name] == fold),
    )


def _in_turn(names: Sequence[str]) -> dict[str, int]:
    """Return the block of each name, fifths of the order."""
    return {name: number * FOLDS // len(names) + 1 for number, name in enumerate(names)}


def _by_region(names: Sequence[str], regions: Mapping[str, str]) -> dict[str, int]:
    """Return the block of each name; regions go, the largest first, to the smallest block."""
    _check_homes(names, regions)
    sizes = Counter(regions[name] for name in names)
    if len(sizes) < FOLDS:
        raise SamplesError(
            f"found {len(sizes)} regions ({first_few(sorted(sizes))}), expected {FOLDS} or more: "
            "each block needs one"
        )
    block, filled = dict[str, int](), dict.fromkeys(range(1, FOLDS + 1), 0)
    for region, size in sorted(sizes.items(), key=lambda each: (-each[1], each[0])):
        block[region] = min(filled, key=lambda one: (filled[one], one))
        filled[block[region]] += size
    return {name: block[regions[name]] for name in names}


def original_number(place: int, count: int = ORIGINALS) -> int:
    """Return the number of a patch of Landslide4Sense from its place in the name-sorted list.

    Copies of this set are numbered by their place among `image_1`, `image_10`, `image_100`, ...;
    neighbours on the ground have near original numbers.

    Example:
        >>> [original_number(place) for place in (0, 1, 2, 5)]
        [1, 10, 100, 1002]
    """
    return sorted(range(1, count + 1), key=lambda number: f"image_{number}.h5")[place]


SPLITS: Mapping[str, Callable[..., Split]] = {
    "blocks": blocks,
    "quarter": quarter,
    "three-to-two": three_to_two,
    "random": random_split,
}
"""Names of splits."""


def split(
    samples: Samples, rule: str, *, seed: int = SEED, fold: int | None = None
) -> tuple[Samples, Samples]:
    """Divide samples into those to train on and those to test on.

    Args:
        samples: of a folder.
        rule: a name of `SPLITS`.
        seed: of a rule that draws.
        fold: of `blocks`; None = the last.

    Raises:
        UsageError: no such rule, or a fold of a rule that has none.
        SamplesError: a patch without a region, a side without patches, or a block without any
            landslide.
    """
    if rule not in SPLITS:
        raise UsageError(f"split {rule!r}: expected one of {', '.join(SPLITS)}")
    if fold is not None and rule != "blocks":
        raise UsageError(f"fold {fold} with split {rule}: expected split blocks")
    more = {} if fold is None else {"fold": fold}
    parts = SPLITS[rule](samples.names, samples.regions, seed, **more)
    if not parts.train or not parts.test:
        raise SamplesError(
            f"{samples.source}: split {rule} of {len(samples)} patches leaves {len(parts.train)} "
            f"to train on and {len(parts.test)} to test on: expected some of each"
        )
    training, testing = replace(samples, names=parts.train), replace(samples, names=parts.test)
    if rule == "blocks" and not any((mask == 1).any() for _, mask in testing):
        raise SamplesError(
            f"{samples.source}: block {fold or FOLDS} has no landslide in its {len(testing)} "
            "patches, so nothing can be found there: take another fold, or other regions"
        )
    return training, testing


def _check_homes(names: Sequence[str], regions: Mapping[str, str] | None) -> None:
    homeless = [name for name in names if regions is not None and name not in regions]
    if homeless:
        raise SamplesError(
            f"{first_few(homeless)}: no region is known ({len(homeless)} of {len(names)} "
            "patches): a split by area needs one for each"
        )


def _first_of_each(
    names: Sequence[str], regions: Mapping[str, str] | None, *, share: float
) -> Split:
    """Return the first part of each region, rounded up, and the rest."""
    _check_homes(names, regions)
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(regions[name] if regions is not None else "", []).append(name)
    # Rounded, as 3 / 5 of 5 is slightly above 3 in floats.
    first = {
        name
        for inside in members.values()
        for name in inside[: math.ceil(round(share * len(inside), 9))]
    }
    return Split(
        tuple(name for name in names if name in first),
        tuple(name for name in names if name not in first),
    )
