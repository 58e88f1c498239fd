"""A person's decisions about the list of a run -> labelled patches.

`decisions.geojson` holds objects of the inventory by their `id`, each with `reviewed`: true, false,
"unsure", or null where nobody decided. Outlines are those of the run's `inventory.parquet`; those
of the file are not read. On the date that shows an object,

    true                  its pixels are landslide
    false                 its pixels are none: a hard negative
    "unsure", or null     its pixels say nothing, and so do objects of the other date

and all other pixels of a patch are no landslide: neither the run nor the person marked them. What
the run missed there is learnt as background.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lspipe.errors import SamplesError
from lspipe.runs.frozen import FrozenRun
from lspipe.samples import NAMED
from lspipe.samples.chips import recipe_of_item
from lspipe.samples.cut import Cutter
from lspipe.samples.marks import Marks, part_of
from lspipe.schema import IGNORED, check_inventory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import geopandas as gpd
    from numpy.typing import NDArray

    from lspipe.models import ModelItem
    from lspipe.samples import Samples
    from lspipe.samples.cut import Patch

Answer = Literal["true", "false", "unsure"]

_LABELS = {"true": 1, "false": 0}
"""Of the pixels of an object; any other answer, or none, says nothing."""

_DATES = ("after", "before")


@dataclass(frozen=True)
class Reviewed:
    """Patches over what a person decided, and how much that was."""

    samples: Samples
    right: int
    """Objects that are landslides, and that a patch shows."""
    wrong: int
    """Objects that are none, and that a patch shows."""
    unsure: int
    unreviewed: int
    """Objects of the inventory that nobody decided about."""
    unseen: int
    """Objects that were decided, and that no patch shows: not observed on the date that is read."""

    def counts(self) -> dict[str, int]:
        """Plain numbers."""
        return {
            "true": self.right,
            "false": self.wrong,
            "unsure": self.unsure,
            "unreviewed": self.unreviewed,
            "unseen": self.unseen,
        }


def reviewed(run: Path | str, decisions: Path | str, *, item: ModelItem | None = None) -> Reviewed:
    """Cut patches over the objects of a run that a person decided about.

    New, persistent, undetermined and (in a run of one date) detected objects are read from the date
    after, vanished ones from the date before. Every decided object lies whole in a patch, a larger
    one in several together, on every tile that shows it.

    Args:
        run: a run directory with its `inventory.parquet`.
        decisions: GeoJSON, see above.
        item: the model item whose channels, scaling and window the patches get; None = the run's.

    Raises:
        SamplesError: no inventory; a file that is no GeoJSON; answers of another kind, ids that the
            inventory does not have, one id with two answers; nothing decided as true or false, or
            none of it observed.
        StoreError: not a run directory.
        ModelError: the model item cannot be used.
    """
    frozen = FrozenRun.of(run)
    inventory = _inventory(frozen.path)
    answers = read_decisions(Path(decisions), known=inventory["id"])
    if not set(answers.values()) & set(_LABELS):
        raise SamplesError(
            f"{decisions}: nothing is reviewed as true or false ({len(answers)} unsure); there is "
            "nothing to learn from"
        )
    model = frozen.item() if item is None else item
    cutter = Cutter(frozen, recipe_of_item(model), model.window)
    patches: list[Patch] = []
    seen: set[str] = set()
    for date in _DATES:
        found, shown = _patches(cutter, inventory, answers, date)
        patches += found
        seen |= shown
    decided = {name: answer for name, answer in answers.items() if answer in _LABELS}
    if not patches:
        raise SamplesError(
            f"{decisions}: none of {len(decided)} decided objects was observed by {frozen.path}"
        )
    return Reviewed(
        samples=cutter.samples(patches, f"{frozen.path} with {decisions}"),
        right=sum(decided[name] == "true" for name in seen),
        wrong=sum(decided[name] == "false" for name in seen),
        unsure=sum(answer == "unsure" for answer in answers.values()),
        unreviewed=len(inventory) - len(answers),
        unseen=len(decided) - len(seen),
    )


# --- the file -----------------------------------------------------------------------------------


def read_decisions(path: Path, *, known: Iterable[str]) -> dict[str, Answer]:
    """Read what was decided, per id; objects without a decision are left out.

    Args:
        path: GeoJSON.
        known: ids of the inventory.

    Raises:
        SamplesError: see `reviewed`; what is wrong is named and counted.
    """
    given = [(_identity(number, facts, path), facts) for number, facts in enumerate(_facts(path))]
    unknown = sorted({name for name, _ in given} - set(known))
    _refuse(path, unknown, "not in the inventory of the run", "is it the file of another run?")
    odd = [
        f"{name}: {facts.get('reviewed')!r}"
        for name, facts in given
        if _answer(facts) not in {"true", "false", "unsure", None}
    ]
    _refuse(path, odd, "reviewed as something else", 'expected true, false, "unsure" or null')
    answers: dict[str, Answer] = {}
    torn = set()
    for name, facts in given:
        answer = _answer(facts)
        if answer is not None and answers.setdefault(name, answer) != answer:
            torn.add(name)
    _refuse(path, sorted(torn), "given twice, with two answers", "keep one of them")
    return answers


def _facts(path: Path) -> list[dict[str, Any]]:
    """Properties of the features of a GeoJSON file.

    Not read by GDAL, which would make one type of true and "unsure".
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        facts = [feature["properties"] for feature in content["features"]]
    except OSError as error:
        raise SamplesError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SamplesError(
            f"{path}: not a GeoJSON FeatureCollection ({type(error).__name__}: {error}); expected "
            "the objects of inventory.geojson with a property `reviewed`"
        ) from error
    if not all(isinstance(one, dict) for one in facts):
        raise SamplesError(f"{path}: a feature without properties; expected `id` and `reviewed`")
    return facts


