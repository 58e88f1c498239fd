"""What does it cost to make the list of a full tile, of many objects or of ragged clouds?

    python benchmarks/listing.py            a quarter of an hour
    python benchmarks/listing.py --quick    seconds, and no meaning

A Sentinel-2 tile of 10980 x 10980 px on two dates is stored as a run stores it, and listed in a
process of its own: once with 50 000 and with 100 000 objects of 1 to 300 px of every status and few
clouds (twice as many objects should take little more than twice what they add), and once with
10 000 objects and ragged clouds with their shadows and rims over 29 % of each date, whose outlines
have 5.5 million corners.
Targets on two cores: 100 000 objects 60 s and 2 GB; clouds 40 s and 1.5 GB, all in all.

Result, 2026-11-29, 2 cores of an Intel Xeon (model 207) that several processes shared, so only
processor time counts: 98 512 objects in 43 s with a peak of 1.58 GiB, 49 278 in 35 s with 1.45 GiB,
clouds in 36 s with 1.42 GiB; 0.15 GiB of each is torch, which only this benchmark loads.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from harness import describe, machine, write_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lspipe.runs.store import Grid
    from lspipe.runs.tail_plan import Tail

SIZE, CHUNK, TILE = 10980, 610, "33TWN"
OBJECTS = (50_000, 100_000)
CLOUDED = 10_000
"""Objects below the ragged clouds."""

ROUGHNESS = ((1830, 1.0), (366, 0.7), (90, 0.45), (30, 0.3), (10, 0.15))
"""Edges of the cells of random numbers that clouds are made of, pixels, and their weights."""


# --- what is stored -----------------------------------------------------------------------------


def landslides(size: int, objects: int) -> NDArray[np.uint16]:
    """Return codes before and after, with about so many objects on a jittered grid."""
    random = np.random.default_rng(0)
    codes = np.zeros((2, size, size), np.uint16)
    across = int(np.ceil(np.sqrt(objects)))
    cell = size // across
    room = min(cell, SIZE // 317)
    pairs = np.array([(500, 9000), (9000, 9200), (9100, 300), (4000, 7000)], np.uint16)
    for number in range(objects):
        top, left = np.array(divmod(number, across)) * cell + random.integers(1, room // 3, 2)
        height, width = random.integers(1, room // 2, 2)
        pair = pairs[random.choice(4, p=[0.4, 0.3, 0.2, 0.1])]
        codes[:, top : top + height, left : left + width] = pair[:, None, None]
        # A notch, so that the outline is traced as those of real objects are.
        codes[:, top, left + width // 2 : left + width] = 0
    # What a network says where nothing is.
    noise = np.random.default_rng(5).integers(0, 400, (2, CHUNK, size)).astype(np.uint16)
    for top in range(0, size, CHUNK):
        part = codes[:, top : top + CHUNK]
        part[part == 0] = noise[:, : part.shape[1]][part == 0]
    return codes


def ragged(size: int, seed: int) -> NDArray[np.uint8]:
    """Return quality bits: clouds over a fifth, their shadows, and a rim of three pixels."""
    from scipy import ndimage

    from lspipe.schema import Quality

    random = np.random.default_rng(seed)
    height = np.zeros((size, size), np.float32)
    for cell, weight in ROUGHNESS:
        count = size // cell + 2
        coarse = random.normal(size=(count, count)).astype(np.float32) * weight
        place = np.arange(size) / cell
        left = place.astype(int)
        share = (place - left).astype(np.float32)
        wide = coarse[:, left] * (1 - share) + coarse[:, left + 1] * share
        for top in range(0, size, CHUNK):
            rows = slice(top, top + CHUNK)
            above, below = wide[left[rows]], wide[left[rows] + 1]
            height[rows] += above * (1 - share[rows, None]) + below * share[rows, None]
    cloud = height > np.quantile(height[::7, ::7], 0.8)
    shadow = np.zeros_like(cloud)
    shadow[60:, 40:] = cloud[:-60, :-40]
    bits = np.zeros((size, size), np.uint8)
    bits[ndimage.binary_dilation(cloud, np.ones((3, 3)), iterations=3)] = Quality.DILATED
    bits[shadow & ~cloud] = Quality.SHADOW
    bits[cloud] = Quality.CLOUD
    return bits


def striped(size: int) -> NDArray[np.uint8]:
    """Return quality bits of both dates: bands of cloud on the later one."""
    from lspipe.schema import Quality

    bits = np.zeros((2, size, size), np.uint8)
    for row in range(0, size, size // 6):
        bits[1, row : row + size // 80, : size // 3] = Quality.CLOUD
    return bits


def pictures(size: int) -> dict[str, NDArray[Any]]:
    """Return evidence of a date: ground with texture, rivers, snow."""
    from scipy import ndimage

    random = np.random.default_rng(1)
    ground = ndimage.gaussian_filter(random.normal(size=(size, size)).astype(np.float32), 1.5)
    grey = np.clip(ground * 300 + 110, 1, 255).astype(np.uint8)
    scl = np.full((size, size), 4, np.uint8)
    scl[:, size // 7 :: size // 5] = 6
    scl[random.random((size, size), dtype=np.float32) < 0.001] = 11
    ndvi = random.integers(-2000, 9000, (CHUNK, size)).astype(np.int16)
    return {
        "true_colour": np.broadcast_to(grey, (3, size, size)),
        "ndvi": np.tile(ndvi, (size // CHUNK, 1)),
        "scl": scl,
        "acquired": np.full((size, size), 17900, np.uint16),
    }


def grid_of(size: int) -> Grid:
    """Return the grid of the tile."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from lspipe.runs.store import Grid

    box = GeoBox((size, size), Affine(10, 0, 699960, 0, -10, 5300040), "EPSG:32633")
    seconds = (1_500_000_000, 1_530_000_000)
    return Grid(TILE, box, seconds, ("before", "after"), CHUNK, size, (1, 1))


