"""A model item -> the faults of its network, run once on made-up windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lspipe.errors import LspipeError
from lspipe.inference.runtimes import from_callable
from lspipe.models.weights import build_network

if TYPE_CHECKING:
    from lspipe.inference.runtimes import Runtime
    from lspipe.models.item import ModelItem

_SEED = 0


def check(item: ModelItem) -> list[str]:
    """Load a model, run it once on made-up windows, and return its faults; none = an empty list.

    Checked, on the CPU in fp32: the sha256 of the weights; that they fit the architecture with the
    channels of the item; the shape of the output, no NaN, values in 0..1, for windows without data
    and for noise; the same bits in two calls; and that every channel changes the output.
    """
    try:
        runtime = from_callable(build_network(item), device="cpu", runtime="eager")
        return _check_outputs(item, runtime) or _check_channels(item, runtime)
    except LspipeError as error:
        return [str(error)]
    except (RuntimeError, ValueError, TypeError) as error:
        window = f"{len(item.bands)} x {item.window} x {item.window}"
        return [f"the network fails on a window of {window}: {error}"]


def _check_outputs(item: ModelItem, runtime: Runtime) -> list[str]:
    """Return faults of values and of repeatability."""
    empty = torch.tensor(item.fill).view(1, -1, 1, 1).expand(_noise(item).shape)
    batch = torch.cat([empty, _noise(item)])
    output = runtime(batch)
    problems = []
    for name, window in zip(("a window without data", "noise"), output, strict=True):
        if not torch.isfinite(window).all():
            problems.append(f"{name} gives values that are not finite")
        elif window.min() < 0 or window.max() > 1:
            problems.append(
                f"{name} gives {window.min():.3g} to {window.max():.3g}: expected probabilities, "
                "0 to 1 (is the sigmoid missing?)"
            )
    if not torch.equal(output, runtime(batch)):
        problems.append("the same windows give other values the second time")
    return problems


def _check_channels(item: ModelItem, runtime: Runtime) -> list[str]:
    """Return channels that change nothing: a dead network, or bands it was not trained with."""
    noise = _noise(item)
    before = runtime(noise)
    idle = []
    for index, band in enumerate(item.bands):
        changed = noise.clone()
        changed[:, index] = 1 - changed[:, index]
        if torch.equal(before, runtime(changed)):
            idle.append(band)
    return [f"{', '.join(idle)}: no influence on the output"] if idle else []


def _noise(item: ModelItem) -> torch.Tensor:
    """One window of uniform noise in 0..1, the same every time."""
    generator = torch.Generator().manual_seed(_SEED)
    return torch.rand((1, len(item.bands), item.window, item.window), generator=generator)
