"""A run as Debian's QGIS 3.22 and GDAL 3.6 open it: list, gaps, maps and project, styled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from lspipe.outputs.colours import STATES, STATUSES, as_hex
from lspipe.outputs.qgis_styles import ANSWERS
from lspipe.runs.opened import open_run
from lspipe.schema import State
from tests.worlds import OLD_SCAR, ground, lspipe, make_world

PROJECT = Path(__file__).with_name("qgis_project.py")
PYTHON = Path("/usr/bin/python3")
"""Debian's own, which its QGIS is made for."""

FORMATS = ["geoparquet", "gpkg", "cog", "qgis"]


def has_qgis() -> bool:
    if not PYTHON.exists() or sys.platform != "linux":
        return False
    return subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory, cluster) -> Path:
    """A finished run with clouds, moved elsewhere: a project must not know where it was made."""
    world = make_world(
        tmp_path_factory.mktemp("world"),
        size=(200, 240),
        before={"values": ground(OLD_SCAR, (144, 174, 12, 12))},
        after={"clouds": ((150, 180, 12),)},
        cluster=cluster,
        output={"path": "run", "write": FORMATS},
    )
    answer = lspipe("run", world.workflow)
    assert answer.returncode == 0, answer.stderr
    return shutil.move(world.run, tmp_path_factory.mktemp("elsewhere") / "run")


@pytest.fixture(scope="module")
def seen(run, tmp_path_factory) -> tuple[dict, Path]:
    """What QGIS found, and the folder of its pictures."""
    if not has_qgis():
        if os.environ.get("LSPIPE_SERVICES") == "required":
            pytest.fail("QGIS is required: apt-get install python3-qgis")
        pytest.skip("no QGIS: apt-get install python3-qgis")
    pictures = tmp_path_factory.mktemp("pictures")
    # Without the variables of this environment, whose PROJ and GDAL are others.
    plain = {"PATH": "/usr/bin:/bin", "HOME": str(pictures), "XDG_RUNTIME_DIR": str(pictures)}
    answer = subprocess.run(
        [PYTHON, PROJECT, run, pictures], capture_output=True, text=True, env=plain
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1]), pictures


def layer(seen: tuple[dict, Path], name: str) -> dict:
    return next(one for one in seen[0]["layers"] if one["name"] == name)


def test_the_project_opens_with_every_layer_and_without_a_complaint(seen, run):
    facts, _ = seen
    assert facts["opened"]
    assert facts["crs"] == "EPSG:32718"
    assert [one["name"] for one in facts["layers"]] == [
        "inventory", "candidates", "unobserved", "change", "probability after",
        "probability before", "quality after", "quality before", "after", "before",
    ]  # fmt: skip
    assert all(one["valid"] for one in facts["layers"])
    assert all(one["source"].startswith(str(run)) for one in facts["layers"])
    credit = "Contains modified Copernicus Sentinel data 2017, 2018, processed by lspipe"
    assert all(one["rights"] == [credit] for one in facts["layers"])
    # What was there is under what is: to see what is new, the upper one is switched off.
    assert facts["on"] == ["inventory", "candidates", "unobserved", "after", "before"]
    # Not what QGIS tells of the machine itself.
    names = (str(run), "inventory", "unobserved", ".vrt", ".tif")
    assert [text for text in facts["told"] if any(name in text for name in names)] == []


def test_the_list_has_a_colour_for_each_status_with_and_without_the_project(seen):
    for facts in (layer(seen, "inventory"), seen[0]["alone"]):
        assert facts["column"] == "status"
        found = {status: colour for status, (colour, _) in facts["colours"].items()}
        assert found == {status: as_hex(colour) for status, colour in STATUSES.items()}
        assert facts["aliases"]["area_m2"] == "area_m2, m²"
        assert '"status"' in facts["tip"]


