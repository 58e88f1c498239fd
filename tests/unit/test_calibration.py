"""The confidence of a list compared with what a person decided."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from lspipe.evaluate.calibration import LEAST, calibrate, fit_confidence


def listed(confidence, reviewed):
    return pd.DataFrame({"confidence": confidence, "reviewed": pd.array(reviewed, dtype="string")})


def repeated(*groups):
    """A list of groups (confidence, right, wrong)."""
    confidence = [value for value, right, wrong in groups for _ in range(right + wrong)]
    reviewed = [word for _, right, wrong in groups for word in ["true"] * right + ["false"] * wrong]
    return listed(confidence, reviewed)


def test_the_reliability_table_is_as_by_hand():
    found = calibrate(
        listed(
            [0.05, 0.93, 0.95, 1.0, 0.9, 0.5, 0.7, None],
            ["false", "true", "false", "true", "true", "unsure", None, "true"],
        )
    )
    assert (found.right, found.wrong, found.decisions) == (3, 2, 5)
    rows = [(one.low, one.high, one.count, one.right, one.confidence) for one in found.bins]
    assert rows == [(0, 0.1, 1, 0, 0.05), (0.9, 1.0, 4, 3, pytest.approx(0.945))]
    assert found.bins[1].interval == pytest.approx((0.30064184, 0.95441274))
    expected = (0.05**2 + 0.07**2 + 0.95**2 + 0 + 0.1**2) / 5
    assert found.brier == pytest.approx(expected)


@pytest.mark.parametrize(("groups", "note"), [
    ([], "0 decisions: fewer than 50 fit nothing"),
    ([(0.9, 25, 24)], "49 decisions: fewer than 50 fit nothing"),
    ([(0.9, 60, 4)], "64 decisions, 4 of them wrong: fewer than 5 fit nothing"),
    ([(0.9, 0, 64)], "64 decisions, 0 of them right: fewer than 5 fit nothing"),
])  # fmt: skip
def test_few_decisions_fit_nothing_and_it_is_said(groups, note):
    found = calibrate(repeated(*groups))
    assert (found.fit, found.brier_calibrated, found.note) == (None, None, note)


def test_a_fit_to_two_confidences_is_the_share_of_each():
    # Two numbers are fitted to two shares: the fit meets Platt's targets of each exactly.
    confidence = np.repeat([0.6, 0.9], 50)
    is_right = np.concatenate([np.arange(50) < 10, np.arange(50) < 40])
    fit = fit_confidence(confidence, is_right)
    low, high = (
        (right * 51 / 52 + (50 - right) * 1 / 52) / 50 for right in (10, 40)
    )  # 50 are right, 50 wrong
    assert fit(np.array([0.6, 0.9])) == pytest.approx([low, high], abs=1e-5)
    assert fit.decisions == 100
    slope = (logit(high) - logit(low)) / (logit(0.9) - logit(0.6))
    assert fit.slope == pytest.approx(slope, abs=1e-4)


def test_a_fit_is_where_the_loss_is_least():
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0, 1, 300)
    is_right = rng.random(300) < expit(0.5 * logit(confidence) - 1)
    fit = fit_confidence(confidence, is_right)
    right, wrong = is_right.sum(), (~is_right).sum()
    targets = np.where(is_right, (right + 1) / (right + 2), 1 / (wrong + 2))
    off = fit(confidence) - targets
    assert [off.sum(), off @ logit(confidence)] == pytest.approx([0, 0], abs=1e-2)
    assert (fit.slope, fit.intercept) == pytest.approx((0.5, -1), abs=0.3)


def test_confidences_that_say_too_much_are_mended_on_decisions_left_out():
    found = calibrate(repeated((0.95, 60, 60), (0.6, 10, 50)))
    assert found.decisions == 180
    assert found.brier == pytest.approx(
        (60 * 0.05**2 + 60 * 0.95**2 + 10 * 0.4**2 + 50 * 0.6**2) / 180
    )
    # At best the shares: 0.5 and 1 / 6.
    least = (120 * 0.25 + 60 * (1 / 6) * (5 / 6)) / 180
    assert least <= found.brier_calibrated < least + 0.01 < found.brier
    assert found.note == ""
    assert found.fit.decisions == 180
    assert found.fit(np.array([0.95, 0.6])) == pytest.approx([0.5, 1 / 6], abs=0.02)


def test_the_gain_is_measured_on_decisions_that_were_not_fitted_to():
    # These confidences say nothing; a fit that saw its own outcomes looks better than it is.
    worse = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        confidence, is_right = rng.uniform(0, 1, 60), rng.random(60) < 0.5
        found = calibrate(listed(confidence, np.where(is_right, "true", "false")))
        fitted_to_itself = np.mean((found.fit(confidence) - is_right) ** 2)
        worse.append(found.brier_calibrated - fitted_to_itself)
    assert np.mean(worse) > 0.004


def test_a_confidence_that_is_sound_already_is_told_to_be_kept():
    found = calibrate(repeated((0.9, 90, 10), (0.5, 20, 20), (0.1, 1, 9)))
    assert found.fit.slope == pytest.approx(1, abs=0.15)
    assert found.brier_calibrated >= found.brier
    assert found.note == "the calibrated confidence is no better than the plain one"


def test_a_confidence_that_ranks_backwards_is_told():
    found = calibrate(repeated((0.9, 10, 40), (0.3, 40, 10)))
    assert found.fit.slope < 0
    assert "do not rank by it" in found.note


def test_confidences_of_0_and_1_stay_finite():
    found = calibrate(repeated((1.0, 40, 5), (0.0, 5, 40)))
    values = found.fit(np.array([0.0, 1.0]))
    assert ((values > 0) & (values < 1)).all()


def test_the_same_decisions_give_the_same_numbers():
    rows = repeated((0.9, 40, 12), (0.4, 5, 9))
    assert calibrate(rows) == calibrate(rows)
    assert len(rows) >= LEAST
