"""What does it cost to measure how far two dates lie apart, and to move a map?

    python benchmarks/registration.py             a tile of 10980 pixels
    python benchmarks/registration.py --quick     seconds, a small one: only whether it works

A run directory is filled with two pictures of random ground, the later one a pixel off, and its
shift is measured as a run does it: quality read, windows read, phases correlated.

Result, 2026-11-29, one thread of an Intel Xeon (two cores, shared with other work), a tile: 3.8 s
of processor time to measure 64 windows of 512 pixels, 1.0 s to move a map.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox
from scipy import ndimage

from lspipe.change.moving import moved
from lspipe.change.registration import Shift
from lspipe.runs import registration, store
from lspipe.runs.store import Grid

if TYPE_CHECKING:
    from collections.abc import Callable

TILE, CHUNK = "18GYS", 610


def filled(run: Path, size: int) -> Grid:
    """Write two pictures of one tile, and return its grid."""
    box = GeoBox.from_bbox((699960, 5200000 - 10 * size, 699960 + 10 * size, 5200000),
                           "EPSG:32718", resolution=10)  # fmt: skip
    blocks = -(-size // CHUNK)
    grid = Grid(TILE, box, (0, 1), ("before", "after"), CHUNK, CHUNK, (blocks, blocks))
    store.create(run, [grid], fingerprint="benchmark")
    random = np.random.default_rng(0)
    # One chunk of ground, everywhere: what is in it changes no cost.
    ground = ndimage.gaussian_filter(random.standard_normal((CHUNK, CHUNK)), 1, mode="wrap")
    picture = np.rint(100 + 20 * ground / ground.std()).clip(1, 255).astype(np.uint8)
    for step in range(2):
        whole = np.tile(np.roll(picture, step, axis=1), (blocks, blocks))[:size, :size]
        everything = (slice(0, size), slice(0, size))
        store.write_block(
            run, TILE, step, (0, 0), everything,
            detections={"quality": np.zeros((size, size), np.uint8)},
            evidence={"true_colour": np.stack([whole] * 3)},
        )  # fmt: skip
    return grid


def timed(name: str, call: Callable[[], Any]) -> Any:
    began, processor = time.perf_counter(), time.process_time()
    result = call()
    seconds = time.perf_counter() - began, time.process_time() - processor
    print(f"{name:10s} {seconds[0]:6.1f} s  {seconds[1]:6.1f} s of processor")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small tile")
    size = 1220 if parser.parse_args().quick else 10980
    with tempfile.TemporaryDirectory() as folder:
        grid = filled(Path(folder), size)
        shift = timed("measured", lambda: registration.of_tile(Path(folder), grid))
    print(shift)
    assert (shift.dx_px, shift.dy_px) == (1, 0), shift
    codes = np.random.default_rng(0).integers(0, 10001, (size, size)).astype(np.uint16)
    timed("moved", lambda: moved(codes, Shift(0.4, -1.6, 0.1, 9)))


if __name__ == "__main__":
    main()
