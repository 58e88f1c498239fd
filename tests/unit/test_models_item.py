"""Model items: read exactly, refused by file and key."""

import copy
import json
from dataclasses import FrozenInstanceError, replace

import pystac
import pytest
import safetensors.torch
import torch

from lspipe.errors import ModelError
from lspipe.models import SHIPPED, ModelSpec, Scaling, build, digest, read_item, spelled_out
from lspipe.models.item import SHIPPED_FOLDER
from lspipe.models.mlm import PICKLE_SUFFIXES, canonical_band
from lspipe.models.pack import from_file, pack

FIELDS = {
    "id": "tiny-unet",
    "architecture": "ghorb-unet",
    "arguments": {"filters": 2},
    "bands": ("B02", "B03", "B04", "B08"),
    "window": 32,
    "scaling": Scaling(kind="affine", scale=(1, 2, 3, 4), offset=(0, 0, 0, 0.5), clip=(0, 1)),
    "fill": (0, 0, 0, 0.25),
    "threshold": 0.4,
    "overlap": 0.9,
    "tta": "d4",
    "tta_merge": "max",
    "tta_order": "average-then-max",
    "blend": "uniform",
    "description": "random weights",
    "not_for": "anything but tests",
    "training": {"windows": 12, "spec": {"epochs": 2}},
}


@pytest.fixture
def packed(tmp_path):
    torch.manual_seed(0)
    return pack(build("ghorb-unet", 4, filters=2), tmp_path, item_fields=FIELDS)


def rewrite(path, change):
    """Write the item again after `change(document, properties)`."""
    document = json.loads(path.read_text())
    change(document, document["properties"])
    path.write_text(json.dumps(document))
    return path


def refusal(path):
    with pytest.raises(ModelError) as caught:
        read_item(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: "), "an error names the file first"
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_what_is_packed_is_what_is_read(packed):
    item = read_item(packed)
    for name, value in FIELDS.items():
        if name != "classes":
            assert getattr(item, name) == value, name
    assert item.classes == ("background", "landslide")
    assert item.path == packed
    assert item.reference == str(packed)
    assert item.weights == packed.with_suffix(".safetensors")
    assert digest(item) == item.sha256


def test_packing_twice_gives_the_same_bytes(packed, tmp_path):
    torch.manual_seed(0)
    again = pack(build("ghorb-unet", 4, filters=2), tmp_path / "again", item_fields=FIELDS)
    assert again.read_bytes() == packed.read_bytes()
    first, second = (path.with_suffix(".safetensors") for path in (packed, again))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in again.parent.iterdir()) == [again.name, second.name]


class Task(torch.nn.Module):
    """What a training framework makes of a network: an attribute of a larger module."""

    def __init__(self, network):
        super().__init__()
        self.model = network


def averaged(network):
    return torch.optim.swa_utils.AveragedModel(network)


def compiled_inside(network):
    name, part = next(iter(network.named_children()))
    setattr(network, name, torch.compile(part))
    return network


