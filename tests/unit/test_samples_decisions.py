"""What a person decided about a list becomes labels, and nothing else does."""

from __future__ import annotations

import shutil

import geopandas as gpd
import numpy as np
import pytest
import shapely

from lspipe.errors import DecisionsError, SamplesError, StoreError
from lspipe.runs.review import review
from lspipe.samples.decisions import reviewed
from lspipe.schema import IGNORED
from tests.listed import BESIDE, GONE, IDS, NEW, OLD, make_listed, write


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tests only read it."""
    return make_listed(tmp_path_factory.mktemp("world"))


def labels_at(samples, rectangle, date):
    """Labels of the pixels of a rectangle in the first patch of a date that holds it."""
    top, left, height, width = rectangle
    for name in samples.names:
        row, column = map(int, name.split("_")[2:])
        is_whole = row <= top and top + height <= row + 64
        is_whole &= column <= left and left + width <= column + 64
        if is_whole and name.split("_")[1].startswith(date):
            inside = samples.read(name)[1][top - row :, left - column :][:height, :width]
            return np.unique(inside).tolist()
    return None


AFTER, BEFORE = "2018", "2017"


def test_true_is_landslide_false_is_none_and_the_rest_says_nothing(run, tmp_path):
    path = write(tmp_path, ("new", True), ("old", "false"), ("beside", "unsure"), ("gone", None))
    found = reviewed(run, path)
    assert found.counts() == {
        "true": 1,
        "false": 1,
        "unsure": 1,
        "unreviewed": 2,
        "unseen": 0,
        "drawn": 0,
    }
    assert labels_at(found.samples, NEW, AFTER) == [1]
    assert labels_at(found.samples, OLD, AFTER) == [0]
    assert labels_at(found.samples, BESIDE, AFTER) == [IGNORED]
    # It was there before; what the pixels show afterwards nobody was asked.
    assert labels_at(found.samples, GONE, AFTER) == [IGNORED]
    assert labels_at(found.samples, NEW, BEFORE) is None
    # What nobody looked at beside it says nothing either.
    path = write(tmp_path, ("new", "true"))
    assert labels_at(reviewed(run, path).samples, BESIDE, AFTER) == [IGNORED]


def test_a_missed_landslide_that_was_drawn_is_one(run, tmp_path):
    drawn = (20, 20, 8, 8)
    path = write(tmp_path, ("old", "false"))
    assert labels_at(reviewed(run, path).samples, drawn, AFTER) is None
    row, column, height, width = drawn
    west, north = 699960 + 10 * column, 5200000 - 10 * row
    shapes = [
        shapely.box(west, north - 10 * height, west + 10 * width, north),
        shapely.box(0, 0, 10, 10),  # somewhere else
    ]
    outlines = gpd.GeoDataFrame({"note": ["a", "b"]}, geometry=shapes, crs=32718)
    found = reviewed(run, path, missed=outlines)
    assert found.counts() == {
        "true": 0, "false": 1, "unsure": 0, "unreviewed": 4, "unseen": 1, "drawn": 1,
    }  # fmt: skip
    assert labels_at(found.samples, drawn, AFTER) == [1]
    assert labels_at(found.samples, drawn, BEFORE) is None
    assert labels_at(found.samples, OLD, AFTER) == [0]
    # From a file too, and without another decision.
    outlines.to_crs(4326).to_file(tmp_path / "missed.gpkg")
    found = reviewed(run, write(tmp_path), missed=tmp_path / "missed.gpkg")
    assert (found.right, found.wrong, found.drawn) == (0, 0, 1)


def test_what_vanished_is_read_from_the_date_before(run, tmp_path):
    found = reviewed(run, write(tmp_path, ("gone", "true")))
    assert [name.split("_")[1][:4] for name in found.samples.names] == [BEFORE]
    assert labels_at(found.samples, GONE, BEFORE) == [1]
    assert labels_at(found.samples, NEW, BEFORE) == [IGNORED]


def test_what_no_patch_shows_is_counted(run, tmp_path):
    found = reviewed(run, write(tmp_path, ("new", True), ("hidden", False)))
    assert found.counts() == {
        "true": 1,
        "false": 0,
        "unsure": 0,
        "unreviewed": 3,
        "unseen": 1,
        "drawn": 0,
    }
    with pytest.raises(SamplesError, match="none of 1 decided objects was observed"):
        reviewed(run, write(tmp_path, ("hidden", False)))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([("nobody", True), ("stray", True)], r"2 not in the inventory of the run: nobody, stray"),
        (
            [("new", "maybe"), ("old", 2)],
            r"2 cannot be understood: 18GYS.*'maybe'.*; 18GYS.*: .* 2:",
        ),
        ([("new", True), ("new", "false")], r"18GYS_20180120_new_\d+_\d+: given twice, with two"),
        ([(None, True)], r"row 0 \(counted from 0\): id: found None"),
    ],
)
def test_decisions_that_cannot_be_meant_are_refused_by_name(run, tmp_path, answers, message):
    with pytest.raises(DecisionsError, match=message):
        reviewed(run, write(tmp_path, *answers))


@pytest.mark.parametrize(("answers", "unsure"), [([("new", "unsure"), ("old", None)], 1), ([], 0)])
def test_a_file_from_which_nothing_can_be_learnt_is_refused(run, tmp_path, answers, unsure):
    with pytest.raises(SamplesError, match=rf"reviewed as true or false \({unsure} unsure\)"):
        reviewed(run, write(tmp_path, *answers))


def test_a_run_without_a_list_is_refused(run, tmp_path):
    path = write(tmp_path, ("new", True))
    with pytest.raises(StoreError, match="is .* a run directory"):
        reviewed(tmp_path, path)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "inventory.parquet").unlink()
    with pytest.raises(
        DecisionsError, match=r"inventory\.parquet: no such file; .* finish it first"
    ):
        reviewed(tmp_path / "run", path)


def test_without_a_file_what_the_run_keeps_is_learnt_from(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    with pytest.raises(SamplesError, match=r"reviews\.parquet: nothing is reviewed .* take it in"):
        reviewed(tmp_path / "run")
    review(tmp_path / "run", write(tmp_path, ("new", True), ("old", False), ("gone", "unsure")))
    found = reviewed(tmp_path / "run")
    assert found.counts() == {
        "true": 1,
        "false": 1,
        "unsure": 1,
        "unreviewed": 2,
        "unseen": 0,
        "drawn": 0,
    }
    # The same as a file, from any run.
    found = reviewed(run, tmp_path / "run" / "reviews.parquet")
    assert found.counts()["true"] == 1


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet"])
def test_a_list_in_any_format_is_learnt_from(run, tmp_path, suffix):
    rows = gpd.read_parquet(run / "inventory.parquet")
    given = rows["id"].map({IDS["new"]: "true", IDS["old"]: "false"})
    path = tmp_path / f"mine{suffix}"
    rows = rows.assign(reviewed=given.astype("string"))
    rows.to_parquet(path) if suffix == ".parquet" else rows.to_file(path)
    assert reviewed(run, path).counts()["false"] == 1


def test_an_answer_about_an_object_that_is_not_listed_any_more_is_counted(run, tmp_path):
    rows = gpd.read_parquet(run / "inventory.parquet")
    is_new, is_old = rows["id"] == IDS["new"], rows["id"] == IDS["old"]
    rows.loc[is_new | is_old, "reviewed"] = "true"
    # One lies where it did, under another id; one lies somewhere else.
    rows.loc[is_new, "id"] = "another"
    rows.loc[is_old, ["id", "geometry"]] = ["gone by", shapely.box(0, 0, 1, 1)]
    rows.to_file(tmp_path / "old.gpkg")
    found = reviewed(run, tmp_path / "old.gpkg")
    assert found.counts() == {
        "true": 1,
        "false": 0,
        "unsure": 0,
        "unreviewed": 4,
        "unseen": 1,
        "drawn": 0,
    }
