"""A model item and its scorecard as text for people: the card of a model, and its scores."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from lspipe.cli.text import table
from lspipe.evaluate.metrics import MATCH_IOU, MATCH_SHARE
from lspipe.evaluate.scorecard import Row
from lspipe.models.item import digest
from lspipe.samples.leaks import TOO_MANY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lspipe.evaluate.published import PublishedRow
    from lspipe.evaluate.scorecard import FalseAlarms, PatchScores, Scorecard
    from lspipe.models.item import ModelItem, Scaling


_LABEL_WIDTH = 11


_LINE_WIDTH = 100


def card_text(item: ModelItem, *, recipe_note: str = "") -> str:
    """Write the card of a model: plain text, one labelled line per fact, without weights read.

    Args:
        item: the model.
        recipe_note: what its recipe leaves open, to stand beside its name.
    """
    overlap = "overlap as the workflow sets" if item.overlap is None else f"overlap {item.overlap}"
    tta = {None: "TTA as the workflow sets", "none": "no TTA", "d4": "D4 TTA"}[item.tta]
    rows: dict[str, str | list[str]] = {
        "is": item.description,
        "is not": item.not_for,
        "channels": f"{' '.join(item.bands)} ({len(item.bands)}, in this order)",
        "recipe": ": ".join(filter(None, (item.recipe or "none", recipe_note))),
        "window": f"{item.window} x {item.window} px, {overlap}, {tta}",
        "scaling": _scaling_line(item.scaling),
        "no data": f"{' '.join(f'{value:g}' for value in item.fill)} (model units)",
        "landslide": _threshold_line(item),
        "classes": ", ".join(item.classes),
        "trained on": _trained_lines(item),
        "training": _training_lines(item.training),
        "network": f"{item.architecture}({_assigned(item.arguments)})",
        "weights": "none, a formula" if item.weights is None else str(item.weights),
        "sha256": digest(item) + ("" if item.sha256 else " (of the item)"),
        "item": str(item.path),
    }
    lines = [item.title]
    for label, text in rows.items():
        wrapped = text if isinstance(text, list) else _wrapped(text)
        lines.append(f"  {label:<{_LABEL_WIDTH}}{wrapped[0]}")
        lines += [" " * (_LABEL_WIDTH + 2) + line for line in wrapped[1:]]
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _LINE_WIDTH - _LABEL_WIDTH - 2) or ["not given"]


def _trained_lines(item: ModelItem) -> list[str]:
    """Statistics of training as a table, a line per channel."""
    found = item.statistics
    if found is None:
        return _wrapped("")
    values = zip(found.mean, found.std, found.p01, found.p50, found.p99, strict=True)
    cells = [["", "mean", "std", "1 %", "median", "99 %"]]
    cells += [
        [band, *(f"{value:.4g}" for value in row)]
        for band, row in zip(item.bands, values, strict=True)
    ]
    return [f"{found.pixels:,} px with data, in model units:", *table(cells)]


def _training_lines(training: Mapping[str, Any]) -> list[str]:
    """How a model was trained: its own values, then those of each object in it."""
    parts = {name: values for name, values in training.items() if isinstance(values, dict)}
    own = {name: value for name, value in training.items() if name not in parts}
    lines = [_assigned(own), *(f"{name}: {_assigned(values)}" for name, values in parts.items())]
    return [line for text in lines if text for line in _wrapped(text)] or _wrapped("")


def _assigned(values: Mapping[str, Any]) -> str:
    """Names and values as --set and --argument take them."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _threshold_line(item: ModelItem) -> str:
    """The thresholds, and the temperature of the probabilities that they are of."""
    lower, hot = item.threshold_sensitive, item.temperature
    return f"probability > {item.threshold:g}" + "".join(
        [
            "" if lower is None else f"; > {lower:g} to miss fewer (threshold_sensitive)",
            "" if hot is None else f"; log-odds divided by a temperature of {hot:g}",
        ]
    )


def _scaling_line(scaling: Scaling) -> str:
    if scaling.kind == "identity":
        return "none: reflectance as it is"
    if scaling.kind != "affine":
        factors = " ".join(f"{value:g}" for value in scaling.scale)
        return f"{scaling.kind} of reflectance" + (f" * ({factors})" if factors else "")
    clip = f", then clipped to {scaling.clip[0]:g}..{scaling.clip[1]:g}" if scaling.clip else ""
    factors = " ".join(f"{value:g}" for value in scaling.scale)
    summands = " ".join(f"{value:g}" for value in scaling.offset)
    return f"reflectance * ({factors}) + ({summands}) per channel{clip}"


# --- scorecards ---------------------------------------------------------------------------------


_NOTHING = "-"


_HEADER = ["", "", "P", "R", "F1", "IoU", "MCC"]


_VIEWS = {"none": "one view", "d4": "D4, eight views"}


def scorecard_text(card: Scorecard, published: Sequence[PublishedRow] = ()) -> str:
    """Write a scorecard for people, in the layout of the papers' tables: percent, MCC 0..1.

    Args:
        card: what was measured.
        published: rows to print below, for comparison.
    """
    lines = [f"{card.model}  sha256 {card.sha256[:12]}"]
    for data, group in _by_data(card.patches):
        first = group[0]
        lines += ["", data, *(f"  {line}" for line in _facts(first))]
        rows = [_HEADER, *(row for scores in group for row in _rows(scores))]
        lines += [f"  {line}" for line in table(rows, left=2)]
        lines += [f"  {line}" for scores in group for line in _reliability(scores)]
    if published:
        rows = [_HEADER, *map(_published_row, published)]
        lines += ["", "published, on other patches: to compare with, nothing that these reproduce"]
        lines += [f"  {line}" for line in table(rows, left=2)]
        lines += [f"  {note}" for note in dict.fromkeys(row.note for row in published) if note]
    lines += _false_alarm_lines(card.false_alarms)
    lines += [
        f"{scores.data}: found {scores.found} of {scores.known} new landslides; "
        f"{scores.right} of {scores.listed} listed are right"
        for scores in card.lists
    ]
    lines += ["", *textwrap.wrap(f"not to be read as: {card.not_to_be_read_as}", _LINE_WIDTH)]
    return "\n".join(lines)


