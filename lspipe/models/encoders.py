"""A pretrained encoder from a local file into a network; nothing is ever downloaded.

The rule for a stem of n channels: channel i of the network gets the weights of channel i mod 3 of
the file, times 3 / n, so that the stem's outputs keep their size on inputs of equal brightness: the
rule of segmentation-models-pytorch for more than three channels. No paper states how its stem of 10
or 14 channels was made (docs/method.md, Networks).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lspipe.errors import ModelError, first_few
from lspipe.models.weights import read_tensors

if TYPE_CHECKING:
    from torch import nn

CLASSIFIERS = ("fc.", "classifier.", "head.", "last_linear.")
"""Beginnings of the names of layers that a classifier has behind its encoder."""

LAST = ("conv_head.", "bn2.")
"""Likewise of the last convolution of an EfficientNet (names of timm), where an encoder ends before
it."""

PREFIX = "encoder."


def load_encoder(network: nn.Module, file: str | Path) -> list[str]:
    """Fill the encoder of a network, in place.

    Args:
        network: with a part called `encoder` (the networks of segmentation-models-pytorch).
        file: safetensors with the weights of that encoder, with or without "encoder." before each
            name; layers of a classifier behind it are left out.

    Returns:
        Names of the weights whose channels were adapted: the stem's, or none.

    Raises:
        ModelError: a pickle, no such file, a network without an encoder, or weights of another one.
    """
    encoder = getattr(network, "encoder", None)
    # A list of blocks, as in the networks of this package, is no encoder that others have trained.
    if not isinstance(encoder, torch.nn.Module) or isinstance(encoder, torch.nn.ModuleList):
        raise ModelError(
            f"{type(network).__name__} has no encoder that weights could be loaded into; networks "
            "of segmentation-models-pytorch have one"
        )
    found = _read(Path(file))
    expected = encoder.state_dict()
    lacking = [name for name in expected if name not in found and not _is_counter(name)]
    # An encoder may end earlier, and says what it leaves out.
    behind = (*LAST, *getattr(encoder, "leaves_out", ()))
    found = {
        name: w for name, w in found.items() if name in expected or not name.startswith(behind)
    }
    foreign = [name for name in found if name not in expected]
    if lacking or foreign:
        raise ModelError(
            f"{file}: weights of another encoder: lacks {_some(lacking)}, has besides "
            f"{_some(foreign)}"
        )
    stem = next(name for name, weight in expected.items() if weight.ndim == 4)
    adapted = []
    for name, weight in found.items():
        if weight.shape == expected[name].shape:
            continue
        if name != stem:
            raise ModelError(
                f"{file}: {name}: found shape {tuple(weight.shape)}, expected "
                f"{tuple(expected[name].shape)}"
            )
        found[name] = for_channels(weight, expected[name].shape[1])
        adapted.append(name)
    # The names were compared above; not every encoder takes `strict`.
    encoder.load_state_dict({**expected, **found})
    return adapted


def for_channels(stem: torch.Tensor, channels: int) -> torch.Tensor:
    """Weights (out, 3, h, w) of a stem for n channels: (out, n, h, w); see the module."""
    count = stem.shape[1]
    index = torch.arange(channels) % count
    return stem[:, index] * (count / channels)


def _read(file: Path) -> dict[str, torch.Tensor]:
    content = read_tensors(file)
    names = {name: name.removeprefix(PREFIX) for name in content}
    return {
        short: content[name] for name, short in names.items() if not short.startswith(CLASSIFIERS)
    }


def _is_counter(name: str) -> bool:
    """Whether it counts batches of a normalisation, which older files do not hold."""
    return name.endswith("num_batches_tracked")


def _some(names: list[str]) -> str:
    return first_few(names, 3) or "nothing"
