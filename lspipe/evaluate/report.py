"""All scores of a run, as one noun: for Python, for files, for the command line.

See also: `run_scores.py`, which computes them; `score_files.py`, which writes them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np

from lspipe.schema.sampled import wilson

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lspipe.evaluate.calibration import Calibration
    from lspipe.evaluate.metrics import ObjectScores
    from lspipe.evaluate.pixels import PixelScores
    from lspipe.evaluate.points import PointScores


@dataclass(frozen=True)
class LeftOut:
    """A layer on which nothing is scored."""

    file: str
    km2: float
    """Ground that it takes out, after the layers before it."""


@dataclass(frozen=True)
class SizeScores:
    """Objects of one size class; listed ones by their area, known ones by theirs."""

    size: str
    """In m2, as `objects.class_names`."""
    right: int
    wrong: int
    found: int
    missed: int


@dataclass(frozen=True)
class ObjectReport:
    """Scores of listed and known landslides as whole objects."""

    rule: str
    """When a listed landslide is right, in words."""
    scores: ObjectScores
    sizes: tuple[SizeScores, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        one = self.scores
        return {
            "rule": self.rule,
            **_without_nan(asdict(one)),
            "precision": _or_none(one.precision),
            "precision_interval": wilson(one.right, one.right + one.wrong),
            "recall": _or_none(one.recall),
            "recall_interval": wilson(one.found, one.found + one.missed),
            "sizes": [asdict(size) for size in self.sizes],
        }


@dataclass(frozen=True)
class RunScores:
    """How the list and the map of a run compare with what is known."""

    run: Path
    name: str
    """Of the workflow."""
    state: str
    """Of the run: what is not done yet was not observed, and is not in the list."""
    truth: str | None
    """The file of known landslides; None = a person's decisions alone."""
    scored: str
    """What is scored: "new", with those that grew, or "detected"."""
    km2: float
    """Ground that counts."""
    listed: int
    """Landslides of that status."""
    listed_left_out: int
    """Of these, less than half on ground that counts."""
    known: int
    """In the file."""
    repaired: int
    """Known polygons that crossed themselves, and were repaired."""
    without: tuple[LeftOut, ...]
    calibration: Calibration
    known_left_out: int = 0
    """Known landslides less than half on ground that counts."""
    pixels: PixelScores | None = None
    objects: ObjectReport | None = None
    points: PointScores | None = None
    table: gpd.GeoDataFrame = field(default_factory=gpd.GeoDataFrame, repr=False)
    """A row per object that counts, EPSG:4326, columns `scored_table.SCORED`: `match` is "tp"
    (listed and right), "fp" (listed and wrong) or "fn" (known and missed); without a file of
    polygons, what a person decided, or null. `feature` numbers the known ones in their file, from
    1."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "run": str(self.run),
            "name": self.name,
            "state": self.state,
            "truth": self.truth,
            "scored": self.scored,
            "km2": self.km2,
            "listed": self.listed,
            "listed_left_out": self.listed_left_out,
            "known": self.known,
            "known_left_out": self.known_left_out,
            "repaired": self.repaired,
            "without": [asdict(layer) for layer in self.without],
            "pixels": asdict(self.pixels) if self.pixels else None,
            "objects": self.objects.as_json() if self.objects else None,
            "points": _points_json(self.points) if self.points else None,
            "calibration": asdict(self.calibration),
        }


def _points_json(scores: PointScores) -> dict[str, Any]:
    return asdict(scores) | {"hit_rate": scores.hit_rate, "hit_rate_interval": scores.interval}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _or_none(value) for name, value in values.items()}
