"""The numbers that the five papers print, recomputed; where they are wrong, what they should be.

The tables are those of `lspipe.evaluate.published`; the rest is of the papers' texts.
"""

import math

import pytest

from lspipe.evaluate.metrics import Confusion, f1_of, iou_of
from lspipe.evaluate.published import (
    COLUMNS,
    MISPRINTS,
    TABLE_I,
    TABLES_4_TO_7,
    VEGA_INFERENCE,
    VEGA_TRAINING,
    YALI,
    rows_of,
)
from lspipe.models import ARCHITECTURES

# --- paper 000 ----------------------------------------------------------------------------------


def test_morales_object_precision_is_that_of_355_judged_objects():
    judged = Confusion(true_positive=265, false_positive=90, false_negative=0)
    assert judged.precision == pytest.approx(0.74648, abs=5e-6)
    assert round(judged.precision, 2) == 0.75


def test_morales_f1_follows_from_precision_and_recall_before_rounding():
    assert f1_of(0.86, 0.74) == pytest.approx(0.7955, abs=5e-5)
    # Printed: 0.79, within what rounded inputs allow.
    assert f1_of(0.855, 0.735) <= 0.7905 <= f1_of(0.865, 0.745)
    assert iou_of(f1_of(0.86, 0.74)) == pytest.approx(0.6604, abs=5e-5)
    # The printed Jaccard of 0.70 is of true positives only: as a Dice coefficient it would be more.
    assert pytest.approx(0.8235, abs=5e-5) == 2 * 0.70 / 1.70


def of_prevalence(prevalence, precision=0.86, recall=0.74, pixels=10**8):
    there = round(prevalence * pixels)
    found = round(recall * there)
    false = round(found / precision) - found
    return Confusion(found, false, there - found, pixels - there - false)


@pytest.mark.parametrize(("prevalence", "expected"), [(0.01, 0.796), (0.10, 0.777), (0.55, 0.59)])
def test_morales_mcc_of_0_59_needs_a_raster_of_which_half_is_landslide(prevalence, expected):
    assert of_prevalence(prevalence).mcc == pytest.approx(expected, abs=5e-3)


# --- paper 001, Table I: recall, precision, F1 in percent, and the IoU that follows -------------


@pytest.mark.parametrize(
    ("recall", "precision", "printed", "jaccard"), TABLE_I.values(), ids=TABLE_I.keys()
)
def test_landslide4sense_table_1(recall, precision, printed, jaccard):
    assert f1_of(precision, recall) == pytest.approx(printed, abs=0.0101)
    assert 100 * iou_of(f1_of(precision, recall) / 100) == pytest.approx(jaccard, abs=0.01)


# --- paper 002, Tables 6 and 7: F1, precision, recall, IoU, WCE-Dice, WCE, Dice -----------------


@pytest.mark.parametrize("row", [row for rows in YALI.values() for row in rows])
def test_yali_scores_are_means_of_batches_so_f1_is_only_nearly_that_of_p_and_r(row):
    score, precision, recall, jaccard, *_ = row
    assert f1_of(precision, recall) == pytest.approx(score, abs=8e-3)
    assert iou_of(score) == pytest.approx(jaccard, abs=8e-3)


@pytest.mark.parametrize("row", [row for rows in YALI.values() for row in rows])
def test_yali_combined_loss_is_half_of_each(row):
    *_, combined, entropy, dice = row
    # Each of the three is rounded to 0.001.
    assert 0.5 * entropy + 0.5 * dice == pytest.approx(combined, abs=1.01e-3)


@pytest.mark.parametrize(
    ("landslides", "pixels", "percent", "printed"),
    [
        # Patches of 128 x 128 px of 100 m2; the percentages are of all pixels.
        (137.56, 3799, 2.2101, 2.21),
        (24.71, 838, 1.7997, 1.80),
        (162.27, 3799 + 838, 2.1359, 2.14),
    ],
)
def test_yali_table_2_is_a_share_of_all_pixels(landslides, pixels, percent, printed):
    share = 100 * landslides * 1e6 / (pixels * 128**2 * 100)
    assert share == pytest.approx(percent, abs=6e-5)
    assert round(share, 2) == printed


# --- paper 003, Tables 4 to 7: precision, recall, F1 in percent ---------------------------------

CELLS = [
    pytest.param((*scenario, column), *cell, id=f"{scenario[0]} to {scenario[1]}, {column}")
    for scenario, cells in TABLES_4_TO_7.items()
    for column, cell in zip(COLUMNS, cells, strict=True)
]


@pytest.mark.parametrize(("key", "precision", "recall", "printed"), CELLS)
def test_ghorbanzadeh_f1(key, precision, recall, printed):
    found = f1_of(precision, recall)
    if key in MISPRINTS:
        assert printed == MISPRINTS[key][0]
        assert found == pytest.approx(MISPRINTS[key][1], abs=5e-3)
        assert abs(found - printed) > 0.02
    else:
        assert found == pytest.approx(printed, abs=0.02)


