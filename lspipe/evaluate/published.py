"""The scores that the five papers print, and the rows of a network.

Numbers are as printed, misprints included: `tests/unit/test_published.py` recomputes them. Each
was measured on the patches and labels of its paper. So a row is good for a comparison, but other
data need not reproduce it.

Source: papers 000 (Table 2), 001 (Table I), 002 (Tables 6 and 7), 003 (Tables 4 to 7) and 004
(Tables 3 and 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lspipe.evaluate.metrics import Confusion
from lspipe.models.recipes import RECIPES, base_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# --- paper 000 ----------------------------------------------------------------------------------

MORALES = (0.86, 0.74, 0.79, 0.59)
"""DeepLabv3+ with ResNet-50: precision, recall, F1, Matthews' correlation."""

# --- paper 001 ----------------------------------------------------------------------------------

TABLE_I = {
    "pspnet": (52.03, 61.55, 56.39, 39.27),
    "contextnet": (49.29, 70.77, 58.11, 40.95),
    "deeplabv2": (63.68, 60.80, 62.21, 45.14),
    "deeplabv3plus": (62.11, 69.91, 65.78, 49.01),
    "fcn8s": (63.05, 68.66, 65.73, 48.96),
    "linknet": (67.02, 66.76, 66.89, 50.25),
    "frrn-a": (64.40, 76.57, 69.96, 53.80),
    "frrn-b": (76.16, 64.93, 70.10, 53.96),
    "sqnet": (66.69, 74.20, 70.24, 54.14),
    "l4s-unet": (62.17, 79.91, 69.94, 53.77),
    "l4s-resunet": (67.71, 76.08, 71.65, 55.83),
}
"""Per architecture: recall, precision, F1 in percent, and the IoU that follows from the F1."""

# --- paper 002 ----------------------------------------------------------------------------------

YALI_COLUMNS = ("yali-unet", "yali-resnet34", "yali-mobilenetv2", "yali-segformer")

YALI = {
    ("L4S", 6): (
        (0.747, 0.761, 0.739, 0.600, 0.223, 0.159, 0.287),
        (0.731, 0.784, 0.691, 0.581, 0.238, 0.177, 0.298),
        (0.718, 0.687, 0.758, 0.565, 0.256, 0.202, 0.309),
        (0.702, 0.750, 0.672, 0.546, 0.261, 0.196, 0.326),
    ),
    ("L4S", 14): (
        (0.755, 0.781, 0.735, 0.611, 0.215, 0.157, 0.273),
        (0.734, 0.785, 0.695, 0.585, 0.233, 0.174, 0.292),
        (0.723, 0.735, 0.716, 0.571, 0.246, 0.184, 0.308),
        (0.714, 0.743, 0.694, 0.559, 0.259, 0.208, 0.310),
    ),
    ("L4S + L4S-PE", 6): (
        (0.714, 0.749, 0.687, 0.559, 0.256, 0.191, 0.321),
        (0.695, 0.742, 0.659, 0.537, 0.278, 0.223, 0.333),
        (0.688, 0.751, 0.640, 0.528, 0.286, 0.237, 0.335),
        (0.669, 0.712, 0.639, 0.507, 0.299, 0.245, 0.353),
    ),
    ("L4S + L4S-PE", 14): (
        (0.719, 0.744, 0.701, 0.566, 0.251, 0.186, 0.317),
        (0.705, 0.737, 0.681, 0.548, 0.265, 0.202, 0.327),
        (0.693, 0.747, 0.654, 0.535, 0.277, 0.216, 0.339),
        (0.681, 0.727, 0.648, 0.521, 0.288, 0.230, 0.347),
    ),
}
"""(data, channels): for each of `YALI_COLUMNS` F1, precision, recall, IoU, WCE-Dice, WCE, Dice.

All are means of batches of 16 patches, so that F1 is not that of precision and recall."""

# --- paper 003 ----------------------------------------------------------------------------------

