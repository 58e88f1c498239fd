"""The labelled patches in blocks of neighbours, and what networks say of blocks they have not seen.

The patches are taken in the order of their original numbers, in which neighbours on the ground
follow each other, and cut into five blocks; a fold is a network that was trained on four of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lspipe.evaluate.reliability import (
    equal_threshold,
    fit_temperature,
    histograms,
    sensitive_threshold,
)
from lspipe.evaluate.scoring import Predictions, measure, predict
from lspipe.models import read_item
from lspipe.samples import Samples, joined, pictures
from lspipe.samples.leaks import leak
from lspipe.samples.splits import FOLDS, original_number, split

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from lspipe.evaluate.scorecard import PatchScores

    Pack = Callable[[Path, Mapping[str, float | None]], Path]

BLOCK = "l4s_rgb, block {fold} of 5"

ALL_BLOCKS = "l4s_rgb, each of 5 blocks by a fold that had not seen it"

SCENE = "l4s_rgb, originals {first} to {last}: a scene of which the fold had seen nothing"

SCENES = {1: (1, 240), FOLDS: (3400, 3799)}
"""Original numbers of patches whose scene is in one block alone, by the fold that has not seen it.
Told by their haze: the darkest blue is 55 of 255 in the first, 44 in the last, 40 between them."""


@dataclass(frozen=True)
class Folds:
    """What the folds say, each about the block that it had not trained on."""

    fields: dict[str, float | None]
    """Temperature and thresholds, of the pixels of all blocks."""
    rows: tuple[PatchScores, ...]
    """Scores of each block, of the scenes that are in one block alone, and of all; eight views."""


def landslides(data: Path, recipe: str = "l4s-rgb") -> Samples:
    """All patches, in the order of their original numbers."""
    parts = {
        part: pictures.folder(data / "l4s_rgb" / part, recipe) for part in ("train", "validation")
    }
    whole = replace(joined(parts), source="l4s_rgb")
    return replace(whole, names=tuple(sorted(whole.names, key=original)))


def original(name: str) -> int:
    """Return the number of a patch in the original set."""
    return original_number(int(name.rpartition("/")[2]))


def score_folds(patches: Samples, items: Sequence[Path], pack: Pack) -> Folds:
    """Choose the temperature and the thresholds on all blocks, and score them.

    Args:
        patches: of `landslides`.
        items: of each fold, in order.
        pack: writes an item again with some of its fields.
    """
    blocks = [split(patches, "blocks", fold=fold) for fold in range(1, FOLDS + 1)]
    held = [block for _, block in blocks]
    plain = _counted(_answers(items, held, "none"))
    fields = {"temperature": fit_temperature(plain)}
    found = _answers([pack(item, fields) for item in items], held, "d4")
    counts = _counted(found)
    fields["threshold"] = equal_threshold(counts)
    fields["threshold_sensitive"] = sensitive_threshold(counts)
    for item in items:
        pack(item, fields)
    shares = [leak(*both).share for both in blocks]
    return Folds(fields, tuple(_rows(patches, found, shares, fields["threshold"])))


def _rows(
    patches: Samples, found: list[Predictions], shares: list[float], threshold: float | None
) -> list[PatchScores]:
    rows = [
        measure(_named(one, BLOCK.format(fold=fold)), threshold=threshold, continued=share)
        for fold, (one, share) in enumerate(zip(found, shares, strict=True), 1)
    ]
    for fold, (first, last) in SCENES.items():
        scene = _only(found[fold - 1], range(first, last + 1))
        name = SCENE.format(first=first, last=last)
        rows.append(measure(_named(scene, name), threshold=threshold))
    whole = replace(
        found[0],
        samples=patches,
        codes=tuple(codes for one in found for codes in one.codes),
        masks=tuple(masks for one in found for masks in one.masks),
    )
    sizes = [len(one.codes) for one in found]
    share = sum(a * b for a, b in zip(shares, sizes, strict=True)) / sum(sizes)
    return [*rows, measure(_named(whole, ALL_BLOCKS), threshold=threshold, continued=share)]


def _answers(items: Sequence[Path], blocks: Sequence[Samples], tta: str) -> list[Predictions]:
    return [
        predict(read_item(item), block, tta=tta)  # type: ignore[arg-type]
        for item, block in zip(items, blocks, strict=True)
    ]


def _counted(found: Sequence[Predictions]) -> NDArray[np.int64]:
    first, *others = (histograms(one.codes, one.masks) for one in found)
    return sum(others, first)


def _named(found: Predictions, source: str) -> Predictions:
    return replace(found, samples=replace(found.samples, source=source))


def _only(found: Predictions, numbers: range) -> Predictions:
    """Return what was said of some of the patches."""
    names = found.samples.names
    places = [place for place, name in enumerate(names) if original(name) in numbers]
    return replace(
        found,
        samples=replace(found.samples, names=tuple(names[place] for place in places)),
        codes=tuple(found.codes[place] for place in places),
        masks=tuple(found.masks[place] for place in places),
    )
