"""Two sets of patches -> which patches of one continue patches of the other on the ground.

Patches cut from one scene lie side by side. A network that was trained on one of them has seen the
ground of the next, so a score of the next is not that of a new place. Names do not tell, pixels do:
where two patches share an edge, the two rows of pixels along it are nearly the same.

Patches of places far apart have edges alike by chance, more of them the smoother they are: of two
sets of other places 9 % were found to "continue" each other, of two sets of the same scenes 74 %
(Landslide4Sense, patches of 128 px).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from lspipe.errors import SamplesError, first_few

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lspipe.samples import Samples

ALIKE = 0.9
"""Correlation of two edges from which on they are taken for neighbours."""

TOO_MANY = 0.3
"""Share of patches that continue others from which on a warning is given."""

SAME = 0.9999
"""Correlation of all four edges with the same edges of another patch from which on it is that
patch, however each was scaled."""

_NAMED = 3

_FACING = (("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top"))
"""Edges that touch where two patches lie side by side."""


@dataclass(frozen=True)
class Leak:
    """How many patches continue patches that are trained on."""

    patches: int
    """That were looked at."""
    continued: tuple[tuple[str, str, float], ...]
    """Those that continue another: its name, the name of the other, the correlation; the surest
    first."""

    @property
    def share(self) -> float:
        """Share of the patches that continue another, 0..1."""
        return len(self.continued) / self.patches if self.patches else 0.0

    @property
    def is_large(self) -> bool:
        """Whether more continue others than chance makes."""
        return self.share > TOO_MANY

    def text(self) -> str:
        """Return it in a sentence, for a person."""
        named = first_few([f"{one} continues {other}" for one, other, _ in self.continued], _NAMED)
        told = (
            f"{100 * self.share:.0f} % of {self.patches} patches have an edge that continues an "
            f"edge of a patch that is trained on (r > {ALIKE})"
        )
        return f"{told}: {named}" if named else told


def leak(train: Samples, test: Samples) -> Leak:
    """Look for patches to test on that continue patches to train on.

    Args:
        train: patches of one size.
        test: patches of the same size.

    Raises:
        SamplesError: patches of unlike sizes, or a patch that is in both sets, by its name or by
            its pixels.
    """
    shared = sorted(set(train.names) & set(test.names)) if train.source == test.source else []
    if shared:
        raise SamplesError(
            f"{train.source}: {first_few(shared)}: trained on and tested on ({len(shared)} "
            "patches): expected each in one part"
        )
    ours, theirs = _edges(test), _edges(train)
    if ours["top"].shape[1] != theirs["top"].shape[1]:
        raise SamplesError(
            f"{train.source} and {test.source}: patches of {theirs['top'].shape[1]} and "
            f"{ours['top'].shape[1]} px: expected one size"
        )
    _check_others(train, test, theirs, ours)
    # One kind of edge after the other: of thousands of patches each table is large.
    alike = reduce(np.maximum, (ours[one] @ theirs[other].T for one, other in _FACING))
    nearest = alike.argmax(axis=1)
    found = [
        (test.names[number], train.names[other], round(float(alike[number, other]), 3))
        for number, other in enumerate(nearest.tolist())
        if alike[number, other] > ALIKE
    ]
    return Leak(len(test), tuple(sorted(found, key=lambda each: -each[2])))


def _check_others(
    train: Samples,
    test: Samples,
    theirs: dict[str, NDArray[np.float32]],
    ours: dict[str, NDArray[np.float32]],
) -> None:
    """Refuse patches to test on that are patches to train on, under whatever name."""
    alike = reduce(np.minimum, (ours[side] @ theirs[side].T for side, _ in _FACING))
    pairs = [
        f"{test.names[one]} is {train.names[other]}"
        for one, other in enumerate(alike.argmax(axis=1).tolist())
        if alike[one, other] > SAME
    ]
    if pairs:
        raise SamplesError(
            f"{test.source}: {first_few(pairs, _NAMED)} of {train.source}, pixel by pixel "
            f"({len(pairs)} of {len(test)} patches): expected patches that are not trained on"
        )


def _edges(samples: Samples) -> dict[str, NDArray[np.float32]]:
    """Return the edges of all patches by side, (patch, pixel): mean 0, length 1."""
    sides: dict[str, list[NDArray[np.float32]]] = {side: [] for side, _ in _FACING}
    sizes = set()
    for name in samples.names:
        # Channels in one: what a patch was scaled by then matters least.
        image = np.nan_to_num(samples.read(name)[0]).mean(axis=0)
        sizes.add(image.shape)
        if len(sizes) > 1 or image.shape[0] != image.shape[1]:
            raise SamplesError(
                f"{samples.source}: {name}: {image.shape[0]} x {image.shape[1]} px: expected "
                "square patches of one size"
            )
        edges = {"top": image[0], "bottom": image[-1], "left": image[:, 0], "right": image[:, -1]}
        for side, edge in edges.items():
            sides[side].append(edge)
    return {side: _standard(np.stack(found)) for side, found in sides.items()}


def _standard(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return edges whose products are correlations; an edge of one value is like no other."""
    centred = edges - edges.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    found: NDArray[np.float32] = centred / np.where(length > 1e-6, length, np.inf)
    return found
