"""What the documents say is so: the map, the promises, the examples, the workflows, the links."""

from __future__ import annotations

import doctest
import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from odc.geo.geobox import GeoBox

import docs.outside
import docs.reference
import lspipe
from lspipe import errors, models, preprocess
from lspipe.change.coverage import NO_SCENE
from lspipe.cli import arguments, main
from lspipe.evaluate import scorecard
from lspipe.runs import store
from lspipe.runs.registration import NOT_COMPARED
from lspipe.schema import Quality, columns, maps
from lspipe.workflow import Workflow, json_schema
from tests.worlds import FOREST, NEW_SCAR, OLD_SCAR, SCAR, environment, quick_world

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "lspipe"
README = ROOT / "README.md"
MAP = PACKAGE / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
NOTEBOOK = DOCS / "two-geotiffs.ipynb"
WORKFLOWS = sorted((ROOT / "workflows").glob("*.yaml"))
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        MAP,
        *(ROOT / "workflows").glob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
        *(ROOT / "deploy").glob("*.md"),
        *PAGES,
    ]
)
FILES = sorted(
    path
    for folder in ("lspipe", "tests", "benchmarks", "docs", "workflows", "deploy")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md", ".yaml", ".yml", ".toml", ".json"}
) + sorted(path for path in ROOT.glob("*") if path.suffix in {".md", ".toml", ".txt"})
"""Text files of the project."""


def blocks(document: Path, language: str = "") -> list[str]:
    """Fenced blocks of a language in a document, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.M | re.S)


def section(document: Path, title: str) -> str:
    """Text under a heading of the second level."""
    return re.split(rf"^## {title}$", document.read_text(), flags=re.M)[1].split("\n## ")[0]


# --- the map ------------------------------------------------------------------------------------


def mapped() -> set[str]:
    """Paths on the map, folders with a slash at their end."""
    lines = re.search(r"```\n(.*?)```", section(MAP, "Modules"), re.S)[1].splitlines()
    found: list[str] = []
    folders: list[str] = []
    for line in lines:
        entry = re.fullmatch(r"((?:  )*)([\w.]+(?:\.\w+|/)) +\S.*", line)
        if entry is None:
            continue
        indent, name = entry.groups()
        folders = folders[: len(indent) // 2]
        found.append("".join(folders) + name)
        if name.endswith("/"):
            folders.append(name)
    assert len(found) == len(set(found)), "the map names something twice"
    return set(found)


def test_every_module_is_on_the_map() -> None:
    for path in PACKAGE.rglob("*.py"):
        inside = path.relative_to(PACKAGE)
        is_package = inside.name == "__init__.py" and len(inside.parts) > 1
        name = f"{inside.parent}/" if is_package else str(inside)
        assert name in mapped(), f"lspipe/README.md lacks {name}"


def test_everything_on_the_map_is_there() -> None:
    for name in mapped():
        assert (PACKAGE / name).exists(), f"lspipe/README.md names {name}, which is not there"


def test_the_layers_of_the_map_are_those_that_are_checked() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts = tools["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    drawn = re.search(r"```\n(.*?)```", section(MAP, "Layers"), re.S)[1].split("\n")[:-1]
    assert drawn == layers


def test_every_promise_is_held_by_tests_that_exist() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    rows = re.findall(r"^\| (.*?) \| (`test_.*) \|$", section(MAP, "Promises"), re.M)
    assert [row[0].split(".")[0] for row in rows[:11]] == [str(n) for n in range(1, 12)]
    for promise, names in rows:
        for name in re.findall(r"`(\w+)`", names):
            assert f"def {name}(" in tests, f"{promise}: there is no {name}"


# --- README and the pages -----------------------------------------------------------------------


def test_the_readme_is_a_front_page() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with what the examples read."""
    monkeypatch.chdir(tmp_path)
    for name, scars in (("before", [OLD_SCAR]), ("after", [OLD_SCAR, NEW_SCAR])):
        write_reflectance(tmp_path / f"{name}.tif", scars)
    quick_world(tmp_path, cluster={"workers": 1}).workflow.rename("my.yaml")
    write_store(tmp_path / "runs" / "demo")
    return tmp_path


