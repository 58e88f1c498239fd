"""Scores across regions, laid out as paper 003 laid out its own."""

import numpy as np
import pytest

from lspipe.cli.transfer import Transfer, tables
from lspipe.evaluate.published import COLUMNS, TABLES_4_TO_7
from lspipe.evaluate.scorecard import Row
from lspipe.evaluate.scoring import measure, predict
from lspipe.models.recipes import recipe_of
from lspipe.samples import Samples


def published():
    for (trained, tested), cells in TABLES_4_TO_7.items():
        for column, (precision, recall, f1) in zip(COLUMNS, cells, strict=True):
            name, patch = column.split()
            yield Transfer(
                architecture=name,
                patch=int(patch),
                trained_on=trained,
                tested_on=tested,
                scores=Row(precision=precision / 100, recall=recall / 100, f1=f1 / 100),
            )


def test_the_tables_of_the_paper_are_its_tables():
    parts = tables(published()).split("\n\n")
    assert [part.splitlines()[0] for part in parts] == [
        f"trained on {place}" for place in ("all", "Taiwan", "China", "Japan")
    ]
    header, *rows = parts[3].splitlines()[1:]
    columns = [f"{score} {patch} px" for patch in (32, 64, 128) for score in ("P", "R", "F1")]
    assert header.split() == " ".join(["tested on", *columns]).split()
    (line,) = (row for row in rows if row.startswith("China") and "ResU-Net" in row)
    cells = TABLES_4_TO_7["Japan", "China"][3:]
    assert line.split()[2:] == [f"{score:.2f}" for cell in cells for score in cell]


def test_scored_patches_know_their_place_in_the_table():
    image = np.zeros((4, 8, 8), np.float32)
    image[0, :4] = 1
    mask = (image[0] > 0).astype(np.uint8)
    samples = Samples("here", recipe_of("ghorb4"), ("a",), lambda _: (image, mask))
    predictions = predict(lambda windows: windows[:, :1], samples, tta="none")
    rows = [
        Transfer.of(measure(predictions, regions=regions), architecture="x", trained_on="Japan")
        for regions in ((), ("China",))
    ]
    assert [(row.patch, row.tested_on, row.scores.f1) for row in rows] == [
        (8, "all", 1.0),
        (8, "China", 1.0),
    ]
    assert tables(rows).splitlines()[3].split() == ["China", "x", "100.00", "100.00", "100.00"]


def test_what_was_not_measured_is_a_dash_and_twice_is_refused():
    small, _, large, other, *_ = (one for one in published() if one.tested_on == "Japan")
    line = tables([small, large]).splitlines()[2]
    assert line.split() == ["Japan", "U-Net", "69.26", "44.05", "53.85", "70.80", "46.33", "56.01"]
    assert tables([large, other]).splitlines()[2].split()[2:5] == ["-", "-", "-"]
    with pytest.raises(ValueError, match="U-Net 32 px, all -> Japan: found twice"):
        tables([small, small])
