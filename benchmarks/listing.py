"""How long does the list of a full tile with 100 000 objects take, and how much memory?

    python benchmarks/listing.py            a few minutes
    python benchmarks/listing.py --quick    seconds, and no meaning

A Sentinel-2 tile of 10980 x 10980 px on two dates, with objects of 1 to 150 px of every status,
rivers, clouds, and evidence as a run stores it. Timed are, in a process of their own: the objects
with their columns (`delineate`), the evidence among them, flags and rank, and GeoParquet. Then the
same with half of the objects: twice as many should take about twice as long.
Target: 60 s and 2 GB on two cores.

Result, 2026-11-29, 2 cores of an Intel Xeon (model 207) that eight processes shared: 98 512 objects
in 56 s of processor time and 110 s of wall time, 49 442 in 49 s and 79 s. Peak 3.7 GiB: short of
the target for memory, by comparing and labelling; the evidence adds nothing to it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING, Any

import numpy as np
from harness import describe, machine, write_result

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE, OBJECTS = 10980, 100_000


class Made:
    """Evidence of both dates that needs no memory: some rows, over and over."""

    def __init__(self, size: int) -> None:
        random = np.random.default_rng(1)
        rows = 610
        scl = np.full((rows, size), 4, np.uint8)
        scl[:, size // 7 :: size // 5] = 6
        scl[random.random(scl.shape) < 0.001] = 11
        self._layers = {
            "ndvi": random.integers(-2000, 9000, (rows, size)).astype(np.int16),
            "true_colour": random.integers(1, 255, (3, rows, size)).astype(np.uint8),
            "scl": scl,
            "acquired": np.full((rows, size), 17900, np.uint16),
        }

    def __call__(self, role: str, name: str, rows: slice) -> NDArray[Any]:
        """Return some rows of a layer."""
        del role
        layer = self._layers[name]
        return np.take(layer, np.arange(rows.start, rows.stop) % layer.shape[-2], axis=-2)


def scene(size: int, objects: int) -> NDArray[np.uint16]:
    """Return codes before and after, with about so many objects on a jittered grid."""
    random = np.random.default_rng(0)
    codes = np.zeros((2, size, size), np.uint16)
    across = int(np.ceil(np.sqrt(objects)))
    cell = size // across
    pairs = np.array([(500, 9000), (9000, 9200), (9100, 300), (4000, 7000)], np.uint16)
    for number in range(objects):
        top, left = np.array(divmod(number, across)) * cell + random.integers(1, cell // 3, 2)
        height, width = random.integers(1, cell // 2, 2)
        pair = pairs[random.choice(4, p=[0.4, 0.3, 0.2, 0.1])]
        codes[:, top : top + height, left : left + width] = pair[:, None, None]
        # A notch, so that the outline is traced as those of real objects are.
        codes[:, top, left + width // 2 : left + width] = 0
    for row in range(0, size, size // 6):
        codes[1, row : row + size // 80, : size // 3] = 65535
    return codes


def measure(size: int, objects: int) -> dict[str, Any]:
    """Time the list of one tile, in this process."""
    import xarray as xr
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.xr import xr_coords

    from lspipe import outputs
    from lspipe.change.compare import compare
    from lspipe.change.flag_spec import FlagsSpec
    from lspipe.change.flags import flag, flags_of
    from lspipe.change.inventory import delineate
    from lspipe.change.joining import TileMap, join_tiles
    from lspipe.change.ranking import rank

    grid = GeoBox((size, size), Affine(10, 0, 699960, 0, -10, 5300040), "EPSG:32633")
    codes, coords = scene(size, objects), xr_coords(grid)
    maps = (xr.DataArray(layer, coords, ("y", "x")) for layer in codes)
    began = clock()
    change = compare(*maps).drop_vars("gain")  # as a run does, which has written it
    compared = clock()
    tables = [delineate(change, area=np.ones((size, size), bool), layers=Made(size))]
    listed = clock()
    table = join_tiles(tables, [TileMap("33TWN", grid)])
    flagged = flag(table, FlagsSpec())
    ranked = rank(flagged, flags_of(flagged, FlagsSpec()))
    joined = clock()
    with tempfile.TemporaryDirectory() as folder:
        outputs.write("geoparquet", ranked, Path(folder) / "list.parquet")
    ended = clock()
    stages = np.diff([began, compared, listed, joined, ended], axis=0)
    names = ("compare", "objects and columns", "join, flags, rank", "geoparquet")
    return {
        "objects": len(ranked),
        # Wall time, and processor time, which a busy machine changes less.
        "seconds": {
            name: stage.round(1).tolist() for name, stage in zip(names, stages, strict=True)
        },
        "peak_gib": round(getrusage(RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def clock() -> NDArray[np.float64]:
    """Return wall time and processor time, seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    """Measure in processes of their own, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(*asked.one)))
        return
    size, objects = (1098, 1000) if asked.quick else (SIZE, OBJECTS)
    facts = machine()
    print(describe(facts))
    found = []
    for count in (objects // 2, objects):
        command = [sys.executable, __file__, "--one", str(size), str(count)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(answer.strip())
        found.append(json.loads(answer))
    if not asked.quick:
        write_result("listing", {"machine": facts, "runs": found})


if __name__ == "__main__":
    main()
