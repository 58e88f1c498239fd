"""A person's decisions about the list of a run -> labelled patches.

The decisions are those that the run keeps, or those of a file (see `change/decisions.py`), carried
to the objects of the run's `inventory.parquet`, with their outlines. On the date that shows an
object,

    true                  its pixels are landslide
    false                 its pixels are no landslide: a hard negative
    "unsure", or null     its pixels are ignored, and so are objects of the other date

On the date after, the pixels of an outline that the person drew are landslide. All other pixels of
a patch are `UNMARKED`: neither the run nor the person marked them. That is no landslide as far as
one knows; but nobody was asked, and the run may have missed one there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd

from lspipe.errors import SamplesError
from lspipe.runs import review
from lspipe.runs.frozen import FrozenRun
from lspipe.samples.chips import read_polygons, recipe_of_item
from lspipe.samples.cut import Cutter
from lspipe.samples.marks import Marks, part_of
from lspipe.schema import IGNORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lspipe.change.decisions import Answer
    from lspipe.models import ModelItem
    from lspipe.samples import Samples
    from lspipe.samples.cut import Patch, Place

UNMARKED = 254
"""Label of the pixels that lie in no object and in no drawn outline."""

_LABELS = {"true": 1, "false": 0}
"""Label of the pixels of an object; with any other answer, or none, they are ignored."""

_DATES = ("after", "before")


@dataclass(frozen=True)
class Reviewed:
    """Patches over reviewed objects, and counts of decisions."""

    samples: Samples
    right: int
    """Landslides that a patch shows."""
    wrong: int
    """False alarms that a patch shows."""
    unsure: int
    unreviewed: int
    """Objects of the inventory without a decision."""
    unseen: int
    """Decided objects that no patch shows: not in the list, or not observed on the date that is
    read."""
    drawn: int = 0
    """Drawn outlines that a patch shows."""
    places: tuple[Place, ...] = ()
    """Where each patch lies."""

    def counts(self) -> dict[str, int]:
        """Return the counts as plain numbers."""
        return {
            "true": self.right,
            "false": self.wrong,
            "unsure": self.unsure,
            "unreviewed": self.unreviewed,
            "unseen": self.unseen,
            "drawn": self.drawn,
        }


def reviewed(
    run: Path | str,
    decisions: Path | str | None = None,
    *,
    item: ModelItem | None = None,
    missed: gpd.GeoDataFrame | Path | str | None = None,
) -> Reviewed:
    """Cut patches over the reviewed objects of a run.

    New, persistent, undetermined and (in a run of one date) detected objects are read from the date
    after, vanished ones from the date before. Every decided object lies whole in a patch, a larger
    one in several together, on every tile that covers it.

    Args:
        run: a run directory with its `inventory.parquet`.
        decisions: GeoPackage, GeoJSON or GeoParquet; None = the decisions that the run keeps.
        item: the model item whose channels, scaling and window the patches get; None = the run's.
        missed: outlines that a person drew of landslides that the list lacks; a table, or a file,
            see `chips.read_polygons`.

    Raises:
        DecisionsError: no inventory; a file that cannot be read or understood, or is of another
            run.
        SamplesError: nothing decided as true or false, or none of it observed; outlines that
            cannot be used.
        StoreError: not a run directory.
        ModelError: the model item cannot be used.
    """
    frozen = FrozenRun.of(run)
    inventory = review.read_inventory(frozen.path)
    answers, homeless = review.answers(inventory, frozen.path, decisions)
    source = decisions or frozen.path / review.REVIEWS
    unreviewed = len(inventory) - len(answers)
    drawn: set[str] = set()
    if missed is not None:
        inventory, drawn = _with_drawn(inventory, read_polygons(missed)[0])
        answers |= dict.fromkeys(drawn, "true")
    if not set(answers.values()) & set(_LABELS):
        raise SamplesError(
            f"{source}: nothing is reviewed as true or false ({len(answers)} unsure); there is "
            "nothing to learn from; decide in a list of the run, and take it in (`lspipe review`)"
        )
    model = frozen.item() if item is None else item
    cutter = Cutter(frozen, recipe_of_item(model), model.window, rest=UNMARKED)
    patches: list[Patch] = []
    seen: set[str] = set()
    for date in _DATES:
        found, shown = _patches(cutter, inventory, answers, date)
        patches += found
        seen |= shown
    decided = {name: answer for name, answer in answers.items() if answer in _LABELS}
    if not patches:
        raise SamplesError(
            f"{source}: none of {len(decided)} decided objects was observed by {frozen.path}"
        )
    return Reviewed(
        samples=cutter.samples(patches, f"{frozen.path} with {source}"),
        right=sum(decided[name] == "true" for name in seen - drawn),
        wrong=sum(decided[name] == "false" for name in seen),
        unsure=sum(answer == "unsure" for answer in answers.values()),
        unreviewed=unreviewed,
        unseen=len(decided) - len(seen) + homeless,
        drawn=len(seen & drawn),
        places=tuple((patch.tile.name, *patch.corner) for patch in patches),
    )


def _with_drawn(
    inventory: gpd.GeoDataFrame, outlines: gpd.GeoDataFrame
) -> tuple[gpd.GeoDataFrame, set[str]]:
    """Add drawn outlines to a list as new objects; also return their ids."""
    shapes = outlines.geometry.to_crs(inventory.crs).reset_index(drop=True)
    names = [f"drawn {number}" for number in range(len(shapes))]
    drawn = gpd.GeoDataFrame({"id": names, "status": "new"}, geometry=shapes)
    columns = ["id", "status", "geometry"]
    return pd.concat([inventory[columns], drawn], ignore_index=True), set(names)


def labels_of(names: Iterable[str], answers: Mapping[str, Answer]) -> NDArray[np.uint8]:
    """Return the label of each object: 1 = landslide, 0 = a false alarm, else `IGNORED`.

    Args:
        names: ids of the objects of a list.
        answers: by id.
    """
    return np.array([_LABELS.get(answers.get(name, ""), IGNORED) for name in names], np.uint8)


# --- patches ------------------------------------------------------------------------------------


def _patches(
    cutter: Cutter, inventory: gpd.GeoDataFrame, answers: Mapping[str, Answer], date: str
) -> tuple[list[Patch], set[str]]:
    """Return patches over the decided objects of a date, and the ids of the objects in them."""
    names = inventory["id"].to_numpy()
    is_here = np.where(inventory["status"] == "vanished", "before", "after") == date
    labels = labels_of(names, answers)
    labels[~is_here] = IGNORED
    marks = {tile.name: Marks.of(inventory, labels, tile.geobox) for tile in cutter.run.tiles}
    wanted = {
        tile: np.flatnonzero((here.labels != IGNORED) & ~here.is_sliver).tolist()
        for tile, here in marks.items()
    }
    kept, shown = [], set()
    for patch in cutter.over(marks, date, wanted=wanted):
        numbers = _shown(cutter, patch, np.array(wanted[patch.tile.name]))
        if numbers.size:
            kept.append(patch)
            shown |= set(names[patch.marks.rows[numbers]])
    return kept, shown


def _shown(cutter: Cutter, patch: Patch, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers of the objects that have a labelled pixel in a patch."""
    part = part_of(patch.corner, cutter.window)
    is_labelled = cutter.labels(patch) != IGNORED
    near = np.intersect1d(patch.marks.within(part), wanted)
    found = [n for n in near if (patch.marks.pixels(np.array([n]), part) & is_labelled).any()]
    return np.array(found, np.int64)
