"""Scores of a run -> files: a layer for QGIS, the numbers, and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd
import pyogrio

from lspipe.errors import MissingExtra, UsageError
from lspipe.evaluate import figures
from lspipe.machine import check_folder

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
            _write_layer(scores, Path(draft) / "scores.gpkg")
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


def _write_layer(scores: RunScores, path: Path) -> None:
    pyogrio.write_dataframe(
        scores.table,
        path,
        layer=LAYER,
        driver="GPKG",
        geometry_type="MultiPolygon",
        promote_to_multi=True,
    )
    style = {
        "f_table_catalog": "",
        "f_table_schema": "",
        "f_table_name": LAYER,
        "f_geometry_column": "geom",
        "styleName": "match",
        "styleQML": style_qml(),
        "styleSLD": "",
        "useAsDefault": True,
        "description": "right, wrong and missed landslides",
        "owner": "",
        "ui": None,
        "update_time": pd.Timestamp(0, tz="UTC"),
    }
    # The table in which QGIS looks for the style of a layer.
    pyogrio.write_dataframe(
        pd.DataFrame([style]).astype({"ui": "string"}),
        path,
        layer="layer_styles",
        driver="GPKG",
        layer_options={"FID": "id"},
    )


def style_qml() -> str:
    """Return the style of the layer: a colour for each value of `match`.

    Source: categorised renderer of QGIS 3.
    """
    categories, symbols = [], []
    for number, (match, label) in enumerate(figures.LABELS.items()):
        colour = ",".join(str(int(figures.COLOURS[match][at : at + 2], 16)) for at in (1, 3, 5))
        categories.append(
            f'<category value="{match}" symbol="{number}" label="{label}" render="true"/>'
        )
        options = {
            "color": f"{colour},80",
            "outline_color": f"{colour},255",
            "outline_width": "0.5",
            "outline_width_unit": "MM",
            "outline_style": "solid",
            "style": "solid",
        }
        written = "".join(
            f'<Option name="{name}" type="QString" value="{value}"/>'
            for name, value in options.items()
        )
        symbols.append(
            f'<symbol name="{number}" type="fill" alpha="1"><layer class="SimpleFill" pass="0" '
            f'enabled="1"><Option type="Map">{written}</Option></layer></symbol>'
        )
    return (
        '<!DOCTYPE qgis><qgis version="3.16" styleCategories="Symbology">'
        '<renderer-v2 type="categorizedSymbol" attr="match" symbollevels="0">'
        f"<categories>{''.join(categories)}</categories><symbols>{''.join(symbols)}</symbols>"
        "</renderer-v2></qgis>"
    )
