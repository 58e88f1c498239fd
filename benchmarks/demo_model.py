"""How well does a tiny U-Net, trained on simulated valleys, do on simulated valleys it never saw?

Trains the model of the demo and packs it into `lspipe/models/shipped/`:

    python benchmarks/demo_model.py            train, score, pack
    python benchmarks/demo_model.py --score    score the packed model only

Training seeds, held-out seeds and the demo's own seed have none in common. The scores say that the
demo works; they say nothing about real scenes.

Result, 2026-11-20, 2 cores of a busy shared machine: trained in 220 s of processor time; six unseen
valleys: 72 of 84 planted landslides found (the others are masked on one date or both), 76 of
85 listed ones right. The demo's own archive through `lspipe run`: 14 of 14 found, 14 of 15 right.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import torch
import xarray as xr
from affine import Affine
from scipy import ndimage

import lspipe.models
from lspipe.change.compare import compare
from lspipe.change.inventory import delineate
from lspipe.demo.archive import SEED
from lspipe.demo.grid import EPSG, NORTH, WEST
from lspipe.demo.landscape import Cover, Landscape, simulate
from lspipe.demo.scene import FINE_BANDS, Scene, Sky, see
from lspipe.demo.truth import outlines
from lspipe.evaluate.truth import ListScore, score_list
from lspipe.inference.detect import detect
from lspipe.models.item import SHIPPED_FOLDER, Scaling
from lspipe.models.pack import pack
from lspipe.preprocess import MaskSpec, dilate, quality_of
from lspipe.train import IGNORED, TrainSpec, fit

TRAINING_SEEDS = range(100, 118)
HELD_OUT_SEEDS = range(200, 206)
SHAPE = (640, 700)
WINDOW = 64
BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
# Reflectance 0.125 becomes 0 and 0.375 becomes 1: land fills -0.5..1, cloud and snow reach 2.
SCALING = Scaling(kind="affine", scale=(4.0,) * 6, offset=(-0.5,) * 6, clip=(-1.0, 2.0))
ARCHITECTURE = {"filters": 4}
FIELDS = {
    "id": "demo",
    "architecture": "ghorb-unet",
    "arguments": ARCHITECTURE,
    "bands": BANDS,
    "window": WINDOW,
    "overlap": 0.5,
    "tta": "d4",
    "tta_merge": "max",
    "tta_order": "average-then-max",
    "scaling": SCALING,
    "fill": 0,
    "threshold": 0.5,
    "classes": ("background", "landslide"),
    "description": (
        "For the demo of lspipe only. A small U-Net that marks landslide scars in the simulated "
        "Sentinel-2 scenes that `lspipe demo` writes. It was trained by benchmarks/demo_model.py "
        "on scenes of the same simulator with other seeds, and has never seen a real scene."
    ),
    "not_for": (
        "Not for real scenes: what it finds there means nothing. Not a baseline to compare other "
        "models with. Its scores on simulated scenes are no evidence of skill."
    ),
}


def random_sky(rng: np.random.Generator) -> Sky:
    return Sky(
        sun_azimuth=rng.uniform(48, 68),
        sun_elevation=rng.uniform(43, 56),
        cloud_share=rng.uniform(0.005, 0.1),
        haze=rng.uniform(0.5, 1.8),
        shift_px=(rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3)),
    )


def reflectance(scene: Scene) -> np.ndarray:
    """Bands of the model on the 10 m grid, as a loader would return them: (band, y, x) float32."""
    fine = []
    for name in BANDS:
        band = scene.bands[name]
        if name not in FINE_BANDS:
            # Pixel-is-area bilinear, as the warper of GDAL.
            band = ndimage.zoom(band, 2, order=1, mode="nearest", grid_mode=True)
        fine.append(band)
    return np.stack(fine)


def masked(scene: Scene) -> np.ndarray:
    spec = MaskSpec()
    scl = np.kron(scene.scl, np.ones((2, 2), np.uint8))
    return dilate(quality_of(scl, spec.scl), spec.dilate_px) != 0


def scars(landscape: Landscape, date: int) -> np.ndarray:
    found = np.zeros(landscape.elevation.shape, bool)
    for slide in landscape.slides(date):
        found[slide.window] |= slide.pixels
    return found


def training_windows() -> tuple[np.ndarray, np.ndarray]:
    windows, labels = [], []
    for seed in TRAINING_SEEDS:
        landscape = simulate(SHAPE, seed=seed, new=22, old=10)
        for date in (0, 1):
            rng = np.random.default_rng((seed, date))
            scene = see(landscape, date, random_sky(rng), seed=seed * 10 + date)
            pixels = reflectance(scene)
            pixels = np.clip(pixels * SCALING.scale[0] + SCALING.offset[0], *SCALING.clip)
            truth = scars(landscape, date).astype(np.uint8)
            truth[masked(scene)] = IGNORED
            # Near every scar, on as many fields, which look most like scars, and anywhere.
            centres = [
                [(span.start + span.stop) // 2 + rng.integers(-24, 25) for span in slide.window]
                for slide in landscape.slides(date)
            ]
            fields = np.argwhere(np.isin(landscape.covers[date], (Cover.SOIL, Cover.STUBBLE)))
            centres += fields[rng.integers(0, len(fields), 24)].tolist()
            centres += [[rng.integers(0, edge) for edge in SHAPE] for _ in range(20)]
            for centre in centres:
                rows, columns = (
                    slice(start := int(np.clip(c - WINDOW // 2, 0, edge - WINDOW)), start + WINDOW)
                    for c, edge in zip(centre, SHAPE, strict=True)
                )
                windows.append(pixels[:, rows, columns])
                labels.append(truth[rows, columns])
    return np.stack(windows).astype(np.float32), np.stack(labels)


def train() -> torch.nn.Module:
    started = time.perf_counter()
    windows, labels = training_windows()
    print(f"{len(windows)} windows, {np.mean(labels == 1):.2%} scar", flush=True)
    torch.manual_seed(0)
    network = lspipe.models.build("ghorb-unet", len(BANDS), **ARCHITECTURE)
    spec = TrainSpec(epochs=18, batch_size=32, learning_rate=2e-3)
    fit(
        network,
        windows,
        labels,
        spec,
        on_epoch=lambda done: print(f"epoch {done.epoch}: loss {done.loss:.4f}", flush=True),
    )
    print(f"trained in {time.perf_counter() - started:.0f} s", flush=True)
    return network


def score_seed(seed: int, item: Path) -> tuple[ListScore, float]:
    """Both dates of one unseen valley through detect, compare, delineate."""
    landscape = simulate(SHAPE, seed=seed)
    transform = Affine(10, 0, WEST, 0, -10, NORTH)
    started = time.perf_counter()
    maps = []
    for date in (0, 1):
        rng = np.random.default_rng((seed, date))
        sky = random_sky(rng)
        scene = see(landscape, date, sky, seed=seed * 10 + date)
        cube = xr.DataArray(
            np.rint(reflectance(scene) * 1e4).astype(np.int16), dims=("band", "y", "x")
        ).assign_coords(band=list(BANDS))
        mask = xr.DataArray(masked(scene), dims=("y", "x"))
        found = detect(cube, str(item), mask=mask, window=WINDOW, stride=WINDOW // 2)
        found = found.rio.write_crs(EPSG).rio.write_transform(transform)
        rows, columns = np.arange(SHAPE[0]), np.arange(SHAPE[1])
        maps.append(found.assign_coords(x=WEST + 10 * columns + 5, y=NORTH - 10 * rows - 5))
    inventory = delineate(compare(*maps), min_area_m2=900)
    seconds = time.perf_counter() - started
    truth = gpd.GeoDataFrame.from_features(outlines(landscape.new), crs=4326)
    return score_list(inventory, truth), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--score", action="store_true", help="score the packed model only")
    parser.add_argument("--folder", type=Path, default=SHIPPED_FOLDER)
    asked = parser.parse_args()
    assert SEED not in {*TRAINING_SEEDS, *HELD_OUT_SEEDS}
    # One thread: the same weights on every machine of one kind, however busy it is.
    torch.set_num_threads(1)
    item = asked.folder / "demo.json"
    if not asked.score:
        item = pack(train(), asked.folder, item_fields=FIELDS)
        print(item, item.with_suffix(".safetensors").stat().st_size, "bytes")
    total = np.zeros(4, int)
    for seed in HELD_OUT_SEEDS:
        counts, seconds = score_seed(seed, item)
        total += counts[:4]
        print(f"seed {seed}: {counts}, {seconds:.0f} s", flush=True)
    found, planted, right, listed = total
    print(f"found {found}/{planted} ({found / planted:.0%}), right {right}/{listed}", flush=True)


if __name__ == "__main__":
    main()
