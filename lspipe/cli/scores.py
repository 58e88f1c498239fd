"""`lspipe evaluate`: a run scored against an inventory, and what came of it as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lspipe.cli.text import counted, entry, say, show, table
from lspipe.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from lspipe.evaluate.calibration import Calibration
    from lspipe.evaluate.pixels import PixelScores
    from lspipe.evaluate.points import PointScores
    from lspipe.evaluate.report import ObjectReport, RunScores

_SHOWN = {"precision": "precision", "recall": "recall", "f1": "F1", "iou": "IoU", "mcc": "MCC"}


def evaluate(options: argparse.Namespace) -> int:
    """Score a run."""
    from lspipe.evaluate.objects import Rule
    from lspipe.evaluate.run_scores import score_run
    from lspipe.machine import check_folder

    if options.output:
        check_folder(options.output)
    scores = score_run(
        options.run,
        options.truth,
        layer=options.layer,
        points=options.points or None,
        without=options.without,
        rule=Rule(**_given(iou=options.iou, share=options.share)),
        **_given(radius_m=options.radius, line_buffer_m=options.buffer),
    )
    if options.truth is None and not scores.calibration.decisions:
        raise UsageError(
            f"{options.run}: nobody decided about its {scores.scored} landslides yet, and no "
            "--truth FILE is given: nothing to score"
        )
    if scores.state != "finished":
        say(f"note: the run is {scores.state}: what is not done yet is not scored")
    files = _written(scores, options.output) if options.output else []
    show(
        options,
        {**scores.as_json(), "files": files},
        lambda: "\n".join([scores_text(scores), *(f"wrote {path}" for path in files)]),
    )
    return 0


def _given(**values: float | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _written(scores: RunScores, folder: str) -> list[str]:
    from lspipe.evaluate.score_files import write_scores

    files, note = write_scores(scores, folder)
    if note:
        say(f"note: {note}")
    return [str(path) for path in files]


def scores_text(scores: RunScores) -> str:
    """Return the scores for people."""
    lines = entry("ground", f"{scores.km2:,.2f} km2 observed on every date, inside the area")
    for layer in scores.without:
        lines += entry("", f"without the {layer.km2:,.2f} km2 of {layer.file}")
    listed = (
        f"{counted(scores.listed, f'{scores.scored} landslide')}{_left(scores.listed_left_out)}"
    )
    lines += entry("listed", listed)
    if scores.truth is not None:
        mended = (
            f"; {scores.repaired} crossed themselves and were repaired" if scores.repaired else ""
        )
        known = counted(scores.known, "landslide")
        lines += entry("known", f"{known} in {scores.truth}{_left(scores.known_left_out)}{mended}")
    if scores.pixels is not None:
        lines += _pixels_text(scores.pixels)
    if scores.objects is not None:
        lines += _objects_text(scores.objects)
    if scores.points is not None:
        lines += _points_text(scores.points)
    return "\n".join([*lines, *_calibration_text(scores.calibration)])


def _left(count: int) -> str:
    if not count:
        return ""
    return f"; {count} left out: less than half observed, or outside"


def _pixels_text(scores: PixelScores) -> list[str]:
    rows = [
        ["by pixels", *_SHOWN.values()],
        ["", *(_number(getattr(scores.scores, n)) for n in _SHOWN)],
    ]
    spread = [getattr(scores.intervals, name, None) for name in _SHOWN]
    if any(spread):
        rows.append(["95 %", *(_ends(one) for one in spread)])
    rows = [[row[0].ljust(13), *row[1:]] for row in rows]
    how = f"blocks of 128 x 128 pixels drawn again, of {scores.blocks}"
    return [*table(rows), *(entry("", how) if any(spread) else [])]


def _objects_text(report: ObjectReport) -> list[str]:
    facts, one = report.as_json(), report.scores
    precision, recall = (
        f"{_number(facts[name])}{_interval(facts[f'{name}_interval'])}"
        for name in ("precision", "recall")
    )
    lines = [
        *entry(
            "by objects", f"precision {precision}: {one.right} of {one.right + one.wrong} are right"
        ),
        *entry("", f"recall {recall}: {one.found} of {one.found + one.missed} were found"),
        *entry(
            "",
            f"IoU of right ones {_number(facts['jaccard_mean'])} on average, "
            f"{_number(facts['jaccard'])} all together",
        ),
        *entry("rule", report.rule),
    ]
    rows = [["area, m2", "right", "wrong", "found", "missed"]]
    rows += [
        [size.size, *map(str, (size.right, size.wrong, size.found, size.missed))]
        for size in report.sizes
    ]
    return [*lines, *table(rows)]


def _points_text(scores: PointScores) -> list[str]:
    rate = f"{_number(scores.hit_rate)}{_interval(scores.interval)}"
    return [
        *entry(
            "by points",
            f"hit rate {rate}: {scores.hit} of {scores.counted} have a listed landslide within "
            f"{scores.radius_m:g} m; {_number(scores.by_chance)} would by chance",
        ),
        *entry(
            "",
            f"{scores.near} of {scores.listed} listed landslides are near a point; "
            f"{_number(scores.listed_per_km2)} are listed per km2",
        ),
    ]


def _calibration_text(found: Calibration) -> list[str]:
    if not found.decisions:
        return entry("decisions", "none yet about these landslides; see: lspipe review")
    share = f"{_number(found.right / found.decisions)}{_interval(found.interval)}"
    lines = entry("decisions", f"{found.right} of {found.decisions} are right: {share}")
    rows = [["confidence", "decided", "right", "share", "95 %"]]
    rows += [
        [
            f"{one.low:.1f} to {one.high:.1f}",
            str(one.count),
            str(one.right),
            _number(one.right / one.count),
            _ends(one.interval),
        ]
        for one in found.bins
    ]
    lines += table(rows)
    if found.fit is not None:
        lines += entry(
            "calibrated",
            f"on {found.fit.decisions} decisions; Brier score {_number(found.brier, 3)}, then "
            f"{_number(found.brier_calibrated, 3)} on decisions left out of the fit",
        )
    return [*lines, *(entry("note", found.note) if found.note else [])]


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ends(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({_ends(interval)})"
