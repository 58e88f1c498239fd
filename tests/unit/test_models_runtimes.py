"""Runtimes: nothing is read before its sha256 is known, and nothing the caller owns is changed.

The contract of all runtimes is `tests/runtime_contract.py`; what only one of them promises is in
`test_compiled.py` and `test_openvino.py`.
"""

import copy
import hashlib
import importlib
import json
import subprocess
import sys
import threading
from functools import partial
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file
from torch import nn

import lspipe.inference.runtimes as runtimes_module
from lspipe.errors import InferenceError, ModelError, UsageError
from lspipe.inference.detect import detect
from lspipe.inference.runtimes import (
    RUNTIMES,
    Runtime,
    available,
    from_callable,
    load,
    resolve_precision,
    use_threads,
)
from lspipe.inference.runtimes.devices import is_out_of_memory
from lspipe.inference.runtimes.probe import largest_batch
from lspipe.models import Scaling, build, digest, read_item
from lspipe.models.pack import pack
from tests import runtime_contract as contract

FIELDS = {
    "id": "tiny-unet",
    "architecture": "ghorb-unet",
    "arguments": {"filters": 2},
    "bands": ("B02", "B03", "B04"),
    "window": 16,
    "description": "random weights",
    "not_for": "anything but tests",
}


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """No network is in memory yet, as in a new worker."""
    monkeypatch.setattr(runtimes_module, "_runtimes", {})


