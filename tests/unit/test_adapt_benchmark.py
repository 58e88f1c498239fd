"""The benchmark of `model adapt`: places are apart, and its reviewer answers as the truth does."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lspipe.models
from lspipe.models import read_item
from lspipe.models.pack import pack
from lspipe.models.recipes import recipe_of
from lspipe.samples import pictures
from lspipe.samples.decisions import UNMARKED
from lspipe.schema import IGNORED, quantise
from lspipe.train import TrainSpec, fit
from lspipe.train.mixture import Trial

SIDE = 32


@pytest.fixture
def bench(monkeypatch):
    """The module, as it is run: from its folder; for few and small patches."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    module = importlib.import_module("adapt")
    monkeypatch.setattr(module, "BETWEEN", 2)
    monkeypatch.setattr(module, "SMALLEST_M2", 100.0)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sixty patches: a bright square on dark ground, which is the landslide."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number in range(60):
        part = folder / "l4s_rgb" / ("validation" if number % 5 == 0 else "train")
        for name in ("images", "masks"):
            (part / name).mkdir(parents=True, exist_ok=True)
        image = rng.integers(20, 60, (SIDE, SIDE, 3)).astype(np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        row, column = rng.integers(2, 20, 2)
        mask[row : row + 8, column : column + 8] = 255
        image[mask > 0] = rng.integers(180, 255, (64, 3))
        image[0, 0] = 255
        Image.fromarray(image).save(part / "images" / f"image_{number}.png")
        Image.fromarray(mask).save(part / "masks" / f"mask_{number}.png")
    return folder


@pytest.fixture(scope="module")
def items(tmp_path_factory, data):
    """The model of a fold, which has learnt little."""
    folder = tmp_path_factory.mktemp("items")
    torch.manual_seed(0)
    recipe = recipe_of("l4s-rgb")
    fields = {
        "id": "fold-1", "architecture": "ghorb-unet", "arguments": {"filters": 2},
        "bands": recipe.channels, "window": SIDE, "scaling": recipe.scaling, "recipe": recipe.name,
        "threshold": 0.5, "tta": "none", "description": "x", "not_for": "y",
    }  # fmt: skip
    network = lspipe.models.build("ghorb-unet", 3, filters=2)
    patches = pictures.folder(data / "l4s_rgb" / "validation")
    fit(network, *patches.arrays(), TrainSpec(epochs=10, batch_size=2, learning_rate=0.01))
    pack(network, folder, item_fields=fields)
    return folder


def test_the_halves_of_a_place_lie_apart_and_old_scenes_are_others(bench, data) -> None:
    patches = bench.landslides(data)
    numbers = [bench.original(name) for name in patches.names]
    assert numbers == sorted(numbers)
    assert bench.original("train/1") == 10  # image_1, image_10, image_100, ...
    for fold in range(1, bench.FOLDS + 1):
        place = bench.place_of(patches, fold)
        parts = [
            {bench.original(name) for name in part.names}
            for part in (place.looked, place.scored, place.old)
        ]
        looked, scored, old = parts
        assert sum(map(len, parts)) == len(looked | scored | old) == 58
        assert (len(looked), len(scored)) == (5, 5)
        assert max(looked) < min(scored)
        between = [number for number in numbers if max(looked) < number < min(scored)]
        assert len(between) == 2
        assert not [n for n in old if min(looked) <= n <= max(scored)]


# --- the reviewer --------------------------------------------------------------------------------


def patch(*squares: tuple[int, int, int]) -> np.ndarray:
    """A patch with squares: first row, first column, edge."""
    found = np.zeros((SIDE, SIDE), np.uint8)
    for row, column, edge in squares:
        found[row : row + edge, column : column + edge] = 1
    return found


@pytest.fixture
def review(bench):
    """Patch 0 lists a right and a wrong one, patch 1 misses one, patch 2 lists a wrong one."""
    masks = [patch((4, 4, 6)), patch((10, 10, 5)), patch()]
    shown = [patch((4, 4, 6), (20, 20, 4)), patch(), patch((2, 28, 4))]
    return bench.Review.of([quantise(0.9 * one) for one in shown], masks, 0.5)


def test_the_truth_answers_for_each_listed_object(review) -> None:
    assert review.listed["is_right"].tolist() == [True, False, False]
    assert len(review.missed) == 1
    assert set(review.decided(1, "rank").values()) == {"true"}
    assert sorted(review.decided(9, "next").values()) == ["false", "false", "true"]


def test_patches_side_by_side_are_no_neighbours(bench) -> None:
    # The last columns of one patch and the first of the next would be one object.
    shown = [patch((4, 26, 6)), patch((4, 0, 6))]
    review = bench.Review.of([quantise(0.9 * one) for one in shown], shown, 0.5)
    assert len(review.listed) == 2


def test_windows_are_labelled_as_by_model_adapt(review) -> None:
    answers = review.decided(1, "rank")
    labels = dict(review.labels(answers, drawn=0))
    assert list(labels) == [0]
    expected = only(patch((4, 4, 6)), 1)
    expected[20:24, 20:24] = IGNORED  # listed, and not decided
    assert (labels[0] == expected).all()
    drawn = dict(review.labels(answers, drawn=1))
    assert list(drawn) == [0, 1]
    assert (drawn[1] == only(patch((10, 10, 5)), 1)).all()
    everything = dict(review.labels(review.decided(9, "rank"), drawn=0))
    assert list(everything) == [0, 2]
    expected[20:24, 20:24] = 0
    assert (everything[0] == expected).all()
    assert (everything[2] == only(patch((2, 28, 4)), 0)).all()


def only(where: np.ndarray, label: int) -> np.ndarray:
    """A label in some pixels; nothing is marked elsewhere."""
    return np.where(where == 1, np.uint8(label), np.uint8(UNMARKED))


# --- a whole turn ---------------------------------------------------------------------------------


def test_a_place_is_learnt_as_far_as_decisions_that_were_held_out_say(
    bench, data, items, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("OUT", str(tmp_path))
    quick = TrainSpec(epochs=10, batch_size=2, learning_rate=0.01, loss="bce")
    monkeypatch.setattr(bench, "gentle", lambda _: quick)
    words = ["--data", str(data), "--items", str(items), "--folds", "1", "--decisions", "40",
             "--views", "none", "--orders", "rank,next"]  # fmt: skip
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["adapt.py", *words, "--threads", str(threads)])
    # Four drawn landslides, and no listed one: from two of them it does not find the others.
    bench.main()
    (path,) = tmp_path.glob("adapt-*.json")
    facts = json.loads(path.read_text())
    for row in facts["rows"]:
        assert bench.told(row).startswith(f"fold 1, 40 decisions by {row['order']} (")
        assert (row["drawn"], row["windows"], row["share"]) == (4, 4, 0)
        assert row["after"] == row["before"]
        assert row["old_after"] == row["old_before"]
    assert [mean["order"] for mean in facts["means"]] == ["rank", "next"]
    assert facts["places"]["1"]["sha256"] == read_item(items / "fold-1.json").sha256
    # Had the trial said so, it would be another model.
    sure = Trial({0.0: 0.1, 1.0: 0.9}, {0.0: 0.0, 1.0: 0.1})
    monkeypatch.setattr(bench, "try_out", lambda *_, **__: sure)
    one = bench.bench_of(data, items, 1, "none", thin=1).row(40, "chance")
    assert one["share"] == 1
    assert one["after"] != one["before"]
    assert one["old_after"] != one["old_before"]


def test_no_decision_teaches_more_than_every_label_of_the_half_that_is_looked_at(
    bench, data, items, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("OUT", str(tmp_path))
    quick = TrainSpec(epochs=1, batch_size=2, learning_rate=0.01, loss="bce")
    monkeypatch.setattr(bench, "gentle", lambda _: quick)
    words = ["--data", str(data), "--items", str(items), "--folds", "1", "--ceiling", "1,20",
             "--views", "none", "--threads", str(torch.get_num_threads())]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["adapt.py", *words])
    bench.main()
    (path,) = tmp_path.glob("adapt-ceiling-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [row["epochs"] for row in rows] == [1, 20]
    for row in rows:
        assert row["windows"] == 5
        # The best share, in hindsight.
        scores = [share["after"]["f1"] or 0 for share in row["shares"].values()]
        assert row["after"]["f1"] == max(scores)
        assert bench.told_ceiling(row).startswith("fold 1, all labels of 5 windows, ")
    # Before and after at the best threshold of each: what is learnt, and not where the limit lies.
    assert rows[1]["after"]["f1"] > rows[1]["before"]["f1"] > 0.8
