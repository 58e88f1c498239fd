"""Every network has the layers, the weights and the manners that its paper says."""

import json
import sys

import pytest
import torch
from torch import nn

from lspipe.cli import main
from lspipe.errors import MissingExtra, ModelError
from lspipe.models import build
from lspipe.models.architectures import TABLE
from lspipe.models.architectures.sizes import size_of
from lspipe.models.recipes import recipe_of
from tests.worlds import lspipe

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
    # Their shapes without their values, which take most of the time; not where a network is made
    # of values.
    try:
        with torch.device("meta"):
            network = build(name, channels, **arguments)
    except RuntimeError:
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
    assert rows(build("ghorb-unet", 4), (nn.Conv2d, nn.ConvTranspose2d), 128) == TABLE_2


@pytest.mark.parametrize("window", [128, 64, 32])
def test_resunet_has_the_layers_of_table_3(window):
    expected = [
        (kernel, stride, maps, edge * window // 128) for kernel, stride, maps, edge in TABLE_3
    ]
    assert rows(build("ghorb-resunet", 4), nn.Conv2d, window) == expected


# docs/method.md, Networks. With one output instead of the two that some were counted with.
@pytest.mark.parametrize(
    ("name", "channels", "arguments", "expected"),
    [
        ("deeplabv3plus-resnet50", 10, {}, 26_699_537),
        ("l4s-unet", 14, {}, 17_273_794 - 65),
        ("l4s-resunet", 4, {}, 8_221_633),
        ("yali-unet", 3, {}, 23_375_233),
        ("yali-unet", 6, {}, 23_376_961),
        ("yali-unet", 14, {}, 23_381_569),
        ("yali-resnet34", 3, {}, 24_436_369),
        ("yali-resnet34", 6, {}, 24_445_777),
        ("yali-resnet34", 14, {}, 24_470_865),
        ("yali-mobilenetv2", 3, {}, 6_628_945),
        ("yali-mobilenetv2", 6, {}, 6_629_809),
        ("yali-mobilenetv2", 14, {}, 6_632_113),
        ("yali-segformer", 3, {}, 16_432_145),
        ("yali-segformer", 6, {}, 16_441_553),
        ("yali-segformer", 14, {}, 16_466_641),
        # Six channels to three by a 1x1 convolution: 21 weights more than with three.
        ("yali-segformer", 6, {"projection": True}, 16_432_145 + 21),
        ("frrn-a", 14, {}, 16_571_442 - 49),
        ("frrn-b", 14, {}, 23_580_338 - 49),
        # Units that read the maps of the one before: worked out layer by layer.
        ("frrn-a", 14, {"chained": True}, 16_571_442 + 850_176 - 49),
        ("ghorb-unet", 4, {}, 2_158_849),
        ("ghorb-unet", 10, {}, 2_158_849 + 6 * 144),
        ("ghorb-resunet", 4, {}, 8_049_153),
        # The eight readings of Table 3.
        ("ghorb-resunet", 4, {"upsampling": "bilinear"}, 8_221_633),
        ("ghorb-resunet", 4, {"upsampling": "transposed-keep"}, 9_598_785),
        ("ghorb-resunet", 4, {"upsampling": "transposed-3x3"}, 8_909_313),
        ("ghorb-resunet", 4, {"is_plain": True}, 7_697_921),
        ("ghorb-resunet", 4, {"is_plain": True, "upsampling": "bilinear"}, 7_783_489),
        ("ghorb-resunet", 4, {"is_plain": True, "upsampling": "transposed-keep"}, 9_160_641),
        ("ghorb-resunet", 4, {"is_plain": True, "upsampling": "transposed-3x3"}, 8_558_081),
        ("yali-segformer", 3, {"head": "segformer"}, 13_677_505),
        ("yali-segformer", 6, {"head": "segformer", "projection": True}, 13_677_505 + 21),
    ],
)
def test_parameter_counts_are_those_of_the_paper(name, channels, arguments, expected):
    assert parameters(name, channels, **arguments) == expected


# In millions, where the paper names a network and leaves its layers to others.
@pytest.mark.parametrize(
    ("name", "channels", "arguments", "millions", "tolerance"),
    [
        ("pspnet", 14, {}, 24.34, 0.01),
        ("contextnet", 14, {}, 0.88, 0.01),
        # One output of 18 433 weights per rate, not two.
        ("deeplabv2", 14, {}, 42.68 - 4 * 0.018433, 0.01),
        ("deeplabv3plus", 14, {}, 26.71, 0.01),
        ("deeplabv3plus", 14, {"encoder_name": "resnet101"}, 45.70, 0.01),
        ("fcn8s", 14, {}, 134.28, 0.01),
        ("linknet", 14, {}, 11.70, 0.01),
        ("frrn-a", 14, {}, 16.57, 0.01),
        ("frrn-b", 14, {}, 23.58, 0.01),
        ("sqnet", 14, {}, 16.24, 0.01),
        ("vega-unet", 3, {"upsampling": "transposed"}, 31.03, 0.01),
        ("vega-unet", 3, {"filters": 32, "upsampling": "transposed"}, 7.76, 0.01),
        ("vega-unet", 3, {"filters": 16, "upsampling": "transposed"}, 1.94, 0.01),
    ],
)
def test_sizes_are_those_of_known_implementations(name, channels, arguments, millions, tolerance):
    assert parameters(name, channels, **arguments) / 1e6 == pytest.approx(millions, abs=tolerance)


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_a_shortcut_without_weights_is_the_skip_where_maps_are_halved(upsampling):
    network = build("ghorb-resunet", 4, filters=2, upsampling=upsampling, is_plain=True)
    unit = network.decoder[-1]
    for parameter in unit.parameters():
        nn.init.zeros_(parameter)
    skip, raised = (
        torch.rand(1, 2, 8, 8),
        torch.rand(1, 2 if upsampling == "transposed" else 4, 8, 8),
    )
    assert torch.equal(unit(torch.cat([skip, raised], dim=1)), skip)


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"bare-ground", "bare-change"}))
def test_every_network_runs_in_its_papers_window_and_learns(name):
    torch.manual_seed(0)
    facts = TABLE[name]
    channels = len(recipe_of(facts.recipe).channels)
    network = build(name, channels)
    with torch.inference_mode():
        output = network.eval()(torch.rand(1, channels, facts.window, facts.window))
    assert output.shape == (1, 1, facts.window, facts.window)
    assert output.min() >= 0
    assert output.max() <= 1
    # Gradients take the same way through a smaller window; two, as a batch needs statistics.
    network.train()(torch.rand(2, channels, 64, 64)).mean().backward()
    # The gradient reaches the first layer; some heads of encoders are of no use here.
    first = next(parameter for parameter in network.parameters() if parameter.ndim == 4)
    assert first.shape[1] == channels
    assert torch.isfinite(first.grad).all()
    assert torch.count_nonzero(first.grad) > 0