COLUMNS = ("U-Net 32", "U-Net 64", "U-Net 128", "ResU-Net 32", "ResU-Net 64", "ResU-Net 128")

TABLES_4_TO_7 = {
    ("all", "all"): (
        (67.45, 58.97, 62.93),
        (63.95, 67.13, 65.5),
        (64.32, 61.39, 62.82),
        (66.39, 65.43, 65.91),
        (69.65, 63.85, 66.63),
        (60.11, 74.29, 66.45),
    ),
    ("all", "Taiwan"): (
        (65.47, 77.52, 70.99),
        (60.48, 84.16, 70.38),
        (59.73, 80.24, 68.48),
        (64.99, 78.94, 71.29),
        (68.11, 78.51, 72.94),
        (57.21, 88.38, 69.46),
    ),
    ("all", "China"): (
        (79.76, 55.52, 65.47),
        (70.27, 61.85, 65.79),
        (81.2, 55.48, 65.92),
        (75.02, 59.04, 66.07),
        (74.74, 60.33, 66.76),
        (65.57, 64.3, 64.93),
    ),
    ("all", "Japan"): (
        (69.26, 44.05, 53.85),
        (68.35, 53.62, 60.1),
        (70.8, 46.33, 56.01),
        (67.33, 54.92, 60.49),
        (71.12, 52.14, 60.17),
        (63.41, 63.43, 63.42),
    ),
    ("Taiwan", "all"): (
        (63.12, 42.46, 50.77),
        (60.22, 45.04, 51.53),
        (62.7, 48.9, 54.95),
        (62.64, 40.73, 49.36),
        (70.21, 45.06, 54.89),
        (68.06, 35.64, 46.78),
    ),
    ("Taiwan", "Taiwan"): (
        (67.45, 62.92, 63.68),
        (54.47, 70.48, 61.45),
        (57.81, 79.65, 67),
        (61.7, 80.72, 70.54),
        (68.75, 77.08, 72.68),
        (61.29, 77.3, 68.37),
    ),
    ("Taiwan", "China"): (
        (78.41, 53.61, 63.68),
        (69.62, 50.92, 58.82),
        (75.8, 48.65, 59.26),
        (66.31, 43.53, 52.56),
        (69.55, 44.33, 54.15),
        (79.19, 44.87, 57.29),
    ),
    ("Taiwan", "Japan"): (
        (78.49, 24.63, 37.5),
        (78.41, 23.6, 36.28),
        (79.21, 23.66, 36.43),
        (73.55, 21.19, 32.9),
        (75.78, 18.82, 30.16),
        (82.31, 14.65, 24.87),
    ),
    ("China", "all"): (
        (58.61, 56.57, 57.57),
        (46.68, 60.75, 52.8),
        (51.98, 59.69, 55.57),
        (47.19, 61.75, 53.5),
        (43.33, 53.35, 47.85),
        (42.42, 59.37, 49.48),
    ),
    ("China", "Taiwan"): (
        (50.31, 81.25, 62.14),
        (37.95, 90.9, 53.55),
        (43.17, 87.62, 57.84),
        (35.95, 75.31, 48.67),
        (29.36, 57.31, 38.83),
        (34.09, 89.92, 49.44),
    ),
    ("China", "China"): (
        (78.59, 63.55, 70.28),
        (75.52, 64.66, 69.67),
        (81.25, 59.58, 68.75),
        (72.25, 71.09, 71.7),
        (75.91, 69.92, 72.9),
        (71.74, 65.4, 68.48),
    ),
    ("China", "Japan"): (
        (79.98, 35.66, 49.33),
        (80.32, 35.64, 49.37),
        (81.03, 36.76, 50.58),
        (71.6, 50.05, 58.92),
        (73.12, 48.46, 58.29),
        (81.17, 33.84, 47.76),
    ),
    ("Japan", "all"): (
        (44.13, 56.46, 49.54),
        (32.01, 66.64, 43.25),
        (48.56, 56.97, 52.43),
        (42.16, 57.31, 48.58),
        (61.03, 47.01, 53.11),
        (41.14, 63.58, 49.95),
    ),
    ("Japan", "Taiwan"): (
        (28.75, 51.46, 36.89),
        (21.72, 80.87, 34.24),
        (35.17, 59.38, 44.17),
        (27.07, 52.51, 35.73),
        (42.34, 24.7, 31.2),
        (29.58, 73.95, 42.26),
    ),
    ("Japan", "China"): (
        (63.52, 80.18, 70.89),
        (63.46, 78.3, 70.1),
        (67.96, 74.18, 70.93),
        (67.47, 73.55, 70.38),
        (71.82, 74.88, 73.32),
        (62.95, 73.55, 67.84),
    ),
    ("Japan", "Japan"): (
        (67.58, 58.51, 62.72),
        (66.44, 53.89, 59.51),
        (70.89, 53.85, 61.21),
        (66.53, 59.36, 62.74),
        (69.85, 62.79, 66.13),
        (68.91, 54.35, 60.77),
    ),
}
"""(trained on, tested on): precision, recall, F1 in percent for each of `COLUMNS`."""