def write_reflectance(path: Path, scars: list[tuple[int, int, int, int]]) -> None:
    bands = ("B02", "B04", "B08", "B11")
    pixels = np.empty((len(bands), 200, 180), np.float32)
    for band, layer in zip(bands, pixels, strict=True):
        layer[:] = FOREST[band]
        for row, column, height, width in scars:
            layer[row : row + height, column : column + width] = SCAR[band]
    pixels[:, :, -10:] = np.nan
    with rasterio.open(
        path, "w", driver="GTiff", width=180, height=200, count=4, dtype="float32",
        crs="EPSG:32718", transform=Affine(10, 0, 700000, 0, -10, 5200000), nodata=np.nan,
    ) as file:  # fmt: skip
        file.write(pixels)


def write_store(run: Path) -> None:
    """A run directory with one tile of one block, as the demo's."""
    geobox = GeoBox((40, 50), Affine(10, 0, 710160, 0, -10, 5195600), "EPSG:32718")
    grid = store.Grid(
        tile="18GYS", geobox=geobox, times=(1612449451, 1644417459), roles=("before", "after"),
        chunk=50, block=50, blocks=(1, 1),
    )  # fmt: skip
    store.create(run, [grid], fingerprint="demo")
    codes = np.full((40, 50), 7000, np.uint16)
    codes[0, 0] = 65535
    core = (slice(0, 40), slice(0, 50))
    layers = {"probability": codes, "quality": np.zeros((40, 50), np.uint8)}
    store.write_block(run, "18GYS", 1, (0, 0), core, detections=layers, evidence={})
    record = {
        "name": "demo",
        "state": "partial",
        "workflow": {"dates": {"before": {}, "after": {}}},
        "tiles": {"18GYS": {"blocks": 1, "steps": ["before", "after"]}},
    }
    store.write_json(run / "run.json", record)


def examples() -> list[str]:
    """Blocks of Python in README.md and on the pages."""
    return [block for page in (README, *PAGES) for block in blocks(page, "python")]


def run_example(holds: str, folder: Path) -> str:
    """Run the only block of Python that holds a text; returns what it printed."""
    (example,) = (block for block in examples() if holds in block)
    return run_python(example, folder)


def run_python(text: str, folder: Path) -> str:
    script = folder / "example.py"
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        # Pictures are drawn into memory.
        env=environment() | {"MPLBACKEND": "Agg"},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_ten_lines_list_what_changed(here, capsys) -> None:
    (example,) = (block for block in examples() if "lspipe.compare" in block)
    assert len([line for line in example.splitlines() if line.strip()]) == 10
    (here / "example.py").write_text(example)
    runpy.run_path("example.py")
    found = gpd.read_file("landslides.gpkg")
    assert sorted(found["status"]) == ["new", "persistent"]
    area = found.set_index("status")["area_m2"]
    assert area["new"] == pytest.approx(100 * NEW_SCAR[2] * NEW_SCAR[3], rel=1e-3)
    assert "persistent" in capsys.readouterr().out


def test_a_script_runs_a_workflow(here) -> None:
    assert "'new': 1" in run_example("lspipe.run", here)
    assert (here / "runs" / "my" / "inventory.parquet").exists()


def test_a_stored_map_becomes_a_geotiff(here) -> None:
    run_example("open_run", here)
    with rasterio.open("probability.tif") as file:
        assert file.crs.to_epsg() == 32718
        assert file.transform == Affine(10, 0, 710160, 0, -10, 5195600)
        values = file.read(1)
    assert np.isnan(values[0, 0])
    np.testing.assert_allclose(values[1:], 0.7, rtol=1e-6)


def test_the_model_that_a_page_packs_keeps_its_word(here) -> None:
    run_example("pack(network", here)
    item = models.read_item("models/my-model.json")
    assert (item.id, item.window) == ("my-model", 128)
    assert main(["model", "check", "models/my-model.json"]) == 0


def test_a_pair_made_of_two_arrays_is_seen_by_a_pair_model(here) -> None:
    (example,) = (block for block in examples() if "bare-change" in block)
    (here / "pair.py").write_text(example)
    landslides = runpy.run_path("pair.py")["landslides"]
    forest, scar = (
        xr.DataArray(
            np.full((2, 40, 40), np.reshape(values, (2, 1, 1))),
            dims=("band", "y", "x"),
            coords={"band": ["B04", "B08"]},
        )
        for values in ((0.03, 0.30), (0.16, 0.22))
    )
    assert (landslides(forest, scar) > 0.8).all()
    assert (landslides(scar, forest) < 0.1).all()


