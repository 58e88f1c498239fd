"""OpenVINO: the same probabilities, nothing sent, nothing written, nothing computed otherwise."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lspipe.errors import InferenceError, MissingExtra, ModelError
from lspipe.inference.runtimes import available, from_callable, openvino
from tests import runtime_contract as contract


@pytest.fixture
def installed():
    contract.need("openvino")


# Run where a home is empty and every address is out of reach; other tests import OpenVINO too.
ALONE = """
import socket, sys
def refuse(*arguments, **_):
    raise AssertionError(f"connects to {arguments}")
socket.socket.connect = socket.getaddrinfo = refuse
import torch
from lspipe.inference.runtimes import from_callable
found = from_callable(torch.nn.Conv2d(3, 1, 1), device="cpu", runtime="openvino")
assert found(torch.zeros(1, 3, 8, 8)).shape == (1, 8, 8)
assert "openvino" in sys.modules
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
import openvino_telemetry
"""


@pytest.mark.usefixtures("installed")
def test_nothing_is_sent_and_nothing_is_written(tmp_path):
    pytest.importorskip("openvino_telemetry")
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        env={"HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_telemetry_that_somebody_else_imported_is_left_alone(monkeypatch):
    theirs = object()
    monkeypatch.setitem(sys.modules, "openvino_telemetry", theirs)
    monkeypatch.setitem(sys.modules, "openvino", object())
    openvino._openvino()
    assert sys.modules["openvino_telemetry"] is theirs


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    openvino._core.cache_clear()
    with pytest.raises(
        MissingExtra, match=r'needs the package openvino .*pip install "lspipe\[openvino\]".*eager'
    ):
        from_callable(abs, device="cpu", runtime="openvino")
    assert "pip install" in available("cpu")["openvino"]
    assert "openvino_telemetry" not in sys.modules or sys.modules["openvino_telemetry"] is not None


def test_a_precision_that_the_processor_lacks_is_refused_with_what_it_has(monkeypatch):
    class Old:
        def get_property(self, _, name):
            return {"OPTIMIZATION_CAPABILITIES": ["FP32", "INT8"], "FULL_DEVICE_NAME": "Old CPU"}[
                name
            ]

    monkeypatch.setattr(openvino, "_core", Old)
    with pytest.raises(ModelError, match=r"'openvino': precision 'bf16': Old CPU has fp32 only"):
        from_callable(abs, device="cpu", precision="bf16", runtime="openvino")
    assert from_callable(abs, device="cpu", runtime="openvino").precision == "fp32"


def test_a_gpu_is_refused():
    with pytest.raises(ModelError, match="on a CPU only, the device is 'cuda'; use device 'cpu'"):
        openvino.check(torch.device("cuda"), "fp32")


@pytest.mark.usefixtures("installed")
def test_batch_normalisation_is_folded_right():
    contract.equals_eager(
        contract.network_of("ghorb-resunet"), runtime="openvino", precision="fp32"
    )


class Brightest(nn.Module):
    """A network whose path depends on its pixels."""

    def forward(self, windows):
        return windows[:, :1] / 2 if windows.max() > 1 else windows[:, :1]


@pytest.mark.usefixtures("installed")
def test_a_path_that_depends_on_pixels_is_refused_and_not_frozen():
    with pytest.raises(
        ModelError, match="runtime 'openvino' cannot take this network .* use runtime 'eager'"
    ):
        from_callable(Brightest(), device="cpu", runtime="openvino")(contract.windows(1))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("output", [lambda w: (w[:, :1], w), lambda w: {"out": w[:, :1]}])
def test_what_is_no_tensor_is_refused(output):
    with pytest.raises(InferenceError, match="returned a (tuple|dict) for a batch of shape"):
        from_callable(output, device="cpu", runtime="openvino")(contract.windows(1))


@pytest.mark.usefixtures("installed")
def test_weights_are_those_of_the_moment_it_was_made():
    network = contract.small_network()
    batch = contract.windows(2)
    made = from_callable(network, device="cpu", runtime="openvino")
    before = made(batch)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(made(batch), before)


@pytest.mark.usefixtures("installed")
def test_an_answer_is_not_overwritten_by_the_next():
    made = from_callable(contract.small_network(), device="cpu", runtime="openvino")
    first = made(contract.windows(2))
    kept = first.clone()
    made(contract.windows(2, seed=1))
    assert torch.equal(first, kept)
