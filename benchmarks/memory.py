"""How much memory does a whole tile take, and does it grow with the area?

    python benchmarks/memory.py            4096, 10980 and 21960 px, about 10 minutes; needs 16 GiB
    python benchmarks/memory.py --composites   a block of a run, read from files; about 3 minutes
    python benchmarks/memory.py --quick    seconds, small arrays: only whether it works

Peak resident memory, each side in a process of its own, over ten bands of random reflectance and
the cheapest of networks (one weight per band, a sigmoid), windows of 224, stride 224, one view:

    MONAI              `sliding_window_inference`, constant, on the array in memory as float32: its
                       sums have the dtype of its input, so int16 would round them away
    detect, NumPy      `lspipe.detect` on the same array in memory, as int16 as it is read
    detect, lazy       `lspipe.detect` on a dask array of 3660 px chunks that are made when they are
                       asked for, two threads, written block by block to a Zarr array on disk
    blocks             `run_block` over the same blocks, each made with its own halo: what a block
                       itself takes, without chunks that wait to lend their rims

"peak" is all of the process, with the array where there is one; "above" is what the work added to
the imports and the array. Windows do not overlap, as that would only take longer: what is held
depends on pixels, not on how many windows lie over them. ttach's views of one batch of windows add
nothing to MONAI's peak, and are left out for the same reason.

Targets: the peak of detect, lazy, is at most half of MONAI's on a full tile (10980 px), and the
same at four times the area (21960 px, and four tiles in a row). A run never meets the second in one
graph: its graphs are of one tile and date, so that more area is more graphs. Within a graph a chunk
waits until its neighbours have lent their rims. So detect, lazy, holds a line of chunks along the
shorter side and a part of the next, whatever the length of the other one. In a square of four tiles
a line is twice as long. To hold less, pixels would have to be read again, as in a run.

Result, 2026-12-01, AMD EPYC, peak in MiB (above what was there before):

                        4096 px        10980 px        21960 px    4 x 10980 px in a row
    MONAI             1328 (227)     6086 (1025)
    detect, NumPy      940 (318)     4019 (1417)
    detect, lazy      1087 (752)     2883 (2549)         x 1.45                   x 1.11
    blocks             870 (560)     1398 (1088)    1399 (1089)

So detect, lazy, peaks at 0.47 of MONAI (0.45 to 0.48 in four runs), 0.31 with chunks of 1830 px
(`--block 1830`: 1864 and 1901 MiB, 2921 in a square of four tiles). A block takes the same whatever
the area: 0.23 of MONAI's peak on a full tile. Averaging sums in strips of 512 rows took `detect,
NumPy` at 4096 px from 374 to 301 MiB above the array.

How it came to this: until then `detect` called dask's `map_overlap`: 4822 MiB on a full tile (0.80
of MONAI's) and 5900 on four; with chunks of 1830 px 2097 and 4543. dask lends rims as views, each
of which keeps all of its chunk. It joins a block and its rims into one more array. And its order of
tasks reads all nine chunks of a tile before the first block is computed: a computation ends in one
task that needs all blocks, and the block with most neighbours comes first. Rims that are copied,
alone: 3300 (0.55). These and a place for them in the array of a chunk, in dask's order: 3103 to
3763, and with chunks of 1830 px 3031 and 8640, more than before. What was missing is the order
(`_weights` in lspipe/inference/map_overlap.py): 2877 to 3111, and with views for those neighbours
that are computed earlier 2766 to 2911. Expected of all: 2700 to 2900. A chain of tasks gives the
same order, 2783 to 2995, but then a slice of the map reads all chunks before it, and a chunk that
is late holds up all blocks.

Composites (`--composites`): a block of 3660 px with its halo, ten bands, read from files as a
worker reads it. Bound: each acquisition of a median holds `bytes_of_acquisition` per pixel, 345 MiB
here, beside two copies of one; `each` takes what one acquisition takes. Processor time in brackets.
Expected of sorting whole layers in strips: half a second an acquisition instead of several, and
nothing held but the acquisitions. 2026-11-30, AMD EPYC, above what was there, MiB:

                        before              strips
    latest              753  (3.5 s)        721  (3.5 s)
    each of 6           760  (3.6 s)        753  (3.3 s)
    median of 2        1573 (18.7 s)       1069  (7.1 s)
    median of 4        2446 (25.9 s)       1769 (13.4 s)
    median of 8        4206 (39.4 s)       3128 (29.4 s)

So a median takes what its files take to be read, and stays within the bound. A plan, which had
counted one acquisition, counts all of them now.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from harness import BANDS, describe, machine, peak_memory, random_pixels, write_result

from lspipe.inference import windows
from lspipe.inference.block import run_block
from lspipe.inference.detect import detect
from lspipe.inference.runtimes import from_callable, use_threads
from lspipe.inference.settings import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WINDOW = 224
THREADS = 2
"""Blocks computed at a time by detect, lazy; torch threads of the others."""

TILE, BLOCK = 10980, 3660
CHUNK = 610
"""Of the Zarr array, pixels; as in a run, it divides the block."""

IN_BLOCKS = ("by_detect_lazily", "by_blocks")
"""Sides whose memory must not grow with the area."""

GROWTH = 1.1
"""At four times the area a peak within this factor counts as the same."""


def cheapest() -> torch.nn.Module:
    """A convolution of 1 x 1 and a sigmoid, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(BANDS, 1, 1), torch.nn.Sigmoid())
    return net.eval().requires_grad_(False)


