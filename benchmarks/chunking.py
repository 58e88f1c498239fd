"""What does cutting a tile into blocks cost, and does it change a bit?

    python benchmarks/chunking.py            about 2 minutes on one core
    python benchmarks/chunking.py --quick    few windows, one round: only whether it works

A block runs every lattice window that touches its core, so windows on a border between blocks are
run by each of them, and its halo of a window less a pixel is read again. Two parts:

    a full tile   10980 px, windows of 224, 90 % overlap: counted, nothing is run
    a seventh     1568 px, windows of 32, the same blocks over 7: run, timed, compared bit by bit

The second has the proportions of the first, half the overlap, and one view.

Targets: windows at most those of the halo bound (1.46, 1.22, 1.08 times those of the whole tile);
equal to the last bit.

Result, 2026-11-21, 2 cores of an AMD EPYC, one thread, another job on the other core: blocks of
1024, 2048, 3660 and 5490 px run 1.45, 1.22, 1.08 and 1.04 times the windows of the whole tile, the
halo bound, and read 1.98, 1.45, 1.17 and 1.08 times its pixels. On the seventh the bits are equal;
1.43 times the windows took 1.6 times as long (1.3 to 1.7), 1.19 times 1.3, 1.08 times 1.0 to 1.7,
which is the noise of a shared machine.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import (
    as_json,
    compare,
    describe,
    interleaved,
    machine,
    network,
    random_pixels,
    ready,
    table,
    write_result,
)

from lspipe.inference import windows
from lspipe.inference.block import run_block
from lspipe.inference.runtimes import use_threads
from lspipe.inference.settings import Setting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lspipe.inference.runtimes import Runtime

TILE = 10980
"""Rows and columns of a Sentinel-2 tile, pixels."""

PAPER = Setting(window=224, stride=22)
SMALL = Setting(window=32, stride=16, tta="none", batch_size=32)
SCALE = PAPER.window // SMALL.window

# Windows, and pixels read, over those of the whole tile (docs/performance.md, Blocks and halos).
BOUNDS = {1024: (1.46, 1.98), 2048: (1.22, 1.45), 3660: (1.08, 1.17), 5490: (1.04, 1.08)}


def cost(length: int, block: int, setting: Setting) -> tuple[int, int]:
    """Windows run and pixels read over a square tile in blocks."""
    shape, size = (length, length), setting.window
    run = read = 0
    for one in windows.blocks(shape, block, size - 1):
        rows, columns = (
            len(windows.windows_of(part, length, size, setting.stride)) for part in one.core
        )
        run += rows * columns
        height, width = (part.stop - part.start for part in one.outer)
        read += height * width
    return run, read


def count_tile() -> dict[str, Any]:
    """Print what blocks of a full tile cost, and hold it to the bounds."""
    whole, pixels = cost(TILE, TILE, PAPER)
    print(f"\n{TILE} px, windows of {PAPER.window}, stride {PAPER.stride}: {whole} windows")
    print(f"{'block':>6} {'windows':>8} {'bound':>6} {'read':>6} {'bound':>6}")
    found = {}
    for block, (most_windows, most_read) in BOUNDS.items():
        run, read = cost(TILE, block, PAPER)
        ratios = (round(run / whole, 2), round(read / pixels, 2))
        print(f"{block:6} {ratios[0]:8} {most_windows:6} {ratios[1]:6} {most_read:6}")
        assert ratios[0] <= most_windows, (block, ratios)
        found[block] = {"windows": ratios[0], "read": ratios[1], "bound": most_windows}
    return found


def in_blocks(
    runtime: Runtime, pixels: NDArray[np.float32], block: int, setting: Setting
) -> tuple[NDArray[np.float32], int]:
    """The map of an array, each block given its own pixels and halo only, and the windows run."""
    shape = (pixels.shape[1], pixels.shape[2])
    result = np.empty(shape, np.float32)
    run = 0

    def count(_needed: int, done: int) -> None:
        nonlocal run
        run += done

    for one in windows.blocks(shape, block, setting.halo):
        result[one.core] = run_block(
            pixels[:, *one.outer],
            origin=(one.outer[0].start, one.outer[1].start),
            tile_shape=shape,
            core=one.core,
            runtime=runtime,
            setting=setting,
            report=count,
        )
    return result, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few windows, one round")
    options = parser.parse_args()
    use_threads(1)
    print(describe(machine()))
    facts = count_tile()

    length, rounds = (TILE // SCALE, options.rounds) if not options.quick else (400, 1)
    runtime = ready(network("small"), ["eager fp32"])["eager fp32"]
    pixels = random_pixels((10, length, length))
    sizes = {"whole": length} | {f"block {block}": block // SCALE for block in list(BOUNDS)[:3]}
    answers: dict[str, tuple[NDArray[np.float32], int]] = {}

    def run(name: str) -> None:
        answers[name] = in_blocks(runtime, pixels, sizes[name], SMALL)

    print(f"\n{length} px, {SMALL}")
    in_blocks(runtime, pixels[:, :64, :64], 64, SMALL)  # what happens only once
    rows = compare(interleaved({name: partial(run, name) for name in sizes}, rounds), "whole")
    whole, count = answers["whole"]
    notes = {}
    for name, (found, windows_run) in answers.items():
        assert windows_run == cost(length, sizes[name], SMALL)[0], name
        assert found.tobytes() == whole.tobytes(), f"{name} differs from the whole array"
        notes[name] = f"{windows_run / count:.2f} x the windows, the same bits"
    print(table(rows, notes=notes))
    if not options.quick:
        facts = {"tile": facts, "seventh": as_json(rows), "notes": notes}
        print(f"\nwritten to {write_result('chunking', facts)}")


if __name__ == "__main__":
    main()
