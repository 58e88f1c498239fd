"""Before a worker gets tasks: the same lspipe, the same packages, the same directory, the model."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from lspipe import models
from lspipe.inference.reference import ModelReference
from lspipe.models.item import digest
from lspipe.runs import handshake
from lspipe.runs.handshake import answer, greeting, introduce, judge

ITEM = models.read_item("shipped:bare-ground")
MODEL = ModelReference(ITEM.reference, digest(ITEM), ITEM.item_sha256, "cpu", "fp32", "eager")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(handshake, "SECONDS_TO_SEE", 0.2)


def said(run, model=MODEL):
    with greeting(run, model, threads=1) as asked:
        answered = asyncio.run(introduce(asked))
        return answered, judge(run, answered)


def test_a_worker_like_this_process_may_read_and_compute(tmp_path):
    answered, verdict = said(tmp_path)
    assert (verdict.reading, verdict.computing) == ("", "")
    assert answered.device
    assert answered.memory > 0
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.parametrize(
    ("change", "reading", "computing"),
    [
        ({"code": "another"}, "has another lspipe .*code another", "has another lspipe"),
        ({"numerics": 99}, "NUMERICS 99", "NUMERICS 99"),
        ({"versions": {"rasterio": "1.3"}}, "has rasterio 1.3", "has rasterio 1.3"),
        ({"versions": {"torch": "2.1.0+cu118"}}, "", r"has torch 2.1.0 \(here"),
        ({"versions": {"torch": "+cu130"}}, "", ""),
        ({"directory": "cannot be written"}, "", "cannot be written"),
        ({"model": "sha256 differs"}, "", "sha256 differs"),
        ({"echo": ".hello-elsewhere"}, "", "on another disk"),
    ],
)
def test_what_differs_decides_what_a_worker_may_do(tmp_path, change, reading, computing):
    with greeting(tmp_path, MODEL, threads=1) as asked:
        like_this = answer(asked)
        if "versions" in change:
            versions = dict(like_this.versions) | change["versions"]
            # Another build of the same version.
            if versions["torch"].startswith("+"):
                versions["torch"] = like_this.versions["torch"].partition("+")[0] + "+cu130"
            change = {"versions": versions}
        verdict = judge(tmp_path, replace(like_this, **change))
    for found, expected in ((verdict.reading, reading), (verdict.computing, computing)):
        assert found == expected == "" or re.search(expected, found)


def test_a_worker_that_cannot_execute_what_the_run_settled_on_computes_nothing(tmp_path):
    _, verdict = said(tmp_path, replace(MODEL, runtime="cudagraph"))
    assert verdict.reading == ""
    assert "runtime 'cudagraph': needs a GPU" in verdict.computing


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError(), "does not answer"),
        (Exception("ModuleNotFoundError(\"No module named 'lspipe'\")"), "has no lspipe"),
        (
            Exception("ModuleNotFoundError(\"No module named 'lspipe.runs.handshake'\")"),
            "has another lspipe, which cannot answer",
        ),
        (OSError("connection lost"), "does not answer .OSError: connection lost"),
    ],
)
def test_a_worker_that_cannot_answer_gets_nothing_to_do(tmp_path, error, says):
    verdict = judge(tmp_path, error)
    assert verdict.reading == verdict.computing
    assert re.search(says, verdict.reading)


def test_a_directory_that_is_not_there_or_not_the_same_is_told_apart(tmp_path):
    with greeting(tmp_path, None, threads=1) as asked:
        (tmp_path / "other").mkdir()
        nowhere = answer(replace(asked, run=tmp_path / "nowhere"))
        other = answer(replace(asked, run=tmp_path / "other"))
    assert "is not there; mount the same folder" in nowhere.directory
    assert "does not have this run in it; mount the same folder" in other.directory
    assert (nowhere.echo, other.echo) == ("", "")


def test_a_model_that_changed_since_the_plan_is_refused_by_the_worker(tmp_path):
    answered, verdict = said(tmp_path, replace(MODEL, sha256="0" * 64))
    assert "the run was planned with 0000" in verdict.computing
    assert verdict.reading == ""
    assert answered.model == verdict.computing


def test_a_device_that_a_worker_lacks_keeps_it_from_computing_only(tmp_path):
    if _has_gpu():
        pytest.skip("this machine has a GPU")
    _, verdict = said(tmp_path, replace(MODEL, device="cuda"))
    assert "device 'cuda'" in verdict.computing
    assert verdict.reading == ""


def _has_gpu():
    import torch

    return torch.cuda.is_available()


def test_workers_of_this_machine_are_not_asked_to_open_the_model(tmp_path):
    _, verdict = said(tmp_path, None)
    assert (verdict.reading, verdict.computing) == ("", "")