def fill(run: Path, size: int, objects: int, *, is_ragged: bool) -> None:
    """Store a tile of which all blocks are done."""
    from lspipe.runs import store

    codes = landslides(size, objects)
    bits = np.stack([ragged(size, 1), ragged(size, 2)]) if is_ragged else striped(size)
    codes[bits != 0] = 65535
    store.create(run, [grid_of(size)], fingerprint="benchmark")
    seen = pictures(size)
    for step in range(2):
        for top in range(0, size, CHUNK):
            rows = slice(top, top + CHUNK)
            store.write_block(
                run, TILE, step, (0, 0), (rows, slice(0, size)),
                detections={"probability": codes[step][rows], "quality": bits[step][rows]},
                evidence={name: layer[..., rows, :] for name, layer in seen.items()},
            )  # fmt: skip


# --- what is measured ---------------------------------------------------------------------------


def asked(size: int) -> Tail:
    """Return what a run would ask of the tile."""
    from lspipe.change.inventory import Provenance
    from lspipe.change.spec import ChangeSpec
    from lspipe.runs.tail_plan import Tail

    grid = grid_of(size)
    before, after = (datetime.fromtimestamp(seconds, UTC) for seconds in grid.times)
    return Tail(
        grid=grid,
        rules=ChangeSpec(threshold=0.5),
        dates=grid.roles,
        is_swapped=False,
        who=Provenance(tile=TILE, date_before=before, date_after=after, model_id="none"),
        acquired={"before": before, "after": after},
        area=None,
        near=None,
        earlier=(),
        later=(),
    )


class Stages:
    """Processor seconds, and the peak of memory so far, of parts of a process."""

    def __init__(self) -> None:
        self.found: dict[str, list[float]] = {}

    def of(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is measured where it is called."""

        def measured(*args: Any, **options: Any) -> Any:
            began = time.process_time()
            result = call(*args, **options)
            seconds = time.process_time() - began
            self.found[name] = [round(seconds, 1), peak_gib()]
            return result

        return measured


def peak_gib() -> float:
    """Return the largest memory of this process so far."""
    return round(getrusage(RUSAGE_SELF).ru_maxrss / 2**20, 2)


def measure(run: Path, size: int) -> dict[str, Any]:
    """Make the list of a stored tile, in this process."""
    from lspipe.runs import registration, tail

    stages = Stages()
    inner = {
        "shift between the dates": (registration, "of_tile"),
        "change and objects": (tail, "_objects"),
        "gaps": (tail, "_write_gaps"),
    }
    patches = [
        patch.object(module, name, stages.of(stage, getattr(module, name)))
        for stage, (module, name) in inner.items()
    ]
    for each in patches:
        each.start()
    ended = tail.write(run, asked(size))
    table = stages.of("join, flags, rank", ranked)(run, size)
    share = stages.of("share observed and gaps", gathered)(run, size, ended.counted)
    stages.of("geoparquet", written)(run, table)
    return {
        "objects": len(table),
        "observed_share": round(share, 6),
        "seconds_and_peak_gib": stages.found,
        "seconds": round(time.process_time(), 1),
        "peak_gib": peak_gib(),
    }


def ranked(run: Path, size: int) -> Any:
    """Return the list of the tile."""
    from lspipe.change.flag_spec import FlagsSpec
    from lspipe.change.flags import flag, flags_of
    from lspipe.change.joining import TileMap, join_tiles
    from lspipe.change.ranking import rank
    from lspipe.runs import tail

    table = join_tiles([tail.objects(run, TILE)], [TileMap(TILE, grid_of(size).geobox)])
    flagged = flag(table, FlagsSpec())
    return rank(flagged, flags_of(flagged, FlagsSpec()))


def gathered(run: Path, size: int, count: Any) -> float:
    """Write the gaps of the run, and return the share that was observed."""
    from lspipe.change.coverage import observed_share, outside_of_tiles, with_no_scene
    from lspipe.outputs import geoparquet
    from lspipe.runs import tail
    from lspipe.search.areas import Area, footprint

    box = grid_of(size).geobox
    no_scene = outside_of_tiles(Area(footprint(box), None, "the tile"), [box])
    missing = with_no_scene([tail.gaps(run, TILE)], no_scene, dates=("before", "after"))
    geoparquet.write_table(missing, run / "unobserved.parquet")
    return observed_share([count], 0, no_scene)


def written(run: Path, table: Any) -> None:
    """Write the list."""
    from lspipe.outputs import geoparquet

    geoparquet.write_table(table, run / "inventory.parquet")


def main() -> None:
    """Store and measure in processes of their own, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fill", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        run, size, objects, kind = options.fill
        fill(Path(run), int(size), int(objects), is_ragged=kind == "ragged")
        return
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), int(options.one[1]))))
        return
    size, share = (CHUNK * 3, 30) if options.quick else (SIZE, 1)
    facts = machine()
    print(describe(facts))
    found = []
    for kind, objects in (*(("many objects", count) for count in OBJECTS), ("ragged", CLOUDED)):
        with tempfile.TemporaryDirectory() as folder:
            run = str(Path(folder) / "run")
            call("--fill", run, size, objects // share, kind)
            answer = {"scene": kind, **json.loads(call("--one", run, size))}
        print(json.dumps(answer))
        found.append(answer)
    if not options.quick:
        write_result("listing", {"runs": found})


def call(*arguments: Any) -> str:
    """Run a part of this benchmark in a process of its own; return what it prints."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
