"""What the command line adds to the package: short paths, its own story, completed words."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest

from lspipe.cli import _set_up_logging, main
from lspipe.cli.arguments import parser
from lspipe.cli.progress import Progress
from lspipe.cli.text import WIDTH, entry, shortened
from lspipe.runs.events import BlockDone, Look, Stage
from lspipe.runs.jobs import BlockResult


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("{here}/runs/a: no such file", "runs/a: no such file"),
        ("'{here}/a' and {here}/b", "'a' and b"),
        ("{above}/other/a.tif", "../other/a.tif"),
        ("{here}2/a", "../here2/a"),
        ("file://{here}/a", "file://{here}/a"),
        ("{here}: is a folder", ".: is a folder"),
    ],
)
def test_a_path_starts_from_the_current_folder_where_that_is_shorter(
    tmp_path, monkeypatch, text, short
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    names = {"here": str(here), "above": str(tmp_path)}
    assert shortened(text.format(**names)) == short.format(**names)


def test_a_long_entry_is_folded_and_no_path_is_cut():
    path = "runs/" + "a-b" * 30
    lines = entry("warning", f"{'word ' * 20}{path}")
    assert path in lines[-1]
    assert all(len(line) <= WIDTH for line in lines[:-1])
    assert {line[:15] for line in lines[1:]} == {" " * 15}


@pytest.fixture
def levels():
    """Levels of loggers, put back afterwards."""
    names = ("", "lspipe", "httpx", "urllib3")
    before = {name: logging.getLogger(name).level for name in names}
    yield lambda name: logging.getLogger(name).isEnabledFor
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    ("verbose", "own", "others"),
    [(0, logging.WARNING, logging.WARNING), (1, logging.INFO, logging.WARNING)],
)
def test_verbose_is_the_story_of_lspipe_and_not_of_libraries(levels, verbose, own, others):
    logging.getLogger().setLevel(logging.DEBUG)
    _set_up_logging(verbose)
    for name, lowest in (
        ("lspipe.runs.prepare", own),
        ("httpx", others),
        ("rasterio._env", others),
    ):
        assert levels(name)(lowest)
        assert not levels(name)(lowest - 10)


BLOCK = BlockResult("18GYS", 1, (0, 2), windows=9, windows_run=4, failed_reads=0, seconds=1.26)


def test_a_verbose_run_tells_each_block_with_the_time(capsys):
    for is_verbose in (False, True):
        progress = Progress(is_verbose=is_verbose)
        for event in (Stage("planning a"), Look("18GYS", 0, 1000), BlockDone(BLOCK)):
            progress.report(event)
    plain, *told = [line for line in capsys.readouterr().err.splitlines() if "/0" not in line]
    assert plain == "planning a"
    assert [line.split(" ", 1)[1] for line in told] == [
        "planning a",
        "18GYS date 1: 1,000 px looked at",
        "block (0, 2) of 18GYS, date 2: 4 of 9 windows in 1.3 s",
    ]
    assert all(line[2] == line[5] == ":" for line in told)


def test_completion_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", "bash"])
    assert end.value.code == 2
    assert "pip install 'lspipe[completion]'" in capsys.readouterr().err


def test_completion_is_made_of_the_parser(monkeypatch, capsys):
    def complete(root, shell):
        verbs = next(action for action in root._actions if isinstance(action.choices, dict))
        return f"{shell}: {root.prog} {' '.join(verbs.choices)}"

    monkeypatch.setitem(sys.modules, "shtab", SimpleNamespace(complete=complete))
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", "zsh"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("zsh: lspipe init validate schema plan run status")


def test_completion_in_bash_knows_verbs_and_flags(capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit):
        parser().parse_args(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert "validate" in script
    assert "--only-failed" in script
