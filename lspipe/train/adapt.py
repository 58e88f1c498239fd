"""A run and a person's decisions about its list -> the run's model, trained a little further.

Covers: models with weights; all patches are in memory at once. Does not cover: validation. The
scores are those of the patches it was trained on: they show whether the model learnt them, not its
quality in other places.

See also: `further.py` (the training itself).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lspipe.errors import ModelError, SamplesError
from lspipe.evaluate.metrics import ObjectScores, match_objects
from lspipe.inference.temperature import tempered
from lspipe.machine import check_folder
from lspipe.models.pack import pack
from lspipe.runs.frozen import FrozenRun
from lspipe.samples.decisions import reviewed
from lspipe.schema import IGNORED
from lspipe.train.further import begin, fields_like, filled, further, gentle
from lspipe.train.spec import training_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from lspipe.models import ModelItem
    from lspipe.samples.decisions import Reviewed
    from lspipe.train import Epoch, TrainSpec

_AT_ONCE = 16
"""Windows in one call of the network for a prediction."""


@dataclass(frozen=True)
class Adapted:
    """An adapted model, and its scores before and after."""

    item: Path
    """The model item that was written."""
    patches: int
    counts: Mapping[str, int]
    """Objects: true, false, unsure, unreviewed, unseen, drawn; see `samples.decisions.Reviewed`."""
    before: ObjectScores
    """Scores of the model of the run, on the reviewed patches."""
    after: ObjectScores
    """Scores of the adapted model, on the same patches, which it was trained on."""
    losses: tuple[float, ...]
    """Mean loss of each epoch."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a missing score (nothing predicted) is null."""
        return {
            "item": str(self.item),
            "patches": self.patches,
            "objects": dict(self.counts),
            "before": _plain(self.before),
            "after": _plain(self.after),
            "losses": list(self.losses),
        }


