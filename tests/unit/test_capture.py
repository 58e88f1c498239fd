"""Batch normalisations are folded where that changes nothing, and nowhere else."""

import pytest
import torch
from torch import nn

from lspipe.errors import ModelError
from lspipe.inference.runtimes.capture import capturing, folded
from tests import runtime_contract as contract


def normalisations(module):
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


class OfItsSize(nn.Module):
    """Looks at the size of its input in Python, as networks that are tried on many do."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.normalisation = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, batch):
        if batch.shape[-1] % 4:
            raise ValueError("expected a multiple of 4")
        return torch.sigmoid(self.head(self.normalisation(self.convolution(batch)).relu()))


class Around(OfItsSize):
    """Uses what the convolution returned a second time."""

    def forward(self, batch):
        features = self.convolution(batch)
        return torch.sigmoid(self.head(features + self.normalisation(features)))


class Twice(OfItsSize):
    """Calls one convolution twice, once without the normalisation."""

    def forward(self, batch):
        first = self.normalisation(self.convolution(batch))
        return torch.sigmoid(self.head(first * self.convolution(batch)))


def with_statistics(network):
    """In eval mode, with running statistics that are not the first ones."""
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
    return network.eval().requires_grad_(requires_grad=False)


def test_what_follows_a_convolution_is_folded_into_it():
    network = with_statistics(OfItsSize())
    batch = torch.rand(2, 3, 8, 8)
    expected = network(batch)
    twin = folded(network, batch)
    assert (normalisations(network), normalisations(twin)) == (1, 0)
    torch.testing.assert_close(twin(batch), expected, rtol=0, atol=1e-5)
    other = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(twin(other), network(other), rtol=0, atol=1e-5)
    assert torch.equal(network(batch), expected)


def test_a_real_network_loses_those_that_follow_a_convolution():
    network = with_statistics(contract.network_of("ghorb-resunet"))
    batch = torch.rand(2, 3, 32, 32)
    twin = folded(network, batch)
    assert 0 < normalisations(twin) < normalisations(network)
    torch.testing.assert_close(twin(batch), network(batch), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [Around, Twice])
def test_a_convolution_that_is_used_otherwise_too_is_left_alone(kind):
    network = with_statistics(kind())
    batch = torch.rand(2, 3, 8, 8)
    assert torch.equal(folded(network, batch)(batch), network(batch))


def test_a_network_without_normalisations_is_returned_as_it_is():
    network = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Sigmoid()).eval()
    assert folded(network, torch.rand(1, 3, 8, 8)) is network


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_lack_of_memory_is_not_taken_for_a_network_that_cannot_be_captured(error):
    with pytest.raises(type(error)) as raised, capturing("compiled"):
        raise error
    assert raised.value is error
    with pytest.raises(ModelError, match="cannot take this network"), capturing("compiled"):
        raise RuntimeError("no such operator")
