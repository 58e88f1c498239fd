"""Measured scores of a model, with their data, spread and limits, as JSON.

A scorecard lies beside a model item as `ID.scorecard.json` (asset "scorecard"), and has the sha256
of the scored model: a card of other weights is refused. `scoring.py` computes the scores of
labelled patches; benchmarks write the other kinds.

A score that does not exist (nothing predicted, nothing there) is None, and "-" in text.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal

from lspipe.errors import ModelError, UsageError
from lspipe.models.item import digest
from lspipe.spec import Spec, SpecError
from lspipe.spec import read as read_spec

if TYPE_CHECKING:
    from lspipe.evaluate.metrics import Scores
    from lspipe.models.item import ModelItem

FORMAT: Final = "lspipe-scorecard-1"

NOT_TO_BE_READ_AS = (
    "the quality of a map. Labelled patches are cut where landslides are, so their share of "
    "landslide is larger than a tile's, and precision on a tile is lower. Places, seasons and "
    "sensors that are not among the patches may be much worse, and patches that the model was "
    "trained on much better."
)
"""Limits of all scores of patches."""


@dataclass(frozen=True, kw_only=True)
class Row(Spec):
    """The row of a table of the papers: 0..1, MCC -1..1; None = no such score."""

    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    iou: float | None = None
    mcc: float | None = None

    @classmethod
    def of(cls, scores: Scores) -> Row:
        """Make a row of scores; NaN becomes None."""
        names = ("precision", "recall", "f1", "iou", "mcc")
        values = {name: getattr(scores, name) for name in names}
        return cls(**{name: None if math.isnan(v) else v for name, v in values.items()})


@dataclass(frozen=True, kw_only=True)
class Intervals(Spec):
    """Low and high end of each score's 95 % interval; None = cannot be computed."""

    precision: tuple[float, float] | None = None
    recall: tuple[float, float] | None = None
    f1: tuple[float, float] | None = None
    iou: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Objects(Spec):
    """Connected objects of the patches, matched as `evaluate.match_objects` does."""

    right: int
    """Predicted objects that match the truth."""
    wrong: int
    """Predicted objects that do not."""
    found: int
    """True objects that a right object touches."""
    missed: int
    iou: float | None = None
    """Mean over right objects of the IoU of each with the true ones that it touches: the Jaccard
    index on true positives of paper 000. None = no right object, or not measured."""

    @property
    def precision(self) -> float | None:
        """Share of the predicted objects that are right."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else None

    @property
    def recall(self) -> float | None:
        """Share of the true objects that were found."""
        return self.found / (self.found + self.missed) if self.found + self.missed else None


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin(Spec):
    """Pixels of similar probability; from `low` up to `high`, which only 1 is in."""

    low: float
    high: float
    pixels: int
    probability: float
    """Mean."""
    landslide_share: float
    """Share of them that are landslide, 0..1."""


@dataclass(frozen=True, kw_only=True)
class Reliability(Spec):
    """How far probabilities mean what they say, of all pixels (`evaluate/reliability.py`)."""

    bins: tuple[ReliabilityBin, ...]
    """Those with a pixel."""
    error: float
    """Expected calibration error: the mean of |probability - share of landslide|, 0..1."""
    temperature: float | None = None
    """What to divide the network's log-odds by, for the most likely probabilities of these pixels;
    None = more than one view, or no temperature is the best."""
    error_tempered: float | None = None
    """The error with that temperature, of the same pixels, which makes it a little too good."""
    threshold_equal: float | None = None
    """Threshold at which precision and recall are equal, or nearest; None = no landslide."""
    threshold_sensitive: float | None = None
    """Highest threshold with a recall of 0.8; None = none has it."""


@dataclass(frozen=True, kw_only=True)
class PatchScores(Spec):
    """Scores of labelled patches, for one window size and one kind of views."""

    data: str
    """Origin of the patches."""
    regions: tuple[str, ...] = ()
    """Regions that were scored; empty = all."""
    patches: int
    left_out: int = 0
    """Broken patches that were left out."""
    continued: float | None = None
    """Share of the patches that continue, on the ground, a patch that was trained on, 0..1 (see
    `samples/leaks.py`): the larger, the less the scores say of a new place; None = not looked."""
    pixels: int
    """Pixels that were counted: observed, and labelled."""
    landslide_share: float
    """Share of landslide in these pixels, 0..1."""
    window: int
    """Edge of the windows of the network, pixels."""
    tta: Literal["none", "d4"]
    threshold: float
    """Landslide where the probability is above it."""
    threshold_from: Literal["model item", "given", "chosen on these patches"]
    micro: Row
    """Scores of all pixels together."""
    batch_mean: Row
    """Mean of the scores of batches of `batch` patches, as in paper 002."""
    batch: int
    intervals: Intervals
    """Intervals of the micro scores: percentiles over patches drawn again (bootstrap)."""
    objects: Objects
    reliability: Reliability | None = None
    """Whether the probabilities mean what they say; None = not measured."""


@dataclass(frozen=True, kw_only=True)
class FalseAlarms(Spec):
    """Detections of a model where no landslide is known: all of them count as false."""

    data: str
    dates: Literal[1, 2]
    """1 = one map was scored; 2 = the new landslides between two maps."""
    threshold: float
    area_km2: float
    """Area observed on every date."""
    marked_km2: float
    objects: int
    """Connected marked areas of at least `min_area_m2`."""
    min_area_m2: float


@dataclass(frozen=True, kw_only=True)
class ListScores(Spec):
    """A list of new landslides of two dates, compared with known ones."""

    data: str
    known: int
    found: int
    """Known landslides that are in the list."""
    listed: int
    right: int
    """Listed landslides that are known."""


@dataclass(frozen=True, kw_only=True)
class Scorecard(Spec):
    """All measured scores of one model, and their limits."""

    format: Literal["lspipe-scorecard-1"] = FORMAT
    model: str
    """Id of the item."""
    sha256: str
    """`lspipe.models.digest` of the item."""
    lspipe: str
    """Version of lspipe that measured the scores."""
    command: str
    """Command that repeats the measurement."""
    patches: tuple[PatchScores, ...] = ()
    false_alarms: tuple[FalseAlarms, ...] = ()
    lists: tuple[ListScores, ...] = ()
    not_to_be_read_as: str
    """Limits of the scores, in words."""

    def as_json(self) -> dict[str, Any]:
        """The document as it is stored."""
        return dict(json.loads(json.dumps(asdict(self))))


def limits_of(item: ModelItem) -> str:
    """Return the limits of scores of patches: for any model, and for this one."""
    own = f" Its item says: {item.not_for}" if item.not_for else ""
    return NOT_TO_BE_READ_AS + own


def from_json(document: Any, source: str) -> Scorecard:
    """Read a stored document.

    Args:
        document: of `Scorecard.as_json`.
        source: of the document, for errors.

    Raises:
        ModelError: a key is missing, unknown or of another kind.
    """
    try:
        return read_spec(Scorecard, document)
    except SpecError as error:
        raise ModelError(
            f"{source}: {error}\nexpected a scorecard of `lspipe model evaluate`"
        ) from error


def from_file(path: Path) -> Scorecard:
    """Read a scorecard of any model.

    Raises:
        ModelError: no such file, or it is no scorecard.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot read the scorecard: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error}): expected a scorecard") from error
    return from_json(document, str(path))


def read(item: ModelItem) -> Scorecard | None:
    """Read the scorecard of an item; None if the item has none.

    Raises:
        ModelError: no such file, it is no scorecard, or it is of another model.
    """
    if item.scorecard is None:
        return None
    card = from_file(item.scorecard)
    if card.sha256 != digest(item):
        raise ModelError(
            f"{item.scorecard}: of a model with sha256 {card.sha256}, {item.id} has "
            f"{digest(item)}: evaluate this one again"
        )
    return card


def write(card: Scorecard, path: str | Path) -> None:
    """Write a scorecard atomically.

    Raises:
        UsageError: the folder is missing or cannot be written.
    """
    path = Path(path)
    check_writable(path)
    text = json.dumps(card.as_json(), indent=2, ensure_ascii=False) + "\n"
    with TemporaryDirectory(dir=path.parent, prefix=".scorecard-") as folder:
        draft = Path(folder) / path.name
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)


def check_writable(path: str | Path) -> None:
    """Refuse a path that cannot be written, before anything is computed.

    Raises:
        UsageError: the path is a folder, or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path}: is a folder: expected the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path}: {path.parent} cannot be written; choose another folder")