def test_ghorbanzadeh_has_96_cells_of_which_6_are_misprinted():
    assert (len(CELLS), len(MISPRINTS)) == (96, 6)


def test_ghorbanzadeh_best_result_holds():
    precision, recall, printed = TABLES_4_TO_7["Japan", "China"][4]
    assert (precision, recall, printed) == (71.82, 74.88, 73.32)
    assert f1_of(precision, recall) == pytest.approx(printed, abs=5e-3)


def test_ghorbanzadeh_recalls_of_the_text_are_not_those_of_the_table():
    recalls = [recall for _, recall, _ in TABLES_4_TO_7["Japan", "China"][:2]]
    assert recalls == [80.18, 78.30]
    assert 81.18 not in recalls
    assert 78.84 not in recalls
    scores = [score for _, _, score in TABLES_4_TO_7["Japan", "China"][3:]]
    # The text says 70.14.
    assert sum(scores) / 3 == pytest.approx(70.51, abs=5e-3)


def test_ghorbanzadeh_areas_are_square_kilometres_not_hectares():
    # 7888 patches of 32 x 32 px of 100 m2 do not fit into 877.95 ha.
    patches = 7888 * 32**2 * 100
    assert patches / 1e6 == pytest.approx(807.7, abs=0.05)
    assert 807.7 < 345.64 + 467.91 + 64.4
    assert patches / 1e4 > 345.64 + 467.91 + 64.4


# --- paper 004, Tables 3 and 4 ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "expected"), [("vega3", 0.6987), ("vega5", 0.6741), ("vega7", 0.6964)]
)
def test_vega_training_zone(recipe, expected):
    precision, recall, printed = VEGA_TRAINING[recipe]
    assert f1_of(precision, recall) == pytest.approx(expected, abs=5e-5)
    assert round(f1_of(precision, recall), 2) == printed


@pytest.mark.parametrize(
    ("recipe", "scores", "accuracy"),
    [
        # Precision, recall, F1, IoU, MCC.
        ("vega3", (0.5306, 0.3837, 0.4453, 0.2864, 0.4134), 0.927),
        ("vega5", (0.5611, 0.2662, 0.3611, 0.2203, 0.3538), 0.928),
        ("vega7", (0.5748, 0.2812, 0.3776, 0.2328, 0.3696), 0.929),
    ],
    ids=["rgb", "5 bands", "7 bands"],
)
def test_vega_inference_zone(recipe, scores, accuracy):
    counts = VEGA_INFERENCE[recipe]
    table = Confusion(*counts)
    assert sum(counts) == 42_833
    assert table.true_positive + table.false_negative == 3_279
    found = (table.precision, table.recall, table.f1, table.iou, table.mcc)
    assert found == pytest.approx(scores, abs=5e-5)
    assert round(table.accuracy, 3) == accuracy
    # The abstract's F1 of about 0.70 is that of the zone it was trained on.
    assert not math.isclose(table.f1, 0.70, abs_tol=0.2)


# --- rows of a network --------------------------------------------------------------------------


def test_a_network_gets_the_rows_of_its_channels_and_patches():
    (row,) = rows_of("l4s-resunet", "l4s14")
    assert row.paper == "001"
    assert (row.precision, row.recall, row.f1) == pytest.approx((0.7608, 0.6771, 0.7165))
    six = rows_of("yali-unet", "yali6", patch=128)
    assert [(row.data, row.f1) for row in six] == [("L4S", 0.747), ("L4S + L4S-PE", 0.714)]
    assert all(row.is_batch_mean for row in six)
    rows = rows_of("ghorb-resunet", "ghorb4", patch=64)
    assert [row.data for row in rows] == [
        f"{a} -> all" for a in ("all", "Taiwan", "China", "Japan")
    ]
    assert [row.note for row in rows] == ["", "", "F1 is misprinted: 47.82", ""]
    *_, best = rows_of("ghorb-resunet", "ghorb4", patch=64, tested_on=["China"])
    assert (best.data, best.patch, round(best.f1, 4)) == ("Japan -> China", 64, 0.7332)


def test_other_channels_get_the_rows_of_the_recipes_patches_or_of_the_network():
    (row,) = rows_of("ghorb-resunet", "l4s-rgb")
    assert (row.architecture, row.recipe, round(row.f1, 4)) == ("l4s-resunet", "l4s14", 0.7165)
    assert {row.recipe for row in rows_of("yali-unet", "of-nobody")} == {"yali6", "yali14"}
    assert [row.recipe for row in rows_of("vega-unet", "vega7")] == ["vega7", "vega7"]
    assert rows_of("bare-ground") == ()


def test_another_reading_of_a_recipe_stands_beside_the_same_rows():
    assert rows_of("vega-unet", "vega5:bgr,plan") == rows_of("vega-unet", "vega5")
    assert rows_of("ghorb-unet", "ghorb4+slope") == rows_of("ghorb-unet", "ghorb4")


def test_every_network_of_a_paper_has_a_row():
    assert [name for name in ARCHITECTURES if not rows_of(name)] == [
        "lite-unet",
        "bare-ground",
        "bare-change",
    ]
