"""Which objects of a list teach a model most, and how a person is asked about them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pytest

from lspipe.change.teaching import ALONE, LEFT, doubt, most_teaching
from lspipe.cli import main
from lspipe.errors import DecisionsError, UsageError
from lspipe.evaluate.proposal import propose
from lspipe.runs.store import documents
from tests.reviewing import decide, inventory_of, make_run, shown, sql

if TYPE_CHECKING:
    from pathlib import Path


def table(*rows: tuple[str, float, float, float, float]) -> gpd.GeoDataFrame:
    """Objects: id, confidence, longitude, area, share that was not observed."""
    names, confidence, lon, area, hidden = zip(*rows, strict=True)
    lon = np.array(lon, float)
    content = {"id": names, "confidence": confidence, "undetermined_fraction": hidden,
               "area_m2": area, "lon": lon, "lat": 0 * lon}  # fmt: skip
    return gpd.GeoDataFrame(content, geometry=gpd.points_from_xy(lon, 0 * lon), crs=4326)


WEST = (("w1", 0.50, 10.0, 1000, 0), ("w2", 0.52, 10.001, 1000, 0), ("w3", 0.53, 10.002, 1000, 0))


@pytest.mark.parametrize(
    ("rows", "count", "expected"),
    [
        # As likely right as wrong comes first, whichever side it is on.
        ((("a", 0.9, 10, 900, 0), ("b", 0.45, 10, 900, 0), ("c", 0.6, 10, 900, 0)), 3, "b c a"),
        # Three neighbours of one size are one thing to ask about.
        ((*WEST, ("east", 0.6, 12.0, 1000, 0)), 2, "w1 east"),
        # So is a large one among small ones, at the same place.
        ((*WEST, ("large", 0.6, 10.001, 90_000, 0)), 2, "w1 large"),
        # Beyond 4 times the number, unlike ones are too certain to be asked about.
        ((*WEST, ("w4", 0.54, 10.0, 1000, 0), ("east", 0.99, 12.0, 1000, 0)), 1, "w1"),
        (
            (*((f"w{n}", 0.5 + n / 100, 10 + n / 1000, 1000, 0) for n in range(8)),
             ("east", 0.99, 12.0, 1000, 0)),
            2, "w0 w4",
        ),
        # Half hidden and sure of what was seen: 0.49 of 0.5 is certain, 0.3 of 0.5 is not.
        ((("a", 0.49, 10, 900, 0.5), ("b", 0.3, 10, 900, 0.5)), 2, "b a"),
        # On both sides of the date line they are neighbours.
        ((("a", 0.5, 179.999, 900, 0), ("b", 0.51, -179.999, 900, 0), ("c", 0.6, 170, 900, 0)),
         2, "a c"),
        # Equally uncertain, and nothing tells them apart but their names.
        ((("b", 0.5, 10, 900, 0), ("a", 0.5, 10, 900, 0), ("c", 0.5, 10, 900, 0)), 2, "a b"),
    ],
)  # fmt: skip
def test_what_is_proposed(rows, count, expected) -> None:
    chosen = most_teaching(table(*rows), count)
    assert chosen["id"].tolist() == expected.split()
    assert (np.diff(doubt(chosen)) >= 0).all()
    turned = most_teaching(table(*reversed(rows)), count)
    assert turned["id"].tolist() == expected.split()


def test_why_says_what_an_object_stands_for() -> None:
    rows = table(*WEST, ("east", 0.6, 12.0, 1000, 0))
    few = most_teaching(rows, 2)
    assert few["why"].tolist() == [
        "the least certain of 3 near each other and of like size", ALONE,
    ]  # fmt: skip
    assert set(most_teaching(rows, 9)["why"]) == {LEFT}
    assert most_teaching(rows.iloc[:0], 3).empty


# --- a run ---------------------------------------------------------------------------------------

SQUARES = tuple((row, column, 4) for row in (2, 14, 26, 38) for column in (2, 14, 26, 38, 50))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A list of 20 new landslides and an old one."""
    return make_run(tmp_path, inventory_of(SQUARES, old=((52, 2, 5),)))


def names(path: Path) -> list[str]:
    return gpd.read_file(path, layer="next")["id"].tolist()


def test_a_person_decides_what_is_proposed_and_is_asked_about_others_next(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", str(run), "--next", "3"]) == 0
    said = capsys.readouterr().out
    assert "proposed       3 of 20 landslides without a decision" in said
    assert "next-1.gpkg, column reviewed; then: lspipe review" in said
    first = names(run / "next-1.gpkg")
    assert len(first) == 3
    assert all(name in said and "_new_" in name for name in first)
    fill = "UPDATE next SET reviewed = ? WHERE id = ?"
    sql(run / "next-1.gpkg", *((fill, ["false", name]) for name in first))

    # Before they are taken in, nothing else is proposed, and what was typed stays.
    assert main(["review", str(run), "--next", "3"]) == 0
    assert "waiting        3 decisions in it to be taken in" in capsys.readouterr().out
    assert not (run / "next-2.gpkg").exists()

    assert main(["review", str(run), str(run / "next-1.gpkg")]) == 0
    assert shown(run / "inventory.parquet") == dict.fromkeys(first, "false")
    capsys.readouterr()
    assert main(["review", str(run), "--next", "3", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    second = [row["id"] for row in facts["next"]]
    assert facts["left"] == 17
    assert facts["file"] == str(run / "next-2.gpkg")
    assert not set(first) & set(second)
    assert set(facts["next"][0]) == {"id", "tile", "lon", "lat", "area_m2", "confidence", "why"}
    assert names(run / "next-2.gpkg") == second
    assert set(gpd.read_file(run / "next-1.gpkg", layer="next")["reviewed"]) == {"false"}


def test_when_all_is_decided_there_is_nothing_to_propose(run: Path, capsys) -> None:
    rows = gpd.read_parquet(run / "inventory.parquet")
    decide(run / "inventory.gpkg", dict.fromkeys(rows["id"], "true"))
    assert main(["review", str(run)]) == 0
    capsys.readouterr()
    assert main(["review", str(run), "--next", "20"]) == 0
    assert "nothing is left to propose" in capsys.readouterr().out
    assert not (run / "next-1.gpkg").exists()
    assert propose(run, 20).as_json() == {"next": [], "left": 0, "file": None, "waiting": 0}


def test_more_than_there_are_proposes_all_of_them(run: Path) -> None:
    proposal = propose(run, 50)
    assert (len(proposal.rows), proposal.left) == (20, 20)
    assert set(proposal.rows["status"]) == {"new"}


def test_other_counts_write_another_file(run: Path) -> None:
    assert propose(run, 3).file == run / "next-1.gpkg"
    assert propose(run, 4).file == run / "next-2.gpkg"
    assert propose(run, 4).file == run / "next-2.gpkg"


def test_a_fresh_start_keeps_what_was_typed(run: Path) -> None:
    propose(run, 3)
    documents.clear(run)
    assert (run / "next-1.gpkg").exists()
    documents.check_directory(run)


def test_what_cannot_be_meant_is_refused(run: Path, capsys) -> None:
    with pytest.raises(UsageError, match="next 0: expected how many to propose, from 1"):
        propose(run, 0)
    with pytest.raises(SystemExit):
        main(["review", str(run), "--next", "3", "--sample", "0.1"])
    assert "not allowed with" in capsys.readouterr().err
    (run / "next-1.gpkg").write_bytes(b"")
    with pytest.raises(DecisionsError, match=r"next-1\.gpkg: cannot be read"):
        propose(run, 3)
