"""Listed and missed landslides -> one table, a row each, with what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd

from lspipe.change.decisions import answer_of
from lspipe.evaluate.objects import class_names, size_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lspipe.evaluate.calibration import Calibration

SCORED = (
    "match", "id", "tile", "status", "size_class", "iou", "area_m2", "perimeter_m", "length_m",
    "width_m", "area_perimeter_ratio_m", "length_width_ratio", "confidence",
    "confidence_calibrated", "reviewed", "feature", "geometry",
)  # fmt: skip
"""Columns of `RunScores.table`."""


def decided_table(listed: gpd.GeoDataFrame, calibration: Calibration) -> gpd.GeoDataFrame:
    """Return the table of a list that a person alone has judged.

    Args:
        listed: rows of an inventory.
        calibration: of the list.
    """
    words = {"true": "tp", "false": "fp"}
    judged = [words.get(answer_of(value) or "") for value in listed["reviewed"]]
    return scored_table([listed.assign(match=judged)], calibration)


def scored_table(parts: Sequence[gpd.GeoDataFrame], calibration: Calibration) -> gpd.GeoDataFrame:
    """Join tables of objects, and class them by size.

    Args:
        parts: EPSG:4326, with `match`, `area_m2` and as many of the `SCORED` as they have.
        calibration: of the list; its fit, if there is one, gives `confidence_calibrated`.

    Returns:
        `SCORED`, null where a part has no such column.
    """
    filled = [part for part in parts if len(part)] or list(parts[:1])
    rows = [
        pd.DataFrame(part.drop(columns="geometry")).assign(
            geometry=part.geometry.to_numpy().astype(object)
        )
        for part in filled
    ]
    table = pd.concat(
        [row.reindex(columns=[name for name in SCORED if name in row]) for row in rows],
        ignore_index=True,
    ).reindex(columns=list(SCORED))
    confidence = table["confidence"].to_numpy(float, na_value=np.nan)
    if calibration.fit is not None:
        table["confidence_calibrated"] = calibration.fit(confidence)
    table["confidence_calibrated"] = table["confidence_calibrated"].astype(float)
    names = np.array(class_names(), dtype=object)
    table["size_class"] = names[size_class(table["area_m2"].to_numpy(float))]
    texts = ("match", "id", "tile", "status", "size_class", "reviewed")
    typed = table.astype(dict.fromkeys(texts, "string") | {"feature": "Int64", "iou": float})
    return gpd.GeoDataFrame(typed, geometry="geometry", crs=4326)