def settings(window: int) -> dict[str, Any]:
    return {"window": window, "stride": window, "tta": "none", "device": "cpu"}


# --- the work of each process: prepared, then returned as a callable ---


def by_monai(size: int, window: int) -> Callable[[], float]:
    from monai.inferers import sliding_window_inference

    use_threads(THREADS)
    net, pixels = cheapest(), torch.from_numpy(random_pixels((BANDS, size, size)))[None]

    def work() -> float:
        with torch.inference_mode():
            found = sliding_window_inference(
                pixels, (window, window), 8, net, overlap=0, mode="constant"
            )
        return float(found[0, 0, -1, -1])

    return work


def by_detect(size: int, window: int) -> Callable[[], float]:
    use_threads(THREADS)
    net = cheapest()
    pixels = random_pixels((BANDS, size, size), dtype=np.int16)

    def work() -> float:
        found = detect(xr.DataArray(pixels, dims=("band", "y", "x")), net, **settings(window))
        return float(found[-1, -1])

    return work


def by_detect_lazily(
    size: int, window: int, block: int, folder: str, tiles: int = 1
) -> Callable[[], float]:
    import dask
    import dask.array

    use_threads(1)
    net, target = cheapest(), _target((size, tiles * size), block, folder)

    def made(block_id: tuple[int, int, int]) -> NDArray[np.int16]:
        rows, columns = edges[0][block_id[1]], edges[1][block_id[2]]
        return random_pixels((BANDS, rows, columns), dtype=np.int16, seed=hash(block_id) % 2**32)

    edges = [
        tuple(min(block, length - start) for start in range(0, length, block))
        for length in (size, tiles * size)
    ]

    def work() -> float:
        pixels = dask.array.map_blocks(made, chunks=((BANDS,), *edges), dtype=np.int16)
        found = detect(xr.DataArray(pixels, dims=("band", "y", "x")), net, **settings(window))
        with dask.config.set(scheduler="threads", num_workers=THREADS):
            dask.array.store(found.data, target, lock=False)
        return float(np.asarray(target[-1, -1]))

    return work


def by_blocks(size: int, window: int, block: int, folder: str) -> Callable[[], float]:
    use_threads(1)
    runtime = from_callable(cheapest(), device="cpu", precision="fp32")
    setting = Setting(window=window, stride=window, tta="none")
    target = _target((size, size), block, folder)

    def answer(one: windows.Block) -> None:
        rows, columns = (part.stop - part.start for part in one.outer)
        target[one.core] = run_block(
            random_pixels((BANDS, rows, columns), dtype=np.int16, seed=sum(one.index)),
            origin=(one.outer[0].start, one.outer[1].start),
            tile_shape=(size, size),
            core=one.core,
            runtime=runtime,
            setting=setting,
        )

    def work() -> float:
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(answer, windows.blocks((size, size), block, window - 1)):
                pass
        return float(np.asarray(target[-1, -1]))

    return work


def by_composite(folder: str, composite: str, scenes: int, projected: str) -> Callable[[], int]:
    """Read the block in the middle of a tile as a worker does; what a plan projects of it, too."""
    import reading

    from lspipe.runs import memory
    from lspipe.runs.plan import cube_of_step
    from lspipe.runs.worker import read_block

    days = [f"2018-01-{day:02}" for day in range(1, scenes + 1)]
    plan = reading.planned(Path(projected), reading.Case(), folder, days, composite)
    tile = plan.tiles[0]
    source = cube_of_step(tile, tile.steps[0], plan.workflow)
    block = tile.blocks[-1]
    assert len(tile.steps) == (scenes if composite == "each" else 1)

    def work() -> int:
        read_block(source, block, tile.channels)
        return memory.peak_bytes(tile, plan)

    return work


