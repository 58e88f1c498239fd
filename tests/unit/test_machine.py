"""What a process may use of this machine: never more than a container allows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from distributed.system import MEMORY_LIMIT

from lspipe import machine


def test_memory_is_what_dask_would_share_among_workers():
    assert machine.memory() == MEMORY_LIMIT


@pytest.mark.parametrize("name", machine.LIMITS)
def test_a_limit_of_the_container_counts(name, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    whole = machine.memory()
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("104857600\n", encoding="ascii")
    assert machine.memory() == 104857600
    # What stands there without a limit: v1 and v2.
    for text in ("9223372036854771712\n", "max\n", ""):
        path.write_text(text, encoding="ascii")
        assert machine.memory() == whole


def test_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert machine.cores() == 3


def test_the_processor_is_named_with_the_instructions_that_matter(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(
        "processor\t: 0\nmodel name\t: Fast One\nflags\t\t: fpu avx2 avx512_bf16 sse\n\n"
        "processor\t: 1\nmodel name\t: Fast One\nflags\t\t: fpu avx2 avx512_bf16 sse\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(machine, "PROCESSOR", path)
    found = machine.processor()
    assert (found["model"], found["instructions"]) == ("Fast One", ["avx2", "avx512_bf16"])
    monkeypatch.setattr(machine, "PROCESSOR", Path("/nowhere"))
    assert machine.processor()["instructions"] == []
    assert machine.processor()["model"]


@pytest.fixture
def _variables(monkeypatch):
    monkeypatch.setenv("LSPIPE_SET", "as it was")
    monkeypatch.setenv("LSPIPE_OTHER", "as it was")
    monkeypatch.delenv("LSPIPE_UNSET", raising=False)


@pytest.mark.usefixtures("_variables")
def test_variables_are_left_as_they_were_whatever_is_done_to_them_and_others_are_not_touched():
    with pytest.raises(KeyError):
        change_and_fail()
    assert os.environ["LSPIPE_SET"] == "as it was"
    assert "LSPIPE_UNSET" not in os.environ
    assert os.environ["LSPIPE_OTHER"] == "now"


def change_and_fail():
    with machine.kept_environment(["LSPIPE_SET", "LSPIPE_UNSET"]):
        os.environ["LSPIPE_UNSET"] = "now"
        os.environ["LSPIPE_OTHER"] = "now"
        del os.environ["LSPIPE_SET"]
        raise KeyError
