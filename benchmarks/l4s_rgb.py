"""How well does `shipped:l4s-rgb`, trained on 1197 labelled colour patches, do on 339 others?

    python benchmarks/l4s_rgb.py --data FOLDER             train, choose a threshold, score, pack
    python benchmarks/l4s_rgb.py --data FOLDER --score     score the packed model only

FOLDER is that of the test data (`l4s_rgb/`, `s2_l2a_pair_inn_2021/`, `s2_l1c_mol_20190411/`).

Trained on the patches of `l4s_rgb/train`, and on windows of two landslide-free places, whose fields,
roofs, river bars and clouds are what such a model takes for landslides: the west of the Inn pair
(both dates) and the west of the Mol scene. The best epoch and the threshold are chosen on
`l4s_rgb/validation`, so that its scores there are a little too good; no other label was looked at.
False positives are counted on the east of both places, which was not trained on.

The same data, number of threads and processor give the same weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from harness import make_torchvision_importable

from lspipe.recipes import DN_PER_REFLECTANCE, recipe_of
from lspipe.samples import Samples, joined, pictures
from lspipe.train import TrainSpec
from lspipe.train.course import Course, train

RECIPE = recipe_of("l4s-rgb")
WINDOW = 128

INN_DATES = {"2021-06-17": (1, 2, 3), "2021-09-25": (5, 6, 7)}
"""Bands of its file: red, green and blue of each date."""

INN_WEST, MOL_WEST = 256, 512
"""Columns that are trained on, of 578 and of 1024."""

NEGATIVE_STRIDE = {"inn": 32, "mol": 64}

SPEC = TrainSpec(
    epochs=30, batch_size=16, learning_rate=2e-3, schedule="cosine", loss="bce-dice",
    augmentation="d4", gain=0.1, watch="f1", seed=1,
)  # fmt: skip

COURSE = Course(
    id="l4s-rgb",
    architecture="ghorb-resunet",
    arguments={"filters": 24},
    recipe="l4s-rgb",
    spec=SPEC,
)


def inn(data: Path) -> dict[str, np.ndarray]:
    """Digital numbers of each date, (red green blue, y, x), baseline before 04.00."""
    with rasterio.open(data / "s2_l2a_pair_inn_2021" / "inference-img.tif") as file:
        return {date: file.read(bands) for date, bands in INN_DATES.items()}


def mol(data: Path) -> np.ndarray:
    """Digital numbers (red green blue, y, x) of a scene of 2019, top of atmosphere."""
    folder = data / "s2_l1c_mol_20190411"
    bands = []
    for name in ("B04", "B03", "B02"):
        with rasterio.open(folder / f"ref_input_S2_{name}.tif") as file:
            bands.append(file.read(1))
    return np.stack(bands)


def as_picture(numbers: np.ndarray) -> np.ndarray:
    """Digital numbers of a window in model units, in 256 steps as the pictures have them."""
    scale = np.array(RECIPE.scaling.scale, np.float32)[:, None, None] / DN_PER_REFLECTANCE
    relative = numbers * scale
    return np.rint(relative / relative.max() * 255).astype(np.float32) / 255


def negatives(scene: np.ndarray, west: int, stride: int, source: str) -> Samples:
    """Windows of the west of a landslide-free scene."""
    rows, columns = (range(0, edge - WINDOW + 1, stride) for edge in (scene.shape[1], west))
    corners = {f"r{row}c{column}": (row, column) for row in rows for column in columns}

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        row, column = corners[name]
        window = scene[:, row : row + WINDOW, column : column + WINDOW]
        return as_picture(window), np.zeros((WINDOW, WINDOW), np.uint8)

    return Samples(source, RECIPE, tuple(corners), read)


def training_samples(data: Path) -> Samples:
    parts = {"l4s": pictures.folder(data / "l4s_rgb" / "train")}
    for date, scene in inn(data).items():
        parts[f"inn-{date}"] = negatives(scene, INN_WEST, NEGATIVE_STRIDE["inn"], "Inn, west")
    parts["mol"] = negatives(mol(data), MOL_WEST, NEGATIVE_STRIDE["mol"], "Mol, west")
    return joined(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/l4s-rgb"))
    parser.add_argument("--epochs", type=int, default=SPEC.epochs)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    make_torchvision_importable()
    torch.set_num_threads(options.threads)
    samples = training_samples(options.data)
    print(len(samples), "windows")
    started = time.perf_counter()
    trained = train(
        COURSE,
        samples,
        pictures.folder(options.data / "l4s_rgb" / "validation"),
        options.folder,
        on_epoch=lambda epoch: print(epoch, flush=True),
    )
    print(f"trained in {time.perf_counter() - started:.0f} s: {trained.item}")


if __name__ == "__main__":
    main()
