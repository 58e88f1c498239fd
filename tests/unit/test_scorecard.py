"""Scorecards: kept whole, tied to one model, read by people; and the verb that makes them."""

import json

import numpy as np
import pytest
import rasterio
import torch

from lspipe.cli import main
from lspipe.cli.cards import scorecard_text
from lspipe.errors import ModelError, UsageError
from lspipe.evaluate import scorecard
from lspipe.evaluate.metrics import confusion
from lspipe.evaluate.scorecard import FalseAlarms, ListScores, Scorecard
from lspipe.models import SHIPPED, build, read_item
from lspipe.models.pack import pack
from lspipe.models.recipes import recipe_of
from lspipe.samples import pictures

SIZE = 16

RGB = recipe_of("l4s-rgb")


def pack_rgb(folder, **fields):
    """A small network of the colour recipe; packed twice, it is the same."""
    torch.manual_seed(1)
    network = build("ghorb-unet", 3, filters=2)
    scores = fields.pop("scorecard", None)
    item_fields = {
        "id": "rgb", "architecture": "ghorb-unet", "arguments": {"filters": 2},
        "bands": RGB.channels, "window": SIZE, "scaling": RGB.scaling, "recipe": "l4s-rgb",
        "threshold": 0.48, "tta": "none", "description": "random weights",
        "not_for": "Not for anything.", **fields,
    }  # fmt: skip
    return pack(network, folder, item_fields=item_fields, scorecard=scores)


