"""Sources of masks of a user's own, for tests: `cube.mask.source: tests.mask_sources:bright`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from lspipe.schema import Quality
from tests import pixel_models

if TYPE_CHECKING:
    from pathlib import Path


def bright(pixels: np.ndarray, level: str) -> np.ndarray:
    """Call everything cloud whose blue is bright, fresh scars too: as a careless mask does."""
    del level
    return np.where(pixels[0] > 0.06, Quality.CLOUD, 0).astype(np.uint8)


bright.bands = ("B02",)
bright.version = "1"


def white(pixels: np.ndarray, level: str) -> np.ndarray:
    """Call cloud what is bright in blue and as bright in red."""
    del level
    blue, red = pixels
    return np.where((blue > 0.3) & (red > 0.3), Quality.CLOUD, 0).astype(np.uint8)


white.bands = ("B02", "B04")
white.version = "1"


def above_its_window(pixels: np.ndarray, level: str) -> np.ndarray:
    """Compare each pixel with all others of its window, as a network with global pooling does."""
    del level
    middle = np.nanmean(pixels, dtype=np.float64)
    shade = np.nan_to_num(pixels[0]) < 0.5 * middle
    cloud = np.nan_to_num(pixels[0]) > middle
    return np.select([cloud, shade], [Quality.CLOUD, Quality.SHADOW], 0).astype(np.uint8)


above_its_window.bands = ("B04", "B11")
above_its_window.window = 16
above_its_window.margin = 3
above_its_window.pixel_m = 30
above_its_window.version = "1"


def rough(pixels: np.ndarray, level: str) -> np.ndarray:
    """Call cloud what is brighter than the mean of three by three pixels."""
    del level
    padded = np.pad(np.nan_to_num(pixels[0]).astype(np.float64), 1)
    rows, columns = pixels.shape[1:]
    around = sum(padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)) / 9
    return np.where(np.nan_to_num(pixels[0]) > around, Quality.CLOUD, 0).astype(np.uint8)


rough.bands = ("B04",)
rough.margin = 1
rough.version = "1"


def only_toa(pixels: np.ndarray, level: str) -> np.ndarray:
    """A mask for L1C alone."""
    del level
    return np.zeros(pixels.shape[1:], np.uint8)


only_toa.bands = ("B02",)
only_toa.levels = ("L1C",)


def needs_b12(pixels: np.ndarray, level: str) -> np.ndarray:
    """A mask that reads a band which the scenes of the tests lack."""
    del level
    return np.zeros(pixels.shape[1:], np.uint8)


needs_b12.bands = ("B02", "B12")


def of_another_shape(pixels: np.ndarray, level: str) -> np.ndarray:
    """Return what is no mask of these pixels."""
    del level
    return np.zeros(pixels.shape, np.uint8)


of_another_shape.bands = ("B02",)


def reads_nothing(pixels: np.ndarray, level: str) -> np.ndarray:
    """A function that does not say what it reads."""
    del level
    return np.zeros(pixels.shape[1:], np.uint8)


class Sky(nn.Module):
    """Scores of clear, cloud, shadow and snow: by blue, near infrared and the window's mean."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        if in_channels != 3:
            raise ValueError(f"found {in_channels} channels: expected B02, B08, B11")

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        """Turn (N, 3, w, w) reflectance into (N, 4, w, w) scores."""
        blue, near, short = reflectance.unbind(1)
        middle = blue.mean((1, 2), keepdim=True)
        clear = torch.full_like(blue, 0.15)
        return torch.stack([clear, blue - short, 0.3 - near - middle, blue - 4 * short], 1)


class Haze(nn.Module):
    """The probability of cloud, by blue."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.channels = in_channels

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, w, w) reflectance into (N, 1, w, w) probabilities."""
        return reflectance[:, :1].clamp(0, 1)


def write_mask_item(
    path: Path, network: str, bands: tuple[str, ...], classes: tuple[str, ...], **properties: Any
) -> Path:
    """Write the model item of one of these networks."""
    pixel_models.write_item(path, window=24)
    document = json.loads(path.read_text(encoding="utf-8"))
    (source,), (output,) = (document["properties"][f"mlm:{name}"] for name in ("input", "output"))
    source["bands"] = list(bands)
    source["input"]["shape"][1] = len(bands)
    output["classification:classes"] = [
        {"value": value, "name": name} for value, name in enumerate(classes)
    ]
    document["properties"] |= {"lspipe:architecture": f"{__name__}:{network}", **properties}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
