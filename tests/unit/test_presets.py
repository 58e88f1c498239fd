"""Who decides a setting, and what each preset would make of a workflow."""

from __future__ import annotations

import pytest

from lspipe.inference.presets import (
    AGREEMENT,
    compare_presets,
    is_measured_reference,
    resolve,
    trace,
)
from lspipe.inference.settings import PRESETS, InferenceSpec

ITEM = {"window": 64, "overlap": 0.5, "tta_merge": "mean", "blend": None}


@pytest.mark.parametrize(
    ("spec", "item", "expected"),
    [
        ({}, {"window": 64}, {"window": "model item", "stride": "paper default"}),
        ({}, ITEM, {"stride": "model item", "tta": "paper default", "tta_merge": "model item"}),
        (
            {"preset": "fast"},
            ITEM,
            {"stride": "preset fast", "blend": "preset fast", "tta_merge": "model item"},
        ),
        (
            {"preset": "fast", "stride": 9, "tta_merge": "max"},
            ITEM,
            {"stride": "workflow", "blend": "preset fast", "tta_merge": "workflow"},
        ),
        ({"overlap": 0.2, "window": 32}, ITEM, {"stride": "workflow", "window": "workflow"}),
        # `paper` says nothing itself.
        ({"preset": "paper"}, {"window": 8}, {"stride": "paper default", "tta": "paper default"}),
        ({}, {"window": 64, "stride": 16}, {"stride": "model item"}),
        ({"batch_size": 3}, ITEM, {"batch_size": "workflow"}),
        ({}, ITEM, {"batch_size": "auto"}),
    ],
)
def test_every_setting_says_who_decided_it(spec, item, expected):
    setting, sources = trace(InferenceSpec(**spec), item)
    assert setting == resolve(InferenceSpec(**spec), item)
    assert {name: sources[name] for name in expected} == expected
    assert set(sources) == {
        *("window", "stride", "tta", "tta_merge", "tta_order", "blend", "batch_size")
    }


def test_no_preset_turns_views_of_directional_channels_on():
    item = {"window": 64, "tta": "none"}
    for name in PRESETS:
        setting, sources = trace(InferenceSpec(preset=name), item)
        assert setting.tta == "none"
        assert sources["tta"] == "model item"
    # A person may.
    assert resolve(InferenceSpec(preset="fast", tta="d4"), item).tta == "d4"
    # An item that wants views, or says nothing, gets those of the preset.
    for item in ({"window": 64}, {"window": 64, "tta": "d4"}):
        assert resolve(InferenceSpec(preset="balanced"), item).tta == "d4"
        assert resolve(InferenceSpec(preset="preview"), item).tta == "none"


def used(rows):
    return [row.name for row in rows if row.is_used]


@pytest.mark.parametrize("name", PRESETS)
def test_the_preset_that_is_asked_for_is_marked_among_all(name):
    rows = compare_presets(InferenceSpec(preset=name), ITEM)
    assert [row.name for row in rows] == list(PRESETS)
    assert used(rows) == [name]
    assert set(AGREEMENT) == set(PRESETS)


def test_no_preset_is_paper():
    assert used(compare_presets(InferenceSpec(), ITEM)) == ["paper"]


@pytest.mark.parametrize(
    "own", [{"stride": 5}, {"tta": "none"}, {"screen": 0.05}, {"blend": "hann"}]
)
def test_keys_of_ones_own_make_a_row_and_change_no_other(own):
    plain = compare_presets(InferenceSpec(preset="balanced", window=32, batch_size=4), ITEM)
    rows = compare_presets(InferenceSpec(preset="balanced", window=32, batch_size=4, **own), ITEM)
    assert used(rows) == ["as asked"]
    assert [row.setting for row in rows[:-1]] == [row.setting for row in plain]
    # Window and batch size are no part of a preset.
    assert {(row.setting.window, row.setting.batch_size) for row in rows} == {(32, 4)}
    asked = InferenceSpec(preset="balanced", window=32, batch_size=4, **own)
    assert rows[-1].setting == resolve(asked, ITEM)


def test_keys_that_repeat_the_preset_are_that_preset():
    assert used(compare_presets(InferenceSpec(preset="fast", overlap=0.5), ITEM)) == ["fast"]


def test_agreement_was_measured_against_nine_tenths_and_eight_views():
    assert is_measured_reference(resolve(InferenceSpec(), {"window": 224}))
    assert not is_measured_reference(resolve(InferenceSpec(), {"window": 224, "tta": "none"}))
    assert not is_measured_reference(resolve(InferenceSpec(), ITEM))
