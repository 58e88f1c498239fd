"""Networks that segmentation-models-pytorch has, as the papers used them.

Always with random weights: a pretrained encoder comes from a file (`lspipe.models.encoders`), never
from a network. Their windows are multiples of what the encoder divides by, at most 32 pixels.

Source: papers 000 (section 2.3), 001 (section III), 002 (Table 5); what they leave open:
docs/method.md, Networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import nn

from lspipe.errors import MissingExtra
from lspipe.models import torchvision
from lspipe.models.architectures.layers import check_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

Head = Literal["unet", "segformer"]


def deeplabv3plus(
    in_channels: int,
    *,
    encoder_name: str = "resnet50",
    atrous_rates: Sequence[int] = (6, 12, 18),
    output_stride: int = 16,
) -> nn.Module:
    """Build DeepLab-v3+ of papers 000 and 001: 26 699 537 weights with ResNet-50 and 10 channels.

    Args:
        in_channels: number of channels C; 10 (000) or 14 (001) in the papers.
        encoder_name: "resnet50" or "resnet101"; paper 001 does not say which.
        atrous_rates: of the spatial pyramid. Neither paper gives them: these are the original's at
            output stride 16; the library's own default is 12, 24, 36.
        output_stride: 8 or 16.
    """
    return _built(
        "DeepLabV3Plus",
        in_channels,
        encoder_name=encoder_name,
        decoder_atrous_rates=tuple(atrous_rates),
        encoder_output_stride=output_stride,
    )


def pspnet(in_channels: int, *, encoder_name: str = "resnet50") -> nn.Module:
    """Build PSPNet of paper 001, pyramid bins 1, 2, 3, 6: 24.3 M weights with 14 channels."""
    return _built("PSPNet", in_channels, encoder_name=encoder_name)


def linknet(in_channels: int) -> nn.Module:
    """Build LinkNet of paper 001, ResNet-18 as its authors had it: 11.7 M weights."""
    return _built("Linknet", in_channels, encoder_name="resnet18")


def unet_resnet34(in_channels: int) -> nn.Module:
    """Build the U-Net with a ResNet-34 of paper 002: 24 470 865 weights with 14 channels."""
    return _built("Unet", in_channels, encoder_name="resnet34")


def unet_mobilenetv2(in_channels: int) -> nn.Module:
    """Build the U-Net with a MobileNet V2 of paper 002: 6 632 113 weights with 14 channels."""
    return _built("Unet", in_channels, encoder_name="mobilenet_v2")


def unet_mit_b1(in_channels: int, *, projection: bool = False, head: Head = "unet") -> nn.Module:
    """Build the "Segformer" of paper 002: a U-Net with a MiT-B1 encoder, 16 466 641 weights.

    The weights of Table 5 say that the decoder was a U-Net's, and that the encoder took all
    channels itself.

    Args:
        in_channels: number of channels C; 6 or 14 in the paper.
        projection: a 1x1 convolution to three channels before it, as the paper's code has.
        head: "unet", or "segformer" for what the paper's name says: 13 677 505 weights with 3
            channels.

    Raises:
        ValueError: another head.
    """
    if head not in get_args(Head):
        raise ValueError(f"head: found {head!r}, expected unet or segformer")
    kind = "Unet" if head == "unet" else "Segformer"
    if not projection:
        return _built(kind, in_channels, encoder_name="mit_b1")
    check_sizes(in_channels=in_channels)
    return nn.Sequential(
        nn.Conv2d(in_channels, 3, kernel_size=1), _built(kind, 3, encoder_name="mit_b1")
    )


def encoder(name: str, in_channels: int, *, output_stride: int = 32) -> Any:
    """Build an encoder alone: called with (N, C, h, w), it gives features of each depth."""
    smp = _library()
    return smp.encoders.get_encoder(
        name, in_channels=in_channels, weights=None, output_stride=output_stride
    )


def _built(kind: str, in_channels: int, **options: Any) -> nn.Module:
    """Build a network of the library with one output and a sigmoid."""
    check_sizes(in_channels=in_channels)
    network: nn.Module = getattr(_library(), kind)(
        in_channels=in_channels, classes=1, activation="sigmoid", encoder_weights=None, **options
    )
    return network


def _library() -> Any:
    torchvision.make_importable()
    try:
        import segmentation_models_pytorch
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "this network is one of segmentation-models-pytorch: pip install 'lspipe[smp]'"
        ) from error
    return segmentation_models_pytorch
