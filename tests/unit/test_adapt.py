"""Adapting a model: what it is shown, what it writes, and what is refused."""

from __future__ import annotations

import json
import shutil

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch
from torch import nn

from lspipe.cli import main
from lspipe.errors import ModelError, SamplesError, UsageError
from lspipe.models import read_item
from lspipe.models.item import SHIPPED_FOLDER
from lspipe.train import TrainSpec, mixture
from lspipe.train import further as training
from lspipe.train.adapt import adapt
from lspipe.train.further import GENTLE, LEAST_BATCHES, Steady, filled, gentle
from tests.listed import NEW, make_listed, write

ONCE = TrainSpec(epochs=1, batch_size=4, learning_rate=1e-6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tests only read it."""
    return make_listed(tmp_path_factory.mktemp("world"))


@pytest.fixture
def decisions(tmp_path):
    return write(tmp_path, ("new", True), ("old", False), ("beside", "unsure"))


def test_the_same_decisions_give_the_same_bytes(run, decisions, tmp_path):
    written = []
    for name in ("one", "two"):
        adapted = adapt(run, decisions, output=tmp_path / name, spec=ONCE, share=1)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert set(written[0]) == {"demo-adapted.json", "demo-adapted.safetensors"}
    assert written[0] == written[1]
    item = read_item(adapted.item)
    assert item.sha256 != read_item("shipped:demo").sha256
    assert adapted.counts == {
        "true": 1,
        "false": 1,
        "unsure": 1,
        "unreviewed": 2,
        "unseen": 0,
        "drawn": 0,
    }


def test_the_command_tells_what_it_learnt_from_and_that_this_is_no_evidence(
    run, decisions, tmp_path, capsys
):
    output = str(tmp_path / "models")
    words = ["model", "adapt", str(run), str(decisions), "--output", output, "--epochs", "1"]
    words += ["--share", "1"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "epoch 1: loss" in said.err
    assert "learnt from   1 true and 1 false objects in 2 windows" in said.out
    assert "demo-adapted.json, with 100% new weights" in said.out
    assert "before        objects: precision" in said.out
    assert "no evidence of skill elsewhere" in said.out


def test_drawn_outlines_are_learnt_and_told(run, tmp_path, capsys):
    row, column, height, width = NEW
    west, north = 699960 + 10 * column, 5200000 - 10 * row
    outline = shapely.box(west, north - 10 * height, west + 10 * width, north)
    gpd.GeoDataFrame(geometry=[outline], crs=32718).to_file(tmp_path / "missed.gpkg")
    decisions = write(tmp_path, ("old", False))
    words = ["model", "adapt", str(run), str(decisions), "--epochs", "1"]
    words += ["--share", "1"]
    words += ["--missed", str(tmp_path / "missed.gpkg"), "--output", str(tmp_path / "models")]
    assert main(words) == 0
    assert "learnt from   0 true and 1 false objects and 1 drawn outline in" in (
        capsys.readouterr().out
    )
    assert "1 drawn by hand" in read_item(tmp_path / "models" / "demo-adapted.json").description


def test_few_windows_are_shown_for_more_epochs():
    for windows in (1, 4, 5, 399, 10_000):
        spec = gentle(windows)
        batches = spec.epochs * -(-windows // spec.batch_size)
        assert batches >= LEAST_BATCHES
        assert spec.epochs >= GENTLE.epochs
    assert gentle(10_000) == GENTLE


def test_batch_normalisation_keeps_what_it_was_trained_with_and_the_rest_learns():
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5))
    steady = Steady(network)
    for mode in (True, False):
        steady.train(mode)
        assert (network[0].training, network[1].training, network[2].training) == (
            mode, False, mode,
        )  # fmt: skip
    before = network[1].running_mean.clone()
    steady.train()(torch.ones(4, 2, 3, 3))
    assert torch.equal(network[1].running_mean, before)


def test_the_network_sees_its_fill_value_where_there_are_no_data():
    item = read_item("shipped:demo")
    windows = np.full((1, 6, 2, 2), np.nan, np.float32)
    windows[0, 0] = 0.3
    whole = filled(windows, item)
    assert (whole[0, 0] == np.float32(0.3)).all()
    assert (whole[0, 1:] == np.float32(item.fill[1])).all()


# --- what is refused ----------------------------------------------------------------------------


def test_a_formula_cannot_be_adapted(tmp_path, decisions):
    run = make_listed(tmp_path / "world", model="shipped:bare-ground")
    with pytest.raises(ModelError, match=r"bare-ground is a formula without weights"):
        adapt(run, decisions, output=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_false_alarms_alone_are_refused(run, tmp_path):
    decisions = write(tmp_path, ("old", False), ("hidden", True))
    with pytest.raises(SamplesError, match=r"no object that is reviewed as true was observed \(1"):
        adapt(run, decisions, output=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_landslides_alone_will_do(run, tmp_path):
    decisions = write(tmp_path, ("new", True))
    assert (
        adapt(run, decisions, output=tmp_path / "models", spec=ONCE, share=1).counts["false"] == 0
    )


def test_what_is_there_is_never_written_over(run, decisions, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "demo-adapted.json").write_text("{}")
    with pytest.raises(ModelError, match=r"demo-adapted\.json: exists already"):
        adapt(run, decisions, output=tmp_path / "models", spec=ONCE, share=1)
    assert (tmp_path / "models" / "demo-adapted.json").read_text() == "{}"


def test_an_address_is_refused_before_anything_is_learnt(run, decisions):
    with pytest.raises(UsageError, match="s3://maps/model: found an address, expected a folder"):
        adapt(run, decisions, output="s3://maps/model", spec=ONCE, share=1)
    assert main(["model", "adapt", str(run), "--output", "s3://maps/model"]) == 2


def test_a_model_that_forgot_everything_is_not_written(run, decisions, tmp_path, monkeypatch):
    def forget(network, *_, **__):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(0)
            list(network.parameters())[-1].fill_(-9)
        return (1.0,)

    monkeypatch.setattr(training, "fit", forget)
    with pytest.raises(
        ModelError, match=r"finds none of 1 confirmed landslides; nothing was written"
    ):
        adapt(run, decisions, output=tmp_path / "models", spec=ONCE, share=1)
    assert not (tmp_path / "models").exists()


def test_a_model_that_is_good_as_it_is_stays_and_nothing_is_written(
    run, decisions, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(mixture, "further", lambda *_: ())  # learns nothing
    words = ["model", "adapt", str(run), str(decisions), "--output", str(tmp_path / "models")]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["item"], facts["share"], facts["losses"]) == (None, 0, [])
    assert facts["after"] == facts["before"]
    assert facts["held_out"]["0.0"] == facts["held_out"]["1.0"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "nothing was written: where nothing was learnt from" in said
    assert "F1 of pixels by share of new weights: 0% " in said
    assert "trained on" not in said
    assert not (tmp_path / "models").exists()


def test_one_window_cannot_be_held_out(run, tmp_path):
    decisions = write(tmp_path, ("new", True))
    with pytest.raises(SamplesError, match="objects lie in one window: expected two or more"):
        adapt(run, decisions, output=tmp_path / "models")


def test_a_loss_that_is_no_number_is_told_of_the_model(run, decisions, tmp_path):
    wild = TrainSpec(epochs=3, batch_size=1, learning_rate=1e30)
    with pytest.raises(ModelError, match=r"demo\.json: epoch \d: the loss is nan; lower"):
        adapt(run, decisions, output=tmp_path / "models", spec=wild, share=1)


def test_a_parent_that_was_moved_may_be_named_and_must_be_the_same(run, decisions, tmp_path):
    for name in ("demo.json", "demo.safetensors"):
        shutil.copy(SHIPPED_FOLDER / name, tmp_path)
    parent = read_item(tmp_path / "demo.json")
    adapt(run, decisions, output=tmp_path / "models", item=parent, spec=ONCE, share=1)
    content = json.loads((tmp_path / "demo.json").read_text())
    content["properties"]["lspipe:fill"] = 0.5
    (tmp_path / "demo.json").write_text(json.dumps(content))
    other = read_item(tmp_path / "demo.json")
    with pytest.raises(ModelError, match="was made with demo of sha256"):
        adapt(run, decisions, output=tmp_path / "other", item=other, spec=ONCE, share=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["runs/demo", "decisions.geojson", "--epochs", "0"],
            "--epochs: epochs: found 0, expected",
        ),
        (["runs/demo", "--share", "0"], "--share 0: expected a share of the new weights above 0"),
        (["runs/demo", "--share", "1.5"], "--share 1.5: expected"),
        (["runs/demo", "decisions.geojson"], r"is runs/demo a run directory"),
    ],
)
def test_words_that_cannot_be_meant_exit_with_usage(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["model", "adapt", *words]) == 2
    assert message in capsys.readouterr().err
