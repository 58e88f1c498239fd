"""Networks, and what must be known to use them.

A new architecture is one file in `architectures/` and one line of its table, or
"package.module:callable" in the model item: anything that is called with the number of channels and
returns a `torch.nn.Module` (N, C, w, w) -> (N, 1, w, w) with probabilities, not logits.
"""

from __future__ import annotations

import inspect
import json
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lspipe.errors import ModelError
from lspipe.models.architectures import ARCHITECTURES, TABLE
from lspipe.models.item import SHIPPED, SHIPPED_PREFIX, ModelItem, ModelSpec, Scaling, digest
from lspipe.models.mlm import read_item
from lspipe.spec.plugins import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn


_PACKAGES = {"smp": "segmentation_models_pytorch"}
"""Packages that networks need, by the name of the extra that installs them."""

__all__ = [
    "ARCHITECTURES",
    "SHIPPED",
    "ModelItem",
    "ModelSpec",
    "Scaling",
    "build",
    "digest",
    "listed",
    "read_item",
    "spelled_out",
]


def build(name: str, in_channels: int, **arguments: Any) -> nn.Module:
    """Build an architecture with random (or no) weights.

    Args:
        name: a name of `ARCHITECTURES`, or "package.module:callable"; that module is imported and
            run, so take model items only from whom you would take a script.
        in_channels: number of channels C.
        arguments: passed to the architecture.

    Returns:
        A module (N, C, w, w) float32 -> (N, 1, w, w) probabilities, in training mode.

    Raises:
        ModelError: the architecture refuses its arguments, or is not a module.
        UsageError: no such name.
        MissingExtra: it needs a package that is not installed.

    Examples:
        >>> import torch
        >>> from lspipe import models
        >>> network = models.build("ghorb-unet", in_channels=4, filters=4).eval()
        >>> network(torch.zeros(1, 4, 64, 64)).shape
        torch.Size([1, 1, 64, 64])
    """
    from torch import nn

    architecture = _architecture(name)
    try:
        network = architecture(in_channels, **arguments)
    except (TypeError, ValueError, LookupError) as error:
        raise ModelError(
            f"architecture {name!r} with {in_channels} channels and arguments {arguments}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"architecture {name!r} returned a {type(network).__name__}: expected a torch.nn.Module"
        )
    return network


def spelled_out(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an architecture, with the defaults of those that are not given.

    An item that states them stays the same network if a default changes later. Defaults that
    JSON cannot hold are left out.

    Args:
        name: as in `build`.
        arguments: those that are given, besides the number of channels.

    Raises:
        ModelError: not a module.
        UsageError: no such name.
        MissingExtra: it needs a package that is not installed.
    """
    _, *parameters = inspect.signature(_architecture(name)).parameters.values()
    defaults = {}
    for parameter in parameters:
        with suppress(TypeError, ValueError):
            defaults[parameter.name] = json.loads(json.dumps(parameter.default, allow_nan=False))
    return {**defaults, **arguments}


def _architecture(name: str) -> Callable[..., Any]:
    """The class or function of an architecture."""
    from torch import nn

    known = TABLE.get(name)
    architecture: Callable[..., Any] = resolve(
        name, ARCHITECTURES, kind="architecture", extra=known.extra if known else ""
    )
    # A model item may come from anywhere: of all callables only those that can make a module run.
    is_module = inspect.isclass(architecture) and issubclass(architecture, nn.Module)
    if not is_module and not inspect.isfunction(architecture):
        raise ModelError(
            f"architecture {name!r} is a {type(architecture).__name__}: expected a torch.nn.Module "
            "class, or a function that returns a module"
        )
    return architecture


def listed() -> dict[str, Any]:
    """Models that come with lspipe, and what is known of each network of the papers.

    Returns:
        "models": references; "architectures": name, paper, recipe, channels, window, parameters
        and GFLOP per window, and what to install ("needs") where an optional package is missing.
    """
    rows = [
        {
            "name": name, "paper": facts.paper, "recipe": facts.recipe,
            "channels": facts.channels, "window": facts.window,
            "parameters": facts.parameters, "gflop": facts.gflop,
            "needs": f"lspipe[{facts.extra}]" if _is_missing(facts.extra) else "",
        }
        for name, facts in TABLE.items() if facts.window
    ]  # fmt: skip
    return {
        "models": sorted(f"{SHIPPED_PREFIX}{name}" for name in SHIPPED),
        "architectures": rows,
    }


def _is_missing(extra: str) -> bool:
    """Whether the package of an extra is not installed; it is not imported."""
    return extra in _PACKAGES and find_spec(_PACKAGES[extra]) is None
