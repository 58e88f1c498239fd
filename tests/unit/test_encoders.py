"""A pretrained encoder comes from a file, and says when it is another's."""

import pytest
import safetensors.torch
import torch

from lspipe.errors import ModelError
from lspipe.models import build
from lspipe.models.encoders import for_channels, load_encoder


@pytest.fixture(scope="module")
def trained():
    """A network of three channels whose encoder somebody trained."""
    torch.manual_seed(1)
    return build("linknet", 3).eval()


@pytest.fixture
def file(trained, tmp_path):
    path = tmp_path / "encoder.safetensors"
    state = {name: weight.clone() for name, weight in trained.encoder.state_dict().items()}
    safetensors.torch.save_file({**state, "fc.weight": torch.zeros(10, 512)}, path)
    return path


def test_three_channels_are_taken_as_they_are(trained, file):
    network = build("linknet", 3).eval()
    assert load_encoder(network, file) == []
    windows = torch.rand(1, 3, 64, 64)
    for one, other in zip(network.encoder(windows), trained.encoder(windows), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("channels", [1, 2, 10, 14])
def test_a_stem_of_other_channels_repeats_the_files_and_keeps_their_sum(trained, file, channels):
    network = build("linknet", channels).eval()
    (stem,) = load_encoder(network, file)
    old, new = trained.encoder.state_dict()[stem], network.encoder.state_dict()[stem]
    assert new.shape[1] == channels
    for channel in range(channels):
        torch.testing.assert_close(new[:, channel], old[:, channel % 3] * 3 / channels)


def test_grey_pictures_look_the_same_to_six_channels_as_to_three():
    chance = torch.Generator().manual_seed(0)
    stem = torch.rand(4, 3, 7, 7, generator=chance)
    grey = torch.rand(1, 1, 32, 32, generator=chance)
    six = torch.conv2d(grey.repeat(1, 6, 1, 1), for_channels(stem, 6))
    three = torch.conv2d(grey.repeat(1, 3, 1, 1), stem)
    # Sums of 294 and of 147 products in float32: rounded otherwise.
    torch.testing.assert_close(six, three, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["yali-mobilenetv2", "yali-segformer", "pspnet"])
def test_every_kind_of_encoder_can_be_filled(name, tmp_path):
    torch.manual_seed(2)
    state = build(name, 3).encoder.state_dict()
    path = tmp_path / "encoder.safetensors"
    safetensors.torch.save_file({key: weight.clone() for key, weight in state.items()}, path)
    network = build(name, 3)
    assert load_encoder(network, path) == []
    for key, weight in network.encoder.state_dict().items():
        assert torch.equal(weight, state[key])


@pytest.mark.parametrize("coarsest", [32, 16])
def test_what_an_encoder_leaves_out_at_its_end_is_not_asked_of_its_file(coarsest, tmp_path):
    torch.manual_seed(3)
    state = build("lite-unet", 3).encoder.state_dict()
    whole = {name: weight.clone() for name, weight in state.items()}
    whole |= {"conv_head.weight": torch.zeros(1280, 320, 1, 1), "bn2.weight": torch.zeros(1280)}
    whole["classifier.weight"] = torch.zeros(1000, 1280)
    path = tmp_path / "tf_efficientnet_lite0.safetensors"
    safetensors.torch.save_file(whole, path)
    network = build("lite-unet", 3, coarsest=coarsest)
    assert load_encoder(network, path) == []
    for key, weight in network.encoder.state_dict().items():
        assert torch.equal(weight, state[key])
    # What it does not leave out is asked for as before.
    safetensors.torch.save_file({n: w for n, w in whole.items() if "blocks.4" not in n}, path)
    with pytest.raises(ModelError, match=r"lacks blocks\.4\.0"):
        load_encoder(network, path)


def test_names_may_begin_with_encoder(trained, tmp_path):
    path = tmp_path / "whole.safetensors"
    state = trained.encoder.state_dict().items()
    safetensors.torch.save_file({f"encoder.{name}": weight.clone() for name, weight in state}, path)
    assert load_encoder(build("linknet", 3), path) == []


def test_what_does_not_fit_is_refused_and_leaves_the_network_as_it_was(trained, tmp_path, file):
    network = build("yali-resnet34", 3)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    with pytest.raises(ModelError, match=r"weights of another encoder: lacks layer1\.2"):
        load_encoder(network, file)
    state = {name: weight.clone() for name, weight in trained.encoder.state_dict().items()}
    state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 5, 5)
    safetensors.torch.save_file(state, tmp_path / "wide.safetensors")
    fitting = build("linknet", 3)
    with pytest.raises(ModelError, match=r"layer1\.0\.conv1\.weight: found shape \(64, 64, 5, 5\)"):
        load_encoder(fitting, tmp_path / "wide.safetensors")
    assert all(torch.equal(before[name], weight) for name, weight in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("resnet.pth", b"\x80\x04", "run code when they are opened"),
        ("missing.safetensors", None, "cannot read the weights"),
        ("broken.safetensors", b"no", "not a safetensors file"),
    ],
)
def test_files_that_are_no_safetensors_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_encoder(build("linknet", 3), tmp_path / name)


def test_a_network_without_an_encoder_says_so(file):
    with pytest.raises(ModelError, match="GhorbUNet has no encoder"):
        load_encoder(build("ghorb-unet", 3, filters=2), file)
