"""What this machine can do, and how fast: nothing is promised that was not tried."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch

from lspipe import machine
from lspipe.cli import doctor, main
from lspipe.errors import ModelError
from lspipe.inference import runtimes
from lspipe.models.item import SHIPPED
from lspipe.runs.record import PACKAGES

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_extras_are_those_that_can_be_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for_users = set(project["optional-dependencies"]) - {"test", "benchmarks", "docs"}
    assert set(doctor.EXTRAS) == for_users


def test_doctor_says_what_is_here_for_machines_and_for_people(capsys):
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts["versions"]) == {"python", "machine", *PACKAGES}
    assert facts["memory_bytes"] == machine.memory()
    assert facts["processor"]["cores"] == machine.cores()
    assert facts["runtimes"]["eager"] == ""
    assert len(facts["gpus"]) == torch.cuda.device_count()
    assert facts["default"]["runs_as"].endswith("1 thread")
    assert "local" in facts["clusters"]
    assert "odc" in facts["loaders"]
    assert "gpkg" in facts["outputs"]
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    long = "" if facts["gpus"] else " (a long run takes the quickest runtime)"
    assert f"by default     {facts['default']['runs_as']}{long}\n" in text
    assert "runtime        eager: works" in text
    for name, reason in facts["runtimes"].items():
        assert f"runtime        {name}: {reason or 'works'}" in text
    for name, is_here in facts["extras"].items():
        assert (f"pip install 'lspipe[{name}]'" in text) is not is_here


def test_without_a_gpu_a_run_takes_the_cpu_in_fp32(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    facts = doctor.examine()
    assert facts["gpus"] == []
    assert facts["default"]["runs_as"] == "cpu fp32 eager, batches of 4, 1 thread"


def trial(calls, **delays):
    """A network whose runtimes are fakes that note who was called."""

    def make(name):
        if delays.get(name) == "broken":
            raise ModelError(f"{name} cannot take it\nand more")

        def call(batch):
            calls.append((name, torch.get_num_threads()))
            return batch[:, :1] * 0 + 0.5

        return runtimes.from_callable(call, device="cpu", precision="fp32")

    return doctor.Trial("fake", 8, 2, 4, make)


@pytest.fixture
def three(monkeypatch):
    """Three runtimes, one of which does not work here."""
    found = {"compiled": "", "eager": "", "cudagraph": "no GPU"}
    monkeypatch.setattr(runtimes, "available", lambda: found, raising=False)


@pytest.mark.usefixtures("three")
def test_runtimes_take_turns_with_the_planned_threads_and_eager_is_one():
    calls = []
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        rows = doctor.benchmark(some=[trial(calls)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [row["runtime"] for row in rows] == ["eager", "compiled"]
    assert all(row["ms_per_pass"] > 0 for row in rows)
    assert rows[0]["ratio"] == 1
    assert rows[1]["ratio"] == pytest.approx(rows[0]["ms_per_pass"] / rows[1]["ms_per_pass"])
    assert {threads for _, threads in calls} == {1}
    # The first round compiles, and does not count.
    assert [name for name, _ in calls] == ["eager", "compiled"] * (1 + doctor.ROUNDS)


@pytest.mark.usefixtures("three")
def test_a_runtime_that_fails_says_why_and_the_others_go_on():
    rows = doctor.benchmark(some=[trial([], compiled="broken")])
    assert rows[0]["ms_per_pass"] > 0
    assert (rows[1]["ms_per_pass"], rows[1]["note"]) == (None, "compiled cannot take it")


@pytest.mark.usefixtures("three")
def test_nothing_is_begun_when_the_time_is_over():
    calls = []
    rows = doctor.benchmark(some=[trial(calls)], seconds=-1)
    assert calls == []
    assert {row["note"] for row in rows} == {"left out: out of time"}


def test_the_networks_are_the_shipped_ones_and_a_larger_one():
    found = {trial.model: trial for trial in doctor.trials()}
    shipped = {f"shipped:{name}" for name in SHIPPED}
    assert set(found) == {*shipped, "unet, random weights"}
    assert found["unet, random weights"].window == 224
    assert found["shipped:demo"].make("eager").bands is not None


@pytest.mark.usefixtures("three")
def test_the_benchmark_is_printed_as_a_table(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "trials", lambda: [trial([], compiled="broken")])
    assert main(["doctor", "--benchmark"]) == 0
    head, eager, compiled = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "model",
        "runtime",
        "on",
        "window",
        "ms",
        "per",
        "pass",
        "times",
        "eager",
    ]
    assert eager.split()[:5] == ["fake", "eager", "cpu", "fp32", "8"]
    assert "compiled cannot take it" in compiled
    assert main(["doctor", "--benchmark", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["benchmark"]) == 2
