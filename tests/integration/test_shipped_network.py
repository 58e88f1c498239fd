"""The network that comes with lspipe does on real patches what its scorecard says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lspipe.evaluate.scorecard import read
from lspipe.evaluate.scoring import score
from lspipe.models import read_item
from lspipe.samples import pictures

LARGEST = 20_000_000
"""Bytes of weights that may come with the package."""


def test_the_shipped_weights_are_small_and_say_what_they_are_not_for() -> None:
    item = read_item("shipped:l4s-rgb")
    assert item.weights.stat().st_size <= LARGEST
    assert item.recipe == "l4s-rgb"
    assert "L2A" in item.not_for
    card = read(item)
    assert (item.id, item.version) == ("l4s-rgb", "3")
    assert [one.tta for one in card.patches[:3]] == ["none", "d4", "none"]
    assert "like L2A" in card.patches[2].data
    rows = {one.data: one for one in card.patches}
    assert sum(name.startswith("l4s_rgb, block") for name in rows) == 5
    whole = rows["l4s_rgb, each of 5 blocks by a fold that had not seen it"]
    assert whole.patches == 1536
    # What it ships with was chosen there, where precision equals recall.
    assert whole.threshold == item.threshold
    assert whole.micro.precision == pytest.approx(whole.micro.recall, abs=0.005)
    assert whole.continued < 0.2
    assert all(one.reliability for one in card.patches)
    soft = rows["l4s_rgb/validation, blurred by 1 px"]
    assert soft.micro.f1 > card.patches[1].micro.f1 - 0.05
    assert all(one.intervals.f1[0] < one.micro.f1 < one.intervals.f1[1] for one in card.patches)
    assert {alarms.dates for alarms in card.false_alarms} == {1, 2}


@pytest.mark.real
def test_some_validation_patches_score_as_the_scorecard_says(real_data) -> None:
    validation = pictures.folder(real_data / "l4s_rgb" / "validation")
    some = replace(validation, names=validation.names[::8])
    item = read_item("shipped:l4s-rgb")
    found = score(item, some, tta="none", batch_size=4)
    card = read(item).patches[0]
    assert found.threshold == card.threshold
    # An eighth of the patches: their own interval is about three times as wide.
    assert found.micro.f1 == pytest.approx(card.micro.f1, abs=0.08)
