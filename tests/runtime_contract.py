"""What every runtime of a network promises; the tests of each device hold it to that."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from lspipe import models
from lspipe.inference.runtimes import available, from_callable

TOLERANCE = {"fp32": 2e-6, "bf16": 1e-2}
"""Largest difference of a probability from plain fp32 (docs/numerics.md, Reproducibility)."""

CHANNELS, WINDOW = 3, 16


def need(runtime, device="cpu"):
    """Skip where a runtime has nothing to work with."""
    reason = available(device)[runtime]
    if reason:
        pytest.skip(f"{runtime}: {reason}")


def network_of(name):
    """An architecture of lspipe, tiny, with statistics of batch normalisation that matter."""
    torch.manual_seed(0)
    return _with_statistics(models.build(name, CHANNELS, filters=2))


class EveryKind(nn.Module):
    """One layer of each kind that the convolutional networks of the papers are made of.

    A compiler has a kernel or two to make for each: seconds, where a whole network takes ten times
    as long and has the same kinds over and over.
    """

    def __init__(self):
        super().__init__()
        self.plain = nn.Sequential(
            nn.Conv2d(CHANNELS, 4, 3, padding=1, bias=False), _norm(), _relu()
        )
        self.depthwise = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), _norm(), _relu())
        self.dilated = nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2), _norm(), _relu())
        self.strided = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.raised = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.head = nn.Conv2d(12, 1, 1)

    def forward(self, windows):
        skip = self.plain(windows)
        units = skip + self.depthwise(skip)
        pooled = functional.max_pool2d(units, 2)
        halved = self.dilated(self.strided(units) + pooled)
        shape = windows.shape[-2:]
        bilinear = functional.interpolate(halved, shape, mode="bilinear", align_corners=False)
        joined = torch.cat([skip, self.raised(halved), bilinear], dim=1)
        return torch.sigmoid(self.head(joined))


def _norm():
    return nn.BatchNorm2d(4)


def _relu():
    return nn.ReLU(inplace=True)


def every_kind():
    torch.manual_seed(0)
    return _with_statistics(EveryKind())


def _with_statistics(network):
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2)
    return network.eval()


def small_network():
    """Convolution, batch normalisation, sigmoid: what a compiler folds, and quick to compile."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(CHANNELS, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 1, 3, padding=1),
        nn.Sigmoid(),
    )
    network[1].running_mean.uniform_(-0.5, 0.5)
    network[1].running_var.uniform_(0.5, 2)
    return network.eval()


def windows(count, *, device="cpu", seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, CHANNELS, WINDOW, WINDOW), generator=generator).to(device)


def equals_eager(network, *, runtime, precision, device="cpu"):
    batch = windows(2, device=device)
    expected = from_callable(network, device=device, runtime="eager")(batch)
    made = from_callable(network, device=device, precision=precision, runtime=runtime)
    found = made(batch)
    assert (made.name, made.precision, made.device.type) == (runtime, precision, device)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, atol=TOLERANCE[precision], rtol=0)


def a_window_has_the_same_bits_anywhere(made):
    """In any place of a batch, beside anything, from any thread, under any gradient mode."""
    batch = windows(3, device=made.device)
    expected = made(batch)[0]
    for place in range(3):
        for neighbours in (windows(3, device=made.device, seed=1), torch.zeros_like(batch)):
            moved = neighbours.clone()
            moved[place] = batch[0]
            assert torch.equal(made(moved)[place], expected), f"place {place}"
    with torch.inference_mode():
        assert torch.equal(made(batch.clone())[0], expected)
    strided = batch.to(memory_format=torch.channels_last)
    assert torch.equal(made(strided)[0], expected), "another memory layout"
    found = []
    thread = threading.Thread(target=lambda: found.append(made(batch)[0]))
    thread.start()
    thread.join()
    assert torch.equal(found[0], expected), "another thread"


def shapes_are_each_right(network, made, *, tolerance=TOLERANCE["fp32"]):
    """Batches of several shapes, in turns; the answers of one are not those of another."""
    device = made.device.type
    eager = from_callable(network, device=device, runtime="eager")
    for count in (2, 1, 2):
        batch = windows(count, device=device, seed=count)
        torch.testing.assert_close(made(batch), eager(batch), atol=tolerance, rtol=0)


def never_modifies(network, *, runtime, precision, device="cpu"):
    network.train()
    before = copy.deepcopy(network.state_dict())
    from_callable(network, device=device, precision=precision, runtime=runtime)(
        windows(2, device=device)
    )
    assert all(part.training for part in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert (value.dtype, value.device.type) == (before[name].dtype, "cpu")
        assert value.is_contiguous()
        assert torch.equal(value, before[name]), name