def adapt(
    run: Path | str,
    decisions: Path | str | None = None,
    *,
    output: Path | str,
    item: ModelItem | None = None,
    missed: Path | str | None = None,
    spec: TrainSpec | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Adapted:
    """Train the model of a run further on decisions of a person, and pack it as `ID-adapted`.

    Landslides are needed: from false alarms alone a network learns to find nothing. False alarms
    are not: around every landslide there is other ground.

    Args:
        run: a run directory with its `inventory.parquet`.
        decisions: GeoPackage, GeoJSON or GeoParquet, see `change/decisions.py`; None = those that
            the run keeps.
        output: folder for the item and its weights, which are written last.
        item: the model item of the run, if it is not in its recorded place any more.
        missed: a file of outlines that the person drew of landslides that the list lacks.
        spec: settings of the training; None = `further.gentle`.
        on_epoch: called after each epoch.

    Raises:
        UsageError: an output that cannot be written; an address cannot.
        ModelError: the model is a formula, or not that of the run; the adapted model exists
            already, or finds none of the landslides; the loss is not a number any more.
        DecisionsError: decisions that cannot be read or understood, or are of another run.
        SamplesError: no confirmed landslide among them.
        StoreError: not a run directory.
    """
    check_folder(output)
    frozen = FrozenRun.of(run)
    parent = _parent(frozen, item)
    name = f"{parent.id}-adapted"
    _refuse_taken(Path(output) / f"{name}.json")
    found = reviewed(run, decisions, item=parent, missed=missed)
    if not found.right + found.drawn:
        raise SamplesError(
            f"{decisions or run}: no object that is reviewed as true was observed "
            f"({found.wrong} as false): from false alarms alone a network learns to find "
            "nothing; confirm some landslides too"
        )
    windows, labels = found.samples.arrays()
    windows, spec = filled(windows, parent), spec or gentle(len(windows))
    network = begin(parent)
    limit = parent.threshold if frozen.threshold is None else frozen.threshold
    before = _scores(_answers(network, windows, parent.temperature), labels, limit)
    epochs = further(network, parent, (windows, labels), spec, on_epoch=on_epoch)
    after = _scores(_answers(network, windows, parent.temperature), labels, limit)
    if not after.found:
        raise ModelError(
            f"{parent.path}: adapted, it finds none of {after.missed} confirmed landslides; "
            f"nothing was written; train it for fewer epochs than {spec.epochs}, or review "
            "more objects"
        )
    training = training_record(spec, epochs, windows=len(windows)) | {
        "init_from": {"id": parent.id, "sha256": parent.sha256}
    }
    fields = _fields(parent, frozen, found, spec) | {"id": name, "training": training}
    return Adapted(
        item=pack(network.network, output, item_fields=fields),
        patches=len(windows),
        counts=found.counts(),
        before=before,
        after=after,
        losses=tuple(epoch.loss for epoch in epochs),
    )


# --- before -------------------------------------------------------------------------------------


def _parent(run: FrozenRun, item: ModelItem | None) -> ModelItem:
    """Return the model of the run; raise if it has no weights to train."""
    if item is None:
        item = run.item()
    else:
        run.check_model(item)
    if item.members:
        raise ModelError(
            f"{run.path}: was made with an ensemble of {len(item.members)} models, {item.id}: "
            "expected one to train further; give its item (item=...)"
        )
    if item.weights is None:
        raise ModelError(
            f"{item.path}: {item.id} is a formula without weights, and nothing in it can be "
            "trained; run a model that has weights"
        )
    return item


def _refuse_taken(path: Path) -> None:
    if path.exists():
        raise ModelError(f"{path}: exists already; choose another output, or remove it")


# --- scores -------------------------------------------------------------------------------------


def _answers(
    network: nn.Module, windows: NDArray[np.float32], temperature: float | None
) -> NDArray[np.float32]:
    """Predict probabilities (N, y, x) of windows (N, C, y, x), without further views."""
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        parts = [
            network(torch.from_numpy(windows[start : start + _AT_ONCE]).to(device))[:, 0].cpu()
            for start in range(0, len(windows), _AT_ONCE)
        ]
    answers: NDArray[np.float32] = tempered(torch.cat(parts).float(), temperature).numpy()
    return answers


def _scores(
    probability: NDArray[np.float32], labels: NDArray[np.uint8], threshold: float
) -> ObjectScores:
    """Score the objects of all patches; one in two patches counts twice, ignored pixels never."""
    each = [
        match_objects((answer > threshold) & (truth != IGNORED), truth == 1)
        for answer, truth in zip(probability, labels, strict=True)
    ]
    right, wrong, found, missed = (
        sum(getattr(one, part) for one in each) for part in ("right", "wrong", "found", "missed")
    )
    return ObjectScores(right, wrong, found, missed, math.nan, math.nan)


def _plain(scores: ObjectScores) -> dict[str, Any]:
    ratios = {"precision": scores.precision, "recall": scores.recall}
    return {
        **{name: None if math.isnan(value) else value for name, value in ratios.items()},
        "right": scores.right,
        "wrong": scores.wrong,
        "found": scores.found,
        "missed": scores.missed,
    }


# --- the item -----------------------------------------------------------------------------------


def _fields(parent: ModelItem, run: FrozenRun, found: Reviewed, spec: TrainSpec) -> dict[str, Any]:
    """Return the fields of the adapted item: those of its parent, and its origin."""
    names = ", ".join(tile.name for tile in run.tiles)
    tiles = f"tile {names}" if len(run.tiles) == 1 else f"tiles {names}"
    counts = found.counts()
    drawn = f"{found.drawn} drawn by hand, " if found.drawn else ""
    history = (
        f"Adapted from {parent.id} (weights of sha256 {parent.sha256}) to objects of the run "
        f"{run.name} that a person reviewed: {counts['true']} true, {counts['false']} false, "
        f"{drawn}in {len(found.samples)} windows of {tiles}; "
        f"{spec.epochs} epochs, learning rate {spec.learning_rate:g}, loss {spec.loss}, seed "
        f"{spec.seed}. No window was held out."
    )
    limits = (
        f"Adapted to {tiles} and the dates of that run: elsewhere it may do worse than {parent.id}."
    )
    return {
        **fields_like(parent),
        "description": f"{parent.description} {history}".strip(),
        "not_for": f"{parent.not_for} {limits}".strip(),
    }
