"""Mistakes that a new user makes: each is named in one line, and blocks nothing that comes after.

A row is a mistake, the exit code that is promised for it, and what its message must name. After it
the corrected workflow is planned into the same run directory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
import yaml

import lspipe
from lspipe.cli import main
from lspipe.runs import store
from lspipe.runs.record import run_json
from lspipe.search.acquisitions import freeze
from tests.stored import store_run
from tests.worlds import make_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATES = {
    "before": {"start": "2017-01-01", "end": "2017-03-31"},
    "after": {"start": "2018-01-01", "end": "2018-03-31"},
}
SMALL = {"window": 16, "stride": 8, "tta": "none"}
INDENTED = "name: a\naoi:\n  tiles: [18GYS]\n   layer: a\n"


@dataclass(frozen=True)
class Mistake:
    """What was typed, and what must be answered."""

    name: str
    says: tuple[str, ...]
    """Parts of the first line on stderr."""
    code: int = 2
    verb: str = "validate"
    changes: dict[str, Any] | str | None = None
    """Sections that replace the right ones; or the text of the file."""
    words: tuple[str, ...] = ()
    """What follows the verb, instead of the workflow; or beside it, if it begins with `--`."""
    before: Callable[[Path], object] | None = None
    """What the user did to the folder earlier."""


def _shapefile_without_prj(folder: Path) -> None:
    box = shapely.box(700000, 5199000, 700500, 5199900)
    gpd.GeoDataFrame(geometry=[box], crs=32718).to_file(folder / "area.shp")
    (folder / "area.prj").unlink()


def _plan(folder: Path) -> None:
    lspipe.plan(folder / "workflow.yaml", output=folder / "run")


def _some_blocks(folder: Path) -> None:
    """Leave a run whose first block is done."""
    world = make_world(folder, size=64, inference=SMALL, execution={"block": 40})
    made = store_run(world, world.run, probability=np.zeros((2, 64, 64), np.uint16), only=1)
    store.write_json(world.run / "run.json", run_json(made.plan, state="partial"))
    store.write_json(world.run / "items.json", freeze([tile.tile for tile in made.plan.tiles]))


def _file(name: str, content: str = "x") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


SWAPPED = {"before": {"start": "2017-03-31", "end": "2017-01-01"}, "after": DATES["after"]}
GERMAN = {"after": {"start": "01.01.2018", "end": "31.03.2018"}}
FUTURE = {"after": {"start": "2031-01-01", "end": "2031-03-31"}}

MISTAKES = [
    Mistake("wrong indentation", ("bad.yaml: line 4:", "layer: a"), changes=INDENTED),
    Mistake("a tab", ("bad.yaml: line 3: found a tab, expected spaces",),
            changes="name: a\naoi:\n\ttiles: [18GYS]\n"),
    Mistake("no space after a colon", ("bad.yaml: line 2:", "a colon has a space after it"),
            changes="name:a\naoi: {tiles: [18GYS]}\n"),
    Mistake("an empty file", ("bad.yaml: is empty", "lspipe init"), changes=""),
    Mistake("a list", ("found a list, expected keys and values",), changes="- a\n- b\n"),
    Mistake("broken JSON", ("bad.yaml: line 1: not valid YAML",), changes='{"name": "a", "aoi": {'),
    Mistake("GeoJSON for a workflow", ("bad.yaml: type: unknown key (known keys: schema_version",),
            changes=json.dumps({"type": "FeatureCollection", "features": []})),
    Mistake("a folder for a workflow", ("found a folder, expected a workflow file",),
            words=("items",)),
    Mistake("no such workflow", ("gone.yaml: no such file", "lspipe init"), words=("gone.yaml",)),
    Mistake("first and last day exchanged", ("dates.before: found start 2017-03-31 after end",),
            changes={"dates": SWAPPED}),
    Mistake("a day as it is written elsewhere",
            ("dates.after.start: found '01.01.2018', expected a day such as",),
            changes={"dates": GERMAN}),
    Mistake("a future without scenes", ("no item on the after date: 2031-01-01",), code=4,
            verb="plan", changes={"dates": FUTURE}),
    Mistake("a tile misspelt", ("aoi.tiles.0: found '18GOS', expected a Sentinel-2 tile",),
            changes={"aoi": {"tiles": ["18GOS"]}}),
    Mistake("a tile without scenes", ("no item on the before date", "tiles 18GYT"), code=4,
            verb="plan", changes={"aoi": {"tiles": ["18GYT"]}}),
    Mistake("latitudes first", ("latitudes first? then [-102.5, -43.46, -102.33, -43.33]",),
            changes={"aoi": {"bbox": [-43.46, -102.50, -43.33, -102.33]}}),
    Mistake("no file of the area", ("area.geojson: no such file; expected GeoJSON",),
            changes={"aoi": {"file": "area.geojson"}}),
    Mistake("a shapefile without .prj", ("area.shp: the file has no CRS", "a .prj"),
            changes={"aoi": {"file": "area.shp"}}, before=_shapefile_without_prj),
    Mistake("a catalogue misspelt", ("did you mean 'planetary-computer'?",),
            changes={"search": {"catalog": "planetary-computr"}}),
    Mistake("a model that is nowhere", ("models/mine.json: cannot read the model item",),
            changes={"model": {"item": "models/mine.json"}}),
    Mistake("a shipped model misspelt", ("no such model (did you mean 'bare-ground'?)",),
            changes={"model": {"item": "shipped:bare-grund"}}),
    Mistake("weights for a model", ("w.pt: these are weights: expected the model item",),
            changes={"model": {"item": "w.pt"}}),
    Mistake("a key misspelt", ("change.treshold: unknown key (did you mean 'threshold'?)",),
            changes={"change": {"treshold": 0.5}}),
    Mistake("a key in the wrong section",
            ("change.tta: not a key of this section; it belongs to inference",),
            changes={"change": {"tta": "d4"}}),
    Mistake("a number in quotes",
            ("change.threshold: found '0.5' (without quotes it is a number)",),
            changes={"change": {"threshold": "0.5"}}),
    Mistake("percent", ("change.threshold: found '50%' (0.5 is 50 %)",),
            changes={"change": {"threshold": "50%"}}),
    Mistake("a threshold of 50", ("change.threshold: found 50 (0.5 is 50 %)", "0 to 1"),
            changes={"change": {"threshold": 50}}),
    Mistake("a negative area", ("change.min_area_m2: found -900, expected square metres, 0 or",),
            changes={"change": {"min_area_m2": -900}}),
    Mistake("a preset misspelt", ("found 'ballanced' (did you mean 'balanced'?)",),
            changes={"inference": {"preset": "ballanced"}}),
    Mistake("a path of Windows", ("aoi.file: found 'C:\\\\data\\\\a.shp': a path of Windows",),
            changes={"aoi": {"file": "C:\\data\\a.shp"}}),
    Mistake("a path of Windows in double quotes", ("bad.yaml: line 2:", "write paths with /"),
            changes='name: a\naoi: {file: "C:\\data\\a.shp"}\n'),
    Mistake("~ in a path", ("output.path: found '~/runs/a': ~ is not replaced here",),
            changes={"output": {"path": "~/runs/a"}}),
    Mistake("a variable in a path", ("output.path: found '$SCRATCH/a': variables are not",),
            changes={"output": {"path": "$SCRATCH/a"}}),
    Mistake("an address of an area", ("aoi.file: found 'https://a.org/a.geojson': an address;",),
            changes={"aoi": {"file": "https://a.org/a.geojson"}}),
    Mistake("an address of a model", ("model.item: found 's3://models/a.json': an address; this",
                                      "copy it to this machine"),
            changes={"model": {"item": "s3://models/a.json"}}),
    Mistake("an address of one of several models",
            ("model.items.1: found 'https://a.org/b.json': an address;",),
            changes={"model": {"items": ["shipped:demo", "https://a.org/b.json"]}}),
    Mistake("an address of known landslides",
            ("evaluate.truth: found 'https://a.org/t.gpkg': an address;",),
            changes={"evaluate": {"truth": "https://a.org/t.gpkg"}}),
    Mistake("an address of a layer", ("flags.layers.0.path: found 'https://a.org/w.gpkg': an",),
            changes={"flags": {"layers": [{"name": "water", "path": "https://a.org/w.gpkg"}]}}),
    Mistake("an address for an output", ("output.path: ftp://host/a: found an address",),
            changes={"output": {"path": "ftp://host/a"}}),
    Mistake("an address without a bucket", ("s3:///a: expected SCHEME://BUCKET/FOLDER",),
            changes={"output": {"path": "s3:///a"}}),
    Mistake("a file for an output", ("output.path: afile: found afile, which is not a folder",),
            changes={"output": {"path": "afile"}}, before=_file("afile")),
    Mistake("an output with other files", ("holds notes.txt and no run.json",), verb="validate",
            changes={"output": {"path": "docs"}},
            before=lambda folder: ((folder / "docs").mkdir(), _file("docs/notes.txt")(folder))),
    Mistake("a level without scene classes", ("cube.mask.scl: scenes of sentinel-2-l1c have no",),
            changes={"search": {"catalog": "items", "collection": "sentinel-2-l1c"}}),
    Mistake("a GPU where there is none", ("device 'cuda'", "use 'auto' or 'cpu'"),
            changes={"inference": {**SMALL, "device": "cuda"}}),
    Mistake("a runtime that is none", ("inference.runtime: found 'tensorrt', expected auto",),
            changes={"inference": {"runtime": "tensorrt"}}),
    Mistake("no network", ("http://127.0.0.1:9/stac: cannot be reached", "check the network"),
            code=1, verb="plan", changes={"search": {"catalog": "http://127.0.0.1:9/stac"}}),
    Mistake("a verb misspelt", ("lspipe: ", "(did you mean validate?)"), verb="valdate"),
    Mistake("a flag misspelt", ("lspipe: ", "--outptu", "(did you mean --output?)"),
            verb="plan", words=("--outptu", "run")),
    Mistake("a flag of another verb", ("--limit belongs to a verb: write it after the verb",),
            words=("--limit", "3")),
    Mistake("no limit", ("--limit 0: expected 1 or more places",), verb="run",
            words=("--limit", "0")),
    Mistake("--set without =", ("--set change.threshold: expected KEY.PATH=VALUE",),
            words=("--set", "change.threshold")),
    Mistake("a tile that is not in the run", ("--tiles 18GYT: not in this run; it has 18GYS",),
            verb="run", words=("--tiles", "18GYT")),
    Mistake("status of no run", ("none: no run.json here",), verb="status", words=("none",)),
    Mistake("export before a run", ("nothing was computed of it yet; run its workflow first",),
            verb="export", words=("run",), before=_plan),
    Mistake("review before a run", ("no such file; decisions are about the list of a run",),
            verb="review", words=("run", "afile"), before=_plan),
    Mistake("review of no run", ("none/run.json: not found; is none a run directory?",),
            verb="review", words=("none",)),
    Mistake("run again with other settings", ("another workflow: inference.stride: 8 -> 4",),
            verb="run", words=("--set", "inference.stride=4"), before=_some_blocks),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an archive and a workflow that is right, as the current one."""
    make_world(tmp_path, size=64, inference=SMALL, execution={"block": 40})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the tries of a server
    return tmp_path


