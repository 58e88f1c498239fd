"""`lspipe evaluate`: what is printed, what is written, and what is refused at the command line."""

from __future__ import annotations

import argparse
import json
import re
import sys
import xml.etree.ElementTree as ET

import geopandas as gpd
import numpy as np
import pyogrio
import pytest

from lspipe.cli import main
from lspipe.cli.arguments import parser
from lspipe.evaluate import figures, score_run, write_scores
from lspipe.evaluate.ground import LINE_BUFFER_M
from lspipe.evaluate.metrics import MATCH_IOU, MATCH_SHARE
from lspipe.evaluate.points import RADIUS_M
from lspipe.evaluate.score_files import FILES, LAYER
from tests.scored import inventory, make_run, square, table

LISTED = [square(0, 0, 10, 12), square(0, 20, 10, 4), square(20, 0, 10, 12)]
KNOWN = [square(0, 3, 10, 12), square(20, 25, 10, 12)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and the file of what is known."""
    folder = tmp_path_factory.mktemp("made")
    run = make_run(folder, inventory(LISTED))
    table(*KNOWN).to_file(folder / "known.gpkg")
    return run, folder / "known.gpkg"


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """A run of which a person decided about 60 landslides; the more confident, the more right."""
    confidence = np.repeat([0.9, 0.5], 30)
    reviewed = np.where(np.arange(60) % 30 < np.repeat([24, 9], 30), "true", "false")
    shapes = [square(row, column, 2, 3) for row in range(0, 40, 4) for column in range(0, 24, 4)]
    return make_run(
        tmp_path_factory.mktemp("decided"),
        inventory(shapes, confidence=confidence, reviewed=reviewed),
    )


def told(capsys, *words):
    """Exit code, stdout and stderr of `lspipe evaluate`."""
    code = main(["evaluate", *map(str, words)])
    return code, *capsys.readouterr()


def test_the_text_gives_each_score_with_its_counts_and_rule(made, capsys):
    run, known = made
    code, out, err = told(capsys, run, "--truth", known)
    assert (code, err) == (0, "")
    for line in (
        r"ground +0\.16 km2 observed on every date, inside the area",
        r"listed +3 new landslides",
        r"known +2 landslides in\s.*known\.gpkg",
        r"by pixels +precision +recall +F1 +IoU +MCC",
        # 90 of 280, and of 240.
        r" +0\.32 +0\.38 +0\.35 +0\.21 +0\.\d\d",
        r"by objects +precision 0\.33 \(0\.06 to 0\.79\): 1 of 3 are right",
        r" +recall 0\.50 \(0\.09 to 0\.91\): 1 of 2 were found",
        r" +IoU of right ones 0\.60 on average, 0\.60 all together",
        r"rule +right = IoU with the known landslides it touches at least 0\.1, or",
        r"10 000 to 100 000 +1 +1 +1 +1",
        r"decisions +none yet about these landslides; see: lspipe review",
    ):
        assert re.search(f"^{line}", out, re.M), line
    assert max(map(len, out.splitlines())) <= 80 + len(str(known))


def test_facts_for_machines_are_those_of_python(made, capsys):
    run, known = made
    _, out, _ = told(capsys, run, "--truth", known, "--json")
    facts = json.loads(out)
    assert facts.pop("files") == []
    expected = score_run(run, known).as_json()
    assert facts == json.loads(json.dumps(expected))


def test_flags_reach_what_they_name(made, tmp_path, capsys):
    run, known = made
    table(square(20, 0, 10, 40)).to_file(tmp_path / "towns.gpkg")
    towns = tmp_path / "towns.gpkg"
    words = [run, "--truth", known, "--json"]
    _, out, _ = told(capsys, *words, "--without", f"{towns}, {towns}", "--iou", 0.7, "--share", 1)
    facts = json.loads(out)
    assert [layer["file"] for layer in facts["without"]] == [str(towns)] * 2
    # The second has nothing left to take out.
    assert [round(layer["km2"], 2) for layer in facts["without"]] == [0.04, 0]
    assert (facts["listed_left_out"], facts["known_left_out"]) == (1, 1)
    assert facts["objects"]["right"] == 0
    _, out, _ = told(capsys, *words, "--points", "--radius", 300)
    assert json.loads(out)["points"]["hit"] == 2


@pytest.mark.parametrize(("words", "message"), [
    (["--radius", "-1", "--points"], "--radius -1: expected a distance"),
    (["--buffer", "0"], "--buffer 0: expected a distance"),
    (["--iou", "0"], "--iou 0: expected more than 0"),
    (["--layer", "two"], "no layer 'two', expected one of known"),
    (["--output", "https://x/y"], "found an address, expected a folder"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_with_the_flags(made, capsys, words, message):
    run, known = made
    code, out, err = told(capsys, run, "--truth", known, *words)
    assert (code, out) == (2, "")
    assert message in err


def test_without_an_inventory_and_decisions_there_is_nothing_to_score(made, capsys):
    code, _, err = told(capsys, made[0])
    assert code == 2
    assert "nobody decided about its new landslides yet, and no --truth FILE" in err


def test_a_run_that_is_not_finished_is_scored_and_it_is_said(tmp_path, made, capsys):
    run = make_run(tmp_path, inventory(LISTED))
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"state": "partial"}))
    code, _, err = told(capsys, run, "--truth", made[1])
    assert (code, err) == (0, "note: the run is partial: what is not done yet is not scored\n")


def test_decisions_alone_are_scored(decided, tmp_path, capsys):
    code, out, _ = told(capsys, decided, "--output", tmp_path / "scores")
    assert code == 0
    assert re.search(r"^decisions +33 of 60 are right: 0\.55 \(0\.42 to 0\.67\)", out, re.M)
    assert re.search(r"^0\.9 to 1\.0 +30 +24 +0\.80", out, re.M)
    assert re.search(
        r"^calibrated +on 60 decisions; Brier score 0\.2\d\d, then 0\.\d{3} on", out, re.M
    )
    rows = gpd.read_file(tmp_path / "scores" / "scores.gpkg", layer=LAYER)
    assert rows["match"].value_counts().to_dict() == {"tp": 33, "fp": 27}
    by_confidence = rows.groupby("confidence")["confidence_calibrated"].first()
    assert by_confidence.tolist() == pytest.approx([0.3, 0.8], abs=0.02)


def test_the_layer_holds_each_object_and_its_style(made, tmp_path):
    run, known = made
    files, note = write_scores(score_run(run, known), tmp_path / "out" / "scores")
    assert note == ""
    # Nobody decided, so there is no picture of the confidence.
    assert [path.name for path in files] == list(FILES[:4])
    path = files[1]
    rows = gpd.read_file(path, layer=LAYER)
    assert rows["match"].tolist() == ["tp", "fp", "fp", "fn"]
    assert rows.crs.to_epsg() == 4326
    (style,) = pyogrio.read_dataframe(path, layer="layer_styles").itertuples()
    assert (style.f_table_name, style.f_geometry_column) == (LAYER, "geom")
    assert bool(style.useAsDefault)
    tree = ET.fromstring(style.styleQML)
    assert tree.find("renderer-v2").get("attr") == "match"
    values = [one.get("value") for one in tree.iter("category")]
    assert values == ["tp", "fp", "fn"]
    assert json.loads(files[0].read_text())["objects"]["right"] == 1


def test_pictures_are_drawn_and_earlier_files_replaced(decided, made, tmp_path):
    folder = tmp_path / "scores"
    folder.mkdir()
    (folder / "mine.txt").write_text("kept")
    files, _ = write_scores(score_run(decided), folder)
    assert [path.name for path in files] == list(FILES)
    for path in files[2:]:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 5000
    files, _ = write_scores(score_run(*made), folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["mine.txt", *FILES[:4]])


def test_without_matplotlib_the_layer_is_written_and_it_is_said(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    files, note = write_scores(score_run(*made), tmp_path / "scores")
    assert [path.name for path in files] == ["scores.json", "scores.gpkg"]
    assert note == "no pictures: pictures need matplotlib: pip install 'lspipe[train]'"


def test_the_scatter_shows_each_object_at_its_ratios(made, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(figures, "_finish", lambda *what: drawn.append(what[1]))
    rows = score_run(*made).table
    figures.draw_shapes(rows, tmp_path / "a.png", title="")
    figures.draw_sizes(rows, tmp_path / "b.png", title="")
    scatter, bars = drawn
    labels = [part.get_label() for part in scatter.collections]
    assert labels == ["right (1)", "wrong (2)", "missed (1)"]
    for part, match in zip(scatter.collections, figures.LABELS, strict=True):
        chosen = rows[rows["match"] == match]
        expected = chosen[["area_perimeter_ratio_m", "length_width_ratio"]].to_numpy()
        np.testing.assert_array_equal(part.get_offsets(), expected)
    heights = [[bar.get_height() for bar in group] for group in bars.containers]
    assert heights == [[0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]]


def test_the_help_gives_the_defaults_that_hold():
    verbs = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    text = " ".join(verbs.choices["evaluate"].format_help().split())
    for flag, value in (
        ("--radius", RADIUS_M), ("--buffer", LINE_BUFFER_M),
        ("--iou", MATCH_IOU), ("--share", MATCH_SHARE),
    ):  # fmt: skip
        assert re.search(rf"{flag} \w [^()]*\({value:g}\)", text), flag
    assert "example: lspipe evaluate" in text
