"""Several model items -> one model: an ensemble, whose probability is the mean of theirs.

The items see the same windows of the same pixels, each in its own units, so they name the same
channels; that their settings are the same is checked where these are decided (`inference/presets`).
What an ensemble has once and its items each have is that of the first: scaling and statistics, so
pixels are compared with the training data of the first.

Source: means of independent networks, Lakshminarayanan et al. 2017 (deep ensembles).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from lspipe.errors import ModelError
from lspipe.models.item import SHIPPED_PREFIX, digest
from lspipe.models.mlm import read_item
from lspipe.models.recipes import check_item

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from lspipe.models.item import ModelItem

BETWEEN = " + "
"""Between the names of the items, in that of an ensemble."""


def read_model(names: Sequence[str], folder: Path) -> ModelItem:
    """Read one model item, or several as an ensemble.

    Args:
        names: "shipped:NAME", or the path of an item.
        folder: what relative paths start from.

    Raises:
        ModelError: an item cannot be used, or they do not go together (`joined`).
    """
    items = [
        read_item(name if name.startswith(SHIPPED_PREFIX) else folder / name) for name in names
    ]
    for item in items:
        check_item(item)
    return items[0] if len(items) == 1 else joined(items)


def joined(items: Sequence[ModelItem]) -> ModelItem:
    """Return items as one model, whose `members` they are.

    Args:
        items: two or more.

    Raises:
        ModelError: fewer, one of them twice, or other channels than those of the first.

    Examples:
        >>> one = read_item("shipped:bare-ground")
        >>> other = replace(one, id="other", item_sha256="0" * 64, threshold=0.7)
        >>> both = joined([one, other])
        >>> both.id, both.threshold, len(both.members)
        ('bare-ground + other', 0.6, 2)
    """
    _check_go_together(items)
    first = items[0]
    names = BETWEEN.join(item.id for item in items)
    return replace(
        first,
        id=names,
        reference=BETWEEN.join(item.reference for item in items),
        weights=None,
        sha256=_hash(digest(item) for item in items),
        item_sha256=_hash(item.item_sha256 for item in items),
        # Each was chosen for its own probabilities; the mean of these has none of its own.
        threshold=round(fmean(item.threshold for item in items), 6),
        threshold_sensitive=None,
        version="",
        recipe=next((item.recipe for item in items if item.recipe), ""),
        description=f"The mean of the probabilities of {len(items)} models. "
        + " ".join(f"{item.id}: {item.description}" for item in items),
        not_for=" ".join(f"{item.id}: {item.not_for}" for item in items if item.not_for),
        scorecard=None,
        training={},
        members=tuple(items),
    )


def _check_go_together(items: Sequence[ModelItem]) -> None:
    if len(items) < 2:
        raise ModelError(f"found {len(items)} model items: an ensemble is of two or more")
    first, *others = items
    for number, item in enumerate(others, start=1):
        if item.item_sha256 in {one.item_sha256 for one in items[:number]}:
            raise ModelError(f"{item.path}: is in the ensemble twice, which would only weigh more")
        if item.bands != first.bands:
            raise ModelError(
                f"{item.path}: bands: found {' '.join(item.bands)}: expected "
                f"{' '.join(first.bands)} in this order, those of {first.path}; items of an "
                "ensemble see the same channels, so run this one by itself"
            )


def _hash(parts: Iterable[str]) -> str:
    """Return the sha256 of several, in their order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
