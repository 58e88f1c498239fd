"""Models for real scenes that lack bands of the shipped ones: each judges a pixel by itself.

They stand for what a user brings: a torch module in a module of their own, named in a model item as
"tests.pixel_models:BareSoil", which the workers of a run import by that name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path


class BareSoil(nn.Module):
    """A logistic of NDVI, pixel by pixel: 0.5 where NDVI is `middle`, more where it is lower."""

    bands: ClassVar = ("B02", "B03", "B04", "B08")

    def __init__(self, in_channels: int, *, steepness: float = 15.0, middle: float = 0.4) -> None:
        super().__init__()
        if in_channels != len(self.bands):
            raise ValueError(f"found {in_channels} channels: expected {', '.join(self.bands)}")
        self.steepness = steepness
        self.middle = middle

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4, w, w) surface reflectance into (N, 1, w, w) probabilities."""
        red, near = reflectance[:, 2:3].clamp(min=0), reflectance[:, 3:4].clamp(min=0)
        ndvi = (near - red) / (near + red).clamp(min=1e-3)
        return torch.sigmoid(self.steepness * (self.middle - ndvi))


class BurnScore(nn.Module):
    """Half of 1 - NBR, the normalised burn ratio (NIR - SWIR2) / (NIR + SWIR2), pixel by pixel."""

    bands: ClassVar = ("B08", "B12")

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        if in_channels != len(self.bands):
            raise ValueError(f"found {in_channels} channels: expected {', '.join(self.bands)}")

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        """Turn (N, 2, w, w) surface reflectance into (N, 1, w, w) scores, 0..1."""
        near, short = reflectance[:, :1], reflectance[:, 1:]
        burn_ratio = (near - short) / (near + short).clamp(min=1e-4)
        return ((1 - burn_ratio) / 2).clamp(0, 1)


class SteepSoil(nn.Module):
    """Bare soil on a slope: more probable the steeper, up to 45 degrees, and none below 0 m."""

    bands: ClassVar = ("B04", "B08", "slope", "elevation")

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        if in_channels != len(self.bands):
            raise ValueError(f"found {in_channels} channels: expected {', '.join(self.bands)}")

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4, w, w) reflectance, degrees and metres into (N, 1, w, w) probabilities."""
        red, near, slope, height = channels.split(1, dim=1)
        ndvi = (near - red) / (near + red).clamp(min=1e-3)
        steep = (slope / 45).clamp(0, 1) * (height / 1000).clamp(0, 1)
        return torch.sigmoid(15 * (0.4 - ndvi)) * steep


class Loss(nn.Module):
    """What NDVI lost between two dates, averaged over 3 x 3 pixels: a model of pairs."""

    bands: ClassVar = ("before:B04", "after:B04", "before:B08", "B08")

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        if in_channels != len(self.bands):
            raise ValueError(f"found {in_channels} channels: expected {', '.join(self.bands)}")

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4, w, w) surface reflectance into (N, 1, w, w) scores, 0..1."""
        red_before, red_after, near_before, near_after = reflectance.clamp(min=0).split(1, dim=1)
        before = (near_before - red_before) / (near_before + red_before).clamp(min=1e-3)
        after = (near_after - red_after) / (near_after + red_after).clamp(min=1e-3)
        loss = nn.functional.avg_pool2d(before - after, 3, 1, 1, count_include_pad=False)
        return torch.sigmoid(20 * (loss - 0.35))


class SteepLoss(Loss):
    """The same where the ground is steep, and none on a plain: a model of pairs and terrain."""

    bands: ClassVar = (*Loss.bands, "slope")

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Turn (N, 5, w, w) reflectance and degrees into (N, 1, w, w) scores, 0..1."""
        steep = (channels[:, 4:] / 20).clamp(0, 1)
        return super().forward(channels[:, :4]) * steep


class Brighter(nn.Module):
    """Bare soil after, where backscatter changed by more than 4 dB: a model of pairs and radar."""

    bands: ClassVar = ("before:VV", "after:VV", "after:B04", "B08")

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        if in_channels != len(self.bands):
            raise ValueError(f"found {in_channels} channels: expected {', '.join(self.bands)}")

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4, w, w) decibels and reflectance into (N, 1, w, w) scores, 0..1."""
        before, after, red, near = channels.split(1, dim=1)
        ndvi = (near - red) / (near + red).clamp(min=1e-3)
        change = nn.functional.avg_pool2d(after - before, 3, 1, 1, count_include_pad=False)
        return torch.sigmoid(2 * (change.abs() - 4)) * torch.sigmoid(15 * (0.4 - ndvi))


class Rough(nn.Module):
    """Backscatter of the date at hand, -25 to 5 dB as 0 to 1."""

    bands: ClassVar = ("B04", "VV")

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        if in_channels != len(self.bands):
            raise ValueError(f"found {in_channels} channels: expected {', '.join(self.bands)}")

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Turn (N, 2, w, w) reflectance and decibels into (N, 1, w, w) scores, 0..1."""
        return ((channels[:, 1:] + 25) / 30).clamp(0, 1)


Model = (
    type[BareSoil] | type[BurnScore] | type[SteepSoil] | type[Loss] | type[Brighter] | type[Rough]
)


def write_item(path: Path, model: Model = BareSoil, *, window: int = 64) -> Path:
    """Write the item of one of these models; its id is the name of the file."""
    bands = list(model.bands)
    layout = {"data_type": "float32", "dim_order": ["batch", "bands", "height", "width"]}
    properties: dict[str, Any] = {
        "description": str(model.__doc__),
        "datetime": None,
        "start_datetime": "2015-06-23T00:00:00Z",
        "end_datetime": "2100-01-01T00:00:00Z",
        "mlm:name": path.stem,
        "mlm:architecture": "an index of each pixel",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:input": [
            {
                "name": "surface reflectance",
                "bands": bands,
                "input": {"shape": [-1, len(bands), window, window], **layout},
            }
        ],
        "mlm:output": [
            {
                "name": "probability",
                "tasks": ["semantic-segmentation"],
                "result": {"shape": [-1, 1, window, window], **layout},
                "classification:classes": [{"value": 1, "name": "found"}],
            }
        ],
        "lspipe:architecture": f"{__name__}:{model.__name__}",
        "lspipe:scaling": {"kind": "identity"},
        "lspipe:overlap": 0.25,
        "lspipe:tta": "d4",
        "lspipe:not_for": "anything but tests",
    }
    document = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.5.0/schema.json"],
        "id": path.stem,
        "geometry": None,
        "properties": properties,
        "links": [],
        "assets": {"model": {"href": "pixel_models.py", "roles": ["mlm:model", "mlm:source_code"]}},
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
