"""A random sample of a list: which rows are drawn, and what decisions about them say."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import geopandas as gpd
import pytest

from lspipe.cli import main
from lspipe.errors import StoreError, UsageError
from lspipe.evaluate.sample import draw
from lspipe.runs.opened import open_run
from lspipe.schema.sampled import wilson
from tests.reviewing import decide, inventory_of, make_run

if TYPE_CHECKING:
    from pathlib import Path

SQUARES = tuple((row, column, 4) for row in (2, 14, 26, 38) for column in (2, 14, 26, 38, 50))
OLD = ((52, 2, 5),)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A list of 20 new landslides and an old one."""
    return make_run(tmp_path, inventory_of(SQUARES, old=OLD))


def rows(path: Path) -> list[str]:
    return sorted(gpd.read_file(path, layer="sample")["id"])


def test_a_share_of_the_new_landslides_is_drawn(run: Path) -> None:
    sample, path = draw(run, 0.25, seed=1)
    assert (sample.drawn, sample.of, sample.left) == (5, 20, 5)
    assert sample.precision is sample.interval is None
    assert len(rows(path)) == 5
    assert all("_new_" in name for name in rows(path))


def test_the_same_seed_draws_the_same_and_another_seed_others(tmp_path: Path) -> None:
    drawn = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        made = make_run(tmp_path / folder, inventory_of(SQUARES, old=OLD))
        drawn.append(rows(draw(made, 0.25, seed=seed)[1]))
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_was_decided_about_the_sample_holds_for_the_list(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", str(run), "--sample", "0.5", "--seed", "3"]) == 0
    assert "drawn          10 of 20 landslides" in capsys.readouterr().out
    drawn = rows(run / "sample.gpkg")
    with closing(sqlite3.connect(run / "sample.gpkg")) as file:
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            file.create_function(name, 1, lambda _: 0)
        for number, name in enumerate(drawn[:9]):
            answer = "unsure" if number == 8 else "true" if number < 6 else "false"
            file.execute("UPDATE sample SET reviewed = ? WHERE id = ?", (answer, name))
        file.commit()
    assert main(["review", str(run), str(run / "sample.gpkg")]) == 0
    sample = open_run(run).sample
    assert (sample.true, sample.false, sample.unsure, sample.left) == (6, 2, 1, 1)
    assert sample.precision == 0.75
    assert sample.interval == wilson(6, 8)
    told = " ".join(capsys.readouterr().out.split())
    assert "8 of 10 decided (1 left, 1 unsure, 0 not in the list)" in told
    assert "75% of the list are landslides, 95 % interval 41% to 93%" in told
    assert main(["review", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sample"]["precision"] == 0.75


def test_decisions_about_other_rows_do_not_count(run: Path) -> None:
    _, path = draw(run, 0.25)
    others = sorted(set(gpd.read_parquet(run / "inventory.parquet")["id"]) - set(rows(path)))
    decide(run / "inventory.gpkg", dict.fromkeys(others, "false"))
    assert main(["review", str(run)]) == 0
    assert open_run(run).sample.left == 5


def test_a_second_sample_would_let_a_person_choose(run: Path) -> None:
    draw(run, 0.25, seed=1)
    before = (run / "sample.gpkg").read_bytes()
    assert draw(run, 0.25, seed=1)[0].drawn == 5
    with pytest.raises(StoreError, match="a sample of 5 with seed 1 was drawn already"):
        draw(run, 0.25, seed=2)
    assert (run / "sample.gpkg").read_bytes() == before


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_a_share_is_a_part(share: float, run: Path) -> None:
    with pytest.raises(UsageError, match="expected a part of the list"):
        draw(run, share)


def test_a_list_without_new_landslides_has_no_sample(tmp_path: Path) -> None:
    run = make_run(tmp_path, inventory_of((), old=OLD))
    with pytest.raises(UsageError, match="no new landslide to draw from"):
        draw(run, 0.5)


def test_without_a_sample_nothing_is_implied(run: Path) -> None:
    assert open_run(run).sample is None


def test_a_damaged_record_of_a_sample_is_named(run: Path) -> None:
    (run / "sample.json").write_text('{"ids": []}')
    with pytest.raises(StoreError, match=r"sample\.json: expected ids, of and seed"):
        _ = open_run(run).sample