def test_the_mask_that_a_page_shows_masks(here, monkeypatch) -> None:
    (example,) = (block for block in examples() if "mymasks.py" in block)
    (here / "mymasks.py").write_text(example)
    monkeypatch.syspath_prepend(str(here))
    (mask,) = preprocess.masks.sources(preprocess.MaskSpec(source="mymasks:white"))
    pixels = np.array([[[0.5, 0.5, np.nan]], [[0.5, 0.1, np.nan]]], np.float32)
    assert mask.bands == ("B02", "B04")
    assert mask.bits(pixels, "L2A").tolist() == [[int(Quality.CLOUD), 0, 0]]


def test_every_python_block_is_run() -> None:
    # One test above for each.
    assert len(examples()) == 6


def test_the_notebook_runs_and_lists_landslides(tmp_path) -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    text = "\n".join([*code, "figure.savefig('map.png')"])
    # Without a screen, `show` warns, and does nothing.
    run_python("import warnings\nwarnings.simplefilter('ignore')\n" + text, tmp_path)
    listed = gpd.read_file(tmp_path / "landslides.gpkg")
    assert {"new", "persistent"} <= set(listed["status"])
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_the_notebook_is_kept_without_what_it_printed() -> None:
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs"), cell["source"]
        assert cell.get("execution_count") is None, cell["source"]


def test_the_workflow_in_the_readme_is_valid(tmp_path) -> None:
    (text,) = blocks(README, "yaml")
    path = tmp_path / "w.yaml"
    path.write_text(text)
    workflow = Workflow.from_file(path)
    required = {name for name, field in Workflow.model_fields.items() if field.is_required()}
    assert set(yaml.safe_load(text)) == required
    assert set(workflow.dates.ranges()) == {"before", "after"}


def rows(page: str, title: str) -> dict[str, list[str]]:
    """Rows of the tables under a heading of a page, by what their first cell names."""
    found = re.findall(r"^\| `?([\w ]+?)`? \|(.*)\|$", section(DOCS / page, title), re.M)
    return {name: [cell.strip() for cell in rest.split(" |")] for name, rest in found}


@pytest.mark.parametrize("name", docs.reference.PAGES)
def test_a_reference_page_is_what_the_code_says(name) -> None:
    if name == "workflow.md" and "description" not in json_schema()["$defs"]["AreaSpec"]:
        pytest.skip("this old pydantic leaves the docstrings of sections out of the schema")
    assert docs.reference.text_of(name) == (DOCS / name).read_text(), (
        "run: python docs/reference.py"
    )


def test_the_front_page_quotes_the_page_of_evidence() -> None:
    limits = section(README, "Limits").partition("[What was measured]")[0]
    quoted = re.findall(r"\d\.\d\d(?: \(\d\.\d\d to \d\.\d\d\))?", limits)
    assert len(quoted) >= 2
    measured = (DOCS / "evidence.md").read_text()
    assert [number for number in quoted if number not in measured] == []


def test_a_word_of_the_schema_that_the_reference_does_not_know_is_an_error() -> None:
    key = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "null"}]}
    assert docs.reference.kind(key, {}) == "whole number, 1 to 9"
    with pytest.raises(ValueError, match="the schema says contentEncoding"):
        docs.reference.kind({"type": "string", "contentEncoding": "base64"}, {})


def test_every_reason_has_a_meaning() -> None:
    assert (*maps.REASON_NAMES, NO_SCENE, NOT_COMPARED) == tuple(columns.REASONS)


def test_every_error_is_described_with_its_exit_code() -> None:
    classes = {
        name: str(thing.exit_code)
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, errors.LspipeError)
    }
    table = rows("troubleshooting.md", "Errors")
    assert {name: cells[0] for name, cells in table.items() if name != "class"} == classes


def test_exit_codes_are_those_of_the_command_line() -> None:
    codes = [name for name in rows("troubleshooting.md", "Exit codes") if name.isdigit()]
    assert codes == ["0", "1", "2", "3", "4", "130"]


def test_every_verb_is_described() -> None:
    described = re.findall(r"^\| `lspipe ([a-z]+)` \|", (DOCS / "commands.md").read_text(), re.M)
    usage = arguments.parser().format_help()
    verbs = re.findall(r"^    ([a-z]+)  ", usage, re.M)
    assert sorted(described) == sorted(verbs)