WRAPPERS = {
    "compiled": torch.compile,
    "data-parallel": torch.nn.DataParallel,
    "compiled, data-parallel": lambda network: torch.nn.DataParallel(torch.compile(network)),
    "compiled twice over": lambda network: torch.compile(torch.nn.DataParallel(network)),
    "averaged": averaged,
    "a training task": Task,
    "a part of it compiled": compiled_inside,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_network_is_packed_as_the_network_itself(packed, tmp_path, wrapper):
    torch.manual_seed(0)
    wrapped = WRAPPERS[wrapper](build("ghorb-unet", 4, filters=2))
    weights = packed.with_suffix(".safetensors")
    again = pack(wrapped, tmp_path / "again", item_fields=FIELDS)
    assert again.with_suffix(".safetensors").read_bytes() == weights.read_bytes()
    # And of weights that were saved like that.
    state = {name: tensor.contiguous() for name, tensor in wrapped.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "saved.safetensors")
    network = from_file(tmp_path / "saved.safetensors", item_fields=FIELDS)
    third = pack(network, tmp_path / "third", item_fields=FIELDS)
    assert third.with_suffix(".safetensors").read_bytes() == weights.read_bytes()


def test_two_networks_in_one_module_are_not_taken_for_one(tmp_path):
    pair = torch.nn.ModuleList([build("ghorb-unet", 4, filters=2) for _ in range(2)])
    with pytest.raises(ModelError, match="does not take these weights: lacks"):
        pack(pair, tmp_path, item_fields=FIELDS)


def test_items_are_stac_items(packed):
    for path in (packed, SHIPPED_FOLDER / "bare-ground.json"):
        document = json.loads(path.read_text())
        item = pystac.Item.from_dict(copy.deepcopy(document))
        assert item.id == document["id"]
        assert item.geometry is None
        assert item.datetime is None
        assert item.common_metadata.start_datetime is not None
        assert any("/mlm/v1.5" in uri for uri in item.stac_extensions)


def test_a_version_is_written_as_stac_says_and_read_again(packed, tmp_path):
    network = build("ghorb-unet", 4, filters=2)
    path = pack(network, tmp_path / "second", item_fields=FIELDS | {"version": "2"})
    document = json.loads(path.read_text())
    assert document["properties"]["version"] == "2"
    assert any("/version/" in name for name in document["stac_extensions"])
    first, second = read_item(packed), read_item(path)
    assert (first.version, second.version) == ("", "2")
    assert (first.title, second.title) == (first.id, f"{second.id}, version 2")
    assert first.item_sha256 != second.item_sha256
    # A name decides no pixel.
    assert first.facts() == second.facts() | {"sha256": first.sha256}
    assert "version" not in json.loads(packed.read_text())["properties"]


def test_an_item_says_that_nothing_is_scaled_only_where_nothing_is(packed, tmp_path):
    assert "value_scaling" not in json.loads(packed.read_text())["properties"]["mlm:input"][0]
    plain = {name: value for name, value in FIELDS.items() if name != "scaling"}
    network = build("ghorb-unet", 4, filters=2)
    for fields in (plain, plain | {"scaling": Scaling()}):
        path = pack(network, tmp_path / str(len(fields)), item_fields=fields)
        inputs = json.loads(path.read_text())["properties"]["mlm:input"][0]
        assert inputs["value_scaling"] is None


def test_the_table_of_shipped_models_is_the_folder():
    files = {path.name for path in SHIPPED_FOLDER.glob("*.json")}
    items = {name for name in files if not name.endswith(".scorecard.json")}
    assert set(SHIPPED.values()) == items
    for name in SHIPPED:
        assert read_item(f"shipped:{name}").reference == f"shipped:{name}"


def test_a_silent_item_leaves_the_inference_to_the_workflow(packed):
    def silence(_, properties):
        for key in ("overlap", "tta", "tta_merge", "tta_order", "blend", "threshold", "fill"):
            del properties[f"lspipe:{key}"]
        del properties["lspipe:scaling"]

    item = read_item(rewrite(packed, silence))
    assert item.inference_defaults() == {
        "window": 32, "overlap": None, "tta": None, "tta_merge": None, "tta_order": None,
        "blend": None,
    }  # fmt: skip
    assert item.threshold == 0.5
    assert item.fill == (0, 0, 0, 0)
    assert item.scaling == Scaling()


def test_channels_are_told_apart_by_what_they_are_read_from(packed):
    item = read_item(packed)
    assert not item.is_pair
    assert item.channels_from("scenes") == item.bands
    mixed = replace(item, bands=("before:B04", "slope", "after:B04", "after:VV", "elevation"))
    assert mixed.is_pair
    assert mixed.channels_from("scenes") == ("before:B04", "after:B04")
    assert mixed.channels_from("terrain") == ("slope", "elevation")
    assert mixed.channels_from("radar") == ("after:VV",)


@pytest.mark.parametrize("stride", [1, 3, 22, 31, 32])
def test_a_stride_becomes_the_overlap_that_gives_it_back(packed, stride):
    def change(_, properties):
        del properties["lspipe:overlap"]
        properties["lspipe:stride"] = stride

    item = read_item(rewrite(packed, change))
    assert round(item.window * (1 - item.overlap)) == stride


def test_one_number_stands_for_every_band(packed):
    def change(_, properties):
        properties["lspipe:fill"] = -1
        properties["lspipe:scaling"] = {"kind": "affine", "scale": 2}

    item = read_item(rewrite(packed, change))
    assert item.fill == (-1, -1, -1, -1)
    assert item.scaling == Scaling(kind="affine", scale=(2, 2, 2, 2), offset=(0, 0, 0, 0))


@pytest.mark.parametrize(
    "kind", ["tile-minmax", "window-minmax", "window-minmax-all", "window-max"]
)
def test_relative_scalings_need_no_numbers(packed, kind):
    def change(_, properties):
        properties["lspipe:scaling"] = {"kind": kind}

    assert read_item(rewrite(packed, change)).scaling == Scaling(kind=kind)


def test_bands_are_known_by_name():
    spellings = {"B2": "B02", "b02": "B02", "B8a": "B8A", "B11": "B11", "b12": "B12", "B9": "B09"}
    assert {name: canonical_band(name) for name in spellings} == spellings
    assert canonical_band("slope") == "slope"
    assert canonical_band("B99") == "B99"


def test_bands_may_be_objects(packed):
    def change(_, properties):
        properties["mlm:input"][0]["bands"] = [{"name": "B2"}, {"name": "B3"}, "B4", "B8"]

    assert read_item(rewrite(packed, change)).bands == FIELDS["bands"]


def test_whatever_decides_a_pixel_is_in_the_facts(packed):
    before = read_item(packed)

    def change(_, properties):
        properties["lspipe:scaling"]["scale"][0] = 1.5

    after = read_item(rewrite(packed, change))
    assert digest(before) == digest(after), "the weights are the same"
    assert before.facts() != after.facts()
    assert json.loads(json.dumps(after.facts())) == json.loads(json.dumps(after.facts()))


def test_the_digest_without_weights_ignores_spaces_and_order_only(tmp_path):
    source = SHIPPED_FOLDER / "bare-ground.json"
    document = json.loads(source.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps(dict(reversed(document.items()))))
    assert digest(read_item(other)) == digest(read_item(source))
    document["properties"]["lspipe:arguments"]["bias"] = -2.0
    other.write_text(json.dumps(document))
    assert digest(read_item(other)) != digest(read_item(source))


def test_how_a_model_was_trained_makes_no_other_model_of_it(packed):
    before = read_item(packed)
    after = read_item(rewrite(packed, _delete("lspipe:training")))
    assert (before.training, after.training) == (FIELDS["training"], {})
    assert (after.item_sha256, after.facts()) == (before.item_sha256, before.facts())


def test_an_item_says_the_defaults_of_its_network(tmp_path):
    fields = {**FIELDS, "architecture": "ghorb-resunet"}
    network = build("ghorb-resunet", 4, filters=2)
    path = pack(network, tmp_path, item_fields=fields)
    assert read_item(path).arguments == {
        "filters": 2, "is_plain": False, "upsampling": "transposed",
    }  # fmt: skip
    # JSON has no tuples.
    rates = spelled_out("deeplabv2", {})["atrous_rates"]
    assert rates == [6, 12, 18, 24]

    # An item of before, which does not say them, is read as it is.
    def as_before(_, properties):
        properties["lspipe:arguments"] = {"filters": 2}

    before = rewrite(path, as_before)
    assert read_item(before).arguments == {"filters": 2}


def _delete(key):
    return lambda _, properties: properties.pop(key)


def _set(key, value):
    return lambda _, properties: properties.__setitem__(key, value)


def _input(key, value):
    return lambda _, properties: properties["mlm:input"][0].__setitem__(key, value)


def _shape(value):
    return lambda _, properties: properties["mlm:input"][0]["input"].__setitem__("shape", value)


def _asset(key, value):
    return lambda document, _: document["assets"]["weights"].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("lspipe:thresold", 1), "properties.lspipe:thresold: unknown key (did you mean 'lsp"),
        (_delete("lspipe:architecture"), "properties.lspipe:architecture: missing"),
        (_delete("mlm:input"), "properties.mlm:input: missing"),
        (_set("mlm:input", []), "properties.mlm:input: found 0 entries"),
        (_delete("mlm:output"), "properties.mlm:output: missing"),
        (_set("lspipe:threshold", 1.5), "properties.lspipe:threshold: found 1.5: expected a num"),
        (_set("lspipe:threshold", True), "properties.lspipe:threshold: found True"),
        (_set("lspipe:tta", "d8"), "properties.lspipe:tta: found 'd8': expected one of d4, none"),
        (_set("lspipe:overlap", 1), "properties.lspipe:overlap: found 1: expected less"),
        (_set("lspipe:stride", 8), "properties.lspipe:stride: found beside lspipe:overlap"),
        (_set("lspipe:fill", [0, 0]), "properties.lspipe:fill: found [0, 0]: expected 4 finite"),
        (_set("lspipe:scaling", {"kind": "zscore"}), "properties.lspipe:scaling: kind 'zscore'"),
        (_set("lspipe:scaling", {"kind": "affine", "scales": 1}),
         "properties.lspipe:scaling.scales: unknown key (did you mean 'scale'?)"),
        (_set("lspipe:scaling", {"kind": "identity", "scale": 2}), "properties.lspipe:scaling: sc"),
        (_set("lspipe:scaling", {"kind": "affine", "clip": [1, 0]}), "properties.lspipe:scaling: "),
        (_set("lspipe:scaling", {"kind": "affine", "scale": 0}), "properties.lspipe:scaling: a sc"),
        (_input("bands", ["B02", "B2", "B04", "B08"]), "properties.mlm:input[0].bands: found"),
        (_input("bands", ["B02", 3, "B04", "B08"]), "properties.mlm:input[0].bands[1]: found 3"),
        (_input("bands", ["B02", "B03", "B04"]), "properties.mlm:input[0].input.shape: found 4 ch"),
        (_shape([-1, 4, 32, 64]), "properties.mlm:input[0].input.shape: found [-1, 4, 32, 64]"),
        (_shape([4, 32, 32]), "properties.mlm:input[0].input.shape: found [4, 32, 32]"),
        (_set("lspipe:training", "hard"), "properties.lspipe:training: found 'hard': expected an"),
        (_asset("roles", []), "assets: found 0 with the role 'mlm:model'"),
        (_asset("href", "https://u:p@host/w.safetensors?sig=secret"), "assets.weights.href: https://"),
        (_asset("href", "gone.safetensors"), "assets.weights.href: no file"),
        (_asset("href", "weights.onnx"), "assets.weights.href: found 'weights.onnx'"),
        (_asset("file:checksum", "12"), "assets.weights.file:checksum: found '12'"),
        (lambda document, _: document.update(type="Collection"), "type: found 'Collection'"),
        (lambda document, _: document.pop("assets"), "assets: missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_file_and_key(packed, change, expected):
    message = refusal(rewrite(packed, change))
    assert message.startswith(expected)
    assert "secret" not in message


def test_a_scaling_without_unit_is_not_guessed(packed):
    def change(_, properties):
        del properties["lspipe:scaling"]
        entry = {"type": "z-score", "mean": 1354.4, "stddev": 245.7}
        properties["mlm:input"][0]["value_scaling"] = [entry]

    message = refusal(rewrite(packed, change))
    assert message.startswith("properties.mlm:input[0].value_scaling: names no unit")
    assert "lspipe:scaling" in message


@pytest.mark.parametrize("suffix", PICKLE_SUFFIXES)
def test_pickled_weights_are_refused_by_name(packed, suffix):
    # The file is there, with the right checksum: its name alone is enough.
    packed.with_suffix(".safetensors").rename(packed.with_suffix(suffix))
    message = refusal(rewrite(packed, _asset("href", f"tiny-unet{suffix.upper()}")))
    assert message.startswith("assets.weights.href: ")
    assert "expected .safetensors" in message


def test_weights_instead_of_an_item_are_refused(packed):
    assert "expected the model item" in refusal(packed.with_suffix(".safetensors"))
    assert "expected the model item" in refusal(packed.with_suffix(".pth"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "not JSON"),
        ("[]", "found []: expected a STAC Item"),
        ('{"id": "a", "id": "b"}', "id: found twice"),
        ('{"id": NaN}', "found NaN"),
    ],
)
def test_what_is_no_item_is_said(tmp_path, text, expected):
    path = tmp_path / "item.json"
    path.write_text(text)
    assert refusal(path).startswith(expected)


