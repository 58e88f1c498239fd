"""A random sample of the list for a person to decide, and what it says of the whole list.

To judge a long list, a person decides about a part that chance chose; the share of landslides in
it, with its interval, holds for the whole list. Which rows were drawn is kept in `sample.json` of
the run directory; `sample.gpkg` shows them in QGIS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lspipe.change.decisions import answer_of
from lspipe.errors import StoreError, UsageError
from lspipe.evaluate.spread import wilson
from lspipe.evaluate.truth import CLAIMED
from lspipe.outputs import whole
from lspipe.outputs.for_people import for_people
from lspipe.outputs.qgis_styles import as_qml, list_style
from lspipe.outputs.styled import write_styled
from lspipe.runs import store
from lspipe.runs.opened import open_run

if TYPE_CHECKING:
    import geopandas as gpd

RECORD, LIST = "sample.json", "sample.gpkg"


@dataclass(frozen=True)
class Sample:
    """A sample of a list, and what was decided about it."""

    drawn: int
    of: int
    """Landslides in the list when it was drawn."""
    seed: int
    true: int = 0
    false: int = 0
    unsure: int = 0
    gone: int = 0
    """Drawn rows that the list does not have any more."""

    @property
    def left(self) -> int:
        """Rows of the sample without a decision."""
        return self.drawn - self.true - self.false - self.unsure - self.gone

    @property
    def precision(self) -> float | None:
        """Share of landslides among those that were decided true or false."""
        decided = self.true + self.false
        return self.true / decided if decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the precision of the whole list (Wilson); None of nothing decided."""
        return wilson(self.true, self.true + self.false)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "drawn": self.drawn, "of": self.of, "seed": self.seed, "true": self.true,
            "false": self.false, "unsure": self.unsure, "gone": self.gone, "left": self.left,
            "precision": self.precision, "interval": self.interval,
        }  # fmt: skip


def draw(run: Path | str, share: float, *, seed: int = 0) -> tuple[Sample, Path]:
    """Draw a sample of the new landslides of a run, and write `sample.gpkg` to decide about them.

    Args:
        run: run directory with its list.
        share: of the landslides to draw, 0..1; at least one is drawn.
        seed: the same seed draws the same rows of the same list.

    Returns:
        The sample, and the file.

    Raises:
        UsageError: a share that is none, or no landslide to draw from.
        StoreError: the run has no list yet, is in use, or a sample was drawn already: a second one
            would let a person choose.

    Examples:
        >>> from lspipe.evaluate.sample import draw
        >>> sample, path = draw("runs/my-valley", 0.1, seed=1)  # doctest: +SKIP
        >>> sample.drawn, sample.of  # doctest: +SKIP
        (12, 118)
    """
    if not 0 < share <= 1:
        raise UsageError(f"share {share:g}: expected a part of the list, above 0 and at most 1")
    opened = open_run(run)
    listed = _claimed(opened.inventory)
    if listed.empty:
        raise UsageError(f"{opened.path}: its list has no new landslide to draw from")
    # By id, so that the draw does not depend on the order of the list.
    ids = np.sort(listed["id"].to_numpy(str))
    count = max(1, round(share * len(ids)))
    drawn = np.random.default_rng(seed).choice(ids, count, replace=False)
    content = {"of": len(ids), "seed": seed, "ids": sorted(drawn.tolist())}
    with store.lock(opened.path):
        earlier = store.peek_json(opened.path / RECORD)
        if earlier is not None and earlier != content:
            raise StoreError(
                f"{opened.path / RECORD}: a sample of {len(earlier['ids'])} with seed "
                f"{earlier['seed']} was drawn already; decide about it, or move {RECORD} and "
                f"{LIST} away to draw another"
            )
        path = opened.path / LIST
        if not path.exists():
            _write(listed[listed["id"].isin(drawn)], path)
        store.write_json(opened.path / RECORD, content)
    return _counted(content, opened.inventory), path


def implied(run: Path | str) -> Sample | None:
    """Return what was decided about the sample of a run; None where none was drawn.

    Raises:
        StoreError: no run directory, or it has no list.
    """
    content = store.peek_json(Path(run) / RECORD)
    return None if content is None else _counted(content, open_run(run).inventory)


def _claimed(listed: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return listed[listed["status"].isin(CLAIMED)]


def _write(rows: gpd.GeoDataFrame, path: Path) -> None:
    table = for_people(rows)
    style = as_qml(list_style([str(name) for name in table.columns.drop("geometry")]))
    with whole(path) as partial:
        write_styled({"sample": table}, partial, styles={"sample": style})


def _counted(content: dict[str, Any], listed: gpd.GeoDataFrame) -> Sample:
    rows = listed[listed["id"].isin(content["ids"])]
    answers = [answer_of(value) for value in rows["reviewed"]]
    return Sample(
        drawn=len(content["ids"]),
        of=content["of"],
        seed=content["seed"],
        true=answers.count("true"),
        false=answers.count("false"),
        unsure=answers.count("unsure"),
        gone=len(content["ids"]) - len(rows),
    )