@pytest.fixture(autouse=True, scope="module")
def kernels(tmp_path_factory):
    """Compiled kernels of these tests; `test_compiled.py` takes the same folder."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp() / "kernels"
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build("ghorb-unet", 3, filters=2)


@pytest.fixture
def packed(network, tmp_path):
    return pack(network, tmp_path, item_fields=FIELDS)


@pytest.fixture
def batch():
    return torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(1))


def test_a_loaded_item_is_the_packed_module(packed, network, batch):
    with torch.no_grad():
        expected = network.eval()(batch)[:, 0]
    runtime: Runtime = load(packed, digest(read_item(packed)), device="cpu")
    assert torch.equal(runtime(batch), expected)
    assert torch.equal(runtimes_module.load(packed, None, device="cpu")(batch), expected)
    assert runtime.bands == FIELDS["bands"]
    assert runtime.scaling == Scaling()
    assert runtime.fill == (0, 0, 0)
    assert (runtime.device.type, runtime.precision, runtime.name) == ("cpu", "fp32", "eager")


def test_changed_weights_are_refused_before_they_are_read(packed, monkeypatch):
    weights = packed.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    def read(_):
        raise AssertionError("weights were read")

    monkeypatch.setattr("safetensors.torch.load", read)
    with pytest.raises(
        ModelError, match=r"tiny-unet\.safetensors: sha256 is [0-9a-f]{64}, tiny-un"
    ):
        load(packed, None, device="cpu")


def test_truncated_weights_are_refused(packed):
    weights = packed.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not fully copied"):
        load(packed, None, device="cpu")


def test_another_model_than_planned_is_refused(packed):
    with pytest.raises(ModelError, match="the run was planned with 0000"):
        load(packed, "0" * 64, device="cpu")
    with pytest.raises(ModelError, match="the run was planned with 0000"):
        load("shipped:bare-ground", "0" * 64, device="cpu")


def rewrite(packed, *, weights=None, **properties):
    document = json.loads(packed.read_text())
    document["properties"].update(properties)
    if weights is not None:
        save_file(weights, packed.with_suffix(".safetensors"))
        content = packed.with_suffix(".safetensors").read_bytes()
        checksum = f"1220{hashlib.sha256(content).hexdigest()}"
        document["assets"]["weights"]["file:checksum"] = checksum
    packed.write_text(json.dumps(document))


def test_weights_that_do_not_fit_are_refused(packed):
    rewrite(packed, weights={"other": torch.zeros(1)})
    with pytest.raises(ModelError, match="do not fit 'ghorb-unet' with 3 channels"):
        load(packed, None, device="cpu")


def test_a_file_that_is_no_safetensors_is_refused(packed):
    packed.with_suffix(".safetensors").write_bytes(b"not weights")
    document = json.loads(packed.read_text())
    checksum = f"1220{hashlib.sha256(b'not weights').hexdigest()}"
    document["assets"]["weights"]["file:checksum"] = checksum
    packed.write_text(json.dumps(document))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load(packed, None, device="cpu")


def test_weights_are_read_once_per_process(packed, batch, monkeypatch):
    loads = []
    build_network = runtimes_module.build_network

    def counted(item):
        loads.append(item.id)
        return build_network(item)

    monkeypatch.setattr(runtimes_module, "build_network", counted)
    first, second = (load(packed, None, device="cpu") for _ in range(2))
    assert torch.equal(first(batch), second(batch))
    assert len(loads) == 1
    # An item that was edited is another model, though its weights are the same.
    rewrite(packed, **{"lspipe:fill": 1})
    assert load(packed, None, device="cpu").fill == (1, 1, 1)
    assert len(loads) == 2


def test_a_module_is_never_modified(network, batch):
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network
            self.drop = nn.Dropout(0.5)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, windows):
            return self.network(self.drop(self.norm(windows)))

    module = Dropping()
    before = copy.deepcopy(module.state_dict())
    runtime = from_callable(module, device="cpu")
    assert torch.equal(runtime(batch), runtime(batch)), "dropout is off"
    assert module.training
    assert all(part.training for part in module.modules())
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_module_in_eval_mode_is_not_copied(network):
    network.eval()
    assert from_callable(network, device="cpu").network.network is network


def test_any_callable_is_a_model(batch):
    runtime = from_callable(lambda windows: windows[:, :1], device="cpu")
    assert torch.equal(runtime(batch), batch[:, 0])
    assert runtime.bands is None
    assert runtime.fill == 0


def test_no_gradients_are_kept(network, batch):
    assert not from_callable(network, device="cpu")(batch).requires_grad


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (lambda windows: windows, r"shape \(2, 3, 16, 16\)"),
        (lambda windows: windows[:, 0], r"shape \(2, 16, 16\)"),
        (lambda windows: windows[:, :1, ::2], r"shape \(2, 1, 8, 16\)"),
        (lambda windows: {"out": windows}, "a dict"),
    ],
)
def test_another_shape_is_an_error_that_says_both(batch, model, found):
    with pytest.raises(InferenceError, match=rf"returned {found}.*expected .*\(2, 1, 16, 16\)"):
        from_callable(model, device="cpu")(batch)


def test_bf16_gives_float32_close_to_fp32(network, batch):
    exact = from_callable(network, device="cpu", precision="fp32")(batch)
    rough = from_callable(network, device="cpu", precision="bf16")(batch)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=1e-2, rtol=0)
    assert next(network.parameters()).dtype == torch.float32


def test_what_this_machine_cannot_do_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert from_callable(abs, device="auto").device.type == "cpu"
    with pytest.raises(ModelError, match=r"device 'cuda': .*use 'auto' or 'cpu'"):
        from_callable(abs, device="cuda")
    with pytest.raises(ModelError, match="device 'tpu': expected one of auto, cpu, cuda"):
        from_callable(abs, device="tpu")
    with pytest.raises(ModelError, match="precision 'fp16': expected one of auto, fp32, bf16"):
        from_callable(abs, precision="fp16", device="cpu")
    for refused in (partial(load, "shipped:bare-ground", None), partial(from_callable, abs)):
        with pytest.raises(ModelError, match="runtime 'onnx': expected one of auto, eager, comp"):
            refused(runtime="onnx")
    with pytest.raises(ModelError, match="model is a int: expected"):
        from_callable(3)


def test_an_architecture_may_be_the_users_own(packed, tmp_path, monkeypatch, batch):
    (tmp_path / "my_networks.py").write_text(
        "import torch\n"
        "class Mean(torch.nn.Module):\n"
        "    def __init__(self, in_channels, gain=1.0):\n"
        "        super().__init__()\n"
        "        self.gain = torch.nn.Parameter(torch.tensor(gain))\n"
        "    def forward(self, windows):\n"
        "        return self.gain * windows.mean(1, keepdim=True)\n"
        "def mean(in_channels, gain=1.0):\n"
        "    return Mean(in_channels, gain)\n"
        "def nothing(in_channels):\n"
        "    return None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    for name in ("my_networks:Mean", "my_networks:mean"):
        own = {"lspipe:architecture": name, "lspipe:arguments": {"gain": 1.0}}
        rewrite(packed, weights={"gain": torch.tensor(0.5)}, **own)
        torch.testing.assert_close(load(packed, None, device="cpu")(batch), 0.5 * batch.mean(1))
    with pytest.raises(ModelError, match="'my_networks:nothing' returned a NoneType"):
        build("my_networks:nothing", 3)


def test_only_what_can_make_a_module_is_called():
    with pytest.raises(ModelError, match="'os:system' is a builtin_function_or_method"):
        build("os:system", 3)
    with pytest.raises(ModelError, match="'pathlib:Path' is a type"):
        build("pathlib:Path", 3)
    with pytest.raises(UsageError, match="unknown architecture 'unnet'"):
        build("unnet", 3)
    with pytest.raises(
        ModelError, match=r"'ghorb-unet' with 3 channels and arguments \{'depth': 2\}"
    ):
        build("ghorb-unet", 3, depth=2)
    with pytest.raises(ModelError, match="in_channels: found 0"):
        build("ghorb-resunet", 0)


def test_an_unknown_architecture_is_named_with_its_item(packed):
    rewrite(packed, **{"lspipe:architecture": "unnet"})
    with pytest.raises(UsageError, match=r"tiny-unet\.json: unknown architecture 'unnet'"):
        load(packed, None, device="cpu")


def test_model_items_are_read_without_importing_torch():
    code = (
        "import sys; from lspipe.models import read_item; "
        "read_item('shipped:bare-ground'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- what every runtime promises ----------------------------------------------------------------

ON_CPU = [name for name in RUNTIMES if name != "cudagraph"]


@pytest.mark.parametrize(
    ("runtime", "name", "precision"),
    [
        *((runtime, "ghorb-unet", "fp32") for runtime in ON_CPU),
        # One whole network is compiled; the layers of this one are compiled below.
        *((runtime, "ghorb-resunet", "bf16") for runtime in ON_CPU if runtime != "compiled"),
    ],
)
def test_every_runtime_equals_eager(runtime, name, precision):
    contract.need(runtime)
    contract.equals_eager(contract.network_of(name), runtime=runtime, precision=precision)


@pytest.mark.parametrize("runtime", ON_CPU)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_runtime_equals_eager_in_every_kind_of_layer(runtime, precision):
    contract.need(runtime)
    contract.equals_eager(contract.every_kind(), runtime=runtime, precision=precision)


@pytest.mark.parametrize("runtime", ON_CPU)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_window_has_the_same_bits_anywhere(runtime, precision):
    contract.need(runtime)
    network = contract.small_network()
    made = from_callable(network, device="cpu", precision=precision, runtime=runtime)
    contract.a_window_has_the_same_bits_anywhere(made)


@pytest.mark.parametrize("runtime", ON_CPU)
def test_several_batch_shapes_and_networks_are_each_answered_by_their_own(runtime):
    contract.need(runtime)
    network, other = contract.small_network(), contract.small_network()
    with torch.no_grad():
        other[3].weight.neg_()
    made, made_of_other = (
        from_callable(module, device="cpu", runtime=runtime) for module in (network, other)
    )
    contract.shapes_are_each_right(network, made)
    contract.shapes_are_each_right(other, made_of_other)
    contract.shapes_are_each_right(network, made)


@pytest.mark.parametrize("runtime", ON_CPU)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_runtime_modifies_a_module(runtime, precision):
    contract.need(runtime)
    contract.never_modifies(contract.small_network(), runtime=runtime, precision=precision)


@pytest.mark.parametrize("runtime", ON_CPU)
def test_every_runtime_takes_functions(runtime, batch):
    contract.need(runtime)
    made = from_callable(lambda windows: windows.mean(1, keepdim=True), runtime=runtime)
    torch.testing.assert_close(made(batch), batch.mean(1))


@pytest.mark.parametrize("runtime", ON_CPU)
def test_every_runtime_refuses_another_shape(runtime, batch):
    contract.need(runtime)
    with pytest.raises(InferenceError, match=r"returned shape \(2, 3, 16, 16\) for a batch"):
        from_callable(torch.sigmoid, device="cpu", runtime=runtime)(batch)


@pytest.mark.parametrize("runtime", ON_CPU)
def test_chunking_never_changes_a_bit_in_any_runtime(runtime):
    contract.need(runtime)
    values = np.random.default_rng(0).random((contract.CHANNELS, 40, 45), dtype=np.float32)
    cube = xr.DataArray(values, dims=("band", "y", "x"))
    way = {"window": contract.WINDOW, "stride": 7, "batch_size": 3, "runtime": runtime}
    network = contract.small_network()
    whole = detect(cube, network, device="cpu", **way)
    lazy = detect(cube.chunk(y=16, x=20), network, device="cpu", **way)
    assert lazy.data.numblocks == (2, 2)
    cut = lazy.compute(scheduler="threads", num_workers=2)
    assert cut.values.tobytes() == whole.values.tobytes()
    eager = detect(cube, network, device="cpu", **(way | {"runtime": "eager"}))
    np.testing.assert_allclose(whole, eager, atol=contract.TOLERANCE["fp32"], rtol=0)


@pytest.mark.parametrize("runtime", ON_CPU)
def test_an_item_is_prepared_once_per_process_for_each_number_of_threads(
    runtime, packed, monkeypatch
):
    contract.need(runtime)
    prepared = []
    module = importlib.import_module(RUNTIMES[runtime])
    prepare = module.prepare

    def counted(network, **way):
        prepared.append(torch.get_num_threads())
        return prepare(network, **way)

    monkeypatch.setattr(module, "prepare", counted)
    found = []

    def load_in_thread():
        found.append(load(packed, None, device="cpu", runtime=runtime))

    threads = [threading.Thread(target=load_in_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(prepared) == 1
    assert all(one is found[0] for one in found)
    assert (found[0].name, found[0].bands) == (runtime, FIELDS["bands"])
    earlier = use_threads(prepared[0] + 1)
    try:
        assert load(packed, None, device="cpu", runtime=runtime) is not found[0]
    finally:
        assert use_threads(earlier) == prepared[0] + 1
    assert prepared == [earlier, earlier + 1]


def test_auto_is_eager(packed):
    assert load(packed, None, device="cpu").name == "eager"
    assert from_callable(abs, device="cpu", runtime="auto").name == "eager"


def test_an_eager_runtime_can_be_sent_to_a_worker(network, batch):
    runtime = from_callable(network, device="cpu")
    sent = cloudpickle.loads(cloudpickle.dumps(runtime))
    assert torch.equal(sent(batch), runtime(batch))


# --- what works here ----------------------------------------------------------------------------


def test_a_runtime_that_cannot_work_is_refused_with_those_that_can(packed):
    works = ", ".join(name for name, reason in available("cpu").items() if not reason)
    expected = f"runtime 'cudagraph': needs a GPU, .* \\(on this cpu, fp32, work: {works}\\)"
    with pytest.raises(ModelError, match=expected):
        from_callable(abs, device="cpu", runtime="cudagraph")
    with pytest.raises(ModelError, match=expected):
        load(packed, None, device="cpu", runtime="cudagraph")


def test_what_works_is_told_with_the_reason_of_what_does_not(monkeypatch):
    found = available("cpu")
    assert list(found) == list(RUNTIMES)
    assert found["eager"] == ""
    assert "GPU" in found["cudagraph"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert available()["cudagraph"] == ""
    assert "computes on a CPU only" in available()["openvino"]


def test_a_gpu_is_asked_for_its_largest_batch(monkeypatch):
    tried = []

    def fits(_, shape, reserve_bytes):
        tried.append((shape, reserve_bytes))
        return shape[0] <= 32

    monkeypatch.setattr("lspipe.inference.runtimes.probe._fits", fits)
    on_gpu = SimpleNamespace(device=torch.device("cuda"))
    assert largest_batch(on_gpu, 4, 64, reserve_bytes=7) == 32
    assert tried == [((size, 4, 64, 64), 7) for size in (256, 128, 64, 32)]
    with pytest.raises(ModelError, match="out of GPU memory with 64 windows of 4 x 64 x 64"):
        largest_batch(on_gpu, 4, 64, sizes=(128, 64))
    with pytest.raises(ValueError, match="on the device 'cpu': expected 'cuda'"):
        largest_batch(from_callable(abs, device="cpu"), 4, 64)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"), False),
    ],
)
def test_what_is_said_of_too_little_memory_is_understood(error, is_memory):
    assert is_out_of_memory(error) == is_memory


def test_bf16_is_refused_on_a_gpu_that_would_only_emulate_it(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "Tesla V100")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)
    with pytest.raises(ModelError, match="'bf16': Tesla V100 has no bf16; use 'fp32'"):
        resolve_precision("bf16", gpu)
    assert resolve_precision("auto", gpu) == "fp32"
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    assert resolve_precision("auto", gpu) == "bf16"