MISPRINTS = {
    # The F1 of the row of China, printed in that of Taiwan too.
    ("Taiwan", "Taiwan", "U-Net 32"): (63.68, 65.11),
    ("Taiwan", "Taiwan", "ResU-Net 32"): (70.54, 69.94),
    ("China", "all", "ResU-Net 64"): (47.85, 47.82),
    ("China", "China", "ResU-Net 32"): (71.70, 71.67),
    ("China", "China", "ResU-Net 64"): (72.90, 72.79),
    ("China", "China", "ResU-Net 128"): (68.48, 68.42),
}
"""Cells whose F1 is not that of their precision and recall: printed, recomputed."""

# --- paper 004 ----------------------------------------------------------------------------------

VEGA_TRAINING = {
    "vega3": (0.67, 0.73, 0.70),
    "vega5": (0.70, 0.65, 0.67),
    "vega7": (0.65, 0.75, 0.70),
}
"""Precision, recall, F1 in the zone that the networks were trained in (Table 3)."""

VEGA_INFERENCE = {
    "vega3": (1258, 1113, 2021, 38441),
    "vega5": (873, 683, 2406, 38871),
    "vega7": (922, 682, 2357, 38872),
}
"""True positive, false positive, false negative, true negative pixels elsewhere (Table 4)."""

# --- rows of a network --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One row of a paper's table, 0..1 (MCC -1..1); None where the paper prints no such score."""

    paper: str
    table: str
    architecture: str
    """A name of `lspipe.models.ARCHITECTURES`."""
    recipe: str
    """Channel recipe of the paper."""
    patch: int
    """Edge of the patches, pixels; 0 where the paper does not state it."""
    data: str
    """What it was trained and tested on."""
    precision: float
    recall: float
    f1: float
    iou: float | None = None
    mcc: float | None = None
    tested_on: str = ""
    """Region of the test, "all" of them, or empty where there is no choice."""
    is_batch_mean: bool = False
    """A mean of the scores of batches, not the score of all pixels together."""
    note: str = ""


def rows_of(
    architecture: str, recipe: str = "", *, patch: int = 0, tested_on: Sequence[str] = ()
) -> tuple[PublishedRow, ...]:
    """Rows that the papers print of a network.

    Args:
        architecture: a name of `lspipe.models.ARCHITECTURES`.
        recipe: rows of this channel recipe only, if there are any; else of the same kind of
            network in the paper of that recipe, which has its patches; else of all recipes.
        patch: of a paper with several sizes of patch, the rows of this one, if it is among them.
        tested_on: of a paper with several places of testing, the rows of these, if they are among
            them; else those of all together.

    Returns:
        None, if no paper has this network.
    """
    rows, recipe = tuple(_all_rows()), base_of(recipe)
    found = [row for row in rows if row.architecture == architecture]
    found = [row for row in found if row.recipe == recipe] or _nearest(rows, architecture, recipe)
    found = [row for row in found if row.patch == patch] or found
    there = [row for row in found if row.tested_on in tested_on]
    return tuple(there or [row for row in found if row.tested_on in ("", "all")])


