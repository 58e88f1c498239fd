"""Probabilities that mean what they say: how far off they are, temperature, thresholds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from lspipe.cli.cards import card_text, scorecard_text
from lspipe.errors import ModelError
from lspipe.evaluate import scorecard
from lspipe.evaluate.reliability import (
    equal_threshold,
    fit_temperature,
    histograms,
    reliability,
    sensitive_threshold,
)
from lspipe.evaluate.scorecard import Scorecard
from lspipe.evaluate.scoring import measure, predict
from lspipe.inference.detect import detect
from lspipe.inference.masking import source
from lspipe.inference.temperature import tempered
from lspipe.models import build
from lspipe.models.mlm import read_item
from lspipe.models.pack import pack
from lspipe.models.recipes import recipe_of
from lspipe.preprocess.masks import MaskSpec
from lspipe.samples import Samples
from lspipe.schema import CODE_SCALE, IGNORED, quantise
from tests import seeing_model
from tests.properties import examples

SIZE = 16


def drawn(temperature, count=100_000):
    """Pixels whose log-odds were multiplied by a temperature, and what they are."""
    rng = np.random.default_rng(0)
    odds = rng.normal(-1, 2, count)
    truth = (rng.uniform(size=count) < expit(odds)).astype(np.uint8)
    return quantise(expit(odds * temperature).astype(np.float32)), truth


def counted(codes, truth):
    return histograms([np.asarray(codes, np.uint16)], [np.asarray(truth, np.uint8)])


# --- how far off ----------------------------------------------------------------------------------


def test_the_error_is_the_mean_distance_of_probability_and_share():
    found = reliability(counted([9500] * 4 + [500] * 4, [1, 1, 0, 0, 0, 0, 0, 1]))
    assert [(one.low, one.pixels, one.landslide_share) for one in found.bins] == [
        (0.0, 4, 0.25), (0.9, 4, 0.5),
    ]  # fmt: skip
    assert [one.probability for one in found.bins] == pytest.approx([0.05, 0.95])
    assert found.error == pytest.approx((0.2 + 0.45) / 2)


def test_pixels_that_are_not_observed_or_not_labelled_do_not_count():
    probability = np.array([[0.95, np.nan, 0.95, 0.05]], np.float32)
    counts = histograms([probability], [np.array([[1, 1, IGNORED, 0]], np.uint8)])
    assert counts.sum(1).tolist() == [1, 1]
    assert reliability(counts).error == pytest.approx(0.05)


def test_the_bin_of_1_is_the_last():
    (only,) = reliability(counted([CODE_SCALE], [1])).bins
    assert (only.low, only.high, only.probability) == (0.9, 1.0, 1.0)


# --- the temperature ------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_spoilt_probabilities_is_found(temperature):
    found = reliability(counted(*drawn(temperature)))
    assert found.temperature == pytest.approx(temperature, rel=0.02)
    assert found.error_tempered < 0.005
    assert (found.error > 0.02) == (temperature != 1)


@pytest.mark.parametrize(
    ("codes", "truth"),
    [([1000, 9000], [0, 1]), ([1000, 9000], [1, 0]), ([4000, 6000], [0, 0]), ([4000], [1])],
)
def test_no_temperature_is_the_best_of_pixels_that_are_separate_or_of_one_kind(codes, truth):
    assert fit_temperature(counted(codes, truth)) is None


def test_a_temperature_is_of_one_view_and_times_that_of_the_item():
    counts = counted(*drawn(2.0))
    assert reliability(counts, is_of_one_view=False).temperature is None
    assert reliability(counts, temperature=1.5).temperature == pytest.approx(3, rel=0.02)


# --- the thresholds -------------------------------------------------------------------------------


def scores_above(code, counts):
    found, claimed = counts[1, code + 1 :].sum(), counts[:, code + 1 :].sum()
    return found, claimed


pixels = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), min_size=1, max_size=30)


@examples(25)
@given(pixels)
def test_thresholds_are_those_of_every_one_tried(drawn_pixels):
    codes, truth = (list(each) for each in zip(*drawn_pixels, strict=True))
    counts = counted([code * 500 for code in codes], truth)
    there, tried = sum(truth), range(CODE_SCALE)[::250]
    equal, sensitive = equal_threshold(counts), sensitive_threshold(counts)
    if not there:
        assert (equal, sensitive) == (None, None)
        return
    apart = [
        abs(claimed - there) for _, claimed in (scores_above(c, counts) for c in tried) if claimed
    ]
    if not apart:
        assert equal is None
    else:
        assert abs(scores_above(round(equal * CODE_SCALE), counts)[1] - there) == min(apart)

    def is_enough(code):
        return scores_above(code, counts)[0] * 10 >= 8 * there

    # Fewer pixels are above a higher threshold, so the next one tells of all others.
    highest = -1 if sensitive is None else round(sensitive * CODE_SCALE)
    assert highest == -1 or is_enough(highest)
    assert highest == CODE_SCALE - 1 or not is_enough(highest + 1)


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_taken():
    assert equal_threshold(counted([1000, 9000], [0, 1])) == 0.5
    assert equal_threshold(counted([1000, 3000], [0, 1])) == 0.2999


# --- in an item -----------------------------------------------------------------------------------


def cube():
    values = np.random.default_rng(0).uniform(0, 0.5, (4, SIZE, SIZE)).astype(np.float32)
    return xr.DataArray(
        values, dims=("band", "y", "x"), coords={"band": ["B02", "B03", "B04", "B08"]}
    )


def test_a_run_divides_the_log_odds_of_each_window_by_the_temperature_of_its_item(tmp_path):
    plain = seeing_model.write_item(tmp_path / "plain.json")
    warm = seeing_model.write_item(tmp_path / "warm.json", **{"lspipe:temperature": 2})
    cold, hot = (
        torch.from_numpy(detect(cube(), item, tta="none", stride=SIZE).to_numpy())
        for item in (plain, warm)
    )
    torch.testing.assert_close(hot, torch.sigmoid(torch.logit(cold) / 2))
    assert (cold - hot).abs().max() > 0.1
    facts = [read_item(item).facts() for item in (plain, warm)]
    assert ["temperature" in one for one in facts] == [False, True]


def test_a_mask_of_one_output_is_cut_where_its_tempered_probability_is_above_the_threshold(
    tmp_path,
):
    names = [{"value": 0, "name": "clear"}, {"value": 1, "name": "cloud"}]
    own = {
        "mlm:output": [{"classification:classes": names}], "lspipe:threshold": 0.6,
    }  # fmt: skip
    plain = seeing_model.write_item(tmp_path / "plain.json", **own)
    # So cold that all probabilities are 0 or 1: above a half is above any threshold.
    cold = seeing_model.write_item(tmp_path / "cold.json", **own, **{"lspipe:temperature": 0.01})
    probability = detect(cube(), plain, tta="none", stride=SIZE).to_numpy()
    pixels = cube().to_numpy()
    for item, limit in ((plain, 0.6), (cold, 0.5)):
        bits = source(MaskSpec(), str(item)).bits(pixels, "L2A")
        expected = probability > limit
        is_sure = np.abs(probability - limit) > 0.01
        assert ((bits != 0) == expected)[is_sure].all()
        assert 0 < expected.sum() < expected.size


def test_certain_probabilities_stay_and_none_changes_no_bit():
    probability = torch.tensor([0.0, 0.3, 1.0])
    assert tempered(probability, None) is probability
    assert tempered(probability, 3.0).tolist() == pytest.approx(
        [0, expit(np.log(0.3 / 0.7) / 3), 1]
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("temperature", 0), ("temperature", "hot"), ("temperature", -1), ("threshold_sensitive", 1.5)],
)
def test_an_item_with_an_impossible_value_is_refused(tmp_path, key, value):
    path = seeing_model.write_item(tmp_path / "odd.json", **{f"lspipe:{key}": value})
    with pytest.raises(ModelError, match=f"lspipe:{key}: found"):
        read_item(path)


RECIPE = recipe_of("ghorb4")


def packed(folder, **fields):
    torch.manual_seed(0)
    network = build("ghorb-unet", 4, filters=2)
    item_fields = {
        "id": "mine", "architecture": "ghorb-unet", "arguments": {"filters": 2},
        "bands": RECIPE.channels, "recipe": RECIPE.name, "window": SIZE, "scaling": RECIPE.scaling,
        "description": "random weights", "not_for": "anything", "tta": "none", **fields,
    }  # fmt: skip
    return read_item(pack(network, folder, item_fields=item_fields))


def samples():
    rng = np.random.default_rng(0)
    pairs = {
        name: (image, (image[0] > 0.6).astype(np.uint8))
        for name in "ab"
        for image in [rng.uniform(size=(4, SIZE, SIZE)).astype(np.float32)]
    }
    return Samples("made up", RECIPE, tuple(pairs), pairs.__getitem__)


def test_a_packed_item_keeps_its_temperature_and_its_sensitive_threshold(tmp_path):
    plain = packed(tmp_path / "plain")
    item = packed(tmp_path / "hot", temperature=2.5, threshold_sensitive=0.2)
    assert (item.temperature, item.threshold_sensitive) == (2.5, 0.2)
    assert (plain.temperature, plain.threshold_sensitive) == (None, None)
    assert "lspipe:temperature" not in plain.path.read_text("utf-8")
    shown = " ".join(card_text(item).split())
    assert "probability > 0.5; > 0.2 to miss fewer" in shown
    assert "temperature of 2.5" in shown
    assert "temperature" not in card_text(plain)


def test_the_scores_of_patches_say_what_the_probabilities_mean(tmp_path):
    plain, hot = packed(tmp_path / "plain"), packed(tmp_path / "hot", temperature=2.5)
    scores = measure(predict(plain, samples())), measure(predict(hot, samples(), tta="d4"))
    first, second = (one.reliability for one in scores)
    assert sum(one.pixels for one in first.bins) == 2 * SIZE**2
    assert second.temperature is None
    assert scores[0].reliability != scores[1].reliability
    card = Scorecard(
        model="mine", sha256="0" * 64, lspipe="0", command="none", patches=scores,
        not_to_be_read_as="a map",
    )  # fmt: skip
    stored = json.loads(json.dumps(card.as_json()))
    assert scorecard.from_json(stored, "here") == card
    shown = " ".join(scorecard_text(card).split())
    assert f"one view: probabilities are {first.error:.3f} off" in shown
    assert f"recall is 80 % above {first.threshold_sensitive:g}" in shown
    older = replace(card, patches=tuple(replace(one, reliability=None) for one in scores))
    assert "probabilities are" not in scorecard_text(older)
