"""What does a processor do of a block, beside reading its files and running the network?

    python benchmarks/stages.py            a block of a whole tile; about a minute

One block of 3660 px with the halo of windows of 224 px, ten bands of noise on hills, a tenth of it
masked. Processor time, the least of the rounds:

    pictures    true colour and NDVI; the task that reads makes them
    gaps        which pixels have no data in a band; the task that reads
    preparing   which pixels were observed, which windows are needed; in the slot, before a GPU
                has anything to do
    writing     codes, bits, and the stores on the disk at hand; the task that writes

Expected before it was run: pictures and writing 1.5 s together, as 11 to 17 s of a tile were
measured earlier; gaps 0.2 s, preparing 0.1 s, which is half of what the network takes of a block
where a GPU needs 2 s for a tile.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from harness import describe, machine, write_result
from odc.geo.geobox import GeoBox

from lspipe.cube import evidence
from lspipe.inference import windows
from lspipe.inference.block import needed_windows
from lspipe.inference.observed import observed
from lspipe.inference.reference import ModelReference
from lspipe.inference.settings import Setting
from lspipe.runs import store
from lspipe.runs.jobs import Inferred, StepJob
from lspipe.runs.writing import write
from lspipe.schema import relative

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lspipe.inference.windows import Block

TILE, SIZE, BLOCK = "18GYS", 10980, 3660
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SETTING = Setting(window=224, stride=22)


def hills(shape: tuple[int, int], generator: np.random.Generator) -> NDArray[np.int16]:
    """Return a band that compresses about as little as a real one."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    ground = 1500 + 800 * np.sin(rows / 90) * np.cos(columns / 70)
    return (ground + generator.normal(0, 60, shape)).astype(np.int16)


def made_up(block: Block) -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.float32]]:
    """Return pixels and mask of the outer extent, and a probability of the core."""
    generator = np.random.default_rng(0)
    shape = tuple(part.stop - part.start for part in block.outer)
    pixels = np.stack([hills(shape, generator) for _ in BANDS])
    mask = hills(shape, generator) > 2200
    within = relative(block.core, (block.outer[0].start, block.outer[1].start))
    probability = np.abs(pixels[0][within] / np.float32(5000)) ** 3
    probability[mask[within]] = np.nan
    return pixels, mask, probability


def stages(run: Path) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    block = list(windows.blocks((SIZE, SIZE), BLOCK, SETTING.halo))[4]
    pixels, mask, probability = made_up(block)
    within = relative(block.core, (block.outer[0].start, block.outer[1].start))
    core = {name: pixels[BANDS.index(name)][within] for name in evidence.BANDS}

    def pictures() -> dict[str, NDArray[np.generic]]:
        return {
            "true_colour": evidence.true_colour(core),
            "ndvi": evidence.ndvi(core["B04"], core["B08"]),
        }

    has_data = observed(pixels)

    def preparing() -> None:
        seen = has_data & ~mask
        needed_windows(seen[within], block.core, (SIZE, SIZE), SETTING)
        has_data.all()

    plain = np.full(probability.shape, 4, np.uint8)
    found = Inferred(
        probability,
        None,
        np.where(np.isnan(probability), 8, 0).astype(np.uint8),
        {"scl": plain, "acquired": plain.astype(np.uint16), **pictures()},
        inside=None,
        lacking=None,
        disputed=None,
        doubt=None,
        spared=None,
        is_more=False,
        windows=(0, 0),
        inputs=None,
        seconds=0.0,
        worker="",
    )
    job = _job(run)
    return {
        "pictures": pictures,
        "gaps": lambda: observed(pixels),
        "preparing": preparing,
        "writing": lambda: write(found, block=block, job=job),
    }


def _job(run: Path) -> StepJob:
    geobox = GeoBox((SIZE, SIZE), Affine(10, 0, 699960, 0, -10, 5200020), "EPSG:32718")
    grid = store.Grid(TILE, geobox, (0,), ("after",), 610, BLOCK, (3, 3))
    store.create(run, [grid], fingerprint="none")
    return StepJob(
        run=run,
        tile=TILE,
        step=0,
        tile_shape=(SIZE, SIZE),
        model=ModelReference("", "", "", "cpu", "fp32", "eager"),
        setting=SETTING,
        tile_range=None,
        fill_masked=False,
        threads=1,
    )


def main() -> None:
    """Time each stage in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lspipe-stages-") as folder:
        every = stages(Path(folder))
        took = {name: float("inf") for name in every}
        for _ in range(asked.rounds):
            for name, work in every.items():
                began = time.process_time()
                work()
                took[name] = min(took[name], time.process_time() - began)
    print(describe(machine()))
    for name, seconds in took.items():
        print(f"{name:10} {seconds:6.2f} s of a block, {9 * seconds:5.1f} s of a tile")
    write_result("stages", {"seconds": {name: round(one, 3) for name, one in took.items()}})


if __name__ == "__main__":
    main()
