"""A run and a person's decisions about its list -> the run's model, trained a little further.

The model changes only as far as that helps: how much of the new weights it gets is tried out on
decisions that were held out, and where the old weights are as good it stays as it is.

Covers: models with weights; all patches are in memory at once. Does not cover: a score in other
places. Those before and after are of the patches it was trained on, and show whether it learnt
them.

See also: `further.py` (the training itself), `mixture.py` (the trial).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lspipe.errors import ModelError, SamplesError, UsageError
from lspipe.evaluate.metrics import ObjectScores, match_objects
from lspipe.machine import check_folder
from lspipe.models.pack import pack
from lspipe.runs.frozen import FrozenRun
from lspipe.samples.decisions import reviewed
from lspipe.schema import IGNORED
from lspipe.train.further import answers, begin, fields_like, filled, gentle
from lspipe.train.mixture import judged, learn, tempered_by, try_out
from lspipe.train.spec import training_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lspipe.models import ModelItem
    from lspipe.samples.decisions import Reviewed
    from lspipe.train import Epoch, TrainSpec
    from lspipe.train.further import Steady
    from lspipe.train.spec import Decided


@dataclass(frozen=True)
class Adapted:
    """An adapted model, and its scores before and after."""

    item: Path | None
    """The model item that was written; None = nothing was, as the old weights are as good."""
    share: float
    """Share of the new weights in the model, 0..1."""
    held_out: Mapping[float, float]
    """F1 of pixels in windows that were held out, by share of the new weights; empty where the
    share was given."""
    patches: int
    counts: Mapping[str, int]
    """Objects: true, false, unsure, unreviewed, unseen, drawn; see `samples.decisions.Reviewed`."""
    before: ObjectScores
    """Scores of the model of the run, on the reviewed patches."""
    after: ObjectScores
    """Scores of the adapted model, on the same patches, which it was trained on."""
    losses: tuple[float, ...]
    """Mean loss of each epoch; none where nothing was written."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a missing score (nothing predicted) is null."""
        return {
            "item": None if self.item is None else str(self.item),
            "share": self.share,
            "held_out": {str(share): f1 for share, f1 in self.held_out.items()},
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
    share: float | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Adapted:
    """Train the model of a run further on decisions of a person, and pack it as `ID-adapted`.

    Nothing is written where no share of the new weights is better than none.

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
        share: of the new weights, above 0 to 1; None = the best one of `mixture.try_out`.
        on_epoch: called after each epoch of the last training, that on all windows.

    Raises:
        UsageError: an output that cannot be written; an address cannot; another share.
        ModelError: the model is a formula, or not that of the run; the adapted model exists
            already, or finds none of the landslides; the loss is not a number any more.
        DecisionsError: decisions that cannot be read or understood, or are of another run.
        SamplesError: no confirmed landslide among them; a single window, of which none can be held
            out.
        StoreError: not a run directory.
    """
    check_folder(output)
    _refuse_share(share)
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
    limit = parent.threshold if frozen.threshold is None else frozen.threshold
    held_out: Mapping[float, float] = {}
    if share is None:
        trial = try_out(parent, (windows, labels), spec, limit=limit, places=found.places)
        share, held_out = trial.best, trial.f1
    lesson = _learn(parent, (windows, labels), spec, share, limit=limit, on_epoch=on_epoch)
    written = None
    if share:
        training = training_record(spec, lesson.epochs, windows=len(windows)) | {
            "init_from": {"id": parent.id, "sha256": parent.sha256}
        }
        words = _words(parent, frozen, found, spec, share)
        fields = fields_like(parent) | words | {"id": name, "training": training}
        written = pack(lesson.network.network, output, item_fields=fields)
    return Adapted(
        item=written,
        share=share,
        held_out=held_out,
        patches=len(windows),
        counts=found.counts(),
        before=lesson.before,
        after=lesson.after,
        losses=tuple(epoch.loss for epoch in lesson.epochs),
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


def _refuse_share(share: float | None) -> None:
    if share is not None and not 0 < share <= 1:
        raise UsageError(f"share {share:g}: expected a share of the new weights above 0, up to 1")


# --- the training -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Learnt:
    network: Steady
    epochs: tuple[Epoch, ...]
    before: ObjectScores
    after: ObjectScores


def _learn(
    parent: ModelItem,
    pairs: Decided,
    spec: TrainSpec,
    share: float,
    *,
    limit: float,
    on_epoch: Callable[[Epoch], None] | None,
) -> _Learnt:
    """Train on all windows, and keep a share of the new weights.

    Raises:
        ModelError: it finds none of the landslides any more.
    """
    windows, labels = pairs
    own = tempered_by(parent, answers(begin(parent), windows))
    truth = judged(labels)
    before = _scores(own, truth, limit)
    network, epochs = learn(parent, pairs, spec, share, on_epoch=on_epoch)
    after = _scores(tempered_by(parent, answers(network, windows)), truth, limit)
    if share and not after.found:
        raise ModelError(
            f"{parent.path}: adapted, it finds none of {after.missed} confirmed landslides; "
            f"nothing was written; train it for fewer epochs than {spec.epochs}, or review "
            "more objects"
        )
    return _Learnt(network, epochs, before, after)


# --- scores -------------------------------------------------------------------------------------


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


def _words(
    parent: ModelItem, run: FrozenRun, found: Reviewed, spec: TrainSpec, share: float
) -> dict[str, str]:
    """Return the texts of the adapted item: those of its parent, and its origin."""
    names = ", ".join(tile.name for tile in run.tiles)
    tiles = f"tile {names}" if len(run.tiles) == 1 else f"tiles {names}"
    counts = found.counts()
    drawn = f"{found.drawn} drawn by hand, " if found.drawn else ""
    history = (
        f"Adapted from {parent.id} (weights of sha256 {parent.sha256}) to objects of the run "
        f"{run.name} that a person reviewed: {counts['true']} true, {counts['false']} false, "
        f"{drawn}in {len(found.samples)} windows of {tiles}; "
        f"{spec.epochs} epochs, learning rate {spec.learning_rate:g}, loss {spec.loss}, seed "
        f"{spec.seed}; {share:.0%} new weights, {1 - share:.0%} old ones."
    )
    limits = (
        f"Adapted to {tiles} and the dates of that run: elsewhere it may do worse than {parent.id}."
    )
    return {
        "description": f"{parent.description} {history}".strip(),
        "not_for": f"{parent.not_for} {limits}".strip(),
    }
