"""Labelled patches -> a packed model: build or read a network, train it, write its item.

A course is a training with all its settings. Its folder holds

    ID.json, ID.safetensors   the model; the item is written last
    ID.scorecard.json         its scores on the validation patches
    training.json             its settings, and the results of each epoch
    learning_curve.png        loss and F1 of each epoch, as a picture
    last.safetensors          the state, to resume from
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lspipe.errors import ModelError, SamplesError, UsageError
from lspipe.evaluate import figures
from lspipe.evaluate.reliability import (
    equal_threshold,
    fit_temperature,
    histograms,
    sensitive_threshold,
)
from lspipe.evaluate.scorecard import Scorecard, limits_of
from lspipe.evaluate.scoring import choose_threshold, measure, predict
from lspipe.inference.runtimes import resolve_device
from lspipe.machine import check_folder
from lspipe.models import build, digest, spelled_out
from lspipe.models.encoders import load_encoder
from lspipe.models.mlm import read_item
from lspipe.models.pack import check_id, pack
from lspipe.models.recipes import UNITS, Recipe, check_channels, recipe_of
from lspipe.models.statistics import Statistics
from lspipe.models.weights import build_network
from lspipe.samples.leaks import Leak, leak
from lspipe.samples.tiling import cut
from lspipe.schema import IGNORED
from lspipe.train import curve, fit
from lspipe.train.negatives import with_negatives
from lspipe.train.spec import TrainSpec, training_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from lspipe.models.item import Tta
    from lspipe.samples import Samples
    from lspipe.train.spec import Epoch, Pairs

STATE, RECORD, CURVE = "last.safetensors", "training.json", "learning_curve.png"

CHOSEN_HERE = (
    "The epoch, the temperature and the thresholds of this model were chosen on these patches, "
    "which makes its scores a little too good."
)

FILL = 0.0
"""Input of a network where a channel has no data, model units; written to its item."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """The model to train, and all settings of the training."""

    id: str
    """Name of the model, and of its files."""
    architecture: str
    recipe: str
    protocol: str = ""
    """Name in `lspipe.train.PROTOCOLS` that `spec` is based on; empty = none."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the architecture."""
    spec: TrainSpec = field(default_factory=TrainSpec)
    window: int | None = None
    """Edge of the windows that patches are cut into, pixels; None = whole patches."""
    encoder_weights: Path | None = None
    """A pretrained encoder, safetensors (`lspipe.models.encoders`)."""
    init_from: str | Path | None = None
    """A model item with the first weights; of the same architecture and channels."""
    tta: Tta = "d4"
    overlap: float = 0.5
    """Overlap in the item; a workflow may set another one."""
    description: str = ""
    not_for: str = ""


@dataclass(frozen=True)
class Trained:
    """A trained model, and its scores."""

    item: Path
    epochs: tuple[Epoch, ...]
    parameters: int
    card: Scorecard | None
    """Scores on validation patches; None without any."""


def train(
    course: Course,
    training: Samples,
    validation: Samples | None,
    folder: Path,
    *,
    fresh: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_leak: Callable[[Leak], None] | None = None,
) -> Trained:
    """Train a network on patches and pack it; on a GPU where there is one.

    Args:
        course: the model and the settings.
        training: patches in the units of the recipe; all are read into memory.
        validation: patches that are never trained on; they decide which epoch is the best.
        folder: for the files of the course, see the module. An interrupted course is resumed.
        fresh: remove the files of an earlier training, after all checks.
        on_epoch: called after each epoch.
        on_leak: called before the first with how much of the validation continues the training.

    Raises:
        SamplesError: patches that cannot be used, or of another recipe.
        ModelError: another architecture or other channels in `init_from`; weights that do not fit;
            the loss is not a number any more.
        UsageError: the folder cannot be written, or holds another training; patience without
            validation; haze, gamma or noise with channels that are no reflectance.
    """
    check_id(course.id)
    check_folder(folder)
    recipe = recipe_of(course.recipe)
    training, pairs = read_windows(training, recipe, course.window)
    watched = None
    continued = None
    if validation is not None:
        validation, watched = read_windows(validation, recipe, course.window)
        _check_validation(course, watched)
        if watched[0].shape[-1] == pairs[0].shape[-1]:
            found = leak(training, validation)
            continued = found.share
            if on_leak is not None:
                on_leak(found)
    elif course.spec.patience is not None:
        raise UsageError(
            f"{course.id}: patience {course.spec.patience} needs validation patches: give some, or "
            "set patience to null"
        )
    # Everything that may fail, before hours of training.
    _check_looks(course, recipe)
    figures.check_installed()
    statistics = statistics_of(training, pairs)
    network = first_network(course, recipe).to(resolve_device("auto"))
    began = _first_weights(course)
    if fresh:
        clear(course, folder)
    try:
        epochs = fit(
            network,
            *with_negatives(pairs, recipe.channels, recipe.scaling, course.spec),
            course.spec,
            validation=watched,
            folder=folder,
            on_epoch=on_epoch,
        )
    except ValueError as error:
        raise ModelError(f"{course.id}: {error}") from error
    _write_record(course, training, validation, epochs, folder)
    title = f"{course.id} ({course.architecture})"
    curve.draw(epochs, folder / CURVE, title=title)
    fields = fields_of(course, window=pairs[0].shape[-1], about=_about(training, validation))
    protocol = {"protocol": course.protocol} if course.protocol else {}
    how = protocol | training_record(course.spec, epochs, windows=len(training)) | began
    fields |= {"statistics": statistics, "training": how}
    card = None
    if validation is not None:
        # In a temporary folder, so that the final item has its thresholds and scores at once.
        with TemporaryDirectory(dir=folder, prefix=".scoring-") as aside:
            draft = pack(network, aside, item_fields=fields)
            fields["temperature"] = _temperature(draft, validation)
            draft = pack(network, aside, item_fields=fields)
            fields |= _thresholds(draft, validation)
            card = scorecard_of(
                pack(network, aside, item_fields=fields),
                validation,
                command=_command(course, folder),
                continued=continued,
            )
    scores = None if card is None else card.as_json()
    item = pack(network, folder, item_fields=fields, scorecard=scores)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Trained(item, epochs, parameters, card)


