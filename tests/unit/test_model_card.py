"""The card says what a person must know; the check finds a model that breaks its word."""

import json
import re

import numpy as np
import pytest
import torch

from lspipe.cli import main
from lspipe.cli.cards import card_text
from lspipe.inference.soundness import check
from lspipe.models import SHIPPED, Scaling, build, read_item
from lspipe.models.pack import pack
from lspipe.models.recipes import L4S_DIVISORS, recipe_of
from lspipe.models.statistics import Statistics
from tests.patches import PATCH, write_h5, write_picture

FIELDS = {
    "id": "tiny-unet",
    "architecture": "ghorb-unet",
    "arguments": {"filters": 2},
    "bands": ("B02", "B03", "B04"),
    "window": 16,
    "overlap": 0.9,
    "tta": "d4",
    "threshold": 0.4,
    "scaling": Scaling(kind="affine", scale=(2, 2, 2), offset=(0, 0, 1), clip=(0, 1)),
    "description": "random weights",
    "not_for": "anything but tests",
}

NETWORKS = """
import torch

class Network(torch.nn.Module):
    def __init__(self, in_channels, does):
        super().__init__()
        self.does = does
        self.calls = 0

    def forward(self, windows):
        self.calls += 1
        mean = windows.mean(1, keepdim=True)
        return {
            "right": lambda: torch.sigmoid(mean),
            "logits": lambda: 4 * mean - 1,
            "nan": lambda: mean / mean.sum((2, 3), keepdim=True) * 0,
            "shape": lambda: mean[:, :, ::2, ::2],
            "random": lambda: torch.sigmoid(mean + self.calls),
            "blind": lambda: torch.sigmoid(windows[:, 1:].mean(1, keepdim=True)),
            "fails": lambda: mean @ windows[:, :, :3],
        }[self.does]()
"""


