"""U-Net and ResU-Net are those of the paper's tables."""

import pytest
import torch
from torch import nn

from lspipe.models import build

# Paper 003, Table 2: kernel, stride, feature maps, edge of the output for a window of 128.
TABLE_2 = [
    (3, 1, 16, 128), (3, 1, 16, 128),
    (3, 1, 32, 64), (3, 1, 32, 64),
    (3, 1, 64, 32), (3, 1, 64, 32),
    (3, 1, 128, 16), (3, 1, 128, 16),
    (3, 1, 256, 8), (3, 1, 256, 8),
    (3, 2, 128, 16), (3, 1, 128, 16), (3, 1, 128, 16),
    (3, 2, 64, 32), (3, 1, 64, 32), (3, 1, 64, 32),
    (3, 2, 32, 64), (3, 1, 32, 64), (3, 1, 32, 64),
    (3, 2, 16, 128), (3, 1, 16, 128), (3, 1, 16, 128),
    (1, 1, 1, 128),
]  # fmt: skip

# Table 3: the 15 convolutions of the main path.
TABLE_3 = [
    (3, 1, 64, 128), (3, 1, 64, 128), (3, 2, 128, 64), (3, 1, 128, 64), (3, 2, 256, 32),
    (3, 1, 256, 32), (3, 2, 512, 16), (3, 1, 512, 16), (3, 1, 256, 32), (3, 1, 256, 32),
    (3, 1, 128, 64), (3, 1, 128, 64), (3, 1, 64, 128), (3, 1, 64, 128), (1, 1, 1, 128),
]  # fmt: skip


def parameters(name, channels, **arguments):
    network = build(name, channels, **arguments)
    return sum(parameter.numel() for parameter in network.parameters())


def rows(network, kinds, window):
    """Kernel, stride, feature maps and output edge of each layer of the main path, as it runs."""
    found = []

    def note(layer, _, output):
        assert output.shape[2] == output.shape[3]
        found.append((layer.kernel_size[0], layer.stride[0], output.shape[1], output.shape[2]))

    for name, layer in network.named_modules():
        if isinstance(layer, kinds) and not name.endswith(".shortcut"):
            layer.register_forward_hook(note)
    with torch.inference_mode():
        network.eval()(torch.rand(1, 4, window, window))
    return found


def test_unet_has_the_layers_of_table_2():
    assert rows(build("unet", 4), (nn.Conv2d, nn.ConvTranspose2d), 128) == TABLE_2


@pytest.mark.parametrize("window", [128, 64, 32])
def test_resunet_has_the_layers_of_table_3(window):
    expected = [
        (kernel, stride, maps, edge * window // 128) for kernel, stride, maps, edge in TABLE_3
    ]
    assert rows(build("resunet", 4), nn.Conv2d, window) == expected


def test_parameter_counts_are_those_of_the_paper():
    assert parameters("unet", 4) == 2_158_849
    assert parameters("unet", 10) == 2_158_849 + 6 * 144
    assert parameters("resunet", 4) == 8_049_153


@pytest.mark.parametrize("name", ["unet", "resunet"])
@pytest.mark.parametrize("window", [1, 7, 16, 33, 50, 100, 224])
def test_any_window_size_works(name, window):
    torch.manual_seed(0)
    network = build(name, 6, filters=4).eval()
    with torch.inference_mode():
        output = network(torch.rand(2, 6, window, window))
    assert output.shape == (2, 1, window, window)
    assert output.min() >= 0
    assert output.max() <= 1


@pytest.mark.parametrize("name", ["unet", "resunet"])
def test_every_weight_learns(name):
    torch.manual_seed(0)
    network = build(name, 3, filters=4)
    network(torch.rand(2, 3, 32, 32)).mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", ["unet", "resunet"])
def test_a_fresh_network_is_undecided(name):
    # A start near 0 or 1 would leave the sigmoid without a gradient.
    torch.manual_seed(0)
    output = build(name, 4, filters=8).eval()(torch.rand(2, 4, 64, 64))
    assert 0.05 < output.mean() < 0.95