def test_the_scores_that_are_told_are_those_of_the_scorecard() -> None:
    card = scorecard.read(models.read_item("shipped:l4s-rgb"))
    (blocks,) = [row for row in card.patches if row.data.startswith("l4s_rgb, each of")]
    scenes = [row for row in card.patches if row.data.startswith("l4s_rgb, originals")]
    low, high = blocks.intervals.f1
    for page in (README, DOCS / "models.md"):
        assert f"{blocks.micro.f1:.2f} ({low:.2f} to {high:.2f})" in page.read_text()
        assert all(f"{row.micro.f1:.2f}" in page.read_text() for row in scenes)
        # A place that is kept apart: of version 1, in words only, as its patches are not at hand.
        assert "0.41 (0.36 to 0.45)" in page.read_text()
    assert "F1 0.408 (0.36 to 0.45)" in card.not_to_be_read_as


def test_every_page_is_in_the_menu_of_the_site() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(entries(site["nav"])) == [page.name for page in PAGES]


def entries(menu: object) -> list[str]:
    """Pages that a menu names."""
    if isinstance(menu, str):
        return [menu]
    parts = menu.values() if isinstance(menu, dict) else menu
    return [page for part in parts for page in entries(part)]


def test_the_site_links_to_nothing_that_it_does_not_have() -> None:
    for page in PAGES:
        shown = docs.outside.on_page_markdown(page.read_text())
        assert "](../" not in shown, page.name
    assert doctest.testmod(docs.outside).failed == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_shown_is_one_that_exists(document, capsys) -> None:
    inline = re.findall(r"`([^`\n]+)`", document.read_text())
    shown = "\n".join([*blocks(document), *inline])
    for verb in set(re.findall(r"^(?:\$ |\S*bin/)?lspipe ([a-z]+)\b", shown, re.M)):
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0, f"{document.name} shows lspipe {verb}"
    capsys.readouterr()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = document.parent / path if path else document
        assert there.exists(), f"{document.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text(), re.M)
            anchors = {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
            assert anchor in anchors, f"{document.name}: {target}"


# Notes that the project was built from. The brackets keep this file from citing them itself.
NOTES = re.compile(r"\b(?:SCIENC[E]|DESIG[N]|PERFORMANC[E]|STAC[K]|PEER[S])\b")


def test_no_file_cites_a_document_that_is_not_here() -> None:
    for path in FILES:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            assert not NOTES.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


def cited(text: str) -> set[tuple[str, str]]:
    """Pages of docs/ that a text cites, and the section, empty where none is named."""
    # A citation may run over a line of a docstring or of comments.
    flat = re.sub(r"\n\s*(?:#\s*)?", " ", text)
    return set(re.findall(r"docs/([a-z]+\.md)(?:,( [A-Z][\w ]*))?", flat))


def test_every_section_that_is_cited_is_there() -> None:
    count = 0
    for path in FILES:
        for page, name in cited(path.read_text()):
            assert (ROOT / "docs" / page).exists(), f"{path.relative_to(ROOT)} cites docs/{page}"
            titles = re.findall(r"^## (.*)$", (ROOT / "docs" / page).read_text(), re.M)
            is_there = any(re.match(rf" {re.escape(title)}\b", name) for title in titles)
            assert is_there or not name, f"{path.relative_to(ROOT)} cites docs/{page},{name}"
            count += bool(name)
    assert count > 30


def test_pictures_are_small() -> None:
    for picture in (ROOT / "docs").glob("*.png"):
        assert picture.stat().st_size < 300_000, picture.name


def test_the_changelog_is_ready_for_the_next_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^##+ (.*)$", text, re.M)
    assert headings[:5] == ["Unreleased", "Added", "Changed", "Fixed", lspipe.__version__]


# --- workflows, benchmarks ----------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_workflow_is_valid_and_in_the_table(path, capsys) -> None:
    assert main(["validate", str(path)]) == 0, capsys.readouterr().err
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith(f"{path.name}: valid ({models_name(path)})")
    assert f"[{path.name}]({path.name})" in (path.parent / "README.md").read_text()
    assert Workflow.from_file(path).name == path.stem
    assert path.read_text().startswith("# "), "a workflow begins with its story"


def models_name(path: Path) -> str:
    item = Workflow.from_file(path).model.item
    return item.removeprefix("shipped:")


def test_every_benchmark_is_in_the_table() -> None:
    table = (ROOT / "benchmarks" / "README.md").read_text()
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert f"[{path.name}]({path.name})" in table