def test_a_missing_item_is_said(tmp_path):
    assert "No such file" in refusal(tmp_path / "gone.json")
    with pytest.raises(ModelError, match=r"did you mean 'bare-ground'\?"):
        read_item("shipped:bareground")


def test_packing_refuses_what_could_not_be_used(packed):
    network = build("ghorb-unet", 4, filters=2)
    before = {path: path.read_bytes() for path in packed.parent.iterdir()}
    for change, expected in [
        ({"treshold": 0.5}, r"treshold: unknown field \(did you mean 'threshold'\?\)"),
        ({"not_for": ""}, "not_for: missing"),
        ({"id": "../up"}, "id: found"),
        ({"arguments": {"filters": 4}}, "does not take these weights"),
        ({"tta": "d5"}, "lspipe:tta: found 'd5'"),
        ({"window": -1}, "shape"),
    ]:
        with pytest.raises(ModelError, match=expected):
            pack(network, packed.parent, item_fields={**FIELDS, **change})
    assert {path: path.read_bytes() for path in packed.parent.iterdir()} == before


def test_specs_refuse_values_out_of_range():
    assert ModelSpec().item == "auto"
    with pytest.raises(ValueError, match="kind 'log'"):
        Scaling(kind="log")
    with pytest.raises(ValueError, match="2 scales and 1 offsets"):
        Scaling(kind="affine", scale=(1, 2), offset=(0,))
    with pytest.raises(FrozenInstanceError):
        ModelSpec().item = "other"
