"""A map or a model compared with the truth.

metrics     the metrics of the papers, by pixels and by objects
scoring     a model and labelled patches -> scores and their spread
scorecard   what was measured of a model, as JSON
truth       a list and the landslides that are known -> how many were found, how many are right
published   what the papers print of their networks' scores
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
