"""Messages name parameters in Python, and flags at the command line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lspipe.cli import arguments, main
from lspipe.cli.flags import HINTS, STARTS, as_typed
from lspipe.errors import WorkflowError
from lspipe.workflow import Workflow
from tests.worlds import make_world

PACKAGE = Path(arguments.__file__).parent.parent
COMMANDS = {"course.py", "guard.py", "kinds.py", "kubernetes.py", "settings.py", "slurm.py"}
"""Write down a whole command: for a scorecard, for a hint, or of a worker."""


def strings(path: Path) -> list[str]:
    """Text of a module, without its docstrings."""
    tree = ast.parse(path.read_text())
    silent = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent
    ]


MODULES = [
    path
    for path in PACKAGE.rglob("*.py")
    if "cli" not in path.relative_to(PACKAGE).parts and path.name not in COMMANDS
]


def test_no_message_of_the_package_names_a_flag() -> None:
    named = [(path.name, text) for path in MODULES for text in strings(path)
             if re.search(r"(?<![\w-])--[a-z]", text)]  # fmt: skip
    assert named == []


def test_every_parameter_that_is_translated_is_named_and_every_flag_is_there(monkeypatch) -> None:
    said = [text for path in MODULES for text in strings(path)]
    for parameter in (*HINTS, *STARTS):
        assert any(parameter in text for text in said), parameter
    known = set()
    add = arguments.argparse.ArgumentParser.add_argument
    monkeypatch.setattr(
        arguments.argparse._ActionsContainer,
        "add_argument",
        lambda self, *words, **more: known.update(words) or add(self, *words, **more),
    )
    arguments.parser()
    assert {flag.split()[0] for flag in (*HINTS.values(), *STARTS.values())} <= known


@pytest.mark.parametrize(
    ("message", "typed"),
    [
        ("tiles=19GBP: not in this run", "--tiles 19GBP: not in this run"),
        ("limit=0: expected 1 or more", "--limit 0: expected 1 or more"),
        ("overrides=a.limit=3: expected", "--set a.limit=3: expected"),
        ("another\nhint: start over with fresh=True", "another\nhint: start over with --fresh"),
        ("or leave them out (skip_broken=True)", "or leave them out (--skip-broken)"),
        ("limits, limit=3, x.fresh=True", "limits, limit=3, x.fresh=True"),
    ],
)  # fmt: skip
def test_a_message_is_told_in_the_words_that_were_typed(message, typed) -> None:
    assert as_typed(message) == typed


def test_the_same_mistake_reads_right_from_python_and_from_the_command_line(tmp_path, capsys):
    path = make_world(tmp_path).workflow
    with pytest.raises(WorkflowError, match=r"^overrides=name: expected KEY.PATH=VALUE"):
        Workflow.from_file(path, overrides=("name",))
    assert main(["validate", str(path), "--set", "name"]) == 2
    assert capsys.readouterr().err == "WorkflowError: --set name: expected KEY.PATH=VALUE\n"
