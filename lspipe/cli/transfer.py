"""Scores of training in one region and testing in another, in the layout of paper 003's tables.

One table per place of training, as its Tables 4 to 7: a row per place of testing and architecture,
precision, recall and F1 in percent for each size of patch. What was not measured is "-".

Source: paper 003, Tables 4 to 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lspipe.cli.text import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lspipe.evaluate.scorecard import PatchScores, Row

ALL = "all"
"""What every region together is called."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One scenario and its scores."""

    architecture: str
    patch: int
    """Edge of the patches, pixels."""
    trained_on: str
    """A region, or `ALL`."""
    tested_on: str
    scores: Row

    @classmethod
    def of(cls, scores: PatchScores, *, architecture: str, trained_on: str) -> Transfer:
        """The scenario of scored patches, which know their size and where they lie."""
        return cls(
            architecture=architecture,
            patch=scores.window,
            trained_on=trained_on,
            tested_on=", ".join(scores.regions) or ALL,
            scores=scores.micro,
        )


def tables(results: Iterable[Transfer]) -> str:
    """Lay results out as text; rows and columns are in the order in which they are first met.

    Args:
        results: each scenario, architecture and patch size at most once.

    Raises:
        ValueError: one of them is there twice.
    """
    cells: dict[tuple[str, str, str, int], Row] = {}
    for one in results:
        key = (one.trained_on, one.tested_on, one.architecture, one.patch)
        if key in cells:
            raise ValueError(
                f"{one.architecture} {one.patch} px, {one.trained_on} -> {one.tested_on}: found "
                "twice: expected each scenario once"
            )
        cells[key] = one.scores
    patches = sorted({patch for *_, patch in cells})
    parts = []
    for trained_on in dict.fromkeys(key[0] for key in cells):
        places = dict.fromkeys(key[1:3] for key in cells if key[0] == trained_on)
        rows = [["tested on", "", *_header(patches)]]
        rows += [
            [
                tested_on,
                architecture,
                *(
                    cell
                    for patch in patches
                    for cell in _cells(cells.get((trained_on, tested_on, architecture, patch)))
                ),
            ]
            for tested_on, architecture in places
        ]
        parts.append("\n".join([f"trained on {trained_on}", *table(rows, left=2)]))
    return "\n\n".join(parts)


def _header(patches: Sequence[int]) -> list[str]:
    return [f"{score} {patch} px" for patch in patches for score in ("P", "R", "F1")]


def _cells(scores: Row | None) -> list[str]:
    values = (None,) * 3 if scores is None else (scores.precision, scores.recall, scores.f1)
    return ["-" if value is None else f"{100 * value:.2f}" for value in values]