def scorecard_summary(card: Scorecard) -> list[str]:
    """The main lines of a scorecard, for the card of its model."""
    lines = [
        f"{scores.data}: F1 {_percent(scores.micro.f1)} (P {_percent(scores.micro.precision)}, "
        f"R {_percent(scores.micro.recall)}), {_VIEWS[scores.tta]}, {scores.patches} patches"
        for scores in card.patches
    ]
    lines += [_false_alarm_line(alarms) for alarms in card.false_alarms]
    lines += [
        f"{scores.data}: found {scores.found} of {scores.known}, right {scores.right} of "
        f"{scores.listed}"
        for scores in card.lists
    ]
    return [*lines, f"not to be read as: {card.not_to_be_read_as}"]


def _by_data(patches: Iterable[PatchScores]) -> list[tuple[str, list[PatchScores]]]:
    """Scores of the same patches together, in their order."""
    groups: dict[tuple[str, tuple[str, ...]], list[PatchScores]] = {}
    for scores in patches:
        groups.setdefault((scores.data, scores.regions), []).append(scores)
    return [
        (data + (f", {', '.join(regions)}" if regions else ""), group)
        for (data, regions), group in groups.items()
    ]


def _ground(scores: PatchScores) -> list[str]:
    """Whose ground the patches show: that of the training, or other ground."""
    if scores.continued is None:
        return ["whether they lie beside patches of the training: not measured"]
    return [
        f"{scores.continued:.0%} continue a patch of the training (9 % do by chance): "
        + ("the same ground" if scores.continued > TOO_MANY else "other ground")
    ]


def _facts(scores: PatchScores) -> list[str]:
    lines = [
        f"{scores.patches} patches, {scores.pixels:,} px, {scores.landslide_share:.2%} landslide, "
        f"windows of {scores.window} px",
        *_ground(scores),
        f"95 %: percentiles over patches drawn again; objects: right where IoU >= {MATCH_IOU:g} or "
        f">= {MATCH_SHARE:.0%} inside, each patch by itself",
        "their IoU: mean over the right ones",
    ]
    if scores.left_out:
        lines.insert(1, f"{scores.left_out} broken patches were left out")
    return lines


def _rows(scores: PatchScores) -> list[list[str]]:
    """Lines of one way of showing the patches: all pixels, their spread, batches, objects."""
    threshold = f"threshold {scores.threshold:g}, {scores.threshold_from}"
    found = scores.objects
    objects = Row(precision=found.precision, recall=found.recall, iou=found.iou)
    spread = scores.intervals
    ends = [spread.precision, spread.recall, spread.f1, spread.iou]
    return [
        [_VIEWS[scores.tta], "all pixels", *_cells(scores.micro)],
        [threshold, "  95 %", *map(_interval, ends), ""],
        ["", f"mean of batches of {scores.batch}", *_cells(scores.batch_mean)],
        ["", "objects", *_cells(objects)[:2], "", _percent(objects.iou), ""],
    ]


def _reliability(scores: PatchScores) -> list[str]:
    """How far the probabilities mean what they say; nothing where that was not measured."""
    found = scores.reliability
    if found is None:
        return []
    text = (
        f"{_VIEWS[scores.tta]}: probabilities are {found.error:.3f} off (expected calibration "
        "error)"
    )
    if found.temperature is not None:
        text += f", {found.error_tempered:.3f} with a temperature of {found.temperature:g}"
    if found.threshold_equal is not None:
        text += f"; precision and recall are equal above {found.threshold_equal:g}"
    if found.threshold_sensitive is not None:
        text += f"; recall is 80 % above {found.threshold_sensitive:g}"
    return textwrap.wrap(text, _LINE_WIDTH - 2)


def _published_row(row: PublishedRow) -> list[str]:
    scores = Row(precision=row.precision, recall=row.recall, f1=row.f1, iou=row.iou, mcc=row.mcc)
    patch = f" {row.patch} px" if row.patch else ""
    how = ", mean of batches" if row.is_batch_mean else ""
    return [
        f"paper {row.paper}, {row.table}: {row.architecture}, {row.recipe}{patch}",
        f"{row.data}{how}",
        *_cells(scores),
    ]


def _cells(row: Row) -> list[str]:
    mcc = _NOTHING if row.mcc is None else f"{row.mcc:.3f}"
    return [*map(_percent, (row.precision, row.recall, row.f1, row.iou)), mcc]


def _percent(score: float | None) -> str:
    return _NOTHING if score is None else f"{100 * score:.2f}"


def _interval(ends: tuple[float, float] | None) -> str:
    return _NOTHING if ends is None else f"{100 * ends[0]:.1f}..{100 * ends[1]:.1f}"


def _false_alarm_lines(alarms: Sequence[FalseAlarms]) -> list[str]:
    return ["", *map(_false_alarm_line, alarms)] if alarms else []


def _false_alarm_line(alarms: FalseAlarms) -> str:
    what = "one date" if alarms.dates == 1 else "new on the second of two dates"
    rate = alarms.objects / alarms.area_km2
    return (
        f"{alarms.data}, {what}: {rate:.2f} false objects per km2 (of {alarms.min_area_m2:g} m2 or "
        f"more), {alarms.marked_km2 / alarms.area_km2:.2%} of {alarms.area_km2:.2f} km2 marked"
    )