def clear(course: Course, folder: Path) -> None:
    """Remove the files of an earlier training of this name from a folder."""
    names = [f"{course.id}{end}" for end in (".json", ".safetensors", ".scorecard.json")]
    for name in (STATE, RECORD, CURVE, *names):
        (folder / name).unlink(missing_ok=True)


def _check_looks(course: Course, recipe: Recipe) -> None:
    others = [channel for channel in recipe.channels if channel in UNITS]
    for key in ("haze", "gamma", "noise"):
        asked = getattr(course.spec, key)
        if asked and others:
            raise UsageError(
                f"{course.id}: {key} {asked:g} is for reflectances only, and recipe {recipe.name} "
                f"has {', '.join(others)} too: set {key} to 0, or take a recipe of bands"
            )


def _check_validation(course: Course, watched: Pairs) -> None:
    if not (watched[1] == 1).any():
        raise SamplesError(
            f"{course.id}: no landslide pixel in the validation patches: they cannot decide which "
            "epoch is the best"
        )


def _temperature(item: Path, validation: Samples) -> float | None:
    """Return what makes the network's own answers the most likely; None where nothing does."""
    found = predict(read_item(item), validation, tta="none")
    best = fit_temperature(histograms(found.codes, found.masks))
    return None if best is None else round(best, 4)


def _thresholds(item: Path, validation: Samples) -> dict[str, float | None]:
    """Return the thresholds of an item, for its own views: precision equal to recall, and recall.

    Where a network finds nothing, any threshold is as good: that with the best F1 is taken.
    """
    found = predict(read_item(item), validation)
    counts = histograms(found.codes, found.masks)
    equal = equal_threshold(counts)
    return {
        "threshold": choose_threshold(found.codes, found.masks) if equal is None else equal,
        "threshold_sensitive": sensitive_threshold(counts),
    }


def scorecard_of(
    item: Path, validation: Samples, *, command: str, continued: float | None = None
) -> Scorecard:
    """Score a packed model with and without the eight views, at its own threshold.

    Args:
        item: of the model.
        validation: the patches that its epoch and threshold were chosen on.
        command: to repeat it.
        continued: share of them that continue a patch that was trained on.
    """
    model = read_item(item)
    views: tuple[Tta, ...] = ("none", "d4")
    return Scorecard(
        model=model.id,
        sha256=digest(model),
        lspipe=version("lspipe"),
        command=command,
        patches=tuple(
            measure(predict(model, validation, tta=tta), continued=continued) for tta in views
        ),
        not_to_be_read_as=f"{limits_of(model)} {CHOSEN_HERE}",
    )


def _command(course: Course, folder: Path) -> str:
    window = "" if course.window is None else f" --window {course.window}"
    item = folder / f"{course.id}.json"
    return (
        f"lspipe model evaluate {item} --data VALIDATION --trained-on TRAINING --tta both{window}"
    )


def fields_of(course: Course, *, window: int, about: str = "") -> dict[str, Any]:
    """Return the fields of the item of a course (`lspipe.models.pack`), without the threshold.

    Args:
        course: of the model.
        window: edge of its windows, pixels.
        about: its training data, for a course without a description.
    """
    recipe = recipe_of(course.recipe)
    trained = f"{course.architecture} with the channels of {recipe.name}, trained by lspipe"
    return {
        "id": course.id,
        "architecture": course.architecture,
        "arguments": dict(course.arguments),
        "bands": recipe.channels,
        "recipe": recipe.name,
        "window": window,
        "scaling": recipe.scaling,
        "fill": FILL,
        "classes": ("background", "landslide"),
        "overlap": course.overlap,
        "tta": course.tta,
        "tta_merge": "mean",
        "description": course.description or f"{trained} {about}.",
        "not_for": course.not_for or _not_for(recipe),
    }


def best_f1(trained: Trained) -> float:
    """Return the F1 on validation of the kept epoch, 0..1; NaN without validation."""
    kept = [epoch.f1 for epoch in trained.epochs if epoch.is_best and epoch.f1 is not None]
    return kept[-1] if kept else math.nan