def words_of(mistake: Mistake, folder: Path) -> list[str]:
    """Return the command, with its wrong workflow written."""
    path = folder / "workflow.yaml"
    right = yaml.safe_load(path.read_text(encoding="utf-8"))
    if mistake.changes is not None:
        wrong = mistake.changes
        text = wrong if isinstance(wrong, str) else yaml.safe_dump(right | wrong)
        path = folder / "bad.yaml"
        path.write_text(text, encoding="utf-8")
    if mistake.words and not mistake.words[0].startswith("--"):
        return [mistake.verb, *mistake.words]
    return [mistake.verb, path.name, *mistake.words]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_named_in_a_line_and_blocks_nothing(folder, capsys, mistake):
    if mistake.before is not None:
        mistake.before(folder)
    try:
        code = main(words_of(mistake, folder))
    except SystemExit as end:  # of argparse
        code = int(str(end.code))
    answer = capsys.readouterr()
    assert (code, answer.out) == (mistake.code, "")
    lines = [
        line for line in answer.err.splitlines() if not line.startswith(("planning", "note: "))
    ]
    for part in mistake.says:
        assert part in lines[0]
    assert len(lines) <= 2, "a line, and at most what to do, or what is wrong besides"
    assert "Traceback" not in answer.err
    assert str(folder) not in answer.err, "paths start from the current folder"
    lspipe.plan(folder / "workflow.yaml", output=folder / "run")


def test_what_a_refusal_advises_is_not_refused_again(folder, capsys):
    _some_blocks(folder)
    other = ["plan", "workflow.yaml", "--set", "inference.stride=4"]
    assert main(other) == 2
    advice = capsys.readouterr().err.splitlines()[1]
    assert advice == "hint: choose another output, or run it with --fresh, which starts over"
    assert main([*other, "--output", "another"]) == 0
    assert main(["run", *other[1:], "--fresh", "--limit", "0"]) == 2
    assert "--limit 0" in capsys.readouterr().err, "it is planned before the blocks are chosen"
