"""A map or a model compared with the truth.

metrics     the metrics of the papers, by pixels and by objects
scoring     a model and labelled patches -> scores and their spread
scorecard   measured scores of a model, as JSON
spread      counts -> the interval of a score
run_scores  a finished run and an inventory -> scores by pixels, objects or points: `score_run`
truth       a list and the known landslides -> how many were found, how many are right
published   the scores that the papers print
"""

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
]
