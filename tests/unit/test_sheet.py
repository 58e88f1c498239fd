"""The sheet: the first landslides of the list on one page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lspipe
from lspipe.outputs import sheet, write
from lspipe.outputs.colours import STATUSES
from lspipe.runs import pipeline
from lspipe.runs.opened import Run, open_run
from tests.stored import compute_here
from tests.worlds import make_world

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with a new landslide and an old one."""
    world = make_world(
        tmp_path_factory.mktemp("world"),
        size=200,
        inference={"window": 32, "stride": 32, "tta": "none"},
        execution={"block": 100},
        cluster={"kind": "tests.stored:here"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.stream, "compute", compute_here)
        lspipe.run(world.workflow)
    return open_run(world.run)


def drawn(run: Run) -> np.ndarray:
    return np.asarray(sheet.sheet(run)).astype(int)


def of_colour(pixels: np.ndarray, status: str) -> np.ndarray:
    """Pixels in the colour of a status."""
    return (np.abs(pixels - np.array(STATUSES[status][:3])) < 12).all(axis=-1)


def test_both_pictures_of_each_object_have_its_outline(run: Run) -> None:
    pixels = drawn(run)
    first = sheet._MARGIN, sheet._MARGIN + sheet._EDGE + sheet._BETWEEN
    second = [left + sheet._WIDTH + sheet._GAP for left in first]
    rows = slice(sheet._HEAD, sheet._HEAD + sheet._EDGE)
    for status, lefts in (("new", first), ("persistent", second)):
        is_outline = of_colour(pixels[rows], status)
        for left in lefts:
            assert is_outline[:, left : left + sheet._EDGE].sum() > 100
        assert is_outline.sum() == sum(
            is_outline[:, left : left + sheet._EDGE].sum() for left in lefts
        )


def test_the_new_scar_is_lighter_on_the_right(run: Run) -> None:
    pixels = drawn(run)[sheet._HEAD : sheet._HEAD + sheet._EDGE]
    middle = sheet._EDGE // 2
    before = pixels[middle, sheet._MARGIN + middle]
    after = pixels[middle, sheet._MARGIN + sheet._EDGE + sheet._BETWEEN + middle]
    assert (after - before > 30).all()


def test_what_is_made_up_or_unfinished_is_said(run: Run) -> None:
    def red(one: Run) -> int:
        pixels = drawn(one)[: sheet._HEAD]
        return int((np.abs(pixels - sheet._ALARM) < 12).all(axis=-1).sum())

    assert red(run) == 0
    simulated = json.loads(json.dumps(run.record).replace("S2A_18GYS", "S2A_SIMULATED_18GYS"))
    partial = {**simulated, "state": "partial"}
    counts = [red(Run(run.path, record)) for record in (simulated, partial)]
    assert 0 < counts[0] < counts[1]


def test_it_is_a_small_pdf_of_one_page_whatever_the_list(run: Run, tmp_path: Path) -> None:
    none = Run(run.path, run.record, {"inventory": run.inventory.iloc[:0]})
    for name, one in (("some", run), ("none", none)):
        content = write("sheet", one, tmp_path / f"{name}.pdf").read_bytes()
        assert content.startswith(b"%PDF")
        assert content.count(b"/Type /Page\n") == 1
        assert len(content) < 1_000_000
