"""Patches -> those to train on and those to test on, by the rules of the papers.

A split depends only on the names of the patches and their regions, so the same folder always has
the same split. Neighbouring patches look alike, so papers 001 and 003 cut each area in two;
`random_split` does not, and its scores are too good for this reason.

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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lspipe.errors import SamplesError, UsageError, first_few

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lspipe.samples import Samples

SEED = 42
"""Of `random_split`. Source: the code of paper 002."""


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


SPLITS: Mapping[str, Callable[..., Split]] = {
    "quarter": quarter,
    "three-to-two": three_to_two,
    "random": random_split,
}
"""Names of splits."""


def split(samples: Samples, rule: str, *, seed: int = SEED) -> tuple[Samples, Samples]:
    """Divide samples into those to train on and those to test on.

    Args:
        samples: of a folder.
        rule: a name of `SPLITS`.
        seed: of a rule that draws.

    Raises:
        UsageError: no such rule.
        SamplesError: a patch without a region, or a side without patches.
    """
    if rule not in SPLITS:
        raise UsageError(f"split {rule!r}: expected one of {', '.join(SPLITS)}")
    parts = SPLITS[rule](samples.names, samples.regions, seed)
    if not parts.train or not parts.test:
        raise SamplesError(
            f"{samples.source}: split {rule} of {len(samples)} patches leaves {len(parts.train)} "
            f"to train on and {len(parts.test)} to test on: expected some of each"
        )
    return replace(samples, names=parts.train), replace(samples, names=parts.test)


def _first_of_each(
    names: Sequence[str], regions: Mapping[str, str] | None, *, share: float
) -> Split:
    """Return the first part of each region, rounded up, and the rest."""
    homeless = [name for name in names if regions is not None and name not in regions]
    if homeless:
        raise SamplesError(
            f"{first_few(homeless)}: no region is known ({len(homeless)} of {len(names)} "
            "patches): a split by area needs one for each"
        )
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