def read_windows(samples: Samples, recipe: Recipe, window: int | None) -> tuple[Samples, Pairs]:
    """Read patches, cut them into windows, and mark pixels without data.

    Args:
        samples: patches in the units of the recipe.
        recipe: of the course.
        window: edge, pixels; None = whole patches, which must be square.

    Returns:
        The windows as samples, and read: (N, C, w, w) float32 without NaN, labels (N, w, w) uint8
        with `IGNORED` where a channel has no data.

    Raises:
        SamplesError: patches of another recipe or level, not square, or not a multiple of the
            window.
    """
    if samples.recipe.channels != recipe.channels:
        raise SamplesError(
            f"{samples.source}: patches of recipe {samples.recipe.name}, the course is of "
            f"{recipe.name}"
        )
    if "none" not in (samples.level, recipe.level) and samples.level != recipe.level:
        raise SamplesError(
            f"{samples.source}: patches of {samples.level}, recipe {recipe.name} is of "
            f"{recipe.level}: input in a run would be unlike the training data"
        )
    if window is not None:
        samples = cut(samples, window)
    windows, labels = samples.arrays()
    if windows.shape[2] != windows.shape[3]:
        raise SamplesError(
            f"{samples.source}: patches of {windows.shape[2]} x {windows.shape[3]} px: expected "
            "square ones"
        )
    labels[np.isnan(windows).any(1)] = IGNORED
    return samples, (np.nan_to_num(windows, copy=False, nan=FILL), labels)


def statistics_of(samples: Samples, pairs: Pairs) -> Statistics:
    """Return the statistics of training data, for the item.

    Args:
        samples: origin of the windows, for errors.
        pairs: windows and labels of `read_windows`; `IGNORED` pixels do not count.

    Raises:
        SamplesError: no observed pixel, or infinite values.
    """
    try:
        return Statistics.of(_labelled(pairs))
    except ValueError as error:
        raise SamplesError(f"{samples.source}: {error}") from error


def first_network(course: Course, recipe: Recipe) -> nn.Module:
    """Build the network of a course with its first weights, which depend on the seed.

    Raises:
        ModelError: `init_from` is another architecture, or has other channels; weights of
            another encoder; or `init_from` together with encoder weights.
    """
    if course.init_from is not None:
        if course.encoder_weights is not None:
            raise ModelError("first weights from a model item and from an encoder: choose one")
        return _from_item(course, recipe)
    with torch.random.fork_rng():
        torch.manual_seed(course.spec.seed)
        network = build(course.architecture, len(recipe.channels), **course.arguments)
    if course.encoder_weights is not None:
        load_encoder(network, course.encoder_weights)
    return network


def _from_item(course: Course, recipe: Recipe) -> nn.Module:
    item = read_item(str(course.init_from))
    check_channels(recipe.name, item.bands)
    # With all defaults, as one item may omit a default that another has.
    asked, found = (
        (one.architecture, spelled_out(one.architecture, one.arguments)) for one in (course, item)
    )
    if found != asked:
        raise ModelError(
            f"{item.path}: {found[0]} {found[1]}: expected {asked[0]} {asked[1]}, to start from "
            "its weights"
        )
    if item.weights is None:
        raise ModelError(f"{item.path}: a formula has no weights to start from")
    return build_network(item).requires_grad_(requires_grad=True)


def _write_record(
    course: Course,
    training: Samples,
    validation: Samples | None,
    epochs: tuple[Epoch, ...],
    folder: Path,
) -> None:
    asked = asdict(course)
    for key in ("encoder_weights", "init_from"):
        asked[key] = None if asked[key] is None else str(asked[key])
    record = {
        "course": asked,
        "training": {"source": training.source, "patches": len(training)},
        "validation": None
        if validation is None
        else {"source": validation.source, "patches": len(validation)},
        "epochs": [asdict(epoch) for epoch in epochs],
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _labelled(pairs: Pairs) -> Iterator[NDArray[np.float32]]:
    """Yield windows with NaN in ignored pixels, which statistics leave out."""
    for window, labels in zip(*pairs, strict=True):
        yield np.where(labels == IGNORED, np.float32(np.nan), window)


def _first_weights(course: Course) -> dict[str, Any]:
    """Return the origin of the first weights; empty if they depend on the seed alone."""
    if course.init_from is not None:
        item = read_item(str(course.init_from))
        return {"init_from": {"id": item.id, "sha256": item.sha256}}
    if course.encoder_weights is not None:
        content = course.encoder_weights.read_bytes()
        return {"encoder_weights": {"sha256": hashlib.sha256(content).hexdigest()}}
    return {}


def _about(training: Samples, validation: Samples | None) -> str:
    chosen = (
        "the last epoch was kept"
        if validation is None
        else f"the best epoch on {len(validation)} other patches was kept"
    )
    return f"on {len(training)} patches; {chosen}"


def _not_for(recipe: Recipe) -> str:
    level = "" if recipe.level == "none" else f"Input of another level than {recipe.level}. "
    return f"{level}Places unlike those it was trained on, until it was scored there."
