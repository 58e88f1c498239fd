"""A model for scenes that have no more than blue, green, red and near infrared.

It stands for what a user brings: a torch module in a module of their own, named in a model item as
"tests.rgbn_model:BareSoil", which the workers of a run import by that name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

BANDS = ("B02", "B03", "B04", "B08")


class BareSoil(nn.Module):
    """A logistic of NDVI, pixel by pixel: 0.5 where NDVI is `middle`, more where it is lower."""

    def __init__(self, in_channels: int, *, steepness: float = 15.0, middle: float = 0.4) -> None:
        super().__init__()
        if in_channels != len(BANDS):
            raise ValueError(f"found {in_channels} channels: expected {', '.join(BANDS)}")
        self.steepness = steepness
        self.middle = middle

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4, w, w) surface reflectance into (N, 1, w, w) probabilities."""
        red, near = reflectance[:, 2:3].clamp(min=0), reflectance[:, 3:4].clamp(min=0)
        ndvi = (near - red) / (near + red).clamp(min=1e-3)
        return torch.sigmoid(self.steepness * (self.middle - ndvi))


def write_item(path: Path, *, window: int = 64) -> Path:
    """Write the model item of `BareSoil`."""
    layout = {"data_type": "float32", "dim_order": ["batch", "bands", "height", "width"]}
    properties: dict[str, Any] = {
        "description": "Bare soil by NDVI, for tests",
        "datetime": None,
        "start_datetime": "2015-06-23T00:00:00Z",
        "end_datetime": "2100-01-01T00:00:00Z",
        "mlm:name": "bare-soil",
        "mlm:architecture": "logistic of NDVI",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:input": [
            {
                "name": "surface reflectance",
                "bands": list(BANDS),
                "input": {"shape": [-1, len(BANDS), window, window], **layout},
            }
        ],
        "mlm:output": [
            {
                "name": "probability",
                "tasks": ["semantic-segmentation"],
                "result": {"shape": [-1, 1, window, window], **layout},
                "classification:classes": [{"value": 1, "name": "bare"}],
            }
        ],
        "lspipe:architecture": f"{__name__}:BareSoil",
        "lspipe:scaling": {"kind": "identity"},
        "lspipe:overlap": 0.25,
        "lspipe:tta": "d4",
        "lspipe:not_for": "anything but tests",
    }
    document = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.5.0/schema.json"],
        "id": "bare-soil",
        "geometry": None,
        "properties": properties,
        "links": [],
        "assets": {"model": {"href": "rgbn_model.py", "roles": ["mlm:model", "mlm:source_code"]}},
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
