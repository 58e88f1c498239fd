"""Networks, and what must be known to use them.

A new architecture is one file here and one line of `ARCHITECTURES`, or "package.module:callable" in
the model item: anything that is called with the number of channels and returns a `torch.nn.Module`
(N, C, w, w) -> (N, 1, w, w) with probabilities, not logits.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from lspipe.errors import ModelError
from lspipe.models.item import SHIPPED, ModelItem, ModelSpec, Scaling, digest
from lspipe.plugins import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from lspipe.models.runtimes import Runtime

__all__ = [
    "ARCHITECTURES",
    "SHIPPED",
    "ModelItem",
    "ModelSpec",
    "Scaling",
    "build",
    "digest",
    "load",
]

ARCHITECTURES = {
    "unet": "lspipe.models.unet:UNet",
    "resunet": "lspipe.models.resunet:ResUNet",
    "bare-ground": "lspipe.models.bare_ground:BareGround",
}
"""Names of architectures, and where they live."""


def build(name: str, in_channels: int, /, **arguments: Any) -> nn.Module:
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
    """
    from torch import nn

    architecture = resolve(name, ARCHITECTURES, kind="architecture")
    # A model item may come from anywhere: of all callables only those that can make a module run.
    is_module = inspect.isclass(architecture) and issubclass(architecture, nn.Module)
    if not is_module and not inspect.isfunction(architecture):
        raise ModelError(
            f"architecture {name!r} is a {type(architecture).__name__}: expected a torch.nn.Module "
            "class, or a function that returns a module"
        )
    try:
        network = architecture(in_channels, **arguments)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"architecture {name!r} with {in_channels} channels and arguments {arguments}: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"architecture {name!r} returned a {type(network).__name__}: expected a torch.nn.Module"
        )
    return network


def load(
    item_path: str | Path,
    sha256: str | None,
    *,
    device: str = "auto",
    precision: str = "auto",
    runtime: str = "auto",
    item_sha256: str | None = None,
) -> Runtime:
    """Load the network of a model item: see `lspipe.models.runtimes.load`.

    Here so that a workflow can be checked without the seconds that importing torch takes.
    """
    from lspipe.models import runtimes

    return runtimes.load(
        item_path,
        sha256,
        device=device,
        precision=precision,
        runtime=runtime,
        item_sha256=item_sha256,
    )