def _target(shape: tuple[int, int], block: int, folder: str) -> Any:
    """An empty map on disk, whose chunks divide a block."""
    import zarr

    chunk = CHUNK if block % CHUNK == 0 else block
    return zarr.create_array(
        folder, shape=shape, chunks=(chunk, chunk), dtype="f4", fill_value=np.nan
    )


# --- the comparison ---


def measured(side: str, size: int, window: int, block: int, tiles: int = 1) -> dict[str, Any]:
    """Peak memory of one side at one size, or of squares of that size in a row, as a line."""
    arguments: dict[str, Any] = {"size": size, "window": window}
    if tiles > 1:
        arguments["tiles"] = tiles
    with tempfile.TemporaryDirectory() as folder:
        if side in IN_BLOCKS:
            arguments |= {"block": block, "folder": str(Path(folder) / "map.zarr")}
        facts = peak_memory(f"memory:{side}", **arguments)
    name = side.replace("by_", "")
    print(
        f"{name:16} {tiles} x {size:6} px: peak {facts['peak'] / 2**20:7.0f} MiB, "
        f"above {facts['above'] / 2**20:7.0f} MiB, {facts['wall']:5.0f} s",
        flush=True,
    )
    return facts


COMPOSITES = (("latest", 1), ("each", 6), ("median", 2), ("median", 4), ("median", 8))


def composites() -> dict[str, Any]:
    """What a block takes to be read, by composite and number of acquisitions, printed as lines."""
    import reading

    facts = {}
    with tempfile.TemporaryDirectory(prefix="lspipe-memory-") as name:
        reading.write_files(Path(name), reading.Case())
        for composite, scenes in COMPOSITES:
            with tempfile.TemporaryDirectory(prefix="lspipe-memory-") as folder:
                arguments = {"composite": composite, "scenes": scenes, "projected": folder}
                found = peak_memory("memory:by_composite", folder=name, threads=1, **arguments)
            facts[f"{composite} {scenes}"] = found
            print(
                f"{composite:7} of {scenes}: above {found['above'] / 2**20:6.0f} MiB, projected of "
                f"a worker {found['result'] / 2**20:6.0f} MiB, {found['cpu']:5.1f} s",
                flush=True,
            )
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small arrays")
    parser.add_argument("--block", type=int, default=BLOCK, help="edge of a block, pixels")
    parser.add_argument("--composites", action="store_true", help="of several acquisitions")
    options = parser.parse_args()
    print(describe(machine()))
    if options.composites:
        print(f"written to {write_result('memory-composites', composites())}")
        return
    window, block = (32, 256) if options.quick else (WINDOW, options.block)
    tile, four = (768, 1536) if options.quick else (TILE, 2 * TILE)
    facts: dict[str, dict[str, Any]] = {
        f"{side} {size}": measured(side, size, window, block)
        for size in ([tile] if options.quick else [4096, tile])
        for side in ("by_monai", "by_detect", *IN_BLOCKS)
    }
    result: dict[str, Any] = {"window": window, "block": block, "sides": facts}
    for side in IN_BLOCKS:
        facts[f"{side} {four}"] = measured(side, four, window, block)
        one, more = (facts[f"{side} {size}"]["peak"] for size in (tile, four))
        share, growth = one / facts[f"by_monai {tile}"]["peak"], more / one
        result[side] = {"share_of_monai": share, "growth_at_4_areas": growth}
        print(
            f"{side}: {share:.2f} of MONAI's peak at {tile} px (target <= 0.50), at four times the "
            f"area x {growth:.2f} (target 1, within {GROWTH})"
        )
    row = measured("by_detect_lazily", tile, window, block, tiles=4)
    facts[f"by_detect_lazily 4 x {tile}"] = row
    growth = row["peak"] / facts[f"by_detect_lazily {tile}"]["peak"]
    result["by_detect_lazily"]["growth_of_4_tiles_in_a_row"] = growth
    print(f"by_detect_lazily: four tiles in a row x {growth:.2f} (target 1, within {GROWTH})")
    if not options.quick:
        print(f"written to {write_result('memory', result)}")


if __name__ == "__main__":
    main()
