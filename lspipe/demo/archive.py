"""A simulated valley to a small archive: COGs, STAC items, a DEM, true landslides, workflows.

Two MGRS tiles of UTM zone 18 south, each cut to a few kilometres, that overlap by 1 km. What real
archives are known for is in it: 10, 20 and 60 m bands, a swath edge, clouds and shadows, a cloudier
scene beside a clear one, processing baselines on both sides of 04.00, radar on a grid of its own.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from lspipe.demo.files import write_json
from lspipe.demo.grid import ANCHORS, SHAPE
from lspipe.demo.heights import write_dem
from lspipe.demo.landscape import simulate
from lspipe.demo.optical import write_scenes
from lspipe.demo.radar import write_radar
from lspipe.demo.truth import outlines
from lspipe.machine import check_folder

if TYPE_CHECKING:
    from pathlib import Path

SEED = 2022
"""Seed of the shipped demo; the demo model was trained on other seeds only."""

NEW = 15
"""Landslides between the dates; the last one is hidden under a cloud."""

WORKFLOWS = ("demo.yaml", "pair.yaml", "l1c.yaml")
"""Workflows of the archive, the main one first."""


def write_archive(folder: Path, *, seed: int = SEED) -> Path:
    """Write the simulated archive.

    Args:
        folder: made if absent; files of the same name are overwritten. Holds afterwards
            `items/*.json` (STAC, addresses relative to the file), `assets/<item>/*.tif` (COGs),
            `dem.tif` (heights), `truth.geojson` (outlines of the planted new landslides only,
            EPSG:4326) and the workflows to run, `demo.yaml` first of all. About 40 MB.
        seed: the same seed writes the same bytes.

    Returns:
        Path of the workflow, `folder/demo.yaml`.

    Raises:
        UsageError: the folder cannot be written to.
    """
    check_folder(folder)
    landscape = simulate(SHAPE, seed=seed, new=NEW, anchors=ANCHORS)
    write_scenes(folder, landscape, seed=seed)
    write_radar(folder, landscape, seed=seed)
    write_dem(folder, landscape.elevation, seed=seed)
    write_json(folder / "truth.geojson", outlines(landscape.new))
    for name in WORKFLOWS:
        (folder / name).write_text(workflow_text(name), encoding="utf-8")
    return folder / WORKFLOWS[0]


def workflow_text(name: str = WORKFLOWS[0]) -> str:
    """Text of a workflow of the demo, with paths relative to the archive's folder."""
    return files("lspipe.demo").joinpath(name).read_text(encoding="utf-8")
