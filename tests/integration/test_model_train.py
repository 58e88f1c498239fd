"""`lspipe model train` and `model pack`: from a folder of patches to a model that can be used."""

import hashlib
import json
import re
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import rasterio
import safetensors.torch
import torch

from lspipe.cli import main
from lspipe.errors import ModelError, UsageError
from lspipe.evaluate import scorecard
from lspipe.models import build, read_item
from lspipe.models.recipes import recipe_of
from lspipe.models.weights import read_tensors
from lspipe.samples import Samples
from lspipe.train import PROTOCOLS, TrainSpec, protocols
from lspipe.train.course import Course
from lspipe.train.course import train as train_course
from tests.worlds import lspipe

QUICK = [
    "--architecture", "ghorb-unet", "--argument", "filters=4", "--recipe", "l4s-rgb",
    "--set", "epochs=2", "--set", "batch_size=4", "--set", "learning_rate=5e-3",
]  # fmt: skip


def write_png(path, bands):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, rows, columns = bands.shape
    with rasterio.open(
        path, "w", driver="PNG", count=count, height=rows, width=columns, dtype="uint8"
    ) as file:
        file.write(bands)


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """Brown squares on green ground, in `train` and `validation`."""
    root = tmp_path_factory.mktemp("patches")
    rng = np.random.default_rng(1)
    for part, count in (("train", 12), ("validation", 6)):
        for number in range(count):
            ground = rng.integers(20, 80, (3, 32, 32))
            ground[1] += 100
            mask = np.zeros((1, 32, 32), np.uint8)
            row, column = rng.integers(0, 20, 2)
            mask[0, row : row + 10, column : column + 10] = 255
            ground[0][mask[0] > 0] = 250
            folder = root / part
            write_png(folder / "images" / f"image_{number}.png", ground.astype(np.uint8))
            write_png(folder / "masks" / f"mask_{number}.png", mask)
    return root


def train(patches, output, *more):
    words = ["--data", str(patches / "train"), "--validation", str(patches / "validation")]
    return main(["model", "train", *words, "--output", str(output), *QUICK, *more])


