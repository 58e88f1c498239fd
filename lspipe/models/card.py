"""What a person wants to know of a model item: a card to read, and whether it does what it says."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import torch

from lspipe.columns import table
from lspipe.errors import LspipeError
from lspipe.models.item import digest
from lspipe.models.runtimes import from_callable
from lspipe.models.weights import build_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lspipe.models.item import ModelItem, Scaling
    from lspipe.models.runtimes import Runtime

_LABEL_WIDTH = 11
_LINE_WIDTH = 100
_SEED = 0


def show(item: ModelItem, *, recipe_note: str = "") -> str:
    """Write the card of a model: plain text, one labelled line per fact, without weights read.

    Args:
        item: the model.
        recipe_note: what its recipe leaves open (`lspipe.recipes`), to stand beside its name.
    """
    overlap = "overlap as the workflow says" if item.overlap is None else f"overlap {item.overlap}"
    tta = {None: "TTA as the workflow says", "none": "no TTA", "d4": "D4 TTA"}[item.tta]
    rows: dict[str, str | list[str]] = {
        "is": item.description,
        "is not": item.not_for,
        "channels": f"{' '.join(item.bands)} ({len(item.bands)}, in this order)",
        "recipe": ": ".join(filter(None, (item.recipe or "none", recipe_note))),
        "window": f"{item.window} x {item.window} px, {overlap}, {tta}",
        "scaling": _scaling_line(item.scaling),
        "no data": f"{' '.join(f'{value:g}' for value in item.fill)} (model units)",
        "landslide": f"probability > {item.threshold:g}",
        "classes": ", ".join(item.classes),
        "trained on": _trained_lines(item),
        "training": _training_lines(item.training),
        "network": f"{item.architecture}({_assigned(item.arguments)})",
        "weights": "none, a formula" if item.weights is None else str(item.weights),
        "sha256": digest(item) + ("" if item.sha256 else " (of the item)"),
        "item": str(item.path),
    }
    lines = [item.id]
    for label, text in rows.items():
        wrapped = text if isinstance(text, list) else _wrapped(text)
        lines.append(f"  {label:<{_LABEL_WIDTH}}{wrapped[0]}")
        lines += [" " * (_LABEL_WIDTH + 2) + line for line in wrapped[1:]]
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _LINE_WIDTH - _LABEL_WIDTH - 2) or ["not said"]


def _trained_lines(item: ModelItem) -> list[str]:
    """Statistics of training as a table, a line per channel."""
    found = item.statistics
    if found is None:
        return _wrapped("")
    values = zip(found.mean, found.std, found.p01, found.p50, found.p99, strict=True)
    cells = [["", "mean", "std", "1 %", "median", "99 %"]]
    cells += [
        [band, *(f"{value:.4g}" for value in row)]
        for band, row in zip(item.bands, values, strict=True)
    ]
    return [f"{found.pixels:,} px with data, in model units:", *table(cells)]


def _training_lines(training: Mapping[str, Any]) -> list[str]:
    """How a model was trained: its own values, then those of each object in it."""
    parts = {name: values for name, values in training.items() if isinstance(values, dict)}
    own = {name: value for name, value in training.items() if name not in parts}
    lines = [_assigned(own), *(f"{name}: {_assigned(values)}" for name, values in parts.items())]
    return [line for text in lines if text for line in _wrapped(text)] or _wrapped("")


def _assigned(values: Mapping[str, Any]) -> str:
    """Names and values as --set and --argument take them."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def check(item: ModelItem) -> list[str]:
    """Load a model and run it once on made-up windows; an empty list means that it keeps its word.

    Checked, on the CPU in fp32: the sha256 of the weights; that they fit the architecture with the
    channels of the item; the shape of the output, no NaN, values in 0..1, for windows without data
    and for noise; the same bits twice; and that every channel has an influence.
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
    """Problems of values and of repeatability."""
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
    """Channels that change nothing: a dead network, or bands that it was not trained with."""
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


def _scaling_line(scaling: Scaling) -> str:
    if scaling.kind == "identity":
        return "none: reflectance as it is"
    if scaling.kind != "affine":
        factors = " ".join(f"{value:g}" for value in scaling.scale)
        return f"{scaling.kind} of reflectance" + (f" * ({factors})" if factors else "")
    clip = f", then clipped to {scaling.clip[0]:g}..{scaling.clip[1]:g}" if scaling.clip else ""
    factors = " ".join(f"{value:g}" for value in scaling.scale)
    summands = " ".join(f"{value:g}" for value in scaling.offset)
    return f"reflectance * ({factors}) + ({summands}) per channel{clip}"
