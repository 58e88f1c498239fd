"""The networks by name: of which paper, with how many channels, in which window.

A network is one file here, or one function of `smp.py` where segmentation-models-pytorch has it,
and one line of `TABLE`. All but `lite-unet` are of the papers. All of them end in a sigmoid:
(N, C, h, w) -> (N, 1, h, w), 0..1. Importing this table imports no network.

Papers: 000 Morales et al. 2022, 001 Landslide4Sense (Ghorbanzadeh et al. 2022), 002 Yali Samaniego
2024, 003 Ghorbanzadeh et al. 2021, 004 Vega and Hidalgo.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One network of a paper."""

    target: str
    """"package.module:callable", called with the number of channels."""
    paper: str
    """Number of the paper; empty for what is in none of them."""
    recipe: str
    """Channel recipe of the paper (`lspipe.models.recipes`)."""
    channels: int
    """Number of its channels; others work too."""
    window: int
    """Edge of the paper's patches, pixels."""
    parameters: int
    """With one output; held to the network by tests/unit/test_architectures.py, as is `gflop`."""
    gflop: float
    """Operations for one window, 1e9: two for each multiplication and addition."""
    extra: str = ""
    """Optional dependency set that it needs."""


_HERE = "lspipe.models.architectures"


def _l4s(target: str, parameters: int, gflop: float, extra: str = "") -> Architecture:
    return Architecture(f"{_HERE}.{target}", "001", "l4s14", 14, 128, parameters, gflop, extra)


def _yali(target: str, parameters: int, gflop: float, extra: str = "") -> Architecture:
    return Architecture(f"{_HERE}.{target}", "002", "yali14", 14, 128, parameters, gflop, extra)


TABLE = {
    "deeplabv3plus-resnet50": Architecture(
        f"{_HERE}.smp:deeplabv3plus", "000", "morales10", 10, 224, 26_699_537, 14.548, "smp"
    ),
    "l4s-unet": _l4s("l4s_unet:L4SUNet", 17_273_729, 20.198),
    "l4s-resunet": _l4s("resunet:l4s_resunet", 8_228_033, 22.844),
    "pspnet": _l4s("smp:pspnet", 24_335_489, 1.744, "smp"),
    "contextnet": _l4s("contextnet:ContextNet", 880_321, 0.132),
    "deeplabv2": _l4s("deeplabv2:DeepLabV2", 42_608_388, 22.476, "smp"),
    "deeplabv3plus": _l4s("smp:deeplabv3plus", 26_712_081, 4.854, "smp"),
    "fcn8s": _l4s("fcn8s:FCN8s", 134_272_035, 14.056),
    "linknet": _l4s("smp:linknet", 11_698_273, 1.59, "smp"),
    "frrn-a": _l4s("frrn:frrn_a", 16_571_393, 26.152),
    "frrn-b": _l4s("frrn:frrn_b", 23_580_289, 26.261),
    "sqnet": _l4s("sqnet:SQNet", 16_241_153, 8.815),
    "yali-unet": _yali("yali_unet:YaliUNet", 23_381_569, 21.339),
    "yali-resnet34": _yali("smp:unet_resnet34", 24_470_865, 4.19, "smp"),
    "yali-mobilenetv2": _yali("smp:unet_mobilenetv2", 6_632_113, 1.698, "smp"),
    "yali-segformer": _yali("smp:unet_mit_b1", 16_466_641, 2.514, "smp"),
    "ghorb-unet": Architecture(
        f"{_HERE}.ghorb_unet:GhorbUNet", "003", "ghorb4", 4, 64, 2_158_849, 0.401
    ),
    "ghorb-resunet": Architecture(
        f"{_HERE}.resunet:ResUNet", "003", "ghorb4", 4, 64, 8_049_153, 4.853
    ),
    "vega-unet": Architecture(
        f"{_HERE}.vega_unet:VegaUNet", "004", "vega3", 3, 128, 34_513_345, 32.674
    ),
    "lite-unet": Architecture(
        f"{_HERE}.lite_unet:LiteUNet", "", "l4s-rgb", 3, 128, 3_600_769, 0.794
    ),
    "bare-ground": Architecture("lspipe.models.bare_ground:BareGround", "", "", 0, 0, 0, 0),
    "bare-change": Architecture("lspipe.models.bare_change:BareChange", "", "", 0, 0, 0, 0),
}

ARCHITECTURES = {name: one.target for name, one in TABLE.items()}
"""Names of architectures, and where they live."""
