"""A real pair of scenes, fields along the Inn in 2021, as an archive and the workflow of a run.

The published file has red, green, blue and near infrared of 17 June and 25 September, cloud-free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from tests.pixel_models import write_item
from tests.real_scenes import write_scene, write_workflow

if TYPE_CHECKING:
    from pathlib import Path

TILE = "33UUP"
ORDER = ("B04", "B03", "B02", "B08")
"""Bands of each date in the file (R G B NIR), the June date first (see the data's README)."""

JUNE, SEPTEMBER = "2021-06-17T10:00:00Z", "2021-09-25T10:00:00Z"
DATES = {
    "before": {"start": "2021-06-01", "end": "2021-06-30"},
    "after": {"start": "2021-09-01", "end": "2021-09-30"},
}


@dataclass(frozen=True)
class Pair:
    """The published file."""

    june: dict[str, np.ndarray]
    september: dict[str, np.ndarray]
    grid: Any
    shape: tuple[int, int]

    @classmethod
    def of(cls, real_data: Path) -> Pair:
        """Read it."""
        with rasterio.open(real_data / "s2_l2a_pair_inn_2021" / "inference-img.tif") as file:
            assert file.crs.to_epsg() == 32633
            pixels = file.read()
            return cls(
                june=dict(zip(ORDER, pixels[:4], strict=True)),
                september=dict(zip(ORDER, pixels[4:], strict=True)),
                grid=file.transform,
                shape=file.shape,
            )


def write_archive(folder: Path, pair: Pair, *, september_shift: int = 0) -> None:
    """Write both scenes; a shift of 1000 is what baselines from 04.00 on add to the numbers."""
    place = {"tile": TILE, "corner": pair.grid, "epsg": 32633}
    write_scene(folder, time=JUNE, baseline="03.00", bands=pair.june, **place)
    shifted = {band: layer + np.uint16(september_shift) for band, layer in pair.september.items()}
    baseline = "04.00" if september_shift else "03.01"
    write_scene(folder, time=SEPTEMBER, baseline=baseline, bands=shifted, **place)
    write_item(folder / "bare-soil.json")


def workflow_of(
    folder: Path,
    archive: Path,
    cluster: dict[str, str],
    *,
    dates: dict[str, dict[str, str]] = DATES,
    model: str = "bare-soil.json",
    **sections: Any,
) -> Path:
    """Write the workflow of a run in `folder` / run; further sections replace the usual ones."""
    return write_workflow(
        folder / "inn.yaml", archive, tile=TILE, dates=dates, model=model, cluster=cluster,
        cube={"mask": {"scl": []}},  # the file has no scene classes
        **sections,
    )  # fmt: skip
