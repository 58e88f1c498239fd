"""The runtimes on a GPU keep the contract of all runtimes, and agree with the CPU."""

import numpy as np
import pytest
import torch
from torch import nn

from lspipe.errors import ModelError
from lspipe.inference.block import run_block
from lspipe.inference.inputs import page_locked
from lspipe.inference.runtimes import from_callable, load
from lspipe.inference.runtimes.probe import largest_batch
from lspipe.inference.settings import Setting
from tests import runtime_contract as contract

ON_GPU = ["eager", "compiled", "cudagraph"]
# Kernels of a GPU add up in another order (docs/numerics.md, Reproducibility; benchmarks/gpu_tile
# checks the same).
TO_CPU = {"fp32": 1e-3, "bf16": 1e-2}


@pytest.fixture(autouse=True, scope="module")
def kernels(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "kernels"))
        yield


@pytest.mark.parametrize("runtime", ON_GPU)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["ghorb-unet", "ghorb-resunet"])
def test_every_runtime_equals_the_cpu(runtime, precision, name):
    contract.need(runtime, "cuda")
    network = contract.network_of(name)
    expected = from_callable(network, device="cpu")(contract.windows(2))
    made = from_callable(network, device="cuda", precision=precision, runtime=runtime)
    found = made(contract.windows(2, device="cuda"))
    assert (made.name, made.device.type, found.dtype) == (runtime, "cuda", torch.float32)
    torch.testing.assert_close(found.cpu(), expected, atol=TO_CPU[precision], rtol=0)


@pytest.mark.parametrize("runtime", ON_GPU)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_window_has_the_same_bits_anywhere(runtime, precision):
    contract.need(runtime, "cuda")
    network = contract.small_network()
    made = from_callable(network, device="cuda", precision=precision, runtime=runtime)
    contract.a_window_has_the_same_bits_anywhere(made)


@pytest.mark.parametrize("runtime", ON_GPU)
def test_several_batch_shapes_are_each_answered_by_their_own(runtime):
    contract.need(runtime, "cuda")
    network = contract.small_network()
    contract.shapes_are_each_right(
        network, from_callable(network, device="cuda", runtime=runtime), tolerance=TO_CPU["fp32"]
    )


@pytest.mark.parametrize("runtime", ON_GPU)
def test_no_runtime_modifies_a_module(runtime):
    contract.need(runtime, "cuda")
    contract.never_modifies(
        contract.small_network(), runtime=runtime, precision="bf16", device="cuda"
    )


@pytest.mark.parametrize("runtime", ON_GPU)
def test_every_runtime_takes_functions(runtime):
    contract.need(runtime, "cuda")
    batch = contract.windows(2, device="cuda")
    made = from_callable(lambda w: w.mean(1, keepdim=True), device="cuda", runtime=runtime)
    torch.testing.assert_close(made(batch), batch.mean(1))


def test_an_answer_is_not_overwritten_by_the_next():
    made = from_callable(contract.small_network(), device="cuda", runtime="cudagraph")
    first = made(contract.windows(2, device="cuda"))
    kept = first.clone()
    made(contract.windows(2, device="cuda", seed=1))
    assert torch.equal(first, kept)


def test_auto_takes_the_gpu_and_what_it_computes_in():
    made = load("shipped:bare-ground", None)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    assert (made.device.type, made.name) == ("cuda", "eager")
    assert made.precision == ("bf16" if has_bf16 else "fp32")


def test_the_largest_batch_fits_and_repeats_and_leaves_memory():
    made = from_callable(contract.network_of("ghorb-unet"), device="cuda")
    found = {largest_batch(made, contract.CHANNELS, contract.WINDOW) for _ in range(2)}
    assert found == {256}
    free, total = torch.cuda.mem_get_info()
    with pytest.raises(ModelError, match="out of GPU memory with 1 windows"):
        largest_batch(made, contract.CHANNELS, contract.WINDOW, reserve_bytes=2 * total)
    assert torch.cuda.mem_get_info()[0] >= 0.9 * free


# Last: a capture that failed may leave the allocator of the process in its own state.
def test_a_network_that_waits_for_the_gpu_is_refused_and_its_stream_is_left():
    class Brightest(nn.Module):
        def forward(self, windows):
            return windows[:, :1] / 2 if windows.max() > 1 else windows[:, :1]

    stream = torch.cuda.current_stream()
    with pytest.raises(ModelError, match="runtime 'cudagraph' cannot take this network"):
        from_callable(Brightest(), device="cuda", runtime="cudagraph")(
            contract.windows(1, device="cuda")
        )
    assert torch.cuda.current_stream() == stream


def test_pixels_from_page_locked_memory_give_the_same_bits():
    made = from_callable(contract.small_network(), device="cuda")
    made(contract.windows(1, device="cuda"))
    pixels = np.random.default_rng(0).integers(0, 4000, (contract.CHANNELS, 96, 96), dtype=np.int16)
    locked = page_locked(pixels)
    assert torch.from_numpy(locked).is_pinned()
    one, other = (
        run_block(
            each,
            origin=(0, 0),
            tile_shape=(96, 96),
            core=(slice(0, 96), slice(0, 96)),
            runtime=made,
            setting=Setting(window=32, stride=16),
        )
        for each in (pixels, locked)
    )
    np.testing.assert_array_equal(one, other)