def test_the_nineteen_networks_of_the_papers_are_there():
    papers = [facts.paper for facts in TABLE.values() if facts.paper]
    assert len(papers) == 19
    assert set(papers) == {"000", "001", "002", "003", "004"}
    assert papers.count("001") == 11


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vega-unet", {"upsampling": "cubic"}, "upsampling: found 'cubic'"),
        ("vega-unet", {"levels": 0}, "levels: found 0"),
        ("ghorb-resunet", {"upsampling": 2}, "upsampling: found 2"),
        ("yali-segformer", {"head": "mlp"}, "head: found 'mlp', expected unet or segformer"),
        ("deeplabv2", {"atrous_rates": [6, 0]}, "rate_0: found 0"),
        ("pspnet", {"encoder_name": "resnet51"}, "resnet51"),
        ("l4s-unet", {"filters": 8}, "filters"),
        ("lite-unet", {"coarsest": 8}, r"coarsest: found 8, expected one of \[32, 16\]"),
    ],
)
def test_arguments_that_a_network_does_not_have_are_refused_by_name(name, arguments, message):
    with pytest.raises(ModelError, match=message):
        build(name, 4, **arguments)


@pytest.mark.parametrize("name", ["frrn-a", "frrn-b"])
def test_a_window_that_pooling_does_not_divide_is_refused(name):
    network = build(name, 3)
    with pytest.raises(ValueError, match="window of 40 x 64 px: expected a multiple of"):
        network(torch.rand(1, 3, 40, 64))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ghorb-unet", {"filters": 4}),
        ("ghorb-resunet", {"filters": 4}),
        ("ghorb-resunet", {"filters": 4, "upsampling": "bilinear"}),
        ("ghorb-resunet", {"filters": 4, "upsampling": "transposed-keep"}),
        ("ghorb-resunet", {"filters": 4, "upsampling": "transposed-3x3", "is_plain": True}),
        ("ghorb-resunet", {"filters": 4, "upsampling": "bilinear", "is_plain": True}),
        ("vega-unet", {"filters": 4}),
        ("vega-unet", {"filters": 4, "upsampling": "nearest"}),
        ("l4s-unet", {}),
        ("yali-unet", {}),
        ("contextnet", {}),
        ("sqnet", {}),
        ("lite-unet", {}),
        ("lite-unet", {"coarsest": 16}),
    ],
)
def test_any_window_size_works(name, arguments):
    torch.manual_seed(0)
    network = build(name, 6, **arguments).eval()
    for window in (7, 33, 50):
        with torch.inference_mode():
            output = network(torch.rand(2, 6, window, window))
        assert output.shape == (2, 1, window, window)
        assert output.min() >= 0
        assert output.max() <= 1


