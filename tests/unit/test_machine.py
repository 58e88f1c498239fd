"""What a process may use of this machine: never more than a container allows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed.system import MEMORY_LIMIT

from lspipe import machine
from lspipe.errors import UsageError


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


# --- what other programs left ---------------------------------------------------------------------


def test_data_of_another_install_is_ignored_where_rasterio_brings_its_own(monkeypatch):
    monkeypatch.setattr(machine, "ignored", [])
    monkeypatch.setenv("PROJ_LIB", "/opt/other/share/proj")
    monkeypatch.setenv("GDAL_DATA", "")
    machine.ignore_what_others_left()
    assert "PROJ_LIB" not in os.environ
    assert machine.ignored == [
        "PROJ_LIB=/opt/other/share/proj: data of another install; rasterio brings its own"
    ]


def test_data_of_the_system_counts_where_rasterio_is_that_of_the_system(monkeypatch, tmp_path):
    (tmp_path / "rasterio").mkdir()
    (tmp_path / "rasterio" / "__init__.py").touch()
    spec = SimpleNamespace(origin=str(tmp_path / "rasterio" / "__init__.py"))
    monkeypatch.setattr(machine, "find_spec", lambda _: spec)
    monkeypatch.setenv("PROJ_LIB", "/usr/share/proj")
    machine.ignore_what_others_left()
    assert os.environ["PROJ_LIB"] == "/usr/share/proj"


@pytest.mark.parametrize("option", ["error", "error::DeprecationWarning"])
def test_a_warning_of_a_library_is_no_error(option):
    code = (
        "import sys, warnings; from lspipe import machine; machine.ignore_what_others_left(); "
        "assert sys.warnoptions == []; "
        "warnings.warn('old', DeprecationWarning); warnings.warn('shown'); print(machine.ignored)"
    )
    done = subprocess.run(
        [sys.executable, "-W", option, "-c", code], capture_output=True, text=True, check=True
    )
    assert "warnings as errors" in done.stdout
    assert "UserWarning: shown" in done.stderr
    assert "old" not in done.stderr


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://bucket/run", "s3://bucket/run: found an address, expected a folder; give a folder"),
        ("gs:/bucket/run", "found an address"),  # what a Path makes of it
        (Path("abfs://c@a.net/run"), "found an address"),
        ("file:///tmp/run", "write the path without file://"),
        ("FOLDER/file/run", "found FOLDER/file, which is not a folder; choose another"),
        ("FOLDER/file", "found FOLDER/file, which is not a folder"),
        ("/dev/null", "found /dev/null, which is not a folder"),
        ("/proc/1/run", r"cannot be written \(No such file or directory\); choose another folder"),
        ("FOLDER/" + "x" * 300, r"cannot be written \(File name too long\)"),
        ("FOLDER/a\0b", "cannot be written \\(embedded null byte\\)"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused_with_the_reason(path, message, tmp_path):
    (tmp_path / "file").touch()
    asked = path if isinstance(path, Path) else path.replace("FOLDER", str(tmp_path))
    with pytest.raises(UsageError, match=message.replace("FOLDER", str(tmp_path))):
        machine.check_folder(asked)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("path", ["new/deep/run", ".", "ü ñ %20 #", "C:run"])
def test_a_folder_that_can_be_written_is_taken_and_not_made(path, tmp_path):
    machine.check_folder(tmp_path / path)
    assert list(tmp_path.iterdir()) == []
