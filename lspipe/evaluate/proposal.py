"""A run -> the few landslides of its list to decide about next: what its model is least sure of.

They are shown in QGIS by `next-1.gpkg` of the run directory, the next ones by `next-2.gpkg`. A file
is written once: what a person typed into it stays.

See also: `change/teaching.py` (which they are), `sample.py` (a random part, to judge the list by).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count as counting
from typing import TYPE_CHECKING, Any

from lspipe.change.decisions import read_decisions
from lspipe.change.teaching import most_teaching
from lspipe.errors import UsageError
from lspipe.evaluate.truth import CLAIMED
from lspipe.machine import copies
from lspipe.outputs import whole
from lspipe.outputs.for_people import for_people
from lspipe.outputs.qgis_styles import as_qml, list_style
from lspipe.outputs.styled import write_styled
from lspipe.runs import store
from lspipe.runs.opened import open_run

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd

LAYER = "next"


@dataclass(frozen=True)
class Proposal:
    """What to decide about next."""

    rows: gpd.GeoDataFrame
    """Rows of the list with a column `why`, the most uncertain first; none if all are decided."""
    left: int
    """New landslides of the list without a decision, these among them."""
    file: Path | None
    """Where to decide; None without rows."""
    waiting: int = 0
    """Decisions in that file: it was written earlier, and not taken in yet."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        names = ["id", "tile", "lon", "lat", "area_m2", "confidence", "why"]
        plain = self.rows[names].astype(object)
        return {
            "next": plain.where(plain.notna(), None).to_dict("records"),
            "left": self.left,
            "file": None if self.file is None else str(self.file),
            "waiting": self.waiting,
        }


def propose(run: Path | str, count: int) -> Proposal:
    """Find the new landslides that a model is least sure of, and write them to decide there.

    Asked again before a decision was taken in, the same ones are proposed, in the same file.

    Args:
        run: run directory with its list.
        count: how many to propose, from 1.

    Raises:
        UsageError: a count that is none.
        StoreError: the run has no list yet, or is in use.
        DecisionsError: an earlier proposal cannot be read.

    Examples:
        >>> from lspipe.evaluate.proposal import propose
        >>> proposal = propose("runs/my-valley", 20)  # doctest: +SKIP
        >>> proposal.file  # doctest: +SKIP
        PosixPath('runs/my-valley/next-1.gpkg')
    """
    if count < 1:
        raise UsageError(f"next {count}: expected how many to propose, from 1")
    opened = open_run(run)
    listed = opened.inventory
    is_open = listed["status"].isin(CLAIMED) & listed["reviewed"].isna()
    open_ones = listed[is_open]
    rows = most_teaching(open_ones, count)
    if rows.empty:
        return Proposal(rows, left=0, file=None)
    with store.lock(opened.path):
        latest, free = _files(opened.path)
        waiting = _waiting(latest, rows)
        if waiting is None:
            _write(rows, free)
    file = free if waiting is None or latest is None else latest
    return Proposal(rows, left=len(open_ones), file=file, waiting=waiting or 0)


def _files(run: Path) -> tuple[Path | None, Path]:
    """Return the latest proposal, None without any, and the name of the next one."""
    latest = None
    for number in counting(1):
        path = run / f"next-{number}.gpkg"
        if not path.exists():
            break
        latest = path
    return latest, path


def _waiting(path: Path | None, rows: gpd.GeoDataFrame) -> int | None:
    """Return the number of decisions in an earlier proposal of the same rows; None = of others."""
    if path is None:
        return None
    with copies.local(path) as copy:
        found = read_decisions(copy).rows
    if set(found["id"]) != set(rows["id"]):
        return None
    return int(found["decision"].notna().sum())


def _write(rows: gpd.GeoDataFrame, path: Path) -> None:
    table = for_people(rows).loc[rows.index]  # by doubt, not by rank
    style = as_qml(list_style([str(name) for name in table.columns.drop("geometry")]))
    with whole(path) as partial:
        write_styled({LAYER: table}, partial, styles={LAYER: style})
