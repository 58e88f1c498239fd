"""A map, a list or a model compared with the truth.

`score_run` and `write_scores` are imported on first use, as they need what reads a run.

metrics     the metrics of the papers, by pixels and by objects
scoring     a model and labelled patches -> scores and their spread
reliability whether probabilities mean what they say; temperature and thresholds
scorecard   measured scores of a model, as JSON
spread      counts -> the interval of a score
run_scores  a finished run and an inventory -> scores by pixels, objects or points: `score_run`
truth       a list and the known landslides -> how many were found, how many are right
published   the scores that the papers print
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lspipe.evaluate.metrics import (
    MATCH_IOU,
    MATCH_SHARE,
    Confusion,
    ObjectScores,
    Scores,
    averaged,
    confusion,
    f1_of,
    iou_of,
    match_objects,
    micro,
)

if TYPE_CHECKING:
    from lspipe.evaluate.run_scores import score_run
    from lspipe.evaluate.score_files import write_scores

__all__ = [
    "MATCH_IOU",
    "MATCH_SHARE",
    "Confusion",
    "ObjectScores",
    "Scores",
    "averaged",
    "confusion",
    "f1_of",
    "iou_of",
    "match_objects",
    "micro",
    "score_run",
    "write_scores",
]

_HOMES = {
    "score_run": "lspipe.evaluate.run_scores",
    "write_scores": "lspipe.evaluate.score_files",
}


def __getattr__(name: str) -> Any:
    """Import a function on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lspipe.evaluate' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
