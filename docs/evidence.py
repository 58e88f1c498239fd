"""The tables of the page of evidence, from the scorecards of the models that come with lspipe.

Written by docs/reference.py with the other generated pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.stats import chi2

from lspipe.evaluate import scorecard
from lspipe.models import read_item
from lspipe.models.item import SHIPPED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lspipe.evaluate.scorecard import FalseAlarms, ListScores, PatchScores, Scorecard

NOT_MEASURED = "not measured"

NETWORKS = ("l4s-rgb",)
"""Models with weights: they know the scenes of their training better than others."""

UNSCORED = ("demo",)
"""Models for simulated scenes alone: they are in no table."""


BOTH = 2
"""Dates of a list of changes."""


INSIDE = "l4s_rgb/validation"
"""Patches of the scenes of a training; after a comma comes another look of them."""

BLOCKS, SCENE = "l4s_rgb, each of", "l4s_rgb, originals"
"""Beginnings of rows of patches that a fold had not seen: in all blocks, and of other scenes."""


@dataclass(frozen=True)
class Measured:
    """A model, and what was measured of it."""

    name: str
    card: Scorecard | None

    @property
    def is_network(self) -> bool:
        """Whether it has weights."""
        return self.name in NETWORKS

    @property
    def patches(self) -> tuple[PatchScores, ...]:
        """Scores of labelled patches."""
        return self.card.patches if self.card else ()

    @property
    def false_alarms(self) -> tuple[FalseAlarms, ...]:
        """Counts where no landslide is known."""
        return self.card.false_alarms if self.card else ()

    @property
    def lists(self) -> tuple[ListScores, ...]:
        """Lists beside known landslides."""
        return self.card.lists if self.card else ()


def shipped() -> list[str]:
    """Return the ids of the models that come with lspipe."""
    return sorted(path.stem for path in SHIPPED_FOLDER.glob("*.json") if "." not in path.stem)


def tables() -> dict[str, Iterable[str]]:
    """Return the tables of `evidence.md`."""
    models = [
        Measured(name, scorecard.read(read_item(f"shipped:{name}")))
        for name in shipped()
        if name not in UNSCORED
    ]
    return {
        "in short": _in_short(models),
        "patches": _patches(models),
        "reliability": _reliability(models),
        "false objects": _false_objects(models),
        "simulated lists": _lists(models),
        "commands": _commands(models),
    }


def _in_short(models: list[Measured]) -> Iterator[str]:
    yield _row("what was asked", *(f"`{model.name}`" for model in models))
    yield "|---|" + "---|" * len(models)
    for question, answer in QUESTIONS.items():
        yield _row(question, *(answer(model) for model in models))
    yield ""


def _inside(model: Measured) -> str:
    if not model.is_network:
        return "nothing was trained"
    # Eight views are what a run takes unless it is told otherwise.
    rows = [row for row in model.patches if row.data == INSIDE and row.tta == "d4"]
    return f"F1 {_scored(rows[0], 'f1', 2)}" if rows else NOT_MEASURED


def _in_blocks(model: Measured) -> str:
    if not model.is_network:
        return "nothing was trained"
    rows = [row for row in model.patches if row.data.startswith(BLOCKS)]
    return f"**F1 {_scored(rows[0], 'f1', 2)}**" if rows else NOT_MEASURED


def _elsewhere(model: Measured) -> str:
    rows = [row for row in model.patches if row.data.startswith(SCENE)]
    return "; ".join(f"**F1 {_scored(row, 'f1', 2)}**" for row in rows) or NOT_MEASURED


def _softer(model: Measured) -> str:
    rows = [row for row in model.patches if row.data == f"{INSIDE}, blurred by 1 px"]
    return f"F1 {_scored(rows[0], 'f1', 2)}" if rows else NOT_MEASURED


def _of_an_event(_: Measured) -> str:
    """Say what no card has a row for: it is not done."""
    return NOT_MEASURED


def _between_dates(model: Measured) -> str:
    rates = [row.objects / row.area_km2 for row in model.false_alarms if row.dates == BOTH]
    if not rates:
        return NOT_MEASURED
    if len(rates) == 1:
        return f"{rates[0]:.1f} per km², one pair"
    return f"{min(rates):.1f} to {max(rates):.1f} per km², {len(rates)} pairs"


def _calibrated(model: Measured) -> str:
    if not model.is_network:
        return "a formula has no probability"
    rows = [row for row in model.patches if row.data.startswith(BLOCKS) and row.reliability]
    return f"off by {rows[0].reliability.error:.3f}" if rows else NOT_MEASURED


QUESTIONS = {
    "labelled patches of the scenes of its training": _inside,
    "labelled patches of blocks that were not trained on": _in_blocks,
    "labelled patches of two scenes that were not trained on": _elsewhere,
    "labelled patches of its scenes, blurred by one pixel": _softer,
    "landslides of an event, on whole tiles": _of_an_event,
    "false objects between two dates without a landslide": _between_dates,
    "whether probabilities are frequencies, in those blocks": _calibrated,
}


def _patches(models: list[Measured]) -> Iterator[str]:
    scores = ("F1", "precision", "recall")
    yield _row("model", "patches", "views", *scores, "continue one of the training")
    yield "|---|---|---|---|---|---|---|"
    for model in models:
        for row in model.patches:
            yield _row(
                f"`{model.name}`",
                f"{row.patches} of {row.data}",
                _views(row),
                *(_scored(row, name.lower()) for name in scores),
                _share(row.continued) if model.is_network else "nothing was trained",
            )
    yield ""


def _reliability(models: list[Measured]) -> Iterator[str]:
    told = ("error", "temperature", "precision equals recall above", "recall is 0.8 above")
    yield _row("model", "patches", "views", *told)
    yield "|---|---|---|---|---|---|---|"
    for model in models:
        rows = [row for row in model.patches if row.reliability] if model.is_network else []
        for row in rows:
            found = row.reliability
            numbers = (found.error, found.temperature)
            limits = (found.threshold_equal, found.threshold_sensitive)
            yield _row(
                f"`{model.name}`",
                row.data,
                _views(row),
                *("-" if number is None else f"{number:.3f}" for number in numbers),
                *("-" if limit is None else f"{limit:.2f}" for limit in limits),
            )
    yield ""


def _false_objects(models: list[Measured]) -> Iterator[str]:
    yield _row("model", "where, and when", "dates", "km²", "objects", "per km²", "marked")
    yield "|---|---|---|---|---|---|---|"
    for model in models:
        for row in model.false_alarms:
            yield _row(f"`{model.name}`", *_false_alarm(row))
    yield ""


def _false_alarm(row: FalseAlarms) -> tuple[str, ...]:
    # On a small place the interval says more than the rate: none on 0.06 km2 is no zero.
    rate = f"{row.objects / row.area_km2:.2f} ({_poisson(row.objects, row.area_km2)})"
    marked = f"{100 * row.marked_km2 / row.area_km2:.1f} %"
    return row.data, str(row.dates), f"{row.area_km2:.2f}", str(row.objects), rate, marked


def _poisson(count: int, area: float) -> str:
    """Return the 95 % interval of a rate from a count.  Source: Garwood 1936, by chi-squared."""
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    high = chi2.ppf(0.975, 2 * (count + 1)) / 2
    return f"{low / area:.2f} to {high / area:.2f}"


def _lists(models: list[Measured]) -> Iterator[str]:
    yield _row("model", "list of", "planted", "found", "listed", "right")
    yield "|---|---|---|---|---|---|"
    for model in models:
        for row in model.lists:
            counts = map(str, (row.known, row.found, row.listed, row.right))
            yield _row(f"`{model.name}`", row.data, *counts)
        if not model.lists:
            yield _row(f"`{model.name}`", "simulated valleys", *[NOT_MEASURED] * 4)
    yield ""


def _commands(models: list[Measured]) -> Iterator[str]:
    for model in models:
        if card := model.card:
            limits = f"Not to be read as {card.not_to_be_read_as}"
            yield f"- `{model.name}`: `{card.command}`. {limits}"
    yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _scored(row: PatchScores, name: str, digits: int = 3) -> str:
    value, interval = getattr(row.micro, name), getattr(row.intervals, name)
    if value is None:
        return "-"
    ends = "" if interval is None else f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"
    return f"{value:.{digits}f}{ends}"


def _views(row: PatchScores) -> str:
    return "8" if row.tta == "d4" else "1"


def _share(share: float | None) -> str:
    return NOT_MEASURED if share is None else f"{100 * share:.0f} %"
