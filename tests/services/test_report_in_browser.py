"""The report in a real browser: it works offline, its keys decide, and texts stay texts."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from PIL import Image

from lspipe import outputs
from lspipe.runs.opened import Run, open_run
from tests.inn import Pair, workflow_of, write_archive
from tests.reviewing import shown
from tests.services.servers import ROOT, missing
from tests.worlds import NEW_SCAR, OLD_SCAR, ground, lspipe, make_world, quick_world

BROWSING = Path(__file__).with_name("browsing.py")
PYTHON = ROOT / ".venv-browser" / "bin" / "python"

SCARS = (NEW_SCAR, (20, 20, 8, 6), (20, 180, 12, 12), (190, 40, 6, 20))
"""New ones, of 4.2, 0.48, 1.44 and 1.2 ha."""

HOSTILE = "<script>alert(1)</script>"


def chromium() -> str:
    """Return the program, or skip."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    return found or missing("no chromium here; install it (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def run(tmp_path_factory, cluster) -> Path:
    """A finished run of four new scars and an old one."""
    world = make_world(
        tmp_path_factory.mktemp("world"),
        after={"values": ground(OLD_SCAR, *SCARS)},
        cluster=cluster,
        output={"path": "run", "write": ["geoparquet", "report"]},
    )
    answer = lspipe("run", world.workflow)
    assert answer.returncode == 0, answer.stderr
    return world.run


def look_through(report: Path, decisions: Path) -> dict:
    if not PYTHON.exists():
        missing(
            f"no Playwright in {PYTHON.parent.parent}; `.ci/run` installs it, or: python -m venv "
            ".venv-browser && .venv-browser/bin/pip install playwright"
        )
    answer = subprocess.run(
        [PYTHON, BROWSING, chromium(), report, decisions],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def seen(run, tmp_path_factory) -> dict:
    """What a person saw who looked through the report of the run."""
    file = tmp_path_factory.mktemp("downloads") / "decisions.geojson"
    return {**look_through(run / "report.html", file), "file": file}


@pytest.fixture(scope="module")
def listed(run) -> gpd.GeoDataFrame:
    return gpd.read_parquet(run / "inventory.parquet").set_index("id")


def test_nothing_is_asked_for_and_nothing_goes_wrong(seen, run):
    assert set(seen["requests"]) <= {(run / "report.html").resolve().as_uri()} | {
        url for url in seen["requests"] if url.startswith(("data:", "blob:"))
    }
    assert seen["console"] == seen["errors"] == seen["dialogs"] == []


def test_each_object_is_a_row(seen, listed):
    assert sorted(seen["ids"]) == sorted(listed.index)
    assert len(listed) == 5
    assert seen["count"] == "5 of 5"


def test_a_column_sorts_both_ways(seen, listed):
    areas = sorted(round(area / 1e4, 2) for area in listed["area_m2"])
    assert seen["areas_ascending"] == areas
    assert seen["areas_descending"] == areas[::-1]


def test_filters_leave_what_they_say(seen, listed):
    large = listed.index[listed["area_m2"] >= 5000]
    assert sorted(seen["from_half_a_hectare"]) == sorted(large)
    assert len(large) == 4
    old = listed.index[listed["status"] == "persistent"]
    assert seen["persistent_by_text"] == list(old)
    assert set(seen["ids"]) - set(seen["without_persistent"]) == set(old)


def test_a_click_on_a_row_moves_the_map_and_shows_both_dates(seen):
    assert seen["chosen"] == seen["second"] == seen["heading"]
    assert seen["view_of_second"] != seen["view_at_first"]
    assert len(seen["chip_widths"]) == 2
    assert min(seen["chip_widths"]) >= 48
    assert seen["outlines"] == 2


def test_the_map_moves_by_keys_and_shows_everything_again(seen):
    assert seen["keys_move_the_map"]
    whole, first = (
        np.array(seen[name].split(), float) for name in ("view_at_last", "view_at_first")
    )
    np.testing.assert_allclose(whole, first, rtol=1e-6)


def test_the_line_between_the_dates_is_dragged(seen):
    assert float(seen["swipe_after_drag"]) == pytest.approx(25, abs=2)


def test_the_map_shows_a_new_scar_after_and_not_before(seen):
    after, before = (picture_of(seen["pixels"][share]) for share in ("0", "100"))
    # The object that was chosen lies in the middle.
    rows, columns = (slice(length // 2 - 5, length // 2 + 5) for length in after.shape[:2])
    brighter = after[rows, columns].mean() - before[rows, columns].mean()
    assert brighter > 30


def test_a_click_on_an_object_of_the_map_chooses_it(seen):
    assert seen["clicked"] == seen["new"]


def picture_of(text: str) -> np.ndarray:
    """Return a picture as numbers (y, x, RGB)."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_keys_decide_and_a_reload_keeps_the_decisions(seen):
    answers = [seen["decided"][name] for name in seen["ids"]]
    assert answers == ["true", "false", "unsure", "-", "-"]
    assert seen["after_reload"] == seen["decided"]


def test_what_was_downloaded_is_what_review_reads(seen, run, listed):
    before = listed.geometry
    answer = lspipe("review", run, seen["file"], "--who", "Ana")
    assert answer.returncode == 0, answer.stderr
    assert "3 decisions, 0 taken back" in answer.stdout
    shown = gpd.read_parquet(run / "inventory.parquet").set_index("id")["reviewed"].dropna()
    decided = {name: text for name, text in seen["decided"].items() if text != "-"}
    assert shown.to_dict() == decided
    kept = gpd.read_parquet(run / "reviews.parquet").set_index("id")
    assert set(kept["who"]) == {"Ana"}
    for name, shape in kept.geometry.items():
        assert shape.symmetric_difference(before[name]).area < 1e-3 * before[name].area


def test_decisions_on_the_date_line_come_back_where_they_were(tmp_path, cluster):
    world = quick_world(
        tmp_path / "world",
        tile="01KAB",
        aoi={"bbox": [179.98, -16.93, -179.98, -16.89]},
        cluster=cluster,
        output={"path": "run", "write": ["geoparquet", "report"]},
    )
    assert lspipe("run", world.workflow).returncode == 0
    file = tmp_path / "decisions.geojson"
    look_through(world.run / "report.html", file)
    shapes = gpd.read_parquet(world.run / "inventory.parquet").set_index("id").geometry
    found = gpd.read_file(file).set_index("id").geometry
    assert shapes.bounds["minx"].min() == -180
    for name, shape in found.items():
        assert shape.symmetric_difference(shapes[name]).area < 1e-3 * shapes[name].area


@pytest.mark.real
def test_a_real_run_is_reviewed_in_its_report_and_a_sample_of_it_is_told(
    real_data, tmp_path, cluster
):
    write_archive(tmp_path, Pair.of(real_data))
    output = {"path": "run", "write": ["geoparquet", "gpkg", "report"]}
    assert lspipe("run", workflow_of(tmp_path, tmp_path, cluster, output=output)).returncode == 0
    run, file = tmp_path / "run", tmp_path / "decisions.geojson"
    assert lspipe("review", run, "--sample", "1").returncode == 0
    seen = look_through(run / "report.html", file)
    assert seen["console"] == seen["errors"] == seen["dialogs"] == []
    listed = gpd.read_parquet(run / "inventory.parquet").sort_values("rank")
    # The page shows the first hundred, in the order to look at them.
    assert seen["ids"] == listed["id"].tolist()[:100]
    decided = {name: text for name, text in seen["decided"].items() if text != "-"}
    assert list(decided.values()) == ["true", "false", "unsure"]
    assert seen["sampled"] is None
    assert lspipe("review", run, file).returncode == 0
    assert shown(run / "inventory.gpkg") == decided
    # The report shows what was taken in, and the browser keeps what it had.
    again = look_through(run / "report.html", file)
    assert again["at_first"] == seen["decided"]
    assert again["sampled"] == "50 %, 9 to 91"


def test_an_id_that_is_a_script_stays_a_text(run, tmp_path):
    opened = open_run(run)
    table = opened.inventory.copy()
    table.loc[0, "id"] = HOSTILE
    record = {**opened.record, "name": HOSTILE, "warnings": [HOSTILE]}
    hostile = Run(run, record, {"inventory": table, "unobserved": opened.unobserved})
    report = outputs.write("report", hostile, tmp_path / "report.html")
    seen = look_through(report, tmp_path / "decisions.geojson")
    assert seen["dialogs"] == seen["console"] == seen["errors"] == []
    assert HOSTILE in seen["ids"]
