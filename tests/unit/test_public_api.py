"""The names that others rely on: where they are, what they take, and what importing them costs."""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lspipe
from lspipe.cli import main
from lspipe.workflow import TEMPLATE

EMPTY = inspect.Parameter.empty

SIGNATURES = {
    # What users rely on: positional parameters, then keyword-only ones with their defaults.
    "detect": (
        ("cube", "model"),
        {
            "mask": None,
            "window": None,
            "stride": None,
            "tta": None,
            "tta_merge": None,
            "tta_order": None,
            "blend": None,
            "batch_size": 8,
            "precision": "fp32",
            "runtime": "auto",
            "device": "auto",
        },
    ),
    "compare": (
        ("before", "after"),
        {
            "threshold": 0.5,
            "before_below": 0.3,
            "tolerance_px": 1,
            "min_gain": None,
            "method": "hysteresis",
        },
    ),
    "delineate": (("map_or_change",), {"min_area_m2": 0, "connectivity": 8}),
    "plan": (("workflow",), {"output": None}),
    "run": (("workflow",), {"output": None}),
    "open_run": (("path",), {}),
    "Workflow.from_file": (("path",), {}),
    "preprocess.radiometry": (("item", "asset_key"), {}),
    "models.build": (("name", "in_channels"), {}),
}


def find(path: str):
    thing = lspipe
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


def test_every_public_name_resolves() -> None:
    assert dir(lspipe) == lspipe.__all__
    assert set(lspipe.__all__) >= {name.partition(".")[0] for name in SIGNATURES}
    for name in lspipe.__all__:
        assert getattr(lspipe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'detct'"):
        _ = lspipe.detct


@pytest.mark.parametrize("name", SIGNATURES)
def test_public_functions_take_what_the_design_says(name: str) -> None:
    positional, keywords = SIGNATURES[name]
    parameters = inspect.signature(find(name)).parameters
    found = [p for p in parameters.values() if p.kind is not p.VAR_KEYWORD]
    assert tuple(p.name for p in found[: len(positional)]) == positional
    assert all(p.default is EMPTY for p in found[: len(positional)])
    rest = found[len(positional) :]
    assert {p.kind for p in rest} <= {inspect.Parameter.KEYWORD_ONLY}
    defaults = {p.name: p.default for p in rest}
    assert {key: defaults.get(key, EMPTY) for key in keywords} == keywords
    # What is beyond the design never has to be given.
    assert EMPTY not in defaults.values()


def fresh(code: str) -> str:
    """Run code in an interpreter that has imported nothing yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_lspipe_imports_no_heavy_package() -> None:
    heavy = {"torch", "xarray", "numpy", "geopandas", "pydantic", "dask", "distributed", "zarr"}
    assert fresh(f"import lspipe, sys; print({heavy!r} & set(sys.modules) or 'none')") == "none"
    code = "import lspipe, sys; lspipe.errors; dir(lspipe)"
    assert fresh(f"{code}; print({heavy!r} & set(sys.modules) or 'none')") == "none"


@pytest.mark.parametrize("name", ["errors", "evaluate", "models", "preprocess", "samples", "train"])
def test_rooms_are_reachable_after_importing_lspipe(name) -> None:
    code = f"import lspipe; print(type(lspipe.{name}).__name__, lspipe.{name}.__name__)"
    assert fresh(code) == f"module lspipe.{name}"


def test_errors_can_be_caught_by_what_a_caller_does_about_them(tmp_path) -> None:
    with pytest.raises(lspipe.errors.StoreError):
        lspipe.open_run(tmp_path)


def test_a_network_is_built_by_position_or_by_keyword() -> None:
    for build in (
        lambda: lspipe.models.build("ghorb-unet", 4, filters=4),
        lambda: lspipe.models.build("ghorb-unet", in_channels=4, filters=4),
        lambda: lspipe.models.build(name="ghorb-unet", in_channels=4, filters=4),
    ):
        assert next(build().parameters()).shape[1] == 4


@pytest.mark.parametrize(
    "words", [["schema"], ["init", "new.yaml"], ["validate", "my.yaml"], ["model", "list"]]
)
def test_verbs_that_compute_nothing_import_nothing_that_does(words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(lspipe.__file__).parents[1]))
    Path("my.yaml").write_text(TEMPLATE, encoding="utf-8")
    heavy = {"torch", "xarray", "pandas", "rasterio", "zarr", "distributed", "geopandas", "scipy"}
    code = (
        "import contextlib, io, sys; from lspipe.cli import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()): code = main({words!r})\n"
        f"print(code, sorted({heavy!r} & set(sys.modules)))"
    )
    assert fresh(code) == "0 []"


# --- the command line ---------------------------------------------------------------------------


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def verbs_in(text: str) -> set[str]:
    return set(re.findall(r"^    (\w+)  ", text.partition("verbs:")[2], re.MULTILINE))


class Parsed(Exception):
    """Ends `main` where the words of a command line were understood."""


def test_every_verb_shows_an_example_that_can_be_typed(capsys, monkeypatch) -> None:
    text = help_of(capsys)
    verbs = verbs_in(text)
    promised = {"init", "validate", "schema", "plan", "run", "status", "model", "demo", "doctor"}
    assert verbs >= promised
    texts = {"": text} | {verb: help_of(capsys, verb) for verb in verbs}

    parse = argparse.ArgumentParser.parse_args

    def parse_only(*arguments: Any) -> None:
        parse(*arguments)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    for verb, text in texts.items():
        _, found, examples = " ".join(text.split()).partition("example: ")
        assert found, f"lspipe {verb} --help has no example"
        for example in examples.split("; "):
            command, *words = shlex.split(example.partition(" > ")[0])
            assert command == "lspipe"
            assert not verb or words[0] == verb
            with pytest.raises(Parsed):
                main(words)


def test_a_verb_that_is_not_there_exits_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["detct"])
    assert caught.value.code == 2
    assert "detct" in capsys.readouterr().err