def write_picture(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = array.shape
    with rasterio.open(
        path, "w", driver="PNG", count=count, height=height, width=width, dtype="uint8"
    ) as file:
        file.write(array)


@pytest.fixture
def patches(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "patches"
    lines = ["name,region"]
    for number in range(6):
        image = rng.integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)
        write_picture(folder / "images" / f"image_{number}.png", image)
        mask = np.where(image[:1] > 190, 255, 0).astype(np.uint8)
        write_picture(folder / "masks" / f"mask_{number}.png", mask)
        lines.append(f"{number},{'Iburi' if number < 2 else 'Kodagu'}")
    (folder / "regions.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def item(tmp_path):
    return pack_rgb(tmp_path / "models")


def evaluate(item, folder, *more):
    return main(["model", "evaluate", str(item), "--data", str(folder), *more])


# --- the verb -----------------------------------------------------------------------------------


def test_the_verb_prints_what_the_network_says_of_the_patches(item, patches, capsys):
    assert evaluate(item, patches, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["patches"]
    torch.manual_seed(1)
    network = build("ghorb-unet", 3, filters=2).eval()
    images, masks = pictures.folder(patches).arrays()
    with torch.inference_mode():
        probability = network(torch.from_numpy(images))[:, 0].numpy()
    expected = confusion(probability > 0.48, masks == 1).scores()
    assert 0 < expected.recall < 1, "a threshold at which something could go wrong"
    for name in ("precision", "recall", "f1", "iou", "mcc"):
        assert found["micro"][name] == pytest.approx(getattr(expected, name), abs=2e-3)
    assert (found["patches"], found["pixels"], found["window"]) == (6, 6 * SIZE**2, SIZE)
    assert (found["threshold"], found["threshold_from"]) == (0.48, "model item")
    low, high = found["intervals"]["f1"]
    assert low < expected.f1 < high


def test_the_table_stands_beside_the_published_rows(item, patches, capsys):
    assert evaluate(item, patches, "--tta", "both", "--regions", "Kodagu") == 0
    shown = capsys.readouterr()
    assert "4 patches, 1,024 px" in shown.out
    for line in (
        "one view",
        "D4, eight views",
        "mean of batches of 16",
        "P",
        "published, on other",
    ):
        assert line in shown.out
    # The patches are those of paper 001, whose U-Net had all their channels.
    assert "l4s-unet, l4s14" in shown.out
    assert "not to be read as: the quality of a map" in shown.out
    assert "Not for anything." in " ".join(shown.out.split())
    assert "patches 4/4" in shown.err
    assert max(map(len, shown.out.splitlines())) <= 130


def test_all_regions_are_every_patch(item, patches, capsys):
    assert evaluate(item, patches, "--test-on", "all") == 0
    everything = capsys.readouterr().out
    assert "6 patches" in everything
    assert evaluate(item, patches) == 0
    assert capsys.readouterr().out == everything
    with pytest.raises(SystemExit):
        evaluate(item, patches, "--test-on", " , ")
    assert "expected names of regions, or all" in capsys.readouterr().err


def test_two_ways_of_showing_patches_are_two_scores(item, patches, capsys):
    assert evaluate(item, patches, "--tta", "both", "--choose-threshold", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    one, eight = facts["patches"]
    assert (one["tta"], eight["tta"]) == ("none", "d4")
    # The largest of eight is never less, so it takes a higher threshold.
    assert one["threshold"] < eight["threshold"]
    assert {one["threshold_from"], eight["threshold_from"]} == {"chosen on these patches"}
    assert "--tta both --choose-threshold" in facts["command"]


def broken_file(folder, _):
    (folder / "images" / "image_3.png").write_bytes(b"not a picture")


def lost_mask(folder, _):
    (folder / "masks" / "mask_3.png").unlink()


def grey_mask(folder, _):
    write_picture(folder / "masks" / "mask_3.png", np.full((1, SIZE, SIZE), 7, np.uint8))


def other_layout(folder, _):
    (folder / "images").rename(folder / "img")


def changed_weights(_, item):
    weights = item.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")


def no_recipe(_, item):
    pack_rgb(item.parent, recipe="")


def another_recipe(_, item):
    pack_rgb(item.parent, recipe="vega3", bands=recipe_of("vega3").channels)


def pickled(_, item):
    item.write_text(item.read_text().replace("rgb.safetensors", "rgb.pth"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (broken_file, "1 of 6 patches are broken:"),
        (lost_mask, "1 image without a mask: images/image_3.png"),
        (grey_mask, "mask with the values 7: expected 0 and 1"),
        (other_layout, "no such folder: expected mask_N.h5"),
        (changed_weights, "sha256 is"),
        (no_recipe, "names no channel recipe"),
        (another_recipe, "lspipe:scaling: is not that of recipe vega3"),
        (pickled, ".pth files run code when they are opened"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(spoil, message, item, patches, capsys):
    spoil(patches, item)
    assert evaluate(item, patches, "--write", str(item.parent / "card.json")) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""
    assert not (item.parent / "card.json").exists()


def test_broken_patches_are_left_out_and_counted_if_told(item, patches, capsys):
    broken_file(patches, item)
    assert evaluate(item, patches, "--skip-broken", "--json") == 0
    shown = capsys.readouterr()
    assert "left out 1 broken patch: 3" in shown.err
    (found,) = json.loads(shown.out)["patches"]
    assert (found["patches"], found["left_out"]) == (5, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "50"], "--threshold 50: expected a probability"),
        (["--regions", "Gorkha"], "no patches of Gorkha; its regions: Iburi, Kodagu"),
        (["--batch-size", "0"], "--batch-size 0: expected 1 or more"),
        (["--write", "gone/card.json"], "there is no folder gone"),
        (["--write", "."], "is a folder"),
    ],
)
def test_bad_words_are_refused_before_anything_is_read(arguments, message, item, patches, capsys):
    assert evaluate(item, patches, *arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "patches 6/6" not in shown.err


# --- the card -----------------------------------------------------------------------------------


def test_a_scorecard_travels_with_its_model(item, patches, tmp_path, capsys):
    written = tmp_path / "card.json"
    assert evaluate(item, patches, "--write", str(written)) == 0
    document = json.loads(written.read_text())
    before = read_item(item)
    assert before.scorecard is None
    pack_rgb(item.parent, scorecard=document)
    packed = read_item(item)
    assert packed.scorecard == item.parent / "rgb.scorecard.json"
    asset = json.loads(item.read_text())["assets"]["scorecard"]
    assert (asset["href"], asset["roles"]) == ("rgb.scorecard.json", ["metadata"])
    # A run that was begun before the model was scored goes on.
    assert (packed.item_sha256, packed.sha256) == (before.item_sha256, before.sha256)
    card = scorecard.read(packed)
    assert card.as_json() == document
    capsys.readouterr()
    assert main(["model", "show", str(item)]) == 0
    assert f"{patches}: F1 {100 * card.patches[0].micro.f1:.2f}" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_scorecard_of_other_weights_is_never_shown(item, patches, tmp_path, capsys):
    written = tmp_path / "card.json"
    evaluate(item, patches, "--write", str(written))
    document = json.loads(written.read_text())
    with pytest.raises(ModelError, match="scorecard: sha256: found 0000: expected"):
        pack_rgb(item.parent, scorecard=document | {"sha256": "0000"})
    pack_rgb(item.parent, scorecard=document)
    (item.parent / "rgb.scorecard.json").write_text(json.dumps(document | {"sha256": "0000"}))
    capsys.readouterr()
    assert main(["model", "show", str(item)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "scores not shown:" in shown
    assert "of a model with sha256 0000" in shown
    assert "F1" not in shown


CARD = Scorecard(
    model="m",
    sha256="0" * 64,
    lspipe="1",
    command="none",
    false_alarms=(
        FalseAlarms(
            data="farmland", dates=1, threshold=0.5, area_km2=4.0, marked_km2=1.0, objects=10,
            min_area_m2=900,
        ),
    ),
    lists=(ListScores(data="valleys", known=8, found=6, listed=12, right=6),),
    not_to_be_read_as="skill",
)  # fmt: skip


def test_false_alarms_and_lists_are_said_per_square_kilometre():
    text = scorecard_text(CARD)
    assert "farmland, one date: 2.50 false objects per km2" in text
    assert "25.00% of 4.00 km2 marked" in text
    assert "valleys: found 6 of 8 new landslides; 6 of 12 listed are right" in text
    assert scorecard.from_json(CARD.as_json(), "here") == CARD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format": "lspipe-scorecard-2"},
            "here: format: found 'lspipe-scorecard-2' .*expected lspipe-scorecard-1",
        ),
        ({"skill": 1}, "here: skill: unknown key"),
        ({"sha256": 5}, "here: sha256: found 5, expected text"),
        (
            {"lists": [{"data": "d"}]},
            r"here: lists\.0\.known: missing; this key is required\nalso wrong: lists\.0\.found",
        ),
    ],
)
def test_another_document_is_no_scorecard(change, message):
    with pytest.raises(ModelError, match=message):
        scorecard.from_json(CARD.as_json() | change, "here")


def test_shipped_scorecards_are_of_the_shipped_models():
    # Red after a change of the item: run the command that the scorecard names again.
    cards = {name: scorecard.read(read_item(f"shipped:{name}")) for name in SHIPPED}
    for name in ("bare-ground", "bare-change"):
        assert cards[name].false_alarms
    for name, card in cards.items():
        assert card is None or card.model == name


def test_a_scorecard_that_is_not_there_is_said_and_stops_no_run(item):
    document = json.loads(item.read_text())
    document["assets"]["scorecard"] = {"href": "gone.json", "roles": ["metadata"]}
    item.write_text(json.dumps(document))
    named = read_item(item)
    with pytest.raises(ModelError, match=r"gone\.json: cannot read the scorecard: No such file"):
        scorecard.read(named)
    named.scorecard.write_text("{")
    with pytest.raises(ModelError, match=r"gone\.json: not JSON"):
        scorecard.read(named)
    document["assets"]["scorecard"]["href"] = "https://host/card.json"
    item.write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"assets\.scorecard\.href: found https://host/card"):
        read_item(item)


def test_an_unwritable_place_leaves_nothing(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        scorecard.write(CARD, tmp_path / "gone" / "card.json")
    scorecard.write(CARD, tmp_path / "card.json")
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]