@pytest.fixture
def packed(tmp_path):
    torch.manual_seed(0)
    return pack(build("ghorb-unet", 3, filters=2), tmp_path, item_fields=FIELDS)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Makes an item of a network without weights that does one thing."""
    (tmp_path / "card_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(does):
        document = json.loads(read_item("shipped:bare-ground").path.read_text())
        document["properties"]["lspipe:architecture"] = "card_networks:Network"
        document["properties"]["lspipe:arguments"] = {"does": does}
        path = tmp_path / "item.json"
        path.write_text(json.dumps(document))
        return read_item(path)

    return make


def test_the_card_says_what_a_person_must_know(packed):
    item = read_item(packed)
    card = card_text(item)
    for fact in (
        "tiny-unet", "random weights", "anything but tests", "B02 B03 B04 (3, in this order)",
        "16 x 16 px, overlap 0.9, D4 TTA", "probability > 0.4", "unet(filters=2)", item.sha256,
        "reflectance * (2 2 2) + (0 0 1) per channel, then clipped to 0..1",
    ):  # fmt: skip
        assert fact in card
    assert max(map(len, card.splitlines()[:-3])) <= 100


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_keep_their_word(name):
    item = read_item(f"shipped:{name}")
    assert check(item) == []
    assert item.description
    assert item.not_for, "a shipped model says what it is not"


def test_a_packed_model_keeps_its_word(packed):
    assert check(read_item(packed)) == []


def test_changed_weights_are_a_problem(packed):
    item = read_item(packed)
    item.weights.write_bytes(b"")
    (problem,) = check(item)
    assert "sha256 is e3b0c442" in problem


@pytest.mark.parametrize(
    ("does", "problem"),
    [
        ("logits", "noise gives .* expected probabilities, 0 to 1"),
        ("nan", "a window without data gives values that are not finite"),
        ("shape", r"returned shape \(2, 1, 16, 16\)"),
        ("random", "other values the second time"),
        ("blind", "^B02: no influence"),
        ("fails", "fails on a window of 4 x 32 x 32"),
    ],
)
def test_a_model_that_breaks_its_word_is_found(own, does, problem):
    assert check(own("right")) == []
    problems = check(own(does))
    assert problems
    assert any(re.search(problem, text) for text in problems), problems


# --- training -----------------------------------------------------------------------------------

RGB = {
    "id": "pictures",
    "architecture": "ghorb-unet",
    "arguments": {"filters": 2},
    "bands": ("B04", "B03", "B02"),
    "window": 16,
    "recipe": "l4s-rgb",
    "scaling": recipe_of("l4s-rgb").scaling,
    "description": "random weights",
    "not_for": "anything but tests",
}


def picture(number, order=(0, 1, 2)):
    """Three channels of 8 bits that differ in what they are like."""
    rng = np.random.default_rng(number)
    image = rng.normal([[[60]], [[110]], [[190]]], [[[10]], [[20]], [[5]]], (3, 16, 16))
    return image.clip(0, 255).astype(np.uint8)[list(order)]


@pytest.fixture
def trained(tmp_path):
    torch.manual_seed(0)
    statistics = Statistics.of(picture(number) / np.float32(255) for number in range(8))
    fields = {**RGB, "statistics": statistics}
    return pack(build("ghorb-unet", 3, filters=2), tmp_path, item_fields=fields)


def pictures_in(folder, order):
    for number in range(20, 28):
        write_picture(folder / "images" / f"image_{number}.png", picture(number, order))
        write_picture(folder / "masks" / f"mask_{number}.png", np.zeros((1, 16, 16), np.uint8))
    return folder


def test_the_card_says_what_the_model_was_trained_on(trained, packed, capsys):
    item = read_item(trained)
    lines = [line.split() for line in card_text(item).splitlines()]
    assert ["trained", "on", "2,048", "px", "with", "data,", "in", "model", "units:"] in lines
    assert ["mean", "std", "1", "%", "median", "99", "%"] in lines
    found = item.statistics
    values = (found.mean[1], found.std[1], found.p01[1], found.p50[1], found.p99[1])
    assert ["B03", *(f"{value:.4g}" for value in values)] in lines
    assert "trained on not given" in " ".join(card_text(read_item(packed)).split())
    assert main(["model", "show", str(trained), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"] == found.as_json()


@pytest.mark.parametrize(
    ("order", "code", "said"),
    [
        ((0, 1, 2), 0, "no known mistake explains a difference"),
        ((0, 2, 1), 2, "warning: B03 and B02 look exchanged"),
    ],
)
def test_data_are_compared_with_training_channel_by_channel(trained, capsys, order, code, said):
    folder = pictures_in(trained.parent / "data", order)
    assert main(["model", "check", str(trained), "--data", str(folder)]) == code
    text = capsys.readouterr().out
    assert text.startswith(f"{trained}: sound\n{folder}: 2,048 px compared with the training data")
    assert said in text
    assert [line.split()[0] for line in text.splitlines()[3:6]] == ["B04", "B03", "B02"]
    # What cannot be seen with this scaling is said either way.
    assert "note: values are shares of the largest of their own window" in text


def test_data_of_another_level_are_said_to_be(tmp_path, capsys):
    torch.manual_seed(0)
    item = {**RGB, "bands": ("B02", "B03", "B04", "B08"), "recipe": "ghorb4", "scaling": Scaling()}
    numbers = PATCH * L4S_DIVISORS
    patches = [numbers[..., [1, 2, 3, 7]].transpose(2, 0, 1) / 1e4]
    fields = {**item, "statistics": Statistics.of(patches)}
    path = pack(build("ghorb-unet", 4, filters=2), tmp_path, item_fields=fields)
    for name, key, array in (
        ("img/image", "img", PATCH),
        ("mask/mask", "mask", np.zeros((128, 128))),
    ):
        (tmp_path / name).parent.mkdir()
        write_h5(tmp_path / f"{name}_1.h5", key, array)
    assert main(["model", "check", str(path), "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().out
    assert "recipe ghorb4, which is of L2A (surface), and is given L1C (top of atmosphere)" in said


def test_data_are_refused_where_there_is_nothing_to_lay_them_beside(packed, tmp_path, capsys):
    assert main(["model", "check", str(packed), "--data", str(tmp_path)]) == 2
    assert "lspipe:statistics: missing" in capsys.readouterr().err
