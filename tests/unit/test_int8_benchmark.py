"""The parts of `benchmarks/int8.py` that decide its numbers; NNCF is not needed for them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("int8")


@pytest.fixture
def scene(benchmark):
    mask = np.zeros((8, 8), bool)
    mask[:, 5:] = True
    pixels = np.arange(128, dtype=np.float32).reshape(2, 8, 8)
    return benchmark.Scene("small", pixels, mask, raised=1.5)


def test_a_ratio_is_taken_within_a_round_and_of_processor_time(benchmark):
    timing = importlib.import_module("harness").Timing
    base = [timing(wall=1.0, cpu=2.0), timing(wall=1.0, cpu=40.0), timing(wall=1.0, cpu=9.0)]
    mine = [timing(wall=9.0, cpu=1.0), timing(wall=9.0, cpu=10.0), timing(wall=9.0, cpu=3.0)]
    assert benchmark.ratio(base, mine) == (3.0, 2.0, 4.0)


def test_each_way_is_set_against_fp32(benchmark):
    exact = np.array([0.9, 0.8, 0.2, 0.1], np.float32)
    other = np.array([0.9, 0.4, 0.2, 0.6], np.float32)
    found = benchmark.agreements({"int8": other, "fp32": exact}, threshold=0.5)
    assert found["fp32"] == {"f1_to_fp32": 1.0, "mean_difference": 0.0, "max_difference": 0.0}
    assert found["int8"]["f1_to_fp32"] == 0.5
    assert found["int8"]["max_difference"] == pytest.approx(0.5)
    assert found["int8"]["mean_difference"] == pytest.approx(0.225)


def test_calibration_sees_windows_that_are_mostly_observed(benchmark, scene):
    windows = benchmark.observed_windows(scene, 4)
    # Columns 0, 2 and 4 in three rows of windows; of the last column three quarters are hidden.
    assert [int(window[0, 0, 0]) for window in windows] == [0, 2, 16, 18, 32, 34]
    assert {window.shape for window in windows} == {(2, 4, 4)}
    drawn = benchmark.drawn(np.stack(windows), 3)
    assert [int(window[0, 0, 0]) for window in drawn] == [0, 16, 34]


def test_the_logits_of_a_hard_scene_are_raised(scene):
    logits = torch.linspace(-4, 4, 9)
    expected = torch.sigmoid(logits + 1.5)
    assert torch.allclose(scene.lifted(torch.sigmoid(logits)), expected, atol=1e-6)


def test_without_nncf_it_says_what_to_install(benchmark, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(SystemExit, match="pip install nncf"):
        benchmark.imported()
