"""The examples of the public functions: each has one, and it does what it says."""

from __future__ import annotations

import doctest
import inspect

import pytest

import lspipe

FUNCTIONS = [
    *(name for name in lspipe.__all__ if inspect.isfunction(getattr(lspipe, name))),
    "Workflow.from_file", "models.build", "preprocess.radiometry",
]  # fmt: skip


def find(path: str):
    thing = lspipe
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_public_function_does_what_it_says(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(find(name))
    assert "\nExamples:\n" in text, f"lspipe.{name} has no Examples"
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert test.examples, f"the Examples of lspipe.{name} has no line that can be typed"
    results = doctest.DocTestRunner().run(test)
    assert results.failed == 0, capsys.readouterr().out


def test_every_class_and_function_of_the_package_is_looked_at() -> None:
    parts = {name.partition(".")[0] for name in FUNCTIONS}
    things = {name for name in lspipe.__all__ if not inspect.ismodule(getattr(lspipe, name))}
    assert things <= parts
