"""Weights of a model item: verified, then read, then put into the architecture."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lspipe.errors import ModelError, UsageError
from lspipe.models.mlm import PICKLE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from lspipe.models.item import ModelItem

PICKLE_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of what torch.save writes (a zip since torch 1.6), and of a pickle."""

_COMPILED = "_orig_mod."
"""What torch.compile puts into the names of what it wraps."""

_COUNTERS = {"n_averaged"}
"""Of torch.optim.swa_utils.AveragedModel; no weights."""

_NAMED = 3
"""Tensors that a message names; the others are counted."""


def read_weights(item: ModelItem) -> dict[str, torch.Tensor]:
    """Read the weights of an item, after their sha256 was found to be the item's.

    The bytes that are hashed are the bytes that are parsed, and safetensors holds no code.

    Raises:
        ModelError: no such file, another sha256, or not a safetensors file.
    """
    if item.weights is None:
        return {}
    try:
        content = item.weights.read_bytes()
    except OSError as error:
        raise ModelError(f"{item.weights}: weights of {item.id}: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != item.sha256:
        raise ModelError(
            f"{item.weights}: sha256 is {found}, {item.path.name} has {item.sha256}; the weights "
            "were changed or not fully copied: fetch them again"
        )
    return _parsed(content, item.weights)


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Read weights that no item vouches for: of an encoder, or of a model that is to be packed.

    Raises:
        ModelError: a pickle under whichever name, no such file, or not a safetensors file.
    """
    if file.suffix.lower() in PICKLE_SUFFIXES:
        raise _pickled(file, f"{file.suffix} files")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file}: cannot read the weights: {error.strerror}") from error
    return _parsed(content, file)


def fill(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], *, refusal: str, source: str
) -> None:
    """Put tensors into a network, in place: all of them, and no others.

    Args:
        network: an architecture.
        tensors: its weights by name.
        refusal: how the message begins where they do not fit; how they differ is added.
        source: what the tensors are of, for the message ("the file").

    Raises:
        ModelError: tensors are lacking, have other shapes, or are none of the network.
    """
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        reason = _differences(network, tensors, source) or " ".join(str(error).split())[:300]
        raise ModelError(f"{refusal}: {reason}") from error


def unwrapped(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors under the names that a network gives them, without those of what wrapped it.

    torch.compile puts `_orig_mod.` before a name, data-parallel training `module.`, a training
    framework the name of its attribute; averaged weights bring a counter.

    Args:
        network: an architecture.
        tensors: its weights by name, perhaps of a wrapped one.

    Returns:
        The tensors renamed, if they are then exactly those of the network; else as they came.
    """
    expected = set(network.state_dict())
    names = {name: name.replace(_COMPILED, "") for name in tensors if name not in _COUNTERS}
    while names and set(names.values()) != expected:
        first, *others = {name.partition(".")[0] for name in names.values()}
        if others or not all("." in name for name in names.values()):
            return dict(tensors)
        names = {name: short.removeprefix(f"{first}.") for name, short in names.items()}
    return {short: tensors[name] for name, short in names.items()} or dict(tensors)


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
        fill(
            network,
            weights,
            refusal=f"{item.weights}: the weights do not fit {item.architecture!r} with "
            f"{len(item.bands)} channels and arguments {dict(item.arguments)}",
            source="the file",
        )
    return network.eval().requires_grad_(requires_grad=False)


def _parsed(content: bytes, file: Path) -> dict[str, torch.Tensor]:
    """Tensors of the bytes of a safetensors file."""
    import safetensors
    import safetensors.torch

    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        # Asked afterwards: the length of a header, which comes first, may begin with 0x80 too.
        if content.startswith(PICKLE_STARTS):
            what = "begins as a pickle of torch.save does; such files"
            raise _pickled(file, what) from error
        raise ModelError(f"{file}: not a safetensors file ({error})") from error
    return tensors


def _pickled(file: Path, what: str) -> ModelError:
    return ModelError(
        f"{file}: {what} run code when they are opened, so lspipe never opens them; ask "
        "its author to write the state_dict with safetensors.torch.save_file"
    )


def _differences(network: nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> str:
    """How tensors differ from those of a network, in a line; empty where they do not."""
    expected = network.state_dict()
    lacking = [name for name in expected if name not in tensors]
    foreign = [name for name in tensors if name not in expected]
    reshaped = [
        f"{name} is {tuple(tensor.shape)} here, {tuple(tensors[name].shape)} in {source}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    parts = []
    if lacking:
        parts.append(f"lacks {_counted(lacking)} ({_first(lacking)})")
    if foreign:
        parts.append(f"has {len(foreign)} other{'s' * (len(foreign) > 1)} ({_first(foreign)})")
    if reshaped:
        parts.append(f"has {_counted(reshaped)} of another shape ({_first(reshaped, 1)})")
    return ", ".join(parts)


def _counted(tensors: list[str]) -> str:
    return f"{len(tensors)} tensor{'s' * (len(tensors) > 1)}"


def _first(names: list[str], most: int = _NAMED) -> str:
    return ("first: " if len(names) > most else "") + ", ".join(names[:most])