def in_a_process_of_its_own(*words):
    """Run the command line as a person does: nothing that tests import has been imported."""
    done = lspipe("model", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_works_in_a_process_of_its_own(patches, tmp_path):
    words = ["--data", str(patches / "train"), "--validation", str(patches / "validation")]
    in_a_process_of_its_own("train", *words, "--output", str(tmp_path / "mine"), *QUICK)
    assert (tmp_path / "mine" / "mine.json").exists()


def test_patches_become_a_model_that_checks_and_says_what_it_was_trained_on(
    patches, tmp_path, capsys
):
    assert train(patches, tmp_path / "mine", "--json") == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert "epoch 2/2" in err
    assert "validation" in err
    item = read_item(facts["item"])
    assert (item.id, item.recipe, item.bands) == ("mine", "l4s-rgb", ("B04", "B03", "B02"))
    assert item.window == 32
    assert "12 patches" in item.description
    assert "L1C" in item.not_for
    assert main(["model", "check", facts["item"]]) == 0
    one, eight = (scores["reliability"] for scores in facts["scorecard"]["patches"])
    assert [scores["tta"] for scores in facts["scorecard"]["patches"]] == ["none", "d4"]
    # What was found without a temperature is the best with it too.
    assert item.temperature == pytest.approx(one["temperature"], rel=0.02)
    assert item.temperature != 1
    assert item.threshold == eight["threshold_equal"]
    assert item.threshold_sensitive == eight["threshold_sensitive"]
    capsys.readouterr()
    words = ["--data", str(patches / "validation"), "--trained-on", str(patches / "train")]
    assert main(["model", "evaluate", facts["item"], *words, "--tta", "both", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["patches"] == facts["scorecard"]["patches"]
    picture = tmp_path / "mine" / "learning_curve.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "mine" / "training.json").read_text())
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2]
    assert record["course"]["spec"]["learning_rate"] == 5e-3


def test_a_model_tells_how_it_was_trained(patches, tmp_path, capsys):
    words = ["--protocol", "ghorb", "--architecture", "ghorb-resunet", "--window", "16", "--json"]
    assert train(patches, tmp_path / "mine", *words) == 0
    facts = json.loads(capsys.readouterr().out)
    item = read_item(facts["item"])
    best = [epoch["epoch"] for epoch in facts["epochs"] if epoch["is_best"]][-1]
    spec = replace(PROTOCOLS["ghorb"].spec, epochs=2, batch_size=4, learning_rate=5e-3)
    assert item.training == {
        "protocol": "ghorb", "windows": 48, "epochs_run": 2, "best_epoch": best,
        "spec": asdict(spec),
    }  # fmt: skip
    assert item.arguments == {"filters": 4, "is_plain": False, "upsampling": "transposed"}
    assert main(["model", "show", facts["item"]]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"protocol=ghorb, windows=48, epochs_run=2, best_epoch={best}" in shown
    assert "spec: epochs=2, iterations=None, batch_size=4, learning_rate=0.005" in shown
    assert "ghorb-resunet(filters=4, upsampling=transposed, is_plain=False)" in shown
    assert f"l4s-rgb: {recipe_of('l4s-rgb').note}" in shown


def test_a_finished_training_is_not_repeated_and_another_one_is_refused(patches, tmp_path, capsys):
    assert train(patches, tmp_path / "mine") == 0
    weights = (tmp_path / "mine" / "mine.safetensors").read_bytes()
    capsys.readouterr()
    assert train(patches, tmp_path / "mine") == 0
    assert "epoch" not in capsys.readouterr().err
    assert (tmp_path / "mine" / "mine.safetensors").read_bytes() == weights
    assert train(patches, tmp_path / "mine", "--set", "loss=dice") == 2
    assert "spec.loss bce-dice there, dice here" in capsys.readouterr().err
    assert train(patches, tmp_path / "mine", "--set", "loss=dice", "--fresh") == 0


def test_a_model_can_be_the_beginning_of_another(patches, tmp_path, capsys):
    assert train(patches, tmp_path / "first") == 0
    first = str(tmp_path / "first" / "first.json")
    assert train(patches, tmp_path / "second", "--init-from", first) == 0
    began, second = (read_item(tmp_path / name / f"{name}.json") for name in ("first", "second"))
    assert second.training["init_from"] == {"id": "first", "sha256": began.sha256}
    assert "init_from" not in began.training
    assert train(patches, tmp_path / "third", "--init-from", first, "--argument", "filters=8") == 2
    assert "expected ghorb-unet {'filters': 8}" in capsys.readouterr().err
    assert train(patches, tmp_path / "third", "--init-from", "shipped:bare-ground") == 2


def test_patches_are_cut_into_windows_of_the_protocol_or_as_asked(patches, tmp_path, capsys):
    assert train(patches, tmp_path / "mine", "--window", "16", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    item = read_item(facts["item"])
    assert item.window == 16
    words = ["--data", str(patches / "validation"), "--tta", "both", "--window", "16", "--json"]
    assert main(["model", "evaluate", facts["item"], *words]) == 0
    scored = json.loads(capsys.readouterr().out)["patches"]
    assert [one["micro"] for one in scored] == [
        one["micro"] for one in facts["scorecard"]["patches"]
    ]
    # A smaller window has its own maximum, in training as in a run.
    assert item.statistics.p99[0] > 0.97
    assert train(patches, tmp_path / "other", "--protocol", "morales") == 2
    err = capsys.readouterr().err
    assert "paper 000" in err
    assert "a multiple of 224 px" in err


def test_a_sweep_keeps_the_best_setting(patches, tmp_path, capsys, monkeypatch):
    grid = {"filters": (2, 4), "learning_rate": (1e-2, 1e-6)}
    monkeypatch.setattr(protocols, "VEGA_GRID", grid)
    assert train(patches, tmp_path / "best", "--sweep", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    scores = [row["f1"] for row in facts["settings"]]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert main(["model", "check", facts["item"]]) == 0
    assert main(["model", "show", facts["item"]]) == 0
    assert "6 patches" in capsys.readouterr().out
    assert train(patches, tmp_path / "best", "--sweep", "--set", "loss=dice") == 2
    assert train(patches, tmp_path / "best", "--sweep", "--set", "loss=dice", "--fresh") == 0
    again = json.loads((tmp_path / "best" / "best.json").read_text())
    assert again["assets"]["scorecard"]["href"] == "best.scorecard.json"


def test_scenarios_of_transfer_are_scored_in_the_layout_of_paper_003(patches, tmp_path, capsys):
    data = tmp_path / "regions"
    for region, part in (("China", "train"), ("Japan", "validation")):
        shutil.copytree(patches / part, data / region)
    words = ["--split", "three-to-two", "--train-on", "China", "--test-on", "China,Japan"]
    assert train(patches, tmp_path / "mine", *words, "--data", str(data)) == 0
    out = capsys.readouterr().out
    assert "trained on China" in out
    rows = [line.split()[:2] for line in out.splitlines() if "ghorb-unet" in line]
    assert rows == [["China", "ghorb-unet"], ["Japan", "ghorb-unet"], ["all", "ghorb-unet"]]
    assert "P 32 px" in out
    record = json.loads((tmp_path / "mine" / "training.json").read_text())
    assert record["training"]["patches"] == 8  # three fifths of twelve, rounded up
    assert (
        train(patches, tmp_path / "other", *words, "--test-on", "Taiwan", "--data", str(data)) == 2
    )
    assert "Taiwan" in capsys.readouterr().err
    for more in (["--test-on", "Japan"], ["--train-on", "Japan", "--test-on", "all"]):
        assert train(patches, tmp_path / "other", "--data", str(data), *more) == 2
        assert "are trained on too" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_early_stopping_without_validation_is_refused_with_what_to_do(patches, tmp_path, capsys):
    words = ["model", "train", "--data", str(patches / "train"), "--output", str(tmp_path / "mine")]
    assert main([*words, *QUICK, "--protocol", "ghorb", "--window", "32"]) == 2
    assert "patience 10 needs validation patches" in capsys.readouterr().err
    assert main([*words, *QUICK, "--set", "patience=null"]) == 0


def test_a_broken_patch_is_named_and_refused_unless_it_may_be_left_out(patches, tmp_path, capsys):
    broken = tmp_path / "patches"
    for part in ("images", "masks"):
        (broken / part).mkdir(parents=True)
        for path in (patches / "train" / part).glob("*.png"):
            (broken / part / path.name).write_bytes(path.read_bytes())
    (broken / "images" / "image_3.png").write_bytes(b"not a picture")
    words = ["model", "train", "--data", str(broken), "--output", str(tmp_path / "mine"), *QUICK]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "image_3.png" in err
    assert "1 of 12 patches are broken" in err
    assert not (tmp_path / "mine").exists()
    assert main([*words, "--skip-broken"]) == 0
    assert "1 of 12" in capsys.readouterr().err


def test_a_request_that_is_refused_leaves_an_earlier_training_as_it_was(patches, tmp_path):
    assert train(patches, tmp_path / "mine") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    assert train(patches, tmp_path / "mine", "--fresh", "--recipe", "ghorb4") == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before


def test_an_address_is_refused_before_anything_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--data", str(tmp_path / "gone"), "--output", "s3://bucket/mine", *QUICK]
    assert main(["model", "train", *words]) == 2
    assert "s3://bucket/mine: found an address, expected a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x", "my", "1st", "mine-"])
def test_a_folder_that_names_no_model_is_refused_before_anything_is_read(tmp_path, capsys, name):
    words = ["--data", str(tmp_path / "gone"), "--output", str(tmp_path / name), *QUICK]
    assert main(["model", "train", *words]) == 2
    said = capsys.readouterr().err
    assert f"id: found '{name}': expected 3 or more letters, digits, . _ -" in said
    assert "give --id NAME" in said
    assert main(["model", "train", *words, "--id", "mine"]) == 2
    assert "gone: no such folder" in capsys.readouterr().err


def test_words_of_arguments_are_read_as_in_a_workflow():
    from lspipe.cli.training import assigned

    words = ["a=true", "b=false", "c=1e-3", "d=null", "e=3", "f=bilinear", "g=1e3"]
    expected = {"a": True, "b": False, "c": 1e-3, "d": None, "e": 3, "f": "bilinear", "g": 1e3}
    assert assigned(words, "--set") == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "epochs=none"], "--set epochs"),
        (["--set", "epoch=3"], "--set epoch"),
        (["--set", "epochs"], "expected NAME=VALUE"),
        (["--set", "epochs=[1"], "--set epochs=[1"),
        (["--set", "loss=mse"], "--set loss: found 'mse'"),
        (["--protocol", "l4s", "--recipe", "l4s-rgb", "--set", "epochs=3"], "iterations=null"),
        (["--split", "random"], "nothing is done with the rest"),
        (["--fold", "2"], "--fold without --split blocks"),
        (["--sweep", "--test-on", "all"], "expected one of them"),
        (["--recipe", "l4s14"], "l4s14"),
        (["--argument", "filters=0"], "filters"),
        (["--architecture", "unnet"], "unnet"),
        (["--id", "a/b"], "a/b"),
        (["--encoder-weights", "weights.pth"], "has no encoder"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    patches, tmp_path, capsys, words, message
):
    assert train(patches, tmp_path / "mine", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("look", ["haze", "gamma", "noise"])
def test_looks_of_air_and_light_are_of_reflectances_only(tmp_path, look):
    terrain = recipe_of("yali6")
    samples = Samples(
        "here",
        terrain,
        ("1",),
        lambda _: (np.ones((6, 16, 16), np.float32), np.ones((16, 16), np.uint8)),
    )
    hazy = Course(
        id="mine",
        architecture="ghorb-unet",
        recipe="yali6",
        spec=TrainSpec(**{look: 0.5}, epochs=1),
    )
    with pytest.raises(UsageError, match=f"recipe yali6 has slope, dem too: set {look} to 0"):
        train_course(hazy, samples, None, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_an_item_says_which_encoder_it_began_with(tmp_path):
    donor = build("yali-mobilenetv2", 3)
    encoder = tmp_path / "encoder.safetensors"
    safetensors.torch.save_file(donor.encoder.state_dict(), encoder)
    rng = np.random.default_rng(0)
    samples = Samples(
        "here", recipe_of("l4s-rgb"), ("1", "2"),
        lambda _: (rng.random((3, 32, 32), np.float32), rng.integers(0, 2, (32, 32), np.uint8)),
    )  # fmt: skip
    course = Course(
        id="mine", architecture="yali-mobilenetv2", recipe="l4s-rgb", encoder_weights=encoder,
        spec=TrainSpec(epochs=1),
    )  # fmt: skip
    item = read_item(train_course(course, samples, None, tmp_path / "mine").item)
    digest = hashlib.sha256(encoder.read_bytes()).hexdigest()
    assert item.training["encoder_weights"] == {"sha256": digest}


def pack(weights, folder, *more):
    words = ["--architecture", "ghorb-unet", "--recipe", "ghorb4", "--window", "64"]
    about = ["--id", "mine", "--description", "A test.", "--not-for", "Anything."]
    return main(["model", "pack", str(weights), "--output", str(folder), *words, *about, *more])


def test_weights_that_were_trained_elsewhere_are_packed_and_others_refused(tmp_path, capsys):
    network = build("ghorb-unet", 4)
    weights = tmp_path / "unet.safetensors"
    safetensors.torch.save_file(network.state_dict(), weights)
    meant = ["--temperature", "1.7", "--threshold-sensitive", "0.2"]
    assert pack(weights, tmp_path / "models", *meant) == 0
    item = read_item(tmp_path / "models" / "mine.json")
    assert (item.recipe, item.temperature, item.threshold_sensitive) == ("ghorb4", 1.7, 0.2)
    assert pack(weights, tmp_path / "other", "--argument", "filters=8") == 2
    said = capsys.readouterr().err
    assert "not the weights of 'ghorb-unet' with 4 channels: has" in said
    assert "is (8, 4, 3, 3) here, (16, 4, 3, 3) in the file" in said
    assert pack(weights, tmp_path / "other", "--architecture", "vega-unet") == 2
    assert re.search(
        r"lacks \d+ tensors \(first: \S+, \S+, \S+\), has \d+ others", capsys.readouterr().err
    )
    assert not (tmp_path / "other").exists()


def test_what_is_packed_by_hand_says_as_much_as_what_was_trained_here(patches, tmp_path, capsys):
    assert train(patches, tmp_path / "mine") == 0
    trained = read_item(tmp_path / "mine" / "mine.json")
    data = ["--data", str(patches / "train")]
    words = ["--recipe", "l4s-rgb", "--argument", "filters=4", "--window", "32"]
    assert pack(trained.weights, tmp_path / "models", *words, *data) == 0
    item = tmp_path / "models" / "mine.json"
    packed = read_item(item)
    assert (packed.statistics, packed.sha256) == (trained.statistics, trained.sha256)
    assert main(["model", "check", str(item), *data]) == 0
    card = tmp_path / "card.json"
    validation = ["--data", str(patches / "validation")]
    assert main(["model", "evaluate", str(item), *validation, "--write", str(card)]) == 0
    scored = [*words, *data, "--scorecard", str(card)]
    assert pack(trained.weights, tmp_path / "models", *scored) == 0
    again = read_item(item)
    assert again.item_sha256 == packed.item_sha256
    assert scorecard.read(again) == scorecard.from_file(card)
    capsys.readouterr()
    assert main(["model", "show", str(item)]) == 0
    assert "6 patches" in capsys.readouterr().out


def test_packing_refuses_scores_and_patches_of_something_else(patches, tmp_path, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "unet.safetensors"
    safetensors.torch.save_file(build("ghorb-unet", 3, filters=4).state_dict(), weights)
    words = ["--recipe", "l4s-rgb", "--argument", "filters=4", "--window", "32"]
    shipped = read_item("shipped:l4s-rgb")
    document = tmp_path / "document.json"
    document.write_text("{}")
    for more, message in (
        (["--scorecard", str(shipped.scorecard)], f"scorecard: sha256: found {shipped.sha256}"),
        (["--scorecard", str(document)], "document.json: model: missing"),
        (["--scorecard", "gone.json"], "gone.json: cannot read the scorecard"),
        (["--data", "gone"], "gone: no such folder"),
        (["--data", str(patches / "train"), "--window", "20"], "a multiple of 20 px"),
        (["--data", "gone", "--recipe", "ghorb4"], "is (4, 4, 3, 3) here, (4, 3, 3, 3) in"),
    ):
        assert pack(weights, tmp_path / "other", *words, *more) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["unet.pth", "unet.safetensors"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_is_never_opened_under_whichever_name(tmp_path, capsys, name, is_zip):
    state = build("ghorb-unet", 4).state_dict()
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=is_zip)
    assert pack(tmp_path / name, tmp_path / "other") == 2
    said = capsys.readouterr().err
    assert "run code when they are opened, so lspipe never opens them" in said
    assert "safetensors.torch.save_file" in said
    assert not (tmp_path / "other").exists()


def test_weights_that_begin_like_a_pickle_are_read(tmp_path):
    # A header of 128 + 256 n bytes: its length, which comes first, begins with 0x80.
    for width in range(1, 400):
        content = safetensors.torch.save({"a" * width: torch.ones(1)})
        if content.startswith(b"\x80"):
            break
    (tmp_path / "w.safetensors").write_bytes(content)
    assert list(read_tensors(tmp_path / "w.safetensors")) == ["a" * width]
    (tmp_path / "cut.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(ModelError, match=r"cut\.safetensors: not a safetensors file"):
        read_tensors(tmp_path / "cut.safetensors")