def _nearest(rows: Sequence[PublishedRow], architecture: str, recipe: str) -> list[PublishedRow]:
    """Rows of the same kind of network on the recipe's data set, else all of the network."""
    paper = RECIPES[recipe].paper if recipe in RECIPES else ""
    kind = f"-{architecture.rpartition('-')[2]}"
    alike = [row for row in rows if row.paper == paper and row.architecture.endswith(kind)]
    return alike or [row for row in rows if row.architecture == architecture]


def _all_rows() -> Iterator[PublishedRow]:
    yield from _morales()
    yield from _landslide4sense()
    yield from _yali()
    yield from _ghorbanzadeh()
    yield from _vega()


def _morales() -> Iterator[PublishedRow]:
    precision, recall, f1, mcc = MORALES
    yield PublishedRow(
        paper="000", table="Table 2", architecture="deeplabv3plus-resnet50", recipe="morales10",
        patch=224, data="Patagonia", precision=precision, recall=recall, f1=f1, mcc=mcc,
        note="the MCC is of a raster of which half is landslide",
    )  # fmt: skip


def _landslide4sense() -> Iterator[PublishedRow]:
    for architecture, (recall, precision, f1, jaccard) in TABLE_I.items():
        yield PublishedRow(
            paper="001", table="Table I", architecture=architecture, recipe="l4s14", patch=128,
            data="first quarter of each area -> the rest", precision=precision / 100,
            recall=recall / 100, f1=f1 / 100, iou=jaccard / 100, note="IoU from F1",
        )  # fmt: skip


def _yali() -> Iterator[PublishedRow]:
    for (data, channels), cells in YALI.items():
        for architecture, (f1, precision, recall, jaccard, *_) in zip(
            YALI_COLUMNS, cells, strict=True
        ):
            yield PublishedRow(
                paper="002", table="Tables 6, 7", architecture=architecture,
                recipe=f"yali{channels}", patch=128, data=data, precision=precision,
                recall=recall, f1=f1, iou=jaccard, is_batch_mean=True,
            )  # fmt: skip


def _ghorbanzadeh() -> Iterator[PublishedRow]:
    for (trained, tested), cells in TABLES_4_TO_7.items():
        for column, (precision, recall, f1) in zip(COLUMNS, cells, strict=True):
            name, patch = column.split()
            wrong = MISPRINTS.get((trained, tested, column))
            architecture = {"U-Net": "ghorb-unet", "ResU-Net": "ghorb-resunet"}[name]
            yield PublishedRow(
                paper="003", table="Tables 4-7", architecture=architecture,
                recipe="ghorb4", patch=int(patch), data=f"{trained} -> {tested}", tested_on=tested,
                precision=precision / 100, recall=recall / 100, f1=f1 / 100,
                note=f"F1 is misprinted: {wrong[1]:.2f}" if wrong else "",
            )  # fmt: skip


def _vega() -> Iterator[PublishedRow]:
    for recipe, (precision, recall, f1) in VEGA_TRAINING.items():
        yield PublishedRow(
            paper="004", table="Table 3", architecture="vega-unet", recipe=recipe, patch=0,
            data="zone of the training", precision=precision, recall=recall, f1=f1,
        )  # fmt: skip
    for recipe, counts in VEGA_INFERENCE.items():
        table = Confusion(*counts)
        yield PublishedRow(
            paper="004", table="Table 4", architecture="vega-unet", recipe=recipe, patch=0,
            data="another zone", precision=table.precision, recall=table.recall, f1=table.f1,
            iou=table.iou, mcc=table.mcc, note="from the counts that it prints",
        )  # fmt: skip