def _identity(number: int, facts: Mapping[str, Any], path: Path) -> str:
    name = facts.get("id")
    if not isinstance(name, str):
        raise SamplesError(
            f"{path}: feature {number} (counted from 0): id: found {name!r}; expected an id of the "
            "inventory"
        )
    return name


def _answer(facts: Mapping[str, Any]) -> Any:
    """What was decided as a word; as it is where it is none."""
    found = facts.get("reviewed")
    if isinstance(found, bool):
        return str(found).lower()
    return found.strip().lower() if isinstance(found, str) else found


def _refuse(path: Path, wrong: list[str], what: str, hint: str) -> None:
    if wrong:
        named = ", ".join(wrong[:NAMED])
        raise SamplesError(f"{path}: {len(wrong)} {what}: {named}; {hint}")


def _inventory(run: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    path = run / "inventory.parquet"
    try:
        return check_inventory(gpd.read_parquet(path))
    except FileNotFoundError as error:
        raise SamplesError(
            f"{path}: no such file; decisions are about the list of a run: finish it first"
        ) from error
    except (ValueError, KeyError, OSError) as error:
        raise SamplesError(f"{path}: not the list of a run ({error})") from error


# --- patches ------------------------------------------------------------------------------------


def _patches(
    cutter: Cutter, inventory: gpd.GeoDataFrame, answers: Mapping[str, Answer], date: str
) -> tuple[list[Patch], set[str]]:
    """Patches over the decided objects of a date, and the ids of those that they show."""
    names = inventory["id"].to_numpy()
    is_here = np.where(inventory["status"] == "vanished", "before", "after") == date
    labels = np.array([_LABELS.get(answers.get(name, ""), IGNORED) for name in names], np.uint8)
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
    """Numbers of the objects of which a patch has a pixel that says something."""
    part = part_of(patch.corner, cutter.window)
    says = cutter.labels(patch) != IGNORED
    near = np.intersect1d(patch.marks.within(part), wanted)
    found = [n for n in near if (patch.marks.pixels(np.array([n]), part) & says).any()]
    return np.array(found, np.int64)
