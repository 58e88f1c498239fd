"""A simulated valley to a small Sentinel-2 archive: COGs, STAC items, true landslides, a workflow.

Two MGRS tiles of UTM zone 18 south, each cut to a few kilometres, that overlap by 1 km. What real
archives are known for is in it: 10 and 20 m bands, a swath edge, clouds and shadows, a cloudier
scene beside a clear one, and processing baselines on both sides of 04.00.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.shutil
from rasterio.io import MemoryFile

from lspipe.demo.grid import ANCHORS, EPSG, SHAPE, TILES, Cut
from lspipe.demo.items import Pass, beyond_edge, describe, item_id
from lspipe.demo.landscape import PIXEL_M, simulate
from lspipe.demo.scene import BANDS, FINE_BANDS, Scene, Sky, see
from lspipe.demo.truth import outlines
from lspipe.machine import check_folder
from lspipe.schema import REFLECTANCE_SCALE, SCL_CLASSES

if TYPE_CHECKING:
    from pathlib import Path

    from affine import Affine
    from numpy.typing import NDArray

    from lspipe.demo.landscape import Landscape
    from lspipe.schema import Part

SEED = 2022
"""Seed of the shipped demo; the demo model was trained on other seeds only."""

PASSES = (
    Pass(
        time=datetime.fromisoformat("2021-02-04T14:37:31+00:00"),
        date=0,
        platform="Sentinel-2A",
        baseline="02.14",
        sky=Sky(cloud_share=0.012),
        edge=("18GYT", 70, 210),
    ),
    Pass(
        time=datetime.fromisoformat("2022-02-09T14:37:39+00:00"),
        date=1,
        platform="Sentinel-2A",
        baseline="04.00",
        sky=Sky(sun_azimuth=56.5, sun_elevation=49, cloud_share=0.015, shift_px=(0.2, -0.15)),
    ),
    Pass(
        time=datetime.fromisoformat("2022-02-14T14:37:35+00:00"),
        date=1,
        platform="Sentinel-2B",
        baseline="04.00",
        sky=Sky(sun_azimuth=55.5, sun_elevation=47.5, cloud_share=0.35, haze=1.8),
    ),
)


def write_archive(folder: Path, *, seed: int = SEED) -> Path:
    """Write the simulated archive.

    Args:
        folder: made if absent; files of the same name are overwritten. Holds afterwards
            `items/*.json` (STAC, addresses relative to the file), `assets/<item>/*.tif` (COGs),
            `truth.geojson` (outlines of the planted new landslides only, EPSG:4326) and
            `demo.yaml` (the workflow to run). About 30 MB.
        seed: the same seed writes the same bytes.

    Returns:
        Path of the workflow, `folder/demo.yaml`.

    Raises:
        UsageError: the folder cannot be written to.
    """
    check_folder(folder)
    landscape = simulate(SHAPE, seed=seed, anchors=ANCHORS)
    (folder / "items").mkdir(parents=True, exist_ok=True)
    for number, overflight in enumerate(PASSES):
        sky = _hide_one(landscape, overflight)
        scene = see(landscape, overflight.date, sky, seed=seed + 1000 * (number + 1))
        for cut in TILES:
            rng = np.random.default_rng((seed, number, int(cut.rows.start)))
            _write_item(folder, overflight, cut, scene, rng)
    _write_json(folder / "truth.geojson", outlines(landscape.new))
    workflow = folder / "demo.yaml"
    workflow.write_text(workflow_text(), encoding="utf-8")
    return workflow


def workflow_text() -> str:
    """Text of the demo's workflow, with paths relative to the archive's folder."""
    return files("lspipe.demo").joinpath("demo.yaml").read_text(encoding="utf-8")


def _hide_one(landscape: Landscape, overflight: Pass) -> Sky:
    """Put a cloud over the lower half of one new landslide on the date that shows it."""
    if not overflight.date:
        return overflight.sky
    largest = max(landscape.new[len(ANCHORS) :], key=lambda slide: int(slide.pixels.sum()))
    rows, columns = (axis.astype(float) for axis in np.nonzero(largest.pixels))
    # Shares of the extent, away from the middle: half of it stays in sight.
    row = largest.window[0].start + float(np.quantile(rows, 0.95))
    column = largest.window[1].start + float(np.quantile(columns, 0.95))
    return replace(overflight.sky, clouds_over=((row, column, 9.0),))


def _write_item(
    folder: Path, overflight: Pass, cut: Cut, scene: Scene, rng: np.random.Generator
) -> None:
    """Write the COGs of one tile of one overflight, then its item."""
    name = item_id(overflight, cut)
    (folder / "assets" / name).mkdir(parents=True, exist_ok=True)
    offset = 1000 if overflight.baseline >= "04.00" else 0
    for band in BANDS:
        metres = 10 if band in FINE_BANDS else 20
        signal = scene.bands[band][_window(cut, metres)] / REFLECTANCE_SCALE + offset
        # 3 DN: each tile is resampled and compressed on its own, so overlaps differ a little.
        numbers = np.rint(signal + 3 * rng.standard_normal(signal.shape))
        numbers = np.clip(numbers, 1, 32767).astype(np.uint16)
        numbers[beyond_edge(overflight, cut, metres)] = 0
        _write_cog(folder / "assets" / name / f"{band}.tif", numbers, cut.grid(metres)[1])
    scl = scene.scl[_window(cut, 20)].copy()
    scl[beyond_edge(overflight, cut, 20)] = SCL_CLASSES["nodata"]
    _write_cog(folder / "assets" / name / "SCL.tif", scl, cut.grid(20)[1])
    _write_json(folder / "items" / f"{name}.json", describe(overflight, cut, scl))


def _window(cut: Cut, metres: int) -> Part:
    step = metres // int(PIXEL_M)
    rows, columns = cut.rows, cut.columns
    return (
        slice(rows.start // step, rows.stop // step),
        slice(columns.start // step, columns.stop // step),
    )


def _write_cog(path: Path, pixels: NDArray[Any], transform: Affine) -> None:
    profile = {
        "driver": "GTiff", "height": pixels.shape[0], "width": pixels.shape[1], "count": 1,
        "dtype": pixels.dtype, "crs": f"EPSG:{EPSG}", "transform": transform, "nodata": 0,
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
                overview_resampling="NEAREST" if is_classes else "AVERAGE",
            )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