def test_candidates_under_clouds_have_a_layer_of_their_own(seen, run):
    status = open_run(run).inventory["status"]
    assert 0 < (status == "undetermined").sum() < len(status)
    assert layer(seen, "candidates")["rows"] == (status == "undetermined").sum()
    assert layer(seen, "inventory")["rows"] == (status != "undetermined").sum()
    # The table alone has both.
    assert seen[0]["alone"]["rows"] == len(status)


def test_only_the_decision_can_be_edited_and_from_a_list(seen):
    for facts in (layer(seen, "inventory"), seen[0]["alone"]):
        offered = [next(iter(one.items())) for one in facts["answers"]["map"]]
        assert [name for name, _ in offered] == list(ANSWERS.values())
        assert [value for _, value in offered][1:] == list(ANSWERS)[1:]
        assert "reviewed" not in facts["read_only"]
        assert {"id", "status", "area_m2"} <= set(facts["read_only"])


def test_what_was_not_observed_is_hatched_by_reason(seen):
    facts = layer(seen, "unobserved")
    assert facts["column"] == "reason"
    assert "cloud" in facts["colours"]
    # 12 is Qt's pattern of diagonals to the left; 1 would hide what lies below.
    assert {pattern for _, pattern in facts["colours"].values()} == {12}


def test_objects_are_drawn_in_the_colour_of_their_status_and_changes_in_theirs(seen, run):
    _, pictures = seen
    listed = pixels(pictures / "inventory.png")
    present = set(open_run(run).inventory["status"]) - {"undetermined"}
    assert {"new", "persistent"} <= present
    for status, colour in STATUSES.items():
        count = np.count_nonzero((listed == colour[:3]).all(axis=-1))
        expected = status in present or colour in [STATUSES[one] for one in present]
        assert (count > 20) == expected, status
    changed = pixels(pictures / "change.png")
    assert np.count_nonzero((changed == STATES[State.GAIN][:3]).all(axis=-1)) > 20
    # The picture of the ground fills the map, five sixths of the square.
    assert (pixels(pictures / "default.png") != 255).any(axis=-1).mean() > 0.8


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return np.moveaxis(file.read()[:3], 0, -1)


# --- GDAL ---------------------------------------------------------------------------------------


def gdal(*words: object) -> subprocess.CompletedProcess[str]:
    program = shutil.which(str(words[0]), path="/usr/bin:/bin")
    if program is None:
        if os.environ.get("LSPIPE_SERVICES") == "required":
            pytest.fail(f"{words[0]} is required: apt-get install gdal-bin")
        pytest.skip(f"no {words[0]}: apt-get install gdal-bin")
    return subprocess.run(
        [program, *map(str, words[1:])], capture_output=True, text=True, env={"PATH": "/usr/bin"}
    )


def test_an_older_gdal_reads_every_layer(run, tmp_path):
    # A copy, as GDAL keeps the statistics that it is asked for beside the file.
    folder = shutil.copytree(run / "layers", tmp_path / "layers")
    files = sorted(path for path in folder.iterdir() if path.suffix in {".tif", ".vrt"})
    assert len(files) == 14
    for path in files:
        answer = gdal("gdalinfo", "-json", "-stats", path)
        assert (answer.returncode, answer.stderr) == (0, ""), path
        facts = json.loads(answer.stdout)
        assert facts["size"] == [240, 200]
        assert "noDataValue" in facts["bands"][0]


def test_an_older_gdal_names_the_classes_of_a_layer(run):
    (layer,), (mosaic,) = ((run / "layers").glob(f"*change{end}") for end in (".tif", "_*.vrt"))
    for path in (layer, mosaic):
        assert "1: gain\n" in gdal("gdalinfo", path).stdout


def test_an_older_gdal_reads_the_list_and_the_gaps_without_a_warning(run):
    for name, table in (("inventory", "inventory"), ("unobserved", "unobserved")):
        answer = gdal("ogrinfo", "-so", "-ro", run / "inventory.gpkg", table)
        assert (answer.returncode, answer.stderr) == (0, ""), name
        assert f"Feature Count: {len(getattr(open_run(run), name))}" in answer.stdout