@pytest.mark.parametrize("name", ["ghorb-unet", "ghorb-resunet"])
def test_every_weight_learns(name):
    torch.manual_seed(0)
    network = build(name, 3, filters=4)
    network(torch.rand(2, 3, 32, 32)).mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("coarsest", [32, 16])
def test_every_weight_of_the_lite_unet_learns(coarsest):
    torch.manual_seed(0)
    network = build("lite-unet", 3, coarsest=coarsest)
    network(torch.rand(2, 3, 64, 64)).mean().backward()
    for key, parameter in network.named_parameters():
        assert torch.count_nonzero(parameter.grad) > 0, key


def test_the_lite_unet_sees_single_pixels():
    # Its encoder begins at half of the resolution; the branch beside it does not.
    torch.manual_seed(0)
    network = build("lite-unet", 3).eval()
    windows = torch.rand(1, 3, 64, 64).repeat(2, 1, 1, 1)
    windows[1, :, 32, 33] += 1
    with torch.inference_mode():
        one, other = network.fine(windows)
        changed = (network(windows)[0] - network(windows)[1]).abs()[0]
    assert (one - other).abs().amax(0).count_nonzero() <= 9
    assert changed[32, 33] > 0


def test_the_encoder_of_the_lite_unet_is_half_as_fine_at_each_step():
    with torch.inference_mode():
        features = build("lite-unet", 3).eval().encoder(torch.rand(1, 3, 64, 64))
    assert [tuple(one.shape[1:3]) for one in features] == [
        (16, 32), (24, 16), (40, 8), (112, 4), (320, 2),
    ]  # fmt: skip
    assert parameters("lite-unet", 3, coarsest=16) == 1_066_209
    with torch.inference_mode():
        features = build("lite-unet", 3, coarsest=16).eval().encoder(torch.rand(1, 3, 64, 64))
    assert [tuple(one.shape[1:3]) for one in features] == [(16, 32), (24, 16), (40, 8), (112, 4)]


def test_a_lite_unet_that_ends_earlier_judges_a_pixel_by_less_ground():
    torch.manual_seed(0)
    reach = {}
    for coarsest in (32, 16):
        network = build("lite-unet", 3, coarsest=coarsest).eval().requires_grad_(False)
        windows = torch.rand(1, 3, 544, 544, requires_grad=True)
        network(windows)[0, 0, 272, 272].backward()
        seen = windows.grad.abs().amax((0, 1)).nonzero()
        reach[coarsest] = int((seen.amax(0) - seen.amin(0)).max()) + 1
    assert reach[16] < 500 < reach[32]


@pytest.mark.parametrize("name", ["ghorb-unet", "ghorb-resunet"])
def test_a_fresh_network_is_undecided(name):
    # A start near 0 or 1 would leave the sigmoid without a gradient.
    torch.manual_seed(0)
    output = build(name, 4, filters=8).eval()(torch.rand(2, 4, 64, 64))
    assert 0.05 < output.mean() < 0.95


# --- the list -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known():
    """The list as a person gets it: nothing that tests import has been imported."""
    done = lspipe("model", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["architectures"]
    assert len(rows) == 20
    return {row["name"]: row for row in rows}


def test_the_list_has_every_network_with_its_parameters_and_operations(known):
    assert list(known) == [name for name, facts in TABLE.items() if facts.window]
    for name, row in known.items():
        assert row["parameters"] == parameters(name, row["channels"])
        size = size_of(name, row["channels"], row["window"])
        assert (size.parameters, round(size.gflop, 3)) == (row["parameters"], row["gflop"])
        assert row["channels"] == len(recipe_of(row["recipe"]).channels)
    # Of one window of 224 px (docs/performance.md, Windows and passes).
    assert known["deeplabv3plus-resnet50"]["gflop"] == pytest.approx(14.55, abs=0.01)


def test_the_list_counts_as_many_operations_as_a_convolution_has():
    # The head alone is 1 x 1 x 64 x 1 per pixel, the first layer 3 x 3 x 3 x 64: two each.
    small, large = (size_of("vega-unet", channels, 64) for channels in (3, 4))
    assert large.gflop - small.gflop == pytest.approx(2 * 9 * 64 * 64 * 64 / 1e9)
    assert large.parameters - small.parameters == 9 * 64


def test_networks_whose_package_is_missing_are_listed_with_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("lspipe.models.find_spec", lambda _: None)
    assert main(["model", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "shipped:bare-ground" in lines
    (pspnet,) = [line for line in lines if line.startswith("pspnet")]
    assert pspnet.split() == ["pspnet", "001", "14", "128", "px", "lspipe[smp]"]
    (ghorb,) = [line for line in lines if line.startswith("ghorb-unet")]
    assert ghorb.split() == ["ghorb-unet", "003", "4", "64", "px", "2", "158", "849", "0.40"]


def test_smp_that_cannot_be_imported_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lspipe\[smp\]'"):
        build("pspnet", 4)
