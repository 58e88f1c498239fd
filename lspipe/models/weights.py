"""Weights of a model item: verified, then read, then put into the architecture."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lspipe.errors import ModelError, UsageError
from lspipe.models.mlm import PICKLE_SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from lspipe.models.item import ModelItem


def read_weights(item: ModelItem) -> dict[str, torch.Tensor]:
    """Read the weights of an item, after their sha256 was found to be the item's.

    The bytes that are hashed are the bytes that are parsed, and safetensors holds no code.

    Raises:
        ModelError: no such file, another sha256, or not a safetensors file.
    """
    import safetensors
    import safetensors.torch

    if item.weights is None:
        return {}
    try:
        content = item.weights.read_bytes()
    except OSError as error:
        raise ModelError(f"{item.weights}: weights of {item.id}: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != item.sha256:
        raise ModelError(
            f"{item.weights}: sha256 is {found}, {item.path.name} says {item.sha256}; the weights "
            "were changed or not fully copied: fetch them again"
        )
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ModelError(f"{item.weights}: not a safetensors file ({error})") from error
    return tensors


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Read weights that no item vouches for: of an encoder, or of a model that is to be packed.

    Raises:
        ModelError: a pickle, no such file, or not a safetensors file.
    """
    import safetensors
    import safetensors.torch

    if file.suffix.lower() in PICKLE_SUFFIXES:
        raise ModelError(
            f"{file}: {file.suffix} files run code when they are opened, so lspipe never opens "
            "them; have whoever made it write its state_dict with safetensors.torch.save_file"
        )
    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(file.read_bytes())
    except OSError as error:
        raise ModelError(f"{file}: cannot read the weights: {error.strerror}") from error
    except safetensors.SafetensorError as error:
        raise ModelError(f"{file}: not a safetensors file ({error})") from error
    return tensors


def build_network(item: ModelItem) -> nn.Module:
    """Build the architecture of an item and fill it with its weights, on the CPU, in eval mode.

    Raises:
        ModelError: the architecture cannot be built, or the weights do not fit it exactly.
    """
    from lspipe.models import build

    weights = read_weights(item)
    try:
        network = build(item.architecture, len(item.bands), **item.arguments)
    except UsageError as error:
        raise type(error)(f"{item.path}: {error}") from error
    if item.weights is not None:
        try:
            network.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{item.weights}: the weights do not fit {item.architecture!r} with "
                f"{len(item.bands)} channels and arguments {dict(item.arguments)}: {reason}"
            ) from error
    return network.eval().requires_grad_(requires_grad=False)
