"""The card says what a person must know; the check finds a model that breaks its word."""

import json
import re

import pytest
import torch

from lspipe.models import SHIPPED, ModelItem, Scaling, build
from lspipe.models.card import check, show
from lspipe.models.pack import pack

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
        document = json.loads(ModelItem.from_file("shipped:bare-ground").path.read_text())
        document["properties"]["lspipe:architecture"] = "card_networks:Network"
        document["properties"]["lspipe:arguments"] = {"does": does}
        path = tmp_path / "item.json"
        path.write_text(json.dumps(document))
        return ModelItem.from_file(path)

    return make


def test_the_card_says_what_a_person_must_know(packed):
    item = ModelItem.from_file(packed)
    card = show(item)
    for fact in (
        "tiny-unet", "random weights", "anything but tests", "B02 B03 B04 (3, in this order)",
        "16 x 16 px, overlap 0.9, D4 TTA", "probability > 0.4", "unet(filters=2)", item.sha256,
        "reflectance * (2 2 2) + (0 0 1) per channel, then clipped to 0..1",
    ):  # fmt: skip
        assert fact in card
    assert max(map(len, card.splitlines()[:-3])) <= 100


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_keep_their_word(name):
    item = ModelItem.from_file(f"shipped:{name}")
    assert check(item) == []
    assert item.description
    assert item.not_for, "a shipped model says what it is not"


def test_a_packed_model_keeps_its_word(packed):
    assert check(ModelItem.from_file(packed)) == []


def test_changed_weights_are_a_problem(packed):
    item = ModelItem.from_file(packed)
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
