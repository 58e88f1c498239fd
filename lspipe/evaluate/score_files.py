"""Scores of a run -> files: a layer for QGIS, the numbers, and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lspipe.errors import MissingExtra, UsageError
from lspipe.evaluate import figures
from lspipe.machine import check_folder
from lspipe.outputs import qgis_styles
from lspipe.outputs.styled import write_styled

if TYPE_CHECKING:
    from lspipe.evaluate.report import RunScores

LAYER = "scores"

FILES = (
    "scores.json",
    "scores.gpkg",
    "scores-shape.png",
    "scores-size.png",
    "scores-confidence.png",
)
"""What may be written."""


def write_scores(scores: RunScores, folder: Path | str) -> tuple[list[Path], str]:
    """Write the scores of a run.

    Args:
        scores: of `score_run`.
        folder: made if it is not there; earlier `FILES` in it are replaced, other files stay.

    Returns:
        The files, in the order of `FILES`: the numbers; a layer of the objects with `match`, which
        QGIS opens in colours; pictures, as far as there is something to draw. And a note where
        pictures could not be drawn, else "".

    Raises:
        UsageError: the folder cannot be written.
    """
    check_folder(folder)
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        # Beside, then moved: what is there stays whole until the new files are.
        with TemporaryDirectory(dir=target, prefix=".scores-") as draft:
            text = json.dumps(scores.as_json(), indent=2, ensure_ascii=False, default=str)
            (Path(draft) / "scores.json").write_text(f"{text}\n", encoding="utf-8")
            layer = Path(draft) / "scores.gpkg"
            write_styled({LAYER: scores.table}, layer, styles={LAYER: style_qml()})
            note = _draw(scores, Path(draft))
            written = [name for name in FILES if (Path(draft) / name).exists()]
            for name in FILES:
                (target / name).unlink(missing_ok=True)
            return [(Path(draft) / name).rename(target / name) for name in written], note
    except OSError as error:
        raise UsageError(
            f"{target}: cannot be written: {error.strerror or error}; choose another folder"
        ) from error


def _draw(scores: RunScores, folder: Path) -> str:
    """Draw what there is to draw; returns why nothing could be drawn, or ""."""
    title = f"{scores.name}: {scores.scored} landslides"
    judged = scores.table["match"].notna()
    try:
        if judged.any():
            table = scores.table[judged]
            figures.draw_shapes(table, folder / "scores-shape.png", title=title)
            figures.draw_sizes(table, folder / "scores-size.png", title=title)
        if scores.calibration.decisions:
            path = folder / "scores-confidence.png"
            figures.draw_reliability(scores.calibration, path, title=title)
    except MissingExtra as error:
        return f"no pictures: {error}"
    return ""


# --- the layer ----------------------------------------------------------------------------------


def style_qml() -> str:
    """Return the style of the layer: a colour for each value of `match`."""
    symbols = {}
    for match, colour in figures.COLOURS.items():
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        symbols[match] = qgis_styles.filled((red, green, blue, 255))
    return qgis_styles.as_qml([qgis_styles.categories("match", symbols, labels=figures.LABELS)])
