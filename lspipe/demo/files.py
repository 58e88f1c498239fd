"""Pixels to a cloud-optimised GeoTIFF, plain values to JSON: the files of the simulated archive."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.shutil
from rasterio.io import MemoryFile

if TYPE_CHECKING:
    from pathlib import Path

    from affine import Affine
    from numpy.typing import NDArray


def write_cog(
    path: Path,
    pixels: NDArray[Any],
    transform: Affine,
    *,
    crs: str,
    nodata: float | None,
    has_overviews: bool = True,
) -> None:
    """Write one band (y, x) of any dtype; the folder is made. uint8 are classes, not quantities."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "height": pixels.shape[0], "width": pixels.shape[1], "count": 1,
        "dtype": pixels.dtype, "crs": crs, "transform": transform, "nodata": nodata,
    }  # fmt: skip
    is_classes = pixels.dtype == np.uint8
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(pixels, 1)
        with memory.open() as dataset:
            rasterio.shutil.copy(
                dataset,
                path,
                driver="COG",
                compress="DEFLATE",
                predictor="NO" if is_classes else "YES",
                blocksize=256,
                overviews="AUTO" if has_overviews else "NONE",
                overview_resampling="NEAREST" if is_classes else "AVERAGE",
            )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON values; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
